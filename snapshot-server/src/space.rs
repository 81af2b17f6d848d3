//! Which blocks are used, since when, and until which checkpoint they are needed: one byte per block.
//!
//! The log is divided into intervals, each ended by a checkpoint. A block is *born* in one interval and may *die* in a
//! later one; a checkpoint between the two needs it. Intervals have numbers 1 ..= 14.
//!
//! | byte | meaning |
//! | --- | --- |
//! | `0x00` | free |
//! | `0xB0` | born in interval B, alive |
//! | `0xBD` | born in B, died in D: needed by the checkpoints from B up to, not including, D |
//! | `0xBB` | born and died in B: needed by nothing but recent epochs of the log, free at the next sweep |
//! | `0xFS` | a log descriptor of interval S |
//! | `0x0F` | never to be used: headers, root rings |
//!
//! When a checkpoint goes, its number is renamed to that of the next newer interval; bytes with twice the same number
//! are then free: no tree is walked and no list kept to find the space of retired epochs. One pass over the bytes in
//! memory does this for all the checkpoints retired at a fold.
//!
//! Invariants: (P1) `free` is the number of zero bytes; (P2) each segment's count is that of its zero bytes.

use abi::Epoch;
use format::{Block, Geometry};

use crate::memory::TableBlock;

/// Blocks described by one block of the table.
pub(crate) const TABLE_BLOCK_BLOCKS: u32 = 4096;

const RESERVED: u8 = 0x0f;
const LOG: u8 = 0xf0;

/// A block that becomes free when the epoch that replaced its contents is the oldest of its interval to boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deferred {
    block: Block,
    epoch: Epoch,
}

/// The table of used blocks, in memory.
#[derive(Debug)]
pub(crate) struct Space<'m> {
    bytes: &'m mut [u8],
    /// Where each block of the table lies on disk.
    pub(crate) table: &'m mut [TableBlock],
    segments: &'m mut [u32],
    deferred: &'m mut [Deferred],
    deferred_first: usize,
    deferred_len: usize,
    geometry: Geometry,
    free: u32,
    /// Where the next block is sought: of what is written once, and of second copies.
    cursors: [u32; 2],
}

/// Cursor of all that is written once, and of first copies.
const FIRST: usize = 0;
/// Cursor of second copies.
const SECOND: usize = 1;
/// Segments from the first copy of something to its second, at least: a fault of the medium that takes neighbouring
/// blocks takes one of them.
const APART_SEGMENTS: usize = 2;

/// What a sweep does with each interval number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// The number that takes the place of each; 0 where everything born is forgotten and every death undone.
    pub(crate) rename: [u8; 15],
    /// Intervals whose descriptors are kept.
    pub(crate) log_kept: [bool; 15],
    /// The interval that gathers: what was born in it is left alone, for recent epochs may need it. 0: none does.
    pub(crate) gathering: u8,
    position: u32,
}

impl Sweep {
    /// A sweep that changes no number and keeps no descriptors.
    pub(crate) fn new() -> Self {
        let mut rename = [0; 15];
        for (i, number) in rename.iter_mut().enumerate() {
            *number = i as u8;
        }
        Self { rename, log_kept: [false; 15], gathering: 0, position: 0 }
    }

    /// Renames the numbers of checkpoints that are kept no more, given all in order from the oldest, each to that of
    /// the next newer one; `newest` is newer than all of them.
    pub(crate) fn rename_retired(
        &mut self,
        slots: impl DoubleEndedIterator<Item = (u8, Epoch)>,
        is_kept: impl Fn(u8, Epoch) -> bool,
        newest: u8,
    ) {
        let mut newer = newest;
        for (slot, epoch) in slots.rev() {
            if is_kept(slot, epoch) { newer = slot } else { self.rename[usize::from(slot)] = newer }
        }
    }

    /// A sweep for a table that was loaded: numbers that are not named again mean nothing.
    pub(crate) fn forgetting() -> Self {
        Self { rename: [0; 15], ..Self::new() }
    }

    fn apply(&self, byte: u8) -> u8 {
        let (born, died) = (byte >> 4, byte & 15);
        match (born, died) {
            (0, _) => byte,
            (born, _) if born == self.gathering => byte,
            (15, interval) => {
                if self.log_kept.get(usize::from(interval)).is_some_and(|kept| *kept) {
                    byte
                } else {
                    0
                }
            }
            _ => {
                let born = self.rename[usize::from(born)];
                let died = self.rename.get(usize::from(died)).map_or(0, |number| *number);
                if born == 0 || born == died { 0 } else { born << 4 | died }
            }
        }
    }
}

