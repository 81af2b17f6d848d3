//! Registers behind a mapping. Invariants:
//!
//! 1. `base` is aligned to 8 bytes and `size_bytes` is at most `isize::MAX`: checked by [`RegisterWindow::new`].
//! 2. `base .. base + size_bytes` stays mapped, uncached, readable and writable for as long as the window lives,
//!    and no Rust object lies in it: promised by who makes the window.
//! 3. Every access lies inside and is aligned: checked at each access by [`RegisterWindow::at`].

use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

use crate::registers::{Registers, in_bounds};

/// Why a window cannot be made; the caller's fault each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// The base is null or not a multiple of 8.
    Misaligned,
    /// The range is empty or wraps around the address space.
    BadRange,
}

/// Device registers at a virtual address. See [`Registers`] for the accesses.
#[derive(Debug)]
pub struct RegisterWindow {
    base: NonNull<u8>,
    size_bytes: usize,
}

impl RegisterWindow {
    /// Makes a window of `size_bytes` at virtual address `base`.
    ///
    /// # Errors
    /// See [`WindowError`].
    ///
    /// # Safety
    /// The caller promises that `base .. base + size_bytes`
    /// 1. is mapped, readable and writable, until the window is dropped, and
    /// 2. holds no Rust object: nothing else in this process makes a reference into it.
    pub unsafe fn new(base: usize, size_bytes: usize) -> Result<Self, WindowError> {
        let base = checked_base(base, size_bytes)?;
        Ok(Self { base, size_bytes })
    }

    /// The address of a checked access (invariant 3).
    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(in_bounds(self.size_bytes, offset, size_of::<T>()), "register {offset:#x} outside its window");
        self.base.as_ptr().wrapping_add(offset).cast()
    }

    pub(crate) fn read<T: Copy>(&self, offset: usize) -> T {
        let from = self.at::<T>(offset);
        // SAFETY: `read_volatile` wants `from` (1) valid for reads: `at` has checked that it lies inside the window,
        // which invariant 2 keeps mapped; (2) aligned: `at` has checked the offset, invariant 1 the base (8 is the
        // widest `T` used); (3) initialised: callers use plain integers, of which every bit pattern is a value.
        let value = unsafe { from.read_volatile() };
        fence(Ordering::Acquire);
        value
    }

    pub(crate) fn write<T: Copy>(&self, offset: usize, value: T) {
        let to = self.at::<T>(offset);
        fence(Ordering::Release);
        // SAFETY: `write_volatile` wants `to` (1) valid for writes: inside the window by `at`, which invariant 2 keeps
        // mapped writable and free of Rust objects; (2) aligned: as in `read`.
        unsafe { to.write_volatile(value) };
    }

    pub(crate) fn size(&self) -> usize {
        self.size_bytes
    }
}

/// Invariant 1 for any kind of window.
pub(crate) fn checked_base(base: usize, size_bytes: usize) -> Result<NonNull<u8>, WindowError> {
    if !base.is_multiple_of(8) {
        return Err(WindowError::Misaligned);
    }
    if size_bytes == 0 || isize::try_from(size_bytes).is_err() || base.checked_add(size_bytes).is_none() {
        return Err(WindowError::BadRange);
    }
    NonNull::new(core::ptr::with_exposed_provenance_mut(base)).ok_or(WindowError::Misaligned)
}

impl Registers for RegisterWindow {
    fn size_bytes(&self) -> usize {
        self.size_bytes
    }
    fn read_u32(&self, offset: usize) -> u32 {
        self.read(offset)
    }
    fn write_u32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory for a window in a test: leaked, so that invariant 2 holds for ever.
    pub(crate) fn leaked(words: usize) -> usize {
        let memory: &'static mut [u64] = vec![0u64; words].leak();
        memory.as_mut_ptr().expose_provenance()
    }

    fn window(words: usize) -> RegisterWindow {
        // SAFETY: (1) the memory is leaked, so it stays; (2) the only reference to it was dropped in `leaked`.
        unsafe { RegisterWindow::new(leaked(words), words * 8) }.expect("aligned and not empty")
    }

    #[test]
    fn what_is_written_is_read_back_where_it_was_written() {
        let window = window(4);
        window.write_u32(4, 0xdead_beef);
        window.write_u64(16, 0x0102_0304_0506_0708);
        assert_eq!(window.read_u32(0), 0);
        assert_eq!(window.read_u32(4), 0xdead_beef);
        assert_eq!(window.read_u32(16), 0x0506_0708);
        assert_eq!(window.read_u64(16), 0x0102_0304_0506_0708);
        assert_eq!(window.size_bytes(), 32);
    }

    #[test]
    #[should_panic(expected = "outside its window")]
    fn a_read_past_the_end_stops() {
        window(1).read_u32(8);
    }

    #[test]
    #[should_panic(expected = "outside its window")]
    fn a_misaligned_write_stops() {
        window(1).write_u32(2, 0);
    }

    #[test]
    fn bad_ranges_are_refused() {
        assert_eq!(checked_base(4, 8), Err(WindowError::Misaligned));
        assert_eq!(checked_base(0, 8), Err(WindowError::Misaligned));
        assert_eq!(checked_base(8, 0), Err(WindowError::BadRange));
        assert_eq!(checked_base(usize::MAX - 7, 64), Err(WindowError::BadRange));
        assert_eq!(checked_base(8, usize::MAX), Err(WindowError::BadRange));
    }
}
