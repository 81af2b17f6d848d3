//! Log descriptors: each one block, chained by address and by checksum, in which an epoch says what has changed.
//!
//! ```text
//! | head 128 bytes | items … | zeroes |
//! ```
//! The pages that it names lie anywhere; a small epoch lies directly behind its only descriptor, in the same write.

use abi::Epoch;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{BLOCK_SIZE, Block, BlockBytes};
use crate::checksum::{Checksum, RawChecksum, Seal, World};
use crate::geometry::Geometry;
use crate::item::{Item, ItemError, ItemIter};

const MAGIC: [u8; 8] = *b"PERNLOG1";
const HEAD: usize = size_of::<RawDescriptor>();

/// Bytes of items that a descriptor holds.
pub const DESCRIPTOR_ITEM_BYTES: usize = BLOCK_SIZE - HEAD;

/// The head of a descriptor as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDescriptor {
    /// "PERNLOG1".
    pub magic: [u8; 8],
    /// [`DescriptorHead::epoch`].
    pub epoch: U64,
    /// Checksum of the block with this field zero.
    pub sum: RawChecksum,
    /// [`DescriptorHead::previous`].
    pub previous: RawChecksum,
    /// [`DescriptorHead::sequence`].
    pub sequence: U64,
    /// [`DescriptorHead::durable`].
    pub durable: U64,
    /// [`DescriptorHead::floor`].
    pub floor: U64,
    /// [`DescriptorHead::time_ns`].
    pub time_ns: U64,
    /// [`DescriptorHead::gathered_ns`].
    pub gathered_ns: U64,
    /// [`DescriptorHead::pages`].
    pub pages: U32,
    /// [`DescriptorHead::records`].
    pub records: U32,
    /// [`DescriptorHead::next`].
    pub next: U32,
    /// [`DescriptorFlags`].
    pub flags: U16,
    /// Bytes of items.
    pub item_bytes: U16,
    /// Zero.
    pub reserved: [u8; 24],
}

const _: () = assert!(HEAD == 128);

/// What a descriptor is besides a list of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorFlags {
    /// The last of its epoch: with it the epoch is committed.
    pub commit: bool,
    /// All that came before it in its epoch was durable before it was written.
    pub barrier: bool,
    /// The last epoch of its interval: the next checkpoint is made of the log up to here.
    pub interval_end: bool,
}

impl DescriptorFlags {
    fn bits(self) -> u16 {
        u16::from(self.commit) | u16::from(self.barrier) << 1 | u16::from(self.interval_end) << 2
    }

    fn from_bits(bits: u16) -> Option<Self> {
        let flags = Self { commit: bits & 1 != 0, barrier: bits & 2 != 0, interval_end: bits & 4 != 0 };
        // Only a commit ends an interval or vouches for what came before.
        let valid = bits < 8 && (flags.commit || bits == 0);
        valid.then_some(flags)
    }
}

/// What a descriptor says beside its items.
///
/// Invariants: (D1) `next` is a data block other than its own; (D2) `durable` < `epoch`, `floor` ≤ `epoch`, all of
/// incarnations that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorHead {
    /// The epoch that it belongs to.
    pub epoch: Epoch,
    /// Counts descriptors from the store's first, across incarnations.
    pub sequence: u64,
    /// Checksum of the descriptor before it.
    pub previous: Checksum,
    /// The newest epoch known to be durable when this was made.
    pub durable: Epoch,
    /// Epochs of this interval before this one may have lost pages to reuse once this one is durable.
    pub floor: Epoch,
    /// When the epoch was cut, in ns of the clock that its maker used.
    pub time_ns: u64,
    /// How long it gathered until it was sealed, in ns.
    pub gathered_ns: u64,
    /// Of a commit: pages of the whole epoch; else 0.
    pub pages: u32,
    /// Of a commit: records written or removed by the whole epoch; else 0.
    pub records: u32,
    /// Where the next descriptor will lie.
    pub next: Block,
    /// What else it is.
    pub flags: DescriptorFlags,
}

/// Why a block is no descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorError {
    /// Something else, or never written.
    Foreign,
    /// A descriptor with a wrong checksum: torn, rotten, misplaced, or of another world.
    Damaged,
    /// Sound, but its head breaks D1, D2 or says more bytes than there are.
    Head,
    /// Sound, but an item is none.
    Item(ItemError),
    /// Sound, but a page lies outside the data blocks.
    Place(Block),
}

/// A descriptor whose checksum, head and items have been checked.
#[derive(Clone, Debug)]
pub struct Descriptor<'a> {
    /// What it says beside its items.
    pub head: DescriptorHead,
    /// Its own checksum, which its successor repeats.
    pub sum: Checksum,
    items: &'a [u8],
}

