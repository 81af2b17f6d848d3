//! The merge: the old map and a frozen layer, both in order of key, become the new map.
//!
//! A cursor goes through the old map from its root. A subtree in which the layer changes nothing is linked as it is;
//! into others it descends, and every node that it enters dies. What comes out is packed into nodes level by level.
//! One step handles one item or one child.
//!
//! Invariants, on which room.rs counts: (M1) between two nodes that are entered and not next to each other what comes out
//! is packed as densely as its order allows; (M2) a leaf that would stay mostly empty takes in the next one, and when
//! both do not fit into one they are divided evenly: then it ends there.

use abi::Epoch;
use format::{
    Block, Checkpoint, Item, Key, NODE_BODY_BYTES, NODE_LEVEL_MAX, Node, NodeWriter, Pointer, RECORD_BYTES_MAX,
    TABLE_BIT,
};

use crate::disk::Host;
use crate::layer::Held;
use crate::memory::PageRef;
use crate::queue::Owner;
use crate::read::Lookup;
use crate::store::Store;

const LEVELS: usize = NODE_LEVEL_MAX as usize + 1;
/// Steps of the merge in one poll.
const STEPS: u32 = 64;
/// Second copies that are held back, to go out in one command.
const SECONDS_MAX: usize = 8;

/// A node of the old map on the way to where the merge stands.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    pointer: Pointer,
    level: u8,
    /// Next child, or byte offset of the next item.
    position: u32,
    /// First key behind it; `None`: nothing is.
    bound: Option<Key>,
    /// Of the next item, when its front is done: where the rest starts.
    rest: Option<u64>,
    /// A leaf that was entered only because the one before would stay mostly empty.
    taken_in: bool,
    /// A leaf in which a record was met.
    has_records: bool,
}

/// State of a merge.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    epoch: Epoch,
    interval: u8,
    path: [Cursor; LEVELS],
    depth: usize,
    writers: [Option<(NodeWriter, PageRef)>; LEVELS],
    /// The layer is done below this key.
    from: Key,
    done: Option<(Pointer, u8)>,
    /// Pages with contents in the new map.
    pub(crate) pages: u64,
    /// Records in it.
    pub(crate) records: u64,
    /// Its nodes.
    pub(crate) nodes: u32,
    /// Leaves of it that hold records, and what these take there. While `counts` is false only what has come out yet.
    pub(crate) record_nodes: u32,
    pub(crate) record_bytes: u64,
    /// The old map says what its records take. If not, every leaf of them is entered, and what comes out is counted.
    counts: bool,
    /// Nodes written.
    pub(crate) written: u64,
    /// The leaf being filled ends near so many bytes (M2).
    divide_at: Option<usize>,
    /// Second copies still to be written, and where.
    seconds: [(Block, PageRef); SECONDS_MAX],
    seconds_held: usize,
    /// Leaves with nothing but pages are written twice, too: the first redundancy to go when space is short.
    twin_pages: bool,
}

impl Merge {
    /// Starts at the map of `old`, for a checkpoint of `epoch` that ends `interval`.
    pub(crate) fn new(old: &Checkpoint, epoch: Epoch, interval: u8, twin_pages: bool) -> Self {
        let mut merge = Self {
            twin_pages,
            epoch,
            interval,
            pages: old.pages,
            records: old.records,
            nodes: old.map_nodes,
            record_nodes: old.record_nodes,
            record_bytes: old.record_bytes,
            counts: old.counts_records(),
            ..Self::default()
        };
        if old.map.block.is_some() {
            merge.path[0] = Cursor { pointer: old.map, level: old.map_level, ..Cursor::default() };
            merge.depth = 1;
        }
        merge
    }

    /// Root of the new map and its level.
    pub(crate) fn result(&self) -> (Pointer, u8) {
        self.done.unwrap_or_default()
    }

    /// Whether what lies before `bound` must be entered though nothing in it changes, to be counted.
    fn must_count(&self, bound: Option<Key>) -> bool {
        !self.counts && bound.is_none_or(|bound| bound.object & TABLE_BIT != 0)
    }

    fn levels(&self) -> usize {
        self.writers.iter().rposition(|writer| writer.is_some()).map_or(1, |level| level + 1)
    }
}

