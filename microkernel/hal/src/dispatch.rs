//! From the assembly edge into the core, and back: one event, one call, with the kernel lock held.

use crate::apic::{ENTER, FIRST_VECTOR, INTERRUPTS, LocalApic, TIMER};
use crate::kernel::{State, with_state};
use crate::lock;
use crate::machine::Hardware;
use crate::processor;
use crate::processors::{self, this_cpu};
use crate::trap::{self, REGISTERS, edge};
use crate::ways::{self, Carried};
use abi::fault::Access;
use abi::{Outcome, Registers, USER_END};
use kernel_core::{BootProcess, Bring, Kernel, Short, Switch};
use x86_64::instructions::segmentation::GS;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::{ExceptionVector as Exception, PageFaultErrorCode};

/// Starts the first thread, on the first CPU; the way out of boot.
pub(crate) fn begin(process: BootProcess) -> ! {
    enter(0, false, |kernel, hardware| {
        if kernel.cpus.count() == 1 {
            // SAFETY: all that there are have joined the kernel.
            unsafe { processor::be_alone() };
        }
        kernel.boot_start(hardware, 0, process);
    });
    // SAFETY: 1. GS is based (`Boot::make_kernel`); 2. the core has filled the frame and loaded space and vector
    // registers; 3. released by `enter`; boot is over, its stack needed no more.
    unsafe { trap::leave_kernel() }
}

/// Takes the lock, if there is one. Who waits for it must have all registers in its frame: a cut would save it as it is.
fn try_acquire<const ALONE: bool>() -> Option<usize> {
    if ALONE {
        return Some(0);
    }
    lock::try_acquire().then(processors::current)
}

fn release<const ALONE: bool>() {
    if !ALONE {
        lock::release();
    }
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
    short::<ALONE>(control, |k, _, cpu| k.fast_signal::<ALONE>(cpu, control))
}

pub(crate) extern "C" fn map_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, h, cpu| k.fast_map::<ALONE>(h, cpu, control))
}

pub(crate) extern "C" fn poll_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, _, cpu| k.fast_poll::<ALONE>(cpu, control))
}

/// Comes back as the others do if no other thread goes on.
pub(crate) extern "C" fn wait_fast<const ALONE: bool>(control: u64) -> u64 {
    short::<ALONE>(control, |k, h, cpu| match k.fast_wait::<ALONE>(h, cpu, control)? {
        Short::Same(outcome) => Some(outcome),
        // SAFETY: 1. the edge has saved what the thread needs; 2. the core has switched; 3. taken by `short`.
        Short::Other(switch) => unsafe { ways::depart::<ALONE>(switch.to) },
    })
}

/// A fast call, or a fault, after which another thread goes on, with this of a message. Comes back if it has not been
/// made.
#[inline(always)]
fn switching<const ALONE: bool>(
    carried: Carried,
    make: impl FnOnce(&'static mut Kernel, &'static mut Hardware, usize) -> Option<Switch<'static>>,
) {
    let Some(cpu) = try_acquire::<ALONE>() else { return };
    let State { kernel, hardware, .. } = with_state();
    if let Some(Switch { to, bring, .. }) = make(kernel, hardware, cpu) {
        // SAFETY: 1. the edge's words as they came; 2. the core has switched to the thread, whose record it may change;
        // 3. taken above.
        unsafe {
            match bring {
                Bring::Message(rax) => ways::exchange::<ALONE>(carried, to, rax),
                Bring::Fault(rax, words) => ways::deliver::<ALONE>(to, rax, words),
                Bring::All => ways::depart::<ALONE>(to),
            }
        }
    }
    release::<ALONE>();
}

/// Takes five words of a message in the registers of the first arguments; the control word is where `OWN` says.
pub(crate) extern "C" fn call_fast<const ALONE: bool>(tag: u64, w0: u64, w1: u64, _: u64, w2: u64, w3: u64) -> ! {
    let carried = [tag, w0, w1, w2, w3];
    switching::<ALONE>(carried, |k, h, cpu| k.fast_call::<ALONE>(h, cpu));
    // SAFETY: 1. the edge's words as they came; 3. released, or not had.
    unsafe { ways::declined::<ALONE>(carried) }
}

/// Likewise.
pub(crate) extern "C" fn reply_fast<const ALONE: bool>(tag: u64, w0: u64, w1: u64, _: u64, w2: u64, w3: u64) -> ! {
    let carried = [tag, w0, w1, w2, w3];
    switching::<ALONE>(carried, |k, h, cpu| k.fast_reply_receive::<ALONE>(h, cpu));
    // SAFETY: as `call_fast`.
    unsafe { ways::declined::<ALONE>(carried) }
}

/// A page that is not there, of a program whose registers are where `OWN` says.
pub(crate) extern "C" fn fault_fast<const ALONE: bool>(error: u64) -> ! {
    switching::<ALONE>([0; 5], |k, h, cpu| {
        k.fast_fault::<ALONE>(h, cpu, (Cr2::read_raw(), access(error) - Access::PRESENT, error))
    });
    fault_declined::<ALONE>(error)
}

