//! Folding: an interval of the log becomes a checkpoint.
//!
//! ```text
//!   end_interval ─▶ merge (old map + frozen layer ─▶ new map) ─▶ table ─▶ index ─▶ root ─▶ sweep ─▶ clear
//! ```
//! The new map shares with the old every subtree in which nothing changed. Everything is written to free blocks; until
//! the root is durable the old map and the log are what an opening would use. The merge itself is in `merge`.
//!
//! Invariants: (F1) until the root is durable nothing that the old one needs is freed; (F2) space for a whole fold was
//! kept back before anything was gathered, so a fold never lacks a block.

use abi::Epoch;
use format::{Block, CHECKPOINTS_MAX, Checkpoint, LogStart, Pointer, Root, SPACE_POINTERS_MAX, Seal, SpaceIndex};

use crate::commit::{RootFor, RootWrite};
use crate::disk::Host;
use crate::layer::{Layer, Pool};
use crate::merge::Merge;
use crate::queue::Owner;
use crate::space::Sweep;
use crate::store::{Event, Failure, Phase, Store};

/// Blocks swept, or entries cleared, in one step.
const SWEEP_BLOCKS: u32 = 1 << 16;
const CLEAR_ENTRIES: u32 = 128;
/// Index blocks of the largest table, without the topmost.
pub(crate) const INDEX_BLOCKS_MAX: usize = SPACE_POINTERS_MAX;

/// The interval that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frozen {
    pub(crate) epoch: Epoch,
    pub(crate) time_ns: u64,
    /// Its number.
    pub(crate) interval: u8,
    /// Where the log goes on behind it.
    pub(crate) log: LogStart,
    /// Its records, and what they take.
    pub(crate) records: u32,
    pub(crate) record_bytes: u64,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Idle,
    Merge,
    /// Places for the changed blocks of the table and for its index.
    Places,
    /// The next block of the table to write.
    Table(usize),
    /// The next index block to write.
    Index(usize),
    /// The root is on its way.
    Root,
    /// What the root let go is being freed.
    Sweep(Sweep),
    /// The frozen layer is being given back.
    Clear,
}

/// A fold under way.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) frozen: Option<Frozen>,
    pub(crate) stage: Stage,
    pub(crate) merge: Merge,
    /// Nodes that the merge was foreseen to write, at most.
    bound: u64,
    /// Index blocks of the newest checkpoint, the topmost last.
    pub(crate) index: [Pointer; INDEX_BLOCKS_MAX + 1],
    next_index: [Block; INDEX_BLOCKS_MAX + 1],
    map: Pointer,
    map_level: u8,
}

impl Fold {
    pub(crate) fn new() -> Self {
        Self {
            frozen: None,
            stage: Stage::Idle,
            merge: Merge::default(),
            bound: 0,
            index: [Pointer::NONE; INDEX_BLOCKS_MAX + 1],
            next_index: [Block::NONE; INDEX_BLOCKS_MAX + 1],
            map: Pointer::NONE,
            map_level: 0,
        }
    }
}

/// Index blocks that a table of `table` blocks needs: those that point to it, and a topmost when they are several.
pub(crate) fn index_blocks(table: usize) -> (usize, usize) {
    let leaves = table.div_ceil(SPACE_POINTERS_MAX);
    (leaves, leaves + usize::from(leaves > 1))
}

/// Where the pointer to index block `slot` of `all` is kept: the topmost, or only, one is the last.
pub(crate) fn index_position(slot: usize, all: usize) -> usize {
    if slot + 1 == all { INDEX_BLOCKS_MAX } else { slot }
}

impl<'m, H: Host> Store<'m, H> {
    /// Whether an interval waits to be, or is being, folded.
    pub(crate) fn is_folding(&self) -> bool {
        let root = !matches!(self.root_write, RootWrite::Idle);
        root || self.fold.frozen.is_some() || !matches!(self.fold.stage, Stage::Idle)
    }

    /// Whether space is so scarce that only what is needed is kept.
    pub(crate) fn is_tight(&self) -> bool {
        self.space.free() < self.space.geometry().data_blocks() / 8 + self.reserve()
    }

