//! Frames of others whose contents may be looked at in place: lent by protocol, not by the compiler.

use super::window::{ViewError, Window};
use abi::PAGE_SIZE;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::AtomicU64;

/// Pages of a window, as byte arrays, named by frame number.
///
/// Whoever asks for a page promises that the protocol under which the frame was lent holds: nobody, no device either,
/// changes it while it is looked at, and nobody looks at one that is being written. For the snapshot server: rules 1
/// and 3 of [`abi::protocol::paging`], and that of [`abi::protocol::block`] for frames under way to the disk.
#[derive(Debug)]
pub struct LentPages {
    base: usize,
    first_frame: u64,
    count: u64,
    writable: bool,
}

impl Window {
    /// As atomic words for as long as the program lives: for the two ends of a ring, which keep what they borrow.
    pub fn shared(&self) -> Result<&'static [AtomicU64], ViewError> {
        if !self.is_writable() {
            return Err(ViewError::ReadOnly);
        }
        let first = with_exposed_provenance::<AtomicU64>(self.address());
        // SAFETY: (1) non-null, aligned, in one mapping that stays while the program lives: invariants of `Window`; (2)
        // initialised: any bytes are a value; (3) no mutation outside an `UnsafeCell`: atomics are that, and no other
        // Rust object lies in a window; (4) at most `isize::MAX` bytes: below `WINDOWS_END`.
        Ok(unsafe { core::slice::from_raw_parts(first, self.bytes() / size_of::<AtomicU64>()) })
    }

    /// As pages that are lent to this program; `None` when the window does not say which frames it shows.
    pub fn lent(&self) -> Option<LentPages> {
        let count = (self.bytes() / PAGE_SIZE) as u64;
        let (first_frame, writable) = (self.first_frame(), self.is_writable());
        (first_frame != 0).then_some(LentPages { base: self.address(), first_frame, count, writable })
    }
}

impl LentPages {
    /// Whether `frame` is one of them.
    pub fn contains(&self, frame: u64) -> bool {
        frame >= self.first_frame && frame - self.first_frame < self.count
    }

    /// The first of them.
    pub fn first_frame(&self) -> u64 {
        self.first_frame
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn address(&self, frame: u64) -> usize {
        assert!(self.contains(frame), "frame {frame} is not in this window");
        self.base + (frame - self.first_frame) as usize * PAGE_SIZE
    }

    /// The contents of a frame that nobody changes now. A frame that is not here stops the program.
    pub fn bytes(&self, frame: u64) -> &[u8; PAGE_SIZE] {
        let from = with_exposed_provenance::<[u8; PAGE_SIZE]>(self.address(frame));
        // SAFETY: (1) non-null, aligned, mapped readable while the program lives: invariants of `Window`; (2)
        // initialised: any bytes are a value; (3) nobody writes: promised by the protocol, see the type.
        unsafe { &*from }
    }

    /// The contents of a frame that nobody else looks at or changes now. A frame that is not here, or a read-only window,
    /// stops the program.
    pub fn bytes_mut(&mut self, frame: u64) -> &mut [u8; PAGE_SIZE] {
        assert!(self.writable, "a write to a read-only window");
        let to = with_exposed_provenance_mut::<[u8; PAGE_SIZE]>(self.address(frame));
        // SAFETY: (1) and (2) as in `bytes`, and writable: just checked; (3) exclusive: promised by the protocol for
        // others, by `&mut self` for this view.
        unsafe { &mut *to }
    }
}
