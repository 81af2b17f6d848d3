//! The fast path: a call that meets a waiting receiver, a reply that goes straight back, a fault that meets its pager;
//! in `fast/notification.rs` signals and waits, in `fast/map.rs` the mapping of a page. Guards, and then a point
//! of no return.
//!
//! It does exactly what the slow path does to the abstract state, in the cases that matter most: no capabilities, no
//! time-out, not repeatable, nothing to copy aside for the epoch that is being drained, nobody more important ready.
//! Whenever a guard fails it has changed nothing and the slow path takes the same call. The explorer runs both on
//! every state.
//!
//! A message never moves: words and tag stay in the CPU's frame and registers, and only what belongs to the threads
//! themselves is exchanged, by the edge, between the two records that [`Switch::Exchange`] names. Where there is no
//! message, the one that goes on takes all registers from its record ([`Switch::Depart`]). Each record is looked up once,
//! and what a handle leads to is remembered (`fast/pass.rs`).

mod map;
mod notification;
mod pass;

use crate::kernel::{Cpu, TICKET_MIDDLE};
use crate::object::NONE;
use crate::{Kernel, Machine, State, TableId, Thread};
use abi::fault::Access;
use abi::{Call, Control, Event, Handle, Outcome, Registers, Timeout};
pub(crate) use map::MapPass;
pub(crate) use pass::Passes;

/// Control words that differ from these in anything but the handle go the slow way.
const CALL: u64 = Call::Call as u64;
const REPLY_RECEIVE: u64 = Call::ReplyReceive as u64;
const SIGNAL: u64 = Call::Signal as u64;
const WAIT: u64 = Call::Wait as u64;
const POLL: u64 = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::POLL).0;
const HANDLE_BITS: u64 = 0xffff << 16;

/// What is left to do before another thread goes on: the edge does it, with the kernel lock held.
#[derive(Debug)]
pub enum Switch<'k> {
    /// rbx, rbp, rsp, rip and the base of the thread-local segment are exchanged between the CPU and these two; rax is
    /// in `to`; tag and words stay where they are; r15 becomes 0.
    Exchange {
        /// The thread that made the call.
        from: &'k mut Thread,
        /// The thread that goes on.
        to: &'k mut Thread,
    },
    /// The same registers go to `from`, with rip and flags once more as rcx and r11; all of `to` comes to the CPU.
    Depart {
        /// The thread that made the call.
        from: &'k mut Thread,
        /// The thread that goes on.
        to: &'k mut Thread,
    },
}

/// How a short call went.
#[derive(Debug)]
pub enum Short<'k> {
    /// The thread goes on, with this in rax. All else is as it was.
    Same(Outcome),
    /// Another one does.
    Other(Switch<'k>),
}

#[cfg(any(test, feature = "host"))]
impl Switch<'_> {
    /// Does it in a frame that holds all registers, in place of a machine's edge.
    fn make(self, frame: &mut Registers) {
        let (Self::Exchange { from, to } | Self::Depart { from, to }) = &self;
        let (before, to) = (*frame, to.registers);
        let mut left = from.registers;
        (left.rbx, left.rbp, left.rsp, left.rip) = (before.rbx, before.rbp, before.rsp, before.rip);
        (left.rflags, left.fs_base) = (before.rflags, before.fs_base);
        match self {
            Self::Exchange { from, .. } => {
                from.registers = left;
                (frame.rbx, frame.rbp, frame.rsp, frame.rip) = (to.rbx, to.rbp, to.rsp, to.rip);
                (frame.rflags, frame.fs_base) = (to.rflags, to.fs_base);
                (frame.rax, frame.caps) = (to.rax, 0);
            }
            Self::Depart { from, .. } => {
                from.registers = Registers { rcx: left.rip, r11: left.rflags, ..left };
                *frame = to;
            }
        }
    }
}

impl Cpu {
    /// Another thread goes on here, with `root` as its address space if that is not the one that is loaded.
    #[inline(always)]
    fn switch_to(&mut self, m: &mut impl Machine, cpu: usize, (thread, process): (u32, u32), root: TableId) {
        self.current = thread;
        if self.loaded != process {
            self.loaded = process;
            m.load_space(cpu, Some(root));
        }
    }
}

impl Kernel {
    /// Makes the system call `Call` of the running thread of `cpu`, if nothing stands against it. `None`: nothing has
    /// happened, and the slow path is to make it, unless [`Self::admit`] finds something new.
    #[inline(always)]
    pub fn fast_call(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Switch<'_>> {
        let version = self.version();
        let state = self.cpus.get_mut(cpu)?;
        // An idle CPU runs NONE, which no table has.
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.call;
        if !pass.admits(control, version) {
            return None;
        }
        let outcome = pass.outcome;
        let queue = self.endpoints.try_beside_mut(pass.object)?;
        let to = queue.head;
        if self.threads.try_beside(to)?.passes.at_hand != version {
            return None;
        }
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        let (caller, receiver) = (&mut from_task.thread, &mut to_task.thread);
        if receiver.state != State::Receiving || self.run.reaches(receiver.priority) || !queue.take_only() {
            return None;
        }
        // ---- point of no return ----
        m.exchange_vector(&mut from_task.vector, &to_task.vector);
        (from_link.cpu, to_link.cpu) = (NONE, cpu as u32);
        to_link.queued = false;
        caller.state = State::AwaitReply;
        caller.flags = 0;
        caller.call_sequence = caller.call_sequence.wrapping_add(1);
        receiver.state = State::Ready;
        receiver.object = NONE;
        receiver.serving = from;
        receiver.serving_sequence = caller.call_sequence;
        receiver.registers.rax = outcome.0;
        state.switch_to(m, cpu, (to, receiver.process), to_link.root);
        Some(Switch::Exchange { from: caller, to: receiver })
    }

