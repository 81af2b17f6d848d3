//! Ways out of the fast functions of `dispatch` that never come back, in as few instructions as can be: what is in
//! registers already stays there.

use abi::Outcome;
use abi::fault::Fault;
use core::arch::asm;
use kernel_core::Task;

unsafe extern "C" {
    // In `entry`.
    fn exchange_alone() -> !;
    fn exchange_several() -> !;
    fn deliver_alone() -> !;
    fn deliver_several() -> !;
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

/// A way on from a fast function of the edge's.
macro_rules! way_on {
    ($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $alone:ident, $several:ident, $($operand:tt)*) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// 1. Called from a fast function of the edge's, with what that was given. 2. If another thread goes on: space and
        /// vector registers are its own, and its record need not be kept aside. 3. The kernel lock is held as it says.
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
    /// Goes to a thread with the message of the one that called, and `rax`; the lock is held, if there is one.
    exchange(carried: Carried, to: *mut Task, rax: Outcome) exchange_alone, exchange_several, in("rcx") to,
    in("rax") rax.0, in("rdi") carried.0[0], in("rsi") carried.0[1], in("rdx") carried.0[2], in("r8") carried.0[3],
    in("r9") carried.0[4],
}
way_on! {
    /// Goes to a thread with the message of a page fault; the lock is held, if there is one.
    deliver(to: *mut Task, rax: Outcome, words: [u64; 6]) deliver_alone, deliver_several, in("rcx") to, in("rax") rax.0,
    in("rdi") Fault::Page as u64, in("rsi") words[0], in("rdx") words[1], in("r8") words[2], in("r9") words[3],
    in("r10") words[4], in("r12") words[5], in("r13") 0, in("r14") 0,
}
way_on! {
    /// Goes to a thread with all registers from its record; the lock is held, if there is one.
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
