//! The kernel's own page tables: made once at boot, the same upper half in every address space ever after.
//!
//! What lies where: [`crate::layout`]. Nothing is both writable and executable; page 0, the page below each stack and
//! the image's frames in the physmap are not mapped; the identity that the boot tables had is gone.

use crate::layout::{self, CPUS_MAX, DEVICES, KERNEL_BASE, PAGE, PHYSMAP, StackKind};
use crate::memory::BootMemory;
use core::ops::Range;
use records::Arena;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTableFlags as Rights, PhysFrame, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

const EXECUTE: Rights = Rights::PRESENT.union(Rights::GLOBAL);
const READ_ONLY: Rights = EXECUTE.union(Rights::NO_EXECUTE);
const READ_WRITE: Rights = READ_ONLY.union(Rights::WRITABLE);
const DEVICE: Rights = READ_WRITE.union(Rights::NO_CACHE).union(Rights::WRITE_THROUGH);
/// Of entries that lead to tables.
const TABLE: Rights = Rights::PRESENT.union(Rights::WRITABLE);

/// The kernel's address space while it is being made.
pub(crate) struct KernelSpace {
    /// Physical address of its root table.
    pub(crate) root: u64,
    tables: OffsetPageTable<'static>,
    devices_mapped: u64,
}

impl KernelSpace {
    /// Maps physmap, image and the stacks of `cpus` processors. Not loaded yet.
    ///
    /// # Safety
    /// The boot tables are loaded, and `memory` takes from the first 4 GiB, which they map.
    pub(crate) unsafe fn new(memory: &mut BootMemory, cpus: usize, bundle: Option<&Range<u64>>) -> Self {
        assert!(cpus <= CPUS_MAX);
        let root = memory.slab(1, [0_u64; 512]).as_mut_ptr();
        // SAFETY: 1. a page of zeros is a table; 2. just taken, so no one else's; 3. the physmap has all tables there.
        let tables = unsafe { OffsetPageTable::new(&mut *root.cast(), VirtAddr::new(PHYSMAP)) };
        let mut space = Self { root: root as u64 - PHYSMAP, tables, devices_mapped: 0 };
        // With image, RAM and stacks both upper tables exist: every root can copy them once and for all.
        for (part, rights) in [(layout::text(), EXECUTE), (layout::rodata(), READ_ONLY), (layout::data(), READ_WRITE)] {
            space.map_range(memory, part.start - KERNEL_BASE..part.end - KERNEL_BASE, KERNEL_BASE, rights);
        }
        // The page tables just taken are RAM as well: the map is of everything that was free at the start.
        for span in memory.all.clone() {
            space.map_range(memory, span, PHYSMAP, READ_WRITE);
        }
        if let Some(bundle) = bundle {
            let pages = bundle.start & !(PAGE - 1)..bundle.end.next_multiple_of(PAGE);
            space.map_range(memory, pages, PHYSMAP, READ_ONLY);
        }
        for cpu in 0..cpus {
            for kind in [StackKind::Main, StackKind::Emergency] {
                let frames = memory.take(kind.pages());
                let offset = kind.bottom(cpu) - frames;
                space.map_range(memory, frames..frames + kind.pages() * PAGE, offset, READ_WRITE);
            }
        }
        space
    }

    /// Maps physical memory at its address plus `offset`.
    fn map_range(&mut self, memory: &mut BootMemory, range: Range<u64>, offset: u64, rights: Rights) {
        let mut from = range.start;
        while from < range.end {
            let to = from + offset;
            let fits = (to | from).is_multiple_of(Size2MiB::SIZE) && range.end - from >= Size2MiB::SIZE;
            from += if fits {
                self.map_page::<Size2MiB>(memory, to, from, rights)
            } else {
                self.map_page::<Size4KiB>(memory, to, from, rights)
            };
        }
    }

    /// Maps one page; its bytes.
    fn map_page<S: PageSize>(&mut self, memory: &mut BootMemory, address: u64, physical: u64, rights: Rights) -> u64
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let page = Page::<S>::containing_address(VirtAddr::new(address));
        let frame = PhysFrame::containing_address(PhysAddr::new(physical));
        // SAFETY: what Rust has references to is mapped at one address only, but for the image, which runs at its own
        // (`layout`).
        match unsafe { self.tables.map_to_with_table_flags(page, frame, rights, TABLE, memory) } {
            // Nobody has used that address yet.
            Ok(flush) => flush.ignore(),
            Err(_) => panic!("mapped twice: {address:#x}"),
        }
        S::SIZE
    }

    /// Maps a page of device registers; the address of `physical` there.
    pub(crate) fn map_device(&mut self, memory: &mut BootMemory, physical: u64) -> u64 {
        let address = DEVICES + self.devices_mapped * PAGE;
        self.devices_mapped += 1;
        self.map_page::<Size4KiB>(memory, address, physical, DEVICE);
        address + physical % PAGE
    }
}

// SAFETY: a frame that has been taken is no one else's.
unsafe impl FrameAllocator<Size4KiB> for BootMemory {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        Some(PhysFrame::containing_address(PhysAddr::new(self.take(1))))
    }
}
