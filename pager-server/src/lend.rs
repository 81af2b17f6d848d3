//! Lending: the first page of a memory object, shown read-only to the one volatile process that borrows
//! ([`abi::protocol::lent`]).
//!
//! What a space lends is in its record. Where it lies in the borrower's window, and in which frame, is derived: after a
//! restore each page is asked of the store, and shown when it is there. A lent page that is in memory stays there. The
//! kernel's copy on first write leaves a page in its frame, so only what the pager itself does moves one: a first write
//! to a frame that a device reads or that is an ancestor's ([`Pager::move_lent`]).
//!
//! Invariants ([`Pager::check_lent`]):
//! 1. Each space that lends has exactly one entry, about the object that its record names, which lives and is not
//!    transient.
//! 2. An entry's frame is the one that the object's first page is in.

use crate::Pager;
use crate::environment::Environment;
use crate::fault::{Absent, add_absent};
use crate::frame::{NONE, Use};
use abi::protocol::lent::{LentName, PLACES};
use abi::protocol::memory::Error;
use pager_records::DEPTH_MAX;

/// What lies in a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent {
    /// Slot of the space that lends it; [`NONE`]: the place is free.
    space: u32,
    /// Slot of the object.
    object: u32,
    /// Place of the frame that is shown; [`NONE`]: the page is not in memory.
    frame: u32,
    /// Contents that the store said have no such page.
    absent: Absent,
}

const FREE: Lent = Lent { space: NONE, object: NONE, frame: NONE, absent: [NONE; DEPTH_MAX] };

/// All that is lent.
pub(crate) struct Lends([Lent; PLACES]);

impl Lends {
    pub(crate) const fn new() -> Self {
        Self([FREE; PLACES])
    }

    /// Whether a frame is shown to the borrower: it must stay what it is.
    pub(crate) fn holds(&self, place: u32) -> bool {
        self.0.iter().any(|lent| lent.frame == place)
    }

    fn of_space(&self, space: u32) -> Option<usize> {
        self.0.iter().position(|lent| lent.space == space)
    }

    /// A place for what a space lends; `None`: there is none left.
    pub(crate) fn place_for(&self, space: u32) -> Option<usize> {
        self.of_space(space).or_else(|| self.of_space(NONE))
    }

    /// Takes a place; it is shown later.
    pub(crate) fn take(&mut self, at: usize, space: u32, object: u32) {
        self.0[at] = Lent { space, object, ..FREE };
    }

    /// What was said about a content is not true any more.
    pub(crate) fn forget_absent(&mut self, content: u32) {
        for known in self.0.iter_mut().flat_map(|lent| &mut lent.absent).filter(|known| **known == content) {
            *known = NONE;
        }
    }
}

impl Pager {
    /// A space lends an object in place of what it lent before.
    pub(crate) fn lend(&mut self, env: &mut impl Environment, space: u32, object: u32) -> Result<(), Error> {
        if self.objects.get(object).is_transient() {
            return Err(Error::BadArgument);
        }
        let at = self.lends.place_for(space).ok_or(Error::TablesExhausted)?;
        // ---- point of no return ----
        let before = self.lends.0[at];
        if before.space == space && before.object == object {
            return Ok(());
        }
        self.end_lends_of_space(env, space);
        self.spaces.table.change(space).lent = self.objects.id(object);
        self.lends.take(at, space, object);
        self.show_lent(env);
        Ok(())
    }

    /// Ends what an object is lent for.
    pub(crate) fn end_lends_of_object(&mut self, env: &mut impl Environment, object: u32) {
        self.end_lends(env, |lent| lent.object == object);
    }

    fn end_lends(&mut self, env: &mut impl Environment, ends: impl Fn(&Lent) -> bool) {
        for at in 0..PLACES {
            let lent = self.lends.0[at];
            if lent.space == NONE || !ends(&lent) {
                continue;
            }
            if lent.frame != NONE {
                env.tell(at, None);
                env.show(at, None);
            }
            self.lends.0[at] = FREE;
            self.spaces.table.change(lent.space).lent = NONE;
        }
    }

    /// Ends what a space lends, before the space itself ends.
    pub(crate) fn end_lends_of_space(&mut self, env: &mut impl Environment, space: u32) {
        self.end_lends(env, |lent| lent.space == space);
    }

