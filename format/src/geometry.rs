//! How a disk is divided.
//!
//! ```text
//! block 0        header
//! 1 ..= r        roots, place A
//! r+1 .. n-r-1   blocks of log, map, table and pages, in segments
//! n-r-1 .. n-1   roots, place B
//! n-1            header, second copy
//! ```

use crate::block::Block;

/// Most blocks of a disk that a store uses, as many as two levels of index over its table reach: 225 GiB.
pub const DISK_BLOCKS_MAX: u64 = 4096 * 120 * 120;
/// Fewest slots of each root ring: the newest root is never where the next is being written.
pub const ROOT_SLOTS_MIN: u32 = 2;
/// Most slots of each root ring.
pub const ROOT_SLOTS_MAX: u32 = 64;

/// A disk's division; only a checked one exists.
///
/// Invariants: (G1) both rings, both headers and at least four segments' worth of blocks fit without overlap;
/// (G2) a segment has 8 ..= 65,536 blocks, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    blocks: u32,
    root_slots: u32,
    segment_blocks: u32,
}

/// Why numbers make no geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// More blocks than an address can name: blocks given.
    DiskTooLarge(u64),
    /// Fewer blocks than headers, rings and four segments need: blocks given, blocks needed.
    DiskTooSmall(u64, u64),
    /// Slots of a ring outside [`ROOT_SLOTS_MIN`] ..= [`ROOT_SLOTS_MAX`].
    RootSlots(u32),
    /// Blocks of a segment: not a power of two within 8 ..= 65,536.
    SegmentBlocks(u32),
}

impl Geometry {
    /// The division of a disk of `blocks` blocks with rings of `root_slots` and segments of `segment_blocks`.
    pub fn new(blocks: u64, root_slots: u32, segment_blocks: u32) -> Result<Self, GeometryError> {
        if !(ROOT_SLOTS_MIN..=ROOT_SLOTS_MAX).contains(&root_slots) {
            return Err(GeometryError::RootSlots(root_slots));
        }
        if !segment_blocks.is_power_of_two() || !(8..=65_536).contains(&segment_blocks) {
            return Err(GeometryError::SegmentBlocks(segment_blocks));
        }
        if blocks > DISK_BLOCKS_MAX {
            return Err(GeometryError::DiskTooLarge(blocks));
        }
        let needed = 2 + 2 * u64::from(root_slots) + 4 * u64::from(segment_blocks);
        if blocks < needed {
            return Err(GeometryError::DiskTooSmall(blocks, needed));
        }
        Ok(Self { blocks: blocks as u32, root_slots, segment_blocks })
    }

    /// Blocks of the disk.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Slots of each ring.
    pub fn root_slots(&self) -> u32 {
        self.root_slots
    }

    /// Blocks of a segment.
    pub fn segment_blocks(&self) -> u32 {
        self.segment_blocks
    }

    /// Where both copies of the header lie.
    pub fn headers(&self) -> [Block; 2] {
        [Block(0), Block(self.blocks - 1)]
    }

    /// Where both copies of the root with sequence number `sequence` lie.
    pub fn root(&self, sequence: u64) -> [Block; 2] {
        let slot = (sequence % u64::from(self.root_slots)) as u32;
        [Block(1 + slot), Block(self.blocks - 1 - self.root_slots + slot)]
    }

    /// First block that epochs may use.
    pub fn data_start(&self) -> Block {
        Block(1 + self.root_slots)
    }

    /// The block after the last that epochs may use.
    pub fn data_end(&self) -> Block {
        Block(self.blocks - 1 - self.root_slots)
    }

    /// How many blocks epochs may use.
    pub fn data_blocks(&self) -> u32 {
        self.data_end().0 - self.data_start().0
    }

    /// Whether epochs may use `block`.
    pub fn is_data(&self, block: Block) -> bool {
        (self.data_start()..self.data_end()).contains(&block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_headers_and_data_never_overlap() {
        for (blocks, slots, segment) in [(46, 4, 8), (1024, 8, 16), (DISK_BLOCKS_MAX, 64, 65_536)] {
            let g = Geometry::new(blocks, slots, segment).expect("fits");
            let [first, last] = g.headers();
            for sequence in 0..u64::from(slots) {
                let [a, b] = g.root(sequence);
                assert!(first < a && a < g.data_start(), "{g:?}");
                assert!(g.data_end() <= b && b < last, "{g:?}");
            }
            assert_eq!(g.root(0), g.root(u64::from(slots)));
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert_eq!(Geometry::new(1000, 1, 8), Err(GeometryError::RootSlots(1)));
        assert_eq!(Geometry::new(1000, 8, 12), Err(GeometryError::SegmentBlocks(12)));
        assert_eq!(Geometry::new(49, 8, 8), Err(GeometryError::DiskTooSmall(49, 50)));
        assert_eq!(Geometry::new(1 << 26, 8, 8), Err(GeometryError::DiskTooLarge(1 << 26)));
    }
}