    /// Whether so little is free that the blocks which only the newest checkpoint still needs must be won back. The
    /// later this is, the more of the map each fold shares among its changes; what is left is for the epoch that
    /// gathers while the fold goes on, which is taken to be as large as the last ones.
    fn must_fold(&self) -> bool {
        let epoch = self.epoch_pages.saturating_add(self.epoch_pages / 64);
        self.space.free() < self.space.geometry().data_blocks() / 32 + self.wanted_behind(epoch) + 64 + epoch
    }

    /// Whether the epoch that is being sealed should be the last of its interval.
    pub(crate) fn should_end_interval(&self) -> bool {
        if self.is_folding() {
            return false;
        }
        let config = &self.config;
        self.active.len >= config.interval_entries.min(self.pool.entries_total() / 2)
            || self.descriptors >= config.interval_descriptors
            || self.pool.cells_free < self.pool.cells_total() / 2
            || self.fold_wanted
            || (self.must_fold() && self.descriptors >= 8)
    }

    /// Between two epochs: ends the interval at the last one when that is due. Nothing on disk says so; an opening that
    /// comes before the checkpoint replays both intervals as one.
    pub(crate) fn end_interval_if_due(&mut self) {
        let (epoch, time_ns) = self.last_written;
        if self.active.len > 0 && self.should_end_interval() {
            self.end_interval(epoch, time_ns, self.log);
        }
    }

    /// Ends the interval at `epoch`, behind which the log goes on at `log`. While one is being folded nothing happens:
    /// this one goes on.
    pub(crate) fn end_interval(&mut self, epoch: Epoch, time_ns: u64, log: LogStart) {
        if self.is_folding() {
            return;
        }
        let Some(next) = self.root.free_slot() else {
            unreachable!("fewer checkpoints are kept than there are numbers");
        };
        // All that there are: the last interval's layer has been given back.
        let Pool { records, record_bytes, .. } = self.pool;
        self.fold.frozen = Some(Frozen { epoch, time_ns, interval: self.interval, log, records, record_bytes });
        self.frozen = core::mem::replace(&mut self.active, Layer::EMPTY);
        self.interval = next;
        // The descriptor that comes next was given its place by the interval that has ended.
        self.space.replay_log(log.block, next);
        self.descriptors = 0;
        self.fold_wanted = false;
    }

    /// Moves the fold on.
    pub(crate) fn step_fold(&mut self) -> bool {
        match &self.fold.stage {
            Stage::Idle => self.start_fold(),
            Stage::Merge => match self.merge_some() {
                Ok(None) => false,
                Ok(Some(false)) => true,
                Ok(Some(true)) => {
                    (self.fold.map, self.fold.map_level) = self.fold.merge.result();
                    // A store that was told wrong numbers by its root goes on as long as blocks suffice.
                    debug_assert!(self.fold.merge.written <= self.fold.bound, "more nodes than was foreseen");
                    self.fold.stage = Stage::Places;
                    true
                }
                Err(block) => {
                    self.stop(Failure::Map(block));
                    true
                }
            },
            Stage::Places => self.place_table(),
            Stage::Table(next) => self.write_table(*next),
            Stage::Index(next) => self.write_index(*next),
            Stage::Root => false,
            Stage::Sweep(_) => self.sweep(),
            Stage::Clear => {
                if self.pool.clear_some(&mut self.frozen, CLEAR_ENTRIES) {
                    self.fold.stage = Stage::Idle;
                }
                true
            }
        }
    }

    fn start_fold(&mut self) -> bool {
        let Some(frozen) = self.fold.frozen else {
            return false;
        };
        let ready = matches!(self.phase, Phase::Running)
            && self.head >= frozen.epoch
            && matches!(self.root_write, RootWrite::Idle);
        if !ready {
            return false;
        }
        let newest = self.root.newest().copied().unwrap_or_default();
        self.fold.merge = Merge::new(&newest, frozen.epoch, frozen.interval, !self.is_tight());
        self.fold.stage = Stage::Merge;
        self.fold.bound = self.frozen_nodes_max();
        true
    }

