//! The ways into and out of the kernel, in assembly. What they do for whom, and what must hold: [`crate::trap`].

use crate::descriptors::{USER_CODE, USER_DATA};
use crate::kernel::{FIRST_CPU, STATE};
use crate::trap::{FLAGS, REGISTERS, STUB_BYTES, edge, edge_offset, word_offset};
use crate::{dispatch, lock, report};
use abi::{Call, Registers};
use core::arch::global_asm;
use core::mem::offset_of;

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
    push vector
    jmp trap_entry
    .set vector, vector + 1
    .endr

    # Below, \at begins the address of a word of this CPU's state, "gs:[" or where the only CPU's is, or of a record.

    # Saves the registers that a function may change, but for rax, rcx and r11.
    .macro save_changing at
    mov \at {rdi}], rdi
    mov \at {rsi}], rsi
    mov \at {rdx}], rdx
    mov \at {r8}], r8
    mov \at {r9}], r9
    mov \at {r10}], r10
    .endm

    # Saves the others, after those.
    .macro save_rest at
    rdfsbase r10
    mov \at {fs_base}], r10
    mov \at {rbx}], rbx
    mov \at {rbp}], rbp
    mov \at {r12}], r12
    mov \at {r13}], r13
    mov \at {r14}], r14
    mov \at {r15}], r15
    mov \at {rcx}], rcx
    mov \at {r11}], r11
    .endm

    # Saves all registers of a program that was interrupted; what the processor pushed begins \from bytes up the stack.
    .macro save_interrupted from
    swapgs
    mov gs:[{rax}], rax
    save_changing "gs:["
    save_rest "gs:["
    mov rax, [rsp + \from]
    mov gs:[{rip}], rax
    mov rax, [rsp + \from + 16]
    mov gs:[{rflags}], rax
    mov rax, [rsp + \from + 24]
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

    # What a message leaves to the thread itself goes to its record, and the stack is ours; changes r11.
    .macro leave_own at
    mov r11, \at {own}]
    mov [r11 + {registers} + {rsp}], rsp
    mov rsp, \at {stack}]
    mov [r11 + {registers} + {rip}], rcx
    mov [r11 + {registers} + {rbx}], rbx
    mov [r11 + {registers} + {rbp}], rbp
    .endm

    # Loads what `save_changing` saved, and the flags of every return from a call.
    .macro load_changing at
    mov r11d, {flags}
    mov rdi, \at {rdi}]
    mov rsi, \at {rsi}]
    mov rdx, \at {rdx}]
    mov r8, \at {r8}]
    mov r9, \at {r9}]
    mov r10, \at {r10}]
    .endm

    # Loads all but rax, rcx, r11 and rsp from the record at rcx; then the program's GS is there.
    .macro load_general way
    mov rax, [rcx + {registers} + {fs_base}]
    wrfsbase rax
    mov rdi, [rcx + {registers} + {rdi}]
    mov rsi, [rcx + {registers} + {rsi}]
    mov rdx, [rcx + {registers} + {rdx}]
    mov r8, [rcx + {registers} + {r8}]
    mov r9, [rcx + {registers} + {r9}]
    mov r10, [rcx + {registers} + {r10}]
    mov r12, [rcx + {registers} + {r12}]
    mov r13, [rcx + {registers} + {r13}]
    mov r14, [rcx + {registers} + {r14}]
    mov r15, [rcx + {registers} + {r15}]
    mov rbx, [rcx + {registers} + {rbx}]
    mov rbp, [rcx + {registers} + {rbp}]
    swap_if \way, several
    xor eax, eax
    wrgsbase rax
    mov rax, [rcx + {registers} + {rax}]
    .endm

    # Program and kernel change places in GS, which the kernel does not use while it is alone.
    .macro swap_if way, which
    .ifc \way, \which
    swapgs
    .endif
    .endm

    # To the thread whose record is at rcx.
    .macro leave_from way
    mov r11, [rcx + {registers} + {rip}]
    cmp r11, [rcx + {registers} + {rcx}]
    jne by_iret\@
    mov r11, [rcx + {registers} + {rflags}]
    cmp r11, [rcx + {registers} + {r11}]
    jne by_iret\@
    mov dword ptr [rcx + {registers} + {rflags}], {flags}
    load_general \way
    mov rsp, [rcx + {registers} + {rsp}]
    mov rcx, [rcx + {registers} + {rip}]
    sysretq
