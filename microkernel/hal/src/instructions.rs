//! Single instructions that Rust has no words for.
//!
//! Safe ones cannot break memory safety whatever their arguments; the others say what they need.

use core::arch::asm;
use kernel_core::VectorState;

/// Reads the time-stamp counter.
#[inline(always)]
pub(crate) fn tsc() -> u64 {
    // SAFETY: 1. rdtsc touches no memory; 2. CR4.TSD only matters outside ring 0.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What the processor says about itself: eax, ebx, ecx, edx.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// Writes a byte to an I/O port.
///
/// # Safety
/// Nothing the device does with it may touch memory that Rust owns.
pub(crate) unsafe fn out8(port: u16, value: u8) {
    // SAFETY: 1. `out` touches no memory by itself; 2. what the device does is the caller's promise.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes 16 bits to an I/O port.
///
/// # Safety
/// As [`out8`].
pub(crate) unsafe fn out16(port: u16, value: u16) {
    // SAFETY: as `out8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes 32 bits to an I/O port.
///
/// # Safety
/// As [`out8`].
pub(crate) unsafe fn out32(port: u16, value: u32) {
    // SAFETY: as `out8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte from an I/O port.
///
/// # Safety
/// As [`out8`].
pub(crate) unsafe fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: as `out8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads 16 bits from an I/O port.
///
/// # Safety
/// As [`out8`].
pub(crate) unsafe fn in16(port: u16) -> u16 {
    let value;
    // SAFETY: as `out8`.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads 32 bits from an I/O port.
///
/// # Safety
/// As [`out8`].
pub(crate) unsafe fn in32(port: u16) -> u32 {
    let value;
    // SAFETY: as `out8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads a model-specific register.
///
/// # Safety
/// The register exists on this processor.
pub(crate) unsafe fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: 1. reads no memory; 2. the register exists (caller).
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack)) }
    u64::from(low) | u64::from(high) << 32
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists, and what it changes keeps the compiler's view of memory and control flow true.
pub(crate) unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: 1. exists, 2. keeps memory and control flow true (caller); not `nomem`, so it orders memory accesses.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// The address of the last page fault.
pub(crate) fn cr2() -> u64 {
    let value;
    // SAFETY: reading CR2 in ring 0 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Control register 0.
pub(crate) fn cr0() -> u64 {
    let value;
    // SAFETY: reading CR0 in ring 0 has no effect.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Control register 3.
pub(crate) fn cr3() -> u64 {
    let value;
    // SAFETY: reading CR3 in ring 0 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Control register 4.
pub(crate) fn cr4() -> u64 {
    let value;
    // SAFETY: reading CR4 in ring 0 has no effect.
    unsafe { asm!("mov {}, cr4", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Sets control register 0.
///
/// # Safety
/// The value keeps protection and paging on.
pub(crate) unsafe fn set_cr0(value: u64) {
    // SAFETY: caller.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// Loads an address space; drops all translations that are not global.
///
/// # Safety
/// `root` is the address of a root table whose kernel half is the kernel's.
#[inline(always)]
pub(crate) unsafe fn set_cr3(root: u64) {
    // SAFETY: the kernel half stays as it is (caller), so every address that Rust knows stays valid.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Sets control register 4.
///
/// # Safety
/// The processor has every feature that is set, and PAE stays on.
pub(crate) unsafe fn set_cr4(value: u64) {
    // SAFETY: caller.
    unsafe { asm!("mov cr4, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// Sets an extended control register 0: which vector components are used.
///
/// # Safety
/// CR4.OSXSAVE is set and the processor has all components.
pub(crate) unsafe fn set_xcr0(value: u64) {
    // SAFETY: caller.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nomem, nostack));
    }
}

/// Drops this processor's translation of one page.
pub(crate) fn invalidate_page(address: u64) {
    // SAFETY: dropping a translation never makes an access wrong, only slower.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Saves this processor's x87, SSE and AVX registers.
#[inline(always)]
pub(crate) fn save_vectors(to: &mut VectorState) {
    // SAFETY: 1. `to` is 832 bytes, what XSAVE writes for components 0 to 2 (asserted in processor.rs); 2. it is
    // aligned to 64 (its type).
    unsafe { asm!("xsave64 [{}]", in(reg) to, in("eax") 7, in("edx") 0, options(nostack, preserves_flags)) }
}

/// Loads this processor's x87, SSE and AVX registers.
///
/// # Safety
/// `from` has a header that XRSTOR takes: what `VectorState::is_valid` accepts.
#[inline(always)]
pub(crate) unsafe fn load_vectors(from: &VectorState) {
    // SAFETY: 1. header (caller); 2. alignment and size by type; 3. compiled without vector registers, so the
    // compiler holds nothing in them.
    unsafe { asm!("xrstor64 [{}]", in(reg) from, in("eax") 7, in("edx") 0, options(nostack, preserves_flags)) }
}

/// Both, one after the other.
///
/// # Safety
/// As [`load_vectors`].
#[inline(always)]
pub(crate) unsafe fn exchange_vectors(to: &mut VectorState, from: &VectorState) {
    // SAFETY: as `save_vectors` and `load_vectors`.
    unsafe {
        asm!("xsave64 [{}]", "xrstor64 [{}]", in(reg) to, in(reg) from, in("eax") 7, in("edx") 0,
            options(nostack, preserves_flags));
    }
}

/// Stops this processor for good.
pub(crate) fn stop_forever() -> ! {
    loop {
        // SAFETY: with interrupts off only an NMI wakes it, whose handler stops as well.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
