//! Finding the one device that a driver wants, switching it on, and silencing it before its driver's frames are used
//! again. One question at a time; the answers come when the platform driver gives them.
//!
//! ```text
//!                   Describe 0, 1, … class fits          Bar, Bar           Enable
//!   Unknown ─────────────────────────────────▶ Locating ─────────▶ Enabling ───────▶ Ready
//!      │ NoSuchDevice                             ▲                    ▲               │ its driver has died
//!      ▼                                          │ (never)            │ Done          ▼
//!   Absent          Lost ◀──────────────────────────────────────── Silencing ◀────────┘
//!                        Stuck: nothing is certain, the frames are never used again
//! ```
//! [`Request::Silence`] goes out also before the very first `Enable`: firmware may have left the device running.

use abi::protocol::devices::{Device, Refusal, Reply, Request};

/// Devices that are looked at, at most.
const DEVICES_MAX: u8 = 64;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// First address, page-aligned.
    pub base: u64,
    /// Length, a multiple of a page.
    pub bytes: u64,
}

/// A device that its driver can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub number: u8,
    /// What it is.
    pub device: Device,
    /// Its registers.
    pub registers: Bar,
    /// Where its table of message interrupts is, if it has one.
    pub messages: Option<Bar>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown { next: u8 },
    Locating { found: Found },
    LocatingMessages { found: Found },
    Silencing { found: Found },
    Enabling { found: Found },
    Ready { found: Found },
    Absent,
    Lost,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask this.
    Ask(Request),
    /// The device is silent and on: its driver can be started.
    Start(Found),
    /// There is no such device.
    Absent,
    /// The device does not obey; its driver must not run, its frames must not be used again.
    Lost,
    /// The answer was to no question of ours.
    Nothing,
}

/// The search for one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    class: u32,
    state: State,
}

impl Search {
    /// For the first device of this class.
    pub const fn new(class: u32) -> Self {
        Self { class, state: State::Unknown { next: 0 } }
    }

    /// The question that is open: to be asked first, and again of a new platform driver.
    pub const fn question(&self) -> Option<Request> {
        Some(match self.state {
            State::Unknown { next } => Request::Describe(next),
            State::Locating { found } => Request::Bar { device: found.number, bar: 0 },
            State::LocatingMessages { found } => {
                let bar = match found.device.messages {
                    Some(table) => table.bar,
                    None => 0,
                };
                Request::Bar { device: found.number, bar }
            }
            State::Silencing { found } => Request::Silence(found.number),
            State::Enabling { found } => Request::Enable(found.number),
            State::Ready { .. } | State::Absent | State::Lost => return None,
        })
    }

    /// The driver has died: silence the device. `None` when it was not on, so that there is nothing to do.
    pub const fn driver_died(&mut self) -> Option<Request> {
        match self.state {
            State::Ready { found } | State::Enabling { found } => {
                self.state = State::Silencing { found };
                self.question()
            }
            _ => None,
        }
    }

