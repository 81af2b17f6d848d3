//! The one kernel of this machine: the core's state beside the hardware it drives, behind the kernel lock.

use crate::halt::{Halt, halt};
use crate::machine::Hardware;
use crate::serial::say;
use crate::shared::Shared;
use crate::symbols;
use abi::fault::{Access, exception_name};
use abi::protocol::startup::{EXIT_DONE, EXIT_REFUSED, exit_code};
use core::mem::{MaybeUninit, offset_of};
use kernel_core::{Cpus, Kernel};

/// Core and hardware.
pub(crate) struct State {
    pub(crate) kernel: Kernel,
    pub(crate) hardware: Hardware,
    /// The process without which the machine can do nothing more.
    pub(crate) init: u32,
}

/// Of the first CPU's [`kernel_core::Cpu`] in [`STATE`].
pub(crate) const FIRST_CPU: usize = offset_of!(State, kernel) + offset_of!(Kernel, cpus) + offset_of!(Cpus, first);

/// Written once at boot, before any CPU can enter the core; afterwards reached with the kernel lock held.
pub(crate) static STATE: Shared<MaybeUninit<State>> = Shared::new(MaybeUninit::uninit());

/// The state. Only with the kernel lock held, or before any other CPU can take it.
pub(crate) fn with_state() -> &'static mut State {
    // SAFETY: 1. installed before the first entry is possible; 2. callers hold the kernel lock, and give the reference
    // up before they release it.
    unsafe { (*STATE.get()).assume_init_mut() }
}

/// Puts the state in place.
///
/// # Safety
/// Only the first processor runs code of ours that could look at it.
pub(crate) unsafe fn install(state: State) {
    // SAFETY: caller.
    unsafe { (*STATE.get()).write(state) };
}

impl State {
    /// Says which thread was stopped because nobody was there to receive its fault. If it is the first process's, the
    /// machine stops: there is nobody left who could do anything about it.
    #[cold]
    pub(crate) fn report_orphan_fault(&mut self) {
        let Some(fault) = self.kernel.orphan.take() else { return };
        let of_init = fault.process == self.init;
        let ended = exit_code(fault.address).filter(|_| of_init && fault.access == 0);
        match ended {
            Some(EXIT_DONE) => halt(Halt::Clean),
            // It has said why.
            Some(EXIT_REFUSED) => halt(Halt::Refused),
            _ => {}
        }
        let who = if of_init { "the first process" } else { "a process without a memory server" };
        say!("kernel: {who} (process {}, thread {}) has failed", fault.process, fault.thread);
        match Access::from_bits(fault.access) {
            Some(access) => say!("  page fault at {:#x}, access {access:?}", fault.address),
            None => say!("  {}", exception_name(fault.address).unwrap_or("exception")),
        }
        match symbols::of(symbols::INIT).filter(|_| of_init).and_then(|symbols| symbols.find(fault.rip)) {
            Some((symbol, offset)) => say!("  rip {:#x} {} +{offset:#x}", fault.rip, symbol.name),
            None => say!("  rip {:#x}", fault.rip),
        }
        if of_init {
            halt(Halt::Panic);
        }
    }
}
