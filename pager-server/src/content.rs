//! Contents: what the store's map is keyed by. A memory object has one; when it is copied, its content becomes that of
//! a hidden ancestor and the object starts a new, empty one. A content that has ended stays here until the snapshot
//! server has been told and nothing of it is left in older epochs.
//!
//! Everything here is derived: from the records of objects, and from frames.

use crate::frame::{LANES, NONE};
use abi::Epoch;
use records::{Arena, IndexSet, Slab};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    /// Its number in the store.
    pub(crate) number: u64,
    /// Slot of the object it is of; [`NONE`] when it has ended.
    pub(crate) object: u32,
    /// Detached frames that older epochs still need.
    pub(crate) pending: u32,
    /// Next on a lane's list of drops.
    drop_next: u32,
    /// On such a list.
    dropping: bool,
    /// In no epoch.
    pub(crate) transient: bool,
    /// The store may have pages of it that are not resident.
    pub(crate) stored: bool,
    /// The epoch it began in; [`Epoch::NONE`]: it came back by a restore.
    pub(crate) born: Epoch,
}

impl Content {
    /// Whether it has ended and its place can be given back.
    pub(crate) fn is_unneeded(&self, resident: u32) -> bool {
        self.object == NONE && !self.dropping && self.pending == 0 && resident == 0
    }
}

const FREE: Content = Content {
    number: 0,
    object: NONE,
    pending: 0,
    drop_next: NONE,
    dropping: false,
    transient: false,
    stored: false,
    born: Epoch::NONE,
};

/// All contents.
pub(crate) struct Contents {
    contents: Slab<Content>,
    free: IndexSet,
    drops: [u32; LANES],
}

impl Contents {
    pub(crate) fn new(arena: &mut impl Arena, count: u32) -> Self {
        let free = IndexSet::full(arena, count);
        Self { contents: arena.slab(count as usize, FREE), free, drops: [NONE; LANES] }
    }

    pub(crate) fn bytes_needed(count: u32) -> usize {
        count as usize * size_of::<Content>() + 8 * IndexSet::words_needed(count)
    }

    pub(crate) fn get(&self, at: u32) -> &Content {
        &self.contents[at as usize]
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut Content {
        &mut self.contents[at as usize]
    }

    /// Whether `count` more can be made.
    pub(crate) fn have_free(&self, count: usize) -> bool {
        let mut at = 0;
        for _ in 0..count {
            match self.free.first_from(at) {
                Some(free) => at = free + 1,
                None => return false,
            }
        }
        true
    }

    /// A new one, if there is room.
    pub(crate) fn make(&mut self, number: u64, object: u32, transient: bool, born: Epoch) -> Option<u32> {
        let at = self.free.take_first(0, self.free.bound())?;
        // After a restore the store may have anything of it.
        let stored = born == Epoch::NONE && !transient;
        self.contents[at as usize] = Content { number, object, transient, stored, born, ..FREE };
        Some(at)
    }

    /// Gives back the room of one that has ended, when nothing needs it. True when it did.
    pub(crate) fn reap(&mut self, at: u32, resident: u32) -> bool {
        let done = self.contents[at as usize].is_unneeded(resident);
        if done {
            self.contents[at as usize] = FREE;
            self.free.insert(at);
        }
        done
    }

    /// Puts one that has ended on the list of what is to be said with a lane's epoch.
    pub(crate) fn push_drop(&mut self, lane: usize, at: u32) {
        let head = self.drops[lane];
        let content = &mut self.contents[at as usize];
        assert!(!content.dropping);
        content.dropping = true;
        content.drop_next = head;
        self.drops[lane] = at;
    }

    /// Takes the next of that list.
    pub(crate) fn pop_drop(&mut self, lane: usize) -> Option<u32> {
        let head = self.drops[lane];
        let content = self.contents.get_mut(head as usize)?;
        content.dropping = false;
        self.drops[lane] = content.drop_next;
        content.drop_next = NONE;
        Some(head)
    }

    /// Whether that list is empty.
    pub(crate) fn drops_are_empty(&self, lane: usize) -> bool {
        self.drops[lane] == NONE
    }

    /// All that are in use.
    pub(crate) fn used(&self) -> impl Iterator<Item = (u32, &Content)> {
        (0..).zip(self.contents.iter()).filter(|&(at, _)| !self.free.contains(at))
    }
}