impl<'m, H: Host> Store<'m, H> {
    /// Merges on: `Ok(None)` when it waits for the disk, `Ok(Some(true))` when it is done, `Err` with the block of the
    /// old map that cannot be used.
    pub(crate) fn merge_some(&mut self) -> Result<Option<bool>, Block> {
        for step in 0..STEPS {
            // One step may fill a node of each level and begin another of each.
            let levels = self.fold.merge.levels();
            let (pages, places) = (levels + 3, 2 * (levels + 3) + SECONDS_MAX);
            if self.buffers.free() < pages || self.queue.room() < places {
                let writes = self.fold.merge.seconds_held > 0 && self.queue.room() >= SECONDS_MAX;
                if writes {
                    self.write_seconds();
                }
                return Ok((step > 0 || writes).then_some(false));
            }
            if self.fold.merge.done.is_some() {
                return Ok(Some(true));
            }
            match self.merge_step() {
                Lookup::Found(()) => {}
                Lookup::Pending => return Ok((step > 0).then_some(false)),
                Lookup::Failed(block) => return Err(block),
            }
        }
        Ok(Some(false))
    }

    fn merge_step(&mut self) -> Lookup<()> {
        let new = self.pool.at_or_after(&self.frozen, self.fold.merge.from);
        let Some(top) = self.fold.merge.depth.checked_sub(1) else {
            match new {
                Some(held) => self.merge_new(&held),
                None => self.merge_finish(),
            }
            return Lookup::Found(());
        };
        let cursor = self.fold.merge.path[top];
        let page = match self.node(&cursor.pointer, cursor.level) {
            Lookup::Found(page) => page,
            Lookup::Pending => return Lookup::Pending,
            Lookup::Failed(block) => return Lookup::Failed(block),
        };
        let Some(node) = Node::view(self.host.bytes(page)) else {
            return Lookup::Failed(cursor.pointer.block);
        };
        if cursor.level > 0 {
            let child = node.child(cursor.position);
            let bound = node.child(cursor.position + 1).map(|(key, _)| key).or(cursor.bound);
            match child {
                Some((key, pointer)) => self.merge_child(top, new, (key, pointer, bound)),
                None => return self.merge_leave(cursor.pointer),
            }
            return Lookup::Found(());
        }
        if cursor.taken_in {
            let used = node.used();
            self.merge_divide(top, used);
            return Lookup::Found(());
        }
        // The node's page may be needed for another while this item is written: work on a copy.
        let mut copy = [0; RECORD_BYTES_MAX];
        let item = match node.items_from(cursor.position as usize).next() {
            None => return self.merge_leave(cursor.pointer),
            Some(Item::Record { key, bytes }) => {
                copy[..bytes.len()].copy_from_slice(bytes);
                Item::Record { key, bytes: &copy[..bytes.len()] }
            }
            Some(Item::Page { key, place, sum }) => Item::Page { key, place, sum },
            Some(Item::Zero { key, count }) => Item::Zero { key, count },
            Some(Item::Absent { key, count }) => Item::Absent { key, count },
        };
        if let Item::Page { place, .. } = item
            && !self.space.is_alive(place.block)
        {
            // The map speaks of a block that the table has not: one of them is wrong, and neither is followed.
            return Lookup::Failed(place.block);
        }
        self.fold.merge.path[top].has_records |= matches!(item, Item::Record { .. });
        self.merge_item(top, new, item);
        Lookup::Found(())
    }

    /// A node of the old map was gone through: it dies.
    fn merge_leave(&mut self, pointer: Pointer) -> Lookup<()> {
        let interval = self.fold.merge.interval;
        if !self.space.is_alive(pointer.block) {
            return Lookup::Failed(pointer.block);
        }
        self.space.die(pointer.block, interval);
        if let Some(twin) = pointer.to_twin() {
            if !self.space.is_alive(twin.block) {
                return Lookup::Failed(twin.block);
            }
            self.space.die(twin.block, interval);
        }
        let merge = &mut self.fold.merge;
        merge.nodes = merge.nodes.saturating_sub(1);
        merge.depth -= 1;
        if merge.counts && merge.path[merge.depth].has_records {
            merge.record_nodes = merge.record_nodes.saturating_sub(1);
        }
        Lookup::Found(())
    }

