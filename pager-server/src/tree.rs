//! Making, copying and destroying memory objects and spaces. What copies leave behind is tidied up in [`crate::fold`].
//!
//! Each operation checks everything first; from its point of no return on nothing can fail.

use crate::Pager;
use crate::environment::Environment;
use crate::eviction::Freed;
use crate::frame::{CLEAN, NONE, OFF, Use};
use abi::protocol::memory::Error;
use pager_records::DEPTH_MAX;
use pager_records::{FREE, HIDDEN, OBJECT, OBJECT_PAGES_MAX, ObjectRecord};

impl Pager {
    /// A new object of zeros, charged to `space`.
    pub(crate) fn create_object(&mut self, space: u32, pages: u64, transient: bool) -> Result<u32, Error> {
        if !(1..=OBJECT_PAGES_MAX).contains(&pages) {
            return Err(Error::BadArgument);
        }
        if !self.spaces.can_charge(space, pages) || transient && !self.can_be_transient(pages) {
            return Err(Error::BudgetExhausted);
        }
        if !self.objects.have_free(1) || !self.contents.have_free(1) {
            return Err(Error::TablesExhausted);
        }
        // ---- point of no return ----
        Ok(self.new_object(space, pages, transient, NONE))
    }

    fn new_object(&mut self, space: u32, pages: u64, transient: bool, parent: u32) -> u32 {
        let number = self.content_number();
        let content = self.contents.make(number, NONE, transient, self.running).expect("room was checked");
        let flags = u16::from(transient);
        let record = ObjectRecord { content: number, pages, parent, space, generation: 0, life: OBJECT, flags };
        let slot = self.objects.make(record, content);
        self.contents.get_mut(content).object = slot;
        self.spaces.state_mut(space).owned += pages;
        self.transient_pages += if transient { pages } else { 0 };
        slot
    }

    fn can_be_transient(&self, pages: u64) -> bool {
        self.transient_pages.saturating_add(pages) <= self.config.transient_pages_max
    }

    /// A copy of `object` as it is now, charged to `space`. Pages are shared until one of the two writes.
    pub(crate) fn copy_object(&mut self, env: &mut impl Environment, object: u32, space: u32) -> Result<u32, Error> {
        let record = *self.objects.get(object);
        let transient = record.is_transient();
        if !self.spaces.can_charge(space, record.pages) || transient && !self.can_be_transient(2 * record.pages) {
            return Err(Error::BudgetExhausted);
        }
        self.fold_ancestors(env, object);
        let record = *self.objects.get(object);
        // One that has not written anything since it was copied last needs no further ancestor.
        let untouched = record.parent != NONE && self.is_empty_content(self.objects.state(object).content);
        let needed = if untouched { 1 } else { 2 };
        let deep = !untouched && self.objects.depth(object) >= DEPTH_MAX;
        if deep || !self.objects.have_free(needed) || !self.contents.have_free(needed) {
            return Err(Error::TablesExhausted);
        }
        // ---- point of no return ----
        if !untouched {
            self.push_down(env, object);
        }
        Ok(self.new_object(space, record.pages, transient, self.objects.get(object).parent))
    }

    /// Makes what an object holds that of a new hidden ancestor, below which the object starts empty.
    fn push_down(&mut self, env: &mut impl Environment, object: u32) {
        self.unmap_object(env, object);
        let record = *self.objects.get(object);
        let kept = self.objects.state(object).content;
        if record.parent != NONE {
            self.objects.disown(object);
        }
        let hidden = ObjectRecord { space: NONE, life: HIDDEN, ..record };
        let hidden = self.objects.make(hidden, kept);
        self.contents.get_mut(kept).object = hidden;
        let number = self.content_number();
        let transient = record.is_transient();
        let content = self.contents.make(number, object, transient, self.running).expect("room was checked");
        let own = self.objects.table.change(object);
        own.content = number;
        own.parent = hidden;
        self.objects.state_mut(object).content = content;
        self.objects.adopt(object, hidden);
        self.transient_pages += if transient { record.pages } else { 0 };
    }

