//! Requests of the memory port: applied and answered in one step, so that no cut comes between. When the answer cannot
//! be delivered, what was made for it is destroyed again.

use crate::Pager;
use crate::environment::{Answer, Environment, ReplyTo};
use crate::region::OBJECT_REGIONS_MAX;
use abi::protocol::memory::{Badge, Error, ObjectFlags, Request};
use abi::protocol::service::Service;
use abi::{Handle, MapFlags, PAGE_SIZE, WORDS};
use pager_records::{RegionRecord, are_region_flags, is_user_range};

/// A request, as it was received: its Reply is the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMessage {
    /// Badge of the capability it came through.
    pub badge: u64,
    /// Its tag.
    pub tag: u64,
    /// Its words.
    pub words: [u64; WORDS],
    /// Its first capability. The pager drops it; any others are the caller's to drop.
    pub cap: Option<Handle>,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Words.
    Words([u64; 3]),
    /// A space was made.
    Space(u32),
    /// An object was made.
    Object(u32),
    /// A capability to what is there already.
    Badge(Badge),
}

const NOTHING: Done = Done::Words([0; 3]);

impl Pager {
    /// Serves a request, when [`Self::can_receive`].
    pub fn request(&mut self, env: &mut impl Environment, message: RequestMessage) {
        let came_with = message.cap.and_then(|cap| env.badge_of(cap)).and_then(Badge::from_bits);
        if let Some(cap) = message.cap {
            env.drop_handle(cap);
        }
        let result = self.apply(env, &message, came_with);
        self.answer(env, result);
        self.work(env);
    }

    fn answer(&mut self, env: &mut impl Environment, result: Result<Done, Error>) {
        let badge = match result {
            Ok(Done::Space(space)) => Some(Badge::Space(self.spaces.id(space))),
            Ok(Done::Object(object)) => Some(Badge::Object { id: self.objects.id(object), write: true }),
            Ok(Done::Badge(badge)) => Some(badge),
            _ => None,
        };
        let mut result = result;
        let mut answer = Answer::default();
        if let Some(badge) = badge {
            answer.cap = env.mint(badge.bits());
            if answer.cap.is_none() {
                self.undo(env, result);
                result = Err(Error::TablesExhausted);
            }
        }
        match result {
            Ok(Done::Words(words)) => answer.words = words,
            Ok(_) => {}
            Err(error) => answer.tag = error as u64,
        }
        if env.reply(ReplyTo::Current, &answer).is_err() {
            self.undo(env, result);
        }
    }

    fn undo(&mut self, env: &mut impl Environment, result: Result<Done, Error>) {
        match result {
            Ok(Done::Space(space)) => self.destroy_space(env, space),
            Ok(Done::Object(object)) => self.destroy_object(env, object),
            _ => {}
        }
    }

    fn apply(
        &mut self,
        env: &mut impl Environment,
        message: &RequestMessage,
        came_with: Option<Badge>,
    ) -> Result<Done, Error> {
        let request = Request::from_bits(message.tag).ok_or(Error::BadRequest)?;
        let words = &message.words;
        match Badge::from_bits(message.badge).ok_or(Error::BadRequest)? {
            Badge::Root => match request {
                Request::CreateSpace => self.create_space(words[0]).map(Done::Space),
                _ => Err(Error::BadRequest),
            },
            Badge::Space(id) => {
                let space = self.spaces.find(id).ok_or(Error::Gone)?;
                self.apply_to_space(env, space, request, words, came_with)
            }
            Badge::Object { id, write } => {
                let object = self.objects.find(id).ok_or(Error::Gone)?;
                self.apply_to_object(env, object, write, request, came_with)
            }
        }
    }

    fn apply_to_space(
        &mut self,
        env: &mut impl Environment,
        space: u32,
        request: Request,
        words: &[u64; WORDS],
        came_with: Option<Badge>,
    ) -> Result<Done, Error> {
        match request {
            Request::CreateObject => {
                let flags = ObjectFlags::from_bits(words[1]).ok_or(Error::BadArgument)?;
                let transient = flags.contains(ObjectFlags::TRANSIENT);
                if !transient && self.refuses_objects() {
                    return Err(Error::StoreFull);
                }
                self.create_object(space, words[0], transient).map(Done::Object)
            }
            Request::MapRegion => {
                let Some(Badge::Object { id, write }) = came_with else { return Err(Error::BadCapability) };
                let object = self.objects.find(id).ok_or(Error::Gone)?;
                self.map_region(space, object, write, [words[0], words[1], words[2], words[3]])?;
                Ok(NOTHING)
            }
            Request::Lend => {
                if words[0] != Service::Console as u64 {
                    return Err(Error::BadArgument);
                }
                let Some(Badge::Object { id, .. }) = came_with else { return Err(Error::BadCapability) };
                let object = self.objects.find(id).ok_or(Error::Gone)?;
                self.lend(env, space, object)?;
                Ok(NOTHING)
            }
            Request::UnmapRegion => self.unmap_region(env, space, words[0], words[1]),
            Request::Usage => {
                let state = self.spaces.state(space);
                let pages_max = self.spaces.table.get(space).pages_max;
                Ok(Done::Words([state.owned, pages_max, u64::from(state.regions)]))
            }
            Request::DestroySpace => {
                self.destroy_space(env, space);
                Ok(NOTHING)
            }
            _ => Err(Error::BadRequest),
        }
    }

