//! How much can still be put: asked for before anything is dirtied, so that no epoch is ever too large.
//!
//! Two figures. *Writes*: pages that fit now, with all that the epoch's records and the fold behind it can take. They
//! come back with commits and folds. *Growth*: how many pages more than today the store can hold when everything that
//! can be won back was; it comes back only when something is dropped. Growth leaves room for two epochs beside what is
//! held, so that what is there can always be written again, and dropped.
//!
//! Both are lower bounds: between two folds a page that was written again counts twice.

use crate::disk::Host;
use crate::fold::index_blocks;
use crate::gather::{EMERGENCY_BLOCKS, PUT_BLOCKS_MAX};
use crate::layer::Pool;
use crate::space::TABLE_BLOCK_BLOCKS;
use crate::store::Store;
use format::NODE_BODY_BYTES;

/// Bytes of items that a descriptor holds, at least.
const DESCRIPTOR_BYTES: u64 = 3500;
/// Bytes of a page's item in a node or descriptor.
const PAGE_BYTES: u64 = 40;
/// Bytes of a cell with its share of the item's head.
const CELL_BYTES: u64 = 128;
/// Records that an epoch may change beside those that exist.
const RECORDS_NEW: u32 = 64;
/// Cells that a record takes, as a rule.
const RECORD_CELLS: u32 = 3;
/// Pages of the two epochs for which growth leaves room: a part of the store, within bounds.
const KEPT_PART: u32 = 64;
const KEPT_MIN: u32 = 8;
const KEPT_MAX: u32 = 256;

/// What can still be put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Pages that fit for sure, before anything was won back.
    pub writes: u32,
    /// Pages by which the store can grow for sure, until something is dropped.
    pub growth: u32,
}

/// What a first epoch wants of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Pages with contents.
    pub(crate) pages: u64,
    /// These and zero pages and records.
    pub(crate) entries: u64,
    /// Cells of the records.
    pub(crate) cells: u64,
}

impl Demand {
    /// One record more.
    pub(crate) fn record(&mut self, bytes: usize) {
        self.entries += 1;
        self.cells += u64::from(Pool::cells_for(bytes));
    }
}

/// Entries and cells of what is to be folded.
#[derive(Clone, Copy)]
struct Load {
    entries: u64,
    cells: u64,
}

/// The map that it is folded into.
#[derive(Clone, Copy)]
struct Map {
    nodes: u64,
    levels: u64,
}

