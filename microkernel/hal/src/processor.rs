//! One processor: which features it must have, which are switched on, where `syscall` goes.
//!
//! Reference: Intel SDM vol. 3A, chapter 2.5 (control registers); vol. 1, chapter 13 (XSAVE).

use crate::descriptors::{self, KERNEL_CODE, KERNEL_DATA};
use crate::instructions::cpuid;
use crate::trap;
use core::fmt;
use kernel_core::VectorState;
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags, GsBase, KernelGsBase, LStar, Msr, SFMask, Star};
use x86_64::registers::rflags::RFlags;
use x86_64::registers::xcontrol::XCr0;

/// Vector components that every thread has: x87, SSE, AVX.
const COMPONENTS: u64 = 7;
/// Flags that `syscall` clears: all that a program can set; only bit 1 is always there.
const FLAG_MASK: u64 = 0x003f_ffff & !2;

const SYSENTER_CODE: u32 = 0x174;

/// A feature: its name, where CPUID tells (leaf, register, bit), and what it is switched on by in CR4.
struct Feature {
    name: &'static str,
    leaf: u32,
    register: usize,
    bit: u32,
    cr4: u64,
    required: bool,
}

const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

const fn feature(name: &'static str, leaf: u32, register: usize, bit: u32, cr4: u64, required: bool) -> Feature {
    Feature { name, leaf, register, bit, cr4, required }
}

const FEATURES: [Feature; 9] = [
    feature("NX", 0x8000_0001, EDX, 20, 0, true),
    feature("SYSCALL", 0x8000_0001, EDX, 11, 0, true),
    feature("XSAVE", 1, ECX, 26, Cr4Flags::OSXSAVE.bits(), true),
    feature("AVX", 1, ECX, 28, 0, true),
    feature("FSGSBASE", 7, EBX, 0, Cr4Flags::FSGSBASE.bits(), true),
    feature("SMEP", 7, EBX, 7, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION.bits(), false),
    feature("SMAP", 7, EBX, 20, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION.bits(), false),
    feature("UMIP", 7, ECX, 2, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION.bits(), false),
    feature("MCE", 1, EDX, 7, Cr4Flags::MACHINE_CHECK_EXCEPTION.bits(), false),
];

impl Feature {
    fn is_there(&self) -> bool {
        let [most, ..] = cpuid(self.leaf & 0x8000_0000, 0);
        self.leaf <= most && cpuid(self.leaf, 0)[self.register] >> self.bit & 1 == 1
    }
}

/// Names of features, with spaces between.
struct Names(fn(&Feature) -> bool);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for feature in FEATURES.iter().filter(|feature| self.0(feature)) {
            write!(f, "{separator}{}", feature.name)?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// Refuses a processor that lacks what the kernel stands on, by name.
pub(crate) fn require() {
    if FEATURES.iter().any(|feature| feature.required && !feature.is_there()) {
        crate::report::refuse(format_args!(
            "this processor lacks {}, which Perennial needs (in QEMU use -cpu max)",
            Names(|feature| feature.required && !feature.is_there())
        ));
    }
}

/// The line at boot that says what protects this machine.
pub(crate) fn announce() {
    crate::serial::say!(
        "kernel: processor has {} and WP, lacks {}",
        Names(Feature::is_there),
        Names(|feature| !feature.is_there())
    );
}

/// Switches on everything this processor has, and tells it where `syscall` goes.
pub(crate) fn configure() {
    let wanted = FEATURES.iter().filter(|feature| feature.is_there()).fold(0, |bits, feature| bits | feature.cr4);
    // SAFETY: 1. each bit only where CPUID tells of it; 2. the kernel touches no user page and keeps W^X, so SMEP and
    // SMAP change nothing for it; 3. XCR0 after OSXSAVE, its components were required; 4. these MSRs exist with
    // long mode and SYSCALL, both required; `syscall` enters at our own entry with interrupts off.
    unsafe {
        Cr4::write_raw(Cr4::read_raw() | wanted);
        Cr0::write((Cr0::read() | Cr0Flags::WRITE_PROTECT) - Cr0Flags::TASK_SWITCHED);
        XCr0::write_raw(COMPONENTS);
        Efer::write(Efer::read() | EferFlags::NO_EXECUTE_ENABLE);
        Msr::new(SYSENTER_CODE).write(0);
        // `syscall` takes code and stack from the second, `sysret` from the first (plus 16 and plus 8).
        Star::write_raw(KERNEL_DATA | 3, KERNEL_CODE);
        LStar::write(VirtAddr::from_ptr(trap::syscall_0 as *const ()));
        SFMask::write(RFlags::from_bits_retain(FLAG_MASK));
    }
    // With the components of XCR0 enabled, leaf 0Dh tells what XSAVE writes.
    let [_, bytes, ..] = cpuid(0xd, 0);
    assert_eq!(bytes as usize, size_of::<VectorState>(), "XSAVE area of x87, SSE and AVX");
}

/// Calls need no lock from now on.
///
/// # Safety
/// No other processor ever runs.
pub(crate) unsafe fn be_alone() {
    // SAFETY: as in `configure`; nobody else could hold the lock (caller).
    unsafe {
        LStar::write(VirtAddr::from_ptr(trap::syscall_1 as *const ()));
        descriptors::set_page_fault(trap::page_fault_1);
    }
}

/// Bases GS at what belongs to this CPU; a program's GS base is 0.
///
/// # Safety
/// `address` is that of this CPU's `Cpu`, for ever.
pub(crate) unsafe fn set_gs_base(address: u64) {
    // Only the assembly edge uses GS, and expects just this.
    GsBase::write(VirtAddr::new(address));
    KernelGsBase::write(VirtAddr::zero());
}
