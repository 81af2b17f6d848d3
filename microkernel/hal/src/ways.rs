//! Ways out of the fast functions of `dispatch` that never come back, in as few instructions as can be: what is in
//! registers already stays there.

use abi::Outcome;
use abi::fault::Fault;
use core::arch::asm;
use kernel_core::Task;

/// The part of a message that a fast function takes and passes on: rdi, rsi, rdx, r8, r9. The edge has put the other
/// words into the frame.
pub(crate) type Carried = [u64; 5];

/// A way on from a fast function of the edge's, to the label of its name in `entry`.
macro_rules! way_on {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $($operand:tt)*) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// 1. Called from a fast function of the edge's, with what that was given. 2. If another thread goes on: space and
        /// vector registers are its own, and its record need not be kept aside. 3. The kernel lock is held as it says.
        #[inline(always)]
        pub(crate) unsafe fn $name<const ALONE: bool>($($argument: $type),*) -> ! {
            // SAFETY: 1, 2, 3: caller; nothing on the stack is needed any more.
            unsafe {
                asm!(
                    concat!("jmp ", stringify!($name), "_{alone}"),
                    alone = const ALONE as u8,
                    $($operand)*
                    options(noreturn)
                )
            }
        }
    };
}

way_on! {
    /// Goes to a thread with the message of the one that called, and `rax`; the lock is held, if there is one.
    exchange(carried: Carried, to: *mut Task, rax: Outcome) in("rcx") to, in("rax") rax.0, in("rdi") carried[0],
    in("rsi") carried[1], in("rdx") carried[2], in("r8") carried[3], in("r9") carried[4],
}
way_on! {
    /// Goes to a thread with the message of a page fault; the lock is held, if there is one.
    deliver(to: *mut Task, rax: Outcome, words: [u64; 6]) in("rcx") to, in("rax") rax.0,
    in("rdi") Fault::Page as u64, in("rsi") words[0], in("rdx") words[1], in("r8") words[2], in("r9") words[3],
    in("r10") words[4], in("r12") words[5], in("r13") 0, in("r14") 0,
}
way_on! {
    /// Goes to a thread with all registers from its record; the lock is held, if there is one.
    depart(to: *mut Task) in("rcx") to,
}
way_on! {
    /// Goes the slow way with a call; the lock is not held.
    declined(carried: Carried) in("rdi") carried[0], in("rsi") carried[1], in("rdx") carried[2],
    in("r8") carried[3], in("r9") carried[4],
}