by_iret\@:
    push {user_data}
    push qword ptr [rcx + {registers} + {rsp}]
    push qword ptr [rcx + {registers} + {rflags}]
    push {user_code}
    push qword ptr [rcx + {registers} + {rip}]
    mov dword ptr [rcx + {registers} + {rflags}], {flags}
    load_general \way
    mov r11, [rcx + {registers} + {r11}]
    mov qword ptr [rcx + {registers} + {r11}], {flags}
    mov rcx, [rcx + {registers} + {rcx}]
    iretq
    .endm

    # All registers that are not saved yet go to the frame, and then it is \function's. GS is ours.
    .macro slowly function
    mov gs:[{rax}], rax
    mov rcx, gs:[{rip}]
    mov r11d, {flags}
    mov gs:[{rflags}], r11
    save_rest "gs:["
    mov rdi, gs:[{cpu}]
    xor ebp, ebp
    call \function
    jmp leave_kernel
    .endm

    # As `slowly`, with all registers as the program left them.
    .macro all_slowly function
    mov gs:[{rsp}], rsp
    mov rsp, gs:[{stack}]
    mov gs:[{rip}], rcx
    save_changing "gs:["
    slowly \function
    .endm

    # Goes on with a \function that takes rdi, rsi, rdx, r8 and r9 where they are and the rest from the frame, and
    # never returns; changes rcx.
    .macro switching at, function
    rdfsbase rcx
    mov [r11 + {registers} + {fs_base}], rcx
    mov [r11 + {registers} + {rax}], rax
    mov \at {r10}], r10
    mov \at {r12}], r12
    mov \at {r13}], r13
    mov \at {r14}], r14
    mov \at {r15}], r15
    call \function
    .endm

    # A call that keeps all registers but rax; changes what `save_changing` saves.
    .macro short at, function
    mov \at {rsp}], rsp
    mov rsp, \at {stack}]
    mov \at {rip}], rcx
    save_changing "\at"
    mov rdi, rax
    call \function
    .endm

    # After it: the thread goes on, unless rax is the control word: then its call, of this \number, has not been made.
    .macro go_on way, at, number
    cmp al, \number
    je short_declined_\way
    mov rcx, \at {rip}]
    load_changing "\at"
    mov rsp, \at {rsp}]
    swap_if \way, several
    sysretq
    .endm

    # `syscall` on a machine with one CPU (alone: then nobody needs a lock) or with several. The others are functions of
    # `dispatch`, which take the control word.
    .macro syscall_way way, at, call_fast, reply_fast, signal_fast, poll_fast, wait_fast, map_fast, fault_fast
    .global syscall_\way
syscall_\way:
    swap_if \way, several
    movzx r11d, al
    jmp [r11 * 8 + calls_\way]

call_\way:
    leave_own "\at"
    switching "\at", \call_fast
reply_\way:
    leave_own "\at"
    switching "\at", \reply_fast

    # The time-out is the upper half, that of a poll is all ones.
wait_\way:
    test rax, rax
    js poll_\way
    leave_own "\at"
    mov [r11 + {registers} + {rcx}], rcx
    mov [r11 + {registers} + {rax}], rax
    rdfsbase rcx
    mov [r11 + {registers} + {fs_base}], rcx
    save_changing "\at"
    mov rdi, rax
    call \wait_fast
    mov r11, \at {own}]
    mov rcx, [r11 + {registers} + {rip}]
    mov \at {rip}], rcx
    mov rcx, [r11 + {registers} + {rsp}]
    mov \at {rsp}], rcx
    go_on \way, "\at", {wait}

    # Declined: all registers as they were.
    .global declined_\way
declined_\way:
    mov r11, \at {own}]
    mov rax, [r11 + {registers} + {rax}]
    mov r10, \at {r10}]
    mov r12, \at {r12}]
    mov r13, \at {r13}]
    mov r14, \at {r14}]
    mov r15, \at {r15}]
    mov rbx, [r11 + {registers} + {rbx}]
    mov rbp, [r11 + {registers} + {rbp}]
    mov rcx, [r11 + {registers} + {rip}]
    mov rsp, [r11 + {registers} + {rsp}]
    swap_if \way, alone
    all_slowly {declined}

    # Another thread goes on, whose record is at rcx, with a message of which r10 and r12 to r14 are in the frame, or all is
    # where it should be. The kernel lock is held.
    .global exchange_\way
exchange_\way:
    mov r10, \at {r10}]
    mov r12, \at {r12}]
    mov r13, \at {r13}]
    mov r14, \at {r14}]
    .global deliver_\way
