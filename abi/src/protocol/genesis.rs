//! Between init and the pager, once in the life of a world: the memory of its first processes. Requests and answers
//! through two rings in one shared area; contents through *staging pages* in the same area. No calls: each side
//! signals the other's notification after it has pushed.
//!
//! ```text
//!   init                                            pager
//!   CreateSpace, CreateObject, MapRegion     ──▶    as the memory port would do it
//!   (staging page s filled) Fill             ──▶    copies the staging page into the object; s is init's again …
//!                                            ◀──    … with the answer
//!   Finish                                   ──▶    nothing more comes; from now on there is the memory port
//! ```
//!
//! Requests are answered one for one and in order. The pager serves them only between `Begin` of the paging protocol
//! and `Finish`; nothing has been cut until then, so all of it is in the first epoch, or the world never began. Contents
//! are copied into the world's own memory objects: nothing of the world is read from the boot bundle later.
//! Init mints the capabilities itself: copies of the memory port, badged as [`super::memory::Badge`] says.

use super::memory::ObjectFlags;
use super::ring::{ENTRY_WORDS, Entry, Layout};
use crate::{MapFlags, PAGE_SIZE};
use core::sync::atomic::AtomicU64;

/// Shape of both rings.
pub const RING: Layout = Layout::new(32).expect("a power of two");
/// Staging pages.
pub const STAGING_PAGES: u32 = 16;

const WORDS_OF_PAGE: usize = PAGE_SIZE / 8;

mod place {
    use super::{RING, STAGING_PAGES, WORDS_OF_PAGE};

    pub(super) const REQUESTS: usize = 0;
    pub(super) const ANSWERS: usize = RING.words();
    pub(super) const STAGING: usize = (2 * RING.words()).next_multiple_of(WORDS_OF_PAGE);
    pub(super) const END: usize = STAGING + STAGING_PAGES as usize * WORDS_OF_PAGE;
}

/// Bytes of shared memory that the link takes, in whole pages.
pub const AREA_BYTES: usize = place::END * 8;
/// First page of the area that is a staging page.
pub const STAGING_PAGE_FIRST: usize = place::STAGING / WORDS_OF_PAGE;

/// The memory of the ring of requests (init produces); `None` when `area` is too small.
#[must_use]
pub fn request_ring(area: &[AtomicU64]) -> Option<&[AtomicU64]> {
    area.get(place::REQUESTS..place::REQUESTS + RING.words())
}

/// The memory of the ring of answers (the pager produces); `None` when `area` is too small.
#[must_use]
pub fn answer_ring(area: &[AtomicU64]) -> Option<&[AtomicU64]> {
    area.get(place::ANSWERS..place::ANSWERS + RING.words())
}

/// The words of staging page `slot`; `None` when there is no such page.
#[must_use]
pub fn staging_page(area: &[AtomicU64], slot: u32) -> Option<&[AtomicU64]> {
    let start = place::STAGING + slot as usize * WORDS_OF_PAGE;
    if slot < STAGING_PAGES { area.get(start..start + WORDS_OF_PAGE) } else { None }
}

/// What init asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make an address space that may own `pages_max` pages. Answered with its number: faults of its process carry
    /// [`super::memory::Badge::Space`] of it, and so does its space capability.
    CreateSpace {
        /// Pages it may own.
        pages_max: u64,
    },
    /// Make a memory object, zero-filled, charged to a space. Answered with its number.
    CreateObject {
        /// The space.
        space: u32,
        /// Its pages.
        pages: u64,
        /// What kind.
        flags: ObjectFlags,
    },
    /// Copy a staging page into a page of an object that is not transient.
    Fill {
        /// The object.
        object: u32,
        /// Which of its pages.
        page: u64,
        /// Which staging page.
        slot: u32,
    },
    /// Map an object into a space.
    MapRegion {
        /// The space.
        space: u32,
        /// Where, page-aligned.
        address: u64,
        /// How many pages.
        pages: u64,
        /// The object.
        object: u32,
        /// Its first page there.
        first_page: u64,
        /// WRITE or EXECUTE, not both.
        flags: MapFlags,
    },
    /// The genesis is complete.
    Finish,
}

/// What the pager answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done. The number of what was made, or 0.
    Done(u32),
    /// Refused.
    Refused(super::memory::Error),
}

