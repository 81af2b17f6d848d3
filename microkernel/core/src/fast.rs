//! The fast path: a call that meets a waiting receiver, and a reply that goes straight back. Guards, and then a point of
//! no return.
//!
//! It does exactly what the slow path does to the abstract state, in the cases that matter most: no capabilities, no
//! time-out, not repeatable, nothing to copy aside for the epoch that is being drained, nobody more important ready.
//! Whenever a guard fails it has changed nothing and the slow path takes the same call. The explorer runs both on
//! every state.
//!
//! On entry only what a function may change has been saved: of the thread's registers in the CPU's frame, rax, rdi, the
//! first five words, rbx, rbp, rsp, rip, the flags and the
//! thread's base are there; the other words still lie in the processor. The message
//! stays where it is, in the frame and the processor: only what belongs to the threads themselves is exchanged.

use crate::object::NONE;
use crate::{Kernel, Machine, State};
use abi::{Call, Control, Event, Outcome, Rights};

/// Control words that differ from these in anything but the handle go the slow way.
const CALL: u64 = Call::Call as u64;
const REPLY_RECEIVE: u64 = Call::ReplyReceive as u64;
const HANDLE_BITS: u64 = 0xffff << 16;

/// The thread that is handed the CPU, and what it finds in rax.
struct HandOver {
    thread: u32,
    outcome: Outcome,
}

impl Kernel {
    /// Makes the system call of the running thread of `cpu`, if it is one of the two and nothing stands against it.
    /// True: another thread's registers are in the frame (but for the words that were never saved, which are where
    /// they were, and r15, which is to be zero). False: nothing has happened.
    #[inline]
    pub fn fast(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> bool {
        let state = &self.cpus[cpu];
        let thread = state.current;
        // A slice under way means that somebody else waits for this CPU.
        if state.slice_end != 0 || self.revoking != 0 || thread == NONE {
            return false;
        }
        if !self.threads.is_fresh(thread) || !self.vectors.is_fresh(thread) {
            return false;
        }
        // Stopped by another CPU while it ran here.
        if self.threads.get(thread).state != State::Ready {
            return false;
        }
        let handed = match control & !HANDLE_BITS {
            CALL => self.fast_call(thread, control),
            REPLY_RECEIVE => self.fast_reply_receive(thread, control),
            _ => None,
        };
        match handed {
            Some(HandOver { thread: next, outcome }) => {
                self.switch_over(m, cpu, thread, next, outcome);
                true
            }
            None => false,
        }
    }

    /// The endpoint that a handle allows `needed` on, if it lives.
    #[inline(always)]
    fn fast_endpoint(&self, process: u32, control: u64, needed: Rights) -> Option<(u32, u64)> {
        let table = self.processes.get(process);
        let handle = u32::from(Control(control).handle().0);
        if handle >= table.slot_count {
            return None;
        }
        let capability = self.capabilities.try_get(table.slots + handle)?;
        if capability.rights & needed.bits() == 0 {
            return None;
        }
        let endpoint = self.endpoints.try_get(capability.object)?;
        let alive = endpoint.generation == capability.generation && endpoint.life == 1;
        alive.then_some((capability.object, capability.badge))
    }

    /// Whether `thread`, which waits without a deadline, can be handed the CPU at once.
    #[inline(always)]
    fn takes_over(&self, thread: u32) -> bool {
        let Some(record) = self.threads.try_get(thread) else { return false };
        let first = self.run.highest().is_none_or(|best| best < record.priority);
        if !first || record.deadline != u64::MAX || !self.threads.is_fresh(thread) {
            return false;
        }
        !self.is_world_process(record.process) || self.is_fresh_table(self.spaces[record.process as usize].root)
    }

    #[inline(always)]
    fn fast_call(&mut self, caller: u32, control: u64) -> Option<HandOver> {
        let process = self.threads.get(caller).process;
        let (endpoint, badge) = self.fast_endpoint(process, control, Rights::SEND)?;
        if !self.is_world_thread(caller) && endpoint < self.endpoints.world() {
            return None;
        }
        let receiver = self.endpoint_queues[endpoint as usize].head;
        if self.threads.try_get(receiver)?.state != State::Receiving || !self.takes_over(receiver) {
            return None;
        }
        // ---- point of no return ----
        self.endpoint_queues[endpoint as usize].remove(&mut self.links, receiver);
        let ticket = self.front_ticket();
        let record = self.threads.change(caller);
        record.state = State::AwaitReply;
        record.badge = badge;
        record.flags = 0;
        record.call_sequence = record.call_sequence.wrapping_add(1);
        let sequence = record.call_sequence;
        let record = self.threads.change(receiver);
        record.state = State::Ready;
        record.object = NONE;
        record.ticket = ticket;
        record.serving = caller;
        record.serving_sequence = sequence;
        Some(HandOver { thread: receiver, outcome: Outcome::event(Event::Call, badge) })
    }

    #[inline(always)]
    fn fast_reply_receive(&mut self, server: u32, control: u64) -> Option<HandOver> {
        let record = self.threads.get(server);
        let (caller, sequence, bound) = (record.serving, record.serving_sequence, record.bound);
        let (endpoint, _) = self.fast_endpoint(record.process, control, Rights::RECEIVE)?;
        let waits = self.threads.try_get(caller)?;
        if waits.call_sequence != sequence || waits.state != State::AwaitReply || !self.takes_over(caller) {
            return None;
        }
        if bound != NONE && self.notifications.get(bound).bits != 0 {
            return None;
        }
        // With senders waiting the server goes on; with receivers it would only be one more.
        if self.endpoint_queues[endpoint as usize].head != NONE {
            return None;
        }
        // ---- point of no return ----
        let ticket = self.front_ticket();
        let record = self.threads.change(caller);
        record.state = State::Ready;
        record.ticket = ticket;
        let ticket = self.ticket();
        let record = self.threads.change(server);
        record.state = State::Receiving;
        record.object = endpoint;
        record.ticket = ticket;
        record.serving = NONE;
        self.endpoint_queues[endpoint as usize].push_back(&mut self.links, server);
        Some(HandOver { thread: caller, outcome: Outcome::event(Event::None, 0) })
    }

    /// Exchanges what belongs to the threads themselves; the message stays in the frame.
    #[inline(always)]
    fn switch_over(&mut self, m: &mut impl Machine, cpu: usize, from: u32, to: u32, outcome: Outcome) {
        let frame = &mut self.cpus[cpu].frame;
        let kept = &mut self.threads.change(from).registers;
        (kept.rbx, kept.rbp, kept.rsp) = (frame.rbx, frame.rbp, frame.rsp);
        (kept.rip, kept.rflags, kept.fs_base) = (frame.rip, frame.rflags, frame.fs_base);
        let record = self.threads.get(to);
        let next = &record.registers;
        (frame.rbx, frame.rbp, frame.rsp) = (next.rbx, next.rbp, next.rsp);
        (frame.rip, frame.rflags, frame.fs_base) = (next.rip, next.rflags, next.fs_base);
        frame.rax = outcome.0;
        frame.caps = 0;
        let process = record.process;
        m.save_vector(self.vectors.change(from));
        m.load_vector(self.vectors.get(to));
        self.links[from as usize].cpu = NONE;
        let link = &mut self.links[to as usize];
        (link.cpu, link.last_cpu) = (cpu as u32, cpu as u32);
        let state = &mut self.cpus[cpu];
        (state.current, state.vector_owner) = (to, to);
        if state.loaded != process {
            self.load_space(m, cpu, process);
        }
    }
}
