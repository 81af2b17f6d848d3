//! A store's memory on the host, from the heap.

use snapshot_server::{
    CACHE_FRAMES_MIN, Cell, Deferred, Entry, Frame, Memory, PENDING_MIN, PageRef, Pending, ReadOp, TableBlock,
    WRITE_BUFFERS_MAX,
};

/// How large each part of a store's memory is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Blocks of the disk.
    pub blocks: usize,
    /// Blocks of a segment, at least.
    pub segment_blocks: usize,
    /// Entries of the pool.
    pub entries: usize,
    /// Cells of the pool.
    pub cells: usize,
    /// Blocks whose release is deferred.
    pub deferred: usize,
    /// Frames of the cache beyond the least.
    pub cache: usize,
    /// Pages of the caller.
    pub caller_pages: usize,
}

/// Memory for one store.
#[derive(Debug)]
pub struct HostMemory {
    entries: Vec<Entry>,
    cells: Vec<Cell>,
    space: Vec<u8>,
    table: Vec<TableBlock>,
    segments: Vec<u32>,
    pending: Vec<Pending>,
    deferred: Vec<Deferred>,
    reads: Vec<ReadOp>,
    frames: Vec<Frame>,
    pages: Vec<PageRef>,
    caller_pages: usize,
}

impl HostMemory {
    /// Of the sizes given.
    pub fn new(sizes: &Sizes) -> Self {
        let frames = CACHE_FRAMES_MIN + sizes.cache;
        Self {
            entries: vec![Entry::default(); sizes.entries],
            cells: vec![Cell::default(); sizes.cells],
            space: vec![0; sizes.blocks],
            table: vec![TableBlock::default(); sizes.blocks.div_ceil(4096)],
            segments: vec![0; sizes.blocks.div_ceil(sizes.segment_blocks)],
            pending: vec![Pending::default(); (2 * sizes.caller_pages).next_power_of_two().max(PENDING_MIN * 4)],
            deferred: vec![Deferred::default(); sizes.deferred],
            reads: vec![ReadOp::default(); 16],
            frames: vec![Frame::default(); frames],
            pages: (0..(frames + WRITE_BUFFERS_MAX) as u64).map(PageRef).collect(),
            caller_pages: sizes.caller_pages,
        }
    }

    /// Pages that the store and its caller need; the caller's come last.
    pub fn page_count(&self) -> usize {
        self.pages.len() + self.caller_pages
    }

    /// Blocks of the disk that it is for.
    pub fn blocks(&self) -> usize {
        self.space.len()
    }

    /// The caller's pages.
    pub fn caller_pages(&self) -> impl Iterator<Item = PageRef> + use<> {
        let own = self.pages.len() as u64;
        (own..own + self.caller_pages as u64).map(PageRef)
    }

    /// Bytes of all of it but the pages.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.entries)
            + size_of_val(&*self.cells)
            + size_of_val(&*self.space)
            + size_of_val(&*self.table)
            + size_of_val(&*self.segments)
            + size_of_val(&*self.pending)
            + size_of_val(&*self.deferred)
            + size_of_val(&*self.frames)
    }

    /// Lends the memory to a store.
    pub fn memory(&mut self) -> Memory<'_> {
        Memory {
            entries: &mut self.entries,
            cells: &mut self.cells,
            space: &mut self.space,
            table: &mut self.table,
            segments: &mut self.segments,
            pending: &mut self.pending,
            deferred: &mut self.deferred,
            reads: &mut self.reads,
            frames: &mut self.frames,
            pages: &self.pages,
        }
    }
}
