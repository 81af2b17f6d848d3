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
//! themselves is exchanged, by the edge, between the two records that a [`Switch`] names. Where there is no
//! message, the one that goes on takes all registers from its record. Each record is looked up once,
//! and what a handle leads to is remembered (`fast/pass.rs`).

mod map;
mod notification;
mod pass;

use crate::kernel::{Cpu, Cpus};
use crate::object::NONE;
use crate::queue::{Link, QUEUED};
use crate::{Kernel, Machine, State, Task};
use abi::fault::Access;
use abi::{Call, Control, Event, Handle, Outcome, Timeout};
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
pub struct Switch<'k> {
    /// The thread that leaves the CPU: rbx, rbp, rsp, rip and the base of the thread-local segment go there; with
    /// [`Bring::All`] also rip and flags once more, as rcx and r11; with [`Bring::Fault`] all registers.
    pub from: &'k mut Task,
    /// The thread that goes on: the same come from there.
    pub to: &'k mut Task,
    /// And what else.
    pub bring: Bring,
}

/// What a thread that goes on finds in its other registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// This in rax; tag and words as they are; r15 is 0.
    Message(Outcome),
    /// This in rax, a page fault as tag, these words and two zeros; r15 is 0.
    Fault(Outcome, [u64; 6]),
    /// Everything from its record.
    All,
}

/// How a short call went.
#[derive(Debug)]
pub enum Short<'k> {
    /// The thread goes on, with this in rax. All else is as it was.
    Same(Outcome),
    /// Another one does.
    Other(Switch<'k>),
}

impl Cpus {
    /// `ALONE`: it is the only one.
    #[inline(always)]
    fn find<const ALONE: bool>(&mut self, cpu: usize) -> &mut Cpu {
        if ALONE { &mut self.first } else { &mut self[cpu] }
    }
}

impl Cpu {
    /// Another thread goes on here, in its own address space, in place of the one that leaves.
    #[inline(always)]
    fn switch_to(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        left: &mut Task,
        (thread, to, link): (u32, &Task, &mut Link),
    ) {
        m.save_vector(&mut left.vector);
        m.load_vector(&to.vector);
        link.place = cpu as u32;
        self.current = thread;
        if self.loaded != to.process {
            self.loaded = to.process;
            m.load_space(cpu, Some(link.root_address));
        }
    }
}

