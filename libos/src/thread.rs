//! Threads.

use crate::error::errors;
use crate::raw::syscall_short;
use abi::{Call, Control, Handle};

errors! {
    /// Why the thread was not started or stopped.
    ThreadError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WrongState, PeerDied }
    /// Why the priority stays.
    PriorityError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, PeerDied }
}

/// A capability to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread(pub Handle);

impl Thread {
    /// Starts it, if it is stopped.
    pub fn start(self) -> Result<(), ThreadError> {
        ThreadError::check(syscall_short(Control::new(Call::Start, self.0), 0).0)
    }

    /// Stops it; what it waits for ends with `Cancelled`.
    pub fn stop(self) -> Result<(), ThreadError> {
        ThreadError::check(syscall_short(Control::new(Call::Stop, self.0), 0).0)
    }

    /// Sets its priority, at most the caller's own.
    pub fn set_priority(self, priority: u8) -> Result<(), PriorityError> {
        PriorityError::check(syscall_short(Control::new(Call::SetPriority, self.0), priority.into()).0)
    }
}

/// Lets another thread of the same priority run.
pub fn yield_now() {
    syscall_short(Control::new(Call::Yield, Handle::NULL), 0);
}
