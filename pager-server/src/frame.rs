//! The frames: what each one holds, how to find the frame of a page, and in which order they are written or evicted.
//!
//! Inside the pager a frame is named by its *place*, a dense number over all ranges; the kernel and the snapshot server
//! know it by its physical number.
//!
//! Invariants ([`FrameTable::check`]):
//! 1. A frame is findable (by content and index) and on its content's list exactly when it is `Live`, `Loading` or
//!    `Damaged`; no two such frames have the same page.
//! 2. A `Live` frame of a persistent content is on exactly one list, or handed; one of a transient content on none.
//! 3. A `Detached` frame is on a lane's list, or handed.
//! 4. Free, donated, spare, orphan and loading frames are on no list and not handed.
//! 5. `fresh_count` counts the frames marked so; none is fresh and owed at once.

use abi::boot_info::{FrameRange, RANGES_MAX};
use records::{Arena, Slab};

/// No frame, no content, no list.
pub(crate) const NONE: u32 = u32::MAX;
/// Lists 0 … 2 are the lanes: what is dirty in one epoch.
pub(crate) const LANES: usize = 3;
/// List of frames that hold what the store holds too, or zeros never written; oldest first.
pub(crate) const CLEAN: u8 = LANES as u8;
/// On no list.
pub(crate) const OFF: u8 = u8::MAX;

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Use {
    /// On the free list.
    Free,
    /// In the pager's hand, between two uses.
    Spare,
    /// In the kernel's ring.
    Donated,
    /// The page of its content.
    Live,
    /// Being filled by the store, to become `Live`.
    Loading,
    /// Being filled by the store; nobody wants it any more.
    Orphan,
    /// The store could not fill it.
    Damaged,
    /// Contents of an ended epoch that are not the live page (any more).
    Detached,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) content: u32,
    pub(crate) index: u32,
    /// Next in the hash bucket, or on the free list.
    chain: u32,
    sibling_next: u32,
    sibling_prev: u32,
    list_next: u32,
    list_prev: u32,
    pub(crate) used_for: Use,
    /// A lane, [`CLEAN`] or [`OFF`]. A handed frame keeps its lane's number but is not on its list.
    pub(crate) list: u8,
    /// The snapshot server reads it.
    pub(crate) handed: bool,
    /// The store has had a version of this page since it became resident.
    pub(crate) stored: bool,
    /// Found by eviction to have been accessed after it was mapped, when it last looked.
    pub(crate) used: bool,
    /// Mapped since eviction last looked.
    pub(crate) touched: bool,
    /// Written by the pager itself, which the kernel does not know: it is mapped writable only by a write in the epoch
    /// of its lane, which tells the kernel.
    pub(crate) sealed: bool,
    /// The store will have a page more when it gets this: counted in [`FrameTable::fresh_count`].
    pub(crate) fresh: bool,
    /// The store has no such page, nor was room found for one: not mapped writable before it is.
    pub(crate) owed: bool,
}

const FREE: Frame = Frame {
    content: NONE,
    index: 0,
    chain: NONE,
    sibling_next: NONE,
    sibling_prev: NONE,
    list_next: NONE,
    list_prev: NONE,
    used_for: Use::Free,
    list: OFF,
    handed: false,
    stored: false,
    used: false,
    touched: false,
    sealed: false,
    fresh: false,
    owed: false,
};

#[derive(Clone, Copy, Debug)]
struct ListEnds {
    head: u32,
    tail: u32,
    count: u32,
}

/// All frames of the pager.
pub(crate) struct FrameTable {
    frames: Slab<Frame>,
    buckets: Slab<u32>,
    /// First resident frame of each content, and how many.
    residents: Slab<(u32, u32)>,
    ranges: [FrameRange; RANGES_MAX],
    lists: [ListEnds; LANES + 1],
    free_head: u32,
    free_count: u32,
    fresh_count: u32,
}

impl FrameTable {
    pub(crate) fn new(arena: &mut impl Arena, ranges: [FrameRange; RANGES_MAX], contents: u32) -> Self {
        let count = ranges.iter().map(|range| range.count).sum::<u64>() as u32;
        let mut table = Self {
            frames: arena.slab(count as usize, FREE),
            buckets: arena.slab((count as usize).next_power_of_two(), NONE),
            residents: arena.slab(contents as usize, (NONE, 0)),
            ranges,
            lists: [ListEnds { head: NONE, tail: NONE, count: 0 }; LANES + 1],
            free_head: NONE,
            free_count: 0,
            fresh_count: 0,
        };
        for place in (0..count).rev() {
            table.frames[place as usize].chain = table.free_head;
            table.free_head = place;
        }
        table.free_count = count;
        table
    }

    /// Bytes of slabs for so many frames and contents.
    pub(crate) const fn bytes_needed(frames: usize, contents: usize) -> usize {
        frames * size_of::<Frame>() + frames.next_power_of_two() * 4 + contents * 8
    }

