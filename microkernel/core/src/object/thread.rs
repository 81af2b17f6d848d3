//! Threads.

use super::{NONE, VectorState, read_record};
use abi::Registers;
use core::ops::{Deref, DerefMut};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// What a thread does. A running thread is `Ready` and on no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
pub enum State {
    /// There is no such thread.
    Free = 0,
    /// Made, or stopped: does not run until started.
    Stopped = 1,
    /// Runs, or would run.
    Ready = 2,
    /// Waits on an endpoint for its call to be received.
    Calling = 3,
    /// Waits on an endpoint for its message to be received.
    Sending = 4,
    /// Waits on its memory port for its fault to be received.
    Faulting = 5,
    /// Its call was received; waits for the reply.
    AwaitReply = 6,
    /// Its fault was received; waits for the reply.
    AwaitFault = 7,
    /// Waits on an endpoint for a message, or for its bound notification.
    Receiving = 8,
    /// Waits for a notification.
    Waiting = 9,
    /// Waits for its deadline only.
    Sleeping = 10,
}

/// A thread, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Thread {
    /// Order among those that wait or are ready: drawn from the world's counter.
    pub ticket: u64,
    /// World time (ns) at which its wait ends; `u64::MAX`: never.
    pub deadline: u64,
    /// Badge of the capability through which it sends, while it waits to.
    pub badge: u64,
    /// Address, access bits and error code of its fault, while it faults.
    pub fault: [u64; 3],
    /// Counts its reuse.
    pub generation: u32,
    /// Its process.
    pub process: u32,
    /// Endpoint or notification it waits on; `u32::MAX`: none.
    pub object: u32,
    /// Counts its calls that were received: the Reply to any but the latest is void.
    pub call_sequence: u32,
    /// Thread whose Reply it holds; `u32::MAX`: none.
    pub serving: u32,
    /// `call_sequence` of that thread.
    pub serving_sequence: u32,
    /// Notification bound to it; `u32::MAX`: none.
    pub bound: u32,
    /// Budget it was made from.
    pub budget: u32,
    /// What it does.
    pub state: State,
    /// 0 (lowest) … 255; in the world at most [`abi::WORLD_PRIORITY_MAX`].
    pub priority: u8,
    /// Flags of the call it is in.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Its registers while it does not run.
    pub registers: Registers,
}

impl Thread {
    /// No thread.
    pub const FREE: Self = Self {
        ticket: 0,
        deadline: u64::MAX,
        badge: 0,
        fault: [0; 3],
        generation: 0,
        process: NONE,
        object: NONE,
        call_sequence: 0,
        serving: NONE,
        serving_sequence: 0,
        bound: NONE,
        budget: NONE,
        state: State::Free,
        priority: 0,
        flags: 0,
        reserved: [0; 5],
        registers: Registers::ZERO,
    };

    pub(super) fn is_valid(&self) -> bool {
        let waits_on_object =
            matches!(self.state, State::Calling | State::Sending | State::Faulting | State::Receiving | State::Waiting);
        self.reserved == [0; 5]
            && self.priority <= abi::WORLD_PRIORITY_MAX
            && self.badge <= abi::BADGE_MAX
            && (self.state == State::Free || self.process != NONE)
            && waits_on_object == (self.object != NONE)
            && !(matches!(self.state, State::Free | State::Receiving) && self.serving != NONE)
    }
}

read_record!(Thread);

/// What is kept for a thread: two records, changed together, so that one look finds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Task {
    /// Its vector registers.
    pub vector: VectorState,
    /// All else.
    pub thread: Thread,
}

impl Task {
    /// No thread.
    pub const FREE: Self = Self { vector: VectorState::INITIAL, thread: Thread::FREE };
}

/// Most of the kernel asks for the thread only.
impl Deref for Task {
    type Target = Thread;

    fn deref(&self) -> &Thread {
        &self.thread
    }
}

impl DerefMut for Task {
    fn deref_mut(&mut self) -> &mut Thread {
        &mut self.thread
    }
}
