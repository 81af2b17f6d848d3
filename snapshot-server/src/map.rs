//! Looking things up in the map on disk: the tree under the newest checkpoint, through the cache.

use format::{Block, Item, Key, Node, NodeError, Pointer, RECORD_BYTES_MAX};

use crate::cache::Fetch;
use crate::disk::Host;
use crate::layer::{Held, Value};
use crate::memory::PageRef;
use crate::read::{Known, Lookup};
use crate::store::Store;

impl<'m, H: Host> Store<'m, H> {
    /// The node that `pointer` leads to, verified; of two copies the one that can be used.
    pub(crate) fn node(&mut self, pointer: &Pointer, level: u8) -> Lookup<PageRef> {
        let first = self.copy(pointer, pointer, level);
        let (Lookup::Failed(_), Some(twin)) = (first, pointer.to_twin()) else {
            return first;
        };
        let second = self.copy(&twin, pointer, level);
        if let Lookup::Failed(_) = second {
            self.cache.forget_bad(pointer);
        }
        second
    }

    /// The copy at `at` of the node that `pointer` leads to.
    fn copy(&mut self, at: &Pointer, pointer: &Pointer, level: u8) -> Lookup<PageRef> {
        match self.cache.fetch(&mut self.queue, &mut self.host, at) {
            Fetch::Pending => Lookup::Pending,
            Fetch::Unreadable => self.flawed(pointer.block, None),
            Fetch::Ready(page, _, true) => Lookup::Found(page),
            Fetch::Ready(page, frame, false) => {
                let geometry = *self.space.geometry();
                let parsed = Node::parse(self.world, &geometry, pointer, level, self.host.bytes(page));
                let flaw = parsed.err();
                let valid = flaw.is_none();
                self.cache.verified(frame, valid);
                self.status.second_copies += u32::from(valid && at.block == pointer.twin);
                if valid { Lookup::Found(page) } else { self.flawed(pointer.block, flaw) }
            }
        }
    }

    fn flawed(&mut self, block: Block, flaw: Option<NodeError>) -> Lookup<PageRef> {
        self.map_flaw = Some((block, flaw));
        Lookup::Failed(block)
    }

    /// The node of the map that could not be used last, and what it breaks; `None` in its place: it cannot be read. Of
    /// two copies that of the second is told.
    pub fn map_flaw(&self) -> Option<(Block, Option<NodeError>)> {
        self.map_flaw
    }

    /// Root of the map and its level; `None` when nothing was ever folded or the world was empty then.
    fn map_root(&self) -> Option<(Pointer, u8)> {
        let newest = self.root.newest()?;
        newest.map.block.is_some().then_some((newest.map, newest.map_level))
    }

    pub(crate) fn map_find(&mut self, key: Key) -> Lookup<Known> {
        let Some((mut pointer, mut level)) = self.map_root() else {
            return Lookup::Found(Known::Absent);
        };
        loop {
            let page = match self.node(&pointer, level) {
                Lookup::Found(page) => page,
                Lookup::Pending => return Lookup::Pending,
                Lookup::Failed(block) => return Lookup::Failed(block),
            };
            let Some(node) = Node::view(self.host.bytes(page)) else {
                return Lookup::Failed(pointer.block);
            };
            if level == 0 {
                return Lookup::Found(match node.find_item(key) {
                    Some(Item::Page { place, sum, .. }) => Known::Page(place, sum),
                    Some(Item::Zero { .. }) => Known::Zero,
                    _ => Known::Absent,
                });
            }
            match node.find_child(key).and_then(|position| node.child(position)) {
                Some((_, child)) => (pointer, level) = (child, level - 1),
                None => return Lookup::Found(Known::Absent),
            }
        }
    }

    /// The first item that ends behind `from`; a record's bytes are put at the front of `out`.
    pub(crate) fn map_at_or_after(&mut self, from: Key, out: &mut [u8; RECORD_BYTES_MAX]) -> Lookup<Option<Found>> {
        let mut from = from;
        let Some(root) = self.map_root() else {
            return Lookup::Found(None);
        };
        // Each turn looks into one leaf; when what is wanted lies behind it, the next turn starts at its bound.
        loop {
            let (mut pointer, mut level) = root;
            let mut bound = None;
            loop {
                let page = match self.node(&pointer, level) {
                    Lookup::Found(page) => page,
                    Lookup::Pending => return Lookup::Pending,
                    Lookup::Failed(block) => return Lookup::Failed(block),
                };
                let Some(node) = Node::view(self.host.bytes(page)) else {
                    return Lookup::Failed(pointer.block);
                };
                if level > 0 {
                    let position = node.find_child(from).unwrap_or(0);
                    bound = node.child(position + 1).map(|(key, _)| key).or(bound);
                    let Some((_, child)) = node.child(position) else {
                        return Lookup::Failed(pointer.block);
                    };
                    (pointer, level) = (child, level - 1);
                    continue;
                }
                let ends_behind = |item: &Item<'_>| {
                    let key = item.key();
                    Key { object: key.object, index: key.index + item.count() } > from
                };
                if let Some(item) = node.items().find(ends_behind) {
                    return Lookup::Found(Some(Found::new(&item, out)));
                }
                break;
            }
            match bound {
                Some(bound) if bound > from => from = bound,
                _ => return Lookup::Found(None),
            }
        }
    }
}

/// An item found; of a record the bytes lie elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) count: u64,
    pub(crate) what: Kind,
}

/// What kind of item was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Page,
    Zero,
    Absent,
    Record(usize),
}

impl Found {
    /// Of a layer's item.
    pub(crate) fn held(held: Held) -> Self {
        let what = match held.value {
            Value::Page(..) => Kind::Page,
            Value::Zero(_) => Kind::Zero,
            Value::Absent(_) => Kind::Absent,
            Value::Record { length, .. } => Kind::Record(length as usize),
        };
        Self { key: held.key, count: held.count(), what }
    }

    /// Of `item`, whose bytes, if it is a record, are put at the front of `out`.
    fn new(item: &Item<'_>, out: &mut [u8; RECORD_BYTES_MAX]) -> Self {
        let what = match item {
            Item::Page { .. } => Kind::Page,
            Item::Zero { .. } => Kind::Zero,
            Item::Absent { .. } => Kind::Absent,
            Item::Record { bytes, .. } => {
                out[..bytes.len()].copy_from_slice(bytes);
                Kind::Record(bytes.len())
            }
        };
        Self { key: item.key(), count: item.count(), what }
    }
}
