//! Roots: the newest checkpoint, the older ones that are kept, and where the log behind the newest starts.
//!
//! Each root is written to its slot of both rings; it names its predecessor by checksum and carries the incarnation.

use abi::Epoch;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Block, BlockBytes, Pointer, RawPointer, is_zero};
use crate::checksum::{Checksum, RawChecksum, Seal, World};
use crate::geometry::Geometry;
use crate::item::{RECORD_STORED_MAX, RECORD_STORED_MIN};
use crate::node::NODE_LEVEL_MAX;

const MAGIC: [u8; 8] = *b"PERNROOT";

/// Most checkpoints that a root keeps, the newest included.
pub const CHECKPOINTS_MAX: usize = 13;

/// [`Checkpoint`] as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawCheckpoint {
    /// [`Checkpoint::epoch`].
    pub epoch: U64,
    /// [`Checkpoint::map`].
    pub map: RawPointer,
    /// [`Checkpoint::space`].
    pub space: RawPointer,
    /// [`Checkpoint::time_ns`].
    pub time_ns: U64,
    /// [`Checkpoint::pages`].
    pub pages: U64,
    /// [`Checkpoint::records`].
    pub records: U64,
    /// [`Checkpoint::used_blocks`].
    pub used_blocks: U32,
    /// [`Checkpoint::slot`].
    pub slot: u8,
    /// [`Checkpoint::map_level`].
    pub map_level: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// [`Checkpoint::map_nodes`].
    pub map_nodes: U32,
    /// [`Checkpoint::record_nodes`]; zero before version 4.
    pub record_nodes: U32,
    /// [`Checkpoint::record_bytes`]; zero before version 4.
    pub record_bytes: U64,
    /// Zero.
    pub rest: [u8; 8],
}

const _: () = assert!(size_of::<RawCheckpoint>() == 128);

/// An epoch that is kept as a folded map.
///
/// Invariants: (C1) `slot` is 1 ..= 14 and unique in its root; (C2) `space` points to something; a map that points to
/// nothing has level 0; (C3) `record_bytes` is what so many records can take, or says nothing, and nobody counted leaves then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which epoch.
    pub epoch: Epoch,
    /// Root of its map; nothing when the world is empty.
    pub map: Pointer,
    /// Level of that root.
    pub map_level: u8,
    /// Index of the table of used blocks as of this checkpoint.
    pub space: Pointer,
    /// Its number in that table.
    pub slot: u8,
    /// When the epoch was cut (ns of its maker's clock).
    pub time_ns: u64,
    /// Pages with contents that it maps.
    pub pages: u64,
    /// Records that it holds.
    pub records: u64,
    /// Blocks used when it was made.
    pub used_blocks: u32,
    /// Nodes of its map.
    pub map_nodes: u32,
    /// Leaves of it that hold records.
    pub record_nodes: u32,
    /// Bytes that its records take in these, heads and padding included; 0 with records: unknown, as in stores before
    /// version 4.
    pub record_bytes: u64,
}

impl Checkpoint {
    /// Whether it says what its records take.
    pub fn counts_records(&self) -> bool {
        self.record_bytes > 0 || self.records == 0
    }

    /// The same as stores before version 4 say it.
    pub fn uncounted(self) -> Self {
        Self { record_nodes: 0, record_bytes: 0, ..self }
    }

    /// C3.
    fn counts_are_valid(&self) -> bool {
        if self.record_bytes == 0 {
            return self.record_nodes == 0;
        }
        let (least, most) = (RECORD_STORED_MIN as u64, RECORD_STORED_MAX as u64);
        let fits = self.record_bytes >= self.records.saturating_mul(least)
            && self.record_bytes <= self.records.saturating_mul(most);
        fits && self.record_bytes.is_multiple_of(8) && (1..=self.map_nodes).contains(&self.record_nodes)
    }
}

