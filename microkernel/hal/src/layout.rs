//! Where things lie in the kernel half of every address space, and nothing lies twice with different rights.
//!
//! | addresses | what | rights |
//! | --- | --- | --- |
//! | `PHYSMAP` … | all RAM but the kernel's image, at its physical address | read, write |
//! | `KERNEL_BASE` + 2 MiB … | the kernel's image, 4 KiB pages | text: execute; rodata: read; data: write |
//! | `STACKS` … | two stacks a CPU, an unmapped page below each | write |
//! | `DEVICES` … | local APIC, I/O APICs | write, uncached |

use core::ops::Range;

/// All RAM, at its physical address.
pub(crate) const PHYSMAP: u64 = 0xffff_8000_0000_0000;
/// Physical memory that the physmap has room for (one root entry); what lies above is not used.
pub(crate) const PHYSMAP_BYTES_MAX: u64 = 512 << 30;
/// Physical address 0 of the kernel's image.
pub(crate) const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Stacks of the processors.
pub(crate) const STACKS: u64 = 0xffff_ffff_c000_0000;
/// Registers of the interrupt controllers.
pub(crate) const DEVICES: u64 = 0xffff_ffff_d000_0000;
/// Those of the local APIC, which are mapped before any others.
pub(crate) const LOCAL_APIC: u64 = DEVICES;

/// A page, in bytes.
pub(crate) const PAGE: u64 = abi::PAGE_SIZE as u64;
/// Processors at most: a bit each in the masks of kernel-core.
pub(crate) const CPUS_MAX: usize = 64;

/// Pages of the stack on which a CPU handles calls, faults and interrupts.
pub(crate) const STACK_PAGES: u64 = 6;
/// Pages of the stack for double faults, NMIs and machine checks: enough for a report.
pub(crate) const EMERGENCY_STACK_PAGES: u64 = 2;
/// Pages of address space a CPU's stacks take, guard pages included.
const STACK_SLOT_PAGES: u64 = STACK_PAGES + EMERGENCY_STACK_PAGES + 2;

/// One of a CPU's stacks; the page below is never mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StackKind {
    /// Calls, faults, interrupts.
    Main,
    /// Double faults (the main stack may be the reason), NMIs (which may arrive before the entry has loaded a stack) and
    /// machine checks. None of these returns, so one that interrupts another's report takes nothing from anybody.
    Emergency,
}

impl StackKind {
    /// Its pages.
    pub(crate) const fn pages(self) -> u64 {
        if matches!(self, Self::Main) { STACK_PAGES } else { EMERGENCY_STACK_PAGES }
    }

    /// First address of this stack of `cpu`.
    pub(crate) const fn bottom(self, cpu: usize) -> u64 {
        self.top(cpu) - self.pages() * PAGE
    }

    /// One past the last address of this stack of `cpu`.
    pub(crate) const fn top(self, cpu: usize) -> u64 {
        let below = if matches!(self, Self::Main) { STACK_PAGES + 1 } else { STACK_SLOT_PAGES };
        STACKS + (cpu as u64 * STACK_SLOT_PAGES + below) * PAGE
    }
}

/// The CPU whose stack `address` lies in, its guard pages included.
pub(crate) fn cpu_of_stack(address: u64) -> Option<usize> {
    let slot = address.checked_sub(STACKS)? / (STACK_SLOT_PAGES * PAGE);
    (slot < CPUS_MAX as u64).then_some(slot as usize)
}

const _: () = {
    assert!(StackKind::Main.bottom(0) == STACKS + PAGE);
    assert!(StackKind::Emergency.bottom(0) == StackKind::Main.top(0) + PAGE);
    assert!(StackKind::Emergency.top(0) + PAGE == StackKind::Main.bottom(1));
    assert!(STACKS + CPUS_MAX as u64 * STACK_SLOT_PAGES * PAGE <= DEVICES);
};

unsafe extern "C" {
    static __image_start: u8;
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// The kernel's code. It and the other parts of the image begin and end at page boundaries.
pub(crate) fn text() -> Range<u64> {
    &raw const __text_start as u64..&raw const __text_end as u64
}

/// Its constants.
pub(crate) fn rodata() -> Range<u64> {
    text().end..&raw const __rodata_end as u64
}

/// Its variables.
pub(crate) fn data() -> Range<u64> {
    rodata().end..&raw const __image_end as u64
}

/// The frames that all of it occupies, what ran before paging included.
pub(crate) fn image() -> Range<u64> {
    &raw const __image_start as u64..data().end - KERNEL_BASE
}