impl<'m> Space<'m> {
    /// Over memory of at least the sizes that [`Self::fits`] asks for; everything free but what geometry reserves.
    pub(crate) fn new(
        bytes: &'m mut [u8],
        table: &'m mut [TableBlock],
        segments: &'m mut [u32],
        deferred: &'m mut [Deferred],
        geometry: Geometry,
    ) -> Self {
        let (deferred_first, deferred_len, free, cursors) = (0, 0, 0, [0; 2]);
        let mut space =
            Self { bytes, table, segments, deferred, deferred_first, deferred_len, geometry, free, cursors };
        space.reset(geometry);
        space
    }

    /// Whether the memory is large enough for a disk divided so.
    pub(crate) fn fits(bytes: usize, table: usize, segments: usize, geometry: &Geometry) -> bool {
        let blocks = geometry.blocks() as usize;
        bytes >= blocks
            && table >= blocks.div_ceil(TABLE_BLOCK_BLOCKS as usize)
            && segments >= blocks.div_ceil(geometry.segment_blocks() as usize)
    }

    /// Starts anew for a disk divided as `geometry` says; false when the memory is too small for it.
    #[must_use]
    pub(crate) fn adopt(&mut self, geometry: Geometry) -> bool {
        let fits = Self::fits(self.bytes.len(), self.table.len(), self.segments.len(), &geometry);
        if fits {
            self.reset(geometry);
        }
        fits
    }

    fn reset(&mut self, geometry: Geometry) {
        self.geometry = geometry;
        self.bytes.fill(RESERVED);
        self.bytes[geometry.data_start().index()..geometry.data_end().index()].fill(0);
        self.table.fill(TableBlock { dirty: true, ..TableBlock::default() });
        self.segments.fill(0);
        let start = geometry.data_start().0;
        self.cursors = [start, start + geometry.data_blocks() / 2];
        self.deferred_len = 0;
        self.count();
    }

    fn blocks(&self) -> u32 {
        self.geometry.blocks()
    }

    /// P1 and P2 made true after the bytes were loaded.
    pub(crate) fn count(&mut self) {
        let segment = self.geometry.segment_blocks() as usize;
        self.free = 0;
        for (count, blocks) in
            self.segments.iter_mut().zip(self.bytes[..self.geometry.blocks() as usize].chunks(segment))
        {
            *count = blocks.iter().filter(|byte| **byte == 0).count() as u32;
            self.free += *count;
        }
    }

    /// How the disk is divided.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Free blocks.
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// Blocks in use.
    pub(crate) fn used(&self) -> u32 {
        self.geometry.data_blocks() - self.free
    }

    /// Blocks of the table.
    pub(crate) fn table_blocks(&self) -> usize {
        (self.blocks() as usize).div_ceil(TABLE_BLOCK_BLOCKS as usize)
    }

    /// The bytes of one block of the table.
    pub(crate) fn table_bytes(&self, index: usize) -> &[u8] {
        let start = index * TABLE_BLOCK_BLOCKS as usize;
        let end = (start + TABLE_BLOCK_BLOCKS as usize).min(self.blocks() as usize);
        &self.bytes[start..end]
    }

    /// Loads one block of the table; false when it speaks against the geometry.
    pub(crate) fn load_table_block(&mut self, index: usize, from: &[u8]) -> bool {
        let start = index * TABLE_BLOCK_BLOCKS as usize;
        let end = (start + TABLE_BLOCK_BLOCKS as usize).min(self.blocks() as usize);
        let (used, rest) = from.split_at(end - start);
        let agrees = used.iter().enumerate().all(|(i, byte)| {
            let reserved = !self.geometry.is_data(Block((start + i) as u32));
            (*byte == RESERVED) == reserved && (reserved || *byte == 0 || byte >> 4 != 0)
        });
        if !agrees || rest.iter().any(|byte| *byte != 0) {
            return false;
        }
        self.bytes[start..end].copy_from_slice(used);
        true
    }

