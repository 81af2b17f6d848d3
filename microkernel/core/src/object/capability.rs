//! Capabilities, by slot.

use super::{NONE, read_record};
use abi::{Kind, Rights};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A capability, as recorded. Its children are derived from the parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Capability {
    /// Badge; for Memory, Interrupt and IoPorts a range: first (low half) and count (high half).
    pub badge: u64,
    /// Index of the object; for a Reply the thread that waits for it.
    pub object: u32,
    /// Generation of the object; for a Reply the call's sequence number.
    pub generation: u32,
    /// Slot it was derived from; `u32::MAX`: the object itself.
    pub parent: u32,
    /// [`Rights`].
    pub rights: u32,
    /// [`Kind`]; 0: the slot is empty.
    pub kind: u8,
    /// Steps from the object.
    pub depth: u8,
    /// 1 while what was derived from it is being revoked: neither it nor that can be used.
    pub dying: u8,
    /// Zero.
    pub reserved: u8,
    /// Zero.
    pub reserved2: u32,
}

/// Longest chain of derivations.
pub(crate) const DEPTH_MAX: u8 = 64;

impl Capability {
    /// An empty slot.
    pub const EMPTY: Self = Self {
        badge: 0,
        object: 0,
        generation: 0,
        parent: NONE,
        rights: 0,
        kind: 0,
        depth: 0,
        dying: 0,
        reserved: 0,
        reserved2: 0,
    };

    /// All rights to an object.
    pub(crate) fn root(kind: Kind, object: u32, generation: u32) -> Self {
        Self { kind: kind as u8, rights: kind.rights().bits(), object, generation, ..Self::EMPTY }
    }

    /// What it refers to; `None` for an empty slot.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_bits(self.kind)
    }

    /// What it allows.
    pub fn rights(&self) -> Rights {
        Rights::from_bits_retain(self.rights)
    }

    /// First and count, for the kinds that have a range.
    pub fn range(&self) -> (u32, u32) {
        (self.badge as u32, (self.badge >> 32) as u32)
    }

    /// Packs a range as a badge.
    pub(crate) fn range_badge(first: u32, count: u32) -> u64 {
        first as u64 | (count as u64) << 32
    }

    /// Whether it may lie in the place of a null handle: a memory port, or nothing.
    pub fn is_memory_port(&self) -> bool {
        self.kind().is_none_or(|kind| kind == Kind::Endpoint && self.rights() == Rights::SEND)
    }

    /// Whether its kind has a range in place of a badge.
    pub(crate) fn has_range(kind: Kind) -> bool {
        matches!(kind, Kind::Memory | Kind::Interrupt | Kind::IoPorts)
    }

    pub(super) fn is_valid(&self) -> bool {
        let Some(kind) = self.kind() else { return *self == Self::EMPTY };
        // Only what may enter the world is ever recorded, so a range never comes back.
        self.reserved == 0
            && self.reserved2 == 0
            && self.dying <= 1
            && self.depth <= DEPTH_MAX
            && kind.may_enter_world()
            && kind.rights().contains(self.rights())
            && self.badge <= abi::BADGE_MAX
    }
}

read_record!(Capability);
