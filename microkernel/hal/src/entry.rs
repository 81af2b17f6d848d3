//! The ways into and out of the kernel, in assembly. What they do for whom, and what must hold: [`crate::trap`].

use crate::descriptors::{USER_CODE, USER_DATA};
use crate::kernel::{FIRST_CPU, STATE};
use crate::trap::{FLAGS, REGISTERS, STUB_BYTES, edge, edge_offset, word_offset};
use crate::{dispatch, lock, report};
use abi::{Call, Registers};
use core::arch::global_asm;
use core::mem::offset_of;
use x86_64::structures::idt::ExceptionVector as Exception;

/// Assembles a text in which `at_` and a register's name is that register's place in [`Registers`]. It knows each of the
/// `fast` functions of `dispatch` twice by number: for the only CPU, then for one of several.
macro_rules! edge {
    (at { $($register:ident = $place:expr,)* } fast { $($fast:ident,)* } $text:literal, $($operand:tt)*) => {
        global_asm!(
            $(concat!(".set at_", stringify!($register), ", {", stringify!($register), "}"),)*
            $text,
            $(sym dispatch::$fast::<true>,)*
            $(sym dispatch::$fast::<false>,)*
            $($register = const $place,)*
            $($operand)*
        );
    };
}

edge! {
    at {
        rax = offset_of!(Registers, rax),
        rdi = offset_of!(Registers, rdi),
        rsi = word_offset(0),
        rdx = word_offset(1),
        r8 = word_offset(2),
        r9 = word_offset(3),
        r10 = word_offset(4),
        r12 = word_offset(5),
        r13 = word_offset(6),
        r14 = word_offset(7),
        r15 = offset_of!(Registers, caps),
        rbx = offset_of!(Registers, rbx),
        rbp = offset_of!(Registers, rbp),
        rsp = offset_of!(Registers, rsp),
        rip = offset_of!(Registers, rip),
        rflags = offset_of!(Registers, rflags),
        rcx = offset_of!(Registers, rcx),
        r11 = offset_of!(Registers, r11),
        fs_base = offset_of!(Registers, fs_base),
    }
    fast { call_fast, reply_fast, signal_fast, poll_fast, wait_fast, map_fast, fault_fast, }
    r#"
    .section .text.entry,"ax",@progbits

    # One stub a vector. The processor pushes an error code for some exceptions; for the others we push 0. Those that have
    # a stack of their own may have interrupted anything.
    .balign {stub_bytes}
    .global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 256
    .balign {stub_bytes}
    .if (vector - 8) * (vector - 10) * (vector - 11) * (vector - 12) * (vector - 13) * (vector - 14) * (vector - 17) * (vector - 21) * (vector - 29) * (vector - 30)
    push 0
    .endif
    push vector
    .if (vector - {nmi}) * (vector - {double_fault}) * (vector - {machine_check})
    jmp trap_entry
    .else
    jmp trap_fatal
    .endif
    .set vector, vector + 1
    .endr

    # Below, \at begins the address of a word of this CPU's state, "gs:[" or where the only CPU's is, or of a record's
    # registers. \alone: 1 on a machine with one CPU, whose GS is not used while it makes a fast call; 0 with several.

    .macro save at, registers:vararg
    .irp register, \registers
    mov \at at_\register], \register
    .endr
    .endm

    .macro load at, registers:vararg
    .irp register, \registers
    mov \register, \at at_\register]
    .endr
    .endm

    # Saves the registers that a function may change, but for rax, rcx and r11.
    .macro save_changing at
    save "\at", rdi, rsi, rdx, r8, r9, r10
    .endm

    # Saves the others, after those.
    .macro save_rest at
    rdfsbase r10
    mov \at at_fs_base], r10
    save "\at", rbx, rbp, r12, r13, r14, r15, rcx, r11
    .endm

    # What a message leaves to the thread itself goes to its record, and the stack is ours; changes r11.
    .macro leave_own at
    mov r11, \at {own}]
    mov [r11 + {registers} + at_rip], rcx
    save "[r11 + {registers} + ", rax, rbx, rbp, rsp
    rdfsbase rsp
    mov [r11 + {registers} + at_fs_base], rsp
    mov rsp, \at {stack}]
    .endm

    # Program and kernel change places in GS.
    .macro swap_if condition
    .if \condition
    swapgs
    .endif
    .endm

    # To the thread whose record is at rcx.
    .macro leave_from alone
    mov rax, [rcx + {registers} + at_fs_base]
    wrfsbase rax
    load "[rcx + {registers} + ", rdi, rsi, rdx, r8, r9, r10, r12, r13, r14, r15, rbx, rbp
    swap_if "\alone == 0"
    xor eax, eax
    wrgsbase rax
    load "[rcx + {registers} + ", rax
    mov r11, [rcx + {registers} + at_rip]
    cmp r11, [rcx + {registers} + at_rcx]
    jne by_iret\@
    mov r11, [rcx + {registers} + at_rflags]
    cmp r11, [rcx + {registers} + at_r11]
    jne by_iret\@
    mov dword ptr [rcx + {registers} + at_rflags], {flags}
    load "[rcx + {registers} + ", rsp
    mov rcx, [rcx + {registers} + at_rip]
    sysretq
