//! Taking frames and giving them back: the free list, and eviction when it runs short.
//!
//! Only clean frames are evicted, oldest first, with a second chance for those mapped since they were last looked at, and
//! another one for those accessed again since (the clock algorithm).
//! The kernel may know of a write that the pager has not read yet: so a victim is unmapped everywhere, then the log is
//! read, and only what is still clean then goes.

use crate::Pager;
use crate::environment::{Environment, ProcessName};
use crate::frame::{CLEAN, NONE, OFF, Use};
use abi::{FRAMES_BATCH_MAX, FrameState, MAP_PAGES_MAX, PAGE_SIZE};
use pager_records::OBJECT;

/// Frames looked at in one search for victims, at most.
const EVICTION_STEPS_MAX: u32 = 256;
/// A page that more regions than this may map is not evicted.
const EVICTION_UNMAPS_MAX: usize = 256;

/// What a frame is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Anything that can wait.
    Ordinary,
    /// What lets a writer of the running epoch go on while an older one is being written: may use the reserve.
    Reserve,
}

/// Frames on their way back to the free list: the kernel is told of a batch at a time.
#[derive(Default)]
pub(crate) struct Freed {
    places: [u32; FRAMES_BATCH_MAX],
    count: usize,
}

impl Pager {
    /// A spare frame, evicting if need be; `None`: nothing can be evicted now.
    pub(crate) fn take_frame(&mut self, env: &mut impl Environment, purpose: Purpose) -> Option<u32> {
        let keep = if purpose == Purpose::Ordinary { self.config.reserve_frames } else { 0 };
        if self.frames.free_count() <= keep {
            self.evict(env);
        }
        if self.frames.free_count() <= keep {
            self.is_short = true;
            return None;
        }
        self.frames.take_free()
    }

    /// Gives back a frame that the kernel may have tracked. Nobody maps it, and the log was read since.
    pub(crate) fn free_frame(&mut self, env: &mut impl Environment, place: u32) {
        self.set_state(env, place, FrameState::Untracked);
        self.frames.give_free(place);
    }

    /// As [`Self::free_frame`], but it may take until [`Self::free_all`].
    pub(crate) fn free_later(&mut self, env: &mut impl Environment, freed: &mut Freed, place: u32) {
        freed.places[freed.count] = place;
        freed.count += 1;
        if freed.count == FRAMES_BATCH_MAX {
            self.free_all(env, freed);
        }
    }

    /// Ends [`Self::free_later`].
    pub(crate) fn free_all(&mut self, env: &mut impl Environment, freed: &mut Freed) {
        let count = core::mem::take(&mut freed.count);
        if count == 0 {
            return;
        }
        let frames = freed.places.map(|place| self.frames.physical(place));
        let changed = env.set_frames(&frames[..count], FrameState::Untracked);
        assert!(changed.count_ones() as usize == count, "the kernel refuses to forget a frame");
        for &place in &freed.places[..count] {
            self.frames.give_free(place);
        }
    }

    /// Sets the kernel's state of a frame, where it cannot be refused.
    pub(crate) fn set_state(&mut self, env: &mut impl Environment, place: u32, state: FrameState) {
        let changed = env.set_frames(&[self.frames.physical(place)], state);
        assert!(changed == 1, "the kernel refuses a state that it must take");
    }

    /// Evicts up to a batch of clean frames.
    fn evict(&mut self, env: &mut impl Environment) {
        let (mut victims, mut count) = ([NONE; FRAMES_BATCH_MAX], 0);
        let clean = self.frames.list_count(CLEAN);
        for step in 0..EVICTION_STEPS_MAX.min(3 * clean) {
            let Some(place) = self.frames.list_head(CLEAN) else { break };
            // To the end of the list, whatever comes of it: the next step looks at another.
            self.frames.delist(place);
            self.frames.enlist(place, CLEAN);
            let frame = *self.frames.get(place);
            let kept = self.pinned == Some(place) || self.lends.holds(place) || self.shelter.holds(place);
            if kept || victims[..count].contains(&place) {
                continue;
            }
            // Some must go, though all be in use.
            let must = step >= 2 * clean || step >= EVICTION_STEPS_MAX / 2 && count == 0;
            let accessed = !must && step < clean && self.was_accessed(env, frame.content, frame.index);
            let spared = accessed || frame.touched || frame.used;
            let looked_at = self.frames.get_mut(place);
            // The access for which it was mapped does not count.
            (looked_at.touched, looked_at.used) = (false, accessed && !frame.touched);
            if spared && !must {
                continue;
            }
            if self.unmap_everywhere(env, frame.content, frame.index) {
                victims[count] = place;
                count += 1;
            }
            if count == FRAMES_BATCH_MAX {
                break;
            }
        }
        self.read_log(env, None);
        let mut freed = Freed::default();
        for &place in &victims[..count] {
            let frame = *self.frames.get(place);
            if frame.list == CLEAN {
                self.contents.get_mut(frame.content).stored |= frame.stored;
                self.frames.delist(place);
                self.frames.detach(place, Use::Spare);
                self.free_later(env, &mut freed, place);
            }
        }
        self.free_all(env, &mut freed);
    }