    /// What the platform driver answered.
    pub fn answered(&mut self, reply: Reply) -> Next {
        let next = match (self.state, reply) {
            (State::Unknown { next }, Reply::Device(device)) if device.class == self.class => {
                State::Locating { found: Found { number: next, device, registers: Bar::default(), messages: None } }
            }
            (State::Unknown { next }, Reply::Device(_)) if next + 1 < DEVICES_MAX => State::Unknown { next: next + 1 },
            (State::Unknown { .. }, _) => State::Absent,
            (State::Locating { found }, Reply::Bar { base, bytes }) => {
                let found = Found { registers: Bar { base, bytes }, ..found };
                match found.device.messages {
                    Some(_) => State::LocatingMessages { found },
                    None => State::Silencing { found },
                }
            }
            (State::LocatingMessages { found }, Reply::Bar { base, bytes }) => {
                State::Silencing { found: Found { messages: Some(Bar { base, bytes }), ..found } }
            }
            (State::Locating { .. } | State::LocatingMessages { .. }, _) => State::Lost,
            (State::Silencing { found }, Reply::Done) => State::Enabling { found },
            // What has gone from the bus reaches memory no more; and it is not there for a new driver.
            (State::Silencing { .. } | State::Enabling { .. }, Reply::Refused(Refusal::Removed)) => State::Absent,
            (State::Enabling { found }, Reply::Done) => State::Ready { found },
            (State::Silencing { .. } | State::Enabling { .. }, _) => State::Lost,
            (State::Ready { .. } | State::Absent | State::Lost, _) => return Next::Nothing,
        };
        self.state = next;
        match next {
            State::Ready { found } => Next::Start(found),
            State::Absent => Next::Absent,
            State::Lost => Next::Lost,
            _ => self.question().map_or(Next::Nothing, Next::Ask),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::protocol::devices::{CLASS_NVME, MessageTable};
    use proptest::prelude::*;

    const OTHER: Device = Device { place: 0, vendor: 1, product: 2, class: 0x06_00_00, messages: None };
    const NVME: Device =
        Device { class: CLASS_NVME, messages: Some(MessageTable { bar: 4, offset: 0x2000, vectors: 65 }), ..OTHER };

    /// A platform driver with these devices.
    fn answer(devices: &[Device], request: Request) -> Reply {
        let known = |number: u8| devices.get(number as usize).copied();
        let (number, reply) = match request {
            Request::Describe(number) => (number, known(number).map(Reply::Device)),
            Request::Bar { device, bar } => {
                (device, Some(Reply::Bar { base: 0x1000 * (u64::from(bar) + 1), bytes: 0x1000 }))
            }
            Request::Enable(number) | Request::Silence(number) => (number, Some(Reply::Done)),
        };
        known(number).and(reply).unwrap_or(Reply::Refused(Refusal::NoSuchDevice))
    }

    fn run(search: &mut Search, devices: &[Device]) -> (Next, Vec<Request>) {
        let mut asked = Vec::new();
        let mut request = search.question().expect("a question");
        loop {
            asked.push(request);
            match search.answered(answer(devices, request)) {
                Next::Ask(next) => request = next,
                end => return (end, asked),
            }
        }
    }

    #[test]
    fn the_device_is_found_silenced_and_switched_on() {
        let mut search = Search::new(CLASS_NVME);
        let (end, asked) = run(&mut search, &[OTHER, NVME]);
        let Next::Start(found) = end else { panic!("{end:?}") };
        assert_eq!((found.number, found.registers.base), (1, 0x1000));
        assert_eq!(found.messages.map(|bar| bar.base), Some(0x5000));
        assert_eq!(asked[asked.len() - 2..], [Request::Silence(1), Request::Enable(1)]);
    }

    #[test]
    fn a_dead_drivers_device_is_silenced_before_it_is_on_again() {
        let mut search = Search::new(CLASS_NVME);
        run(&mut search, &[NVME]);
        assert_eq!(search.driver_died(), Some(Request::Silence(0)));
        assert_eq!(search.question(), Some(Request::Silence(0)), "a new platform driver is asked again");
        assert_eq!(search.answered(Reply::Done), Next::Ask(Request::Enable(0)));
        assert!(matches!(search.answered(Reply::Done), Next::Start(_)));
        search.driver_died();
        assert_eq!(search.answered(Reply::Refused(Refusal::Stuck)), Next::Lost);
        assert_eq!((search.question(), search.driver_died()), (None, None));
    }

    #[test]
    fn no_such_device() {
        assert_eq!(run(&mut Search::new(CLASS_NVME), &[OTHER, OTHER]).0, Next::Absent);
        assert_eq!(run(&mut Search::new(CLASS_NVME), &[OTHER; 100]).0, Next::Absent);
    }

    proptest! {
        #[test]
        fn the_driver_never_starts_but_after_a_silence_and_an_enable(replies in prop::collection::vec(0_u8..5, 1..40)) {
            let mut search = Search::new(CLASS_NVME);
            let mut done = Vec::new();
            for reply in replies {
                let question = search.question();
                let reply = match reply {
                    0 => Reply::Device(NVME),
                    1 => Reply::Device(OTHER),
                    2 => Reply::Bar { base: 0x1000, bytes: 0x1000 },
                    3 => Reply::Done,
                    _ => Reply::Refused(Refusal::Removed),
                };
                if reply == Reply::Done { done.extend(question); }
                if let Next::Start(_) = search.answered(reply) {
                    prop_assert!(matches!(done[..], [.., Request::Silence(_), Request::Enable(_)]));
                    search.driver_died();
                    done.clear();
                }
            }
        }
    }
}