deliver_\way:
    mov \at {own}], rcx
    mov r11, [rcx + {registers} + {fs_base}]
    wrfsbase r11
    mov rbx, [rcx + {registers} + {rbx}]
    mov rbp, [rcx + {registers} + {rbp}]
    mov rsp, [rcx + {registers} + {rsp}]
    mov rcx, [rcx + {registers} + {rip}]
    mov r11d, {flags}
    .ifc \way, several
    inc dword ptr [rip + {serving}]
    .endif
    swap_if \way, several
    xor r15d, r15d
    wrgsbase r15
    sysretq

    # Another thread goes on, with all registers from its record: rcx. The kernel lock is held.
    .global depart_\way
depart_\way:
    mov \at {own}], rcx
    .ifc \way, several
    inc dword ptr [rip + {serving}]
    .endif
    leave_from \way

signal_\way:
    short "\at", \signal_fast
    go_on \way, "\at", {signal}

    # Which Memory is in r15.
map_\way:
    mov \at {r15}], r15
    short "\at", \map_fast
    go_on \way, "\at", {map}

poll_\way:
    short "\at", \poll_fast
    go_on \way, "\at", {wait}

short_declined_\way:
    swap_if \way, alone
    slowly {declined}

    # [rsp]: error code, rip, cs, rflags, rsp, ss. A page that is not there: all registers go to the thread's record.
    .global page_fault_\way
page_fault_\way:
    test byte ptr [rsp + 16], 3
    jz page_fault_of_kernel
    test byte ptr [rsp], 1
    jnz page_fault_slow
    swap_if \way, several
    push r11
    mov r11, \at {own}]
    mov [r11 + {registers} + {rax}], rax
    save_changing "[r11 + {registers} + "
    save_rest "[r11 + {registers} + "
    pop qword ptr [r11 + {registers} + {r11}]
    pop rdi
    pop qword ptr [r11 + {registers} + {rip}]
    pop rax
    pop qword ptr [r11 + {registers} + {rflags}]
    pop qword ptr [r11 + {registers} + {rsp}]
    mov rsp, \at {stack}]
    push 2
    popfq
    call \fault_fast

    # Declined: rsi is the error code.
    .global fault_declined_\way
fault_declined_\way:
    swap_if \way, alone
    jmp fault_declined

    # `Null` touches nothing, so it needs no lock.
null_\way:
    swap_if \way, several
    xor eax, eax
    mov r11d, {flags}
    sysretq

    # No call that the fast way knows.
unmade_\way:
    swap_if \way, alone
    all_slowly {syscall}

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
    .quad null_\way
    .else
    .quad unmade_\way
    .endif
    .set number, number + 1
    .endr
    .popsection
    .endm

    syscall_way alone, "[{state} + {first} + ", {call_alone}, {reply_alone}, {signal_alone}, {poll_alone}, {wait_alone}, {map_alone}, {fault_alone}
    syscall_way several, "gs:[", {call_several}, {reply_several}, {signal_several}, {poll_several}, {wait_several}, {map_several}, {fault_several}

    .global leave_kernel
leave_kernel:
    mov rcx, gs:[{itself}]
    sub rcx, {registers}
    leave_from several

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

    # The registers go from the record, if they are there, to the frame.
fault_declined:
    mov rdx, rsi
    mov rsi, gs:[{own}]
    add rsi, {registers}
    mov rdi, gs:[{itself}]
    mov ecx, {register_count}
    rep movsq
    mov rsi, rdx
    mov rdi, gs:[{cpu}]
    call {page_fault}
    jmp leave_kernel

    # [rsp]: error code, rip, cs, rflags, rsp, ss
page_fault_slow:
    save_interrupted 8
    mov rsi, [rsp]
    enter_rust
    call {page_fault}
    jmp leave_kernel
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
    stack = const edge_offset(edge::STACK),
    cpu = const edge_offset(edge::CPU),
    registers = const REGISTERS,
    register_count = const size_of::<Registers>() / 8,
    fault_alone = sym dispatch::fault_fast::<true>,
    fault_several = sym dispatch::fault_fast::<false>,
    itself = const edge_offset(edge::SELF),
    own = const edge_offset(edge::OWN),
    state = sym STATE,
    first = const FIRST_CPU,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    syscall = sym dispatch::syscall,
    declined = sym dispatch::declined,
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
    page_fault_vector = const 14,
    page_fault = sym dispatch::page_fault,
    from_user = sym dispatch::from_user,
    from_idle = sym dispatch::from_idle,
    fatal = sym report::fatal,
);
