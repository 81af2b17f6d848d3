//! Layers: what has changed since the map on disk was folded, in order of key, in memory.
//!
//! A layer is a set of disjoint items: pages, records, extents of zeroes, extents of what is absent. Setting an item
//! trims, splits or removes whatever it overlaps. Two layers share one pool: the one that gathers and the one being
//! folded. Each is a treap whose priorities are hashes of the keys, so that its shape depends on its contents alone;
//! a search by who puts begins where the last one ended ([`path`]).
//!
//! Invariants: (L1) the items of a layer are ordered and disjoint; (L2) a parent's priority is at least its
//! children's; (L3) every entry and every cell is in exactly one layer or one free list.

use abi::INCARNATION_MAX;
use format::{Block, Checksum, Item, Key, Place, RECORD_BYTES_MAX, record_stored};

use path::{Spot, Way};

mod path;

const NIL: u32 = u32::MAX;
pub(crate) const CELL_BYTES: usize = 124;

/// One item in memory.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    key: Key,
    /// Page: checksum; extent: count; record: first cell and length.
    value: [u64; 2],
    block: u32,
    /// Kind in the upper 8 bits, incarnation below.
    meta: u32,
    left: u32,
    right: u32,
}

impl Default for Entry {
    fn default() -> Self {
        Self { key: Key { object: 0, index: 0 }, value: [0; 2], block: 0, meta: 0, left: NIL, right: NIL }
    }
}

/// A piece of a record's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    next: u32,
    bytes: [u8; CELL_BYTES],
}

impl Default for Cell {
    fn default() -> Self {
        Self { next: NIL, bytes: [0; CELL_BYTES] }
    }
}

const PAGE: u32 = 1;
const ZERO: u32 = 2;
const ABSENT: u32 = 3;
const RECORD: u32 = 4;

/// What a layer says of a key; a record's bytes are fetched with [`Pool::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Page(Place, Checksum),
    Zero(u64),
    Absent(u64),
    Record { cell: u32, length: u32 },
}

/// An item of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) key: Key,
    pub(crate) value: Value,
}

impl Held {
    pub(crate) fn count(&self) -> u64 {
        match self.value {
            Value::Page(..) | Value::Record { .. } => 1,
            Value::Zero(count) | Value::Absent(count) => count,
        }
    }

    /// The key behind its last.
    pub(crate) fn end(&self) -> Key {
        Key { object: self.key.object, index: self.key.index + self.count() }
    }
}

impl Entry {
    fn held(&self) -> Held {
        let value = match self.meta >> 24 {
            PAGE => Value::Page(
                Place { block: Block(self.block), incarnation: self.meta & INCARNATION_MAX },
                Checksum(u128::from(self.value[0]) | u128::from(self.value[1]) << 64),
            ),
            ZERO => Value::Zero(self.value[0]),
            ABSENT => Value::Absent(self.value[0]),
            _ => Value::Record { cell: self.value[0] as u32, length: self.value[1] as u32 },
        };
        Held { key: self.key, value }
    }

    /// Whether the last of it lies at `key` or behind.
    fn ends_behind(&self, key: Key) -> bool {
        let count = if matches!(self.meta >> 24, ZERO | ABSENT) { self.value[0] } else { 1 };
        self.key >= key || self.key.object == key.object && self.key.index + count > key.index
    }

    fn set(&mut self, held: &Held) {
        let (kind, value, block, incarnation) = match held.value {
            Value::Page(place, sum) => (PAGE, [sum.0 as u64, (sum.0 >> 64) as u64], place.block.0, place.incarnation),
            Value::Zero(count) => (ZERO, [count, 0], 0, 0),
            Value::Absent(count) => (ABSENT, [count, 0], 0, 0),
            Value::Record { cell, length } => (RECORD, [u64::from(cell), u64::from(length)], 0, 0),
        };
        self.key = held.key;
        self.value = value;
        self.block = block;
        self.meta = kind << 24 | incarnation;
    }
}

/// A layer's root in the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    root: u32,
    /// Items in it.
    pub(crate) len: u32,
}

impl Layer {
    pub(crate) const EMPTY: Self = Self { root: NIL, len: 0 };
}

