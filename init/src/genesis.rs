//! The memory of the world's first processes: asked of the pager, piece by piece.
//!
//! Each segment of a program becomes a memory object of its own, filled from the bundle through staging pages and mapped
//! with the segment's rights; the startup page and the stack are objects too. What a program maps to be shared with a
//! port's server (its rings) it makes itself, with its space capability.
//!
//! The world is made once: whatever fails here fails the genesis, and the next boot finds an empty store again, because
//! nothing is cut before [`Request::Finish`].

use crate::image::flags;
use abi::bundle::{Program, SegmentRights};
use abi::protocol::genesis::{Request, STAGING_PAGES};
use abi::protocol::memory::{Error, ObjectFlags};
use abi::protocol::startup::{STACK_TOP, STARTUP_ADDRESS};
use abi::{MapFlags, PAGE_SIZE};

/// The pager, as the genesis sees it.
pub trait Pager {
    /// Asks and waits for the answer: the number of what was made.
    fn ask(&mut self, request: Request) -> Result<u32, GenesisError>;

    /// Copies bytes (at most a page) into a staging page and zeroes its rest.
    fn stage(&mut self, slot: u32, bytes: &[u8]);
}

/// Why there is no genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenesisError {
    /// The pager refused a request: the manifest asks for too much, or names what cannot be.
    Refused(Error),
    /// The pager did not answer in time, or nonsense.
    PagerSilent,
}

/// The page at which the store will keep a world's first program is charged like all others; this is what a process may
/// make beyond what it starts with.
const GROWTH_PAGES: u64 = 256;

/// A process's memory, made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its space, as the pager numbers it.
    pub space: u32,
    /// First instruction.
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
}

/// The address space of a process to be, empty.
pub fn make_space(pager: &mut impl Pager, program: &Program<'_>, stack_pages: u64) -> Result<u32, GenesisError> {
    let segments: u64 = program.segments().map(|segment| segment.memory_bytes().div_ceil(PAGE_SIZE as u64)).sum();
    pager.ask(Request::CreateSpace { pages_max: segments + stack_pages + 1 + GROWTH_PAGES })
}

/// Puts `program`, a stack and the startup page into `space`.
pub fn fill_space(
    pager: &mut impl Pager,
    space: u32,
    program: &Program<'_>,
    stack_pages: u64,
    startup: &[u8],
) -> Result<Made, GenesisError> {
    for segment in program.segments() {
        let pages = segment.memory_bytes().div_ceil(PAGE_SIZE as u64);
        let rights = flags(segment.rights() - SegmentRights::READ);
        put_object(pager, space, segment.address(), pages, segment.pages(), rights)?;
    }
    put_object(pager, space, STACK_TOP - stack_pages * PAGE_SIZE as u64, stack_pages, &[], MapFlags::WRITE)?;
    put_object(pager, space, STARTUP_ADDRESS, 1, startup, MapFlags::empty())?;
    Ok(Made { space, entry: program.entry(), stack: STACK_TOP })
}

