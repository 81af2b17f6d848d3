//! What two states must agree in to have the same future, told part by part. The explorer tells states apart by it, and
//! by nothing else, so that counters which only grow do not make it endless.
//!
//! What is left out, and why it may be: generations and call sequences are only ever compared for equality with the
//! present one, so "matches" and "does not" is all that counts; tickets only order those who wait together, and that
//! order is in the queues, but for callers that may be asked again: where they would stand in line is told; times count
//! from now; registers of a thread that will set them all before its next call say nothing; page-table pages are
//! interchangeable, and what lies in them is what [`Kernel::shape`] says, with stamps that are the running epoch's or
//! not. What is empty is not told of at all.

use crate::capability::CapabilityLink;
use crate::object::NONE;
use crate::{Capability, Kernel, State, Thread};
use abi::{FLAG_REPEATABLE, FrameState, Kind, Registers};
use std::hash::Hash;

/// What else the explorer's programs make irrelevant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Canonical {
    /// Time since boot, from which times are counted.
    pub now_ns: u64,
    /// Instruction pointer of a thread that is about to make the same call again: its registers count.
    pub again_rip: u64,
    /// Whether it counts which records changed in the running epoch: only where there are cuts.
    pub changed: bool,
    /// Whether vector registers count: not where the machine has none.
    pub vectors: bool,
}

/// Parts of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// What there is one of.
    World,
    /// A thread.
    Thread,
    /// A thread's vector registers.
    Vector,
    /// A process.
    Process,
    /// An endpoint.
    Endpoint,
    /// A notification.
    Notification,
    /// A budget.
    Budget,
    /// A slot.
    Capability,
    /// A CPU.
    Cpu,
    /// Who waits: the queue of ready threads, by priority.
    Ready,
    /// Deadlines.
    Deadlines,
    /// An interrupt that is bound.
    Interrupt,
    /// What is free.
    Free,
    /// What the kernel knows about a frame.
    Frame,
    /// The log of first writes and the ring of donated frames.
    Log,
}

/// Who is told the parts of a state.
pub trait Listener {
    /// A part, its number among its like, and what it holds.
    fn part(&mut self, part: Part, index: u32, value: &impl Hash);
}

impl Kernel {
    /// Tells everything that can make a difference.
    pub fn tell(&self, with: Canonical, to: &mut impl Listener) {
        for index in 0..self.threads.len() {
            self.tell_thread(index, with, to);
        }
        if with.vectors {
            for index in 0..self.threads.len() {
                let changed = with.changed && self.threads.has_changed(index);
                to.part(Part::Vector, index, &(self.threads.get(index).vector, changed));
            }
        }
        for slot in 0..self.capabilities.len() {
            self.tell_capability(slot, with, to);
        }
        self.tell_objects(with, to);
        self.tell_cpus(with, to);
        self.tell_waits(with, to);
        self.tell_memory(to);
    }

    /// Threads that have no CPU and are about to make the same call again may make any other instead. What the kernel
    /// has done of such a call is in its objects, none of it in the thread; so whatever they would have done they still
    /// may do, and the explorer need not tell apart which of its calls a thread that was stopped or preempted had begun.
    /// Whether there was such a thread.
    pub fn free_choice(&mut self, again_rip: u64, chooses_rip: u64) -> bool {
        let mut any = false;
        for index in 0..self.threads.len() {
            let record = self.threads.get(index);
            let idles =
                self.threads.beside(index).cpu().is_none() && matches!(record.state, State::Ready | State::Stopped);
            if idles && record.registers.rip == again_rip {
                let registers = &mut self.threads.change(index).registers;
                *registers = Registers { rip: chooses_rip, ..Registers::default() };
                any = true;
            }
        }
        any
    }

    /// How many come before a caller that may be asked again, in the line where it would stand then. The order of those
    /// who stand in a line is told by their links.
    fn place_in_line(&self, caller: u32) -> Option<usize> {
        let in_line_for = |index: u32, thread: &Thread| match thread.state {
            State::AwaitReply => self.asks_again(index),
            State::Calling | State::Sending | State::Faulting => Some(thread.object),
            _ => None,
        };
        let record = self.threads.get(caller);
        let endpoint = (record.state == State::AwaitReply).then(|| self.asks_again(caller)).flatten()?;
        let comes_before = |&(index, thread): &(u32, &Thread)| {
            thread.ticket < record.ticket && in_line_for(index, thread) == Some(endpoint)
        };
        Some(self.each_thread().filter(comes_before).count())
    }

    fn tell_thread(&self, index: u32, with: Canonical, to: &mut impl Listener) {
        let (thread, link) = (&self.threads.get(index).thread, self.threads.beside(index));
        if thread.state == State::Free {
            to.part(Part::Thread, index, &(thread.state, link.canonical()));
            return;
        }
        let Thread { deadline, badge, fault, process, object, serving, bound, budget, priority, flags, .. } = *thread;
        let stands = serving != NONE && self.reply_stands(serving, thread.serving_sequence);
        // It holds a Reply that is void: whose it was no longer matters.
        let serving = if serving != NONE && !stands { NONE - 1 } else { serving };
        let sends = matches!(thread.state, State::Calling | State::Sending);
        let asked_again = thread.state == State::AwaitReply && flags & FLAG_REPEATABLE != 0;
        let sent = (sends || asked_again).then_some((badge, flags));
        let fault = (thread.state == State::Faulting).then_some(fault);
        let offset = if self.is_world_thread(index) { self.time_offset } else { 0 };
        let left = (deadline != u64::MAX).then(|| deadline.wrapping_sub(offset).saturating_sub(with.now_ns));
        let registers = self.registers(index);
        let begun = matches!(thread.state, State::Ready | State::Stopped) && registers.rip == with.again_rip;
        let Registers { rax, rdi, words, caps, rip, .. } = registers;
        let message = (sends || asked_again || begun).then_some((rax, rdi, words, caps, rip));
        let receives = matches!(thread.state, State::Receiving | State::Waiting);
        let through = receives.then(|| abi::Control(*rax).handle());
        let changed = with.changed && self.threads.has_changed(index);
        let who = (process, object, serving, stands, bound, budget, priority, changed);
        let place = (thread.state, link.canonical());
        to.part(Part::Thread, index, &(place, self.place_in_line(index), who, sent, fault, left, message, through));
    }