by_iret\@:
    push {user_data}
    push qword ptr [rcx + {registers} + at_rsp]
    push qword ptr [rcx + {registers} + at_rflags]
    push {user_code}
    push qword ptr [rcx + {registers} + at_rip]
    load "[rcx + {registers} + ", r11
    mov dword ptr [rcx + {registers} + at_rflags], {flags}
    mov qword ptr [rcx + {registers} + at_r11], {flags}
    load "[rcx + {registers} + ", rcx
    iretq
    .endm

    # All registers that are not saved yet go to the frame, and then it is \function's. GS is ours.
    .macro slowly function
    mov rcx, gs:[at_rip]
    mov r11d, {flags}
    mov gs:[at_rflags], r11
    save "gs:[", rax
    save_rest "gs:["
    mov rdi, gs:[{cpu}]
    xor ebp, ebp
    call \function
    jmp leave_kernel
    .endm

    # As `slowly`, with all registers as the program left them.
    .macro all_slowly function
    save "gs:[", rsp
    mov rsp, gs:[{stack}]
    mov gs:[at_rip], rcx
    save_changing "gs:["
    slowly \function
    .endm

    # After a call that keeps all registers but rax, which changes what `save_changing` saves: the thread goes on, unless rax
    # is the control word: then its call, of this \number, has not been made.
    .macro go_on alone, at, number
    cmp al, \number
    je short_declined_\alone
    mov rcx, \at at_rip]
    mov r11d, {flags}
    load "\at", rdi, rsi, rdx, r8, r9, r10, rsp
    swap_if "\alone == 0"
    sysretq
    .endm

    # Such a call.
    .macro short alone, at, number, function
    save "\at", rsp
    mov rsp, \at {stack}]
    mov \at at_rip], rcx
    save_changing "\at"
    mov rdi, rax
    call \function
    go_on \alone, "\at", \number
    .endm

    # The next entry of a table of calls, of which there are \filled, is that of \number; those between are not made.
    .macro made_by number, label, alone
    .rept \number - filled
    .quad unmade_\alone
    .endr
    .quad \label\()_\alone
    .set filled, \number + 1
    .endm

    # `syscall`, and page faults. The functions take the control word.
    .macro syscall_way alone, at, call_fast, reply_fast, signal_fast, poll_fast, wait_fast, map_fast, fault_fast
    .global syscall_\alone
syscall_\alone:
    swap_if "\alone == 0"
    movzx r11d, al
    jmp [r11 * 8 + calls_\alone]

call_\alone:
    leave_own "\at"
    save "\at", r10, r12, r13, r14, r15
    call \call_fast
reply_\alone:
    leave_own "\at"
    save "\at", r10, r12, r13, r14, r15
    call \reply_fast

    # The time-out is the upper half, that of a poll is all ones.
wait_\alone:
    test rax, rax
    js poll_\alone
    leave_own "\at"
    save "[r11 + {registers} + ", rcx
    save_changing "\at"
    mov rdi, rax
    call \wait_fast
    mov r11, \at {own}]
    mov rcx, [r11 + {registers} + at_rip]
    mov \at at_rip], rcx
    mov rcx, [r11 + {registers} + at_rsp]
    mov \at at_rsp], rcx
    go_on \alone, "\at", {wait}

    # Declined: all registers as they were.
    .global declined_\alone
declined_\alone:
    mov r11, \at {own}]
    load "\at", r10, r12, r13, r14, r15
    load "[r11 + {registers} + ", rax, rbx, rbp, rsp
    mov rcx, [r11 + {registers} + at_rip]
    swap_if \alone
    all_slowly {declined}

    # Another thread goes on, whose record is at rcx, with a message of which r10 and r12 to r14 are in the frame, or
    # all is where it should be. The kernel lock is held.
    .global exchange_\alone
exchange_\alone:
    load "\at", r10, r12, r13, r14
    .global deliver_\alone
