//! Addresses on the disk, and pointers that carry what is needed to verify what they point to.

use abi::Epoch;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Checksum, RawChecksum};

/// Bytes of a block: the unit of every address, and of every page.
pub const BLOCK_SIZE: usize = 4096;

/// The contents of one block.
pub type BlockBytes = [u8; BLOCK_SIZE];

/// Whether nothing is written in `bytes`.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The address of a block, in units of [`BLOCK_SIZE`] from the start of the disk or partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(pub u32);

impl Block {
    /// The address that points to nothing: the partition header lies there and nothing refers to it.
    pub const NONE: Self = Self(0);

    /// Whether this points to something.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl core::fmt::Display for Block {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "block {}", self.0)
    }
}

/// Where a page of the world lies, and in which incarnation it was written: both key its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its address.
    pub block: Block,
    /// The incarnation that wrote it, 1 ..= [`abi::INCARNATION_MAX`].
    pub incarnation: u32,
}

/// A parent's pointer to a block of metadata: address, the epoch that keys its checksum, and that checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// Where it lies; [`Block::NONE`] points to nothing.
    pub block: Block,
    /// Where a second copy of the same bytes lies; [`Block::NONE`]: there is none. The first copy's place keys both.
    pub twin: Block,
    /// The checkpoint's epoch for which it was written.
    pub epoch: Epoch,
    /// What its contents must hash to.
    pub sum: Checksum,
}

impl Pointer {
    /// A pointer to nothing.
    pub const NONE: Self = Self { block: Block::NONE, twin: Block::NONE, epoch: Epoch::NONE, sum: Checksum(0) };

    /// To a block that has no second copy.
    pub const fn single(block: Block, epoch: Epoch, sum: Checksum) -> Self {
        Self { block, twin: Block::NONE, epoch, sum }
    }

    /// To the second copy, if there is one: for whoever reads it. What it reads is parsed with the pointer itself.
    pub fn to_twin(&self) -> Option<Self> {
        self.twin.is_some().then_some(Self { block: self.twin, twin: Block::NONE, ..*self })
    }
}

/// [`Pointer`] as stored. A pointer to nothing is all zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawPointer {
    /// [`Pointer::block`].
    pub block: U32,
    /// [`Pointer::twin`].
    pub twin: U32,
    /// [`Pointer::epoch`].
    pub epoch: U64,
    /// [`Pointer::sum`].
    pub sum: RawChecksum,
}

const _: () = assert!(size_of::<RawPointer>() == 32);

impl RawPointer {
    /// The stored form of `pointer`.
    pub fn new(pointer: Pointer) -> Self {
        Self {
            block: U32::new(pointer.block.0),
            twin: U32::new(pointer.twin.0),
            epoch: U64::new(pointer.epoch.bits()),
            sum: pointer.sum.into(),
        }
    }

    /// The checked form: within a disk of `blocks` blocks, and nothing but zeroes when it points to nothing.
    pub fn check(&self, blocks: u32) -> Option<Pointer> {
        let pointer = Pointer {
            block: Block(self.block.get()),
            twin: Block(self.twin.get()),
            epoch: Epoch::from_bits(self.epoch.get()),
            sum: self.sum.into(),
        };
        let valid = match pointer.block {
            Block::NONE => pointer == Pointer::NONE,
            block => {
                let apart = pointer.twin != block && pointer.twin.0 < blocks;
                block.0 < blocks && apart && pointer.epoch.incarnation() > 0
            }
        };
        valid.then_some(pointer)
    }
}
