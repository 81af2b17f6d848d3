//! Memory that was mapped for the program and that others may see: from an address to a view that safe code can use.
//!
//! Invariants of every [`Window`]:
//! 1. `address` is page-aligned; `bytes` is not 0; both lie between `WINDOWS_START` and `WINDOWS_END`, where no segment,
//!    no stack and no Rust object of the program lies: checked by [`Window::of_entry`] and [`Window::of_mapping`].
//! 2. It stays mapped with the rights its flags say while the program lives: promised by whoever made the process for
//!    what the startup page names, and by the success of the kernel's `Map` for what the program mapped itself.
//!    (Who made the process could change its memory at will; it is not an adversary.)

use super::Pages;
use abi::protocol::startup::{RawNamedWindow, WINDOWS_END, WINDOWS_START, WindowFlags};
use abi::{Handle, PAGE_SIZE};
use core::ptr::with_exposed_provenance;
use core::sync::atomic::AtomicU64;
use mmio::{DmaError, DmaWindow, RegisterWindow, SharedWords, WindowError};

/// A range of memory mapped for the program. Views of it may be made as often as wanted: none of them is a reference
/// to anything but atomics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    address: usize,
    bytes: usize,
    first_frame: u64,
    flags: WindowFlags,
    memory: Handle,
}

/// Why a view cannot be made of a window; whoever asks is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// The window may not be written to.
    ReadOnly,
    /// The window may be changed by others: its bytes cannot be lent out.
    NotFixed,
    /// The window is smaller than the view, or of no size that suits it.
    Size,
    /// The window does not say which frames it shows.
    FramesUnknown,
}

impl Window {
    /// From a checked entry of the startup page.
    pub(crate) fn of_entry(entry: &RawNamedWindow) -> Option<Self> {
        let flags = WindowFlags::from_bits_truncate(entry.flags);
        let window = Self::of_mapping(entry.address, entry.bytes, flags)?;
        Some(Self { first_frame: entry.first_frame, memory: Handle(entry.handle), ..window })
    }

    /// What the program mapped itself; `None` if it does not lie where windows lie (invariant 1).
    pub(crate) fn of_mapping(address: u64, bytes: u64, flags: WindowFlags) -> Option<Self> {
        let end = address.checked_add(bytes)?;
        let good = address.is_multiple_of(PAGE_SIZE as u64) && bytes > 0;
        let inside = address >= WINDOWS_START && end <= WINDOWS_END;
        let (address, bytes) = (address as usize, bytes as usize);
        (good && inside).then_some(Self { address, bytes, first_frame: 0, flags, memory: Handle::NULL })
    }

    /// Where it begins.
    pub fn address(&self) -> usize {
        self.address
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame that its first page shows, when frames are consecutive and known; else 0.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// The Memory capability behind it, if the program was given one.
    pub fn memory(&self) -> Option<crate::Memory> {
        (!self.memory.is_null()).then_some(crate::Memory(self.memory))
    }

    /// Whether it may be written to.
    pub fn is_writable(&self) -> bool {
        self.flags.contains(WindowFlags::WRITE)
    }

    /// `bytes` of it from `offset` (both page-aligned) as a window of its own.
    pub fn part(&self, offset: usize, bytes: usize) -> Result<Self, ViewError> {
        let aligned = offset.is_multiple_of(PAGE_SIZE) && bytes > 0;
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        if !aligned || !inside {
            return Err(ViewError::Size);
        }
        let first_frame = match self.first_frame {
            0 => 0,
            first => first + (offset / PAGE_SIZE) as u64,
        };
        Ok(Self { address: self.address + offset, bytes, first_frame, ..*self })
    }

    /// As device registers.
    pub fn registers(&self) -> Result<RegisterWindow, ViewError> {
        self.must_be_writable()?;
        // SAFETY: (1) mapped readable and writable: invariant 2, just checked; (2) no Rust object: invariant 1.
        unsafe { RegisterWindow::new(self.address, self.bytes) }.map_err(|_: WindowError| ViewError::Size)
    }

    /// As memory that a device reads and writes: its first `FRAMES` pages.
    pub fn dma<const FRAMES: usize>(&self) -> Result<DmaWindow<FRAMES>, ViewError> {
        self.must_be_writable()?;
        if self.first_frame == 0 {
            return Err(ViewError::FramesUnknown);
        }
        if self.bytes < FRAMES * PAGE_SIZE {
            return Err(ViewError::Size);
        }
        let mut frames = [self.first_frame; FRAMES];
        for (frame, index) in frames.iter_mut().zip(0..) {
            *frame += index;
        }
        // SAFETY: (1) mapped readable and writable, large enough: just checked; (2) no Rust object: invariant 1; (3)
        // these frames: the maker of the process said so, and gave them to this program for this use.
        unsafe { DmaWindow::new(self.address, frames) }.map_err(|error| match error {
            DmaError::Window(_) => ViewError::Size,
            DmaError::BadFrame => ViewError::FramesUnknown,
        })
    }

    /// As atomic words: for rings that this program writes to.
    pub fn words(&self) -> Result<SharedWords, ViewError> {
        self.must_be_writable()?;
        // SAFETY: (1) mapped: invariant 2; (2) no Rust object but atomics: invariant 1, and this is the only view that
        // makes references; (3) writable: just checked.
        unsafe { SharedWords::new(self.address, self.bytes) }.map_err(|_: WindowError| ViewError::Size)
    }

    /// As atomic words that may be kept for ever: the window stays mapped while the program lives.
    pub fn atomics(&self) -> Result<&'static [AtomicU64], ViewError> {
        self.must_be_writable()?;
        // SAFETY: (1) non-null, aligned, readable for all the words, in one mapping, for the life of the program:
        // invariants 1 and 2; (2) initialised: any bit pattern is a value; (3) changed only as atomics: invariant 1;
        // (4) at most `isize::MAX` bytes: below `WINDOWS_END`.
        Ok(unsafe { core::slice::from_raw_parts(with_exposed_provenance(self.address), self.bytes / 8) })
    }

