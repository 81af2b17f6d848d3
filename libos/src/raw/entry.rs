//! Where a program starts.

/// Aligns the stack as compiled code wants it and goes to the program's `main` with the one argument in rdi.
/// There is nothing to return to: a `main` that did would fault at once.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text._start")]
unsafe extern "C" fn _start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym enter)
}

unsafe extern "Rust" {
    /// Made by [`crate::program!`] or [`crate::first_program!`].
    fn perennial_program(argument: u64) -> !;
}

extern "C" fn enter(argument: u64) -> ! {
    // SAFETY: the symbol is defined by the macro with this very signature; a program without it does not link.
    unsafe { perennial_program(argument) }
}
