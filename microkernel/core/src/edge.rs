//! The fast path as the assembly edge takes it, but in a frame that holds all registers: for tests and exploration.

use crate::{Bring, Kernel, Machine, Short, Switch};
use abi::fault::{Access, Fault};
use abi::{Call, Registers};

impl Switch<'_> {
    /// Does it in a frame that holds all registers.
    fn make(self, frame: &mut Registers) {
        let (before, left, to) = (*frame, &mut self.from.thread.registers, &self.to.registers);
        if let Bring::Fault(..) = self.bring {
            *left = before;
        }
        (left.rbx, left.rbp, left.rsp, left.rip) = (before.rbx, before.rbp, before.rsp, before.rip);
        (left.rflags, left.fs_base) = (before.rflags, before.fs_base);
        (frame.rbx, frame.rbp, frame.rsp, frame.rip) = (to.rbx, to.rbp, to.rsp, to.rip);
        (frame.rflags, frame.fs_base) = (to.rflags, to.fs_base);
        match self.bring {
            Bring::Message(rax) => (frame.rax, frame.caps) = (rax.0, 0),
            Bring::Fault(rax, [w0, w1, w2, w3, w4, w5]) => {
                (frame.rax, frame.rdi, frame.caps) = (rax.0, Fault::Page as u64, 0);
                frame.words = [w0, w1, w2, w3, w4, w5, 0, 0];
            }
            Bring::All => {
                (left.rcx, left.r11) = (before.rip, before.rflags);
                *frame = *to;
            }
        }
    }
}

impl Kernel {
    /// Any call, in a frame that holds all registers, with what passes a look-up can find; false: the slow path is to
    /// make it.
    pub fn fast(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        if self.cpus.count() == 1 { self.fast_on::<true>(m, cpu) } else { self.fast_on::<false>(m, cpu) }
    }

    fn fast_on<const ALONE: bool>(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        let control = self.cpus[cpu].frame.rax;
        // As the edge would have done.
        if let Some(record) = self.own_record(cpu) {
            record.registers.rax = control;
        }
        self.fast_in::<ALONE>(m, cpu) || self.admit(m, cpu, control) && self.fast_in::<ALONE>(m, cpu)
    }

    fn fast_in<const ALONE: bool>(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        let mut frame = self.cpus[cpu].frame;
        let control = frame.rax;
        let short = match Call::from_bits(abi::Control(control).call()) {
            Some(Call::Call) => self.fast_call::<ALONE>(m, cpu).map(Short::Other),
            Some(Call::ReplyReceive) => self.fast_reply_receive::<ALONE>(m, cpu).map(Short::Other),
            Some(Call::Signal) => self.fast_signal::<ALONE>(cpu, control).map(Short::Same),
            Some(Call::Wait) => {
                let poll = self.fast_poll::<ALONE>(cpu, control).map(Short::Same);
                poll.or_else(|| self.fast_wait::<ALONE>(m, cpu, control))
            }
            Some(Call::Map) => {
                let made = self.fast_map::<ALONE>(m, cpu, control).map(Short::Same);
                frame.rdi = self.cpus[cpu].frame.rdi;
                made
            }
            _ => None,
        };
        match short {
            Some(Short::Other(switch)) => switch.make(&mut frame),
            Some(Short::Same(outcome)) => frame.rax = outcome.0,
            None => return false,
        }
        self.cpus[cpu].frame = frame;
        true
    }

    /// A page fault likewise; a first write never is made so.
    pub fn fast_page_fault(&mut self, m: &mut impl Machine, cpu: usize, fault: (u64, Access, u64)) -> bool {
        if fault.1.contains(Access::WRITE | Access::PRESENT) {
            return false;
        }
        let mut frame = self.cpus[cpu].frame;
        let Some(record) = self.own_record(cpu) else { return false };
        record.registers = frame;
        // The second time nothing is new.
        while {
            match self.fast_fault::<false>(m, cpu, fault) {
                Some(switch) => {
                    switch.make(&mut frame);
                    self.cpus[cpu].frame = frame;
                    return true;
                }
                None => self.admit_fault(m, cpu),
            }
        } {}
        false
    }
}
