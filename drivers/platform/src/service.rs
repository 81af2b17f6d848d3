//! Init's questions, answered from the inventory. One at a time: a device that takes its time to fall silent delays the
//! answers about others, and init's order of questions is the order of answers.

use abi::protocol::devices::{Answerer, BARS_MAX, Refusal, Reply, Request};
use abi::protocol::ring::PeerBroken;

use crate::capability::{self, MESSAGES};
use crate::config::{BUS_MASTER, COMMAND, ConfigSpace, DECODE_MEMORY, IDENTITY, NO_PIN, change_command, is_present};
use crate::inventory::{Function, Inventory};
use crate::silence::{Silence, SilenceError, set_messages};

/// How often to look at a device that is falling silent.
const LOOK_NS: u64 = 2_000_000;

/// What is done once the device has fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    Enable,
}

/// The answering end.
#[derive(Debug)]
pub struct Service<'m, C> {
    config: C,
    inventory: Inventory,
    link: Answerer<'m>,
    busy: Option<(usize, Silence, Then)>,
}

/// What a turn has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Init's bell must be rung.
    pub signal: bool,
    /// How long the caller may wait for a bell, in nanoseconds; `None`: for ever.
    pub wait_ns_max: Option<u64>,
}

impl<'m, C: ConfigSpace> Service<'m, C> {
    /// Answers from `inventory`.
    pub fn new(config: C, inventory: Inventory, link: Answerer<'m>) -> Self {
        Self { config, inventory, link, busy: None }
    }

    /// What it answers from.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Does all that can be done now. Does not block.
    ///
    /// # Errors
    /// [`PeerBroken`]: init has written what init does not write; stop.
    pub fn turn(&mut self, now_ns: u64) -> Result<Turn, PeerBroken> {
        let mut signal = false;
        loop {
            let reply = match self.busy.take() {
                Some((index, silence, then)) => self.go_on(index, silence, then, now_ns),
                None => match self.link.request()? {
                    Some(request) => self.begin(request, now_ns),
                    None => return Ok(Turn { signal, wait_ns_max: None }),
                },
            };
            let Some(reply) = reply else {
                return Ok(Turn { signal, wait_ns_max: Some(LOOK_NS) });
            };
            // There is room: a request is only taken when there is room for its answer.
            self.link.reply(reply).map_err(|_| PeerBroken)?;
            signal = true;
        }
    }

    /// Answers a request at once, or begins to.
    fn begin(&mut self, request: Request, now_ns: u64) -> Option<Reply> {
        let (Request::Describe(device)
        | Request::Bar { device, .. }
        | Request::Enable(device)
        | Request::Silence(device)) = request;
        let index = usize::from(device);
        let Some(function) = self.inventory.get(index) else {
            return Some(Reply::Refused(Refusal::NoSuchDevice));
        };
        match request {
            Request::Describe(_) => Some(Reply::Device(function.device)),
            Request::Bar { bar, .. } => Some(describe_bar(function, bar)),
            Request::Enable(_) if function.clean => Some(self.enable(index)),
            Request::Enable(_) => self.silence(index, Then::Enable, now_ns),
            Request::Silence(_) => self.silence(index, Then::Stay, now_ns),
        }
    }

    fn silence(&mut self, index: usize, then: Then, now_ns: u64) -> Option<Reply> {
        let function = self.inventory.get(index)?;
        let silence = Silence::begin(&self.config, function, now_ns);
        self.go_on(index, silence, then, now_ns)
    }

    fn go_on(&mut self, index: usize, mut silence: Silence, then: Then, now_ns: u64) -> Option<Reply> {
        let function = self.inventory.get_mut(index)?;
        let Some(end) = silence.step(&self.config, function, now_ns) else {
            self.busy = Some((index, silence, then));
            return None;
        };
        function.clean = end == Ok(true);
        Some(match (end, then) {
            (Err(SilenceError::Removed), _) => Reply::Refused(Refusal::Removed),
            (Err(SilenceError::Stuck), _) | (Ok(false), Then::Enable) => Reply::Refused(Refusal::Stuck),
            (Ok(_), Then::Stay) => Reply::Done,
            (Ok(true), Then::Enable) => self.enable(index),
        })
    }

    fn enable(&mut self, index: usize) -> Reply {
        let Some(function) = self.inventory.get_mut(index) else {
            return Reply::Refused(Refusal::NoSuchDevice);
        };
        if !is_present(self.config.read(function.place, IDENTITY)) {
            return Reply::Refused(Refusal::Removed);
        }
        if let Some(at) = capability::find(&self.config, function.place, MESSAGES) {
            set_messages(&self.config, function.place, at, true);
        }
        // From now on it may reach memory: only a reset makes it clean again.
        function.clean = false;
        change_command(&self.config, function.place, 0, DECODE_MEMORY | BUS_MASTER | NO_PIN);
        let on = DECODE_MEMORY | BUS_MASTER;
        let obeys = self.config.read(function.place, COMMAND) & on == on;
        if obeys { Reply::Done } else { Reply::Refused(Refusal::Stuck) }
    }
}

fn describe_bar(function: &Function, bar: u8) -> Reply {
    let window = function.bars.get(usize::from(bar)).filter(|_| bar < BARS_MAX);
    match window {
        Some(window) if window.bytes != 0 && window.base != 0 => {
            let page = abi::PAGE_SIZE as u64;
            // Smaller windows lie within a page that we have given to no other device.
            Reply::Bar { base: window.base & !(page - 1), bytes: window.bytes.next_multiple_of(page) }
        }
        _ => Reply::Refused(Refusal::NoSuchDevice),
    }
}
