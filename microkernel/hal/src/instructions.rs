//! Single instructions for which neither Rust nor `x86_64` has words that cost no more.
//!
//! Safe ones cannot break memory safety whatever their arguments; the others say what they need.

use core::arch::asm;
use core::mem::MaybeUninit;
use kernel_core::VectorState;

/// Reads the time-stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: 1. rdtsc touches no memory; 2. CR4.TSD only matters outside ring 0.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What the processor says about itself: eax, ebx, ecx, edx.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// Loads an address space; drops all translations that are not global.
///
/// # Safety
/// `root` is the address of a root table whose kernel half is the kernel's.
pub(crate) unsafe fn set_cr3(root: u64) {
    // SAFETY: the kernel half stays as it is (caller), so every address that Rust knows stays valid.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Saves this processor's x87, SSE and AVX registers.
pub(crate) fn save_vectors(to: &mut VectorState) {
    // SAFETY: 1. `to` is 832 bytes, what XSAVE writes for components 0 to 2 (asserted in processor.rs); 2. it is
    // aligned to 64 (its type); 3. edx may be anything: XCR0, by which the mask is masked, has no bit there.
    unsafe { asm!("xsave64 [{}]", in(reg) to, in("eax") 7, options(nostack, preserves_flags)) }
}

/// Loads this processor's x87, SSE and AVX registers.
///
/// # Safety
/// `from` has a header that XRSTOR takes: what `VectorState::is_valid` accepts.
pub(crate) unsafe fn load_vectors(from: &VectorState) {
    // SAFETY: 1. header (caller); 2. alignment and size by type; 3. compiled without vector registers, so the
    // compiler holds nothing in them; 4. edx as in `save_vectors`.
    unsafe { asm!("xrstor64 [{}]", in(reg) from, in("eax") 7, options(nostack, preserves_flags)) }
}

/// Copies a page by way of vector registers, half as many instructions as by words, and leaves these as they were: they
/// are a program's.
///
/// # Safety
/// Both are mapped whole pages. The same one twice does no harm.
pub(crate) unsafe fn copy_page(from: *const u8, to: *mut u8) {
    let mut kept = MaybeUninit::<[u64; 8]>::uninit();
    // SAFETY: 1. whole pages (caller), each byte read before it is written; 2. `kept` has room for both registers; 3. the
    // compiler holds nothing in them.
    unsafe {
        asm!(
            "vmovdqu [{kept}], ymm0",
            "vmovdqu [{kept} + 32], ymm1",
            "2:",
            ".set copied, 0",
            ".rept 32",
            "vmovdqu ymm0, [{from} + {at} + copied]",
            "vmovdqu ymm1, [{from} + {at} + copied + 32]",
            "vmovdqu [{to} + {at} + copied], ymm0",
            "vmovdqu [{to} + {at} + copied + 32], ymm1",
            ".set copied, copied + 64",
            ".endr",
            "add {at}, 2048",
            "jnz 2b",
            "vmovdqu ymm0, [{kept}]",
            "vmovdqu ymm1, [{kept} + 32]",
            kept = in(reg) kept.as_mut_ptr(),
            from = in(reg) from.wrapping_add(abi::PAGE_SIZE),
            to = in(reg) to.wrapping_add(abi::PAGE_SIZE),
            at = inout(reg) -(abi::PAGE_SIZE as i64) => _,
            options(nostack)
        );
    }
}

/// Stops this processor for good.
pub(crate) fn stop_forever() -> ! {
    loop {
        // SAFETY: with interrupts off only an NMI wakes it, whose handler stops as well.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