impl Request {
    /// As it lies in the ring.
    #[must_use]
    pub const fn entry(self) -> Entry {
        match self {
            Self::CreateSpace { pages_max } => [1, pages_max, 0, 0, 0, 0, 0, 0],
            Self::CreateObject { space, pages, flags } => [2, space as u64, pages, flags.bits(), 0, 0, 0, 0],
            Self::Fill { object, page, slot } => [3, object as u64, page, slot as u64, 0, 0, 0, 0],
            Self::MapRegion { space, address, pages, object, first_page, flags } => {
                [4, space as u64, address, pages, object as u64, first_page, flags.bits(), 0]
            }
            Self::Finish => [5, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    /// What an entry says; `None` for one that no init writes.
    #[must_use]
    pub fn from_entry(words: &Entry) -> Option<Self> {
        let [kind, a, b, c, d, e, f, _] = *words;
        let small = |word: u64| u32::try_from(word).ok();
        let request = match kind {
            1 => Self::CreateSpace { pages_max: a },
            2 => Self::CreateObject { space: small(a)?, pages: b, flags: ObjectFlags::from_bits(c)? },
            3 => Self::Fill { object: small(a)?, page: b, slot: small(c).filter(|slot| *slot < STAGING_PAGES)? },
            4 => Self::MapRegion {
                space: small(a)?,
                address: b,
                pages: c,
                object: small(d)?,
                first_page: e,
                flags: MapFlags::from_bits(f)?,
            },
            5 => Self::Finish,
            _ => return None,
        };
        (request.entry() == *words).then_some(request)
    }
}

impl Answer {
    /// As it lies in the ring.
    #[must_use]
    pub const fn entry(self) -> Entry {
        let (error, value) = match self {
            Self::Done(number) => (0, number as u64),
            Self::Refused(error) => (error as u64, 0),
        };
        let mut entry = [0; ENTRY_WORDS];
        entry[0] = error;
        entry[1] = value;
        entry
    }

    /// What an entry says; `None` for one that no pager writes.
    #[must_use]
    pub fn from_entry(words: &Entry) -> Option<Self> {
        let answer = match words[0] {
            0 => Self::Done(u32::try_from(words[1]).ok()?),
            error => Self::Refused(super::memory::Error::from_bits(error)?),
        };
        (answer.entry() == *words).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_and_answers_come_back(a: u32, b: u64, c: u64, slot in 0..STAGING_PAGES, error in 1_u64..9) {
            for request in [
                Request::CreateSpace { pages_max: b },
                Request::CreateObject { space: a, pages: b, flags: ObjectFlags::TRANSIENT },
                Request::Fill { object: a, page: b, slot },
                Request::MapRegion { space: a, address: b, pages: c, object: a, first_page: b, flags: MapFlags::WRITE },
                Request::Finish,
            ] {
                prop_assert_eq!(Request::from_entry(&request.entry()), Some(request));
            }
            let refused = Answer::Refused(super::super::memory::Error::from_bits(error).expect("known"));
            for answer in [Answer::Done(a), refused] {
                prop_assert_eq!(Answer::from_entry(&answer.entry()), Some(answer));
            }
        }

        #[test]
        fn only_written_entries_parse(kind in 0_u64..8, words: [u64; 7]) {
            let mut raw = [0; ENTRY_WORDS];
            raw[0] = kind;
            for (to, from) in raw[1..].iter_mut().zip(words) { *to = from % 5; }
            if let Some(request) = Request::from_entry(&raw) { prop_assert_eq!(request.entry(), raw); }
            if let Some(answer) = Answer::from_entry(&raw) { prop_assert_eq!(answer.entry(), raw); }
        }
    }

    #[test]
    fn the_parts_of_the_area_do_not_overlap() {
        let area: Vec<AtomicU64> = (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect();
        let end = |part: &[AtomicU64]| part.as_ptr_range().end;
        let (requests, answers) = (request_ring(&area).expect("large"), answer_ring(&area).expect("large"));
        assert!(end(requests) <= answers.as_ptr());
        assert!(end(answers) <= staging_page(&area, 0).expect("there").as_ptr());
        assert_eq!(end(staging_page(&area, STAGING_PAGES - 1).expect("there")), end(&area));
        assert!(staging_page(&area, STAGING_PAGES).is_none());
    }
}
