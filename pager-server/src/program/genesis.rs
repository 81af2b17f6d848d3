//! The pager's end of init's link: what a new world is made of ([`libos::abi::protocol::genesis`]).

use super::machine::{Machine, words};
use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::PAGE_SIZE;
use libos::abi::protocol::genesis::{Answer, RING, Request, answer_ring, request_ring, staging_page};
use libos::abi::protocol::memory::{Badge, Error, ObjectFlags};
use libos::abi::protocol::ring::{Consumer, Producer};
use libos::abi::protocol::wiring::link;
use libos::{Notification, Startup};
use pager_server::{GenesisError, Pager};

/// Requests are served until [`Request::Finish`].
pub(super) struct GenesisLink {
    area: &'static [AtomicU64],
    requests: Consumer<'static>,
    answers: Producer<'static>,
    bell: Notification,
    finished: bool,
}

impl GenesisLink {
    pub(super) fn new(startup: &Startup) -> Self {
        let area = words(startup, link::GENESIS);
        let (Some(requests), Some(answers)) = (request_ring(area), answer_ring(area)) else {
            panic!("the link to init is too small")
        };
        let (Some(requests), Some(answers)) = (Consumer::new(requests, RING), Producer::new(answers, RING)) else {
            panic!("the link to init has no rings")
        };
        Self { area, requests, answers, bell: startup.notification(link::GENESIS_BELL), finished: false }
    }

    /// Serves what init has asked, if a new world waits for its genesis.
    pub(super) fn serve(&mut self, pager: &mut Pager, machine: &mut Machine) {
        let mut answered = false;
        while !self.finished && pager.is_ready() && self.answers.room() != Ok(0) {
            let entry = match self.requests.pop() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(_) => panic!("init's ring is broken"),
            };
            let answer = match Request::from_entry(&entry) {
                Some(request) => self.apply(pager, machine, request),
                None => Err(GenesisError::Refused(Error::BadRequest)),
            };
            let answer = match answer {
                Ok(number) => Answer::Done(number),
                Err(GenesisError::Refused(error)) => Answer::Refused(error),
                Err(GenesisError::NotNow) => Answer::Refused(Error::BadRequest),
                Err(GenesisError::NoMemory) => Answer::Refused(Error::TablesExhausted),
            };
            if self.answers.push(&answer.entry()).is_err() {
                panic!("init's ring is broken");
            }
            answered = true;
        }
        if answered {
            // Init outlives everybody.
            let _ = self.bell.signal();
        }
    }

    fn apply(&mut self, pager: &mut Pager, machine: &mut Machine, request: Request) -> Result<u32, GenesisError> {
        let object = |id| Badge::Object { id, write: true };
        match request {
            Request::CreateSpace { pages_max } => pager.genesis_space(pages_max).map(number),
            Request::CreateObject { space, pages, flags } => {
                let transient = flags.contains(ObjectFlags::TRANSIENT);
                pager.genesis_object(Badge::Space(space), pages, transient).map(number)
            }
            Request::Fill { object: id, page, slot } => {
                let Some(words) = staging_page(self.area, slot) else { return Err(GenesisError::NotNow) };
                let mut bytes = [0; PAGE_SIZE];
                for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
                    *to = word.load(Ordering::Relaxed).to_le_bytes();
                }
                pager.genesis_write(machine, object(id), page, &bytes).map(|()| 0)
            }
            Request::MapRegion { space, address, pages, object: id, first_page, flags } => {
                let place = [address, pages, first_page, flags.bits()];
                pager.genesis_map(Badge::Space(space), object(id), place).map(|()| 0)
            }
            Request::Finish => {
                self.finished = true;
                Ok(0)
            }
        }
    }
}

/// The number of what was made.
fn number(made: Badge) -> u32 {
    match made {
        Badge::Space(id) | Badge::Object { id, .. } => id,
        Badge::Root => 0,
    }
}
