//! For tests: a disk and pages without surprises, which count what they are asked. Surprises are tests/storesim's business.

use std::collections::VecDeque;

use abi::PAGE_SIZE;
use format::BlockBytes;

use crate::{
    CACHE_FRAMES_MIN, Command, Completion, Disk, DiskError, Full, Memory, Op, PENDING_MIN, PageMemory, PageRef,
};

/// Pages that belong to the store.
pub(crate) const OWN_PAGES: u64 = 200;

/// What the disk was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Blocks read.
    pub(crate) read: u64,
    /// Blocks written.
    pub(crate) written: u64,
    /// Flushes.
    pub(crate) flushes: u64,
}

/// The disk, each command of which is done at once, and the pages: the store's, and some of the caller's behind them.
#[derive(Clone)]
pub(crate) struct Calm {
    /// `None`: zero.
    pub(crate) blocks: Vec<Option<Box<BlockBytes>>>,
    pub(crate) pages: Vec<Box<BlockBytes>>,
    pub(crate) done: VecDeque<Completion>,
    /// Commands of this kind fail from some on.
    pub(crate) worn: Option<(Op, u32)>,
    /// Blocks that cannot be read, ever.
    pub(crate) bad: Vec<usize>,
    /// Says of nothing that it is done.
    pub(crate) still: bool,
    pub(crate) count: Count,
}

impl Calm {
    pub(crate) fn of(blocks: usize, callers_pages: u64) -> Self {
        let pages = (0..OWN_PAGES + callers_pages).map(|_| Box::new([0; PAGE_SIZE])).collect();
        Self {
            blocks: vec![None; blocks],
            pages,
            done: VecDeque::new(),
            worn: None,
            bad: Vec::new(),
            still: false,
            count: Count::default(),
        }
    }

    /// The contents of a block.
    pub(crate) fn block(&self, number: usize) -> BlockBytes {
        self.blocks[number].as_ref().map_or([0; PAGE_SIZE], |bytes| **bytes)
    }

    /// The contents of a block, to be changed.
    pub(crate) fn block_mut(&mut self, number: usize) -> &mut BlockBytes {
        self.blocks[number].get_or_insert_with(|| Box::new([0; PAGE_SIZE]))
    }

    /// Of a page that a conductor may have marked with an epoch's parity.
    fn index(page: PageRef) -> usize {
        page.0 as u32 as usize
    }
}

impl Disk for Calm {
    fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }
    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        if let Some((op, left)) = &mut self.worn
            && *op == command.op
        {
            if *left == 0 {
                self.done.push_back(Completion { tag: command.tag, result: Err(DiskError::Medium) });
                return Ok(());
            }
            *left -= 1;
        }
        let blocks = command.pages.len() as u64;
        let range = command.block as usize..command.block as usize + command.pages.len();
        if command.op == Op::Read && self.bad.iter().any(|bad| range.contains(bad)) {
            self.done.push_back(Completion { tag: command.tag, result: Err(DiskError::Medium) });
            return Ok(());
        }
        match command.op {
            Op::Read => self.count.read += blocks,
            Op::Write => self.count.written += blocks,
            Op::Flush => self.count.flushes += 1,
        }
        for (at, page) in command.pages.iter().enumerate() {
            let (block, page) = (command.block as usize + at, Self::index(*page));
            match command.op {
                Op::Read => *self.pages[page] = self.block(block),
                Op::Write => *self.block_mut(block) = *self.pages[page],
                Op::Flush => {}
            }
        }
        self.done.push_back(Completion { tag: command.tag, result: Ok(()) });
        Ok(())
    }
    fn poll(&mut self) -> Option<Completion> {
        if self.still { None } else { self.done.pop_front() }
    }
    fn resets(&self) -> u64 {
        0
    }
}

impl PageMemory for Calm {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        &self.pages[Self::index(page)]
    }
    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        &mut self.pages[Self::index(page)]
    }
}

fn leak<T: Clone + Default>(count: usize) -> &'static mut [T] {
    Box::leak(vec![T::default(); count].into_boxed_slice())
}

/// Memory for a store of so many blocks.
pub(crate) fn memory(blocks: usize) -> Memory<'static> {
    memory_with(blocks, OWN_PAGES as usize)
}

/// The same with so many pages of its own.
pub(crate) fn memory_with(blocks: usize, own_pages: usize) -> Memory<'static> {
    let pages: &'static mut [PageRef] = leak(own_pages);
    for (at, page) in pages.iter_mut().enumerate() {
        *page = PageRef(at as u64);
    }
    Memory {
        entries: leak(4096),
        cells: leak(4096),
        space: leak(blocks),
        table: leak(blocks.div_ceil(4096)),
        segments: leak(blocks.div_ceil(8)),
        pending: leak(PENDING_MIN),
        deferred: leak(64),
        reads: leak(8),
        frames: leak(CACHE_FRAMES_MIN),
        pages,
    }
}