/// Entries and cells that layers are made of.
#[derive(Debug)]
pub(crate) struct Pool<'m> {
    entries: &'m mut [Entry],
    cells: &'m mut [Cell],
    free_entry: u32,
    free_cell: u32,
    way: Way,
    /// Entries not in use.
    pub(crate) entries_free: u32,
    /// Cells not in use.
    pub(crate) cells_free: u32,
    /// Records in all layers.
    pub(crate) records: u32,
    /// Bytes that these take when they are stored.
    pub(crate) record_bytes: u64,
}

/// What [`Pool::swap`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// This, which is replaced.
    Done(Held),
    /// Nothing: [`Pool::put`] it.
    Room,
    /// Items that overlap it: [`Pool::cut_one`] them.
    Overlap,
}

/// The pool has too few entries or cells left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolFull;

fn priority(key: Key) -> u64 {
    let mut hash = key.object.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.index.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash = (hash ^ hash >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ hash >> 29
}

impl<'m> Pool<'m> {
    pub(crate) fn new(entries: &'m mut [Entry], cells: &'m mut [Cell]) -> Self {
        let (entries_free, cells_free) = (entries.len() as u32, cells.len() as u32);
        for (i, entry) in entries.iter_mut().enumerate() {
            entry.left = if i + 1 < entries_free as usize { i as u32 + 1 } else { NIL };
        }
        for (i, cell) in cells.iter_mut().enumerate() {
            cell.next = if i + 1 < cells_free as usize { i as u32 + 1 } else { NIL };
        }
        let free_entry = if entries_free > 0 { 0 } else { NIL };
        let free_cell = if cells_free > 0 { 0 } else { NIL };
        let way = Way::NONE;
        Self { entries, cells, free_entry, free_cell, way, entries_free, cells_free, records: 0, record_bytes: 0 }
    }

    fn at(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    fn at_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    fn take(&mut self) -> Result<u32, PoolFull> {
        let taken = self.free_entry;
        if taken == NIL {
            return Err(PoolFull);
        }
        self.free_entry = self.at(taken).left;
        self.entries_free -= 1;
        Ok(taken)
    }

    fn give(&mut self, index: u32) {
        let free = self.free_entry;
        *self.at_mut(index) = Entry { left: free, ..Entry::default() };
        self.free_entry = index;
        self.entries_free += 1;
    }

    /// Entries in all.
    pub(crate) fn entries_total(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Cells in all.
    pub(crate) fn cells_total(&self) -> u32 {
        self.cells.len() as u32
    }

    /// Cells that a record of `length` bytes takes.
    pub(crate) fn cells_for(length: usize) -> u32 {
        length.div_ceil(CELL_BYTES) as u32
    }

    /// Stores a record's bytes in cells.
    pub(crate) fn store_record(&mut self, bytes: &[u8]) -> Result<Value, PoolFull> {
        if self.cells_free < Self::cells_for(bytes.len()) {
            return Err(PoolFull);
        }
        let first = self.free_cell;
        let mut last = NIL;
        for chunk in bytes.chunks(CELL_BYTES) {
            let cell = self.free_cell;
            self.free_cell = self.cells[cell as usize].next;
            self.cells_free -= 1;
            self.cells[cell as usize].bytes[..chunk.len()].copy_from_slice(chunk);
            last = cell;
        }
        self.cells[last as usize].next = NIL;
        self.records += 1;
        self.record_bytes += record_stored(bytes.len()) as u64;
        Ok(Value::Record { cell: first, length: bytes.len() as u32 })
    }

    /// Copies a record's bytes to the front of `out` and returns them.
    pub(crate) fn record<'a>(&self, cell: u32, length: u32, out: &'a mut [u8; RECORD_BYTES_MAX]) -> &'a [u8] {
        let mut cell = cell;
        let length = length as usize;
        for chunk in out[..length].chunks_mut(CELL_BYTES) {
            let from = &self.cells[cell as usize];
            chunk.copy_from_slice(&from.bytes[..chunk.len()]);
            cell = from.next;
        }
        &out[..length]
    }

    fn drop_value(&mut self, value: Value) {
        let Value::Record { cell, length } = value else {
            return;
        };
        self.records -= 1;
        self.record_bytes -= record_stored(length as usize) as u64;
        let mut cell = cell;
        while cell != NIL {
            let next = self.cells[cell as usize].next;
            self.cells[cell as usize].next = self.free_cell;
            self.free_cell = cell;
            self.cells_free += 1;
            cell = next;
        }
    }

    /// The first item of `layer` that ends beyond `key`.
    pub(crate) fn at_or_after(&self, layer: &Layer, key: Key) -> Option<Held> {
        let found = self.seek(layer, key);
        (found != NIL).then(|| self.at(found).held())
    }

    fn seek(&self, layer: &Layer, key: Key) -> u32 {
        let (mut node, mut best) = (layer.root, NIL);
        while node != NIL {
            let entry = self.at(node);
            if entry.ends_behind(key) {
                best = node;
                node = entry.left;
            } else {
                node = entry.right;
            }
        }
        best
    }

    /// Puts an item in the place of one with the same keys, without moving entries, as far as there is such a one.
    pub(crate) fn swap(&mut self, layer: &Layer, held: &Held) -> Swapped {
        let Spot { exact: found, low, high } = self.search(layer, held.key);
        if found == NIL {
            let overlaps =
                low != NIL && self.at(low).ends_behind(held.key) || high != NIL && self.at(high).key < held.end();
            return if overlaps { Swapped::Overlap } else { Swapped::Room };
        }
        let old = self.at(found).held();
        if old.count() != held.count() {
            return Swapped::Overlap;
        }
        self.drop_value(old.value);
        self.at_mut(found).set(held);
        Swapped::Done(old)
    }

    /// Where the item begins that lies behind the first `count` of those between `from` and `to`; `None` when there are
    /// no more than these.
    pub(crate) fn start_of_nth(&self, layer: &Layer, from: Key, to: Key, count: u32) -> Option<Key> {
        if layer.len <= count {
            return None;
        }
        let mut cursor = from;
        for _ in 0..count {
            cursor = self.at_or_after(layer, cursor).filter(|held| held.key < to)?.end();
        }
        self.at_or_after(layer, cursor).map(|held| held.key).filter(|key| *key < to)
    }

    /// The item of `layer` that covers `key`.
    pub(crate) fn find(&self, layer: &Layer, key: Key) -> Option<Held> {
        self.at_or_after(layer, key).filter(|held| held.key <= key)
    }

    /// Inserts an item that overlaps none.
    fn insert(&mut self, layer: &mut Layer, held: &Held) -> Result<(), PoolFull> {
        let new = self.take()?;
        self.at_mut(new).set(held);
        let rank = priority(held.key);
        let last = self.outranking(layer, held.key, rank);
        // Down to the place where the new one outranks what is there, which the way leads to …
        let (mut parent, mut went_left, mut node) = (NIL, false, last.map_or(layer.root, |last| last.node));
        while node != NIL && priority(self.at(node).key) >= rank {
            parent = node;
            went_left = held.key < self.at(node).key;
            node = if went_left { self.at(node).left } else { self.at(node).right };
        }
        // … and what is there is split by key into its two children.
        let (mut left_hook, mut right_hook) = ((new, true), (new, false));
        while node != NIL {
            if self.at(node).key < held.key {
                self.hang(left_hook, node);
                left_hook = (node, false);
                node = self.at(node).right;
            } else {
                self.hang(right_hook, node);
                right_hook = (node, true);
                node = self.at(node).left;
            }
        }
        self.hang(left_hook, NIL);
        self.hang(right_hook, NIL);
        if parent == NIL {
            layer.root = new
        } else {
            self.hang((parent, went_left), new)
        }
        self.step_to(layer, new, parent, went_left);
        layer.len += 1;
        Ok(())
    }

    fn hang(&mut self, (parent, left): (u32, bool), child: u32) {
        let entry = self.at_mut(parent);
        if left { entry.left = child } else { entry.right = child }
    }

    /// Removes the item that starts at `key`, which must be there.
    fn remove(&mut self, layer: &mut Layer, key: Key) {
        self.way.forget();
        let (mut parent, mut went_left, mut node) = (NIL, false, layer.root);
        while self.at(node).key != key {
            parent = node;
            went_left = key < self.at(node).key;
            node = if went_left { self.at(node).left } else { self.at(node).right };
        }
        let (mut left, mut right) = (self.at(node).left, self.at(node).right);
        let mut hook = (parent, went_left);
        loop {
            let take_left = match (left, right) {
                (_, NIL) => true,
                (NIL, _) => false,
                _ => priority(self.at(left).key) >= priority(self.at(right).key),
            };
            let next = if take_left { left } else { right };
            if hook.0 == NIL {
                layer.root = next
            } else {
                self.hang(hook, next)
            }
            if left == NIL || right == NIL {
                break;
            }
            if take_left {
                hook = (left, false);
                left = self.at(left).right;
            } else {
                hook = (right, true);
                right = self.at(right).left;
            }
        }
        self.give(node);
        layer.len -= 1;
    }

    /// Takes `count` keys from `key` out of `layer`, at most one item per call: what was there, or `None` when nothing
    /// (more) was. Splitting an extent takes an entry.
    pub(crate) fn cut_one(&mut self, layer: &mut Layer, key: Key, count: u64) -> Result<Option<Held>, PoolFull> {
        let end = Key { object: key.object, index: key.index + count };
        let Some(held) = self.at_or_after(layer, key).filter(|held| held.key < end) else {
            return Ok(None);
        };
        if self.entries_free == 0 && held.key < key && held.end() > end {
            return Err(PoolFull);
        }
        self.remove(layer, held.key);
        let extent = |from: u64, to: u64| match held.value {
            Value::Zero(_) => Value::Zero(to - from),
            _ => Value::Absent(to - from),
        };
        if held.key < key {
            let front = Held { key: held.key, value: extent(held.key.index, key.index) };
            self.insert(layer, &front)?;
        }
        if held.end() > end {
            let back = Held { key: end, value: extent(end.index, held.end().index) };
            self.insert(layer, &back)?;
        }
        self.drop_value(held.value);
        Ok(Some(held))
    }

    /// Inserts an item where [`Self::cut_one`] has made room.
    pub(crate) fn put(&mut self, layer: &mut Layer, held: &Held) -> Result<(), PoolFull> {
        debug_assert!(self.at_or_after(layer, held.key).is_none_or(|next| next.key >= held.end()), "L1");
        self.insert(layer, held)
    }

    /// Removes up to `steps` items, the first ones; true when the layer is empty. What is left can be searched, and
    /// is only cleared further: L2 holds no more.
    pub(crate) fn clear_some(&mut self, layer: &mut Layer, steps: u32) -> bool {
        self.way.forget();
        for _ in 0..steps {
            if layer.root == NIL {
                return true;
            }
            // Turning the first item up to the root costs, over all items, one turn for each.
            let mut root = layer.root;
            while self.at(root).left != NIL {
                let left = self.at(root).left;
                let between = self.at(left).right;
                self.at_mut(root).left = between;
                self.at_mut(left).right = root;
                root = left;
            }
            layer.root = self.at(root).right;
            let value = self.at(root).held().value;
            self.give(root);
            layer.len -= 1;
            self.drop_value(value);
        }
        layer.root == NIL
    }

    /// The item for the log or a leaf.
    pub(crate) fn item<'a>(&self, held: &Held, out: &'a mut [u8; RECORD_BYTES_MAX]) -> Item<'a> {
        let key = held.key;
        match held.value {
            Value::Page(place, sum) => Item::Page { key, place, sum },
            Value::Zero(count) => Item::Zero { key, count },
            Value::Absent(count) => Item::Absent { key, count },
            Value::Record { cell, length } => Item::Record { key, bytes: self.record(cell, length, out) },
        }
    }

    /// L1 and L2 of `layer`; returns how many items it has.
    #[cfg(test)]
    pub(crate) fn check(&self, layer: &Layer) -> u32 {
        fn walk(pool: &Pool<'_>, node: u32, low: &mut Key, count: &mut u32) {
            if node == NIL {
                return;
            }
            let entry = pool.at(node);
            for child in [entry.left, entry.right] {
                assert!(child == NIL || priority(pool.at(child).key) <= priority(entry.key), "L2");
            }
            walk(pool, entry.left, low, count);
            assert!(entry.key >= *low, "L1");
            *low = entry.held().end();
            *count += 1;
            walk(pool, entry.right, low, count);
        }
        let (mut low, mut count) = (Key::default(), 0);
        walk(self, layer.root, &mut low, &mut count);
        assert_eq!(count, layer.len);
        count
    }
}

#[cfg(test)]
mod tests;