    /// Whether no page of a content exists anywhere.
    pub(crate) fn is_empty_content(&self, content: u32) -> bool {
        let state = self.contents.get(content);
        self.frames.resident_count(content) == 0 && !state.stored && state.pending == 0
    }

    /// Destroys an object: its pages, what only it still needed of its ancestors, and itself. Its regions stay, and
    /// faults in them are refused.
    pub(crate) fn destroy_object(&mut self, env: &mut impl Environment, object: u32) {
        self.end_lends_of_object(env, object);
        self.unmap_object(env, object);
        self.read_log(env, None);
        loop {
            let slot = self.objects.state(object).regions;
            if slot == NONE {
                break;
            }
            self.unlink_region(slot);
        }
        let record = *self.objects.get(object);
        self.spaces.state_mut(record.space).owned -= record.pages;
        self.end_object(env, object);
        self.forget_damaged();
    }

    /// Ends an object without regions or children, and ancestors that nothing shows through any more.
    fn end_object(&mut self, env: &mut impl Environment, object: u32) {
        let mut slot = object;
        loop {
            let record = *self.objects.get(slot);
            self.transient_pages -= if record.is_transient() { record.pages } else { 0 };
            self.end_content(env, self.objects.state(slot).content);
            let parent = self.objects.parent(slot);
            if parent.is_some() {
                self.objects.disown(slot);
            }
            self.objects.end(slot);
            let Some(parent) = parent else { return };
            if self.objects.state(parent).child != NONE {
                self.fold(env, parent);
                return;
            }
            slot = parent;
        }
    }

    /// Ends a content: its pages of the running epoch go, those of ended epochs stay until they are written.
    pub(crate) fn end_content(&mut self, env: &mut impl Environment, content: u32) {
        let running = self.lanes.running() as u8;
        let mut freed = Freed::default();
        while let Some(place) = self.frames.first_of(content) {
            let frame = *self.frames.get(place);
            match frame.used_for {
                Use::Loading => {
                    self.frames.detach(place, Use::Orphan);
                    self.forget_loading(place);
                }
                _ if frame.handed || frame.list < CLEAN && frame.list != running => {
                    self.frames.detach(place, Use::Detached);
                    self.contents.get_mut(content).pending += 1;
                }
                _ => {
                    if frame.list != OFF {
                        self.frames.delist(place);
                    }
                    self.frames.detach(place, Use::Spare);
                    self.free_later(env, &mut freed, place);
                }
            }
        }
        self.free_all(env, &mut freed);
        let ended = self.contents.get_mut(content);
        ended.object = NONE;
        if ended.born != self.running && !ended.transient {
            self.contents.push_drop(self.lanes.running(), content);
        }
        self.reap_content(content);
    }

    /// Gives a content's place back once nothing needs it.
    pub(crate) fn reap_content(&mut self, content: u32) {
        if self.contents.reap(content, self.frames.resident_count(content)) {
            self.forget_absent(content);
        }
    }

    /// A new space that may own so many pages.
    pub(crate) fn create_space(&mut self, pages_max: u64) -> Result<u32, Error> {
        self.spaces.make(pages_max).ok_or(Error::TablesExhausted)
    }

    /// Destroys a space, its regions, and what was charged to it.
    pub(crate) fn destroy_space(&mut self, env: &mut impl Environment, space: u32) {
        self.end_lends_of_space(env, space);
        self.unmap_space(env, space);
        while let Some(region) = self.regions.first_from(space, 0) {
            self.remove_region(region);
        }
        for object in 0..self.objects.table.len() {
            let record = self.objects.get(object);
            if record.life != FREE && record.space == space {
                self.destroy_object(env, object);
            }
        }
        self.spaces.end(space);
    }

    /// Takes a region off its object's list.
    pub(crate) fn unlink_region(&mut self, region: u32) {
        if let Some(object) = self.regions.object(region) {
            let state = self.objects.state_mut(object);
            self.regions.unlink(region, &mut state.regions);
            state.region_count -= 1;
        }
    }

    /// Removes a region that nothing is mapped in any more.
    pub(crate) fn remove_region(&mut self, region: u32) {
        self.unlink_region(region);
        let space = self.regions.get(region).space;
        self.regions.remove(region);
        self.spaces.state_mut(space).regions -= 1;
    }
}
