//! Address spaces: a page budget and a set of regions, for one process at a time.
//!
//! Which process uses a space is learnt from its faults and is derived: when another process faults in the same space,
//! everything mapped in the first is unmapped before the second is served, so that the pager knows every mapping.

use crate::environment::ProcessName;
use pager_records::{GENERATION_MAX, SpaceRecord, id_of, parts_of};
use records::{Arena, Slab, Table};

/// What is derived about a space.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpaceState {
    /// Pages of the objects charged to it.
    pub(crate) owned: u64,
    /// Its regions.
    pub(crate) regions: u32,
    /// Who uses it.
    pub(crate) process: Option<ProcessName>,
}

/// All spaces.
pub(crate) struct Spaces {
    pub(crate) table: Table<SpaceRecord>,
    states: Slab<SpaceState>,
    /// Whose page tables were dropped last: all get their turn.
    pub(crate) turn: u32,
}

impl Spaces {
    pub(crate) fn new(arena: &mut impl Arena, count: u32) -> Self {
        let table = Table::new(arena, count, count, SpaceRecord::EMPTY);
        Self { table, states: arena.slab(count as usize, SpaceState::default()), turn: 0 }
    }

    pub(crate) fn bytes_needed(count: u32) -> usize {
        Table::<SpaceRecord>::bytes_needed(count as usize) + count as usize * size_of::<SpaceState>()
    }

    /// A new space; `None` when the table is full.
    pub(crate) fn make(&mut self, pages_max: u64) -> Option<u32> {
        let slot = self.table.take_free(true)?;
        let record = self.table.change(slot);
        *record = SpaceRecord { pages_max, life: 1, ..*record };
        self.states[slot as usize] = SpaceState::default();
        Some(slot)
    }

    /// Ends a space that has no regions and owns nothing.
    pub(crate) fn end(&mut self, slot: u32) {
        assert!(self.states[slot as usize].regions == 0 && self.states[slot as usize].owned == 0);
        let generation = self.table.get(slot).generation + 1;
        *self.table.change(slot) = SpaceRecord { generation, ..SpaceRecord::EMPTY };
        self.states[slot as usize] = SpaceState::default();
        if generation <= GENERATION_MAX {
            self.table.free.insert(slot);
        }
    }

    /// The slot that an id names, if it still does.
    pub(crate) fn find(&self, id: u32) -> Option<u32> {
        let (slot, generation) = parts_of(id);
        let record = self.table.try_get(slot)?;
        (record.life == 1 && record.generation == generation).then_some(slot)
    }

    pub(crate) fn id(&self, slot: u32) -> u32 {
        id_of(slot, self.table.get(slot).generation)
    }

    pub(crate) fn state(&self, slot: u32) -> &SpaceState {
        &self.states[slot as usize]
    }

    pub(crate) fn state_mut(&mut self, slot: u32) -> &mut SpaceState {
        &mut self.states[slot as usize]
    }

    /// Whether so many more pages may be charged to it.
    pub(crate) fn can_charge(&self, slot: u32, pages: u64) -> bool {
        let owned = self.states[slot as usize].owned;
        owned.checked_add(pages).is_some_and(|owned| owned <= self.table.get(slot).pages_max)
    }

    /// Rebuilds the set of free slots from the records; states are zero.
    pub(crate) fn derive(&mut self) {
        for slot in 0..self.table.len() {
            let record = self.table.get(slot);
            if record.life != 0 || record.generation > GENERATION_MAX {
                self.table.free.remove(slot);
            }
        }
    }
}