    pub(crate) fn len(&self) -> u32 {
        self.frames.len() as u32
    }

    pub(crate) fn get(&self, place: u32) -> &Frame {
        &self.frames[place as usize]
    }

    pub(crate) fn get_mut(&mut self, place: u32) -> &mut Frame {
        &mut self.frames[place as usize]
    }

    /// Physical number of a place.
    pub(crate) fn physical(&self, place: u32) -> u32 {
        let mut left = u64::from(place);
        for range in &self.ranges {
            if left < range.count {
                return (range.first + left) as u32;
            }
            left -= range.count;
        }
        unreachable!("a place beyond the last range")
    }

    /// Place of a physical number; `None` for a frame that is not ours.
    pub(crate) fn place(&self, physical: u32) -> Option<u32> {
        let mut before = 0;
        for range in &self.ranges {
            let offset = u64::from(physical).wrapping_sub(range.first);
            if offset < range.count {
                return Some((before + offset) as u32);
            }
            before += range.count;
        }
        None
    }

    // ---- the free list ---------------------------------------------------------------------------------------

    pub(crate) fn free_count(&self) -> u32 {
        self.free_count
    }

    /// Takes a free frame; it is `Spare`.
    pub(crate) fn take_free(&mut self) -> Option<u32> {
        let place = self.free_head;
        let frame = self.frames.get_mut(place as usize)?;
        self.free_head = frame.chain;
        self.free_count -= 1;
        *frame = Frame { used_for: Use::Spare, ..FREE };
        Some(place)
    }

    /// Gives a frame back that is not findable, on no list and not handed.
    pub(crate) fn give_free(&mut self, place: u32) {
        let frame = &mut self.frames[place as usize];
        assert!(frame.list == OFF && !frame.handed && frame.used_for != Use::Free);
        assert!(!matches!(frame.used_for, Use::Live | Use::Loading | Use::Damaged));
        self.fresh_count -= u32::from(frame.fresh);
        *frame = Frame { chain: self.free_head, ..FREE };
        self.free_head = place;
        self.free_count += 1;
    }

    // ---- by page ---------------------------------------------------------------------------------------------

