//! Making the first spaces and objects of a new world, on behalf of init, before any thread of it runs.
//!
//! Program images are copied page by page into persistent objects, so that nothing of the world is ever read from the
//! boot bundle later. What genesis writes is dirty in the first epoch, like any write.

use crate::Pager;
use crate::environment::Environment;
use crate::frame::Use;
use abi::protocol::memory::{Badge, Error};
use abi::{FrameState, PAGE_SIZE};

/// Why genesis cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenesisError {
    /// Caller: refused as a program's request would be.
    Refused(Error),
    /// Caller: the world is not a new one that waits for this, or the page has been in use.
    NotNow,
    /// Environment: no frame is free.
    NoMemory,
}

impl From<Error> for GenesisError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Pager {
    /// A new space that may own `pages_max` pages.
    pub fn genesis_space(&mut self, pages_max: u64) -> Result<Badge, GenesisError> {
        self.genesis_allowed()?;
        let space = self.create_space(pages_max)?;
        Ok(Badge::Space(self.spaces.id(space)))
    }

    /// A new object of zeros, charged to a space.
    pub fn genesis_object(&mut self, space: Badge, pages: u64, transient: bool) -> Result<Badge, GenesisError> {
        self.genesis_allowed()?;
        let space = self.genesis_find_space(space)?;
        let object = self.create_object(space, pages, transient)?;
        Ok(Badge::Object { id: self.objects.id(object), write: true })
    }

    /// Puts pages of an object into a space. Place: address, pages, first page in the object, map flags.
    pub fn genesis_map(&mut self, space: Badge, object: Badge, place: [u64; 4]) -> Result<(), GenesisError> {
        self.genesis_allowed()?;
        let space = self.genesis_find_space(space)?;
        let Badge::Object { id, write } = object else { return Err(Error::BadCapability.into()) };
        let object = self.objects.find(id).ok_or(Error::Gone)?;
        self.map_region(space, object, write, place)?;
        Ok(())
    }

    /// Writes up to a page of bytes to the front of a page of a persistent object; the rest of a page that was never
    /// written is zero.
    pub fn genesis_write(
        &mut self,
        env: &mut impl Environment,
        object: Badge,
        index: u64,
        bytes: &[u8],
    ) -> Result<(), GenesisError> {
        self.genesis_allowed()?;
        let Badge::Object { id, write: true } = object else { return Err(Error::BadCapability.into()) };
        let object = self.objects.find(id).ok_or(Error::Gone)?;
        let record = *self.objects.get(object);
        if index >= record.pages || bytes.len() > PAGE_SIZE || record.is_transient() {
            return Err(Error::BadArgument.into());
        }
        let content = self.objects.state(object).content;
        let place = match self.frames.find(content, index as u32) {
            Some(place) if self.frames.get(place).sealed && !self.frames.get(place).handed => place,
            Some(_) => return Err(GenesisError::NotNow),
            None => self.genesis_page(env, content, index as u32)?,
        };
        env.write(self.frames.physical(place), 0, bytes);
        Ok(())
    }

    /// A new page of zeros that counts as written in the running epoch.
    fn genesis_page(&mut self, env: &mut impl Environment, content: u32, index: u32) -> Result<u32, GenesisError> {
        let taken = self.take_frame(env, crate::eviction::Purpose::Ordinary);
        let place = taken.ok_or(GenesisError::NoMemory)?;
        env.zero(self.frames.physical(place));
        self.set_state(env, place, FrameState::Clean);
        self.frames.attach(place, content, index, Use::Live);
        self.frames.get_mut(place).sealed = true;
        // Not refused for want of room: a new world that does not fit never commits.
        self.grow(place);
        self.frames.enlist(place, self.lanes.running() as u8);
        Ok(place)
    }

    fn genesis_allowed(&self) -> Result<(), GenesisError> {
        if self.is_ready() { Ok(()) } else { Err(GenesisError::NotNow) }
    }

    fn genesis_find_space(&self, space: Badge) -> Result<u32, GenesisError> {
        let Badge::Space(id) = space else { return Err(Error::BadCapability.into()) };
        Ok(self.spaces.find(id).ok_or(Error::Gone)?)
    }
}
