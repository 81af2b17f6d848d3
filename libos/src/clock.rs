//! Time: world time is monotonic and stands still while the machine is off.

use crate::message::Message;
use crate::notification::wait_for_nothing;
use crate::raw::syscall;
use abi::{Call, Control, Epoch, Handle, Timeout};

/// What the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The running epoch.
    pub epoch: Epoch,
    /// The last committed epoch.
    pub committed: Epoch,
    /// World time in ns.
    pub world_ns: u64,
}

/// Reads epoch, committed epoch and world time in one step.
pub fn clock() -> Clock {
    let (outcome, frame) = syscall(Control::new(Call::Clock, Handle::NULL), Message::default().frame());
    assert_eq!(outcome.status(), abi::Status::Ok, "the clock answers everybody");
    let [committed, world_ns, ..] = frame.words;
    Clock { epoch: Epoch::from_bits(frame.tag), committed: Epoch::from_bits(committed), world_ns }
}

/// Sleeps for at least `ns` nanoseconds of world time, unless another thread stops this one.
pub fn sleep(ns: u64) {
    // Every way in which a wait for nothing ends is the end of the sleep.
    let _ = wait_for_nothing(Timeout::from_ns(ns));
}
