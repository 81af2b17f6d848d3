//! One page: where it is looked for, how it comes into being, and what the first write to it needs.
//!
//! A page is looked for in its object's content, then in those of the ancestors, oldest last, first in memory, then in
//! the store; where nobody has it, it is zero. Pages of ancestors are mapped read-only, and copied into the object's
//! own content by the first write.
//!
//! A new frame whose contents are not in the store is mapped for the write, which makes it dirty and logs it, before
//! the pager's tables take it in: when that fails, nothing has happened.

use crate::Pager;
use crate::environment::{Environment, Mapping, Note, ProcessName};
use crate::eviction::Purpose;
use crate::fault::{Absent, End, Wait};
use crate::frame::{OFF, Use};
use crate::pager::Broken;
use abi::protocol::paging::{PageName, PagedAs, ToStore};
use abi::{Epoch, FrameState, MapFlags, Status};

/// Messages that are kept for answers when pages are asked for.
const ASKING_LEAVES_ROOM: usize = 16;
/// Address spaces that are unmapped to make room for the page tables of another, in one try.
const SPACES_DROPPED_MAX: u32 = 4;

/// The page that a fault is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) space: u32,
    pub(crate) object: u32,
    pub(crate) content: u32,
    pub(crate) index: u32,
    pub(crate) process: ProcessName,
    /// Page aligned.
    pub(crate) address: u64,
    /// Of the region.
    pub(crate) flags: MapFlags,
    pub(crate) transient: bool,
}

/// Where a page is.
enum Found {
    /// In the object's own content.
    Own(u32),
    /// In an ancestor's.
    Above(u32),
    /// On its way.
    Loading(u32),
    /// Lost.
    Damaged,
    /// Perhaps in the store, in this content.
    Ask(u32),
    /// Nowhere: it is zero.
    Nowhere,
}

impl Pager {
    fn look(&self, object: u32, index: u32, absent: &Absent) -> Found {
        let mut at = Some(object);
        while let Some(slot) = at {
            let content = self.objects.state(slot).content;
            if let Some(place) = self.frames.find(content, index) {
                return match self.frames.get(place).used_for {
                    Use::Loading => Found::Loading(place),
                    Use::Damaged => Found::Damaged,
                    _ if slot == object => Found::Own(place),
                    _ => Found::Above(place),
                };
            }
            if self.contents.get(content).stored && !absent.contains(&content) {
                return Found::Ask(content);
            }
            at = self.objects.parent(slot);
        }
        Found::Nowhere
    }

    /// The frame that a page of an object is in; `None`: the page is not in memory, and not to be had now. A content that
    /// may have it in the store is the error.
    pub(crate) fn find_page(&self, object: u32, index: u32, absent: &Absent) -> Result<Option<u32>, u32> {
        match self.look(object, index, absent) {
            Found::Own(place) | Found::Above(place) => Ok(Some(place)),
            Found::Ask(content) => Err(content),
            Found::Loading(_) | Found::Damaged | Found::Nowhere => Ok(None),
        }
    }

    /// Asks the store for a page that no thread waits for, if that can be done now.
    pub(crate) fn fetch(&mut self, env: &mut impl Environment, content: u32, index: u32) {
        // What it waits for is looked for again after every event.
        let _ = self.ask(env, content, index);
    }

    /// Serves a fault on a page that its region allows.
    pub(crate) fn serve_page(
        &mut self,
        env: &mut impl Environment,
        target: &Target,
        writes: bool,
        absent: &Absent,
    ) -> End {
        let done = match self.look(target.object, target.index, absent) {
            Found::Own(place) => self.map_own(env, target, place, writes),
            Found::Above(place) if writes => self.copy_down(env, target, place),
            Found::Above(place) => self.map(env, target, place, target.flags - MapFlags::WRITE),
            Found::Nowhere => self.make_zero(env, target, writes),
            Found::Ask(content) => self.ask(env, content, target.index),
            Found::Loading(place) => Err(End::Wait(Wait::Page(place))),
            Found::Damaged => Err(End::Wait(Wait::Damaged)),
        };
        done.map_or_else(|end| end, |()| End::Resume)
    }

