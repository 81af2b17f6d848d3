//! Single accesses to memory that may not be mapped yet: what touches it first has it faulted in.

use abi::protocol::startup::{WINDOWS_END, WINDOWS_START};
use core::arch::asm;

/// Panics unless a word there is no part of a Rust object: windows are kept free of them.
#[inline(always)]
pub(super) fn check(address: u64) {
    assert!(
        (WINDOWS_START..WINDOWS_END).contains(&address) && address.is_multiple_of(8),
        "{address:#x} is in no window"
    );
}

/// Loads the word at an address between `WINDOWS_START` and `WINDOWS_END`. Waits for whoever serves the process's
/// faults; where nobody does, the thread ends.
#[inline(always)]
pub fn load_word(address: u64) -> u64 {
    check(address);
    let word;
    // SAFETY: (1) through no Rust reference, at an aligned address where no Rust object but atomics lies (checked); (2) a
    // page that is not there faults, and the access is made when it is, or never.
    unsafe { asm!("mov {}, [{}]", out(reg) word, in(reg) address, options(nostack, preserves_flags)) };
    word
}

/// Stores the word at an address between `WINDOWS_START` and `WINDOWS_END`. Waits as [`load_word`] does.
#[inline(always)]
pub fn store_word(address: u64, word: u64) {
    check(address);
    // SAFETY: as in `load_word`.
    unsafe { asm!("mov [{}], {}", in(reg) address, in(reg) word, options(nostack, preserves_flags)) };
}