    /// The same for `ReplyReceive`.
    #[inline(always)]
    pub fn fast_reply_receive(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Switch<'_>> {
        let version = self.version();
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.reply_receive;
        if !pass.admits(control, version) {
            return None;
        }
        let object = pass.object;
        let queue = self.endpoints.try_beside_mut(object)?;
        let to = self.threads.get(from).serving;
        if self.threads.try_beside(to)?.passes.at_hand != version {
            return None;
        }
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        let (server, caller) = (&mut from_task.thread, &mut to_task.thread);
        if caller.call_sequence != server.serving_sequence
            || self.run.reaches(caller.priority)
            || server.bound != NONE && self.notifications.try_get(server.bound)?.bits != 0
        {
            return None;
        }
        // A fault is answered by letting its thread go on, with all its registers as they are.
        let faulted = caller.state == State::AwaitFault;
        // With senders waiting the server goes on; with receivers it would only be one more.
        if !faulted && caller.state != State::AwaitReply || !queue.push_only(from) {
            return None;
        }
        // ---- point of no return ----
        m.exchange_vector(&mut from_task.vector, &to_task.vector);
        from_link.queued = true;
        (from_link.cpu, to_link.cpu) = (NONE, cpu as u32);
        self.world.ticket += 1;
        server.ticket = TICKET_MIDDLE | self.world.ticket;
        server.state = State::Receiving;
        server.object = object;
        server.serving = NONE;
        state.switch_to(m, cpu, (to, caller.process), to_link.root);
        caller.state = State::Ready;
        if faulted {
            return Some(Switch::Depart { from: server, to: caller });
        }
        caller.registers.rax = Outcome::event(Event::None, 0).0;
        Some(Switch::Exchange { from: server, to: caller })
    }

    /// Delivers a page fault of the running thread of `cpu` to its pager, which waits, if the fault is no first write and
    /// nothing else stands against it; else [`Self::admit_fault`] may find something new. The registers of the pager, which
    /// goes on with all of them; the thread's own are in its record.
    #[inline(always)]
    pub fn fast_fault(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        (address, access, error_code): (u64, Access, u64),
    ) -> Option<&mut Registers> {
        if access.contains(Access::WRITE | Access::PRESENT) {
            return None;
        }
        let version = self.version();
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.fault;
        if !pass.is_of(version) {
            return None;
        }
        let served = (pass.outcome, pass.control);
        let queue = self.endpoints.try_beside_mut(pass.object)?;
        let to = queue.head;
        if self.threads.try_beside(to)?.passes.at_hand != version {
            return None;
        }
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        let (thread, pager) = (&mut from_task.thread, &mut to_task.thread);
        if pager.state != State::Receiving
            || state.frame.rip >= abi::USER_END
            || self.run.reaches(pager.priority)
            || !queue.take_only()
        {
            return None;
        }
        // ---- point of no return ----
        m.exchange_vector(&mut from_task.vector, &to_task.vector);
        (from_link.cpu, to_link.cpu) = (NONE, cpu as u32);
        to_link.queued = false;
        thread.registers = state.frame;
        thread.fault = [address, access.bits(), error_code];
        thread.state = State::AwaitFault;
        thread.call_sequence = thread.call_sequence.wrapping_add(1);
        pager.state = State::Ready;
        pager.object = NONE;
        pager.serving = from;
        pager.serving_sequence = thread.call_sequence;
        thread.write_fault(from, served, &mut pager.registers);
        state.switch_to(m, cpu, (to, pager.process), to_link.root);
        Some(&mut pager.registers)
    }

    /// Any call, in a frame that holds all registers; false: the slow path is to make it.
    #[cfg(any(test, feature = "host"))]
    pub fn fast(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        if self.cpus.len() == 1 { self.fast_on::<true>(m, cpu) } else { self.fast_on::<false>(m, cpu) }
    }

    #[cfg(any(test, feature = "host"))]
    fn fast_on<const ALONE: bool>(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        let control = self.cpus[cpu].frame.rax;
        self.fast_in::<ALONE, true>(m, cpu)
            || self.fast_in::<ALONE, false>(m, cpu)
            || self.admit(m, cpu, control) && self.fast_in::<ALONE, false>(m, cpu)
    }

    #[cfg(any(test, feature = "host"))]
    fn fast_in<const ALONE: bool, const LEAN: bool>(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        let mut frame = self.cpus[cpu].frame;
        let control = frame.rax;
        let short = match Call::from_bits(abi::Control(control).call()) {
            Some(Call::Call) => self.fast_call(m, cpu, control).map(Short::Other),
            Some(Call::ReplyReceive) => self.fast_reply_receive(m, cpu, control).map(Short::Other),
            Some(Call::Signal) => self.fast_signal::<ALONE, LEAN>(m, cpu, control).map(Short::Same),
            Some(Call::Wait) => {
                let poll = self.fast_poll::<ALONE>(cpu, control).map(Short::Same);
                poll.or_else(|| self.fast_wait::<ALONE, LEAN>(m, cpu, control))
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

    /// A page fault likewise.
    #[cfg(any(test, feature = "host"))]
    pub fn fast_page_fault(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        address: u64,
        access: Access,
        code: u64,
    ) -> bool {
        let fault = (address, access, code);
        let mut made = self.fast_fault(m, cpu, fault).copied();
        if made.is_none() && self.admit_fault(cpu) {
            made = self.fast_fault(m, cpu, fault).copied();
        }
        let Some(to) = made else { return false };
        self.cpus[cpu].frame = to;
        true
    }
}
