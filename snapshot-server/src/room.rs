//! How much can still be put: asked for before anything is dirtied, so that no epoch is ever too large.
//!
//! Three figures. *Writes*: pages that fit now, with all that the epoch's records and the fold behind it can take. They
//! come back with commits and folds. *Growth*: how many pages more than today the store can hold when everything that
//! can be won back was; it comes back only when something is dropped. *Records*: the same for records, in bytes. Growth
//! leaves room for two epochs beside what is held, so that what is there can always be written again, and dropped.
//!
//! All are lower bounds: between two folds what was written again counts twice. What things take is bounded in load.rs.

use crate::disk::Host;
use crate::fold::index_blocks;
use crate::gather::{EMERGENCY_BLOCKS, EMERGENCY_KEYS, PUT_BLOCKS_MAX};
use crate::layer::{CELL_BYTES, Pool};
use crate::load::{Load, Map};
use crate::space::TABLE_BLOCK_BLOCKS;
use crate::store::Store;
use format::{BLOCK_SIZE, PAGE_STORED, RECORD_STORED_MIN, record_stored};

/// Records of a store that does not say what they take are expected to take so much, until a fold has counted them.
const RECORD_EXPECTED: u64 = 416;
/// Bytes of records more than today for which there is room: a part of the disk's, within bounds.
const NEW_PART: u64 = 256;
const NEW_MIN: u64 = 8 * 1024;
/// Cells and entries that are left free beside those of an epoch's records.
const POOL_SPARE: u64 = 32;
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
    /// Bytes by which the records of an epoch can be more for sure than those that the store holds, each with a head of 24
    /// bytes and padded to 8: all of these can be written again beside `writes` and `growth`, and so much can be new.
    pub records: u32,
}

/// What a first epoch wants of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Pages with contents.
    pub(crate) pages: u64,
    /// These and zero pages.
    pub(crate) keys: u64,
    /// Records.
    pub(crate) records: u64,
    /// Bytes of these.
    pub(crate) record_bytes: u64,
}

impl Demand {
    /// One record more.
    pub(crate) fn record(&mut self, bytes: usize) {
        self.records += 1;
        self.record_bytes += record_stored(bytes) as u64;
    }
}

/// What was put since the newest checkpoint: the interval that is being folded, and the one that gathers.
#[derive(Clone, Copy, Default)]
struct Gathered {
    frozen: Option<Load>,
    active: Load,
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

/// Items of pages, extents and what is removed.
fn keys(count: u64) -> Load {
    Load { keys: count, records: 0, bytes: count * PAGE_STORED as u64 }
}

/// Most blocks that folding `loads` takes, one after the other: each node lies in two places, and what a fold has replaced
/// is free before the next, but for what the map has grown by.
fn folds(loads: &[Load], map: &Map, table: u64) -> u64 {
    let (mut map, mut grown, mut most) = (*map, 0, 0);
    for load in loads {
        most = most.max(2 * (grown + map.folded(*load)));
        let after = map.after(*load);
        grown += after.nodes - map.nodes;
        map = after;
    }
    most + table
}

impl Gathered {
    /// Most blocks that it takes to fold all this, `more` in the interval that gathers, and then one that frees.
    fn folds(&self, more: Load, map: &Map, table: u64) -> u64 {
        let all = [self.frozen.unwrap_or_default(), self.active.and(more), keys(EMERGENCY_KEYS)];
        folds(&all[usize::from(self.frozen.is_none())..], map, table)
    }
}

impl<'m, H: Host> Store<'m, H> {
    fn map(&self) -> Map {
        let Some(newest) = self.root.newest() else { return Map::default() };
        let nodes = newest.map_nodes.into();
        let levels = if nodes == 0 { 0 } else { u64::from(newest.map_level) + 1 };
        let (record_nodes, record_bytes) = match newest.counts_records() {
            true => (newest.record_nodes.into(), newest.record_bytes),
            false => (nodes, u64::MAX / 2),
        };
        Map { nodes, levels, record_nodes, record_bytes }
    }

