//! Memory objects and the trees that copying makes of them.
//!
//! A copied object's pages become those of a *hidden* one, which never changes again; the object and its copy start
//! empty below it. A page is looked for in the object, then in its ancestors, then it is zero; the first write puts a
//! page of its own into the object.
//!
//! Invariants ([`Objects::check`]):
//! 1. Parents are hidden, of the same size and kind, and no chain is longer than [`DEPTH_MAX`].
//! 2. A hidden object has at least one child; every used object's content is that of this slot.

use crate::frame::NONE;
use core::convert::Infallible;
use pager_records::{DEPTH_MAX, FREE, GENERATION_MAX, HIDDEN, OBJECT, ObjectRecord, id_of, object_is_sound, parts_of};
use records::{Arena, Slab, Table};

/// What is derived about an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectState {
    /// Place of its content.
    pub(crate) content: u32,
    /// First of its regions, and how many.
    pub(crate) regions: u32,
    pub(crate) region_count: u32,
    /// First of its children.
    pub(crate) child: u32,
    /// Its brothers.
    next: u32,
    prev: u32,
}

const UNUSED: ObjectState =
    ObjectState { content: NONE, regions: NONE, region_count: 0, child: NONE, next: NONE, prev: NONE };

/// All objects.
pub(crate) struct Objects {
    pub(crate) table: Table<ObjectRecord>,
    states: Slab<ObjectState>,
    /// Room to sort slots in.
    order: Slab<u32>,
}

impl Objects {
    pub(crate) fn new(arena: &mut impl Arena, count: u32) -> Self {
        let table = Table::new(arena, count, count, ObjectRecord::EMPTY);
        let order = arena.slab(count as usize, 0);
        Self { table, states: arena.slab(count as usize, UNUSED), order }
    }

    pub(crate) fn bytes_needed(count: u32) -> usize {
        Table::<ObjectRecord>::bytes_needed(count as usize) + count as usize * (size_of::<ObjectState>() + 4)
    }

    pub(crate) fn get(&self, slot: u32) -> &ObjectRecord {
        self.table.get(slot)
    }

    pub(crate) fn state(&self, slot: u32) -> &ObjectState {
        &self.states[slot as usize]
    }

    pub(crate) fn state_mut(&mut self, slot: u32) -> &mut ObjectState {
        &mut self.states[slot as usize]
    }

    /// The slot that an id names, if it still does.
    pub(crate) fn find(&self, id: u32) -> Option<u32> {
        let (slot, generation) = parts_of(id);
        let record = self.table.try_get(slot)?;
        (record.life == OBJECT && record.generation == generation).then_some(slot)
    }

    pub(crate) fn id(&self, slot: u32) -> u32 {
        id_of(slot, self.table.get(slot).generation)
    }

    /// Whether `count` more can be made.
    pub(crate) fn have_free(&self, count: usize) -> bool {
        let mut at = 0;
        for _ in 0..count {
            match self.table.free.first_from(at) {
                Some(free) => at = free + 1,
                None => return false,
            }
        }
        true
    }

    /// A new object; there must be room. Everything but the generation is as `record` says.
    pub(crate) fn make(&mut self, record: ObjectRecord, content: u32) -> u32 {
        let slot = self.table.take_free(true).expect("room was checked");
        let own = self.table.change(slot);
        *own = ObjectRecord { generation: own.generation, ..record };
        self.states[slot as usize] = ObjectState { content, ..UNUSED };
        if record.parent != NONE {
            self.adopt(slot, record.parent);
        }
        slot
    }

    /// Frees a slot; it must have no children, regions or parent links left.
    pub(crate) fn end(&mut self, slot: u32) {
        let state = &self.states[slot as usize];
        assert!(state.child == NONE && state.regions == NONE);
        let generation = self.table.get(slot).generation + 1;
        *self.table.change(slot) = ObjectRecord { generation, ..ObjectRecord::EMPTY };
        self.states[slot as usize] = UNUSED;
        if generation <= GENERATION_MAX {
            self.table.free.insert(slot);
        }
    }