    fn merge_child(&mut self, top: usize, new: Option<Held>, child: (Key, Pointer, Option<Key>)) {
        let (key, pointer, bound) = child;
        if let Some(held) = new
            && held.end() <= key
        {
            return self.merge_new(&held);
        }
        let level = self.fold.merge.path[top].level;
        let untouched = match (new, bound) {
            (None, _) => true,
            (Some(held), Some(bound)) => held.key >= bound,
            (Some(_), None) => false,
        };
        let untouched = untouched && !self.fold.merge.must_count(bound);
        // A leaf that is mostly empty takes in its neighbour rather than stay so.
        let starved = level == 1
            && self.fold.merge.writers[0].as_ref().is_some_and(|(writer, _)| writer.used() < NODE_BODY_BYTES / 4);
        self.fold.merge.path[top].position += 1;
        if untouched && !starved {
            for below in 0..usize::from(level) {
                self.merge_flush(below);
            }
            self.merge_link(usize::from(level), key, &pointer);
        } else {
            let merge = &mut self.fold.merge;
            let taken_in = starved && untouched;
            merge.path[top + 1] = Cursor { pointer, level: level - 1, bound, taken_in, ..Cursor::default() };
            merge.depth += 1;
        }
    }

    /// Before the first item of a leaf of `used` bytes that was taken in: when it does not fit behind what is there, both
    /// are to be divided evenly (M2).
    fn merge_divide(&mut self, top: usize, used: usize) {
        let merge = &mut self.fold.merge;
        merge.path[top].taken_in = false;
        let both = used + merge.writers[0].as_ref().map_or(0, |(writer, _)| writer.used());
        merge.divide_at = (both > NODE_BODY_BYTES).then_some(both / 2);
    }

    /// The next old item against the next new one.
    fn merge_item(&mut self, top: usize, new: Option<Held>, item: Item<'_>) {
        let stored = item.stored_bytes() as u32;
        let rest = self.fold.merge.path[top].rest;
        let key = Key { object: item.key().object, index: rest.unwrap_or(item.key().index) };
        let end = Key { object: key.object, index: item.key().index + item.count() };
        let part = |from: u64, to: u64| match item {
            Item::Zero { key, .. } => Item::Zero { key: Key { index: from, ..key }, count: to - from },
            whole => whole,
        };
        let cursor = &mut self.fold.merge.path[top];
        match new {
            Some(held) if held.end() <= key => self.merge_new(&held),
            Some(held) if held.key < end => {
                if key < held.key {
                    cursor.rest = Some(held.key.index);
                    return self.merge_emit(&part(key.index, held.key.index));
                }
                // Overlapped from its front: that part is no more.
                if held.end() < end {
                    cursor.rest = Some(held.end().index);
                } else {
                    cursor.position += stored;
                    cursor.rest = None;
                }
                self.merge_died(&item);
            }
            _ => {
                cursor.position += stored;
                cursor.rest = None;
                self.merge_emit(&part(key.index, end.index));
            }
        }
    }

    fn merge_died(&mut self, item: &Item<'_>) {
        let interval = self.fold.merge.interval;
        match item {
            Item::Page { place, .. } => {
                self.space.die(place.block, interval);
                self.fold.merge.pages = self.fold.merge.pages.saturating_sub(1);
            }
            Item::Record { .. } => {
                let merge = &mut self.fold.merge;
                merge.records = merge.records.saturating_sub(1);
                if merge.counts {
                    merge.record_bytes = merge.record_bytes.saturating_sub(item.stored_bytes() as u64);
                }
            }
            Item::Zero { .. } | Item::Absent { .. } => {}
        }
    }

    fn merge_new(&mut self, held: &Held) {
        self.fold.merge.from = held.end();
        let mut bytes = [0; RECORD_BYTES_MAX];
        let item = self.pool.item(held, &mut bytes);
        match item {
            Item::Absent { .. } => return,
            Item::Page { .. } => self.fold.merge.pages += 1,
            Item::Record { .. } => {
                self.fold.merge.records += 1;
                if self.fold.merge.counts {
                    self.fold.merge.record_bytes += item.stored_bytes() as u64;
                }
            }
            Item::Zero { .. } => {}
        }
        self.merge_emit(&item);
    }

    fn merge_writer(&mut self, level: usize) -> (NodeWriter, PageRef) {
        match self.fold.merge.writers[level].take() {
            Some(writer) => writer,
            None => {
                let Some(page) = self.buffers.take() else {
                    unreachable!("buffers were looked for");
                };
                (NodeWriter::start(self.host.bytes_mut(page), level as u8), page)
            }
        }
    }