    /// Finds a place for every block of the table that has changed and for its index. Finding places changes the
    /// table, so this goes on until nothing new has changed.
    fn place_table(&mut self) -> bool {
        let Some(Frozen { interval, .. }) = self.fold.frozen else {
            unreachable!("a fold folds an interval");
        };
        let table = self.space.table_blocks();
        let (_, all) = index_blocks(table);
        for slot in 0..all {
            let position = index_position(slot, all);
            let old = self.fold.index[position].block;
            if old.is_some() {
                self.space.die(old, interval);
            }
            self.fold.next_index[position] = self.place(interval);
        }
        loop {
            let mut placed = false;
            for index in 0..table {
                if !self.space.table[index].dirty || self.space.table[index].next.is_some() {
                    continue;
                }
                let old = self.space.table[index].pointer.block;
                if old.is_some() {
                    self.space.die(old, interval);
                }
                self.space.table[index].next = self.place(interval);
                placed = true;
            }
            if !placed {
                break;
            }
        }
        self.fold.stage = Stage::Table(0);
        true
    }

    /// A free block for the fold (F2).
    pub(crate) fn place(&mut self, interval: u8) -> Block {
        match self.space.allocate(interval) {
            Some(block) => block,
            None => unreachable!("F2: space for the fold was kept back"),
        }
    }

    fn write_table(&mut self, next: usize) -> bool {
        let Some(Frozen { epoch, .. }) = self.fold.frozen else {
            unreachable!("a fold folds an interval");
        };
        let table = self.space.table_blocks();
        let Some(index) = (next..table).find(|index| self.space.table[*index].next.is_some()) else {
            self.fold.stage = Stage::Index(0);
            return true;
        };
        if self.buffers.free() < 4 || self.queue.room() < 8 {
            return false;
        }
        let Some(page) = self.buffers.take() else {
            return false;
        };
        let at = core::mem::take(&mut self.space.table[index].next);
        let bytes = self.host.bytes_mut(page);
        let from = self.space.table_bytes(index);
        bytes[..from.len()].copy_from_slice(from);
        bytes[from.len()..].fill(0);
        let sum = Seal::Space.checksum(self.world, at, epoch, bytes);
        self.space.table[index].pointer = Pointer::single(at, epoch, sum);
        self.space.table[index].dirty = false;
        self.push_block(at, page);
        self.fold.stage = Stage::Table(index + 1);
        true
    }

    /// Appends a block of the store's own to what is written.
    pub(crate) fn push_block(&mut self, at: Block, page: crate::memory::PageRef) {
        self.queue.push(at, page, Owner::Buffer);
        self.status.blocks_written += 1;
    }

    fn write_index(&mut self, next: usize) -> bool {
        let Some(frozen) = self.fold.frozen else {
            unreachable!("a fold folds an interval");
        };
        let table = self.space.table_blocks();
        let (leaves, all) = index_blocks(table);
        if self.buffers.free() < 4 || self.queue.room() < 8 {
            return false;
        }
        let Some(page) = self.buffers.take() else {
            return false;
        };
        let mut pointers = [Pointer::NONE; SPACE_POINTERS_MAX];
        let (top, position) = (next == leaves, index_position(next, all));
        let count = if top {
            pointers[..leaves].copy_from_slice(&self.fold.index[..leaves]);
            leaves
        } else {
            let blocks = &self.space.table[next * SPACE_POINTERS_MAX..table.min((next + 1) * SPACE_POINTERS_MAX)];
            for (pointer, block) in pointers.iter_mut().zip(blocks) {
                *pointer = block.pointer;
            }
            blocks.len()
        };
        let at = self.fold.next_index[position];
        let written = SpaceIndex::write(
            self.world,
            at,
            frozen.epoch,
            (u8::from(top), frozen.interval),
            &pointers[..count],
            self.root.checkpoints(),
            self.host.bytes_mut(page),
        );
        self.fold.index[position] = written;
        self.push_block(at, page);
        self.fold.stage = Stage::Index(next + 1);
        if next + 1 == all {
            self.write_checkpoint(frozen, written);
            self.fold.stage = Stage::Root;
        }
        true
    }

