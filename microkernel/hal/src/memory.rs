//! Who gets which physical memory at boot: page tables, stacks and tables of the kernel first, the rest is init's.
//!
//! Invariants of [`BootMemory`], checked by `check`:
//! 1. Spans are page-aligned, ascending, disjoint, at or above 1 MiB, and below what the physmap has room for.
//! 2. None overlaps the kernel's image or the boot bundle.
//! 3. What has been taken is in no span any more.

use crate::firmware::{Firmware, MAP_MAX};
use crate::layout::{self, PAGE, PHYSMAP, PHYSMAP_BYTES_MAX};
use abi::boot_info::{FrameRange, RANGES_MAX};
use core::ops::Range;
use heapless::Vec;
use records::Arena;

/// Below this lie real-mode tables, firmware data and the page on which processors start.
const LOW_END: u64 = 1 << 20;

/// The boot tables map this much: what is taken while they are loaded must lie below.
pub(crate) const BOOT_REACH: u64 = 4 << 30;

/// Bytes of all these.
pub(crate) fn bytes(spans: &[Range<u64>]) -> u64 {
    spans.iter().map(|span| span.end - span.start).sum()
}

/// Memory that nobody owns yet.
pub(crate) struct BootMemory {
    pub(crate) spans: Vec<Range<u64>, MAP_MAX>,
    /// The spans before anything was taken: what the physmap maps.
    pub(crate) all: Vec<Range<u64>, MAP_MAX>,
    /// All RAM of the machine, in bytes.
    pub(crate) total: u64,
}

impl BootMemory {
    /// All RAM that the loader reports, without the kernel's image and the bundle.
    pub(crate) fn survey(firmware: &Firmware) -> Self {
        let mut memory = Self { spans: Vec::new(), all: Vec::new(), total: 0 };
        for span in &firmware.ram {
            memory.total += span.end - span.start;
            memory.add(span.start.max(LOW_END), span.end.min(BOOT_REACH));
            memory.add(span.start.max(BOOT_REACH), span.end.min(PHYSMAP_BYTES_MAX));
        }
        memory.remove(layout::image());
        if let Some(bundle) = firmware.bundle.clone() {
            memory.remove(bundle);
        }
        memory.spans.sort_unstable_by_key(|span| span.start);
        memory.all = memory.spans.clone();
        memory.check();
        memory
    }

    fn add(&mut self, start: u64, end: u64) {
        let (start, end) = (start.next_multiple_of(PAGE), end & !(PAGE - 1));
        if start < end {
            // More than there is room for is not used.
            let _ = self.spans.push(start..end);
        }
    }

    fn remove(&mut self, hole: Range<u64>) {
        let (start, end) = (hole.start & !(PAGE - 1), hole.end.next_multiple_of(PAGE));
        for span in core::mem::take(&mut self.spans) {
            if span.end <= start || span.start >= end {
                self.add(span.start, span.end);
            } else {
                self.add(span.start, span.end.min(start));
                self.add(span.start.max(end), span.end);
            }
        }
    }

    /// Invariants 1 and 2.
    fn check(&self) {
        let spans = &self.spans;
        assert!(spans.iter().all(|span| span.start < span.end && span.start % PAGE == 0 && span.end % PAGE == 0));
        assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start), "overlapping RAM in the loader's map");
        let image = layout::image();
        assert!(spans.iter().all(|span| span.end <= image.start || span.start >= image.end));
    }

    /// End of the highest RAM below `limit`, as the loader reports it and the physmap has room for.
    pub(crate) fn end_below(&self, limit: u64) -> u64 {
        self.all.iter().map(|span| span.end).filter(|&end| end <= limit).max().unwrap_or(0)
    }

    /// Refuses a machine that has less memory than is wanted.
    pub(crate) fn refuse_as_too_small(&self, wanted_mib: u64) -> ! {
        let total = self.total.div_ceil(1 << 20);
        crate::report::refuse(format_args!("this machine has {total} MiB of memory, {wanted_mib} MiB are needed"))
    }

    /// Takes whole pages from the largest span that the boot tables reach, for ever; their physical address. Refuses the
    /// machine when they are not there: larger tables were asked for than its memory holds.
    pub(crate) fn take(&mut self, pages: u64) -> u64 {
        let bytes = pages * PAGE;
        let fitting = self.spans.iter_mut().filter(|span| span.end <= BOOT_REACH && span.end - span.start >= bytes);
        let Some(span) = fitting.max_by_key(|span| span.end - span.start) else {
            self.refuse_as_too_small((self.total + bytes).div_ceil(1 << 20));
        };
        span.start += bytes;
        span.start - bytes
    }

    /// What is left, largest first, at most as many ranges as boot information has room for.
    pub(crate) fn rest(&self) -> Vec<FrameRange, RANGES_MAX> {
        let mut sorted = self.spans.clone();
        sorted.sort_unstable_by_key(|span| core::cmp::Reverse(span.end - span.start));
        let of = |span: &Range<u64>| FrameRange { first: span.start / PAGE, count: (span.end - span.start) / PAGE };
        sorted.iter().take(RANGES_MAX).map(of).collect()
    }
}

/// Slabs for kernel-core's tables, for ever.
impl Arena for BootMemory {
    fn slab<T: Copy + 'static>(&mut self, count: usize, value: T) -> &'static mut [T] {
        assert!(align_of::<T>() as u64 <= PAGE);
        let pages = (count * size_of::<T>()).div_ceil(PAGE as usize) as u64;
        let memory = (PHYSMAP + self.take(pages)) as *mut T;
        for index in 0..count {
            // SAFETY: 1. within the pages just taken; 2. page-aligned, so aligned for T; 3. the physmap maps them.
            unsafe { memory.add(index).write(value) };
        }
        // SAFETY: 1. `count` elements initialised above; 2. no one else's, for ever.
        unsafe { core::slice::from_raw_parts_mut(memory, count) }
    }
}
