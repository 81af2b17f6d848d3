//! `vectors-a`: does what may cost a thread its registers, and prints what came of it.

use crate::holder::Holder;
use crate::spinner::{Counts, SPIN_ROUNDS, SPINNER, Stack, start, start_spinner};
use core::fmt::Write;
use libos::abi::protocol::memory::ObjectFlags;
use libos::abi::{Call, Control, Handle, MapFlags, Outcome, PAGE_SIZE, Rights};
use libos::{Budget, Capability, Console, Meanwhile, Notification, OwnSpace, RangePart, Startup};

/// Numbers of its threads.
const CALLER: u64 = 20;
const SPINS: u64 = 21;
const ECHO: u64 = 22;
/// Rounds from one printed line to the next.
const LINE_EVERY: u64 = 2;
/// Pages that are written, one a round and then again.
const PAGES: u64 = 3;

static ECHOED: Counts = Counts::new();
static ECHO_STACK: Stack = Stack::new();

/// What happened while a pattern was held.
#[derive(Default)]
struct Seen {
    rounds: u64,
    calls: u64,
    signals: u64,
    /// Spins in which the process's other spinner got on.
    switched: u64,
    /// Pages touched for the first time.
    fresh: u64,
    /// Pages written in a later epoch than before.
    rewritten: u64,
    /// The other process's threads: wrong, restored, steps, wrong, restored.
    other: [u64; 5],
}

pub(crate) fn run(startup: &Startup) -> ! {
    let mut space = OwnSpace::of(startup);
    let console = Console::new(startup.endpoint("console"), &mut space);
    let mut console = console.unwrap_or_else(|why| panic!("nothing can be printed: {why:?}"));
    let mut holder = Holder::new(CALLER);
    let noticed = holder.notices();
    let (ring, rung) = start_echo();
    start_spinner(SPINS);
    let mut pages = Pages::new(&mut space);
    let (mut seen, server) = (Seen::default(), startup.handle("vectors"));
    loop {
        seen.call(&mut holder, server);
        seen.signal(&mut holder, ring, rung);
        seen.spin(&mut holder);
        pages.turn(&mut holder, &mut seen);
        seen.rounds += 1;
        if seen.rounds.is_multiple_of(LINE_EVERY) {
            seen.print(&holder, noticed, &mut console);
        }
    }
}

impl Seen {
    /// Calls the other process, whose registers hold another pattern.
    fn call(&mut self, holder: &mut Holder, server: Handle) {
        let mut registers = [0; 11];
        (registers[0], registers[2]) = (Control::new(Call::Call, server).0, self.rounds);
        let after = holder.hold(Meanwhile::Call(registers));
        let outcome = Outcome(after[0]);
        assert!(outcome.is_ok() && after[2] == self.rounds + 1, "no answer: {outcome:?}, {}", after[2]);
        self.other.copy_from_slice(&after[3..8]);
        self.calls += 1;
    }

    /// Signals a thread that waits, and waits for its signal.
    fn signal(&mut self, holder: &mut Holder, ring: Handle, rung: Handle) {
        for (call, handle) in [(Call::Signal, ring), (Call::Wait, rung)] {
            let mut registers = [0; 11];
            registers[0] = Control::new(call, handle).0;
            let outcome = Outcome(holder.hold(Meanwhile::Call(registers))[0]);
            assert!(outcome.is_ok(), "{call:?}: {outcome:?}");
        }
        self.signals += 1;
    }

    /// Computes, and so is preempted.
    fn spin(&mut self, holder: &mut Holder) {
        let [before, ..] = SPINNER.read();
        holder.hold(Meanwhile::Spin(SPIN_ROUNDS));
        self.switched += u64::from(SPINNER.read()[0] != before);
    }

    fn print(&self, holder: &Holder, noticed: usize, console: &mut Console) {
        let [spins, spins_wrong, spins_restored] = SPINNER.read();
        let [_, echo_wrong, echo_restored] = ECHOED.read();
        let [server_wrong, server_restored, spins_b, spins_b_wrong, spins_b_restored] = self.other;
        let wrong = holder.wrong + spins_wrong + echo_wrong + server_wrong + spins_b_wrong;
        let Self { rounds, calls, signals, switched, fresh, rewritten, .. } = self;
        // What cannot be printed is missed by who waits for it.
        let _ = writeln!(
            console,
            "vectors: rounds {rounds} noticed {noticed} calls {calls} signals {signals} switched {switched} spins {} \
             fresh {fresh} rewritten {rewritten} computing-restored {} waiting-restored {} wrong {wrong} {:?}",
            spins + spins_b,
            holder.restored + spins_restored + spins_b_restored,
            server_restored + echo_restored,
            holder.first_wrong,
        );
        console.flush();
    }
}

/// Pages of an object of the world.
struct Pages {
    address: u64,
    /// The epoch in which each was last written.
    written: [u64; PAGES as usize],
    next: u64,
}

impl Pages {
    fn new(space: &mut OwnSpace) -> Self {
        let object = space.create(PAGES, ObjectFlags::empty());
        let window = object.and_then(|object| space.map(object, PAGES, MapFlags::WRITE));
        let window = window.unwrap_or_else(|why| panic!("no memory: {why:?}"));
        Self { address: window.address() as u64, written: [0; PAGES as usize], next: 0 }
    }

    /// Writes the next page, which the pager serves at first and the kernel after each cut, and reads the one after it.
    fn turn(&mut self, holder: &mut Holder, seen: &mut Seen) {
        let page = (self.next % PAGES) as usize;
        let at = |page: usize| self.address + (page * PAGE_SIZE) as u64;
        holder.hold(Meanwhile::Store(at(page), self.next));
        let after = holder.hold(Meanwhile::Load(at(page)));
        assert_eq!(after[0], self.next, "page {page}");
        let epoch = libos::clock().epoch.bits();
        seen.fresh += u64::from(self.written[page] == 0);
        seen.rewritten += u64::from(self.written[page] != 0 && self.written[page] != epoch);
        self.written[page] = epoch;
        self.next += 1;
    }
}

/// Starts the thread that answers signals; what rings it, and what it rings.
fn start_echo() -> (Handle, Handle) {
    let made = || Budget(Handle::BUDGET).notification().unwrap_or_else(|why| panic!("no notification: {why:?}"));
    let badged = |bell: Notification| {
        let copy = Capability(bell.0).copy(Rights::SIGNAL, 1, RangePart::default());
        copy.unwrap_or_else(|why| panic!("no copy: {why:?}")).0
    };
    let (ring, rung) = (made(), made());
    start(echo, u64::from(ring.0.0) | u64::from(badged(rung).0) << 16, &ECHO_STACK);
    (badged(ring), rung.0)
}

/// Waits to be rung and rings back.
extern "C" fn echo(handles: u64) -> ! {
    let (ring, rung) = (Handle(handles as u16), Handle((handles >> 16) as u16));
    let mut holder = Holder::new(ECHO);
    loop {
        for (call, handle) in [(Call::Wait, ring), (Call::Signal, rung)] {
            let mut registers = [0; 11];
            registers[0] = Control::new(call, handle).0;
            holder.hold(Meanwhile::Call(registers));
        }
        ECHOED.tell(&holder);
    }
}