    fn merge_emit(&mut self, item: &Item<'_>) {
        let stored = item.stored_bytes();
        if !self.fold.merge.counts && matches!(item, Item::Record { .. }) {
            self.fold.merge.record_bytes += stored as u64;
        }
        let used = self.fold.merge.writers[0].as_ref().map_or(0, |(writer, _)| writer.used());
        if self.fold.merge.divide_at.is_some_and(|at| used + stored / 2 > at) {
            self.merge_flush(0);
        }
        let (mut writer, page) = self.merge_writer(0);
        if writer.push_item(self.host.bytes_mut(page), item) {
            self.fold.merge.writers[0] = Some((writer, page));
            return;
        }
        self.fold.merge.writers[0] = Some((writer, page));
        self.merge_flush(0);
        let (mut writer, page) = self.merge_writer(0);
        let fitted = writer.push_item(self.host.bytes_mut(page), item);
        assert!(fitted, "an item fits into an empty leaf");
        self.fold.merge.writers[0] = Some((writer, page));
    }

    /// Appends a child to the node being filled at `level`; a full one is written and linked one level up, and so on.
    fn merge_link(&mut self, level: usize, key: Key, pointer: &Pointer) {
        let (mut level, mut key, mut pointer) = (level, key, *pointer);
        loop {
            assert!(level < LEVELS, "a map is never so deep");
            let (mut writer, page) = self.merge_writer(level);
            if writer.push_child(self.host.bytes_mut(page), key, &pointer) {
                self.fold.merge.writers[level] = Some((writer, page));
                return;
            }
            let full = self.merge_seal(&writer, page);
            let first = writer.first();
            let (mut writer, page) = self.merge_writer(level);
            let fitted = writer.push_child(self.host.bytes_mut(page), key, &pointer);
            assert!(fitted, "a child fits into an empty node");
            self.fold.merge.writers[level] = Some((writer, page));
            (level, key, pointer) = (level + 1, first, full);
        }
    }

    /// Writes the node being filled at `level`, if any, and links it one level up.
    fn merge_flush(&mut self, level: usize) {
        let Some((writer, page)) = self.fold.merge.writers[level].take() else {
            return;
        };
        let pointer = self.merge_seal(&writer, page);
        self.merge_link(level + 1, writer.first(), &pointer);
        if level == 0 {
            self.fold.merge.divide_at = None;
        }
    }

    fn merge_seal(&mut self, writer: &NodeWriter, page: PageRef) -> Pointer {
        let (epoch, interval) = (self.fold.merge.epoch, self.fold.merge.interval);
        let at = self.place(interval);
        self.fold.merge.record_nodes += u32::from(writer.has_records());
        self.fold.merge.written += 1;
        let mut pointer = writer.seal(self.host.bytes_mut(page), self.world, at, epoch);
        if self.twins && (writer.level() > 0 || writer.has_records() || self.fold.merge.twin_pages) {
            pointer.twin = self.space.allocate_apart(interval, at).unwrap_or_else(|| {
                self.status.copies_near += 1;
                self.place(interval)
            });
            self.queue.push(at, page, Owner::Shared);
            self.status.blocks_written += 2;
            self.fold.merge.nodes += 1;
            if self.fold.merge.seconds_held == SECONDS_MAX {
                self.write_seconds();
            }
            let merge = &mut self.fold.merge;
            merge.seconds[merge.seconds_held] = (pointer.twin, page);
            merge.seconds_held += 1;
            return pointer;
        }
        self.push_block(at, page);
        self.fold.merge.nodes += 1;
        pointer
    }

    /// Writes the second copies that were held back.
    fn write_seconds(&mut self) {
        let held = core::mem::take(&mut self.fold.merge.seconds_held);
        for position in 0..held {
            let (at, page) = self.fold.merge.seconds[position];
            self.queue.push(at, page, Owner::Buffer);
        }
    }

    /// Everything is emitted: closes the nodes from the leaves up; the last one is the root.
    fn merge_finish(&mut self) {
        for level in 0..LEVELS {
            let higher = self.fold.merge.writers[level + 1..].iter().any(Option::is_some);
            if higher {
                self.merge_flush(level);
                continue;
            }
            let Some((writer, page)) = self.fold.merge.writers[level].take() else {
                continue;
            };
            let only = writer.only_child(self.host.bytes(page));
            self.fold.merge.done = Some(match only {
                Some(child) => {
                    self.buffers.give(page);
                    (child, level as u8 - 1)
                }
                None => (self.merge_seal(&writer, page), level as u8),
            });
            self.write_seconds();
            return;
        }
        self.fold.merge.done = Some((Pointer::NONE, 0));
    }
}