    fn apply_to_object(
        &mut self,
        env: &mut impl Environment,
        object: u32,
        write: bool,
        request: Request,
        came_with: Option<Badge>,
    ) -> Result<Done, Error> {
        match request {
            Request::CopyObject => {
                let Some(Badge::Space(id)) = came_with else { return Err(Error::BadCapability) };
                let space = self.spaces.find(id).ok_or(Error::Gone)?;
                if !self.objects.get(object).is_transient() && self.refuses_objects() {
                    return Err(Error::StoreFull);
                }
                self.copy_object(env, object, space).map(Done::Object)
            }
            Request::DestroyObject if !write => Err(Error::ReadOnly),
            Request::DestroyObject => {
                self.destroy_object(env, object);
                Ok(NOTHING)
            }
            Request::ReadOnly => Ok(Done::Badge(Badge::Object { id: self.objects.id(object), write: false })),
            _ => Err(Error::BadRequest),
        }
    }

    /// Puts pages of an object into a space. Arguments: address, pages, first page in the object, flags.
    pub(crate) fn map_region(
        &mut self,
        space: u32,
        object: u32,
        write: bool,
        [address, pages, object_page, flags]: [u64; 4],
    ) -> Result<(), Error> {
        let page = address / PAGE_SIZE as u64;
        let within = object_page.checked_add(pages).is_some_and(|end| end <= self.objects.get(object).pages);
        let aligned = address.is_multiple_of(PAGE_SIZE as u64);
        if !aligned || !within || !is_user_range(page, pages) || !are_region_flags(flags) {
            return Err(Error::BadArgument);
        }
        if flags & MapFlags::WRITE.bits() != 0 && !write {
            return Err(Error::ReadOnly);
        }
        if self.regions.overlaps(space, page, pages) {
            return Err(Error::Overlap);
        }
        if !self.regions.have_free(1) || self.objects.state(object).region_count >= OBJECT_REGIONS_MAX {
            return Err(Error::TablesExhausted);
        }
        // ---- point of no return ----
        let id = self.objects.id(object);
        self.add_region(RegionRecord { page, pages, object_page, object: id, space, flags }, Some(object));
        Ok(())
    }

    /// Puts a region in; `None`: its object is gone.
    fn add_region(&mut self, record: RegionRecord, object: Option<u32>) {
        let slot = self.regions.insert(record);
        if let Some(object) = object {
            let state = self.objects.state_mut(object);
            state.region_count += 1;
            self.regions.link(slot, object, &mut state.regions);
        }
        self.spaces.state_mut(record.space).regions += 1;
    }

    /// Removes what lies in a range of addresses; regions that reach out of it are narrowed, or split.
    fn unmap_region(
        &mut self,
        env: &mut impl Environment,
        space: u32,
        address: u64,
        pages: u64,
    ) -> Result<Done, Error> {
        let from = address / PAGE_SIZE as u64;
        if !address.is_multiple_of(PAGE_SIZE as u64) || !is_user_range(from, pages) {
            return Err(Error::BadArgument);
        }
        let to = from + pages;
        if let Some(first) = self.regions.find(space, from) {
            let region = self.regions.get(first);
            let splits = region.page < from && region.end() > to;
            let full = self.regions.object(first).map(|object| self.objects.state(object).region_count);
            if splits && (!self.regions.have_free(1) || full.is_some_and(|count| count >= OBJECT_REGIONS_MAX)) {
                return Err(Error::TablesExhausted);
            }
        }
        // ---- point of no return ----
        while let Some(slot) = self.regions.first_from(space, from) {
            let region = *self.regions.get(slot);
            if region.page >= to {
                break;
            }
            let (start, end) = (region.page.max(from), region.end().min(to));
            self.unmap(env, space, start, end - start);
            match (region.page < start, end < region.end()) {
                (false, false) => self.remove_region(slot),
                (false, true) => self.regions.narrow(slot, end, region.end() - end),
                (true, false) => self.regions.narrow(slot, region.page, start - region.page),
                (true, true) => self.split_region(slot, start, end),
            }
        }
        Ok(NOTHING)
    }

    /// Takes `start .. end` out of the middle of a region.
    fn split_region(&mut self, slot: u32, start: u64, end: u64) {
        let region = *self.regions.get(slot);
        self.regions.narrow(slot, region.page, start - region.page);
        let object_page = region.object_page + (end - region.page);
        let rest = RegionRecord { page: end, pages: region.end() - end, object_page, ..region };
        self.add_region(rest, self.regions.object(slot));
    }
}
