//! What must always hold between the tables (within each: its own file). Walks everything: for tests and simulation.
//!
//! 1. Every used object has a content that names it back, with the number its record says; every other content has
//!    ended and is still needed.
//! 2. A content's `pending` counts its detached frames.
//! 3. A space owns what is charged to it, within its budget, and counts its regions; an object counts its own.
//! 4. The donated count is that of donated frames; a lane's frames in flight are those handed for it; `loading`
//!    counts those that the store fills.
//! 5. A frame waits for a page only while it is loading.
//! 6. What is lent: see [`crate::lend`].

use crate::Pager;
use crate::frame::{LANES, NONE, Use};
use pager_records::{FREE, OBJECT};

impl Pager {
    /// Checks all invariants: the first that does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        self.frames.check(|content| self.contents.get(content).transient)?;
        self.objects.check()?;
        self.regions.check()?;
        self.check_contents()?;
        self.check_counts()?;
        self.check_lent()?;
        self.lanes.check(|lane| self.count_frames(|frame| frame.handed && frame.list as usize == lane))
    }

    fn count_frames(&self, is: impl Fn(&crate::frame::Frame) -> bool) -> u32 {
        (0..self.frames.len()).filter(|&place| is(self.frames.get(place))).count() as u32
    }

    fn check_contents(&self) -> Result<(), &'static str> {
        for slot in 0..self.objects.table.len() {
            let record = self.objects.get(slot);
            if record.life == FREE {
                continue;
            }
            let content = self.contents.get(self.objects.state(slot).content);
            if content.object != slot || content.number != record.content {
                return Err("1: content of an object");
            }
        }
        for (at, content) in self.contents.used() {
            if content.object == NONE && content.is_unneeded(self.frames.resident_count(at)) {
                return Err("1: a content that nothing needs");
            }
            let detached = self.count_frames(|frame| frame.used_for == Use::Detached && frame.content == at);
            if detached != content.pending {
                return Err("2: pending");
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), &'static str> {
        for space in 0..self.spaces.table.len() {
            let objects = (0..self.objects.table.len()).map(|slot| self.objects.get(slot));
            let owned: u64 = objects.filter(|o| o.life == OBJECT && o.space == space).map(|o| o.pages).sum();
            let regions = (0..self.regions.table.len()).map(|slot| self.regions.get(slot));
            let regions = regions.filter(|region| region.pages > 0 && region.space == space).count();
            let state = self.spaces.state(space);
            if state.owned != owned
                || state.regions as usize != regions
                || owned > self.spaces.table.get(space).pages_max
            {
                return Err("3: a space's counts");
            }
        }
        for slot in 0..self.objects.table.len() {
            let (mut at, mut count) = (self.objects.state(slot).regions, 0);
            while at != NONE {
                at = self.regions.next(at);
                count += 1;
            }
            if count != self.objects.state(slot).region_count {
                return Err("3: an object's regions");
            }
        }
        let transient = (0..self.objects.table.len()).map(|slot| self.objects.get(slot));
        let transient: u64 = transient.filter(|o| o.life != FREE && o.is_transient()).map(|o| o.pages).sum();
        if transient != self.transient_pages {
            return Err("3: transient pages");
        }
        if self.count_frames(|frame| frame.used_for == Use::Donated) != self.log.donated {
            return Err("4: donated");
        }
        let spare = self.count_frames(|frame| frame.used_for == Use::Spare);
        if spare != 0 {
            return Err("4: no frame is in hand between events");
        }
        if self.count_frames(|frame| matches!(frame.used_for, Use::Loading | Use::Orphan)) != self.loading {
            return Err("4: loading");
        }
        let loading = |place: u32| self.frames.get(place).used_for == Use::Loading;
        if self.held.waits_for_all(loading) { Ok(()) } else { Err("5: waits for a page that is not loading") }
    }
}

const _: () = assert!(LANES == 3);
