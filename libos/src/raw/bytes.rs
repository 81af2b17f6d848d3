//! The memory functions that compiled code calls, and copies to and from memory that others may be changing.
//!
//! All are string instructions: short, and what they do to memory that another process shares is the processor's
//! business, not the language's (there is no Rust access that could race).

use core::arch::asm;

/// Copies `count` bytes forwards: whole words first, since an instruction counts once for each step it repeats.
///
/// # Safety
/// 1. `from` is readable and `to` writable for `count` bytes. 2. `to` does not lie within `from .. from + count`.
#[inline(always)]
pub(super) unsafe fn copy_forwards(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: precondition 1 makes every access allowed; the direction flag is clear by the calling convention; `tail` is
    // what is left of `count` after its words.
    unsafe {
        asm!("rep movsq", "mov rcx, {tail}", "rep movsb", tail = in(reg) count % 8,
            inout("rdi") to => _, inout("rsi") from => _, inout("rcx") count / 8 => _,
            options(nostack, preserves_flags));
    }
}

/// Copies `count` words of 8 bytes forwards.
///
/// # Safety
/// As [`copy_forwards`], for `count * 8` bytes.
#[inline(always)]
pub(super) unsafe fn copy_words(to: *mut u64, from: *const u64, count: usize) {
    // SAFETY: as in `copy_forwards`.
    unsafe {
        asm!("rep movsq", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") count => _,
            options(nostack, preserves_flags));
    }
}

/// Fills `count` words of 8 bytes.
///
/// # Safety
/// `to` is writable for `count * 8` bytes.
#[inline(always)]
pub(super) unsafe fn fill_words(to: *mut u64, value: u64, count: usize) {
    // SAFETY: the precondition makes every access allowed; the direction flag is clear.
    unsafe {
        asm!("rep stosq", inout("rdi") to => _, in("rax") value, inout("rcx") count => _,
            options(nostack, preserves_flags));
    }
}

#[cfg(not(test))]
mod called_by_the_compiler {
    use core::arch::asm;

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        // SAFETY: both preconditions are those of `memcpy`.
        unsafe { super::copy_forwards(to, from, count) };
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
        if to.addr().wrapping_sub(from.addr()) >= count {
            // SAFETY: (1) as for `memmove`; (2) just checked.
            unsafe { super::copy_forwards(to, from, count) };
        } else {
            // SAFETY: (1) the ranges are valid as for `memmove`, and copying from the end keeps what is still to be
            // read; `count` is not 0 here; (2) the direction flag is clear again afterwards.
            unsafe {
                asm!("std", "rep movsb", "cld", inout("rdi") to.wrapping_add(count - 1) => _,
                    inout("rsi") from.wrapping_add(count - 1) => _, inout("rcx") count => _, options(nostack));
            }
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
        let pattern = u64::from(value as u8) * 0x0101_0101_0101_0101;
        // SAFETY: `to` is writable for `count` bytes, as for `memset`; the direction flag is clear; `tail` is what is left
        // of `count` after its words.
        unsafe {
            asm!("rep stosq", "mov rcx, {tail}", "rep stosb", tail = in(reg) count % 8, in("rax") pattern,
                inout("rdi") to => _, inout("rcx") count / 8 => _, options(nostack, preserves_flags));
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
        let mut index = 0;
        while index < count {
            // SAFETY: `index < count`, and both are readable for `count` bytes, as for `memcmp`. Volatile, so that the
            // compiler does not turn this loop into a call of itself.
            let (x, y) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            index += 1;
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
        // SAFETY: the same preconditions.
        unsafe { memcmp(a, b, count) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut count = 0;
        // SAFETY: every byte up to the first zero is readable, as for `strlen`.
        while unsafe { text.add(count).read_volatile() } != 0 {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_count_are_copied() {
        let from: Vec<u8> = (0..100).collect();
        for count in 0..from.len() {
            let mut to = vec![255; from.len()];
            // SAFETY: both vectors hold 100 bytes.
            unsafe { copy_forwards(to.as_mut_ptr(), from.as_ptr(), count) };
            assert_eq!(to[..count], from[..count]);
            assert!(to[count..].iter().all(|byte| *byte == 255));
        }
    }

    #[test]
    fn words_are_copied_and_filled() {
        let from: Vec<u64> = (0..64).collect();
        let mut to = vec![0; 64];
        // SAFETY: both vectors hold 64 words.
        unsafe { copy_words(to.as_mut_ptr(), from.as_ptr(), 64) };
        assert_eq!(from, to);
        // SAFETY: the first 32 of 64 words.
        unsafe { fill_words(to.as_mut_ptr(), 7, 32) };
        assert!(to[..32].iter().all(|word| *word == 7) && to[32..] == from[32..]);
    }
}
