//! The real core on a machine of maps, driven by events.

use crate::digest::Lanes;
use crate::event::{Event, Frame};
use crate::model::written;
use abi::FrameState;
use abi::fault::Access;
use kernel_core::{Canonical, HostMachine, Kernel, Listener};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

/// Where a thread's instruction pointer is when it is about to make the same call again.
pub const AGAIN_RIP: u64 = 0x40_1000;
/// Length of a `syscall` instruction.
const SYSCALL_BYTES: u64 = 2;
/// Address of the page that faulting threads touch.
pub(crate) const FAULT_ADDRESS: u64 = 0x60_0000;
/// Error code of that fault: a read by a user program.
pub(crate) const FAULT_CODE: u64 = 4;

/// Address that programs write to.
pub(crate) const WRITE_ADDRESS: u64 = 0x70_0000;

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
    /// Whether whoever cuts has exported everything at once, so that the next cut never finds it `Busy`.
    pub exports_at_once: bool,
    /// What is to be kept of the epoch that ended: contents of the frames that were not durable at the cut, until the
    /// pager says that they are; and how long the log of first writes was then.
    pub frozen: (BTreeMap<u32, u8>, u64),
}

impl Sim {
    /// Lets an event happen. `Crash` is the universe's to carry out.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Call(cpu, op) => self.call(cpu, op.frame),
            Event::Again(cpu) => self.call(cpu, Frame::of(&self.kernel.cpus[cpu].frame)),
            Event::Fault(cpu) => {
                self.kernel.page_fault(&mut self.m, cpu, (FAULT_ADDRESS, Access::empty(), FAULT_CODE));
            }
            Event::Write(cpu) => self.write(cpu),
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
        self.kernel.orphan = None;
    }

    /// A call by whoever runs on `cpu`.
    pub fn call(&mut self, cpu: usize, frame: Frame) {
        let registers = &mut self.kernel.cpus[cpu].frame;
        frame.into_registers(registers);
        registers.rip = AGAIN_RIP + SYSCALL_BYTES;
        let epoch = self.kernel.epoch();
        self.kernel.syscall(&mut self.m, cpu);
        let frozen: Vec<u32> =
            self.kernel.tracked_frames().filter(|frame| frame.1 != FrameState::Clean).map(|frame| frame.0).collect();
        if epoch != self.kernel.epoch() {
            let holds = |frame| self.m.first_bytes().find(|&(other, _)| other == frame).map_or(0, |(_, byte)| byte);
            let kept = frozen.iter().map(|&frame| (frame, holds(frame))).collect();
            self.frozen = (kept, self.kernel.first_writes().0);
            if self.exports_at_once {
                self.kernel.forget_ended();
            }
        }
        self.frozen.0.retain(|frame, _| frozen.contains(frame));
    }

    /// A call by whoever runs on `cpu`, in as many steps as it takes.
    pub fn call_to_its_end(&mut self, cpu: usize, frame: Frame) {
        self.call(cpu, frame);
        while self.is_again(cpu) {
            self.call(cpu, Frame::of(&self.kernel.cpus[cpu].frame));
        }
    }

    /// A write by whoever runs on `cpu`: through what the hardware would find, or else a fault.
    fn write(&mut self, cpu: usize) {
        match self.written_frame(cpu) {
            Some(frame) => {
                if let Some(root) = self.m.loaded.get(&cpu).copied().flatten() {
                    self.m.access(root, WRITE_ADDRESS);
                }
                let byte = &mut self.m.bytes(frame)[0];
                *byte = written(*byte);
            }
            None => {
                self.kernel.page_fault(&mut self.m, cpu, (WRITE_ADDRESS, Access::WRITE, FAULT_CODE));
            }
        }
    }

    /// The frame that a write by whoever runs on `cpu` goes to, if the hardware lets it pass.
    fn written_frame(&self, cpu: usize) -> Option<u32> {
        let root = self.m.loaded.get(&cpu).copied().flatten()?;
        self.m.translate(root, WRITE_ADDRESS).and_then(|(frame, writable)| writable.then_some(frame))
    }

    /// The same by the fast path; false if it does not take it, and then nothing has happened.
    pub fn fast(&mut self, event: Event) -> bool {
        let (cpu, frame) = match event {
            Event::Call(cpu, op) => (cpu, op.frame),
            Event::Fault(cpu) => {
                return self.kernel.fast_page_fault(&mut self.m, cpu, (FAULT_ADDRESS, Access::empty(), FAULT_CODE));
            }
            Event::Write(cpu) if self.written_frame(cpu).is_none() => {
                return self.kernel.fast_page_fault(&mut self.m, cpu, (WRITE_ADDRESS, Access::WRITE, FAULT_CODE));
            }
            _ => return false,
        };
        let registers = &mut self.kernel.cpus[cpu].frame;
        frame.into_registers(registers);
        registers.rip = AGAIN_RIP + SYSCALL_BYTES;
        self.kernel.fast(&mut self.m, cpu)
    }

    /// Threads that are about to make a call again and have no CPU choose anew: [`Kernel::free_choice`].
    /// Whether there was one.
    pub fn choose_anew(&mut self) -> bool {
        self.kernel.free_choice(AGAIN_RIP, AGAIN_RIP + SYSCALL_BYTES)
    }

    /// Whether the thread that runs on `cpu` is about to make the same call again.
    pub fn is_again(&self, cpu: usize) -> bool {
        self.kernel.cpus[cpu].frame.rip == AGAIN_RIP
    }

    /// Tells all parts of the kernel in which it differs from another with another future.
    pub(crate) fn tell(&self, to: &mut impl Listener) {
        let with = Canonical { now_ns: self.m.now_ns, again_rip: AGAIN_RIP, changed: false, vectors: false };
        self.kernel.tell(with, to);
    }

    /// The machine likewise: timers count from now.
    pub(crate) fn machine(&self) -> impl Hash {
        let timers: Vec<_> = self.m.timers.iter().map(|(&cpu, &at)| (cpu, at.saturating_sub(self.m.now_ns))).collect();
        let spaces: Vec<Vec<u64>> =
            self.kernel.each_process().map(|(process, _)| self.kernel.shape(&self.m, process)).collect();
        let contents: Vec<(u32, u8)> = self.m.first_bytes().collect();
        let since_cut = self.kernel.first_writes().0 - self.frozen.1;
        let since_cut = since_cut.min(self.kernel.first_writes().1.len() as u64);
        (timers, self.m.kicked.clone(), self.m.masked.clone(), spaces, contents, self.frozen.0.clone(), since_cut)
    }

    /// What tells this state from others.
    pub fn digest(&self) -> u128 {
        let mut lanes = Lanes::new();
        self.tell(&mut lanes);
        self.machine().hash(&mut lanes);
        lanes.digest()
    }
}
