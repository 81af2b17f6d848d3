//! What is mapped where in a new process, and what its own pages hold.
//!
//! A process has pages of its own, numbered from 0 and consecutive in memory: the startup page, the news page, its stack,
//! what it may write of its program, its buffers. What it may only read is mapped where it lies in the bundle.
//!
//! Invariants of an image, checked by [`Image::of`] (the bundle has checked the segments themselves):
//! 1. Pieces do not overlap, and own pages belong to one piece each.
//! 2. Nothing writable comes from the bundle.

use crate::list::{Full, List};
use abi::bundle::{Program, SEGMENTS_PER_PROGRAM_MAX, Segment, SegmentRights};
use abi::protocol::startup::{STACK_TOP, STARTUP_ADDRESS, WINDOWS_START};
use abi::{MapFlags, PAGE_SIZE};

/// Pieces of an image, at most: two for a segment, and a few.
pub(crate) const PIECES_MAX: usize = 2 * SEGMENTS_PER_PROGRAM_MAX as usize + 4;

/// Where pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The bundle, from this page of it on.
    Bundle(u64),
    /// The process's own pages, from this one on.
    Own(u64),
}

/// Pages that are mapped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where, page-aligned.
    pub address: u64,
    /// How many pages.
    pub pages: u64,
    /// Which.
    pub source: Source,
    /// WRITE or EXECUTE.
    pub flags: MapFlags,
}

/// Bytes of the bundle that go into own pages before the program starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// First own page.
    pub own_page: u64,
    /// First page of the bundle.
    pub bundle_page: u64,
    /// How many pages.
    pub pages: u64,
}

/// A process to be.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// What is mapped.
    pub pieces: List<Piece, PIECES_MAX>,
    /// What is copied from the bundle; all other own pages are zero.
    pub filled: List<Filled, { SEGMENTS_PER_PROGRAM_MAX as usize }>,
    /// Own pages there are.
    pub own_pages: u64,
    /// First own page of the buffers.
    pub buffers: u64,
    /// First instruction.
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
}

/// Own page with what the program is told at its start.
pub const STARTUP_PAGE: u64 = 0;
/// Own page with what init tells it later.
pub const NEWS_PAGE: u64 = 1;

/// Why a program cannot be laid out; whoever linked it is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// A segment lies where windows and stack lie.
    Place,
    /// More segments than a program may have.
    TooMany,
}

impl From<Full> for ImageError {
    fn from(_: Full) -> Self {
        Self::TooMany
    }
}

impl Image {
    /// Lays out `program` with a stack of `stack_pages` and `buffer_pages` of buffers.
    pub fn of(program: &Program<'_>, stack_pages: u64, buffer_pages: u64) -> Result<Self, ImageError> {
        let mut image = Self {
            pieces: List::new(),
            filled: List::new(),
            own_pages: NEWS_PAGE + 1,
            buffers: 0,
            entry: program.entry(),
            stack: STACK_TOP,
        };
        image.own(STARTUP_ADDRESS, STARTUP_PAGE, 1, MapFlags::empty())?;
        let stack = image.take(stack_pages);
        image.own(STACK_TOP - stack_pages * PAGE_SIZE as u64, stack, stack_pages, MapFlags::WRITE)?;
        for segment in program.segments() {
            image.segment(&segment)?;
        }
        image.buffers = image.take(buffer_pages);
        Ok(image)
    }

    fn take(&mut self, pages: u64) -> u64 {
        let first = self.own_pages;
        self.own_pages += pages;
        first
    }

    fn own(&mut self, address: u64, page: u64, pages: u64, flags: MapFlags) -> Result<(), ImageError> {
        self.pieces.push(Piece { address, pages, source: Source::Own(page), flags })?;
        Ok(())
    }

    fn segment(&mut self, segment: &Segment<'_>) -> Result<(), ImageError> {
        let pages = segment.memory_bytes().div_ceil(PAGE_SIZE as u64);
        let in_file = segment.file_bytes().div_ceil(PAGE_SIZE as u64);
        let (address, bundle_page) = (segment.address(), segment.offset() / PAGE_SIZE as u64);
        if address + pages * PAGE_SIZE as u64 > WINDOWS_START {
            return Err(ImageError::Place);
        }
        let flags = flags(segment.rights());
        if flags.contains(MapFlags::WRITE) {
            let own_page = self.take(pages);
            if in_file > 0 {
                self.filled.push(Filled { own_page, bundle_page, pages: in_file })?;
            }
            return self.own(address, own_page, pages, flags);
        }
        if in_file > 0 {
            self.pieces.push(Piece { address, pages: in_file, source: Source::Bundle(bundle_page), flags })?;
        }
        if pages > in_file {
            let zeros = self.take(pages - in_file);
            self.own(address + in_file * PAGE_SIZE as u64, zeros, pages - in_file, flags)?;
        }
        Ok(())
    }
}

/// What a segment's rights are as mapping flags.
pub(crate) const fn flags(rights: SegmentRights) -> MapFlags {
    let write = if rights.contains(SegmentRights::WRITE) { MapFlags::WRITE } else { MapFlags::empty() };
    let execute = if rights.contains(SegmentRights::EXECUTE) { MapFlags::EXECUTE } else { MapFlags::empty() };
    write.union(execute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bundle::{bundle, service};
    use abi::bundle::Bundle;

    #[test]
    fn pieces_are_disjoint_and_own_pages_belong_to_one() {
        let bytes = bundle(&[service("a", &[])]);
        let bundle = Bundle::open(&bytes).expect("good");
        let program = bundle.program("program").expect("there");
        let image = Image::of(&program, 4, 8).expect("fits");
        let mut used = vec![0_u32; image.own_pages as usize];
        let mut ranges = Vec::new();
        for piece in image.pieces.iter() {
            ranges.push((piece.address, piece.address + piece.pages * 4096));
            match piece.source {
                Source::Own(first) => (first..first + piece.pages).for_each(|page| used[page as usize] += 1),
                Source::Bundle(_) => assert!(!piece.flags.contains(MapFlags::WRITE)),
            }
        }
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:x?}");
        used[NEWS_PAGE as usize] += 1;
        let (mapped, buffers) = used.split_at(image.buffers as usize);
        assert!(mapped.iter().all(|count| *count == 1), "{used:?}");
        assert_eq!(buffers, [0; 8]);
        for filled in image.filled.iter() {
            assert!(filled.own_page > NEWS_PAGE && filled.own_page + filled.pages <= image.buffers);
        }
    }
}
