//! What it takes to put something: descriptors of the log at once, nodes of the map when it is folded. Both are bounds that
//! hold for any items, up to the largest record there is; the proof is decision 41.
//!
//! Numbers count items, bytes are those of items as they are stored, nodes are counted once though they lie twice.

use format::{DESCRIPTOR_ITEM_BYTES, EXTENT_STORED, NODE_BODY_BYTES, RECORD_STORED_MAX, RECORD_STORED_MIN};

/// Children of a full inner node.
const FAN_OUT: u64 = NODE_BODY_BYTES as u64 / 48;
/// Bytes in a descriptor, at least, that is closed because the next item does not fit.
const DESCRIPTOR_FILLED: u64 = (DESCRIPTOR_ITEM_BYTES - RECORD_STORED_MAX) as u64 + 1;
/// The same of a leaf, which also pays for its part of the nodes above it.
const LEAF_FILLED: u64 = ((NODE_BODY_BYTES - RECORD_STORED_MAX) as u64 + 1) * (FAN_OUT - 1) / FAN_OUT;
/// Of so many bytes of records one leaf more may come out than went in, because records do not fill leaves to the end.
const LOOSE_BYTES: u64 = 11_500;
/// A leaf of pages is filled to within one of them: of so many nodes one more comes out, those above them included.
const PAGES_LOOSE: u64 = 32;
/// Nodes by which every fold may be larger: a first leaf, and one that is left where records begin.
const SPARE: u64 = 2;
/// Levels that a fold may add: one while a node can lead to all others, else as many as any disk needs.
const NEW_LEVELS: u64 = 4;

/// Something that was, or may be, put since the last fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Pages, extents, and what is removed.
    pub(crate) keys: u64,
    /// Records.
    pub(crate) records: u64,
    /// Bytes of all these.
    pub(crate) bytes: u64,
}

/// The map that it is folded into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) nodes: u64,
    pub(crate) levels: u64,
    /// Leaves that hold records.
    pub(crate) record_nodes: u64,
    /// Bytes of records in these.
    pub(crate) record_bytes: u64,
}

impl Load {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { keys: self.keys + other.keys, records: self.records + other.records, bytes: self.bytes + other.bytes }
    }

    fn items(self) -> u64 {
        self.keys + self.records
    }

    /// Records of so many bytes in all, however small each is.
    pub(crate) fn of_records(bytes: u64) -> Self {
        Self { keys: 0, records: bytes / RECORD_STORED_MIN as u64, bytes }
    }

    /// Most blocks of log that it fills.
    pub(crate) fn descriptors(self) -> u64 {
        self.bytes.div_ceil(DESCRIPTOR_FILLED)
    }

    /// Most nodes that its own bytes fill; each key may also split an extent.
    fn own_nodes(self) -> u64 {
        (self.bytes + self.keys * EXTENT_STORED as u64).div_ceil(LEAF_FILLED)
    }
}

impl Map {
    /// Most nodes that a fold of `load` enters and of which something is left: an extent ends in two leaves, each on a path
    /// of its own, and the next leaf may be taken in. Records lie in leaves of their own, behind all pages.
    fn entered(&self, load: Load) -> u64 {
        let path = 2 * self.levels + 1;
        let records = (load.records * path).min((self.record_nodes + 1) * self.levels);
        self.nodes.min(load.keys * path + records)
    }

    /// Nodes that come out beside one for each run and each node that goes in.
    fn beside(&self, load: Load, entered: u64) -> u64 {
        let loose = (3 * entered / 8).min(self.record_bytes / LOOSE_BYTES);
        let nodes = entered / PAGES_LOOSE + loose + load.own_nodes() + SPARE;
        nodes + if self.nodes + entered + nodes <= FAN_OUT { 1 } else { NEW_LEVELS }
    }

    /// Levels of a map of so many nodes that was this one.
    fn levels_of(&self, nodes: u64) -> u64 {
        if nodes <= FAN_OUT { self.levels.max(2) } else { self.levels + 1 }
    }

    /// Most nodes that a fold of `load` writes. What is entered falls into runs, each of which may end in a node that is
    /// not full; between two runs lies a node that is not entered.
    pub(crate) fn folded(&self, load: Load) -> u64 {
        let entered = self.entered(load);
        (2 * entered).min(self.nodes + self.levels) + self.beside(load, entered)
    }

    /// The map behind one fold of `load`, at most.
    pub(crate) fn after(&self, load: Load) -> Self {
        let entered = self.entered(load);
        let more = entered.min((self.nodes + self.levels).div_ceil(2)) + self.beside(load, entered);
        let bytes = if load.records > 0 { load.bytes } else { 0 };
        let nodes = self.nodes + more;
        Self {
            nodes,
            levels: self.levels_of(nodes),
            record_nodes: self.record_nodes + if load.records > 0 { more } else { 0 },
            record_bytes: self.record_bytes + bytes,
        }
    }

    /// The map when `pages` and `records` were added to what it holds, however many folds that takes: each item may split a
    /// leaf that is full; then what it fills anew is at least half full.
    pub(crate) fn grown(&self, pages: Load, records: Load) -> Self {
        let split = |items: u64, leaves: u64| items.min(leaves + 1);
        let half_full = |load: Load| (3 * load.own_nodes()).div_ceil(2);
        let of_records = split(records.items(), self.record_nodes) + half_full(records);
        let of_pages = split(pages.items(), self.nodes) + half_full(pages);
        let nodes = self.nodes + of_pages + of_records;
        Self {
            nodes,
            levels: self.levels_of(nodes),
            record_nodes: self.record_nodes + of_records,
            record_bytes: self.record_bytes + records.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_never_takes_less() {
        let maps = [0, 1, 2, 40, 3000].map(|nodes| Map {
            nodes,
            levels: if nodes == 0 { 0 } else { 1 + nodes.ilog10() as u64 },
            record_nodes: nodes / 3,
            record_bytes: nodes * 1000,
        });
        for map in maps {
            let mut last = 0;
            for items in 0..3000 {
                let load = Load { keys: items, records: items / 2, bytes: items * 40 };
                assert!(map.folded(load) >= last && map.after(load).nodes >= map.nodes, "{map:?} {load:?}");
                last = map.folded(load);
                assert!(map.grown(load, load).nodes >= map.nodes);
            }
        }
    }

    #[test]
    fn the_constants_are_what_the_proof_says() {
        assert_eq!((FAN_OUT, DESCRIPTOR_FILLED, LEAF_FILLED), (84, 2921, 2981));
        // What comes out of n leaves beyond n, with a node above 83 of them: of the largest records, by leaves and by bytes,
        // and of pages.
        let (body, filled) = (NODE_BODY_BYTES as f64, (NODE_BODY_BYTES - RECORD_STORED_MAX + 1) as f64);
        let above = 84.0 / 83.0;
        assert!((body / filled - 1.0) * above < 3.0 / 8.0);
        assert!(above * (1.0 / filled - 1.0 / body) < 1.0 / LOOSE_BYTES as f64);
        assert!(1.0 / 83.0 + above * (body / (body - 39.0) - 1.0) < 1.0 / PAGES_LOOSE as f64);
    }
}
