//! Notifications: a word of bits, set by signals and taken by a wait.

use super::{NONE, read_record};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A notification, as recorded. Who waits on it is derived from the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notification {
    /// Signalled and not yet taken.
    pub bits: u64,
    /// Counts its reuse.
    pub generation: u32,
    /// Thread bound to it; `u32::MAX`: none.
    pub bound: u32,
    /// Budget it was made from.
    pub budget: u32,
    /// 0: there is no such notification; 1: alive; 2: being destroyed.
    pub life: u32,
}

impl Notification {
    /// No notification.
    pub const FREE: Self = Self { bits: 0, generation: 0, bound: NONE, budget: NONE, life: 0 };

    pub(super) fn is_valid(&self) -> bool {
        self.life <= 2 && self.bits <= abi::BADGE_MAX
    }
}

read_record!(Notification);
