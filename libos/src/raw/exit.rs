//! How a program ends: by an access that never completes.

/// Ends the program: reads from an address in the unmapped first pages, which whoever serves its faults understands.
pub(crate) fn touch(address: u64) -> ! {
    loop {
        // SAFETY: the load goes through no Rust reference; (1) nothing is ever mapped at `address` (callers pass an
        // address below `USER_START`, which the kernel refuses to map), so it faults and never completes; (2) the
        // fault is this process's end, nothing of it runs on; (3) should someone answer it, the loop repeats it.
        unsafe {
            core::arch::asm!("mov {0:r}, [{0:r}]", inout(reg) address => _, options(nostack, readonly, preserves_flags));
        }
    }
}
