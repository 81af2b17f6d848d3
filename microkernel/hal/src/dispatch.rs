//! From the assembly edge into the core, and back: one event, one call, with the kernel lock held.

use crate::apic::{FIRST_VECTOR, LocalApic, RESCHEDULE, SHOOTDOWN, STOP, TIMER, interrupt_number};
use crate::kernel::{State, with_state};
use crate::lock;
use crate::machine::Hardware;
use crate::processor;
use crate::processors;
use crate::trap::{self, edge};
use crate::ways::{self, Carried};
use abi::fault::Access;
use abi::{Outcome, USER_END};
use kernel_core::{BootProcess, Bring, Cpu, Kernel, Short, Switch};
use x86_64::registers::control::Cr2;

const GENERAL_PROTECTION: u8 = 13;

/// Bits of a page fault's error code (Intel SDM vol. 3A, 4.7).
mod page_error {
    pub(super) const PRESENT: u64 = 1;
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const RESERVED: u64 = 1 << 3;
    pub(super) const EXECUTE: u64 = 1 << 4;
}

/// Starts the first thread, on the first CPU; the way out of boot.
pub(crate) fn begin(process: BootProcess) -> ! {
    lock::acquire(0, false);
    let state = with_state();
    if state.kernel.cpus.count() == 1 {
        // SAFETY: all that there are have joined the kernel.
        unsafe { processor::be_alone() };
    }
    state.hardware.idle &= !1;
    state.kernel.boot_start(&mut state.hardware, 0, process);
    finish(state, 0);
    // SAFETY: 1. GS is based (`Boot::make_kernel`); 2. the core has filled the frame and loaded space and vector
    // registers; 3. released by `finish`; boot is over, its stack needed no more.
    unsafe { trap::leave_kernel() }
}

/// Takes the lock, if there is one. Who waits for it must have all registers in its frame: a cut would save it as it is.
fn try_acquire<const ALONE: bool>() -> Option<usize> {
    if ALONE {
        return Some(0);
    }
    lock::try_acquire().then(processors::current)
}

/// A fast call that keeps all registers: rbx, rbp and r12 to r15 are still the thread's own, the others are in its frame.
/// What it finds in rax; the control word, if the call has not been made and is to come by [`declined`]. `ALONE`: this is
/// the only CPU, and takes no lock.
fn short<const ALONE: bool>(
    control: u64,
    make: impl FnOnce(&'static mut Kernel, &'static mut Hardware, usize) -> Option<Outcome>,
) -> u64 {
    let Some(cpu) = try_acquire::<ALONE>() else { return control };
    let State { kernel, hardware, .. } = with_state();
    let made = make(kernel, hardware, cpu);
    release::<ALONE>();
    made.map_or(control, |outcome| outcome.0)
}

pub(crate) extern "C" fn signal_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, h, cpu| k.fast_signal::<ALONE, true>(h, cpu, control))
}

pub(crate) extern "C" fn map_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, h, cpu| k.fast_map::<ALONE>(h, cpu, control))
}

pub(crate) extern "C" fn poll_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, _, cpu| k.fast_poll::<ALONE>(cpu, control))
}

/// Comes back as the others do if no other thread goes on.
pub(crate) extern "C" fn wait_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, h, cpu| match k.fast_wait::<ALONE, true>(h, cpu, control)? {
        Short::Same(outcome) => Some(outcome),
        // SAFETY: 1. the edge has saved what the thread needs; 2. the core has switched; 3. taken by `short`.
        Short::Other(switch) => unsafe { ways::depart::<ALONE>(switch.to) },
    })
}

/// Another thread goes on.
///
/// # Safety
/// As [`ways::exchange`].
#[inline(always)]
unsafe fn go_on<const ALONE: bool>(carried: Carried, Switch { to, bring, .. }: Switch<'_>) -> ! {
    // SAFETY: caller.
    unsafe {
        match bring {
            Bring::Message(rax) => ways::exchange::<ALONE>(carried, to, rax),
            Bring::Fault(rax, words) => ways::deliver::<ALONE>(to, rax, words),
            Bring::All => ways::depart::<ALONE>(to),
        }
    }
}

/// Fast calls after which another thread goes on, with five words of a message in the registers of the first arguments
/// and the control word in the frame.
macro_rules! switching {
    ($name:ident, $make:ident) => {
        pub(crate) extern "C" fn $name<const ALONE: bool>(tag: u64, w0: u64, w1: u64, _: u64, w2: u64, w3: u64) -> ! {
            let carried = Carried([tag, w0, w1, w2, w3]);
            if let Some(cpu) = try_acquire::<ALONE>() {
                let State { kernel, hardware, .. } = with_state();
                if let Some(switch) = kernel.$make::<ALONE>(hardware, cpu) {
                    // SAFETY: 1. the edge's words as they came; 2. the core has switched to the thread, whose record
                    // it may change; 3. taken above.
                    unsafe { go_on::<ALONE>(carried, switch) }
                }
                release::<ALONE>();
            }
            // SAFETY: 1. the edge's words as they came; 3. released, or not had.
            unsafe { ways::decline::<ALONE>(carried) }
        }
    };
}

