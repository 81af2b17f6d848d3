//! Pages, and the fixed memory that the store works in: all of it given at start.

use format::{BlockBytes, Pointer};

use crate::layer::{Cell, Entry};
use crate::queue::Pending;
use crate::read::ReadOp;
use crate::space::Deferred;

/// Names a page: on the machine a physical frame, in the simulator an index. The store never looks into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageRef(pub u64);

/// How the store reaches the contents of pages.
///
/// It asks only for pages that it was given: its own buffers, and those passed to `put_page` and `read_page` until
/// the event that hands them back.
pub trait PageMemory {
    /// The contents of a page.
    fn bytes(&self, page: PageRef) -> &BlockBytes;
    /// The contents of a page that the store may write: one of its buffers, or the target of a read.
    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes;
}

/// Fewest buffers for writing: one node of each level, a descriptor, roots, and some under way.
pub const WRITE_BUFFERS_MIN: usize = 24;
/// Most buffers for writing that are used.
pub const WRITE_BUFFERS_MAX: usize = 512;
/// Fewest buffers for reading: the deepest path through the map twice.
pub const CACHE_FRAMES_MIN: usize = 24;
/// Fewest places in the ring of pending writes: the pages of two full commands.
pub const PENDING_MIN: usize = 256;

/// Where one block of the table of used blocks lies on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableBlock {
    /// Its newest version on disk.
    pub(crate) pointer: Pointer,
    /// Where the version being written goes.
    pub(crate) next: format::Block,
    /// Whether memory is ahead of the disk.
    pub(crate) dirty: bool,
}

/// A buffer that holds a block read from the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    pub(crate) page: PageRef,
    pub(crate) pointer: Pointer,
    pub(crate) state: FrameState,
    pub(crate) used: u64,
}

/// What a [`Frame`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FrameState {
    /// Nothing.
    #[default]
    Empty,
    /// Being read.
    Reading,
    /// What its pointer says, not yet looked at.
    Loaded,
    /// What its pointer says, verified.
    Valid,
    /// The disk could not read it.
    Unreadable,
    /// Unreadable or wrong, remembered because there is a second copy to be read instead.
    Bad,
}

impl Frame {
    /// What becomes of a frame whose block cannot be used.
    pub(crate) fn failed(&self) -> FrameState {
        if self.pointer.twin.is_some() { FrameState::Bad } else { FrameState::Empty }
    }
}

/// All the memory of a store. Sizes decide what it can do before it has to fold, not whether it is correct.
///
/// | slice | of each | how many |
/// | --- | --- | --- |
/// | `entries` | 48 bytes | changed pages, records and extents between two folds, twice |
/// | `cells` | 128 bytes | bytes of changed records between two folds, twice, / 120 |
/// | `space` | 1 byte | blocks of the disk |
/// | `table` | 48 bytes | blocks of the disk / 4,096 |
/// | `segments` | 4 bytes | blocks of the disk / segment size |
/// | `pending` | 16 bytes | pages under way, a power of two, at least [`PENDING_MIN`] |
/// | `deferred` | 16 bytes | blocks replaced within the epochs that stay bootable; any number |
/// | `reads` | 80 bytes | reads under way |
/// | `frames` | a page, 72 bytes | blocks of the map cached, at least [`CACHE_FRAMES_MIN`] |
/// | `buffers` | a page | nodes and descriptors being written, [`WRITE_BUFFERS_MIN`] ..= [`WRITE_BUFFERS_MAX`] |
pub struct Memory<'m> {
    /// Entries of the map's newest layers.
    pub entries: &'m mut [Entry],
    /// Bytes of the records in those.
    pub cells: &'m mut [Cell],
    /// One byte per block.
    pub space: &'m mut [u8],
    /// One per 4,096 blocks.
    pub table: &'m mut [TableBlock],
    /// Free blocks per segment.
    pub segments: &'m mut [u32],
    /// Writes under way.
    pub pending: &'m mut [Pending],
    /// Blocks that become free when older epochs need not boot any more.
    pub deferred: &'m mut [Deferred],
    /// Reads under way.
    pub reads: &'m mut [ReadOp],
    /// Cache of map nodes; the first `frames.len()` pages of `pages` are theirs.
    pub frames: &'m mut [Frame],
    /// The pages of frames and write buffers; those behind the frames' are write buffers.
    pub pages: &'m [PageRef],
}
