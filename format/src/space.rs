//! The index of the table of used blocks, one byte of which describes one block of the disk (see the store's `space`).
//!
//! A table has one block per 4,096 blocks of disk; index blocks point to table blocks (level 0) or to index blocks.
//! The topmost also keeps the numbers that checkpoints had when it was written.

use abi::Epoch;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{BlockBytes, Pointer, RawPointer, is_zero};
use crate::checksum::{Seal, World};
use crate::geometry::Geometry;
use crate::root::CHECKPOINTS_MAX;

const MAGIC: [u8; 8] = *b"PERNSPAC";

/// Pointers in one index block.
pub const SPACE_POINTERS_MAX: usize = 120;

/// [`SpaceIndex`] as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSpaceIndex {
    /// "PERNSPAC".
    pub magic: [u8; 8],
    /// The checkpoint's epoch for which it was written.
    pub epoch: U64,
    /// Pointers used.
    pub count: U16,
    /// 0 when the pointers lead to blocks of the table.
    pub level: u8,
    /// Checkpoints in `kept`.
    pub kept_count: u8,
    /// Number of the interval that this checkpoint ended.
    pub interval: u8,
    /// Zero.
    pub reserved: [u8; 11],
    /// Number and, above it, zeroes; epoch: of each checkpoint kept then, oldest first.
    pub kept: [RawKept; CHECKPOINTS_MAX],
    /// Zero.
    pub rest: [u8; 16],
    /// Where the blocks of the table, or of the level below, lie.
    pub pointers: [RawPointer; SPACE_POINTERS_MAX],
}

/// Number and epoch of a checkpoint as stored in an index.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawKept {
    /// [`crate::Checkpoint::slot`].
    pub slot: U64,
    /// [`crate::Checkpoint::epoch`].
    pub epoch: U64,
}

const _: () = assert!(size_of::<RawSpaceIndex>() == 4096);

/// A checked index block.
///
/// Invariants: (S1) every pointer leads to a data block; (S2) numbers are 1 ..= 14; (S3) what is not used is zero.
#[derive(Clone, Copy, Debug)]
pub struct SpaceIndex<'a> {
    raw: &'a RawSpaceIndex,
}

/// Why a block is not the index that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceIndexError {
    /// Its contents do not hash to what its pointer says.
    Damaged,
    /// Sound, but it breaks S1, S2 or S3, or is of another level.
    Invalid,
}

impl<'a> SpaceIndex<'a> {
    /// Checks the block that `pointer` points to and that should be of `level`.
    pub fn parse(
        world: World,
        geometry: &Geometry,
        pointer: &Pointer,
        level: u8,
        bytes: &'a BlockBytes,
    ) -> Result<Self, SpaceIndexError> {
        if Seal::SpaceIndex.checksum(world, pointer.block, pointer.epoch, bytes) != pointer.sum {
            return Err(SpaceIndexError::Damaged);
        }
        let raw = RawSpaceIndex::ref_from_bytes(bytes.as_slice()).map_err(|_| SpaceIndexError::Invalid)?;
        let counts = usize::from(raw.count.get()) <= SPACE_POINTERS_MAX
            && usize::from(raw.kept_count) <= CHECKPOINTS_MAX
            && raw.level == level
            && (1..=14).contains(&raw.interval)
            && raw.magic == MAGIC;
        if !counts {
            return Err(SpaceIndexError::Invalid);
        }
        let index = Self { raw };
        let unused = raw.reserved == [0; 11]
            && raw.rest == [0; 16]
            && is_zero(raw.kept[usize::from(raw.kept_count)..].as_bytes())
            && is_zero(raw.pointers[index.count()..].as_bytes());
        let pointers = (0..index.count()).all(|i| index.pointer(i).is_some_and(|p| geometry.is_data(p.block)));
        let kept = raw.kept[..usize::from(raw.kept_count)].iter().all(|kept| (1..=14).contains(&kept.slot.get()));
        if unused && pointers && kept { Ok(index) } else { Err(SpaceIndexError::Invalid) }
    }

    /// Pointers used.
    pub fn count(&self) -> usize {
        usize::from(self.raw.count.get())
    }

    /// Pointer `position`.
    pub fn pointer(&self, position: usize) -> Option<Pointer> {
        self.raw.pointers.get(position)?.check(u32::MAX)
    }

    /// Number of the interval that the checkpoint ended.
    pub fn interval(&self) -> u8 {
        self.raw.interval
    }

    /// Number and epoch of each checkpoint kept then, oldest first.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = (u8, Epoch)> + 'a {
        let raw = self.raw;
        raw.kept[..usize::from(raw.kept_count)]
            .iter()
            .map(|kept| (kept.slot.get() as u8, Epoch::from_bits(kept.epoch.get())))
    }

    /// Writes an index for `at` and returns the pointer to it.
    pub fn write(
        world: World,
        at: crate::Block,
        epoch: Epoch,
        (level, interval): (u8, u8),
        pointers: &[Pointer],
        kept: &[crate::Checkpoint],
        bytes: &mut BlockBytes,
    ) -> Pointer {
        assert!(pointers.len() <= SPACE_POINTERS_MAX && kept.len() <= CHECKPOINTS_MAX);
        let mut raw = RawSpaceIndex {
            magic: MAGIC,
            epoch: U64::new(epoch.bits()),
            count: U16::new(pointers.len() as u16),
            level,
            kept_count: kept.len() as u8,
            interval,
            reserved: [0; 11],
            kept: [RawKept { slot: U64::ZERO, epoch: U64::ZERO }; CHECKPOINTS_MAX],
            rest: [0; 16],
            pointers: [RawPointer { block: U32::ZERO, twin: U32::ZERO, epoch: U64::ZERO, sum: Default::default() };
                SPACE_POINTERS_MAX],
        };
        for (raw, pointer) in raw.pointers.iter_mut().zip(pointers) {
            *raw = RawPointer::new(*pointer);
        }
        for (raw, kept) in raw.kept.iter_mut().zip(kept) {
            *raw = RawKept { slot: U64::new(u64::from(kept.slot)), epoch: U64::new(kept.epoch.bits()) };
        }
        bytes.copy_from_slice(raw.as_bytes());
        Pointer::single(at, epoch, Seal::SpaceIndex.checksum(world, at, epoch, bytes))
    }
}
