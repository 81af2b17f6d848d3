//! Memory that is mapped page by page and that others may be changing: copies in and out, no references.

use super::bytes::{copy_forwards, copy_words, fill_words};
use abi::PAGE_SIZE;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

/// A view of consecutive pages: all of the pager's memory, a buffer, a ring's data. Pages are numbered from 0. Accesses
/// outside it stop the program (a broken invariant of our own); what is read is whatever was there.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    base: usize,
    count: usize,
    writable: bool,
}

const WORDS: usize = PAGE_SIZE / 8;

impl Pages {
    /// # Safety
    /// `count` pages from `base` (page-aligned) 1. stay mapped and readable (writable, if `writable`) while the program
    /// lives, and 2. hold no Rust object but atomics.
    pub(super) unsafe fn new(base: usize, count: usize, writable: bool) -> Self {
        Self { base, count, writable }
    }

    /// Pages there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where page 0 is mapped.
    pub fn base(&self) -> usize {
        self.base
    }

    fn address(&self, page: usize) -> usize {
        assert!(page < self.count, "page {page} of {}", self.count);
        self.base + page * PAGE_SIZE
    }

    fn write_address(&self, page: usize) -> usize {
        assert!(self.writable, "a write to a read-only window");
        self.address(page)
    }

    /// Checked start of `bytes` bytes from `offset` (counted from page 0; may cross pages).
    fn span(&self, offset: usize, bytes: usize) -> usize {
        let end = offset.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.count * PAGE_SIZE), "{bytes} bytes at {offset} leave the window");
        self.base + offset
    }

    /// Copies page `from` over page `to`.
    pub fn copy(&self, to: usize, from: usize) {
        let (to, from) = (self.write_address(to), self.address(from));
        if to == from {
            return;
        }
        // SAFETY: (1) both pages are mapped with these rights: invariants of the view, checked indices; (2) distinct
        // pages do not overlap.
        unsafe { copy_words(with_exposed_provenance_mut(to), with_exposed_provenance(from), WORDS) };
    }

    /// Copies page `from` of the view `source` over page `to`; the two views may show the same frames.
    pub fn copy_from(&self, to: usize, source: &Self, from: usize) {
        let (to, from) = (self.write_address(to), source.address(from));
        if to == from {
            return;
        }
        // SAFETY: as in `copy`; if two addresses show one frame, each word is copied onto itself.
        unsafe { copy_words(with_exposed_provenance_mut(to), with_exposed_provenance(from), WORDS) };
    }

    /// Zeroes a page.
    pub fn zero(&self, page: usize) {
        // SAFETY: the page is mapped writable: invariant of the view, checked index.
        unsafe { fill_words(with_exposed_provenance_mut(self.write_address(page)), 0, WORDS) };
    }

    /// Copies bytes out, from byte `offset` of the view on.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let from = self.span(offset, to.len());
        // SAFETY: (1) `span` has checked that the bytes are in the view, which is readable; `to` is a Rust slice;
        // (2) no Rust object lies in the view, so they are disjoint.
        unsafe { copy_forwards(to.as_mut_ptr(), with_exposed_provenance(from), to.len()) };
    }

    /// Copies bytes in, from byte `offset` of the view on.
    pub fn write(&self, offset: usize, from: &[u8]) {
        assert!(self.writable, "a write to a read-only window");
        let to = self.span(offset, from.len());
        // SAFETY: as in `read`, with the directions exchanged; the view is writable.
        unsafe { copy_forwards(with_exposed_provenance_mut(to), from.as_ptr(), from.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(4096))]
    #[allow(dead_code, reason = "only its address is used")]
    struct Memory([[u8; PAGE_SIZE]; 3]);

    fn pages(writable: bool) -> Pages {
        let memory: &'static mut Memory = Box::leak(Box::new(Memory([[1; PAGE_SIZE], [2; PAGE_SIZE], [3; PAGE_SIZE]])));
        let base = core::ptr::from_mut(memory).expose_provenance();
        // SAFETY: (1) leaked; (2) the reference is gone.
        unsafe { Pages::new(base, 3, writable) }
    }

    #[test]
    fn pages_are_copied_zeroed_read_and_written() {
        let pages = pages(true);
        pages.copy(1, 0);
        pages.zero(2);
        pages.write(PAGE_SIZE - 1, &[9, 9]);
        let mut bytes = [0; 4];
        pages.read(PAGE_SIZE - 2, &mut bytes);
        assert_eq!(bytes, [1, 9, 9, 1]);
        pages.read(2 * PAGE_SIZE, &mut bytes);
        assert_eq!(bytes, [0; 4]);
    }

    #[test]
    #[should_panic(expected = "leave the window")]
    fn a_read_past_the_end_stops() {
        pages(true).read(3 * PAGE_SIZE - 1, &mut [0; 2]);
    }

    #[test]
    #[should_panic(expected = "read-only window")]
    fn a_write_to_a_read_only_view_stops() {
        pages(false).zero(0);
    }
}
