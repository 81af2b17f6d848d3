//! Faults: a first write is settled here; anything else becomes a message to the process's memory port.

use crate::space::WriteFault;
use crate::{Capability, Kernel, Machine, State, Thread};
use abi::fault::{Access, Fault};
use abi::{Event, Kind, Outcome, Timeout};

/// A fault that no endpoint was there to receive; its thread has been stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrphanFault {
    /// The thread, stopped.
    pub thread: u32,
    /// Its process.
    pub process: u32,
    /// Address, or vector of the exception.
    pub address: u64,
    /// [`Access`] bits; all ones for an exception.
    pub access: u64,
    /// Its instruction pointer.
    pub rip: u64,
}

/// Word of a thread's fault that marks an exception other than a page fault.
const EXCEPTION: u64 = u64::MAX;

impl Kernel {
    /// The running thread of `cpu` touched `address` and may not, or not yet. True if it may now, and nothing else has
    /// changed.
    pub fn page_fault(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        (address, access, error_code): (u64, Access, u64),
    ) -> bool {
        if self.settle(m, cpu) {
            self.dispatch(m, cpu);
            return false;
        }
        let (process, mut access) = (self.threads.get(self.cpus[cpu].current).process, access);
        if access.contains(Access::WRITE) && address < abi::USER_END {
            match self.write_fault(m, cpu, process, address) {
                WriteFault::Settled => return true,
                WriteFault::Frozen => access |= Access::FROZEN | Access::PRESENT,
                WriteFault::NotOurs => {}
            }
        }
        self.fault(m, cpu, [address, access.bits(), error_code]);
        false
    }

    /// The running thread of `cpu` raised an exception other than a page fault.
    pub fn exception(&mut self, m: &mut impl Machine, cpu: usize, vector: u8, error_code: u64) {
        if self.settle(m, cpu) {
            return self.dispatch(m, cpu);
        }
        self.fault(m, cpu, [u64::from(vector), EXCEPTION, error_code]);
    }

    fn fault(&mut self, m: &mut impl Machine, cpu: usize, fault: [u64; 3]) {
        let thread = self.cpus[cpu].current;
        let process = self.threads.get(thread).process;
        self.threads.change(thread).fault = fault;
        let Some(Capability { object: port, badge, .. }) = self.memory_port(process) else {
            let rip = self.cpus[cpu].frame.rip;
            self.park(m, cpu);
            self.threads.change(thread).state = State::Stopped;
            self.orphan = Some(OrphanFault { thread, process, address: fault[0], access: fault[1], rip });
            self.dispatch(m, cpu);
            return;
        };
        match self.first_receiver(port) {
            Some(receiver) => {
                self.park(m, cpu);
                self.deliver_fault(thread, receiver, badge);
                self.hand_over(receiver);
                self.bind_reply(receiver, thread, State::AwaitFault);
            }
            None => self.wait(m, cpu, State::Faulting, port, Timeout::FOREVER),
        }
        self.dispatch(m, cpu);
    }

    /// Who serves a process's memory: what lies in the place of its null handle, while it can be used.
    pub(crate) fn memory_port(&self, process: u32) -> Option<Capability> {
        let slot = self.processes.try_get(process).filter(|process| process.exists())?.slots;
        let port = *self.capabilities.get(slot);
        let serves = port.kind() == Some(Kind::Endpoint) && self.life(&port) == 1;
        (serves && !(self.revoking > 0 && self.is_dying(slot))).then_some(port)
    }

    /// Writes the message of `thread`'s fault into the registers of `receiver`.
    pub(crate) fn deliver_fault(&mut self, thread: u32, receiver: u32, badge: u64) {
        let Thread { process, fault: [address, access, code], registers, .. } = **self.threads.get(thread);
        let name = self.processes.get(process).name(process);
        let exception = access == EXCEPTION;
        let to = self.registers_mut(receiver);
        to.rax = Outcome::event(Event::Fault, badge).0;
        to.rdi = if exception { Fault::Exception } else { Fault::Page } as u64;
        let detail = if exception { address } else { access };
        to.words = [address, detail, name, u64::from(thread), registers.rip, code, 0, 0];
        to.caps = 0;
    }
}
