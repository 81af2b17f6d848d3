//! The end that asks.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Completion, DiskInfo, RING, Request, RequestError, list_of, place};
use crate::protocol::ring::{Consumer, PeerBroken, Producer, PushError, observe};

/// Why a link cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The caller's fault: the area is smaller than [`super::AREA_BYTES`].
    TooSmall,
    /// The driver still serves the session before, or has not said otherwise: close it, wait for a signal, try again.
    StillClosing,
}

/// Why a request was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The caller's fault: the request is malformed.
    Malformed(RequestError),
    /// The link is not up.
    NotUp,
    /// [`super::REQUESTS_MAX`] requests lie in the ring.
    Full,
    /// The driver's fault: it has overwritten what is not its own.
    DriverBroken,
}

/// How the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The driver has not answered yet.
    Opening,
    /// Requests may be submitted.
    Up(DiskInfo),
    /// The driver died, was restarted, or gave the session up: what has no completion is unknown. Open a new session.
    Lost,
    /// The driver says what no driver says: as `Lost`, but the driver itself needs a restart.
    DriverBroken,
}

/// The client's end of a link. Dropping it leaves the session open; [`Client::close`] ends it.
#[derive(Debug)]
pub struct Client<'m> {
    area: &'m [AtomicU64],
    session: u64,
    was_up: bool,
    requests: Producer<'m>,
    completions: Consumer<'m>,
}

impl<'m> Client<'m> {
    /// Opens a session over zeroed memory, or over memory that an earlier client or driver has left behind.
    ///
    /// # Errors
    /// See [`OpenError`]. Does not block.
    pub fn open(area: &'m [AtomicU64]) -> Result<Self, OpenError> {
        if area.len() < place::END {
            return Err(OpenError::TooSmall);
        }
        // An earlier session of a client that died is closed first: its driver may still be writing to the rings.
        area[place::SESSION].store(0, Ordering::Release);
        if observe(&area[place::ACCEPTED]) != 0 {
            return Err(OpenError::StillClosing);
        }
        let session = observe(&area[place::SESSION_LAST]).max(observe(&area[place::REFUSED])).wrapping_add(1).max(1);
        RING.reset(&area[place::REQUESTS..]);
        RING.reset(&area[place::COMPLETIONS..]);
        let requests = Producer::new(&area[place::REQUESTS..], RING).ok_or(OpenError::TooSmall)?;
        let completions = Consumer::new(&area[place::COMPLETIONS..], RING).ok_or(OpenError::TooSmall)?;
        area[place::SESSION_LAST].store(session, Ordering::Relaxed);
        area[place::SESSION].store(session, Ordering::Release);
        Ok(Self { area, session, was_up: false, requests, completions })
    }

    /// Asks the driver to end the session; it stops the device first. Until [`Client::open`] succeeds again the
    /// frames of requests without a completion still belong to the device.
    pub fn close(self) {
        self.area[place::SESSION].store(0, Ordering::Release);
    }

    /// How the link stands. Once lost it stays lost.
    pub fn link(&mut self) -> Link {
        if observe(&self.area[place::ACCEPTED]) == self.session {
            let blocks = self.area[place::BLOCKS].load(Ordering::Relaxed);
            let shape = self.area[place::SHAPE].load(Ordering::Relaxed);
            self.was_up = true;
            return DiskInfo::from_words(blocks, shape).map_or(Link::DriverBroken, Link::Up);
        }
        if self.was_up || observe(&self.area[place::REFUSED]) == self.session { Link::Lost } else { Link::Opening }
    }

    /// Submits a request. The caller signals the driver, once for as many requests as it likes.
    ///
    /// # Errors
    /// See [`SubmitError`]; then nothing has been submitted.
    pub fn submit(&mut self, request: &Request) -> Result<(), SubmitError> {
        request.check().map_err(SubmitError::Malformed)?;
        match self.link() {
            Link::Up(_) => {}
            Link::DriverBroken => return Err(SubmitError::DriverBroken),
            Link::Opening | Link::Lost => return Err(SubmitError::NotUp),
        }
        match self.requests.room() {
            Ok(0) => return Err(SubmitError::Full),
            Ok(_) => {}
            Err(PeerBroken) => return Err(SubmitError::DriverBroken),
        }
        let list = list_of(self.area, self.requests.next_index()).ok_or(SubmitError::NotUp)?;
        self.requests.push(&request.write(list)).map_err(|error| match error {
            PushError::Full => SubmitError::Full,
            PushError::PeerBroken => SubmitError::DriverBroken,
        })
    }

    /// Takes a completion, in whatever order the device finished. Also when the link is lost: what the driver had
    /// said before it died still counts.
    ///
    /// # Errors
    /// [`PeerBroken`]: the driver wrote what no driver writes; treat the link as lost.
    pub fn poll(&mut self) -> Result<Option<Completion>, PeerBroken> {
        let Some(entry) = self.completions.pop()? else {
            return Ok(None);
        };
        Completion::read(&entry).map(Some).ok_or(PeerBroken)
    }
}
