//! Folding: a hidden object that shows through in one child only becomes one with it, so that the chains of an object
//! that is copied again and again stay short.
//!
//! When the child has no page of its own it takes over the hidden object's content. Otherwise the pages that show
//! through move into the child's content, where they count as written in the running epoch. That needs to know all pages
//! of both: so it is done only while none of them may lie in the store alone, and while no older epoch still needs the
//! frames; if not now, then at a later copy. A fold is linear in the hidden object's resident pages.

use crate::Pager;
use crate::environment::Environment;
use crate::frame::{CLEAN, NONE, OFF, Use};

impl Pager {
    /// Folds what can be folded among the ancestors of an object.
    pub(crate) fn fold_ancestors(&mut self, env: &mut impl Environment, object: u32) {
        let mut at = self.objects.parent(object);
        while let Some(slot) = at {
            at = self.objects.parent(slot);
            self.fold(env, slot);
        }
    }

    /// Folds a hidden object into its only child, if it has only one and it can be done now.
    pub(crate) fn fold(&mut self, env: &mut impl Environment, hidden: u32) {
        let Some(child) = self.objects.only_child(hidden) else { return };
        let (above, below) = (self.objects.state(hidden).content, self.objects.state(child).content);
        if self.is_empty_content(below) {
            self.take_over(hidden, child);
        } else if !self.contents.get(above).stored && !self.contents.get(below).stored {
            self.read_log(env, None);
            let moved = u64::from(self.frames.resident_count(above));
            let left = self.left();
            if left.writes >= moved && left.growth >= moved && self.can_move_all(above) {
                self.move_pages(above, below);
                self.end_content(env, above);
                self.unlink_hidden(hidden, child);
            }
        }
    }

    /// The child starts where the hidden object was.
    fn take_over(&mut self, hidden: u32, child: u32) {
        let (kept, empty) = (self.objects.state(hidden).content, self.objects.state(child).content);
        self.objects.table.change(child).content = self.contents.get(kept).number;
        self.objects.state_mut(child).content = kept;
        self.unlink_hidden(hidden, child);
        self.contents.get_mut(kept).object = child;
        // Never had a page: the store has not heard of it.
        self.contents.get_mut(empty).object = NONE;
        self.reap_content(empty);
    }

    /// Takes a hidden object out from between its parent and its only child, and frees its slot.
    fn unlink_hidden(&mut self, hidden: u32, child: u32) {
        let record = *self.objects.get(hidden);
        self.objects.disown(child);
        if record.parent != NONE {
            self.objects.disown(hidden);
        }
        self.objects.table.change(child).parent = record.parent;
        if record.parent != NONE {
            self.objects.adopt(child, record.parent);
        }
        self.objects.end(hidden);
        self.transient_pages -= if record.is_transient() { record.pages } else { 0 };
    }

    /// Whether every resident page of a content is the running epoch's alone to give away.
    fn can_move_all(&self, content: u32) -> bool {
        let running = self.lanes.running() as u8;
        let mut at = self.frames.first_of(content);
        while let Some(place) = at {
            let frame = self.frames.get(place);
            let free = frame.list == CLEAN || frame.list == running || frame.list == OFF;
            if frame.used_for != Use::Live || frame.handed || !free {
                return false;
            }
            at = self.frames.next_of(place);
        }
        true
    }

    /// Moves pages that show through from one content to another; those that do not stay.
    fn move_pages(&mut self, from: u32, to: u32) {
        let running = self.lanes.running() as u8;
        let mut at = self.frames.first_of(from);
        while let Some(place) = at {
            at = self.frames.next_of(place);
            let frame = *self.frames.get(place);
            if self.frames.find(to, frame.index).is_some() {
                // Nobody sees it: it was unmapped when the child got its own.
                continue;
            }
            self.frames.detach(place, Use::Spare);
            self.frames.attach(place, to, frame.index, Use::Live);
            self.frames.get_mut(place).stored = false;
            if frame.list != OFF {
                self.grow(place);
            }
            if frame.list == CLEAN {
                // It is mapped read-only, as pages of ancestors are, and the kernel takes it for clean.
                self.frames.get_mut(place).sealed = true;
                self.frames.delist(place);
                self.frames.enlist(place, running);
            }
        }
        self.forget_absent(to);
    }
}
