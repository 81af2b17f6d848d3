//! The real core on a machine of maps, driven by events.

use crate::digest;
use crate::event::{Event, Frame};
use abi::fault::Access;
use kernel_core::{Canonical, HostMachine, Kernel};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a thread's instruction pointer is when it is about to make the same call again.
pub const AGAIN_RIP: u64 = 0x40_1000;
/// Length of a `syscall` instruction.
const SYSCALL_BYTES: u64 = 2;
/// Address of the page that faulting threads touch.
pub(crate) const FAULT_ADDRESS: u64 = 0x60_0000;
/// Error code of that fault: a read by a user program.
pub(crate) const FAULT_CODE: u64 = 4;

/// Exported records by table and index.
pub type Records = BTreeMap<(u16, u32), Vec<u8>>;

/// Kernel and machine.
#[derive(Clone, Debug)]
pub struct Sim {
    /// The kernel.
    pub kernel: Kernel,
    /// Its machine.
    pub m: HostMachine,
    /// What the store holds, where a universe has one. It is no part of what tells states apart: what in it matters
    /// is equal to the kernel's own records, which is what a restore checks.
    pub store: Arc<Records>,
}

impl Sim {
    /// Lets an event happen. `Crash` is the universe's to carry out.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Call(cpu, op) => self.call(cpu, op.frame),
            Event::Again(cpu) => self.call(cpu, Frame::of(&self.kernel.cpus[cpu].frame)),
            Event::Fault(cpu) => {
                self.kernel.page_fault(&mut self.m, cpu, FAULT_ADDRESS, Access::empty(), FAULT_CODE);
            }
            Event::Timer(cpu) => {
                if let Some(at) = self.m.timers.remove(&cpu) {
                    self.m.now_ns = self.m.now_ns.max(at);
                }
                self.kernel.timer(&mut self.m, cpu);
            }
            Event::Reschedule(cpu) => {
                self.m.kicked.remove(&cpu);
                self.kernel.reschedule(&mut self.m, cpu);
            }
            Event::Interrupt(cpu, line) => self.kernel.interrupt(&mut self.m, cpu, line),
            Event::Crash => {}
        }
        // Nobody looks at orphans here but the specification, and it sees the stopped thread.
        self.kernel.take_orphan_fault();
    }

    /// A call by whoever runs on `cpu`.
    pub fn call(&mut self, cpu: usize, frame: Frame) {
        let registers = &mut self.kernel.cpus[cpu].frame;
        frame.into_registers(registers);
        registers.rip = AGAIN_RIP + SYSCALL_BYTES;
        self.kernel.syscall(&mut self.m, cpu);
    }

    /// The same by the fast path; false if it does not take it, and then nothing has happened.
    pub fn fast(&mut self, event: Event) -> bool {
        let (cpu, frame) = match event {
            Event::Call(cpu, op) => (cpu, op.frame),
            Event::Fault(cpu) => {
                return self.kernel.fast_page_fault(&mut self.m, cpu, FAULT_ADDRESS, Access::empty(), FAULT_CODE);
            }
            _ => return false,
        };
        let registers = &mut self.kernel.cpus[cpu].frame;
        frame.into_registers(registers);
        registers.rip = AGAIN_RIP + SYSCALL_BYTES;
        self.kernel.fast(&mut self.m, cpu)
    }

    /// Whether the thread that runs on `cpu` is about to make the same call again.
    pub fn is_again(&self, cpu: usize) -> bool {
        self.kernel.cpus[cpu].frame.rip == AGAIN_RIP
    }

    /// What tells this state from others.
    pub fn digest(&self) -> u128 {
        let with = Canonical { now_ns: self.m.now_ns, again_rip: AGAIN_RIP, changed: false };
        let timers: Vec<(usize, u64)> =
            self.m.timers.iter().map(|(&cpu, &at)| (cpu, at.saturating_sub(self.m.now_ns))).collect();
        digest(&(self.kernel.canonical(with), timers, &self.m.kicked, &self.m.masked))
    }
}