    /// As words that others write.
    pub fn read_words(&self) -> ReadWords {
        ReadWords { base: self.address, count: self.bytes / 8 }
    }

    /// As pages to copy from and to.
    pub fn pages(&self) -> Pages {
        // SAFETY: (1) mapped with these rights: invariant 2; (2) no Rust object but atomics: invariant 1.
        unsafe { Pages::new(self.address, self.bytes / PAGE_SIZE, self.is_writable()) }
    }

    /// Its bytes, for a window that nobody writes to while the program lives.
    pub fn fixed_bytes(&self) -> Result<&'static [u8], ViewError> {
        if !self.flags.contains(WindowFlags::FIXED) || self.is_writable() {
            return Err(ViewError::NotFixed);
        }
        // SAFETY: (1) non-null, in one mapping, readable for `bytes`: invariants 1 and 2; (2) initialised: any byte is
        // a value; (3) no mutation: the flag says so; (4) at most `isize::MAX`: below `WINDOWS_END`.
        Ok(unsafe { core::slice::from_raw_parts(with_exposed_provenance(self.address), self.bytes) })
    }

    fn must_be_writable(&self) -> Result<(), ViewError> {
        if self.is_writable() { Ok(()) } else { Err(ViewError::ReadOnly) }
    }
}

/// Words that another process writes and this one may only read.
#[derive(Clone, Copy, Debug)]
pub struct ReadWords {
    base: usize,
    count: usize,
}

impl ReadWords {
    /// Words there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Word `index`, and with it everything that was written before it (acquire). An index outside stops the program.
    pub fn load(&self, index: usize) -> u64 {
        assert!(index < self.count, "word {index} of {}", self.count);
        let from = with_exposed_provenance::<u64>(self.base + index * 8);
        // SAFETY: `read_volatile` wants `from` (1) readable: inside the window, as checked, which stays mapped; (2)
        // aligned: the base is a page's, the offset a multiple of 8; (3) initialised: any bit pattern is a value. An
        // aligned load of 8 bytes is one access of the processor, so a concurrent write is seen whole or not at all.
        let value = unsafe { from.read_volatile() };
        core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
        value
    }
}

/// A copy of a `T` that the maker of the process put at `address`.
pub(crate) fn read_page<T: zerocopy::FromBytes>(address: u64) -> &'static T {
    assert!(size_of::<T>() <= PAGE_SIZE && address.is_multiple_of(PAGE_SIZE as u64) && address != 0);
    // SAFETY: (1) readable, aligned, for the life of the program: startup page and boot information are mapped read-only
    // at a page's start by whoever made this process, and both are smaller than a page; (2) initialised: any bytes
    // are a `T`; (3) nobody writes to them while the program lives.
    unsafe { &*with_exposed_provenance::<T>(address as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_where_windows_lie() {
        assert!(Window::of_mapping(WINDOWS_START, 4096, WindowFlags::empty()).is_some());
        assert!(Window::of_mapping(WINDOWS_START + 8, 4096, WindowFlags::empty()).is_none());
        assert!(Window::of_mapping(WINDOWS_START, 0, WindowFlags::empty()).is_none());
        assert!(Window::of_mapping(0x40_0000, 4096, WindowFlags::empty()).is_none());
        assert!(Window::of_mapping(WINDOWS_END - 4096, 8192, WindowFlags::empty()).is_none());
    }

    #[test]
    fn views_need_their_rights() {
        let plain = Window::of_mapping(WINDOWS_START, 8192, WindowFlags::empty()).expect("good");
        assert_eq!(plain.words().err(), Some(ViewError::ReadOnly));
        assert_eq!(plain.fixed_bytes().err(), Some(ViewError::NotFixed));
        let writable = Window::of_mapping(WINDOWS_START, 8192, WindowFlags::WRITE).expect("good");
        assert_eq!(writable.dma::<1>().err(), Some(ViewError::FramesUnknown));
        assert!(writable.words().is_ok() && writable.registers().is_ok());
        assert_eq!(writable.part(4096, 8192).err(), Some(ViewError::Size));
        assert_eq!(writable.part(4096, 4096).map(|part| part.address()), Ok(WINDOWS_START as usize + 4096));
    }
}