/// Where the log goes on behind a checkpoint, or where it was resumed by an incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStart {
    /// Where the next descriptor lies.
    pub block: Block,
    /// Its sequence number.
    pub sequence: u64,
    /// The checksum of the descriptor before it, which it repeats.
    pub previous: Checksum,
}

/// [`LogStart`] as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawLogStart {
    /// [`LogStart::block`].
    pub block: U32,
    /// Zero.
    pub reserved: U32,
    /// [`LogStart::sequence`].
    pub sequence: U64,
    /// [`LogStart::previous`].
    pub previous: RawChecksum,
}

/// [`Root`] as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRoot {
    /// "PERNROOT".
    pub magic: [u8; 8],
    /// [`Root::sequence`].
    pub sequence: U64,
    /// Checksum of the block with this field zero.
    pub sum: RawChecksum,
    /// [`Root::previous`].
    pub previous: RawChecksum,
    /// [`Root::incarnation`].
    pub incarnation: U32,
    /// [`Root::restores`].
    pub restores: U32,
    /// [`Root::log`].
    pub log: RawLogStart,
    /// [`Root::resume`].
    pub resume: RawLogStart,
    /// How many of `checkpoints` are used.
    pub count: u8,
    /// [`Root::interval`].
    pub interval: u8,
    /// Zero.
    pub reserved: [u8; 134],
    /// [`Root::checkpoints`], oldest first; the unused are zero.
    pub checkpoints: [RawCheckpoint; CHECKPOINTS_MAX],
    /// Zero.
    pub rest: [u8; 2176],
}

const _: () = assert!(size_of::<RawRoot>() == 4096);

/// The state of the store at a checkpoint or at the beginning of an incarnation.
///
/// Invariants: (R1) checkpoints ascend by epoch; (R2) `interval` is a number that no checkpoint has; (R3) `resume` is
/// not before `log`; (R4) the incarnation is at least that of the newest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Counts roots from 1; the slot follows from it.
    pub sequence: u64,
    /// Checksum of the root before it.
    pub previous: Checksum,
    /// The incarnation that may write behind it.
    pub incarnation: u32,
    /// Restores in a row that committed nothing.
    pub restores: u32,
    /// Where the log behind the newest checkpoint starts.
    pub log: LogStart,
    /// Where this incarnation's part of the log starts: what lies there by an older one is an abandoned future.
    pub resume: LogStart,
    /// Number of the interval that the log behind the newest checkpoint belongs to, 1 ..= 14.
    pub interval: u8,
    checkpoints: [Checkpoint; CHECKPOINTS_MAX],
    count: u8,
}

/// Why a block is no root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootError {
    /// Something else, or never written.
    Foreign,
    /// A root with a wrong checksum: torn, rotten, misplaced or of another world.
    Damaged,
    /// Sound, but it breaks one of R1 to R4, C1 to C3, or lies in a slot that is not its own.
    Invalid,
}

impl Root {
    /// The root that format writes: nothing but a log that starts at `log`.
    pub fn first(log: Block) -> Self {
        let start = LogStart { block: log, sequence: 1, previous: Checksum(0) };
        Self {
            sequence: 1,
            previous: Checksum(0),
            incarnation: 0,
            restores: 0,
            log: start,
            resume: start,
            interval: 1,
            checkpoints: [Checkpoint::default(); CHECKPOINTS_MAX],
            count: 0,
        }
    }