/// The slow way with such a fault.
#[cold]
fn fault_declined<const ALONE: bool>(error: u64) -> ! {
    // SAFETY: 1. if this is the only CPU GS is the program's, else ours already; 2. no one else looks at this CPU's state
    // without the lock, and `OWN` names registers; 3. what `leave_kernel` wants `enter` has done.
    unsafe {
        if ALONE {
            GS::swap();
        }
        let state = this_cpu();
        (*state).frame = *(((*state).edge[edge::OWN] + REGISTERS as u64) as *const Registers);
        page_fault((*state).edge[edge::CPU] as usize, error);
        trap::leave_kernel()
    }
}

/// One event, with the kernel lock held; then the core is left: to the thread in the frame, or to wait for an interrupt.
fn enter(cpu: usize, to_call: bool, event: impl FnOnce(&mut Kernel, &mut Hardware)) {
    lock::acquire(cpu, to_call);
    let state = with_state();
    event(&mut state.kernel, &mut state.hardware);
    finish(state, cpu);
}

/// A system call; the registers are in the CPU's frame.
pub(crate) extern "C" fn syscall(cpu: usize) {
    enter(cpu, true, |kernel, hardware| kernel.syscall(hardware, cpu));
}

/// A system call that a fast function has declined, likewise. The next one like it may find what this one has led to.
pub(crate) extern "C" fn declined(cpu: usize) {
    enter(cpu, true, |kernel, hardware| {
        kernel.admit(hardware, cpu, kernel.cpus[cpu].frame.rax);
        kernel.syscall(hardware, cpu);
    });
}

/// A page fault of a program, whose registers are in the CPU's frame.
fn page_fault(cpu: usize, error: u64) {
    lock::acquire(cpu, false);
    let fault = (Cr2::read_raw(), access(error), error);
    let reserved = PageFaultErrorCode::MALFORMED_TABLE.bits();
    assert_eq!(error & reserved, 0, "a page-table entry with reserved bits, at {:#x}", fault.0);
    let state = with_state();
    if !fault.1.contains(Access::WRITE | Access::PRESENT) {
        // No first write: the next fault may find its pager at once.
        state.kernel.admit_fault(&state.hardware, cpu);
    }
    if state.kernel.page_fault(&mut state.hardware, cpu, fault) {
        return release_to(state, cpu);
    }
    finish(state, cpu);
}

/// An exception or an interrupt: while a program ran, whose registers are in the CPU's frame, or an interrupt while this
/// CPU had nothing to run.
pub(crate) extern "C" fn interrupt(cpu: usize, vector: u64, error: u64) {
    let vector = vector as u8;
    if vector == Exception::Page as u8 {
        return page_fault(cpu, error);
    }
    enter(cpu, false, |kernel, hardware| {
        let Some(number) = u32::from(vector).checked_sub(FIRST_VECTOR) else {
            return kernel.exception(hardware, cpu, vector, error);
        };
        hardware.idle &= !(1 << cpu);
        match vector {
            TIMER => kernel.timer(hardware, cpu),
            ENTER => kernel.reschedule(hardware, cpu),
            _ if number < INTERRUPTS => kernel.interrupt(hardware, cpu, number),
            // Spurious: was never there, wants no end.
            _ => return,
        }
        LocalApic.end_of_interrupt();
    });
}

fn access(error: u64) -> Access {
    let (error, mut access) = (PageFaultErrorCode::from_bits_retain(error), Access::empty());
    access.set(Access::PRESENT, error.contains(PageFaultErrorCode::PROTECTION_VIOLATION));
    access.set(Access::WRITE, error.contains(PageFaultErrorCode::CAUSED_BY_WRITE));
    access.set(Access::EXECUTE, error.contains(PageFaultErrorCode::INSTRUCTION_FETCH));
    access
}

/// Leaves the core: to the thread in the frame, or to wait for an interrupt. Releases the lock.
fn finish(state: &'static mut State, cpu: usize) {
    // A program that ran off the end of the lower half: neither way back takes such an address. Each turn takes a
    // thread off the CPU.
    while !state.kernel.is_idle(cpu) && state.kernel.cpus[cpu].frame.rip >= USER_END {
        state.kernel.exception(&mut state.hardware, cpu, Exception::GeneralProtection as u8, 0);
    }
    if state.kernel.orphan.is_some() {
        state.report_orphan_fault();
    }
    let idle = state.kernel.is_idle(cpu);
    state.hardware.idle |= u64::from(idle) << cpu;
    release_to(state, cpu);
    if idle {
        // SAFETY: 1. GS is based since this CPU joined; 2. the core has loaded the kernel's own space when it found
        // nothing to run; 3. released above, and `idle_loop` starts its stack anew.
        unsafe { trap::idle_loop() }
    }
}

/// Releases the lock to whoever runs on `cpu` now. A cut, here or elsewhere, may have ended what was its `OWN`.
fn release_to(state: &'static mut State, cpu: usize) {
    let own = state.kernel.own_record(cpu).map(|own| {
        (own.registers.rflags, own.registers.r11) = (trap::FLAGS.into(), trap::FLAGS.into());
        &raw mut *own as u64
    });
    let edge = &mut state.kernel.cpus[cpu].edge;
    edge[edge::OWN] = own.unwrap_or(edge[edge::SELF]);
    lock::release();
}