    fn write(&mut self, block: Block, byte: u8) {
        let old = core::mem::replace(&mut self.bytes[block.index()], byte);
        let segment = self.segment_of(block.0);
        if old == 0 && byte != 0 {
            self.free -= 1;
            self.segments[segment] -= 1;
        } else if old != 0 && byte == 0 {
            self.free += 1;
            self.segments[segment] += 1;
        }
        if old != byte {
            self.table[(block.0 / TABLE_BLOCK_BLOCKS) as usize].dirty = true;
        }
    }

    /// Takes a free block: the next of the cursor's segment, or the first of the next segment that is at least as free
    /// as segments are on average, so that writes stay in ascending runs as long as the disk's filling allows. With
    /// `apart` only from segments that lie [`APART_SEGMENTS`] from that block's, however full.
    fn take(&mut self, cursor: usize, apart: Option<Block>) -> Option<Block> {
        if self.free == 0 {
            return None;
        }
        let segment = self.segment_of(self.cursors[cursor]);
        let (mut found, mut from) = (None, segment);
        if self.is_apart(segment, apart) && self.segments[segment] > 0 {
            found = self.free_in(segment, self.cursors[cursor]);
        } else if let Some(first) = apart {
            from = self.segment_of(first.0) + self.segments() / 2;
        }
        let found = found.or_else(|| self.next_in(from, apart))?;
        // The cursor must stay on the disk: past its end the next segment is sought from the first.
        self.cursors[cursor] = (found.0 + 1).min(self.blocks() - 1);
        Some(found)
    }

    /// The first free block of the next segment behind `segment` that is free enough.
    fn next_in(&self, segment: usize, apart: Option<Block>) -> Option<Block> {
        let (size, segments) = (self.geometry.segment_blocks(), self.segments());
        let enough = match apart {
            None => (u64::from(self.free) * u64::from(size)).div_ceil(u64::from(self.blocks())).max(1) as u32,
            Some(_) => 1,
        };
        (1..=segments)
            .map(|step| (segment + step) % segments)
            .filter(|segment| self.is_apart(*segment, apart) && self.segments[*segment] >= enough)
            .find_map(|segment| self.free_in(segment, segment as u32 * size))
    }

    fn segments(&self) -> usize {
        self.blocks().div_ceil(self.geometry.segment_blocks()) as usize
    }

    /// Segments are powers of two, and this is asked several times a page.
    fn segment_of(&self, block: u32) -> usize {
        (block >> self.geometry.segment_blocks().ilog2()) as usize
    }

    fn is_apart(&self, segment: usize, apart: Option<Block>) -> bool {
        apart.is_none_or(|from| segment.abs_diff(self.segment_of(from.0)) >= APART_SEGMENTS)
    }

    fn free_in(&self, segment: usize, from: u32) -> Option<Block> {
        let size = self.geometry.segment_blocks() as usize;
        let end = ((segment + 1) * size).min(self.blocks() as usize);
        let from = (from as usize).max(segment * size);
        let offset = self.bytes.get(from..end)?.iter().position(|byte| *byte == 0)?;
        Some(Block((from + offset) as u32))
    }

    /// Takes a free block for something born in `interval`.
    pub(crate) fn allocate(&mut self, interval: u8) -> Option<Block> {
        let block = self.take(FIRST, None)?;
        self.write(block, interval << 4);
        Some(block)
    }

    /// Takes a free block for the second copy of what lies at `first`, apart from it. `None`: there is none apart.
    pub(crate) fn allocate_apart(&mut self, interval: u8, first: Block) -> Option<Block> {
        let block = self.take(SECOND, Some(first))?;
        self.write(block, interval << 4);
        Some(block)
    }

    /// Takes a free block for a log descriptor of `interval`.
    pub(crate) fn allocate_log(&mut self, interval: u8) -> Option<Block> {
        let block = self.allocate(interval)?;
        self.write(block, LOG | interval);
        Some(block)
    }

    /// Marks a block as born in `interval`, for the log says so.
    ///
    /// A block that the table gives to a checkpoint stays what it is: the log's page there had died, and the block had
    /// been released, before the fold took it; the log is replayed from the checkpoint's epoch, which is older than
    /// the fold's end.
    pub(crate) fn replay_birth(&mut self, block: Block, interval: u8) {
        if !self.belongs_to_checkpoint(block, interval) {
            self.write(block, interval << 4);
        }
    }

    /// As [`Self::die`], while the log is replayed.
    pub(crate) fn replay_death(&mut self, block: Block, interval: u8) -> bool {
        !self.belongs_to_checkpoint(block, interval) && self.die(block, interval)
    }

