//! The kernel's own page tables: made once at boot, the same upper half in every address space ever after.
//!
//! What lies where: [`crate::layout`]. Nothing is both writable and executable; page 0, the page below each stack and
//! the image's frames in the physmap are not mapped; the identity that the boot tables had is gone.

use crate::instructions::set_cr3;
use crate::layout::{CPUS_MAX, DEVICES, Image, KERNEL_BASE, PAGE, PHYSMAP, StackKind};
use crate::memory::BootMemory;

/// Entry bits (Intel SDM vol. 3A, 4.5.4).
pub(crate) mod bits {
    pub(crate) const PRESENT: u64 = 1;
    pub(crate) const WRITE: u64 = 1 << 1;
    pub(crate) const WRITE_THROUGH: u64 = 1 << 3;
    pub(crate) const UNCACHED: u64 = 1 << 4;
    pub(crate) const LARGE: u64 = 1 << 7;
    pub(crate) const GLOBAL: u64 = 1 << 8;
    pub(crate) const NO_EXECUTE: u64 = 1 << 63;
    pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}
use bits::{ADDRESS, GLOBAL, LARGE, NO_EXECUTE, PRESENT, UNCACHED, WRITE, WRITE_THROUGH};

const READ_ONLY: u64 = PRESENT | GLOBAL | NO_EXECUTE;
const READ_WRITE: u64 = READ_ONLY | WRITE;
const EXECUTE: u64 = PRESENT | GLOBAL;
const DEVICE: u64 = READ_WRITE | UNCACHED | WRITE_THROUGH;

const ENTRIES: usize = 512;
const LARGE_PAGE: u64 = PAGE << 9;
const HUGE_PAGE: u64 = PAGE << 18;

type Table = [u64; ENTRIES];

/// The kernel's address space while it is being made.
pub(crate) struct KernelSpace {
    root: u64,
    huge_pages: bool,
    devices_mapped: u64,
}

impl KernelSpace {
    /// Maps physmap, image and the stacks of `cpus` processors. Not loaded yet.
    ///
    /// # Safety
    /// The boot tables are loaded, and `memory` takes from the first 4 GiB, which they map.
    pub(crate) unsafe fn new(memory: &mut BootMemory, cpus: usize, bundle: Option<&core::ops::Range<u64>>) -> Self {
        assert!(cpus <= CPUS_MAX);
        // 1 GiB pages: CPUID 8000_0001h, edx bit 26.
        let huge_pages = crate::instructions::cpuid(0x8000_0001, 0)[3] & 1 << 26 != 0;
        // SAFETY: caller.
        let root = unsafe { memory.take_zeroed(1) } as u64 - PHYSMAP;
        let mut space = Self { root, huge_pages, devices_mapped: 0 };
        for slot in (ENTRIES / 2)..ENTRIES {
            // Both upper tables exist from the start, so that every root can copy them once and for all.
            if slot == index(PHYSMAP, 3) || slot == index(KERNEL_BASE, 3) {
                space.child(memory, root, slot);
            }
        }
        space.map_image(memory);
        // The page tables just taken are RAM as well: the map is of everything that was free at the start.
        for span in memory.all().clone() {
            space.map_range(memory, PHYSMAP + span.start, span.start, span.end - span.start, READ_WRITE);
        }
        if let Some(bundle) = bundle {
            let start = bundle.start & !(PAGE - 1);
            let bytes = bundle.end.next_multiple_of(PAGE) - start;
            space.map_range(memory, PHYSMAP + start, start, bytes, READ_ONLY);
        }
        for cpu in 0..cpus {
            for kind in [StackKind::Main, StackKind::Emergency] {
                let frames = memory.take(kind.pages());
                space.map_range(memory, kind.bottom(cpu), frames, kind.pages() * PAGE, READ_WRITE);
            }
        }
        space
    }

    fn map_image(&mut self, memory: &mut BootMemory) {
        let image = Image::linked();
        let parts = [
            (image.text, image.rodata, EXECUTE),
            (image.rodata, image.data, READ_ONLY),
            (image.data, image.end, READ_WRITE),
        ];
        for (start, end, rights) in parts {
            for page in (start..end).step_by(PAGE as usize) {
                self.map_page(memory, page, page - KERNEL_BASE, 0, rights);
            }
        }
    }

    fn map_range(&mut self, memory: &mut BootMemory, address: u64, physical: u64, bytes: u64, rights: u64) {
        let mut done = 0;
        while done < bytes {
            let aligned = (address + done) | (physical + done);
            let fits = |page: u64| aligned.is_multiple_of(page) && bytes - done >= page;
            let (level, page) = if self.huge_pages && fits(HUGE_PAGE) {
                (2, HUGE_PAGE)
            } else if fits(LARGE_PAGE) {
                (1, LARGE_PAGE)
            } else {
                (0, PAGE)
            };
            self.map_page(memory, address + done, physical + done, level, rights);
            done += page;
        }
    }

    fn map_page(&mut self, memory: &mut BootMemory, address: u64, physical: u64, level: u32, rights: u64) {
        let mut table = self.root;
        for above in (level + 1..=3).rev() {
            table = self.child(memory, table, index(address, above));
        }
        let slot = &mut self.table(table)[index(address, level)];
        assert_eq!(*slot, 0, "mapped twice: {address:#x}");
        *slot = physical | rights | if level > 0 { LARGE } else { 0 };
    }

    fn child(&mut self, memory: &mut BootMemory, table: u64, slot: usize) -> u64 {
        let entry = self.table(table)[slot];
        if entry & PRESENT != 0 {
            assert_eq!(entry & LARGE, 0, "a large page where a table is wanted");
            return entry & ADDRESS;
        }
        // SAFETY: the boot tables map what `memory` takes from (`new`), later the physmap does.
        let child = unsafe { memory.take_zeroed(1) } as u64 - PHYSMAP;
        self.table(table)[slot] = child | PRESENT | WRITE;
        child
    }

    fn table(&mut self, physical: u64) -> &mut Table {
        // SAFETY: 1. a page that `child` or `new` has taken, zeroed and aligned; 2. mapped, as there; 3. borrowed from
        // `self`, the only one that reaches it.
        unsafe { &mut *((PHYSMAP + physical) as *mut Table) }
    }

    /// Maps a page of device registers; the address of `physical` there.
    pub(crate) fn map_device(&mut self, memory: &mut BootMemory, physical: u64) -> u64 {
        let address = DEVICES + self.devices_mapped * PAGE;
        self.devices_mapped += 1;
        self.map_page(memory, address, physical & !(PAGE - 1), 0, DEVICE);
        address + physical % PAGE
    }

    /// Loads it on this CPU.
    ///
    /// # Safety
    /// Nothing that only the boot tables map is used any more.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: 1. image and physmap keep their addresses; 2. caller.
        unsafe { set_cr3(self.root) }
    }

    /// Physical address of its root table.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }
}

fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level) & 0x1ff) as usize
}