deliver_\alone:
    mov \at {own}], rcx
    mov r11, [rcx + {registers} + at_fs_base]
    wrfsbase r11
    load "[rcx + {registers} + ", rbx, rbp, rsp
    mov rcx, [rcx + {registers} + at_rip]
    mov r11d, {flags}
    .if \alone == 0
    inc dword ptr [rip + {serving}]
    .endif
    swap_if "\alone == 0"
    xor r15d, r15d
    wrgsbase r15
    sysretq

    # Another thread goes on, with all registers from its record: rcx. The kernel lock is held.
    .global depart_\alone
depart_\alone:
    mov \at {own}], rcx
    .if \alone == 0
    inc dword ptr [rip + {serving}]
    .endif
    leave_from \alone

signal_\alone:
    short \alone, "\at", {signal}, \signal_fast

    # Which Memory is in r15.
map_\alone:
    save "\at", r15
    short \alone, "\at", {map}, \map_fast

poll_\alone:
    short \alone, "\at", {wait}, \poll_fast

short_declined_\alone:
    swap_if \alone
    slowly {declined}

    # [rsp]: error code, rip, cs, rflags, rsp, ss. A page that is not there: all registers go to the thread's record.
    .global page_fault_\alone
page_fault_\alone:
    test byte ptr [rsp + 16], 3
    jz page_fault_slow
    test byte ptr [rsp], 1
    jnz page_fault_slow
    swap_if "\alone == 0"
    push r11
    mov r11, \at {own}]
    save "[r11 + {registers} + ", rax
    save_changing "[r11 + {registers} + "
    save_rest "[r11 + {registers} + "
    pop qword ptr [r11 + {registers} + at_r11]
    pop rdi
    pop qword ptr [r11 + {registers} + at_rip]
    pop rax
    pop qword ptr [r11 + {registers} + at_rflags]
    pop qword ptr [r11 + {registers} + at_rsp]
    mov rsp, \at {stack}]
    push 2
    popfq
    call \fault_fast

    # `Null` touches nothing, so it needs no lock.
null_\alone:
    swap_if "\alone == 0"
    xor eax, eax
    mov r11d, {flags}
    sysretq

    # No call that the fast way knows.
unmade_\alone:
    swap_if \alone
    all_slowly {syscall}

    .pushsection .rodata
    .balign 8
calls_\alone:
    .set filled, 0
    made_by {null}, null, \alone
    made_by {call}, call, \alone
    made_by {reply_receive}, reply, \alone
    made_by {signal}, signal, \alone
    made_by {wait}, wait, \alone
    made_by {map}, map, \alone
    made_by 255, unmade, \alone
    .popsection
    .endm

    syscall_way 1, "[{state} + {first} + ", {0}, {1}, {2}, {3}, {4}, {5}, {6}
    syscall_way 0, "gs:[", {7}, {8}, {9}, {10}, {11}, {12}, {13}

    .global leave_kernel
leave_kernel:
    mov rcx, gs:[{itself}]
    leave_from 0

page_fault_slow:
    push {page_fault}

    # [rsp]: vector, error code, rip, cs, rflags, rsp, ss
trap_entry:
    test byte ptr [rsp + 24], 3
    jz trap_of_kernel
    swapgs
    save "gs:[", rax
    save_changing "gs:["
    save_rest "gs:["
    pop rsi
    pop rdx
    pop qword ptr gs:[at_rip]
    pop rax
    pop qword ptr gs:[at_rflags]
    pop qword ptr gs:[at_rsp]
enter_rust:
    mov rsp, gs:[{stack}]
    push 2
    popfq
    mov rdi, gs:[{cpu}]
    xor ebp, ebp
    call {interrupt}
    jmp leave_kernel

    # Interrupts of the kernel arrive in `idle` only, exceptions never should.
trap_of_kernel:
    cmp dword ptr [rsp], 32
    jb trap_fatal
    pop rsi
    jmp enter_rust

trap_fatal:
    .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
    push \register
    .endr
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
    nmi = const Exception::NonMaskableInterrupt as u8,
    double_fault = const Exception::Double as u8,
    machine_check = const Exception::MachineCheck as u8,
    page_fault = const Exception::Page as u8,
    flags = const FLAGS,
    serving = sym lock::SERVING,
    stack = const edge_offset(edge::STACK),
    cpu = const edge_offset(edge::CPU),
    itself = const edge_offset(edge::SELF),
    own = const edge_offset(edge::OWN),
    registers = const REGISTERS,
    state = sym STATE,
    first = const FIRST_CPU,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    null = const Call::Null as u8,
    call = const Call::Call as u8,
    reply_receive = const Call::ReplyReceive as u8,
    signal = const Call::Signal as u8,
    wait = const Call::Wait as u8,
    map = const Call::Map as u8,
    syscall = sym dispatch::syscall,
    declined = sym dispatch::declined,
    interrupt = sym dispatch::interrupt,
    fatal = sym report::fatal,
}
