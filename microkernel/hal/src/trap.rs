//! The ways into and out of the kernel, in assembly: as short as can be, all decisions in Rust.
//!
//! In the kernel GS is based at this CPU's [`kernel_core::Cpu`]; in user mode at 0. Its `frame` takes the registers of
//! the thread, its `edge` words are ours:
//!
//! ```text
//! syscall ─▶ syscall_{alone,several} ▶ dispatch::{call,reply,…}_fast ▶ sysret, at once, or leave, from a record
//!              │ if it declines
//!              └───────────────────┬─▶ dispatch::syscall ────┐
//! vector ──▶ stub ─▶ trap_entry ────┼─▶ dispatch::page_fault ─┼─▶ leave ─┬─▶ sysret (rcx = rip and r11 = rflags)
//!                        │          ├─▶ dispatch::from_user ──┤          └─▶ iret
//!                        │          └─▶ dispatch::from_idle ──┘
//!                        └─▶ report::fatal (an exception of the kernel itself)
//! ```
//!
//! Invariants:
//! 1. Interrupts are off in the kernel but for `idle`, which keeps nothing on its stack: whatever arrives starts anew.
//! 2. Every register of a thread is in its frame before Rust runs, and all of them come from there on the way out. The
//!    fast way saves only what a function may change; if another thread goes on, what is the threads' own goes from the
//!    processor to the record of the one before the kernel lock is released, and comes from that of the other. The
//!    registers in the record of a thread that a CPU runs are written by that CPU alone.
//! 3. The flags that Rust runs with are the kernel's: no direction, alignment-check, trap or nested-task flag of a
//!    program survives the entry.
//! 4. A program's GS base is 0 whenever it runs: it could otherwise carry words from one process to another.
//! 5. `dispatch` never returns with a rip that is no user address, so neither `sysret` nor `iret` can fault.

use crate::descriptors::{USER_CODE, USER_DATA};
use crate::{dispatch, lock, report};
use abi::{Call, Outcome, Registers, Status};
use core::arch::global_asm;
use core::mem::offset_of;
use kernel_core::{Cpu, Thread};

/// What the words of [`Cpu::edge`] hold.
pub(crate) mod edge {
    /// Top of this CPU's main stack.
    pub(crate) const STACK: usize = 0;
    /// Number of this CPU.
    pub(crate) const CPU: usize = 1;
    /// Address of its `Cpu`.
    pub(crate) const SELF: usize = 2;
    /// 1 while a system call waits for the kernel lock: not made yet, to be made again if a cut comes between.
    pub(crate) const IN_SYSCALL: usize = 3;
}

const fn edge_offset(word: usize) -> usize {
    offset_of!(Cpu, edge) + word * 8
}

/// Of a register in a thread's record.
const fn own_offset(register: usize) -> usize {
    offset_of!(Thread, registers) + register
}

const fn word_offset(word: usize) -> usize {
    offset_of!(Registers, words) + word * 8
}

const _: () = assert!(offset_of!(Cpu, frame) == 0);
// What `syscall_null` takes for granted.
const _: () = assert!(Outcome::of(Status::Ok).0 == 0);

/// Flags of a thread after a system call: interrupts on, all else clear (`abi::registers`).
const FLAGS: u32 = 0x202;

unsafe extern "C" {
    static vector_stubs: u8;
    /// Where `syscall` goes on a machine with one CPU, and with several.
    fn syscall_alone();
    fn syscall_several();
    fn leave_kernel() -> !;
    fn idle_loop() -> !;
}

/// Bytes of a stub.
const STUB_BYTES: usize = 16;

/// Where the interrupt table sends `vector`.
pub(crate) fn stub_address(vector: usize) -> u64 {
    &raw const vector_stubs as u64 + (vector * STUB_BYTES) as u64
}

/// Where `syscall` goes, if this is the only CPU or not.
pub(crate) fn syscall_address(alone: bool) -> u64 {
    (if alone { syscall_alone } else { syscall_several }) as *const () as u64
}

/// Registers at an exception of the kernel itself, as `trap_entry` pushes them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelTrap {
    /// rax rbx rcx rdx rsi rdi rbp r8 … r15.
    pub(crate) general: [u64; 15],
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// Goes to the thread in this CPU's frame.
///
/// # Safety
/// 1. GS is based at this CPU's `Cpu`.
/// 2. The frame, address space and vector registers are those of one thread.
/// 3. The kernel lock is released and nothing on the stack is needed any more.
pub(crate) unsafe fn leave() -> ! {
    // SAFETY: 1, 2, 3: caller.
    unsafe { leave_kernel() }
}