    fn bucket(&self, content: u32, index: u32) -> usize {
        let key = u64::from(content) << 32 | u64::from(index);
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.buckets.len() - 1)
    }

    /// The frame of a page.
    pub(crate) fn find(&self, content: u32, index: u32) -> Option<u32> {
        let mut at = self.buckets[self.bucket(content, index)];
        while at != NONE {
            let frame = &self.frames[at as usize];
            if frame.content == content && frame.index == index {
                return Some(at);
            }
            at = frame.chain;
        }
        None
    }

    /// Makes a spare frame the one of a page that has none.
    pub(crate) fn attach(&mut self, place: u32, content: u32, index: u32, used_for: Use) {
        debug_assert!(self.find(content, index).is_none());
        let bucket = self.bucket(content, index);
        let (head, count) = self.residents[content as usize];
        let frame = &mut self.frames[place as usize];
        assert!(frame.used_for == Use::Spare);
        frame.content = content;
        frame.index = index;
        frame.used_for = used_for;
        frame.chain = self.buckets[bucket];
        frame.sibling_next = head;
        frame.sibling_prev = NONE;
        self.buckets[bucket] = place;
        self.residents[content as usize] = (place, count + 1);
        if head != NONE {
            self.frames[head as usize].sibling_prev = place;
        }
    }

    /// Makes the frame of a page unfindable; it keeps the page's name.
    pub(crate) fn detach(&mut self, place: u32, used_for: Use) {
        let Frame { content, index, chain, sibling_next, sibling_prev, .. } = self.frames[place as usize];
        let bucket = self.bucket(content, index);
        if self.buckets[bucket] == place {
            self.buckets[bucket] = chain;
        } else {
            let mut at = self.buckets[bucket];
            while self.frames[at as usize].chain != place {
                at = self.frames[at as usize].chain;
            }
            self.frames[at as usize].chain = chain;
        }
        if sibling_prev == NONE {
            self.residents[content as usize].0 = sibling_next;
        } else {
            self.frames[sibling_prev as usize].sibling_next = sibling_next;
        }
        if sibling_next != NONE {
            self.frames[sibling_next as usize].sibling_prev = sibling_prev;
        }
        self.residents[content as usize].1 -= 1;
        self.frames[place as usize].used_for = used_for;
    }

    /// Any findable frame of a content.
    pub(crate) fn first_of(&self, content: u32) -> Option<u32> {
        Some(self.residents[content as usize].0).filter(|&place| place != NONE)
    }

    /// The findable frame of the same content after this one.
    pub(crate) fn next_of(&self, place: u32) -> Option<u32> {
        Some(self.frames[place as usize].sibling_next).filter(|&place| place != NONE)
    }

    /// How many findable frames a content has.
    pub(crate) fn resident_count(&self, content: u32) -> u32 {
        self.residents[content as usize].1
    }

    // ---- lists -----------------------------------------------------------------------------------------------

    /// Puts a frame at the end of a list.
    pub(crate) fn enlist(&mut self, place: u32, list: u8) {
        let tail = self.lists[list as usize].tail;
        let frame = &mut self.frames[place as usize];
        assert!(frame.list == OFF && !frame.handed);
        frame.list = list;
        frame.list_prev = tail;
        frame.list_next = NONE;
        let ends = &mut self.lists[list as usize];
        ends.tail = place;
        ends.count += 1;
        if tail == NONE {
            ends.head = place;
        } else {
            self.frames[tail as usize].list_next = place;
        }
    }

    /// Takes a frame off its list.
    pub(crate) fn delist(&mut self, place: u32) {
        let Frame { list, list_next, list_prev, handed, .. } = self.frames[place as usize];
        assert!(list != OFF && !handed);
        let ends = &mut self.lists[list as usize];
        ends.count -= 1;
        if list_prev == NONE {
            ends.head = list_next;
        }
        if list_next == NONE {
            ends.tail = list_prev;
        }
        if list_prev != NONE {
            self.frames[list_prev as usize].list_next = list_next;
        }
        if list_next != NONE {
            self.frames[list_next as usize].list_prev = list_prev;
        }
        self.frames[place as usize].list = OFF;
    }

    pub(crate) fn list_head(&self, list: u8) -> Option<u32> {
        Some(self.lists[list as usize].head).filter(|&place| place != NONE)
    }

    pub(crate) fn list_next(&self, place: u32) -> Option<u32> {
        Some(self.frames[place as usize].list_next).filter(|&place| place != NONE)
    }

    pub(crate) fn list_count(&self, list: u8) -> u32 {
        self.lists[list as usize].count
    }

    /// Takes a frame off its lane's list and marks it as read by the snapshot server.
    pub(crate) fn hand(&mut self, place: u32) {
        let lane = self.frames[place as usize].list;
        self.delist(place);
        self.set_fresh(place, false);
        let frame = &mut self.frames[place as usize];
        frame.list = lane;
        frame.handed = true;
    }

    /// Says whether the store will have a page more when it gets this frame.
    pub(crate) fn set_fresh(&mut self, place: u32, fresh: bool) {
        let frame = &mut self.frames[place as usize];
        self.fresh_count = self.fresh_count + u32::from(fresh) - u32::from(frame.fresh);
        frame.fresh = fresh;
    }

    /// Pages that the store will have more of when it gets all that is here.
    pub(crate) fn fresh_count(&self) -> u32 {
        self.fresh_count
    }

    /// Ends [`Self::hand`].
    pub(crate) fn unhand(&mut self, place: u32) {
        let frame = &mut self.frames[place as usize];
        assert!(frame.handed);
        frame.handed = false;
        frame.list = OFF;
    }

    // ---- invariants ------------------------------------------------------------------------------------------

    /// Invariants 1 to 4, given which contents are transient. Walks everything: for tests.
    pub(crate) fn check(&self, transient: impl Fn(u32) -> bool) -> Result<(), &'static str> {
        let mut on_lists = [0; LANES + 1];
        let mut free = 0;
        let mut findable = 0;
        for (place, frame) in (0..).zip(self.frames.iter()) {
            let named = matches!(frame.used_for, Use::Live | Use::Loading | Use::Damaged);
            if named != (frame.content != NONE && self.find(frame.content, frame.index) == Some(place)) {
                return Err("1: findable");
            }
            findable += u32::from(named);
            free += u32::from(frame.used_for == Use::Free);
            let listed = frame.list != OFF;
            let should = match frame.used_for {
                Use::Live => !transient(frame.content),
                Use::Detached => true,
                _ => false,
            };
            if listed != should || frame.handed && frame.list == CLEAN {
                return Err("2-4: on a list");
            }
            if frame.used_for == Use::Detached && frame.list == CLEAN {
                return Err("3: a detached frame is on a lane");
            }
            if listed && !frame.handed {
                on_lists[frame.list as usize] += 1;
            }
        }
        for (list, ends) in self.lists.iter().enumerate() {
            let (mut at, mut seen) = (ends.head, 0);
            while at != NONE && seen <= self.len() {
                if self.frames[at as usize].list as usize != list || self.frames[at as usize].handed {
                    return Err("2-3: a list holds its own");
                }
                at = self.frames[at as usize].list_next;
                seen += 1;
            }
            if seen != ends.count || seen != on_lists[list] {
                return Err("2-3: a list is complete");
            }
        }
        let fresh = self.frames.iter().filter(|frame| frame.fresh).count();
        if fresh != self.fresh_count as usize || self.frames.iter().any(|frame| frame.fresh && frame.owed) {
            return Err("5: fresh");
        }
        let residents: u32 = self.residents.iter().map(|(_, count)| count).sum();
        if residents != findable || free != self.free_count { Err("1: counts") } else { Ok(()) }
    }
}
