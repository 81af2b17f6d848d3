//! From the assembly edge into the core, and back: one event, one call, with the kernel lock held.

use crate::apic::{RESCHEDULE, SHOOTDOWN, STOP, TIMER, interrupt_number};
use crate::instructions::cr2;
use crate::kernel::{State, local_apic, with_state};
use crate::lock;
use crate::machine::Hardware;
use crate::processor;
use crate::trap;
use abi::fault::Access;
use abi::{Outcome, USER_END};
use kernel_core::{BootProcess, Kernel, Short, Switch};

const GENERAL_PROTECTION: u8 = 13;
const FIRST_INTERRUPT: u8 = 32;

/// Bits of a page fault's error code (Intel SDM vol. 3A, 4.7).
mod page_error {
    pub(super) const PRESENT: u64 = 1;
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const RESERVED: u64 = 1 << 3;
    pub(super) const EXECUTE: u64 = 1 << 4;
}

/// Starts the first thread, on the first CPU; the way out of boot.
pub(crate) fn begin(process: BootProcess) -> ! {
    lock::acquire(0);
    let state = with_state();
    if state.kernel.cpus.len() == 1 {
        // SAFETY: all that there are have joined the kernel.
        unsafe { processor::be_alone() };
    }
    state.hardware.idle &= !1;
    state.kernel.boot_start(&mut state.hardware, 0, process);
    finish(state, 0);
    // SAFETY: 1. GS is based (`Boot::make_kernel`); 2. the core has filled the frame and loaded space and vector
    // registers; 3. released by `finish`; boot is over, its stack needed no more.
    unsafe { trap::leave() }
}

/// What the fast way answers to the edge, in rax and rdx.
#[repr(C)]
pub(crate) struct Answer {
    /// What the thread finds in rax, if the same one goes on; the address of its record, if another one does; what
    /// it had in rax, if nothing has been done.
    first: u64,
    /// [`SAME`], [`DECLINED`], or the address of the other one's record: inverted if it takes all registers from there.
    second: u64,
}

/// In place of a CPU's number: the lock was not to be had.
const UNLOCKED: usize = usize::MAX;

/// The call has been made, its thread goes on.
const SAME: u64 = 0;
/// Nothing has been done: save the other registers and come by [`syscall`].
pub(crate) const DECLINED: u64 = 1;

impl Answer {
    /// The slow way needs what the thread had in rax.
    fn declined(control: u64) -> Self {
        Self { first: control, second: DECLINED }
    }

    /// The thread goes on, with this in rax.
    #[inline(always)]
    fn same<const ALONE: bool>(outcome: Outcome) -> Self {
        release::<ALONE>();
        Self { first: outcome.0, second: SAME }
    }

    #[inline(always)]
    fn short<const ALONE: bool>(short: Short<'_>) -> Self {
        match short {
            Short::Same(outcome) => Self::same::<ALONE>(outcome),
            Short::Other(switch) => Self::switch(switch),
        }
    }

    /// The edge moves the registers and releases the lock.
    #[inline(always)]
    fn switch(switch: Switch<'_>) -> Self {
        match switch {
            Switch::Exchange { from, to } => Self { first: address(from), second: address(to) },
            Switch::Depart { from, to } => Self { first: address(from), second: !address(to) },
        }
    }
}

/// In the kernel's half: as a signed number it is negative, inverted it is positive.
#[inline(always)]
fn address<T>(of: &mut T) -> u64 {
    (&raw mut *of) as u64
}

