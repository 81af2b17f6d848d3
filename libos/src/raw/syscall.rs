//! The `syscall` instruction. What each register carries: `abi::registers`.

use super::misdeed::is_nowhere;
use abi::protocol::startup::WINDOWS_START;
use abi::{Call, Control, Handle, Outcome, WORDS};

/// Everything that goes in and comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// rdi.
    pub(crate) tag: u64,
    /// rsi rdx r8 r9 r10 r12 r13 r14.
    pub(crate) words: [u64; WORDS],
    /// r15.
    pub(crate) caps: u64,
}

/// Makes a call with every register that can carry something.
#[inline(always)]
pub(crate) fn syscall(control: Control, frame: Frame) -> (Outcome, Frame) {
    let Frame { mut tag, words, mut caps } = frame;
    let [mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7] = words;
    let outcome: u64;
    // SAFETY: (1) the kernel changes the registers named here and no others (`abi::registers`); rcx and r11 are lost to
    // the instruction; (2) it keeps rsp and never touches user memory, so the red zone stays; (3) what mapping calls
    // change lies outside all Rust objects: only `Window` and `Pages` make views, of ranges kept free for that, and
    // `any_call` maps where there are none; other
    // processes may have changed shared memory meanwhile, which is why memory is not declared untouched.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") control.0 => outcome,
            inlateout("rdi") tag,
            inlateout("rsi") w0,
            inlateout("rdx") w1,
            inlateout("r8") w2,
            inlateout("r9") w3,
            inlateout("r10") w4,
            inlateout("r12") w5,
            inlateout("r13") w6,
            inlateout("r14") w7,
            inlateout("r15") caps,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    (Outcome(outcome), Frame { tag, words: [w0, w1, w2, w3, w4, w5, w6, w7], caps })
}

/// Makes a call that takes one argument and returns one: what it would put elsewhere is dropped.
#[inline(always)]
pub(crate) fn syscall_short(control: Control, mut argument: u64) -> (Outcome, u64) {
    let outcome: u64;
    // SAFETY: as in `syscall`; the registers that go in undefined carry nothing for the calls this is used for.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") control.0 => outcome,
            inlateout("rdi") argument,
            lateout("rsi") _,
            lateout("rdx") _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    (Outcome(outcome), argument)
}

/// Makes a call that keeps all registers but rax, rcx and r11 (`abi::registers` says which do).
#[inline(always)]
pub(crate) fn syscall_keeping(control: Control) -> Outcome {
    let outcome: u64;
    // SAFETY: as in `syscall`.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") control.0 => outcome,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    Outcome(outcome)
}

/// From here on to the end of windows nothing makes a view: startup pages list windows from `WINDOWS_START` up, and a
/// program's own memory comes before them.
pub const NO_VIEWS: u64 = WINDOWS_START + (5 << 40);

/// Makes a call with any registers at all (rax, rdi, words 0 … 7, capabilities), and returns them as they are after it:
/// for programs that try the kernel out.
///
/// # Panics
///
/// If it is a call on page tables at a user address where Rust objects may lie: outside [`NO_VIEWS`] to the end of windows.
pub fn any_call(registers: [u64; 11]) -> [u64; 11] {
    refuse_views(&registers);
    let [rax, tag, w0, w1, w2, w3, w4, w5, w6, w7, caps] = registers;
    let (outcome, frame) = syscall(Control(rax), Frame { tag, words: [w0, w1, w2, w3, w4, w5, w6, w7], caps });
    let [w0, w1, w2, w3, w4, w5, w6, w7] = frame.words;
    [outcome.0, frame.tag, w0, w1, w2, w3, w4, w5, w6, w7, frame.caps]
}

/// Panics if these are the registers of a call on page tables where Rust objects may lie.
pub(super) fn refuse_views(&[rax, tag, ..]: &[u64; 11]) {
    let maps = matches!(Call::from_bits(Control(rax).call()), Some(Call::Map | Call::Unmap | Call::Protect));
    assert!(!maps || is_nowhere(tag), "{tag:#x} may be in a view");
}

/// The time-stamp counter: the machine's, not world time. For measuring.
#[inline(always)]
pub fn ticks() -> u64 {
    let (low, high): (u64, u64);
    // SAFETY: `rdtsc` reads a register of the processor and nothing else; the kernel lets programs do so.
    unsafe { core::arch::asm!("rdtsc", out("rax") low, out("rdx") high, options(nomem, nostack, preserves_flags)) };
    high << 32 | low
}

/// The call that does nothing: what entering and leaving the kernel costs.
#[inline(always)]
pub fn null_call() {
    syscall_keeping(Control::new(Call::Null, Handle::NULL));
}