    /// The checkpoints kept, oldest first.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints[..usize::from(self.count)]
    }

    /// The newest checkpoint; `None` before the first.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.checkpoints().last()
    }

    /// Adds a checkpoint behind the newest; false when there is no room for it.
    #[must_use]
    pub fn push(&mut self, checkpoint: Checkpoint) -> bool {
        let Some(free) = self.checkpoints.get_mut(usize::from(self.count)) else {
            return false;
        };
        *free = checkpoint;
        self.count += 1;
        true
    }

    /// The same as stores before version 4 say it.
    pub fn uncounted(mut self) -> Self {
        for checkpoint in &mut self.checkpoints {
            *checkpoint = checkpoint.uncounted();
        }
        self
    }

    /// Removes the checkpoint at `position`, counted from the oldest, and returns it.
    pub fn remove(&mut self, position: usize) -> Option<Checkpoint> {
        let removed = *self.checkpoints().get(position)?;
        self.checkpoints.copy_within(position + 1.., position);
        self.count -= 1;
        self.checkpoints[usize::from(self.count)] = Checkpoint::default();
        Some(removed)
    }

    /// Drops all checkpoints after `epoch`.
    pub fn truncate_after(&mut self, epoch: Epoch) {
        while self.newest().is_some_and(|newest| newest.epoch > epoch) {
            self.count -= 1;
            self.checkpoints[usize::from(self.count)] = Checkpoint::default();
        }
    }

    /// A number that neither a checkpoint nor the interval uses; with at most 13 checkpoints there is always one
    /// while fewer than 13 are kept.
    pub fn free_slot(&self) -> Option<u8> {
        (1..=14).find(|slot| *slot != self.interval && self.checkpoints().iter().all(|kept| kept.slot != *slot))
    }

    /// R1 to R4, C1 to C3.
    pub fn is_valid(&self, geometry: &Geometry) -> bool {
        let kept = self.checkpoints();
        let ascending = kept.windows(2).all(|pair| pair[0].epoch < pair[1].epoch);
        let slots = (1..=14).contains(&self.interval)
            && kept.iter().enumerate().all(|(i, checkpoint)| {
                (1..=14).contains(&checkpoint.slot)
                    && checkpoint.slot != self.interval
                    && kept[i + 1..].iter().all(|other| other.slot != checkpoint.slot)
            });
        let pointers = kept.iter().all(|checkpoint| {
            geometry.is_data(checkpoint.space.block)
                && checkpoint.counts_are_valid()
                && checkpoint.map_level <= NODE_LEVEL_MAX
                && (geometry.is_data(checkpoint.map.block)
                    || (!checkpoint.map.block.is_some() && checkpoint.map_level == 0))
        });
        let log = geometry.is_data(self.log.block)
            && geometry.is_data(self.resume.block)
            && self.resume.sequence >= self.log.sequence;
        let incarnation = self.incarnation <= abi::INCARNATION_MAX
            && self.newest().is_none_or(|newest| newest.epoch.incarnation() <= self.incarnation);
        ascending && slots && pointers && log && incarnation && self.sequence > 0
    }

    /// Writes the copy for `at` and returns the checksum that names this root to its successor. Both copies have the
    /// same: the key is the first ring's address.
    pub fn write(&self, world: World, geometry: &Geometry, bytes: &mut BlockBytes) -> Checksum {
        assert!(self.is_valid(geometry), "a root that breaks its invariants must not reach the disk");
        let mut raw = RawRoot {
            magic: MAGIC,
            sequence: U64::new(self.sequence),
            sum: RawChecksum::default(),
            previous: self.previous.into(),
            incarnation: U32::new(self.incarnation),
            restores: U32::new(self.restores),
            log: raw_log(&self.log),
            resume: raw_log(&self.resume),
            count: self.count,
            interval: self.interval,
            reserved: [0; 134],
            checkpoints: self.checkpoints.map(|checkpoint| raw_checkpoint(&checkpoint)),
            rest: [0; 2176],
        };
        let sum = self.checksum(world, geometry, raw.as_bytes());
        raw.sum = sum.into();
        bytes.copy_from_slice(raw.as_bytes());
        sum
    }

    fn checksum(&self, world: World, geometry: &Geometry, bytes: &[u8]) -> Checksum {
        let epoch = Epoch::from_bits(self.sequence);
        Seal::Root.checksum(world, geometry.root(self.sequence)[0], epoch, bytes)
    }

    /// What a block that may be a damaged root says of the root before it: nothing else of it can be believed.
    pub fn predecessor(bytes: &BlockBytes) -> Option<Checksum> {
        let (raw, _) = RawRoot::ref_from_prefix(bytes).ok()?;
        (raw.magic == MAGIC).then(|| raw.previous.into())
    }

    /// Checks the block read from `at`, a slot of either ring.
    pub fn parse(
        world: World,
        geometry: &Geometry,
        at: Block,
        bytes: &BlockBytes,
    ) -> Result<(Self, Checksum), RootError> {
        let Ok(mut raw) = RawRoot::read_from_bytes(bytes.as_slice()) else {
            return Err(RootError::Foreign);
        };
        if raw.magic != MAGIC {
            return Err(RootError::Foreign);
        }
        let mut root = Self::first(Block::NONE);
        root.sequence = raw.sequence.get();
        let sum: Checksum = raw.sum.into();
        raw.sum = RawChecksum::default();
        if !geometry.root(root.sequence).contains(&at) || root.checksum(world, geometry, raw.as_bytes()) != sum {
            return Err(RootError::Damaged);
        }
        let count = usize::from(raw.count);
        if count > CHECKPOINTS_MAX
            || raw.reserved != [0; 134]
            || raw.rest != [0; 2176]
            || raw.log.reserved != U32::ZERO
            || raw.resume.reserved != U32::ZERO
            || !is_zero(raw.checkpoints[count..].as_bytes())
        {
            return Err(RootError::Invalid);
        }
        root.previous = raw.previous.into();
        root.incarnation = raw.incarnation.get();
        root.restores = raw.restores.get();
        root.log = checked_log(&raw.log);
        root.resume = checked_log(&raw.resume);
        root.interval = raw.interval;
        root.count = raw.count;
        for (checkpoint, raw) in root.checkpoints.iter_mut().zip(&raw.checkpoints[..count]) {
            *checkpoint = checked_checkpoint(raw, geometry.blocks()).ok_or(RootError::Invalid)?;
        }
        if !root.is_valid(geometry) {
            return Err(RootError::Invalid);
        }
        Ok((root, sum))
    }
}

