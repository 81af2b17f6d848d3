//! The way that a layer was searched last. Keys mostly come in order, and then the next search begins a step or two
//! above the end of the last, not at the root.
//!
//! Invariants: (W1) each step is a child of the one before, the first is the root named; (W2) all keys below a step lie
//! between its bounds. Whoever changes the shape of a layer elsewhere than at the end of the way forgets it.

use format::Key;

use super::{Layer, NIL, Pool, priority};

/// Steps that are remembered. A layer of a million items is hardly ever deeper; what lies below is searched each time.
const STEPS_MAX: usize = 64;

/// An entry, and those whose keys bound what is below it: [`NIL`] where nothing does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) node: u32,
    pub(super) low: u32,
    pub(super) high: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Way {
    root: u32,
    steps: [Step; STEPS_MAX],
    len: usize,
}

impl Way {
    pub(super) const NONE: Self =
        Self { root: NIL, steps: [Step { node: NIL, low: NIL, high: NIL }; STEPS_MAX], len: 0 };

    pub(super) fn forget(&mut self) {
        self.len = 0;
    }

    fn push(&mut self, step: Step) {
        if self.len < STEPS_MAX {
            self.steps[self.len] = step;
            self.len += 1;
        }
    }

    fn last(&self) -> Option<Step> {
        self.steps[..self.len].last().copied()
    }
}

/// Where a search has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The entry with that very key, or [`NIL`].
    pub(super) exact: u32,
    /// The entry before and the one behind; where `exact` is one, not below it.
    pub(super) low: u32,
    pub(super) high: u32,
}

impl Pool<'_> {
    /// Searches `layer` for `key`, and remembers the way.
    pub(super) fn search(&mut self, layer: &Layer, key: Key) -> Spot {
        if self.way.root != layer.root {
            self.way.forget();
        }
        let mut step = Step { node: layer.root, low: NIL, high: NIL };
        while let Some(last) = self.way.last() {
            self.way.len -= 1;
            let is_below =
                (last.low == NIL || self.at(last.low).key < key) && (last.high == NIL || key < self.at(last.high).key);
            if is_below {
                step = last;
                break;
            }
        }
        self.way.root = layer.root;
        while step.node != NIL {
            self.way.push(step);
            let entry = self.at(step.node);
            step = match key.cmp(&entry.key) {
                core::cmp::Ordering::Less => Step { node: entry.left, high: step.node, ..step },
                core::cmp::Ordering::Greater => Step { node: entry.right, low: step.node, ..step },
                core::cmp::Ordering::Equal => return Spot { exact: step.node, low: step.low, high: step.high },
            };
        }
        Spot { exact: NIL, low: step.low, high: step.high }
    }

    /// Of the way to `key`, on which no entry has that key, leaves what outranks `rank`, and returns its last step.
    pub(super) fn outranking(&mut self, layer: &Layer, key: Key, rank: u64) -> Option<Step> {
        let spot = self.search(layer, key);
        debug_assert_eq!(spot.exact, NIL, "L1: only what overlaps nothing is inserted");
        while let Some(last) = self.way.last() {
            if priority(self.at(last.node).key) >= rank {
                return Some(last);
            }
            self.way.len -= 1;
        }
        None
    }

    /// `new` took the place of `child` below `parent`, which is `last` of the way unless that was too long.
    pub(super) fn step_to(&mut self, layer: &Layer, new: u32, parent: u32, went_left: bool) {
        self.way.root = layer.root;
        let step = match self.way.last() {
            None if parent == NIL => Step { node: new, low: NIL, high: NIL },
            Some(last) if last.node == parent && went_left => Step { node: new, low: last.low, high: parent },
            Some(last) if last.node == parent => Step { node: new, low: parent, high: last.high },
            _ => return,
        };
        self.way.push(step);
    }

    /// W1 and W2.
    #[cfg(test)]
    pub(super) fn check_way(&self, layer: &Layer) {
        if self.way.root != layer.root {
            return;
        }
        let steps = &self.way.steps[..self.way.len];
        assert!(steps.first().is_none_or(|first| first.node == layer.root && first.low == NIL && first.high == NIL));
        for pair in steps.windows(2) {
            let (above, below) = (pair[0], pair[1]);
            let entry = self.at(above.node);
            let left = Step { node: entry.left, high: above.node, ..above };
            let right = Step { node: entry.right, low: above.node, ..above };
            let same = |a: Step| (a.node, a.low, a.high) == (below.node, below.low, below.high);
            assert!(same(left) || same(right), "W1, W2: {above:?} {below:?}");
        }
    }
}