    fn map_own(&mut self, env: &mut impl Environment, target: &Target, place: u32, writes: bool) -> Result<(), End> {
        let frame = *self.frames.get(place);
        if !writes {
            let hidden = if frame.sealed || frame.owed { MapFlags::WRITE } else { MapFlags::empty() };
            return self.map(env, target, place, target.flags - hidden);
        }
        if !target.transient && !self.is_dirty_now(place) {
            self.need(frame.owed)?;
            if frame.owed {
                self.grow(place);
            }
        }
        if frame.handed || frame.sealed && frame.list != self.lanes.running() as u8 {
            return self.replace(env, target, place);
        }
        self.map(env, target, place, target.flags | MapFlags::NOW)
    }

    /// Whether the store has room for one more dirty page, and if it `grows` by that, for one more in all.
    fn need(&self, grows: bool) -> Result<(), End> {
        let left = self.left();
        if left.writes == 0 || grows && left.growth == 0 { Err(End::Wait(Wait::Room)) } else { Ok(()) }
    }

    /// A page that was never written. Without room in the store it can only be read.
    fn make_zero(&mut self, env: &mut impl Environment, target: &Target, writes: bool) -> Result<(), End> {
        if writes && !target.transient {
            self.need(true)?;
        }
        let place = self.take_frame(env, Purpose::Ordinary).ok_or(End::Wait(Wait::Memory))?;
        env.zero(self.frames.physical(place));
        self.place_page(env, target, place);
        if !target.transient {
            let fits = self.left().growth > 0;
            self.frames.get_mut(place).owed = !fits;
            self.frames.set_fresh(place, fits);
        }
        self.map_own(env, target, place, writes)
    }

    /// Puts a spare frame into the tables as the page of `target`, clean.
    fn place_page(&mut self, env: &mut impl Environment, target: &Target, place: u32) {
        if !target.transient {
            self.set_state(env, place, FrameState::Clean);
        }
        self.take_in(target, place);
    }

    fn take_in(&mut self, target: &Target, place: u32) {
        self.frames.attach(place, target.content, target.index, Use::Live);
        self.frames.get_mut(place).touched = true;
        self.enlist_clean(place, target.transient);
        self.forget_absent(target.content);
    }

    /// The first write to a page that so far showed through from an ancestor.
    fn copy_down(&mut self, env: &mut impl Environment, target: &Target, from: u32) -> Result<(), End> {
        if !target.transient {
            self.need(true)?;
        }
        let pinned = self.pinned.replace(from);
        // What it is copied from had to be fetched, perhaps: it must not be for nothing, or a world that is larger than
        // memory could fetch for ever.
        let taken = self.take_frame(env, Purpose::Reserve);
        self.pinned = pinned;
        let place = taken.ok_or(End::Wait(Wait::Memory))?;
        self.swap_in(env, target, from, place)?;
        self.take_in(target, place);
        if !target.transient {
            self.grow(place);
        }
        Ok(())
    }

    /// The first write to a page whose frame a device is reading (or which the kernel must not be let write to): the
    /// frame stays with the ended epoch, the page gets another.
    fn replace(&mut self, env: &mut impl Environment, target: &Target, from: u32) -> Result<(), End> {
        let place = self.take_frame(env, Purpose::Reserve).ok_or(End::Wait(Wait::Memory))?;
        self.swap_in(env, target, from, place)?;
        self.frames.detach(from, Use::Detached);
        self.contents.get_mut(target.content).pending += 1;
        self.take_in(target, place);
        Ok(())
    }

    /// Copies a page into a spare frame and maps that for the write, everywhere else nothing. When it fails the frame
    /// is free again.
    fn swap_in(&mut self, env: &mut impl Environment, target: &Target, from: u32, place: u32) -> Result<(), End> {
        self.unmap_page(env, target.object, u64::from(target.index));
        env.copy(self.frames.physical(from), self.frames.physical(place));
        if !target.transient {
            self.set_state(env, place, FrameState::Clean);
        }
        // Who borrows the page must see what the writer is going to write.
        self.move_lent(env, target.object, target.index, place);
        let mapped = self.map(env, target, place, target.flags | MapFlags::NOW);
        if mapped.is_err() {
            self.move_lent(env, target.object, target.index, from);
            self.free_frame(env, place);
        }
        mapped
    }