switching!(call_fast, fast_call);
switching!(reply_fast, fast_reply_receive);

/// A page that is not there, of a program whose registers are in its own record, or where the edge word `OWN` says.
pub(crate) extern "C" fn fault_fast<const ALONE: bool>(error: u64) -> ! {
    if let Some(cpu) = try_acquire::<ALONE>() {
        let State { kernel, hardware, .. } = with_state();
        if let Some(switch) =
            kernel.fast_fault::<ALONE>(hardware, cpu, (Cr2::read_raw(), access(error & !page_error::PRESENT), error))
        {
            // SAFETY: 1. no message of the program's; 2. the core has switched; 3. taken above.
            unsafe { go_on::<ALONE>(Carried([0; 5]), switch) }
        }
        release::<ALONE>();
    }
    // SAFETY: as the edge has called; the lock is released, or not had.
    unsafe { ways::decline_fault::<ALONE>(error) }
}

fn release<const ALONE: bool>() {
    if !ALONE {
        lock::release();
    }
}

/// A system call; the registers are in the CPU's frame.
pub(crate) extern "C" fn syscall(cpu: usize) {
    lock::acquire(cpu, true);
    let state = with_state();
    state.kernel.syscall(&mut state.hardware, cpu);
    finish(state, cpu);
}

/// A system call that a fast function has declined, likewise: there may be more to find, or it is less usual.
pub(crate) extern "C" fn declined(cpu: usize) {
    lock::acquire(cpu, true);
    let state = with_state();
    if !state.kernel.fast(&mut state.hardware, cpu) {
        state.kernel.syscall(&mut state.hardware, cpu);
    }
    finish(state, cpu);
}

/// A page fault of a program, whose registers are in the CPU's frame.
pub(crate) extern "C" fn page_fault(cpu: usize, error: u64) {
    lock::acquire(cpu, false);
    let fault = (Cr2::read_raw(), access(error), error);
    assert_eq!(error & page_error::RESERVED, 0, "a page-table entry with reserved bits, at {:#x}", fault.0);
    let state = with_state();
    let made = state.kernel.fast_page_fault(&mut state.hardware, cpu, fault);
    if !made && state.kernel.page_fault(&mut state.hardware, cpu, fault) {
        return lock::release();
    }
    finish(state, cpu);
}

/// Another exception or an interrupt that arrived while a program ran; its registers are in the CPU's frame.
pub(crate) extern "C" fn from_user(cpu: usize, vector: u64, error: u64) {
    let vector = vector as u8;
    if u32::from(vector) >= FIRST_VECTOR {
        return interrupted(cpu, vector);
    }
    lock::acquire(cpu, false);
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
        // not held, and `idle_loop` starts its stack anew.
        unsafe { trap::idle_loop() }
    }
    interrupted(cpu, vector);
}

/// Without the lock: its holder waits for us.
fn shot_down(cpu: usize) {
    LocalApic.end_of_interrupt();
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
    lock::acquire(cpu, false);
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
    LocalApic.end_of_interrupt();
    finish(state, cpu);
}

/// Leaves the core: to the thread in the frame, or to wait for an interrupt. Releases the lock.
fn finish(state: &'static mut State, cpu: usize) {
    // A program that ran off the end of the lower half: neither way back takes such an address. Each turn takes a
    // thread off the CPU.
    while !state.kernel.is_idle(cpu) && state.kernel.cpus[cpu].frame.rip >= USER_END {
        state.kernel.exception(&mut state.hardware, cpu, GENERAL_PROTECTION, 0);
    }
    if state.kernel.orphan.is_some() {
        state.report_orphan_fault();
    }
    let own = state.kernel.own_record(cpu).map(|own| {
        (own.registers.rflags, own.registers.r11) = (trap::FLAGS.into(), trap::FLAGS.into());
        &raw mut *own as u64
    });
    let edge = &mut state.kernel.cpus[cpu].edge;
    edge[edge::OWN] = own.unwrap_or(trap::frame_as_record(edge[edge::SELF] as *const Cpu));
    let idle = state.kernel.is_idle(cpu);
    state.hardware.idle |= u64::from(idle) << cpu;
    lock::release();
    if idle {
        // SAFETY: 1. GS is based since this CPU joined; 2. the core has loaded the kernel's own space when it found
        // nothing to run; 3. released above, and `idle_loop` starts its stack anew.
        unsafe { trap::idle_loop() }
    }
}
