//! The memory port: memory objects and the regions that put them into address spaces. Served by the pager.
//!
//! A capability to the port is badged with what it stands for: [`Badge`]. Every call is repeatable: what the pager has
//! not answered it has not applied, so clients mark their calls `FLAG_REPEATABLE` and see no restart.
//!
//! The tag of a request is the [`Request`]; the tag of a reply is 0 or an [`Error`].

use crate::BADGE_MAX;

/// What a capability of the memory port stands for, packed into its badge: kind in the upper 4 of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Badge {
    /// The port itself: may make spaces (the world's first processes hold it).
    Root,
    /// An address space, by the pager's number.
    Space(u32),
    /// A memory object, by the pager's number; `write` says whether it may be mapped writable.
    Object {
        /// The pager's number of the object.
        id: u32,
        /// May be mapped writable.
        write: bool,
    },
}

const KIND_SHIFT: u32 = 44;

impl Badge {
    /// As a capability carries it.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Root => 1 << KIND_SHIFT,
            Self::Space(id) => 2 << KIND_SHIFT | id as u64,
            Self::Object { id, write } => (3 << KIND_SHIFT) | (write as u64) << 32 | id as u64,
        }
    }

    /// What a badge says; `None` for one that the pager never minted.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits > BADGE_MAX {
            return None;
        }
        let id = bits as u32;
        match (bits >> KIND_SHIFT, bits >> 32 & 0xfff) {
            (1, 0) if id == 0 => Some(Self::Root),
            (2, 0) => Some(Self::Space(id)),
            (3, write @ 0..=1) => Some(Self::Object { id, write: write == 1 }),
            _ => None,
        }
    }
}

/// What a client asks, in the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Request {
    /// On [`Badge::Root`]: make an address space. Word 0: pages it may own. Reply cap 0: its space capability.
    CreateSpace = 1,
    /// On a space: make a memory object, charged to it. Word 0: pages; word 1: [`ObjectFlags`]. Reply cap 0: the
    /// object, writable.
    CreateObject = 2,
    /// On a space: map the object cap 0. Word 0: address (page aligned); word 1: pages; word 2: first page in the
    /// object; word 3: [`crate::MapFlags`] (WRITE, EXECUTE). Pages appear when touched.
    MapRegion = 3,
    /// On a space: remove what is mapped in [word 0, word 0 + word 1 pages).
    UnmapRegion = 4,
    /// On an object: a copy-on-write copy of it, charged to the space cap 0. Reply cap 0: the copy, writable.
    CopyObject = 5,
    /// On an object: give up its pages and the object itself. Regions that map it fault from then on.
    DestroyObject = 6,
    /// On a space: word 0 pages owned, word 1 pages allowed, word 2 regions.
    Usage = 7,
    /// On a space: destroy it with its regions. Objects charged to it go with it.
    DestroySpace = 8,
    /// On an object: a capability that may only be mapped read-only. Reply cap 0.
    ReadOnly = 9,
    /// On a space: lend the first page of the object cap 0, which is not transient, to the volatile server of a port: it
    /// sees that page read-only ([`super::lent`]). Word 0: the [`super::service::Service`]; only the console's borrows. A
    /// space lends one page: another one takes its place. Ends with the object or the space, and with nothing else: a
    /// restore, or the server's death, does not end it.
    Lend = 10,
}

impl Request {
    /// From a tag.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::CreateSpace,
            2 => Self::CreateObject,
            3 => Self::MapRegion,
            4 => Self::UnmapRegion,
            5 => Self::CopyObject,
            6 => Self::DestroyObject,
            7 => Self::Usage,
            8 => Self::DestroySpace,
            9 => Self::ReadOnly,
            10 => Self::Lend,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// What kind of memory object.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct ObjectFlags: u64 {
        /// Zero again after a restore, and in no epoch.
        const TRANSIENT = 1;
    }
}

/// What the pager answers when it refuses, in the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Error {
    /// Caller: the request is unknown, or not one for this kind of capability.
    BadRequest = 1,
    /// Caller: an argument is out of range or not aligned.
    BadArgument = 2,
    /// Caller: the capability that came with the request is not an object or space of this port.
    BadCapability = 3,
    /// Caller: regions would overlap.
    Overlap = 4,
    /// Caller: the object may not be mapped writable through this capability.
    ReadOnly = 5,
    /// Environment: the space's page budget is used up.
    BudgetExhausted = 6,
    /// Environment: the pager's tables are full, or as much is lent as can be.
    TablesExhausted = 7,
    /// Caller: the object or space is gone.
    Gone = 8,
    /// Environment: the store can keep nothing more; objects are made again when something was destroyed. What there is
    /// can still be written, destroyed, and mapped; writers of pages that were never written wait.
    StoreFull = 9,
}

impl Error {
    /// From the tag of a reply; `None` for 0 (success) and for what no pager answers.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::BadRequest,
            2 => Self::BadArgument,
            3 => Self::BadCapability,
            4 => Self::Overlap,
            5 => Self::ReadOnly,
            6 => Self::BudgetExhausted,
            7 => Self::TablesExhausted,
            8 => Self::Gone,
            9 => Self::StoreFull,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn badges_come_back(id: u32, write: bool) {
            for badge in [Badge::Root, Badge::Space(id), Badge::Object { id, write }] {
                prop_assert_eq!(Badge::from_bits(badge.bits()), Some(badge));
            }
        }

        #[test]
        fn only_minted_badges_parse(bits: u64) {
            if let Some(badge) = Badge::from_bits(bits) { prop_assert_eq!(badge.bits(), bits); }
        }
    }
}
