//! The ways into and out of the kernel: as short as can be (`entry.rs` is their assembly), all decisions in Rust.
//!
//! In the kernel GS is based at this CPU's [`kernel_core::Cpu`], but not while the only CPU there is makes a fast call; in
//! user mode at 0. Its `frame` takes the registers of the thread, its `edge` words are ours:
//!
//! ```text
//! syscall ─▶ syscall_{0,1} ▶ dispatch::{call,reply,…}_fast ▶ sysret, at once, or leave, from a record
//!              │ if it declines: dispatch::declined
//!              └───────────────────┬─▶ dispatch::syscall ────┐
//! vector ──▶ stub ─▶ trap_entry ────┴─▶ dispatch::interrupt ──┴─▶ leave ─┬─▶ sysret (rcx = rip and r11 = rflags)
//!                        │                                              └─▶ iret
//!                        └─▶ report::fatal (an exception of the kernel itself)
//! ```
//!
//! Invariants:
//! 1. Interrupts are off in the kernel but for `idle`, which keeps nothing on its stack: whatever arrives starts anew.
//! 2. Every register of a thread is in its frame before Rust runs, and all of them come from there on the way out. The
//!    fast way saves only what a function may change. What a message leaves to the thread itself it saves where the edge
//!    word `OWN` says; if another thread goes on, that comes from the record of the other one, and `OWN` says so.
//! 3. `OWN` names the record of the running thread only while that need not be kept aside for an older epoch: a cut ends
//!    that, and whoever was stopped for one or made it comes by `dispatch::release_to`, which sets `OWN` anew.
//!    The registers in the record of a thread that a CPU runs say nothing, but for flags as after a call, and are written
//!    by that CPU alone.
//! 4. The flags that Rust runs with are the kernel's: no direction, alignment-check, trap or nested-task flag of a
//!    program survives the entry.
//! 5. A program's GS base is 0 whenever it runs: it could otherwise carry words from one process to another.
//! 6. `dispatch` never returns with a rip that is no user address, so neither `sysret` nor `iret` can fault.

use abi::{Call, Outcome, Registers, Status};
use core::mem::offset_of;
use kernel_core::{Cpu, Task, Thread};
use x86_64::structures::idt::InterruptStackFrameValue;

/// What the words of [`Cpu::edge`] hold.
pub(crate) mod edge {
    /// Top of this CPU's main stack.
    pub(crate) const STACK: usize = 0;
    /// Number of this CPU.
    pub(crate) const CPU: usize = 1;
    /// Where a record would lie whose registers are this CPU's frame.
    pub(crate) const SELF: usize = 2;
    /// Address of the running thread's record, if its registers may be written; else as `SELF`.
    pub(crate) const OWN: usize = 3;
}

pub(crate) const fn edge_offset(word: usize) -> usize {
    offset_of!(Cpu, edge) + word * 8
}

/// Of the registers in a thread's record.
pub(crate) const REGISTERS: usize = offset_of!(Task, thread) + offset_of!(Thread, registers);

pub(crate) const fn word_offset(word: usize) -> usize {
    offset_of!(Registers, words) + word * 8
}

const _: () = assert!(offset_of!(Cpu, frame) == 0);
// What the edge's `null` takes for granted; and `go_on`, which tells outcomes from control words.
const _: () = assert!(Outcome::of(Status::Ok).0 == 0 && Status::WouldBlock as u8 != Call::Wait as u8);

/// Flags of a thread after a system call: interrupts on, all else clear (`abi::registers`).
pub(crate) const FLAGS: u32 = 0x202;

unsafe extern "C" {
    static vector_stubs: u8;
    /// Where `syscall` goes on a machine with several CPUs, and with one.
    pub(crate) fn syscall_0();
    pub(crate) fn syscall_1();
    /// Page faults likewise.
    pub(crate) fn page_fault_0();
    pub(crate) fn page_fault_1();

    /// Goes to the thread in this CPU's frame.
    ///
    /// # Safety
    /// 1. GS is based at this CPU's `Cpu`.
    /// 2. The frame, address space and vector registers are those of one thread.
    /// 3. The kernel lock is released and nothing on the stack is needed any more.
    pub(crate) fn leave_kernel() -> !;

    /// Waits for an interrupt; whatever arrives enters by `dispatch::interrupt`.
    ///
    /// # Safety
    /// 1. GS is based at this CPU's `Cpu`.
    /// 2. The kernel's own address space is loaded.
    /// 3. The kernel lock is released and nothing on the stack is needed any more.
    pub(crate) fn idle_loop() -> !;
}

/// Bytes of a stub.
pub(crate) const STUB_BYTES: usize = 16;

/// Where the interrupt table sends `vector`.
pub(crate) fn stub_address(vector: usize) -> u64 {
    &raw const vector_stubs as u64 + (vector * STUB_BYTES) as u64
}

/// Registers at an exception of the kernel itself, as `trap_entry` pushes them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelTrap {
    /// rax rbx rcx rdx rsi rdi rbp r8 … r15.
    pub(crate) general: [u64; 15],
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) interrupted: InterruptStackFrameValue,
}