impl Kernel {
    /// Makes the system call `Call` of the running thread of `cpu`, if nothing stands against it. `None`: nothing has
    /// happened, and the slow path is to make it.
    #[inline(always)]
    pub fn fast_call<const ALONE: bool>(&mut self, m: &mut impl Machine, cpu: usize) -> Option<Switch<'_>> {
        let version = self.version();
        let state = self.cpus.find::<ALONE>(cpu);
        // An idle CPU runs NONE, which no table has.
        let from = state.current;
        let (record, link) = self.threads.try_both(from)?;
        let pass = &link.passes.call;
        if !pass.admits(record.registers.rax, version) {
            return None;
        }
        let (outcome, object) = (pass.outcome, pass.object);
        let (from, to) = self.meet::<ALONE>(m, cpu, (from, object))?;
        from.thread.state = State::AwaitReply;
        from.thread.flags = 0;
        Some(Switch { from, to, bring: Bring::Message(outcome) })
    }

    /// The only thread that waits on an endpoint receives what the running one sends, and goes on.
    #[inline(always)]
    fn meet<const ALONE: bool>(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        (from, object): (u32, u32),
    ) -> Option<(&mut Task, &mut Task)> {
        let version = self.version();
        let queue = self.endpoints.try_beside_mut(object)?;
        let to = queue.head;
        if self.threads.try_beside(to)?.passes.at_hand != version {
            return None;
        }
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        let receiver = &mut to_task.thread;
        if receiver.state != State::Receiving || self.run.reaches(receiver.priority) || !queue.take_only() {
            return None;
        }
        // ---- point of no return ----
        from_link.place = NONE;
        from_task.thread.call_sequence = from_task.thread.call_sequence.wrapping_add(1);
        receiver.state = State::Ready;
        receiver.object = NONE;
        receiver.serving = from;
        receiver.serving_sequence = from_task.thread.call_sequence;
        self.cpus.find::<ALONE>(cpu).switch_to(m, cpu, from_task, (to, to_task, to_link));
        Some((from_task, to_task))
    }

    /// The same for `ReplyReceive`.
    #[inline(always)]
    pub fn fast_reply_receive<const ALONE: bool>(&mut self, m: &mut impl Machine, cpu: usize) -> Option<Switch<'_>> {
        let version = self.version();
        let state = self.cpus.find::<ALONE>(cpu);
        let from = state.current;
        let (record, link) = self.threads.try_both(from)?;
        let pass = &link.passes.reply_receive;
        if !pass.admits(record.registers.rax, version) {
            return None;
        }
        let object = pass.object;
        let to = record.serving;
        if self.threads.try_beside(to)?.passes.at_hand != version {
            return None;
        }
        match self.threads.get(to).state {
            State::AwaitReply => self.go_back::<ALONE, false>(m, cpu, (from, to), object),
            State::AwaitFault => self.go_back::<ALONE, true>(m, cpu, (from, to), object),
            _ => None,
        }
    }

    /// The rest of it. A fault is answered by letting its thread go on, with all its registers as they are.
    #[inline(always)]
    fn go_back<const ALONE: bool, const FAULT: bool>(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        (from, to): (u32, u32),
        object: u32,
    ) -> Option<Switch<'_>> {
        let state = self.cpus.find::<ALONE>(cpu);
        let queue = self.endpoints.try_beside_mut(object)?;
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        let (server, caller) = (&mut from_task.thread, &mut to_task.thread);
        if caller.call_sequence != server.serving_sequence
            || self.run.reaches(caller.priority)
            || self.notifications.try_get(server.bound).is_some_and(|bound| bound.bits != 0)
            // With senders waiting the server goes on; with receivers it would only be one more.
            || !queue.push_only(from)
        {
            return None;
        }
        // ---- point of no return ----
        from_link.place = QUEUED;
        self.last_ticket += 1;
        server.ticket = self.last_ticket;
        server.state = State::Receiving;
        server.object = object;
        server.serving = NONE;
        caller.state = State::Ready;
        state.switch_to(m, cpu, from_task, (to, to_task, to_link));
        let bring = if FAULT { Bring::All } else { Bring::Message(Outcome::event(Event::None, 0)) };
        Some(Switch { from: from_task, to: to_task, bring })
    }

    /// Delivers a page fault of the running thread of `cpu`, whose registers are in [`Self::own_record`], to its
    /// pager, which waits, if nothing stands against it (it is no first write); else
    /// [`Self::admit_fault`] may find what the next one lacks.
    #[inline(always)]
    pub fn fast_fault<const ALONE: bool>(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        (address, access, error_code): (u64, Access, u64),
    ) -> Option<Switch<'_>> {
        let version = self.version();
        let state = self.cpus.find::<ALONE>(cpu);
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.fault;
        if !pass.is_of(version) {
            return None;
        }
        let (outcome, name, object) = (pass.outcome, pass.control, pass.object);
        let rip = self.threads.get(from).registers.rip;
        if rip >= abi::USER_END {
            return None;
        }
        let words = [address, access.bits(), name, from.into(), rip, error_code];
        let (from, to) = self.meet::<ALONE>(m, cpu, (from, object))?;
        from.thread.fault = [address, access.bits(), error_code];
        from.thread.state = State::AwaitFault;
        Some(Switch { from, to, bring: Bring::Fault(outcome, words) })
    }

    /// Where the edge puts the control word and what a message leaves to the running thread of `cpu` when that calls or
    /// waits, and all registers when it faults: into its record, where registers say nothing while it runs; `None` if an
    /// older epoch still needs that.
    pub fn own_record(&mut self, cpu: usize) -> Option<&mut Task> {
        self.threads.fresh(self.cpus[cpu].current).map(|(task, _)| task)
    }
}
