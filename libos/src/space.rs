//! A program's own memory, through the memory port: objects, and where they are mapped.
//!
//! All calls are repeatable: what the pager has not answered it has not applied, so none ends with `Restarted`.

use crate::endpoint::{CallError, CallOptions, Endpoint};
use crate::message::Message;
use crate::raw::Window;
use crate::{Capability, Startup};
use abi::protocol::memory::{Error, ObjectFlags, Request};
use abi::protocol::service::Service;
use abi::protocol::startup::{WINDOWS_END, WINDOWS_START, WindowFlags};
use abi::{MapFlags, PAGE_SIZE};

/// Between two windows so much stays unmapped: running over the end of one faults.
const GAP_BYTES: u64 = 2 << 20;

/// Why the pager did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceError {
    /// It refused.
    Refused(Error),
    /// It was not reached.
    Call(CallError),
    /// It answered what no pager answers.
    Malformed,
    /// Caller: no address is left for such a window, or it would have no page.
    NoAddress,
}

/// The address space of the calling process. Windows are given addresses upwards and are never moved.
#[derive(Debug)]
pub struct OwnSpace {
    port: Endpoint,
    next: u64,
}

/// A memory object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object(pub Endpoint);

/// How much memory a space owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Pages of its objects.
    pub pages: u64,
    /// How many they may be.
    pub pages_max: u64,
    /// Regions.
    pub regions: u64,
}

/// Asks the pager; what it answers if it does not refuse.
fn ask(port: Endpoint, request: Request, words: &[u64], cap: Option<Endpoint>) -> Result<Message, SpaceError> {
    let mut message = Message::tagged(request as u64);
    message.words[..words.len()].copy_from_slice(words);
    if let Some(cap) = cap {
        message = message.cap(0, cap.0);
    }
    let answer = port.call_with(&message, CallOptions::REPEATABLE).map_err(SpaceError::Call)?;
    match (answer.tag, Error::from_bits(answer.tag)) {
        (0, _) => Ok(answer),
        (_, Some(error)) => Err(SpaceError::Refused(error)),
        _ => Err(SpaceError::Malformed),
    }
}

/// The object in an answer.
fn object_of(answer: &Message) -> Result<Object, SpaceError> {
    if answer.caps[0].is_null() { Err(SpaceError::Malformed) } else { Ok(Object(Endpoint(answer.caps[0]))) }
}

impl OwnSpace {
    /// The space of a program of the world. To be made once: a second one would give out the same addresses, and the
    /// pager would refuse them as overlapping.
    pub fn of(startup: &Startup) -> Self {
        Self { port: startup.endpoint("space"), next: WINDOWS_START }
    }

    /// An object of `pages` pages, zero-filled, charged to this space.
    pub fn create(&self, pages: u64, flags: ObjectFlags) -> Result<Object, SpaceError> {
        object_of(&ask(self.port, Request::CreateObject, &[pages, flags.bits()], None)?)
    }

    /// Maps the first `pages` pages of an object; they appear when they are touched.
    pub fn map(&mut self, object: Object, pages: u64, flags: MapFlags) -> Result<Window, SpaceError> {
        let bytes = pages.checked_mul(PAGE_SIZE as u64).ok_or(SpaceError::NoAddress)?;
        let (address, mut kind) = (self.next, WindowFlags::empty());
        kind.set(WindowFlags::WRITE, flags.contains(MapFlags::WRITE));
        let window = Window::of_mapping(address, bytes, kind).ok_or(SpaceError::NoAddress)?;
        let end = bytes.checked_next_multiple_of(GAP_BYTES).and_then(|bytes| address.checked_add(bytes + GAP_BYTES));
        let next = end.filter(|end| *end <= WINDOWS_END).ok_or(SpaceError::NoAddress)?;
        ask(self.port, Request::MapRegion, &[address, pages, 0, flags.bits()], Some(object.0))?;
        self.next = next;
        Ok(window)
    }

    /// Lends the first page of an object, read-only, to the volatile server of a port, in place of what this space lent
    /// before. Stays so across restores.
    pub fn lend(&self, object: Object, to: Service) -> Result<(), SpaceError> {
        ask(self.port, Request::Lend, &[to as u64], Some(object.0)).map(|_| ())
    }

    /// How much memory it owns.
    pub fn usage(&self) -> Result<Usage, SpaceError> {
        let [pages, pages_max, regions, ..] = ask(self.port, Request::Usage, &[], None)?.words;
        Ok(Usage { pages, pages_max, regions })
    }
}

impl Object {
    /// A copy-on-write copy, charged to `space`.
    pub fn copy(self, space: &OwnSpace) -> Result<Self, SpaceError> {
        object_of(&ask(self.0, Request::CopyObject, &[], Some(space.port))?)
    }

    /// A capability to it that may only be mapped read-only: for others.
    pub fn read_only(self) -> Result<Self, SpaceError> {
        object_of(&ask(self.0, Request::ReadOnly, &[], None)?)
    }

    /// Gives up its pages. What maps it faults from then on: only for objects that are mapped nowhere any more.
    pub fn destroy(self) -> Result<(), SpaceError> {
        ask(self.0, Request::DestroyObject, &[], None)?;
        // The capability names nothing now; that it is dropped is all that is left to do.
        let _ = Capability(self.0.0).drop();
        Ok(())
    }
}
