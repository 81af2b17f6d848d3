//! Ways out of the fast functions of `dispatch` that never come back, in as few instructions as can be: what is in
//! registers already stays there.

use crate::kernel::{FIRST_CPU, STATE};
use crate::lock;
use crate::trap::{FLAGS, edge, edge_offset, own_offset, word_offset};
use abi::fault::Fault;
use abi::{Outcome, Registers};
use core::arch::asm;
use core::mem::offset_of;
use kernel_core::Task;

unsafe extern "C" {
    // In `trap`.
    fn declined_alone() -> !;
    fn declined_several() -> !;
    fn depart_alone() -> !;
    fn depart_several() -> !;
    fn fault_declined_alone() -> !;
    fn fault_declined_several() -> !;
}

/// The part of a message that a fast function takes and passes on: rdi, rsi, rdx, r8, r9. The edge has put the other
/// words into the frame.
#[derive(Clone, Copy)]
pub(crate) struct Carried(pub(crate) [u64; 5]);

/// The program of `to` goes on with the carried words and `rax`; $words brings the others. At $at are words of this CPU's
/// state.
macro_rules! go_to {
    ($carried:expr, $to:expr, $rax:expr, $at:literal, [$($words:expr),*], [$($leave:literal),*], $($operand:tt)*) => {
        asm!(
            concat!("mov ", $at, "{own}], rcx"),
            $($words,)*
            "mov r11, [rcx + {fs_base}]",
            "wrfsbase r11",
            "mov rbx, [rcx + {rbx}]",
            "mov rbp, [rcx + {rbp}]",
            "mov rsp, [rcx + {rsp}]",
            "mov rcx, [rcx + {rip}]",
            "mov r11d, {flags}",
            $($leave,)*
            "xor r15d, r15d",
            "wrgsbase r15",
            "sysretq",
            own = const edge_offset(edge::OWN),
            fs_base = const own_offset(offset_of!(Registers, fs_base)),
            rbx = const own_offset(offset_of!(Registers, rbx)),
            rbp = const own_offset(offset_of!(Registers, rbp)),
            rsp = const own_offset(offset_of!(Registers, rsp)),
            rip = const own_offset(offset_of!(Registers, rip)),
            flags = const FLAGS,
            $($operand)* in("rcx") $to, in("rax") $rax.0, in("rdi") $carried.0[0], in("rsi") $carried.0[1],
            in("rdx") $carried.0[2], in("r8") $carried.0[3], in("r9") $carried.0[4], options(noreturn))
    };
    ($carried:expr, $to:expr, $rax:expr, alone, [$($words:expr),*], $($operand:tt)*) => {
        go_to!($carried, $to, $rax, "[{state} + {first} + ", [$($words),*], [], state = sym STATE, first = const FIRST_CPU,
            $($operand)*)
    };
    ($carried:expr, $to:expr, $rax:expr, several, [$($words:expr),*], $($operand:tt)*) => {
        go_to!($carried, $to, $rax, "gs:[", [$($words),*], ["inc dword ptr [rip + {serving}]", "swapgs"],
            serving = sym lock::SERVING, $($operand)*)
    };
}

/// With the words that the edge has put into the frame.
macro_rules! exchange_on {
    ($carried:expr, $to:expr, $rax:expr, $way:ident, $at:literal) => {
        go_to!($carried, $to, $rax, $way, [
            concat!("mov r10, ", $at, "{r10}]"),
            concat!("mov r12, ", $at, "{r12}]"),
            concat!("mov r13, ", $at, "{r13}]"),
            concat!("mov r14, ", $at, "{r14}]")
        ], r10 = const word_offset(4), r12 = const word_offset(5), r13 = const word_offset(6), r14 = const word_offset(7),)
    };
}

/// Goes to a thread with the message of the one that called.
///
/// # Safety
/// 1. Called from a fast function of the edge's, with what that was given. 2. Space and vector registers are those of the
///    thread, whose record need not be kept aside. 3. The kernel lock is held, if there are several CPUs.
#[inline(always)]
pub(crate) unsafe fn exchange<const ALONE: bool>(carried: Carried, to: *mut Task, rax: Outcome) -> ! {
    // SAFETY: 1, 2, 3: caller; nothing on the stack is needed any more.
    unsafe {
        if ALONE {
            exchange_on!(carried, to, rax, alone, "[{state} + {first} + ")
        } else {
            exchange_on!(carried, to, rax, several, "gs:[")
        }
    }
}

/// Goes to a thread with the message of a page fault.
///
/// # Safety
/// As [`exchange`].
#[inline(always)]
pub(crate) unsafe fn deliver<const ALONE: bool>(to: *mut Task, rax: Outcome, words: [u64; 6]) -> ! {
    let [w0, w1, w2, w3, w4, w5] = words;
    let carried = Carried([Fault::Page as u64, w0, w1, w2, w3]);
    // SAFETY: as `exchange`.
    unsafe {
        if ALONE {
            go_to!(carried, to, rax, alone, ["xor r13d, r13d", "xor r14d, r14d"], in("r10") w4, in("r12") w5,)
        } else {
            go_to!(carried, to, rax, several, ["xor r13d, r13d", "xor r14d, r14d"], in("r10") w4, in("r12") w5,)
        }
    }
}

/// A way on from a fast function of the edge's.
macro_rules! way_on {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $alone:ident, $several:ident, $($operand:tt)*) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As [`exchange`].
        #[inline(always)]
        pub(crate) unsafe fn $name<const ALONE: bool>($($argument: $type),*) -> ! {
            // SAFETY: 1, 2, 3: caller; nothing on the stack is needed any more.
            unsafe {
                if ALONE {
                    asm!("jmp {way}", way = sym $alone, $($operand)* options(noreturn))
                } else {
                    asm!("jmp {way}", way = sym $several, $($operand)* options(noreturn))
                }
            }
        }
    };
}

way_on! {
    /// Goes to a thread with all registers from its record.
    depart(to: *mut Task) depart_alone, depart_several, in("rcx") to,
}
way_on! {
    /// Goes the slow way with a call; the lock is not held.
    decline(carried: Carried) declined_alone, declined_several, in("rdi") carried.0[0],
    in("rsi") carried.0[1], in("rdx") carried.0[2], in("r8") carried.0[3], in("r9") carried.0[4],
}
way_on! {
    /// Goes the slow way with a page fault; the lock is not held.
    decline_fault(error: u64) fault_declined_alone, fault_declined_several, in("rsi") error,
}
