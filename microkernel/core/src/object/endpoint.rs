//! Endpoints: where senders and receivers meet.

use super::{NONE, read_record};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// An endpoint, as recorded. Who waits on it is derived from the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Endpoint {
    /// Counts its reuse.
    pub generation: u32,
    /// Service id if it is a port, else 0.
    pub service: u32,
    /// Budget it was made from.
    pub budget: u32,
    /// 0: there is no such endpoint; 1: alive; 2: being destroyed.
    pub life: u32,
}

impl Endpoint {
    /// No endpoint.
    pub const FREE: Self = Self { generation: 0, service: 0, budget: NONE, life: 0 };

    pub(super) fn is_valid(&self) -> bool {
        self.life <= 2
    }
}

read_record!(Endpoint);