    /// Links a slot below `parent` (the record is the caller's business).
    pub(crate) fn adopt(&mut self, slot: u32, parent: u32) {
        let head = self.states[parent as usize].child;
        self.states[slot as usize].next = head;
        self.states[slot as usize].prev = NONE;
        if head != NONE {
            self.states[head as usize].prev = slot;
        }
        self.states[parent as usize].child = slot;
    }

    /// Unlinks a slot from its parent's children.
    pub(crate) fn disown(&mut self, slot: u32) {
        let ObjectState { next, prev, .. } = self.states[slot as usize];
        let parent = self.table.get(slot).parent;
        if prev == NONE {
            self.states[parent as usize].child = next;
        } else {
            self.states[prev as usize].next = next;
        }
        if next != NONE {
            self.states[next as usize].prev = prev;
        }
        self.states[slot as usize].next = NONE;
        self.states[slot as usize].prev = NONE;
    }

    /// The parent of a slot.
    pub(crate) fn parent(&self, slot: u32) -> Option<u32> {
        Some(self.table.get(slot).parent).filter(|&parent| parent != NONE)
    }

    /// The only child of a slot.
    pub(crate) fn only_child(&self, slot: u32) -> Option<u32> {
        let child = self.states[slot as usize].child;
        (child != NONE && self.states[child as usize].next == NONE).then_some(child)
    }

    /// The slot after `at` in a walk over the tree below (and with) `root`, parents first.
    pub(crate) fn walk(&self, root: u32, at: u32) -> Option<u32> {
        let child = self.states[at as usize].child;
        if child != NONE {
            return Some(child);
        }
        let mut at = at;
        while at != root {
            let next = self.states[at as usize].next;
            if next != NONE {
                return Some(next);
            }
            at = self.table.get(at).parent;
        }
        None
    }

    /// Length of the chain from a slot up to its oldest ancestor; more than [`DEPTH_MAX`] for one that is too long
    /// (or a circle, in records that are still being judged).
    pub(crate) fn depth(&self, slot: u32) -> usize {
        let mut at = slot;
        for depth in 1..=DEPTH_MAX {
            match self.table.try_get(at).map(|record| record.parent) {
                Some(NONE) => return depth,
                Some(parent) => at = parent,
                // A record that names nothing: it is judged itself.
                None => return DEPTH_MAX + 1,
            }
        }
        DEPTH_MAX + 1
    }

    /// Whether a slot fits its ancestors.
    pub(crate) fn is_sound(&self, slot: u32) -> bool {
        let find = |at| Ok::<_, Infallible>(self.table.try_get(at).copied());
        object_is_sound(self.table.get(slot), find) == Ok(true)
    }

    /// A used slot whose content another one has too.
    pub(crate) fn find_shared_content(&mut self) -> Option<u32> {
        let mut used = 0;
        for slot in 0..self.table.len() {
            if self.table.get(slot).life != FREE {
                self.order[used] = slot;
                used += 1;
            }
        }
        let content = |slot: u32| self.table.get(slot).content;
        let order = &mut self.order[..used];
        order.sort_unstable_by_key(|&slot| content(slot));
        order.windows(2).find(|pair| content(pair[0]) == content(pair[1])).map(|pair| pair[1])
    }

    /// Marks a slot that came back as used, or retired.
    pub(crate) fn derive(&mut self, slot: u32, content: u32) {
        let record = *self.table.get(slot);
        if record.life != FREE || record.generation > GENERATION_MAX {
            self.table.free.remove(slot);
        }
        self.states[slot as usize].content = content;
        if record.life != FREE && record.parent != NONE {
            self.adopt(slot, record.parent);
        }
    }

    /// Invariants 1 and 2.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        for slot in 0..self.table.len() {
            let (record, state) = (self.table.get(slot), &self.states[slot as usize]);
            if !record.is_valid() || !self.is_sound(slot) {
                return Err("objects 1: sound");
            }
            if (record.life == HIDDEN) != (state.child != NONE) || (record.life == FREE) != (state.content == NONE) {
                return Err("objects 2: children and content");
            }
        }
        Ok(())
    }
}