fn raw_log(start: &LogStart) -> RawLogStart {
    RawLogStart {
        block: U32::new(start.block.0),
        reserved: U32::ZERO,
        sequence: U64::new(start.sequence),
        previous: start.previous.into(),
    }
}

fn checked_log(raw: &RawLogStart) -> LogStart {
    LogStart { block: Block(raw.block.get()), sequence: raw.sequence.get(), previous: raw.previous.into() }
}

fn raw_checkpoint(checkpoint: &Checkpoint) -> RawCheckpoint {
    RawCheckpoint {
        epoch: U64::new(checkpoint.epoch.bits()),
        map: RawPointer::new(checkpoint.map),
        space: RawPointer::new(checkpoint.space),
        time_ns: U64::new(checkpoint.time_ns),
        pages: U64::new(checkpoint.pages),
        records: U64::new(checkpoint.records),
        used_blocks: U32::new(checkpoint.used_blocks),
        slot: checkpoint.slot,
        map_level: checkpoint.map_level,
        reserved: [0; 2],
        map_nodes: U32::new(checkpoint.map_nodes),
        record_nodes: U32::new(checkpoint.record_nodes),
        record_bytes: U64::new(checkpoint.record_bytes),
        rest: [0; 8],
    }
}

fn checked_checkpoint(raw: &RawCheckpoint, blocks: u32) -> Option<Checkpoint> {
    if raw.reserved != [0; 2] || raw.rest != [0; 8] {
        return None;
    }
    Some(Checkpoint {
        epoch: Epoch::from_bits(raw.epoch.get()),
        map: raw.map.check(blocks)?,
        map_level: raw.map_level,
        space: raw.space.check(blocks)?,
        slot: raw.slot,
        time_ns: raw.time_ns.get(),
        pages: raw.pages.get(),
        records: raw.records.get(),
        used_blocks: raw.used_blocks.get(),
        map_nodes: raw.map_nodes.get(),
        record_nodes: raw.record_nodes.get(),
        record_bytes: raw.record_bytes.get(),
    })
}
