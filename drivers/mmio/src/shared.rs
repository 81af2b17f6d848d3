//! Memory shared with another process, as atomics. Unlike device memory it may be seen through references,
//! because an atomic allows others to change it; so the rings of `abi` need no unsafe code at all.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use crate::window::{WindowError, checked_base};

/// Shared memory at a virtual address. What is in it comes from somebody else: untrusted input.
#[derive(Debug)]
pub struct SharedWords {
    base: NonNull<AtomicU64>,
    count: usize,
}

impl SharedWords {
    /// Makes a view of `size_bytes` (a multiple of 8) at virtual address `base`.
    ///
    /// # Errors
    /// See [`WindowError`].
    ///
    /// # Safety
    /// The caller promises that `base .. base + size_bytes`
    /// 1. is mapped and readable until the view is dropped,
    /// 2. holds no Rust object other than atomics of this kind, and
    /// 3. is writable too, or else that every access through [`words`](Self::words) is a `Relaxed` load, the only
    ///    atomic access that may be made to read-only memory.
    pub unsafe fn new(base: usize, size_bytes: usize) -> Result<Self, WindowError> {
        if !size_bytes.is_multiple_of(8) {
            return Err(WindowError::BadRange);
        }
        let base = checked_base(base, size_bytes)?.cast();
        Ok(Self { base, count: size_bytes / 8 })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `from_raw_parts` wants (1) a non-null, aligned pointer, valid for reads of `count` words, in one
        // allocation: `checked_base` and promise 1 of `new`; (2) initialised: every bit pattern is an `AtomicU64`;
        // (3) no mutation for the lifetime except inside an `UnsafeCell`: atomics are that, and promise 2 says
        // there is nothing else; (4) a size of at most `isize::MAX`: `checked_base`.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_views_see_one_memory() {
        let memory: &'static [AtomicU64] = Vec::from_iter((0..8).map(AtomicU64::new)).leak();
        let base = memory.as_ptr().expose_provenance();
        // SAFETY: (1) leaked; (2) it holds atomics; (3) it is writable.
        let (a, b) = unsafe { (SharedWords::new(base, 64), SharedWords::new(base, 64)) };
        let (a, b) = (a.expect("good range"), b.expect("good range"));
        assert_eq!(a.words().len(), 8);
        a.words()[7].store(70, Ordering::Release);
        assert_eq!(b.words()[7].load(Ordering::Acquire), 70);
        assert_eq!(b.words()[6].load(Ordering::Acquire), 6);
    }

    #[test]
    fn bad_ranges_are_refused() {
        // SAFETY: a view is never made: each range is refused.
        let made = unsafe { [SharedWords::new(8, 12), SharedWords::new(4, 8), SharedWords::new(8, 0)] };
        assert!(made.iter().all(Result::is_err));
    }
}