/// Fast calls before all registers are saved: rbx, rbp and r12 to r15 are still the thread's own, the other registers
/// are in its frame. `ALONE`: this is the only CPU, and takes no lock.
macro_rules! fast {
    ($name:ident, $again:ident, $make:expr) => {
        pub(crate) extern "C" fn $name<const ALONE: bool>(control: u64, cpu: usize) -> Answer {
            // Who waits for the lock must have all registers in its frame: a cut would save it as it is.
            if !ALONE && !lock::try_acquire() {
                return $again::<ALONE>(control, UNLOCKED);
            }
            #[allow(dead_code, reason = "not every call is tried lean first")]
            const LEAN: bool = true;
            let cpu = if ALONE { 0 } else { cpu };
            let State { kernel, hardware, .. } = with_state();
            // In a function of its own, so that this one saves fewer registers.
            made($make, kernel, hardware, cpu, control).unwrap_or_else(|| $again::<ALONE>(control, cpu))
        }

        /// What is less usual, too; and once more, if something is found that the fast path did not know.
        #[inline(never)]
        extern "C" fn $again<const ALONE: bool>(control: u64, cpu: usize) -> Answer {
            #[allow(dead_code, reason = "not every call is tried lean first")]
            const LEAN: bool = false;
            if cpu == UNLOCKED {
                return Answer::declined(control);
            }
            loop {
                let State { kernel, hardware, .. } = with_state();
                if let Some(answer) = made($make, kernel, hardware, cpu, control) {
                    return answer;
                }
                // The second time nothing is new.
                let State { kernel, hardware, .. } = with_state();
                if !kernel.admit(hardware, cpu, control) {
                    release::<ALONE>();
                    return Answer::declined(control);
                }
            }
        }
    };
}

/// For the types of what is written shortly below.
#[inline(always)]
fn made(
    make: impl FnOnce(&'static mut Kernel, &'static mut Hardware, usize, u64) -> Option<Answer>,
    kernel: &'static mut Kernel,
    hardware: &'static mut Hardware,
    cpu: usize,
    control: u64,
) -> Option<Answer> {
    make(kernel, hardware, cpu, control)
}

fast!(call_fast, call_again, |k, h, cpu, control| k.fast_call(h, cpu, control).map(Answer::switch));
fast!(reply_fast, reply_again, |k, h, cpu, control| k.fast_reply_receive(h, cpu, control).map(Answer::switch));
fast!(signal_fast, signal_again, |k, h, cpu, control| k
    .fast_signal::<ALONE, LEAN>(h, cpu, control)
    .map(Answer::same::<ALONE>));
fast!(poll_fast, poll_again, |k, _, cpu, control| k.fast_poll::<ALONE>(cpu, control).map(Answer::same::<ALONE>));
fast!(wait_fast, wait_again, |k, h, cpu, control| k
    .fast_wait::<ALONE, LEAN>(h, cpu, control)
    .map(Answer::short::<ALONE>));
fast!(map_fast, map_again, |k, h, cpu, control| k.fast_map::<ALONE>(h, cpu, control).map(Answer::same::<ALONE>));

#[inline(always)]
fn release<const ALONE: bool>() {
    if !ALONE {
        lock::release();
    }
}

/// A system call; the registers are in the CPU's frame.
pub(crate) extern "C" fn syscall(cpu: usize) {
    lock::acquire_for_call(cpu);
    let state = with_state();
    state.kernel.syscall(&mut state.hardware, cpu);
    finish(state, cpu);
}

/// A page fault of a program, whose registers are in the CPU's frame. The address of the registers to go on with, with
/// the kernel lock held; 0: they are in the frame, and it has been released.
pub(crate) extern "C" fn page_fault(cpu: usize, error: u64) -> u64 {
    const WRITE_TO_PRESENT: u64 = page_error::PRESENT | page_error::WRITE;
    lock::acquire(cpu);
    // First writes never go the fast way, nor what must not be: the bit of reserved bits is above these two.
    if error & (WRITE_TO_PRESENT | page_error::RESERVED) >= WRITE_TO_PRESENT {
        return page_fault_slowly(cpu, error);
    }
    let State { kernel, hardware, .. } = with_state();
    match kernel.fast_fault(hardware, cpu, (cr2(), access(error), error)) {
        Some(registers) => address(registers),
        None => page_fault_again(cpu, error),
    }
}