/// Waits for an interrupt; whatever arrives enters by `dispatch::from_idle`.
///
/// # Safety
/// 1. GS is based at this CPU's `Cpu`.
/// 2. The kernel's own address space is loaded.
/// 3. The kernel lock is released and nothing on the stack is needed any more.
pub(crate) unsafe fn idle() -> ! {
    // SAFETY: 1, 2, 3: caller.
    unsafe { idle_loop() }
}

global_asm!(
    r#"
    .section .text.entry,"ax",@progbits

    # One stub a vector. The processor pushes an error code for some exceptions; for the others we push 0.
    .balign {stub_bytes}
    .global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 256
    .balign {stub_bytes}
    .ifeq (vector - 8) * (vector - 10) * (vector - 11) * (vector - 12) * (vector - 13) * (vector - 14) * (vector - 17) * (vector - 21) * (vector - 29) * (vector - 30)
    .else
    push 0
    .endif
    .ifeq vector - {page_fault_vector}
    jmp page_fault_entry
    .else
    push vector
    jmp trap_entry
    .endif
    .set vector, vector + 1
    .endr

    # Saves the registers that a function may change, but for rax, rcx and r11.
    .macro save_changing
    mov gs:[{rdi}], rdi
    mov gs:[{rsi}], rsi
    mov gs:[{rdx}], rdx
    mov gs:[{r8}], r8
    mov gs:[{r9}], r9
    mov gs:[{r10}], r10
    .endm

    # Saves the others, after those.
    .macro save_rest
    rdfsbase r10
    mov gs:[{fs_base}], r10
    mov gs:[{rbx}], rbx
    mov gs:[{rbp}], rbp
    mov gs:[{r12}], r12
    mov gs:[{r13}], r13
    mov gs:[{r14}], r14
    mov gs:[{r15}], r15
    mov gs:[{rcx}], rcx
    mov gs:[{r11}], r11
    .endm

    # Saves all registers of a program that was interrupted; what the processor pushed begins \at bytes up the stack.
    .macro save_interrupted at
    swapgs
    mov gs:[{rax}], rax
    save_changing
    save_rest
    mov rax, [rsp + \at]
    mov gs:[{rip}], rax
    mov rax, [rsp + \at + 16]
    mov gs:[{rflags}], rax
    mov rax, [rsp + \at + 24]
    mov gs:[{rsp}], rax
    .endm

    # Our stack, our flags, the CPU's number, no caller.
    .macro enter_rust
    mov rsp, gs:[{stack}]
    push 2
    popfq
    mov rdi, gs:[{cpu}]
    xor ebp, ebp
    .endm

    # Saves what a message leaves to the threads themselves, into the thread's record at \at; changes rcx.
    .macro save_own at
    mov [\at + {own_rbx}], rbx
    mov [\at + {own_rbp}], rbp
    mov rcx, gs:[{rsp}]
    mov [\at + {own_rsp}], rcx
    rdfsbase rcx
    mov [\at + {own_fs_base}], rcx
    mov dword ptr [\at + {own_rflags}], {flags}
    mov rcx, gs:[{rip}]
    mov [\at + {own_rip}], rcx
    .endm

    # Loads what `save_changing` saved, but for rax, and the flags of every return from a call.
    .macro load_changing
    mov r11d, {flags}
    mov rdi, gs:[{rdi}]
    mov rsi, gs:[{rsi}]
    mov rdx, gs:[{rdx}]
    mov r8, gs:[{r8}]
    mov r9, gs:[{r9}]
    mov r10, gs:[{r10}]
    .endm

    # Loads all but rax, rcx, r11 and rsp from the frame at [rsp].
    .macro load_general
    mov rax, [rsp + {fs_base}]
    wrfsbase rax
    mov rdi, [rsp + {rdi}]
    mov rsi, [rsp + {rsi}]
    mov rdx, [rsp + {rdx}]
    mov r8, [rsp + {r8}]
    mov r9, [rsp + {r9}]
    mov r10, [rsp + {r10}]
    mov r12, [rsp + {r12}]
    mov r13, [rsp + {r13}]
    mov r14, [rsp + {r14}]
    mov r15, [rsp + {r15}]
    mov rbx, [rsp + {rbx}]
    mov rbp, [rsp + {rbp}]
    .endm

    # The thread that called goes on, with what is in rax: all other registers are still its own.
    .macro go_on
    mov rcx, gs:[{rip}]
    load_changing
    mov rsp, gs:[{rsp}]
    swapgs
    sysretq
    .endm

    # The same if the call has been made.
    .macro go_on_if_made
    test rdx, rdx
    jnz syscall_slow
    go_on
    .endm

    # `syscall` on a machine with one CPU (alone: then nobody needs a lock) or with several. The others are functions of
    # `dispatch`, which take rax and the number of the CPU.
    .macro syscall_way way, call_fast, reply_fast, signal_fast, poll_fast, wait_fast, map_fast
    .global syscall_\way
syscall_\way:
    swapgs
    mov gs:[{rsp}], rsp
    mov rsp, gs:[{stack}]
    mov gs:[{rip}], rcx
    save_changing
    mov rdi, rax
    .ifc \way, several
    mov rsi, gs:[{cpu}]
    .endif
    movzx r11d, al
    jmp [r11 * 8 + calls_\way]

call_\way:
    call \call_fast
    test rdx, rdx
    jns syscall_slow

    # Another thread goes on. rax: record of the one that called; rdx: of the other. The kernel lock is held. The
    # message lies in the frame and in r12 to r14.
switch_\way:
    save_own rax
    mov rcx, [rdx + {own_fs_base}]
    wrfsbase rcx
    mov rbx, [rdx + {own_rbx}]
    mov rbp, [rdx + {own_rbp}]
    mov rsp, [rdx + {own_rsp}]
    mov rcx, [rdx + {own_rip}]
    mov rax, [rdx + {own_rax}]
    .ifc \way, several
    inc dword ptr [rip + {serving}]
    .endif
    load_changing
    swapgs
    xor r15d, r15d
    wrgsbase r15
    sysretq

reply_\way:
    call \reply_fast
    # The address of a record is negative, inverted it is positive and large.
    cmp rdx, {fast_declined}
    jl switch_\way
    je syscall_slow

    # Another thread goes on, with all registers from its record. rax: record of the one that called; not rdx: of the
    # other. The kernel lock is held.
depart_\way:
    not rdx
    save_own rax
    mov [rax + {own_rcx}], rcx
    mov qword ptr [rax + {own_r11}], {flags}
    lea rsp, [rdx + {own_registers}]
    .ifc \way, several
    inc dword ptr [rip + {serving}]
    .endif
    jmp leave_from

signal_\way:
    call \signal_fast
    go_on_if_made

    # Which Memory is in r15.
map_\way:
    mov gs:[{r15}], r15
    call \map_fast
    go_on_if_made

wait_\way:
    # The time-out is the upper half, that of a poll is all ones.
    test rax, rax
    js 1f
    call \wait_fast
    cmp rdx, {fast_declined}
    ja depart_\way
    go_on_if_made
1:  call \poll_fast
    go_on_if_made

    .pushsection .rodata
    .balign 8
calls_\way:
    .set number, 0
    .rept 256
    .if number == {call}
    .quad call_\way
    .elseif number == {reply_receive}
    .quad reply_\way
    .elseif number == {signal}
    .quad signal_\way
    .elseif number == {wait}
    .quad wait_\way
    .elseif number == {map}
    .quad map_\way
    .elseif number == {null}
    .quad syscall_null
    .else
    .quad syscall_unmade
    .endif
    .set number, number + 1
    .endr
    .popsection
    .endm

    syscall_way alone, {call_alone}, {reply_alone}, {signal_alone}, {poll_alone}, {wait_alone}, {map_alone}
    syscall_way several, {call_several}, {reply_several}, {signal_several}, {poll_several}, {wait_several}, {map_several}

    # `Null` touches nothing, so it needs no lock.
syscall_null:
    xor eax, eax
    go_on

    # No call that the fast way knows.
syscall_unmade:
    # Declined: rax is as the thread left it.
syscall_slow:
    mov gs:[{rax}], rax
    mov rcx, gs:[{rip}]
    mov r11d, {flags}
    mov gs:[{rflags}], r11
    save_rest
    mov rdi, gs:[{cpu}]
    xor ebp, ebp
    call {syscall}

    .global leave_kernel
leave_kernel:
    mov rsp, gs:[{own}]
leave_from:
    mov rcx, [rsp + {rip}]
    mov r11, [rsp + {rflags}]
    cmp rcx, [rsp + {rcx}]
    jne leave_by_iret
    cmp r11, [rsp + {r11}]
    jne leave_by_iret
    load_general
    swapgs
    xor eax, eax
    wrgsbase rax
    mov rax, [rsp + {rax}]
    mov rsp, [rsp + {rsp}]
    sysretq

    # To the thread whose record has its registers at rsp. The kernel lock is held.
leave_switched:
    inc dword ptr [rip + {serving}]
    jmp leave_from

leave_by_iret:
    mov rax, rsp
    mov rsp, gs:[{stack}]
    push {user_data}
    push qword ptr [rax + {rsp}]
    push r11
    push {user_code}
    push rcx
    push qword ptr [rax + {rax}]
    mov rcx, rsp
    mov rsp, rax
    load_general
    mov rax, [rsp + {rcx}]
    mov r11, [rsp + {r11}]
    mov rsp, rcx
    mov rcx, rax
    swapgs
    xor eax, eax
    wrgsbase rax
    pop rax
    iretq

    # [rsp]: vector, error code, rip, cs, rflags, rsp, ss
trap_entry:
    test byte ptr [rsp + 24], 3
    jz trap_of_kernel
    cmp dword ptr [rsp], {nmi}
    je trap_fatal
    cmp dword ptr [rsp], {double_fault}
    je trap_fatal
    cmp dword ptr [rsp], {machine_check}
    je trap_fatal
    save_interrupted 16
    mov rsi, [rsp]
    mov rdx, [rsp + 8]
    enter_rust
    call {from_user}
    jmp leave_kernel

    # [rsp]: error code, rip, cs, rflags, rsp, ss
page_fault_entry:
    test byte ptr [rsp + 16], 3
    jz page_fault_of_kernel
    save_interrupted 8
    mov rsi, [rsp]
    enter_rust
    call {page_fault}
    test rax, rax
    jz leave_kernel
    mov rsp, rax
    jmp leave_switched
page_fault_of_kernel:
    push {page_fault_vector}

    # Interrupts of the kernel arrive in `idle` only, exceptions never should.
trap_of_kernel:
    cmp dword ptr [rsp], 32
    jb trap_fatal
    mov rsi, [rsp]
    enter_rust
    call {from_idle}
    jmp leave_kernel

trap_fatal:
    push r15
    push r14
    push r13
    push r12
    push r11
    push r10
    push r9
    push r8
    push rbp
    push rdi
    push rsi
    push rdx
    push rcx
    push rbx
    push rax
    cld
    mov rdi, rsp
    and rsp, -16
    call {fatal}
    ud2

    .global idle_loop
idle_loop:
    mov rsp, gs:[{stack}]
    sti
1:  hlt
    jmp 1b
    .section .text,"ax",@progbits
    "#,
    stub_bytes = const STUB_BYTES,
    nmi = const 2,
    flags = const FLAGS,
    serving = sym lock::SERVING,
    double_fault = const 8,
    machine_check = const 18,
    rax = const offset_of!(Registers, rax),
    rdi = const offset_of!(Registers, rdi),
    rsi = const word_offset(0),
    rdx = const word_offset(1),
    r8 = const word_offset(2),
    r9 = const word_offset(3),
    r10 = const word_offset(4),
    r12 = const word_offset(5),
    r13 = const word_offset(6),
    r14 = const word_offset(7),
    r15 = const offset_of!(Registers, caps),
    rbx = const offset_of!(Registers, rbx),
    rbp = const offset_of!(Registers, rbp),
    rsp = const offset_of!(Registers, rsp),
    rip = const offset_of!(Registers, rip),
    rflags = const offset_of!(Registers, rflags),
    rcx = const offset_of!(Registers, rcx),
    r11 = const offset_of!(Registers, r11),
    fs_base = const offset_of!(Registers, fs_base),
    own_registers = const own_offset(0),
    own_rax = const own_offset(offset_of!(Registers, rax)),
    own_rbx = const own_offset(offset_of!(Registers, rbx)),
    own_rbp = const own_offset(offset_of!(Registers, rbp)),
    own_rsp = const own_offset(offset_of!(Registers, rsp)),
    own_rip = const own_offset(offset_of!(Registers, rip)),
    own_rflags = const own_offset(offset_of!(Registers, rflags)),
    own_rcx = const own_offset(offset_of!(Registers, rcx)),
    own_r11 = const own_offset(offset_of!(Registers, r11)),
    own_fs_base = const own_offset(offset_of!(Registers, fs_base)),
    stack = const edge_offset(edge::STACK),
    cpu = const edge_offset(edge::CPU),
    own = const edge_offset(edge::SELF),
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    syscall = sym dispatch::syscall,
    call = const Call::Call as u8,
    reply_receive = const Call::ReplyReceive as u8,
    signal = const Call::Signal as u8,
    wait = const Call::Wait as u8,
    map = const Call::Map as u8,
    null = const Call::Null as u8,
    call_alone = sym dispatch::call_fast::<true>,
    call_several = sym dispatch::call_fast::<false>,
    reply_alone = sym dispatch::reply_fast::<true>,
    reply_several = sym dispatch::reply_fast::<false>,
    signal_alone = sym dispatch::signal_fast::<true>,
    signal_several = sym dispatch::signal_fast::<false>,
    poll_alone = sym dispatch::poll_fast::<true>,
    poll_several = sym dispatch::poll_fast::<false>,
    wait_alone = sym dispatch::wait_fast::<true>,
    wait_several = sym dispatch::wait_fast::<false>,
    map_alone = sym dispatch::map_fast::<true>,
    map_several = sym dispatch::map_fast::<false>,
    fast_declined = const dispatch::DECLINED,
    page_fault_vector = const 14,
    page_fault = sym dispatch::page_fault,
    from_user = sym dispatch::from_user,
    from_idle = sym dispatch::from_idle,
    fatal = sym report::fatal,
);
