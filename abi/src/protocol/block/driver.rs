//! The end that answers.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{BlockError, CallerFault, Completion, DiskInfo, RING, Request, place};
use crate::protocol::ring::{Consumer, PeerBroken, Producer, PushError, observe};

/// What the client wants, beside requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing new.
    Nothing,
    /// A session is wanted: [`Driver::accept`] it when the disk is ready.
    Open,
    /// The session is over: stop the device's accesses to its frames, then [`Driver::end`] it.
    Close,
}

/// The driver's end of a link.
#[derive(Debug)]
pub struct Driver<'m> {
    area: &'m [AtomicU64],
    session: u64,
    refused: u64,
    rings: Option<(Consumer<'m>, Producer<'m>)>,
}

impl<'m> Driver<'m> {
    /// A driver that has just started, with its device silent. Refuses the session it finds, if any: that one was its
    /// predecessor's. `None` when the area is smaller than [`super::AREA_BYTES`].
    #[must_use]
    pub fn new(area: &'m [AtomicU64]) -> Option<Self> {
        if area.len() < place::END {
            return None;
        }
        let refused = observe(&area[place::SESSION]);
        let driver = Self { area, session: 0, refused, rings: None };
        driver.area[place::REFUSED].store(refused, Ordering::Release);
        driver.area[place::ACCEPTED].store(0, Ordering::Release);
        Some(driver)
    }

    /// What the client wants.
    #[must_use]
    pub fn asked(&self) -> Asked {
        let wanted = observe(&self.area[place::SESSION]);
        if self.session != 0 {
            return if wanted == self.session { Asked::Nothing } else { Asked::Close };
        }
        if wanted == 0 || wanted == self.refused { Asked::Nothing } else { Asked::Open }
    }

    /// Accepts the session that is asked for and says what the disk is. Does nothing if none is.
    pub fn accept(&mut self, info: DiskInfo) {
        if self.asked() != Asked::Open {
            return;
        }
        self.session = observe(&self.area[place::SESSION]);
        let requests = Consumer::new(&self.area[place::REQUESTS..], RING);
        let completions = Producer::new(&self.area[place::COMPLETIONS..], RING);
        self.rings = requests.zip(completions);
        self.area[place::BLOCKS].store(info.blocks, Ordering::Relaxed);
        self.area[place::SHAPE].store(info.shape(), Ordering::Relaxed);
        self.area[place::ACCEPTED].store(self.session, Ordering::Release);
    }

    /// Ends the session. The device no longer touches the frames of its requests.
    pub fn end(&mut self) {
        self.refused = self.session;
        self.session = 0;
        self.rings = None;
        self.area[place::REFUSED].store(self.refused, Ordering::Release);
        self.area[place::ACCEPTED].store(0, Ordering::Release);
    }

    /// Whether a session is being served.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.session != 0
    }

    /// Looks at the oldest request; it stays until [`Driver::taken`]. One that is malformed comes back as the
    /// completion to send.
    ///
    /// # Errors
    /// [`PeerBroken`]: end the session.
    pub fn peek(&mut self) -> Result<Option<Result<Request, Completion>>, PeerBroken> {
        let Some((requests, _)) = &mut self.rings else {
            return Ok(None);
        };
        let Some((index, entry)) = requests.peek()? else {
            return Ok(None);
        };
        let malformed = Err(BlockError::Caller(CallerFault::Malformed));
        Ok(Some(Request::read(self.area, index, &entry).map_err(|_| Completion {
            tag: entry[0],
            result: malformed,
            device_status: 0,
        })))
    }

    /// The request that was looked at has been copied: its slot is free again.
    pub fn taken(&mut self) {
        if let Some((requests, _)) = &mut self.rings {
            requests.release();
        }
    }

    /// Completions that there is room for.
    ///
    /// # Errors
    /// [`PeerBroken`]: end the session.
    pub fn room(&mut self) -> Result<u32, PeerBroken> {
        self.rings.as_mut().map_or(Ok(0), |(_, completions)| completions.room())
    }

    /// Sends a completion; the caller signals the client. A client with [`super::REQUESTS_MAX`] requests under way at
    /// most always has room for it.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn complete(&mut self, completion: &Completion) -> Result<(), PushError> {
        self.rings.as_mut().map_or(Ok(()), |(_, completions)| completions.push(&completion.write()))
    }
}