/// The lock is held.
#[inline(never)]
extern "C" fn page_fault_again(cpu: usize, error: u64) -> u64 {
    let State { kernel, hardware, .. } = with_state();
    if kernel.admit_fault(cpu)
        && let Some(registers) = kernel.fast_fault(hardware, cpu, (cr2(), access(error), error))
    {
        return address(registers);
    }
    page_fault_slowly(cpu, error)
}

/// The lock is held.
#[inline(never)]
extern "C" fn page_fault_slowly(cpu: usize, error: u64) -> u64 {
    let at = cr2();
    assert_eq!(error & page_error::RESERVED, 0, "a page-table entry with reserved bits, at {at:#x}");
    let state = with_state();
    state.kernel.page_fault(&mut state.hardware, cpu, at, access(error), error);
    finish(state, cpu);
    0
}

/// Another exception or an interrupt that arrived while a program ran; its registers are in the CPU's frame.
pub(crate) extern "C" fn from_user(cpu: usize, vector: u64, error: u64) {
    let vector = vector as u8;
    if vector >= FIRST_INTERRUPT {
        return interrupted(cpu, vector);
    }
    lock::acquire(cpu);
    let state = with_state();
    state.kernel.exception(&mut state.hardware, cpu, vector, error);
    finish(state, cpu);
}

/// An interrupt that arrived while this CPU had nothing to run.
pub(crate) extern "C" fn from_idle(cpu: usize, vector: u64) {
    let vector = vector as u8;
    if vector == SHOOTDOWN {
        shot_down(cpu);
        // SAFETY: 1. GS is based since this CPU joined; 2. it was idle, so the kernel's space is loaded; 3. the lock is
        // not held, and `idle` starts its stack anew.
        unsafe { trap::idle() }
    }
    interrupted(cpu, vector);
}

/// Without the lock: its holder waits for us.
fn shot_down(cpu: usize) {
    local_apic().end_of_interrupt();
    lock::answer_flush(cpu);
}

fn access(error: u64) -> Access {
    let mut access = Access::empty();
    access.set(Access::PRESENT, error & page_error::PRESENT != 0);
    access.set(Access::WRITE, error & page_error::WRITE != 0);
    access.set(Access::EXECUTE, error & page_error::EXECUTE != 0);
    access
}

fn interrupted(cpu: usize, vector: u8) {
    if vector == SHOOTDOWN {
        return shot_down(cpu);
    }
    lock::acquire(cpu);
    let state = with_state();
    let (kernel, hardware) = (&mut state.kernel, &mut state.hardware);
    hardware.idle &= !(1 << cpu);
    match vector {
        TIMER => kernel.timer(hardware, cpu),
        RESCHEDULE | STOP => kernel.reschedule(hardware, cpu),
        _ => match interrupt_number(vector) {
            Some(number) => kernel.interrupt(hardware, cpu, number),
            // Spurious: was never there, wants no end.
            None => return finish(state, cpu),
        },
    }
    state.hardware.apic.end_of_interrupt();
    finish(state, cpu);
}

/// Leaves the core: to the thread in the frame, or to wait for an interrupt. Releases the lock.
fn finish(state: &'static mut State, cpu: usize) {
    // A program that ran off the end of the lower half: neither way back takes such an address. Each turn takes a
    // thread off the CPU.
    while !state.kernel.is_idle(cpu) && state.kernel.cpus[cpu].frame.rip >= USER_END {
        state.kernel.exception(&mut state.hardware, cpu, GENERAL_PROTECTION, 0);
    }
    if state.kernel.has_orphan_fault() {
        state.report_orphan_fault();
    }
    let idle = state.kernel.is_idle(cpu);
    state.hardware.idle |= u64::from(idle) << cpu;
    lock::release();
    if idle {
        // SAFETY: 1. GS is based since this CPU joined; 2. the core has loaded the kernel's own space when it found
        // nothing to run; 3. released above, and `idle` starts its stack anew.
        unsafe { trap::idle() }
    }
}