    fn write_checkpoint(&mut self, frozen: Frozen, space: Pointer) {
        let mut root = self.next_root();
        let keep = if self.is_tight() { 1 } else { usize::from(self.config.checkpoints) };
        while root.checkpoints().len() >= keep.min(CHECKPOINTS_MAX - 1) && !root.checkpoints().is_empty() {
            let thinned = if self.is_tight() { 0 } else { thin(&root) };
            root.remove(thinned);
        }
        let merge = &self.fold.merge;
        let pushed = root.push(Checkpoint {
            epoch: frozen.epoch,
            map: self.fold.map,
            map_level: self.fold.map_level,
            space,
            slot: frozen.interval,
            time_ns: frozen.time_ns,
            pages: merge.pages,
            records: merge.records,
            used_blocks: self.space.used(),
            map_nodes: merge.nodes,
            record_nodes: merge.record_nodes,
            record_bytes: merge.record_bytes,
        });
        assert!(pushed, "room was made");
        root.interval = self.interval;
        root.log = frozen.log;
        if root.resume.sequence < root.log.sequence {
            root.resume = root.log;
        }
        self.write_root(root, RootFor::Checkpoint);
    }

    /// The checkpoint's root is in force: what the old one alone needed can be freed.
    pub(crate) fn checkpoint_durable(&mut self, old: &Root) {
        let Some(frozen) = self.fold.frozen.take() else {
            unreachable!("a checkpoint ends a fold");
        };
        self.space.forget_deferred(frozen.epoch);
        self.fold.stage = Stage::Sweep(self.sweep_after(old));
        self.events.push(Event::CheckpointDurable(frozen.epoch));
    }

    /// What a sweep has to do now that `old` was replaced by the root in force.
    pub(crate) fn sweep_after(&self, old: &Root) -> Sweep {
        let newest = self.root.newest().map_or(0, |newest| newest.slot);
        let mut sweep = Sweep::new();
        sweep.rename_retired(
            old.checkpoints().iter().map(|checkpoint| (checkpoint.slot, checkpoint.epoch)),
            |slot, epoch| self.root.checkpoints().iter().any(|kept| kept.slot == slot && kept.epoch == epoch),
            newest,
        );
        sweep.gathering = self.interval;
        sweep.log_kept[usize::from(newest)] = true;
        sweep.log_kept[usize::from(self.interval)] = true;
        sweep
    }

    fn sweep(&mut self) -> bool {
        let Stage::Sweep(sweep) = &mut self.fold.stage else {
            return false;
        };
        if self.space.sweep_some(sweep, SWEEP_BLOCKS) {
            self.fold.stage = Stage::Clear;
        }
        true
    }

    /// Asks for a checkpoint of the newest epoch as soon as none gathers, whatever the log's length: it wins back what
    /// the newest checkpoint alone still needs.
    pub fn want_checkpoint(&mut self) {
        self.fold_wanted = self.active.len > 0;
    }
}

/// Which of a root's checkpoints to give up: the one whose neighbours are closest, measured by age. The oldest and the
/// newest stay, so what is kept reaches back far and grows denser towards now.
fn thin(root: &Root) -> usize {
    let kept = root.checkpoints();
    let Some(newest) = kept.last() else {
        return 0;
    };
    if kept.len() < 3 {
        return 0;
    }
    let age = |position: usize| newest.time_ns.saturating_sub(kept[position].time_ns).max(1);
    // The gap that would remain, in parts of the age at which it would lie: the smallest is missed least.
    (1..kept.len() - 1)
        .min_by_key(|position| {
            let gap = kept[position + 1].time_ns.saturating_sub(kept[position - 1].time_ns);
            u128::from(gap) * 1_000_000 / u128::from(age(position - 1))
        })
        .unwrap_or(0)
}