    fn tell_capability(&self, slot: u32, with: Canonical, to: &mut impl Listener) {
        let (held, links) = (self.capabilities.get(slot), self.capabilities.beside(slot));
        let changed = with.changed && self.capabilities.has_changed(slot);
        let Some(kind) = held.kind() else {
            if changed || *held != Capability::EMPTY || *links != CapabilityLink::UNLINKED {
                to.part(Part::Capability, slot, &(held, links, changed));
            }
            return;
        };
        let lives = match kind {
            Kind::Reply => self.reply_stands(held.object, held.generation),
            _ => self.life(held) != 0,
        };
        // Which of several siblings comes next says which of them a revoke in steps removes first.
        let Capability { badge, object, parent, rights, dying, .. } = *held;
        let object = lives.then_some(object);
        to.part(
            Part::Capability,
            slot,
            &(kind as u8, object, badge, parent, rights, dying, self.depth_in_tree(slot), links.next, changed),
        );
    }

    fn depth_in_tree(&self, slot: u32) -> u8 {
        let (mut at, mut depth) = (slot, 0);
        while let Some(parent) = self.capabilities.try_get(self.capabilities.get(at).parent) {
            depth = u8::saturating_add(depth, 1);
            if depth == u8::MAX || *parent == Capability::EMPTY {
                break;
            }
            at = self.capabilities.get(at).parent;
        }
        depth
    }

    fn tell_objects(&self, with: Canonical, to: &mut impl Listener) {
        for (index, process) in self.each_process() {
            let changed = with.changed && self.processes.has_changed(index);
            let has_space = self.processes.beside(index).root != NONE;
            let process = crate::Process { generation: 1, ..*process };
            to.part(Part::Process, index, &(process, has_space, changed));
        }
        for index in 0..self.endpoints.len() {
            let endpoint = crate::Endpoint { generation: 0, ..*self.endpoints.get(index) };
            let changed = with.changed && self.endpoints.has_changed(index);
            to.part(Part::Endpoint, index, &(endpoint, self.endpoints.beside(index), changed));
        }
        for index in 0..self.notifications.len() {
            let notification = crate::Notification { generation: 0, ..*self.notifications.get(index) };
            let changed = with.changed && self.notifications.has_changed(index);
            to.part(Part::Notification, index, &(notification, self.notifications.beside(index), changed));
        }
        for index in 0..self.budgets.len() {
            let budget = crate::Budget { generation: 0, ..*self.budgets.get(index) };
            let changed = with.changed && self.budgets.has_changed(index);
            to.part(Part::Budget, index, &(budget, changed));
        }
        for (line, by) in self.interrupt_bindings() {
            to.part(Part::Interrupt, line, &by);
        }
    }

    fn tell_cpus(&self, with: Canonical, to: &mut impl Listener) {
        for (number, cpu) in (0..).zip(self.cpus.iter()) {
            let armed = (cpu.armed != u64::MAX).then(|| cpu.armed.saturating_sub(with.now_ns));
            // A slice that has ended is not the same as none.
            let slice = (cpu.slice_end != 0).then(|| cpu.slice_end.saturating_sub(with.now_ns).max(1));
            to.part(Part::Cpu, number, &(cpu.current, cpu.loaded, armed, slice));
        }
    }

    fn tell_waits(&self, with: Canonical, to: &mut impl Listener) {
        for priority in self.ready_priorities() {
            to.part(Part::Ready, priority.into(), &self.ready(priority));
        }
        let mut deadlines: Vec<(u64, u32)> =
            self.deadlines.entries().map(|(at, thread)| (at.saturating_sub(with.now_ns), thread)).collect();
        if !deadlines.is_empty() {
            deadlines.sort_unstable();
            to.part(Part::Deadlines, 0, &deadlines);
        }
    }

    fn tell_memory(&self, to: &mut impl Listener) {
        let flags = (self.started, self.restored, self.ended_world.is_some());
        to.part(Part::World, 0, &(flags, self.orphan, self.revoking, self.ports));
        let objects = (&self.processes.free, &self.threads.free, &self.endpoints.free, &self.notifications.free);
        let tables = self.pool.free.count();
        to.part(
            Part::Free,
            0,
            &(objects, &self.budgets.free, &self.free_chunks, &self.capabilities.free, &self.holders, tables),
        );
        for (frame, &word) in (0..).zip(self.frames.iter()).filter(|&(_, &word)| word & 3 != 0) {
            let now = word & 3 == FrameState::Dirty as u64 && (word >> 2) as u32 == self.stamp;
            to.part(Part::Frame, frame, &(word & 3, now));
        }
        to.part(Part::Log, 0, &self.log.canonical());
    }
}
