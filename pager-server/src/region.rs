//! Regions: which pages of which object lie where in which space.
//!
//! Invariants ([`Regions::check`]):
//! 1. `order` holds every region once, sorted by space and address; regions of a space do not overlap.
//! 2. A region is on the list of its object exactly when that object lives.

use crate::frame::NONE;
use pager_records::RegionRecord;
use records::{Arena, Slab, Table};

/// Regions of one object, at most: bounds the walk that unmaps a page everywhere.
pub const OBJECT_REGIONS_MAX: u32 = 64;

#[derive(Clone, Copy, Debug)]
struct Links {
    next: u32,
    prev: u32,
    /// Slot of the object whose list it is on.
    object: u32,
}

const UNLINKED: Links = Links { next: NONE, prev: NONE, object: NONE };

/// All regions.
pub(crate) struct Regions {
    pub(crate) table: Table<RegionRecord>,
    links: Slab<Links>,
    order: Slab<u32>,
    count: usize,
}

impl Regions {
    pub(crate) fn new(arena: &mut impl Arena, count: u32) -> Self {
        let table = Table::new(arena, count, count, RegionRecord::EMPTY);
        let links = arena.slab(count as usize, UNLINKED);
        Self { table, links, order: arena.slab(count as usize, NONE), count: 0 }
    }

    pub(crate) fn bytes_needed(count: u32) -> usize {
        Table::<RegionRecord>::bytes_needed(count as usize) + count as usize * (size_of::<Links>() + 4)
    }

    pub(crate) fn get(&self, slot: u32) -> &RegionRecord {
        self.table.get(slot)
    }

    /// Whether so many more fit.
    pub(crate) fn have_free(&self, count: usize) -> bool {
        self.count + count <= self.order.len()
    }

    /// Place in `order` of the first region of `space` that ends after `page`.
    fn lower_bound(&self, space: u32, page: u64) -> usize {
        self.order[..self.count].partition_point(|&slot| {
            let region = self.table.get(slot);
            (region.space, region.end()) <= (space, page)
        })
    }

    /// The first region of `space` that ends after `page`.
    pub(crate) fn first_from(&self, space: u32, page: u64) -> Option<u32> {
        let slot = *self.order[..self.count].get(self.lower_bound(space, page))?;
        (self.table.get(slot).space == space).then_some(slot)
    }

    /// The region that `page` of a space lies in.
    pub(crate) fn find(&self, space: u32, page: u64) -> Option<u32> {
        self.first_from(space, page).filter(|&slot| self.table.get(slot).page <= page)
    }

    /// Whether anything lies in `page .. page + pages` of a space.
    pub(crate) fn overlaps(&self, space: u32, page: u64, pages: u64) -> bool {
        self.first_from(space, page).is_some_and(|slot| self.table.get(slot).page < page + pages)
    }

    /// Puts a region in; there must be room, and no overlap. It is on no object's list yet.
    pub(crate) fn insert(&mut self, record: RegionRecord) -> u32 {
        let slot = self.table.take_free(true).expect("room was checked");
        *self.table.change(slot) = record;
        self.place(slot);
        slot
    }

    fn place(&mut self, slot: u32) {
        let record = self.table.get(slot);
        let at = self.lower_bound(record.space, record.page);
        self.order.copy_within(at..self.count, at + 1);
        self.order[at] = slot;
        self.count += 1;
    }

    /// Puts a region on its object's list.
    pub(crate) fn link(&mut self, slot: u32, object: u32, head: &mut u32) {
        self.links[slot as usize] = Links { next: *head, prev: NONE, object };
        if *head != NONE {
            self.links[*head as usize].prev = slot;
        }
        *head = slot;
    }

    /// Takes a region off its object's list.
    pub(crate) fn unlink(&mut self, slot: u32, head: &mut u32) {
        let Links { next, prev, .. } = self.links[slot as usize];
        if prev == NONE {
            *head = next;
        } else {
            self.links[prev as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        self.links[slot as usize] = UNLINKED;
    }

    /// The object on whose list a region is.
    pub(crate) fn object(&self, slot: u32) -> Option<u32> {
        Some(self.links[slot as usize].object).filter(|&object| object != NONE)
    }

    /// The region after this one on its object's list.
    pub(crate) fn next(&self, slot: u32) -> u32 {
        self.links[slot as usize].next
    }

    /// Removes a region that is on no object's list.
    pub(crate) fn remove(&mut self, slot: u32) {
        assert!(self.links[slot as usize].object == NONE);
        let record = *self.table.get(slot);
        let at = self.lower_bound(record.space, record.page);
        assert!(self.order[at] == slot);
        self.order.copy_within(at + 1..self.count, at);
        self.count -= 1;
        *self.table.change(slot) = RegionRecord::EMPTY;
        self.table.free.insert(slot);
    }

    /// Narrows a region to `page .. page + pages`, within what it is: its place in the order stays.
    pub(crate) fn narrow(&mut self, slot: u32, page: u64, pages: u64) {
        let record = self.table.change(slot);
        record.object_page += page - record.page;
        record.page = page;
        record.pages = pages;
    }

    /// Rebuilds what is derived of one region that came back; `false` when it overlaps another.
    pub(crate) fn derive(&mut self, slot: u32, object: Option<(u32, &mut u32)>) -> bool {
        let record = *self.table.get(slot);
        self.table.free.remove(slot);
        if self.overlaps(record.space, record.page, record.pages) {
            return false;
        }
        self.place(slot);
        if let Some((object, head)) = object {
            self.link(slot, object, head);
        }
        true
    }

    /// Invariant 1.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let used = (0..self.table.len()).filter(|&slot| self.table.get(slot).pages > 0).count();
        let sorted = self.order[..self.count].windows(2).all(|pair| {
            let (a, b) = (self.table.get(pair[0]), self.table.get(pair[1]));
            a.space < b.space || a.space == b.space && a.end() <= b.page
        });
        if used != self.count || !sorted { Err("regions 1: order") } else { Ok(()) }
    }
}