    fn map(&mut self, env: &mut impl Environment, target: &Target, place: u32, flags: MapFlags) -> Result<(), End> {
        let flags = if target.transient { flags - MapFlags::NOW } else { flags };
        let epoch = if flags.contains(MapFlags::WRITE) { self.running } else { Epoch::NONE };
        let frame = self.frames.physical(place);
        let Target { process, address, .. } = *target;
        let mapping = Mapping { process, address, frame, flags, epoch };
        let mut refused = env.map(&mapping);
        for _ in 0..SPACES_DROPPED_MAX {
            if refused != Err(Status::PoolExhausted) {
                break;
            }
            self.drop_tables(env, target.space);
            refused = env.map(&mapping);
        }
        if refused == Err(Status::PoolExhausted) {
            self.unmap_space(env, target.space);
            refused = env.map(&mapping);
        }
        if refused == Err(Status::Busy) {
            // No donated frame, or no room in the log.
            self.read_log(env, None);
            self.refill(env);
            refused = env.map(&mapping);
        }
        match refused {
            Ok(()) => {
                self.frames.get_mut(place).touched = true;
                if self.frames.free_count() <= self.config.reserve_frames {
                    self.shelter.mapped(process, place);
                }
                Ok(())
            }
            Err(Status::PoolExhausted) => Err(End::Wait(Wait::Memory)),
            Err(Status::Busy) => {
                self.is_short = true;
                Err(End::Wait(Wait::Memory))
            }
            Err(status) => Err(End::Refuse(Note::MapRefused { process, address, status })),
        }
    }

    /// Unmaps all of another space, or when nobody else has anything mapped, of this one: its page tables can be used
    /// again.
    fn drop_tables(&mut self, env: &mut impl Environment, wanted_by: u32) {
        let count = self.spaces.table.len();
        let turn = self.spaces.turn;
        let in_use = |space: u32| space != wanted_by && self.spaces.state(space).process.is_some();
        let victim = (1..=count).map(|step| (turn + step) % count).find(|&space| in_use(space));
        self.spaces.turn = victim.unwrap_or(turn);
        self.unmap_space(env, victim.unwrap_or(wanted_by));
    }

    /// Asks the store for a page.
    fn ask(&mut self, env: &mut impl Environment, content: u32, index: u32) -> Result<(), End> {
        if env.room() <= ASKING_LEAVES_ROOM || self.loading >= self.config.loading_max() {
            return Err(End::Wait(Wait::Memory));
        }
        let place = self.take_frame(env, Purpose::Ordinary).ok_or(End::Wait(Wait::Memory))?;
        self.loading += 1;
        self.frames.attach(place, content, index, Use::Loading);
        let page = PageName { content: self.contents.get(content).number, index: u64::from(index) };
        env.send(ToStore::PageIn { page, frame: self.frames.physical(place) });
        Err(End::Wait(Wait::Page(place)))
    }

    /// The store answers.
    pub(crate) fn paged(
        &mut self,
        env: &mut impl Environment,
        page: PageName,
        frame: u32,
        outcome: PagedAs,
    ) -> Result<(), Broken> {
        self.expect_phase(crate::pager::Phase::Running)?;
        let place = self.frames.place(frame).ok_or(Broken::Paged { frame })?;
        let held = *self.frames.get(place);
        if held.used_for == Use::Orphan {
            self.loading -= 1;
            self.frames.get_mut(place).used_for = Use::Spare;
            self.frames.give_free(place);
            return Ok(());
        }
        let asked = held.used_for == Use::Loading
            && self.contents.get(held.content).number == page.content
            && u64::from(held.index) == page.index;
        if !asked {
            return Err(Broken::Paged { frame });
        }
        debug_assert!(held.list == OFF);
        self.loading -= 1;
        let mut absent = None;
        match outcome {
            PagedAs::Filled => {
                self.set_state(env, place, FrameState::Clean);
                let filled = self.frames.get_mut(place);
                filled.used_for = Use::Live;
                filled.stored = true;
                filled.touched = true;
                self.enlist_clean(place, false);
            }
            PagedAs::Absent => {
                self.frames.detach(place, Use::Spare);
                self.frames.give_free(place);
                absent = Some(held.content);
            }
            PagedAs::Damaged => {
                self.frames.get_mut(place).used_for = Use::Damaged;
                env.note(Note::Damaged { page });
            }
        }
        if let (Some(content), 0) = (absent, page.index) {
            self.add_absent_lent(content);
        }
        self.retry_page(env, place, absent);
        Ok(())
    }
}