    fn gathered(&self) -> Gathered {
        let Pool { records, record_bytes, .. } = self.pool;
        let load = |items: u32, records: u32, bytes: u64| {
            keys(items.saturating_sub(records).into()).and(Load { keys: 0, records: records.into(), bytes })
        };
        let Some(frozen) = self.fold.frozen else {
            return Gathered { frozen: None, active: load(self.active.len, records, record_bytes) };
        };
        let active = load(self.active.len, records - frozen.records, record_bytes - frozen.record_bytes);
        Gathered { frozen: Some(load(self.frozen.len, frozen.records, frozen.record_bytes)), active }
    }

    /// Most nodes that the fold of the interval that has ended writes.
    pub(crate) fn frozen_nodes_max(&self) -> u64 {
        self.map().folded(self.gathered().frozen.unwrap_or_default())
    }

    /// Most blocks that folding all that is gathered at once can take.
    pub(crate) fn reserve(&self) -> u32 {
        let Gathered { frozen, active } = self.gathered();
        (2 * self.map().folded(active.and(frozen.unwrap_or_default())) + self.table()) as u32
    }

    /// What an epoch of so many pages wants free once the interval has ended.
    pub(crate) fn wanted_behind(&self, pages: u32) -> u32 {
        let Gathered { frozen, active } = self.gathered();
        let frozen = Some(active.and(frozen.unwrap_or_default()));
        let gathered = Gathered { frozen, active: Load::default() };
        self.epoch_blocks(pages.into(), self.records(), gathered, &self.map(), self.table()) as u32
    }

    /// Most blocks that folding what is gathered takes, one interval after the other, `more` keys or a record of so many
    /// bytes among it, and then an interval that frees (F2).
    pub(crate) fn folds_max(&self, more: u64, record: usize) -> u32 {
        let record = Load { keys: 0, records: u64::from(record > 0), bytes: record_stored(record) as u64 };
        self.gathered().folds(keys(more).and(record), &self.map(), self.table()) as u32
    }

    /// No less than [`Self::folds_max`] for one put, and soon said: three folds enter all nodes, each behind all growth.
    pub(crate) fn folds_surely(&self) -> u32 {
        let nodes = self.root.newest().map_or(0, |newest| newest.map_nodes);
        let (items, bytes) = (self.active.len + self.frozen.len, self.pool.record_bytes);
        8 * nodes + items / 4 + (bytes / 256) as u32 + self.table() as u32 + 512
    }

    /// What folding what is gathered takes, and no more.
    pub(crate) fn folds_least(&self, more: u64) -> u32 {
        let Gathered { frozen, active } = self.gathered();
        let all = [frozen.unwrap_or_default(), active.and(keys(more))];
        folds(&all[usize::from(frozen.is_none())..], &self.map(), self.table()) as u32
    }

    /// The records that the store holds: all of them may be in the next epoch. Those in the layers are counted twice.
    fn records(&self) -> Load {
        let newest = self.root.newest().copied().unwrap_or_default();
        let known = if newest.counts_records() { newest.record_bytes } else { newest.records * RECORD_EXPECTED };
        let records = newest.records + u64::from(self.pool.records);
        Load { keys: 0, records, bytes: known + self.pool.record_bytes }
    }

    /// Bytes of records beyond these for which there is to be room: as much as the disk's size and the memory allow.
    fn records_new(&self, held: &Load) -> u32 {
        let disk = u64::from(self.space.geometry().data_blocks()) * BLOCK_SIZE as u64;
        let cells = (held.bytes / CELL_BYTES as u64 + held.records + POOL_SPARE).min(self.pool.cells_total().into());
        // However small each of them is.
        let left = (u64::from(self.pool.cells_total()) - cells).min(self.pool.entries_total().into()) / 4;
        (disk / NEW_PART).max(NEW_MIN).min(left * RECORD_STORED_MIN as u64) as u32
    }

    /// Blocks that an epoch of `pages` pages and `records` takes on top of what is gathered, fold included.
    fn epoch_blocks(&self, pages: u64, records: Load, gathered: Gathered, map: &Map, table: u64) -> u64 {
        let epoch = keys(pages).and(records);
        pages + epoch.descriptors() + gathered.folds(epoch, map, table) + u64::from(EMERGENCY_BLOCKS + PUT_BLOCKS_MAX)
    }

    /// What can still be put.
    pub fn room(&self) -> Room {
        let held = self.records();
        let (records, new) = (self.room_records(&held), self.records_new(&held));
        // What is new comes second: whoever has no room for records has none for pages.
        let growth = if records < new { 0 } else { self.growth(&held, new) };
        Room { writes: self.writes(&held, records), growth, records }
    }