    /// Whether the table gives `block` to a checkpoint, not to the log of `interval`.
    pub(crate) fn belongs_to_checkpoint(&self, block: Block, interval: u8) -> bool {
        let born = self.bytes[block.index()] >> 4;
        (1..=14).contains(&born) && born != interval && born != self.bytes[block.index()] & 15
    }

    /// The next free block behind `block`, round the disk.
    pub(crate) fn next_free(&self, block: Block) -> Option<Block> {
        let start = block.index() + 1;
        let behind = self.bytes[start..self.blocks() as usize].iter().position(|byte| *byte == 0);
        let found =
            behind.map(|offset| start + offset).or_else(|| self.bytes[..start].iter().position(|byte| *byte == 0));
        found.map(|found| Block(found as u32))
    }

    /// Whether `block` is used and has not died.
    pub(crate) fn is_alive(&self, block: Block) -> bool {
        let byte = self.bytes[block.index()];
        (1..=14).contains(&(byte >> 4)) && byte & 15 == 0
    }

    /// Whether `block` is alive and was born in `interval`.
    pub(crate) fn is_alive_in(&self, block: Block, interval: u8) -> bool {
        self.bytes[block.index()] == interval << 4
    }

    /// Marks a block as a log descriptor of `interval`: the log is being read from it.
    pub(crate) fn replay_log(&mut self, block: Block, interval: u8) {
        self.write(block, LOG | interval);
    }

    /// The contents of `block` are replaced in `interval`. Returns true when nothing but recent epochs need it.
    pub(crate) fn die(&mut self, block: Block, interval: u8) -> bool {
        let byte = self.bytes[block.index()];
        assert!(self.is_alive(block), "only a living block can die: {block} is {byte:#04x}");
        let born = byte >> 4;
        self.write(block, born << 4 | interval);
        born == interval
    }

    /// Frees a block that was born and died in the same interval, now that no epoch needs it.
    fn release(&mut self, block: Block) {
        let byte = self.bytes[block.index()];
        if byte >> 4 == byte & 15 {
            self.write(block, 0);
        }
    }

    /// Remembers to release `block` when epochs before `epoch` need not boot any more. When there is no room to
    /// remember, the block waits for the next sweep.
    pub(crate) fn defer(&mut self, block: Block, epoch: Epoch) {
        let capacity = self.deferred.len();
        if self.deferred_len < capacity {
            let place = self.deferred_first + self.deferred_len;
            self.deferred[if place < capacity { place } else { place - capacity }] = Deferred { block, epoch };
            self.deferred_len += 1;
        }
    }

    /// As [`Self::defer`], while the log is replayed: what the newest epoch's floor has passed is free already, and
    /// may have been used again.
    pub(crate) fn defer_or_release(&mut self, block: Block, epoch: Epoch, floor: Epoch) {
        if epoch <= floor { self.release(block) } else { self.defer(block, epoch) }
    }

    /// Releases what was deferred up to `floor`, which is durable.
    pub(crate) fn release_up_to(&mut self, floor: Epoch) {
        while self.deferred_len > 0 && self.deferred[self.deferred_first].epoch <= floor {
            let block = self.deferred[self.deferred_first].block;
            self.deferred_first = (self.deferred_first + 1) % self.deferred.len();
            self.deferred_len -= 1;
            self.release(block);
        }
    }

    /// Forgets what was deferred up to `epoch`: a sweep is about to find it.
    pub(crate) fn forget_deferred(&mut self, epoch: Epoch) {
        while self.deferred_len > 0 && self.deferred[self.deferred_first].epoch <= epoch {
            self.deferred_first = (self.deferred_first + 1) % self.deferred.len();
            self.deferred_len -= 1;
        }
    }

    /// Blocks waiting to be released.
    pub(crate) fn deferred_len(&self) -> usize {
        self.deferred_len
    }

    /// Goes on with `sweep` for up to `blocks` blocks; true when it is done.
    pub(crate) fn sweep_some(&mut self, sweep: &mut Sweep, blocks: u32) -> bool {
        let end = self.blocks();
        let stop = sweep.position.saturating_add(blocks).min(end);
        for block in sweep.position..stop {
            let byte = self.bytes[block as usize];
            let swept = sweep.apply(byte);
            if swept != byte {
                self.write(Block(block), swept);
            }
        }
        sweep.position = stop;
        stop == end
    }
}

#[cfg(test)]
mod tests;
