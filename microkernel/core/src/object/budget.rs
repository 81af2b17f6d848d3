//! Budgets: the right to create objects, in counts that can be split.

use super::{NONE, read_record};
use abi::Kind;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Counts of objects: processes, threads, endpoints, notifications, budgets, capability slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counts(pub [u32; 6]);

impl Counts {
    /// One object of a kind; for a process also its slots.
    pub(crate) fn one(kind: Kind, slots: u32) -> Self {
        let mut counts = [Kind::Process, Kind::Thread, Kind::Endpoint, Kind::Notification, Kind::Budget, kind]
            .map(|counted| u32::from(counted == kind));
        counts[5] = slots;
        Self(counts)
    }

    /// Self minus `other`; `None` when any count would go below zero.
    pub(crate) fn minus(self, other: Self) -> Option<Self> {
        let mut result = self;
        for (left, taken) in result.0.iter_mut().zip(other.0) {
            *left = left.checked_sub(taken)?;
        }
        Some(result)
    }

    /// Self plus `other`: only ever what was taken before, so it fits.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(core::array::from_fn(|kind| self.0[kind].saturating_add(other.0[kind])))
    }
}

/// A budget, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Budget {
    /// What can still be made from it.
    pub left: Counts,
    /// What lives that was made from it, split-off budgets included with all that they were given.
    pub used: Counts,
    /// Counts its reuse.
    pub generation: u32,
    /// Budget it was split from; `u32::MAX` for a root.
    pub budget: u32,
    /// 0: there is no such budget; 1: alive.
    pub life: u32,
    /// Zero.
    pub reserved: u32,
}

impl Budget {
    /// No budget.
    pub const FREE: Self =
        Self { left: Counts([0; 6]), used: Counts([0; 6]), generation: 0, budget: NONE, life: 0, reserved: 0 };

    pub(super) fn is_valid(&self) -> bool {
        self.life <= 1 && self.reserved == 0
    }
}

read_record!(Budget);
