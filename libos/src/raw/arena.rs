//! Memory that a program gives out once, at start, and never takes back: its tables live here.

use super::window::{ViewError, Window};
use core::mem::{align_of, size_of};
use core::ptr::with_exposed_provenance_mut;
use records::{Arena, Slab};

/// Gives out the bytes of one window, from its start on.
#[derive(Debug)]
pub struct WindowArena {
    next: usize,
    end: usize,
}

impl Window {
    /// As memory for tables. The window is used up by this: views of it made otherwise must not be used any more, and
    /// nobody else may have it mapped.
    pub fn arena(self) -> Result<WindowArena, ViewError> {
        if !self.is_writable() {
            return Err(ViewError::ReadOnly);
        }
        Ok(WindowArena { next: self.address(), end: self.address() + self.bytes() })
    }
}

impl WindowArena {
    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.end - self.next
    }

    /// `count` elements, each a copy of `value`, for as long as the program lives. Running out stops the program:
    /// sizes are fixed when it is planned.
    pub fn take<T: Copy + 'static>(&mut self, count: usize, value: T) -> &'static mut [T] {
        let start = self.next.next_multiple_of(align_of::<T>());
        let bytes = count.checked_mul(size_of::<T>());
        let end = bytes.and_then(|bytes| start.checked_add(bytes)).filter(|&end| end <= self.end);
        let Some(end) = end else {
            panic!("tables need more memory than the window has: {count} x {}", size_of::<T>())
        };
        self.next = end;
        let first = with_exposed_provenance_mut::<T>(start);
        for index in 0..count {
            // SAFETY: (1) valid for writes: inside the window (checked above), which is mapped writable while the
            // program lives (invariant 2 of `Window`); (2) aligned: `start` was rounded up, elements follow each other.
            unsafe { first.add(index).write(value) };
        }
        // SAFETY: (1) non-null, aligned, in one mapping: as above; (2) `count` initialised elements: just written; (3)
        // no alias: `next` only grows, so no byte is given out twice, and the window was used up by `Window::arena`;
        // (4) at most `isize::MAX` bytes: the window is.
        unsafe { core::slice::from_raw_parts_mut(first, count) }
    }
}

impl Arena for WindowArena {
    fn slab<T: Copy + 'static>(&mut self, count: usize, value: T) -> Slab<T> {
        self.take(count, value)
    }
}