    /// Unmaps a page of a content in every process that may map it; false, when that would take too many calls (then
    /// some may have been made).
    pub(crate) fn unmap_everywhere(&mut self, env: &mut impl Environment, content: u32, index: u32) -> bool {
        self.everywhere(content, index, |pager, space, page| pager.unmap(env, space, page, 1))
    }

    /// Whether a page of a content was accessed, by any process that may map it, since this was last asked. Those that
    /// are too many to be asked have not.
    fn was_accessed(&mut self, env: &mut impl Environment, content: u32, index: u32) -> bool {
        let mut accessed = false;
        self.everywhere(content, index, |pager, space, page| {
            let process = pager.spaces.state(space).process;
            accessed |= process.is_some_and(|process| env.was_accessed(process, page * PAGE_SIZE as u64));
        });
        accessed
    }

    /// Visits each place, space and page, where a page of a content may be mapped; false, when these are too many: then
    /// only some.
    fn everywhere(&mut self, content: u32, index: u32, mut visit: impl FnMut(&mut Self, u32, u64)) -> bool {
        let root = self.contents.get(content).object;
        let (mut at, mut left) = (Some(root), EVICTION_UNMAPS_MAX);
        while let Some(slot) = at {
            if left == 0 {
                return false;
            }
            left -= 1;
            if self.objects.get(slot).life == OBJECT {
                left = left.saturating_sub(self.in_regions(slot, u64::from(index), &mut visit));
            }
            at = self.objects.walk(root, slot);
        }
        true
    }

    /// Unmaps a page of an object in all of its regions.
    pub(crate) fn unmap_page(&mut self, env: &mut impl Environment, object: u32, index: u64) {
        self.in_regions(object, index, &mut |pager, space, page| pager.unmap(env, space, page, 1));
    }

    /// Visits the places where a page of an object may be mapped, one in each of its regions that hold it: how many.
    fn in_regions(&mut self, object: u32, index: u64, visit: &mut impl FnMut(&mut Self, u32, u64)) -> usize {
        let (mut slot, mut count) = (self.objects.state(object).regions, 0);
        while slot != NONE {
            let region = *self.regions.get(slot);
            let offset = index.wrapping_sub(region.object_page);
            if offset < region.pages {
                visit(self, region.space, region.page + offset);
                count += 1;
            }
            slot = self.regions.next(slot);
        }
        count
    }

    /// Unmaps pages of a space in the process that uses it.
    pub(crate) fn unmap(&mut self, env: &mut impl Environment, space: u32, page: u64, pages: u64) {
        let mut done = 0;
        while done < pages {
            let Some(process) = self.spaces.state(space).process else { return };
            let step = (pages - done).min(MAP_PAGES_MAX);
            if env.unmap(process, (page + done) * PAGE_SIZE as u64, step).is_err() {
                // The only way to be refused: the process is gone, and its mappings with it.
                self.spaces.state_mut(space).process = None;
            }
            done += step;
        }
    }

    /// Unmaps all of an object's regions.
    pub(crate) fn unmap_object(&mut self, env: &mut impl Environment, object: u32) {
        let mut slot = self.objects.state(object).regions;
        while slot != NONE {
            let region = *self.regions.get(slot);
            self.unmap(env, region.space, region.page, region.pages);
            slot = self.regions.next(slot);
        }
    }

    /// Unmaps all of a space.
    pub(crate) fn unmap_space(&mut self, env: &mut impl Environment, space: u32) {
        let mut from = 0;
        while let Some(slot) = self.regions.first_from(space, from) {
            let region = *self.regions.get(slot);
            self.unmap(env, space, region.page, region.pages);
            from = region.end();
        }
    }

    /// The space is used by `process` from now on: whoever used it before has nothing mapped any more.
    pub(crate) fn bind_process(&mut self, env: &mut impl Environment, space: u32, process: ProcessName) {
        let bound = self.spaces.state(space).process;
        if bound == Some(process) {
            return;
        }
        if bound.is_some() {
            self.unmap_space(env, space);
        }
        self.spaces.state_mut(space).process = Some(process);
    }

    /// Makes a live frame clean again, or takes it off all lists if it is transient.
    pub(crate) fn enlist_clean(&mut self, place: u32, transient: bool) {
        debug_assert!(self.frames.get(place).list == OFF);
        if !transient {
            self.frames.enlist(place, CLEAN);
        }
    }
}