    /// Shows what can be shown, and asks the store for what cannot.
    pub(crate) fn show_lent(&mut self, env: &mut impl Environment) {
        for at in 0..PLACES {
            let lent = self.lends.0[at];
            if lent.space == NONE || lent.frame != NONE {
                continue;
            }
            match self.find_page(lent.object, 0, &lent.absent) {
                Ok(Some(place)) => {
                    self.lends.0[at].frame = place;
                    env.show(at, Some(self.frames.physical(place)));
                    env.tell(at, Some(self.lent_name(lent.object)));
                }
                // Shown when somebody has written it.
                Ok(None) => {}
                Err(content) => self.fetch(env, content, 0),
            }
        }
    }

    /// The store has no first page of a content: those know whose object it shows through in. Others have no use for it,
    /// and room for so many only.
    pub(crate) fn add_absent_lent(&mut self, content: u32) {
        for at in 0..PLACES {
            let lent = self.lends.0[at];
            if lent.space != NONE && lent.frame == NONE && self.shows_through(lent.object, content) {
                add_absent(&mut self.lends.0[at].absent, content);
            }
        }
    }

    fn shows_through(&self, object: u32, content: u32) -> bool {
        let mut at = Some(object);
        while let Some(slot) = at {
            if self.objects.state(slot).content == content {
                return true;
            }
            at = self.objects.parent(slot);
        }
        false
    }

    fn lent_name(&self, object: u32) -> LentName {
        LentName::of_object(self.objects.id(object))
    }

    /// Another process borrows, whose window holds nothing yet, or none does any more: all is shown anew. To be called
    /// before what was shown to the one before is relied on to be gone: with its process it is.
    pub fn borrower_changed(&mut self, env: &mut impl Environment) {
        for lent in &mut self.lends.0 {
            lent.frame = NONE;
        }
        if self.is_ready() {
            self.show_lent(env);
        }
    }

    /// A page is about to move to another frame, with the same contents.
    pub(crate) fn move_lent(&mut self, env: &mut impl Environment, object: u32, index: u32, to: u32) {
        if index != 0 {
            return;
        }
        for at in 0..PLACES {
            let lent = &mut self.lends.0[at];
            if lent.object == object && lent.frame != NONE {
                lent.frame = to;
                env.show(at, Some(self.frames.physical(to)));
            }
        }
    }

    /// The entries are those that records name, after a restore. False: records that the pager would not have written.
    pub(crate) fn derive_lends(&mut self) -> Result<(), u32> {
        for space in 0..self.spaces.table.len() {
            let record = *self.spaces.table.get(space);
            if record.life == 0 || record.lent == NONE {
                continue;
            }
            let object = self.objects.find(record.lent).filter(|&object| !self.objects.get(object).is_transient());
            let (Some(object), Some(at)) = (object, self.lends.place_for(space)) else { return Err(space) };
            self.lends.take(at, space, object);
        }
        Ok(())
    }

    /// Invariants 1 and 2.
    pub(crate) fn check_lent(&self) -> Result<(), &'static str> {
        for space in 0..self.spaces.table.len() {
            let record = self.spaces.table.get(space);
            let entries = self.lends.0.iter().filter(|lent| lent.space == space);
            let about: Option<u32> = entries.clone().map(|lent| self.objects.id(lent.object)).next();
            let lends = record.life != 0 && record.lent != NONE;
            if entries.count() != usize::from(lends) || lends && about != Some(record.lent) {
                return Err("lent 1: an entry for each space that lends");
            }
        }
        for lent in self.lends.0.iter().filter(|lent| lent.space != NONE) {
            if self.objects.find(self.objects.id(lent.object)) != Some(lent.object) {
                return Err("lent 1: the object lives");
            }
            if lent.frame != NONE && self.first_resident(lent.object) != Some(lent.frame) {
                return Err("lent 2: shown where it is");
            }
        }
        Ok(())
    }

    /// The frame of an object's first page, in its own content or the nearest ancestor's that has one.
    fn first_resident(&self, object: u32) -> Option<u32> {
        let mut at = Some(object);
        while let Some(slot) = at {
            let found = self.frames.find(self.objects.state(slot).content, 0);
            if let Some(place) = found.filter(|&place| self.frames.get(place).used_for == Use::Live) {
                return Some(place);
            }
            at = self.objects.parent(slot);
        }
        None
    }

    /// What is shown where: for tests.
    pub fn lent(&self) -> impl Iterator<Item = (usize, LentName, Option<u32>)> {
        let used = (0..).zip(&self.lends.0).filter(|(_, lent)| lent.space != NONE);
        used.map(|(at, lent)| {
            let frame = (lent.frame != NONE).then(|| self.frames.physical(lent.frame));
            (at, self.lent_name(lent.object), frame)
        })
    }
}
