//! Processes: a capability table and an address space.

use super::{NONE, read_record};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A process, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Process {
    /// Badge of its faults, as older worlds say it: [`Self::port`].
    pub port_badge: u64,
    /// Counts its reuse.
    pub generation: u32,
    /// First slot of its capability table, which is its memory port's: an Endpoint, or nothing.
    pub slots: u32,
    /// Slots it has: a power of two, 16 … 32,768; 0: there is no such process.
    pub slot_count: u32,
    /// Endpoint that serves its memory, as older worlds say it: a restore puts it into the first slot; `u32::MAX`: none.
    pub port: u32,
    /// Generation of that endpoint.
    pub port_generation: u32,
    /// Budget it was made from.
    pub budget: u32,
    /// 1 while it is being destroyed.
    pub dying: u32,
    /// Zero.
    pub reserved: u32,
}

/// Fewest handles of a process, and the unit in which slots are given out.
pub const HANDLES_MIN: u32 = 16;
/// Most handles of a process.
pub(crate) const HANDLES_MAX: u32 = 32_768;

impl Process {
    /// No process.
    pub const FREE: Self = Self {
        port_badge: 0,
        generation: 0,
        slots: 0,
        slot_count: 0,
        port: NONE,
        port_generation: 0,
        budget: NONE,
        dying: 0,
        reserved: 0,
    };

    /// How a fault of a process with this number names it.
    pub(crate) fn name(&self, number: u32) -> u64 {
        u64::from(number) | u64::from(self.generation) << 32
    }

    /// Whether there is such a process.
    pub fn exists(&self) -> bool {
        self.slot_count != 0
    }

    pub(super) fn is_valid(&self) -> bool {
        let slots = self.slot_count;
        self.reserved == 0
            && self.dying <= 1
            && (self.port != NONE || (self.port_generation, self.port_badge) == (0, 0))
            && self.port_badge <= abi::BADGE_MAX
            && (slots == 0
                || slots.is_power_of_two()
                    && (HANDLES_MIN..=HANDLES_MAX).contains(&slots)
                    && self.slots.is_multiple_of(slots))
    }
}

read_record!(Process);