impl<'a> Descriptor<'a> {
    /// Checks the block read from `at`.
    pub fn parse(world: World, geometry: &Geometry, at: Block, bytes: &'a BlockBytes) -> Result<Self, DescriptorError> {
        let (raw, body) = RawDescriptor::ref_from_prefix(bytes).map_err(|_| DescriptorError::Foreign)?;
        if raw.magic != MAGIC {
            return Err(DescriptorError::Foreign);
        }
        let sum = raw.sum.into();
        if checksum(world, at, bytes) != sum {
            return Err(DescriptorError::Damaged);
        }
        let head = DescriptorHead {
            epoch: Epoch::from_bits(raw.epoch.get()),
            sequence: raw.sequence.get(),
            previous: raw.previous.into(),
            durable: Epoch::from_bits(raw.durable.get()),
            floor: Epoch::from_bits(raw.floor.get()),
            time_ns: raw.time_ns.get(),
            gathered_ns: raw.gathered_ns.get(),
            pages: raw.pages.get(),
            records: raw.records.get(),
            next: Block(raw.next.get()),
            flags: DescriptorFlags::from_bits(raw.flags.get()).ok_or(DescriptorError::Head)?,
        };
        let valid = head.epoch.incarnation() > 0
            && head.durable < head.epoch
            && head.floor <= head.epoch
            && geometry.is_data(head.next)
            && head.next != at
            && raw.reserved == [0; 24];
        let length = usize::from(raw.item_bytes.get());
        if !valid || length > body.len() || body[length..].iter().any(|byte| *byte != 0) {
            return Err(DescriptorError::Head);
        }
        let items = &body[..length];
        ItemIter::new(items).check_all().map_err(DescriptorError::Item)?;
        for item in ItemIter::new(items) {
            if let Item::Page { place, .. } = item
                && (!geometry.is_data(place.block) || place.block == at)
            {
                return Err(DescriptorError::Place(place.block));
            }
        }
        Ok(Self { head, sum, items })
    }

    /// Its items as stored, for whoever cannot keep the block borrowed.
    pub fn item_bytes(&self) -> &'a [u8] {
        self.items
    }

    /// Its items, in the order in which they were put.
    pub fn items(&self) -> ItemIter<'a> {
        ItemIter::new(self.items)
    }
}

fn checksum(world: World, at: Block, bytes: &BlockBytes) -> Checksum {
    // The block is hashed in place: everything up to the field, then everything behind it, keyed by the first half.
    const SUM: usize = core::mem::offset_of!(RawDescriptor, sum);
    let epoch = Epoch::from_bits(u64::from_le_bytes([
        bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
    ]));
    let front = Seal::Descriptor.checksum(world, at, epoch, &bytes[..SUM]);
    let key = World(front.0 as u64 ^ (front.0 >> 64) as u64);
    Seal::Descriptor.checksum(key, at, epoch, &bytes[SUM + 16..])
}

/// Fills a block with items until it is sealed.
#[derive(Clone, Copy, Debug, Default)]
pub struct DescriptorWriter {
    used: usize,
}

impl DescriptorWriter {
    /// Starts anew in `bytes`.
    pub fn start(bytes: &mut BlockBytes) -> Self {
        bytes.fill(0);
        Self { used: 0 }
    }

    /// Appends `item`; false, and nothing changed, when it does not fit.
    pub fn push(&mut self, bytes: &mut BlockBytes, item: &Item<'_>) -> bool {
        let written = item.write(&mut bytes[HEAD + self.used..]);
        if written {
            self.used += item.stored_bytes();
        }
        written
    }

    /// Whether an item of `stored_bytes` fits.
    pub fn fits(&self, stored_bytes: usize) -> bool {
        self.used + stored_bytes <= DESCRIPTOR_ITEM_BYTES
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Writes the head and the checksum for `at`, and returns the checksum.
    pub fn seal(&self, bytes: &mut BlockBytes, world: World, at: Block, head: &DescriptorHead) -> Checksum {
        let mut raw = RawDescriptor {
            magic: MAGIC,
            epoch: U64::new(head.epoch.bits()),
            sum: RawChecksum::default(),
            previous: head.previous.into(),
            sequence: U64::new(head.sequence),
            durable: U64::new(head.durable.bits()),
            floor: U64::new(head.floor.bits()),
            time_ns: U64::new(head.time_ns),
            gathered_ns: U64::new(head.gathered_ns),
            pages: U32::new(head.pages),
            records: U32::new(head.records),
            next: U32::new(head.next.0),
            flags: U16::new(head.flags.bits()),
            item_bytes: U16::new(self.used as u16),
            reserved: [0; 24],
        };
        bytes[..HEAD].copy_from_slice(raw.as_bytes());
        let sum = checksum(world, at, bytes);
        raw.sum = sum.into();
        bytes[..HEAD].copy_from_slice(raw.as_bytes());
        sum
    }
}