/// The largest number up to `most` that `fits`; what fits a number fits those below it.
fn largest(most: u32, fits: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = high - (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// Blocks of new nodes that so many entries and cells fill, once: nodes are full at least by half.
fn grown(load: Load) -> u64 {
    (load.entries * PAGE_BYTES + load.cells * CELL_BYTES).div_ceil(NODE_BODY_BYTES as u64 / 2) * 2
}

/// Blocks of descriptors.
fn descriptors(load: Load) -> u64 {
    (load.entries * PAGE_BYTES + load.cells * CELL_BYTES).div_ceil(DESCRIPTOR_BYTES)
}

impl<'m, H: Host> Store<'m, H> {
    /// Most blocks that folding `load` into `map` takes (F2).
    fn fold_blocks(&self, load: Load, map: Map) -> u64 {
        // Every entry touches one path at most, and all of them no more than the whole map.
        let touched = map.nodes.min(load.entries * map.levels);
        // Each node is written to two places.
        2 * (touched + grown(load) + 4) + self.table()
    }

    fn map(&self) -> Map {
        let newest = self.root.newest();
        let (nodes, levels) = newest.map_or((0, 0), |map| (map.map_nodes.into(), u64::from(map.map_level) + 1));
        Map { nodes, levels }
    }

    fn gathered(&self) -> Load {
        let cells = self.pool.cells_total() - self.pool.cells_free;
        Load { entries: (self.active.len + self.frozen.len).into(), cells: cells.into() }
    }

    /// Most blocks that folding what is gathered can take (F2).
    pub(crate) fn fold_blocks_max(&self) -> u32 {
        self.fold_blocks(self.gathered(), self.map()) as u32
    }

    /// The records of one epoch, at most, as far as memory reaches.
    fn records(&self) -> Load {
        let known = self.root.newest().map_or(0, |newest| newest.records as u32);
        let entries = known.saturating_add(RECORDS_NEW).min(self.pool.entries_total() / 8);
        let cells = (entries * RECORD_CELLS).min(self.pool.cells_total() / 8);
        Load { entries: entries.into(), cells: cells.into() }
    }

    /// What an epoch of `pages` pages and its records puts.
    fn epoch(&self, pages: u64) -> Load {
        let records = self.records();
        Load { entries: pages + records.entries, cells: records.cells }
    }

    /// Blocks that such an epoch takes on top of what is gathered, fold included.
    fn epoch_blocks(&self, pages: u64, gathered: Load, map: Map) -> u64 {
        let epoch = self.epoch(pages);
        let load = Load { entries: gathered.entries + epoch.entries, cells: gathered.cells + epoch.cells };
        pages + descriptors(epoch) + self.fold_blocks(load, map) + u64::from(EMERGENCY_BLOCKS + PUT_BLOCKS_MAX)
    }

    /// What can still be put.
    pub fn room(&self) -> Room {
        Room { writes: self.room_pages(), growth: self.growth() }
    }

    /// Pages that can be put for sure.
    pub(crate) fn room_pages(&self) -> u32 {
        let (gathered, map) = (self.gathered(), self.map());
        let entries = u64::from(self.pool.entries_free).saturating_sub(self.records().entries + 8);
        let most = self.space.free().min(entries as u32);
        largest(most, |pages| self.epoch_blocks(pages.into(), gathered, map) <= self.space.free().into())
    }

    /// Pages by which the store can grow for sure.
    fn growth(&self) -> u32 {
        let (gathered, map) = (self.gathered(), self.map());
        let data = self.space.geometry().data_blocks();
        let pages = self.root.newest().map_or(0, |newest| newest.pages) + gathered.entries;
        let log = u64::from(self.descriptors) + descriptors(gathered) + 2;
        let table = self.table();
        let fits = |more: u32| {
            let new = Load { entries: gathered.entries + u64::from(more), ..gathered };
            self.holds(data, table, pages + u64::from(more), log, new, map)
        };
        if fits(0) { largest(data, fits) } else { 0 }
    }

    /// Blocks of the table of used blocks, its index among them.
    fn table(&self) -> u64 {
        let table = self.space.table_blocks();
        (table + index_blocks(table).1) as u64
    }

    /// Whether `data` blocks hold so many pages, a log of so many blocks, and what `new` adds to `map`, beside two epochs.
    fn holds(&self, data: u32, table: u64, pages: u64, log: u64, new: Load, map: Map) -> bool {
        let kept = u64::from((data / KEPT_PART).clamp(KEPT_MIN, KEPT_MAX));
        let nodes = map.nodes + grown(new);
        let later = Map { nodes, levels: map.levels + 1 };
        let empty = Load { entries: 0, cells: 0 };
        let held = pages + 2 * nodes + log + table;
        held + 2 * self.epoch_blocks(kept, empty, later) <= u64::from(data)
    }

    /// Blocks of the smallest disk, divided as this one is, that takes `load` as its first epoch and can go on.
    pub(crate) fn blocks_for(&self, load: Demand) -> u64 {
        let own = self.space.geometry().blocks() - self.space.geometry().data_blocks();
        let new = Load { entries: load.entries, cells: load.cells };
        let log = descriptors(new) + 2;
        let map = Map { nodes: 0, levels: 0 };
        let too_small = |data: u32| {
            let table = (data as usize).div_ceil(TABLE_BLOCK_BLOCKS as usize);
            let table = (table + index_blocks(table).1) as u64;
            let fold = self.fold_blocks(new, map).max(table);
            let first = load.pages + log + fold + u64::from(EMERGENCY_BLOCKS + PUT_BLOCKS_MAX);
            first > u64::from(data) || !self.holds(data, table, load.pages, log, new, map)
        };
        u64::from(largest(u32::MAX - own, too_small)) + 1 + u64::from(own)
    }

    /// What is gathered, as a demand on a disk.
    pub(crate) fn demand(&self) -> Demand {
        let Load { entries, cells } = self.gathered();
        Demand { pages: self.status.pages_written, entries, cells }
    }

    /// Wins back what can be, because somebody waits for it: folds what is gathered, or gives up older checkpoints. To be
    /// called between two epochs. True when something was begun.
    pub fn win_back(&mut self) -> bool {
        if self.is_folding() || self.gather.open {
            return false;
        }
        if self.active.len > 0 {
            self.want_checkpoint();
            self.end_interval_if_due();
            return self.is_folding();
        }
        self.is_tight() && self.retire_for_space()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_is_found() {
        for bound in 0..50 {
            assert_eq!(largest(30, |pages| pages <= bound), bound.min(30));
        }
        assert_eq!(largest(0, |_| true), 0);
        assert_eq!(largest(u32::MAX, |pages| pages < 1 << 31), (1 << 31) - 1);
    }
}