    /// Pages that can be put for sure.
    pub(crate) fn room_pages(&self) -> u32 {
        let held = self.records();
        self.writes(&held, self.room_records(&held))
    }

    fn writes(&self, held: &Load, records: u32) -> u32 {
        let (gathered, map, table) = (self.gathered(), self.map(), self.table());
        let records = held.and(Load::of_records(records.into()));
        let entries = u64::from(self.pool.entries_free).saturating_sub(records.records + POOL_SPARE);
        let most = self.space.free().min(entries as u32);
        let free = self.space.free().into();
        let fits = |pages: u32| self.epoch_blocks(pages.into(), records, gathered, &map, table) <= free;
        if fits(most) { most } else { largest(most, fits) }
    }

    fn room_records(&self, held: &Load) -> u32 {
        let new = self.records_new(held);
        let fits = |more: u32| self.holds_more(held, 0, more);
        if fits(new) { new } else { largest(new, fits) }
    }

    /// Pages by which the store can grow for sure.
    fn growth(&self, held: &Load, records: u32) -> u32 {
        let fits = |more: u32| self.holds_more(held, more.into(), records);
        if fits(0) { largest(self.space.geometry().data_blocks(), fits) } else { 0 }
    }

    /// Whether the store holds so many pages and bytes of records more than today.
    fn holds_more(&self, held: &Load, pages: u64, records: u32) -> bool {
        let Gathered { frozen, active } = self.gathered();
        let gathered = active.and(frozen.unwrap_or_default());
        let data = self.space.geometry().data_blocks();
        let held_pages = self.root.newest().map_or(0, |newest| newest.pages) + gathered.keys + pages;
        let log = u64::from(self.descriptors) + gathered.descriptors() + 2;
        let new = Load::of_records(records.into());
        let later = self.map().grown(gathered.and(keys(pages)), new);
        self.holds(data, self.table(), held_pages + log, held.and(new), &later)
    }

    /// Blocks of the table of used blocks, its index among them.
    fn table(&self) -> u64 {
        let table = self.space.table_blocks();
        (table + index_blocks(table).1) as u64
    }

    /// Whether `data` blocks hold so many pages and blocks of log, and a map, beside two epochs with so many records.
    fn holds(&self, data: u32, table: u64, held: u64, records: Load, map: &Map) -> bool {
        let kept = u64::from((data / KEPT_PART).clamp(KEPT_MIN, KEPT_MAX));
        let epoch = self.epoch_blocks(kept, records, Gathered::default(), map, table);
        held + 2 * map.nodes + table + 2 * epoch <= u64::from(data)
    }

    /// Blocks of the smallest disk, divided as this one is, that takes `demand` as its first epoch and can go on.
    pub(crate) fn blocks_for(&self, demand: Demand) -> u64 {
        let own = self.space.geometry().blocks() - self.space.geometry().data_blocks();
        let Demand { pages, records, record_bytes, .. } = demand;
        let records = Load { keys: 0, records, bytes: record_bytes };
        let first = keys(demand.keys).and(records);
        let log = first.descriptors() + 2;
        let map = Map::default().after(first);
        let too_small = |data: u32| {
            let table = (data as usize).div_ceil(TABLE_BLOCK_BLOCKS as usize);
            let table = (table + index_blocks(table).1) as u64;
            let new = (u64::from(data) * BLOCK_SIZE as u64 / NEW_PART).max(NEW_MIN);
            let gathered = Gathered { frozen: None, active: Load::default() };
            let fits = self.epoch_blocks(pages, first, gathered, &Map::default(), table) <= u64::from(data);
            let later = map.grown(Load::default(), Load::of_records(new));
            !fits || !self.holds(data, table, pages + log, records.and(Load::of_records(new)), &later)
        };
        u64::from(largest(u32::MAX - own, too_small)) + 1 + u64::from(own)
    }

    /// What is gathered, as a demand on a disk.
    pub(crate) fn demand(&self) -> Demand {
        let records = self.records();
        let keys = u64::from(self.active.len + self.frozen.len - self.pool.records);
        Demand { pages: self.status.pages_written, keys, records: records.records, record_bytes: records.bytes }
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
        (self.is_tight() || self.room_pages() == 0) && self.retire_for_space()
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