/// An object of `pages` pages that begins with `contents`, mapped at `address`.
fn put_object(
    pager: &mut impl Pager,
    space: u32,
    address: u64,
    pages: u64,
    contents: &[u8],
    flags: MapFlags,
) -> Result<(), GenesisError> {
    let object = pager.ask(Request::CreateObject { space, pages, flags: ObjectFlags::empty() })?;
    for (page, bytes) in (0..pages).zip(contents.chunks(PAGE_SIZE)) {
        // A page of zeros is what the object has already.
        if bytes.iter().any(|byte| *byte != 0) {
            let slot = page as u32 % STAGING_PAGES;
            pager.stage(slot, bytes);
            pager.ask(Request::Fill { object, page, slot })?;
        }
    }
    pager.ask(Request::MapRegion { space, address, pages, object, first_page: 0, flags }).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bundle::{bundle, service};
    use abi::bundle::Bundle;
    use std::collections::BTreeMap;

    /// A pager that keeps what it is told.
    #[derive(Default)]
    struct Fake {
        staging: BTreeMap<u32, Vec<u8>>,
        objects: Vec<(u32, Vec<u8>)>,
        spaces: Vec<u64>,
        regions: Vec<(u32, u64, u64, u32, MapFlags)>,
        refuse_after: Option<usize>,
        asked: usize,
    }

    impl Pager for Fake {
        fn ask(&mut self, request: Request) -> Result<u32, GenesisError> {
            self.asked += 1;
            if self.refuse_after.is_some_and(|after| self.asked > after) {
                return Err(GenesisError::Refused(Error::TablesExhausted));
            }
            match request {
                Request::CreateSpace { pages_max } => {
                    self.spaces.push(pages_max);
                    Ok(self.spaces.len() as u32 - 1)
                }
                Request::CreateObject { space, pages, .. } => {
                    let left = &mut self.spaces[space as usize];
                    *left = left.checked_sub(pages).expect("the space may own so many pages");
                    self.objects.push((space, vec![0; pages as usize * PAGE_SIZE]));
                    Ok(self.objects.len() as u32 - 1)
                }
                Request::Fill { object, page, slot } => {
                    let at = page as usize * PAGE_SIZE;
                    self.objects[object as usize].1[at..at + PAGE_SIZE].copy_from_slice(&self.staging[&slot]);
                    Ok(0)
                }
                Request::MapRegion { space, address, pages, object, first_page, flags } => {
                    assert_eq!((first_page, self.objects[object as usize].0), (0, space));
                    self.regions.push((space, address, pages, object, flags));
                    Ok(0)
                }
                Request::Finish => Ok(0),
            }
        }

        fn stage(&mut self, slot: u32, bytes: &[u8]) {
            let mut page = bytes.to_vec();
            page.resize(PAGE_SIZE, 0);
            self.staging.insert(slot, page);
        }
    }

    impl Fake {
        fn byte(&self, space: u32, address: u64) -> Option<(u8, MapFlags)> {
            let covers = |(owner, start, pages, ..): &&(u32, u64, u64, u32, MapFlags)| {
                *owner == space && (*start..start + pages * PAGE_SIZE as u64).contains(&address)
            };
            let (_, start, _, object, flags) = self.regions.iter().find(covers)?;
            Some((self.objects[*object as usize].1[(address - start) as usize], *flags))
        }
    }

    #[test]
    fn the_world_gets_the_program_as_it_was_linked() {
        let bytes = bundle(&[service("a", &[]).in_world()]);
        let bundle = Bundle::open(&bytes).expect("good");
        let program = bundle.program("program").expect("there");
        let mut pager = Fake::default();
        let space = make_space(&mut pager, &program, 4).expect("made");
        let startup = [7; 100];
        let made = fill_space(&mut pager, space, &program, 4, &startup).expect("made");
        for segment in program.segments() {
            for offset in 0..segment.memory_bytes() {
                let expected = segment.pages().get(offset as usize).copied().unwrap_or(0);
                let (byte, flags) = pager.byte(space, segment.address() + offset).expect("mapped");
                assert_eq!(byte, expected);
                assert_eq!(flags.contains(MapFlags::WRITE), segment.rights().contains(SegmentRights::WRITE));
                assert_eq!(flags.contains(MapFlags::EXECUTE), segment.rights().contains(SegmentRights::EXECUTE));
            }
        }
        assert_eq!(pager.byte(space, STARTUP_ADDRESS + 99), Some((7, MapFlags::empty())));
        assert_eq!(pager.byte(space, made.stack - 1), Some((0, MapFlags::WRITE)));
        assert_eq!(pager.byte(space, made.stack), None);
        assert_eq!(pager.byte(space, made.stack - 4 * PAGE_SIZE as u64 - 1), None);
    }

    #[test]
    fn every_refusal_ends_the_genesis() {
        let bytes = bundle(&[service("a", &[]).in_world()]);
        let bundle = Bundle::open(&bytes).expect("good");
        let program = bundle.program("program").expect("there");
        let run = |refuse_after| {
            let mut pager = Fake { refuse_after, ..Fake::default() };
            let made =
                make_space(&mut pager, &program, 2).and_then(|space| fill_space(&mut pager, space, &program, 2, &[1]));
            (made, pager.asked)
        };
        let (made, asked) = run(None);
        assert!(made.is_ok());
        for after in 0..asked {
            assert_eq!(run(Some(after)).0, Err(GenesisError::Refused(Error::TablesExhausted)));
        }
    }
}
