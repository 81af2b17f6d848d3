//! Notifications: 48 bits that are set by signals and taken by a wait.

use crate::error::errors;
use crate::raw::{syscall_keeping, syscall_short};
use abi::{Call, Control, Handle, Timeout};

errors! {
    /// Why a signal did nothing.
    SignalError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, PeerDied, WorldClosed }
    /// Why a wait brought nothing.
    WaitError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WrongState, PeerDied, TimedOut, WouldBlock,
        Cancelled, Restarted, WorldClosed,
    }
    /// Why a notification was not bound.
    BindError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, AlreadyBound, WorldClosed, PeerDied }
}

/// A capability to a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification(pub Handle);

impl Notification {
    /// Sets the bits of the capability's badge. Never blocks.
    #[inline]
    pub fn signal(self) -> Result<(), SignalError> {
        let outcome = syscall_keeping(Control::new(Call::Signal, self.0));
        SignalError::check(outcome)
    }

    /// Takes all bits, waiting until there are some.
    #[inline]
    pub fn wait(self, timeout: Timeout) -> Result<u64, WaitError> {
        let (outcome, _) = syscall_short(Control::new(Call::Wait, self.0).with_timeout(timeout), 0);
        WaitError::check(outcome)?;
        Ok(outcome.badge())
    }

    /// Takes the bits that are there, 0 if there are none. Never blocks.
    #[inline]
    pub fn poll(self) -> Result<u64, WaitError> {
        let outcome = syscall_keeping(Control::new(Call::Wait, self.0).with_timeout(Timeout::POLL));
        if outcome.is(abi::Status::WouldBlock) {
            return Ok(0);
        }
        WaitError::check(outcome)?;
        Ok(outcome.badge())
    }

    /// Makes the calling thread's receives wait for this notification too.
    pub fn bind(self) -> Result<(), BindError> {
        let (outcome, _) = syscall_short(Control::new(Call::BindNotification, self.0), 0);
        BindError::check(outcome)
    }

    /// Undoes [`Self::bind`] for the calling thread.
    pub fn unbind() -> Result<(), BindError> {
        let (outcome, _) = syscall_short(Control::new(Call::BindNotification, Handle::NULL), 0);
        BindError::check(outcome)
    }
}

/// Sleeps; see [`crate::sleep`].
pub(crate) fn wait_for_nothing(timeout: Timeout) -> Result<u64, WaitError> {
    Notification(Handle::NULL).wait(timeout)
}
