//! The fast path: a call that meets a waiting receiver, a reply that goes straight back, a signal that nobody waits for,
//! a look at a notification. Guards, and then a point of no return.
//!
//! It does exactly what the slow path does to the abstract state, in the cases that matter most: no capabilities, no
//! time-out, not repeatable, nothing to copy aside for the epoch that is being drained, nobody more important ready.
//! Whenever a guard fails it has changed nothing and the slow path takes the same call. The explorer runs both on
//! every state.
//!
//! The message never moves: words and tag stay in the CPU's frame and registers, and only what belongs to the threads
//! themselves is exchanged, by the edge, between the two records that [`Exchange`] names. Each record is looked up once.

use crate::kernel::{Cpu, TICKET_MIDDLE};
use crate::object::NONE;
use crate::queue::Link;
use crate::{Capability, Kernel, Machine, State, TableId};
use abi::{Call, Control, Event, Outcome, Registers, Rights, Status, Timeout};
use records::Table;

/// Control words that differ from these in anything but the handle go the slow way.
const CALL: u64 = Call::Call as u64;
const REPLY_RECEIVE: u64 = Call::ReplyReceive as u64;
const SIGNAL: u64 = Call::Signal as u64;
const POLL: u64 = Control::new(Call::Wait, abi::Handle::NULL).with_timeout(Timeout::POLL).0;
const HANDLE_BITS: u64 = 0xffff << 16;

/// What is left to do before the other thread goes on: rbx, rbp, rsp, rip and the base of its thread-local segment are
/// exchanged between the CPU and these two; rax is in `to`; tag and words stay where they are; r15 becomes 0.
#[derive(Debug)]
pub struct Exchange<'k> {
    /// Registers of the thread that made the call.
    pub from: &'k mut Registers,
    /// Registers of the thread that goes on.
    pub to: &'k mut Registers,
}

#[cfg(any(test, feature = "host"))]
impl Exchange<'_> {
    /// Does it in a frame that holds all registers, in place of a machine's edge.
    fn make(self, frame: &mut Registers) {
        let Self { from, to } = self;
        (from.rbx, from.rbp, from.rsp, from.rip) = (frame.rbx, frame.rbp, frame.rsp, frame.rip);
        (from.rflags, from.fs_base) = (frame.rflags, frame.fs_base);
        (frame.rbx, frame.rbp, frame.rsp, frame.rip) = (to.rbx, to.rbp, to.rsp, to.rip);
        (frame.rflags, frame.fs_base) = (to.rflags, to.fs_base);
        (frame.rax, frame.caps) = (to.rax, 0);
    }
}

/// The capability behind a handle of a thread, if it allows any of `needed`. Rights of different kinds are different
/// bits, so its kind needs no look.
#[inline(always)]
fn look_up<'t>(of: &Link, capabilities: &'t Table<Capability>, control: u64, needed: Rights) -> Option<&'t Capability> {
    let handle = u32::from(Control(control).handle().0);
    if handle >= of.slot_count {
        return None;
    }
    capabilities.try_get(of.slots + handle).filter(|capability| capability.rights & needed.bits() != 0)
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
    /// happened, and the slow path is to make it.
    #[inline(always)]
    pub fn fast_call(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Exchange<'_>> {
        if control & !HANDLE_BITS != CALL {
            return None;
        }
        let state = self.cpus.get_mut(cpu)?;
        // An idle CPU runs NONE, which no table has.
        let from = state.current;
        let capability = look_up(self.links.get(from as usize)?, &self.capabilities, control, Rights::SEND)?;
        let endpoint = self.endpoints.try_get(capability.object)?;
        if endpoint.generation != capability.generation || endpoint.life != 1 {
            return None;
        }
        // With a slice under way somebody waits for its end; with slots dying, ancestors would have to be looked at.
        if state.slice_end != 0 || self.revoking != 0 {
            return None;
        }
        if capability.object < self.endpoints.world() && from >= self.threads.world() {
            return None;
        }
        let queue = self.endpoint_queues.get_mut(capability.object as usize)?;
        let to = queue.head;
        let [caller, receiver] = self.threads.fresh_pair(from, to)?;
        // A caller that is not ready was stopped by another CPU while it ran here.
        if caller.state != State::Ready || receiver.state != State::Receiving || receiver.deadline != u64::MAX {
            return None;
        }
        if self.run.reaches(receiver.priority) {
            return None;
        }
        let [from_vector, to_vector] = self.vectors.fresh_pair(from, to)?;
        let [from_link, to_link] = self.links.get_disjoint_mut([from as usize, to as usize]).ok()?;
        if receiver.process < self.processes.world() && !self.pool.is_stamped(to_link.root, self.stamp)
            || !queue.take_only(to_link)
        {
            return None;
        }
        // ---- point of no return ----
        m.save_vector(from_vector);
        m.load_vector(to_vector);
        (from_link.cpu, to_link.cpu) = (NONE, cpu as u32);
        caller.state = State::AwaitReply;
        caller.flags = 0;
        caller.badge = capability.badge;
        caller.call_sequence = caller.call_sequence.wrapping_add(1);
        receiver.state = State::Ready;
        receiver.object = NONE;
        receiver.serving = from;
        receiver.serving_sequence = caller.call_sequence;
        receiver.registers.rax = Outcome::event(Event::Call, capability.badge).0;
        state.switch_to(m, cpu, (to, receiver.process), to_link.root);
        Some(Exchange { from: &mut caller.registers, to: &mut receiver.registers })
    }

    /// The same for `ReplyReceive`.
    #[inline(always)]
    pub fn fast_reply_receive(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Exchange<'_>> {
        if control & !HANDLE_BITS != REPLY_RECEIVE {
            return None;
        }
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let capability = look_up(self.links.get(from as usize)?, &self.capabilities, control, Rights::RECEIVE)?;
        let endpoint = self.endpoints.try_get(capability.object)?;
        if endpoint.generation != capability.generation || endpoint.life != 1 {
            return None;
        }
        if state.slice_end != 0 || self.revoking != 0 {
            return None;
        }
        let queue = self.endpoint_queues.get_mut(capability.object as usize)?;
        // With senders waiting the server goes on; with receivers it would only be one more.
        if queue.head != NONE {
            return None;
        }
        let to = self.threads.try_get(from)?.serving;
        let [server, caller] = self.threads.fresh_pair(from, to)?;
        if server.state != State::Ready || caller.state != State::AwaitReply || caller.deadline != u64::MAX {
            return None;
        }
        if caller.call_sequence != server.serving_sequence || self.run.reaches(caller.priority) {
            return None;
        }
        if server.bound != NONE && self.notifications.get(server.bound).bits != 0 {
            return None;
        }
        let [from_vector, to_vector] = self.vectors.fresh_pair(from, to)?;
        let [from_link, to_link] = self.links.get_disjoint_mut([from as usize, to as usize]).ok()?;
        if caller.process < self.processes.world() && !self.pool.is_stamped(to_link.root, self.stamp) {
            return None;
        }
        // ---- point of no return ----
        m.save_vector(from_vector);
        m.load_vector(to_vector);
        queue.push_only(from_link, from);
        (from_link.cpu, to_link.cpu) = (NONE, cpu as u32);
        self.world.ticket += 1;
        server.ticket = TICKET_MIDDLE + self.world.ticket;
        server.state = State::Receiving;
        server.object = capability.object;
        server.serving = NONE;
        caller.state = State::Ready;
        caller.registers.rax = Outcome::event(Event::None, 0).0;
        state.switch_to(m, cpu, (to, caller.process), to_link.root);
        Some(Exchange { from: &mut server.registers, to: &mut caller.registers })
    }

    /// Any of them, in a frame that holds all registers; false: the slow path is to make it.
    #[cfg(any(test, feature = "host"))]
    pub fn fast(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        let mut frame = self.cpus[cpu].frame;
        let control = frame.rax;
        if let Some(exchange) = self.fast_call(m, cpu, control) {
            exchange.make(&mut frame);
        } else if let Some(exchange) = self.fast_reply_receive(m, cpu, control) {
            exchange.make(&mut frame);
        } else if let Some(outcome) = self.fast_short(cpu, control) {
            frame.rax = outcome.0;
        } else {
            return false;
        }
        self.cpus[cpu].frame = frame;
        true
    }

    /// The same for calls that leave the thread running: what it finds in rax. All else is as it was.
    #[inline(always)]
    pub fn fast_short(&mut self, cpu: usize, control: u64) -> Option<Outcome> {
        match control & !HANDLE_BITS {
            SIGNAL => self.fast_signal(cpu, control),
            POLL => self.fast_poll(cpu, control),
            _ => None,
        }
    }

    /// The running thread of `cpu`, if it may go on without a look at who else is ready: nobody is who is as important.
    #[inline(always)]
    fn fast_stays(&self, cpu: usize) -> Option<u32> {
        let state = self.cpus.get(cpu)?;
        let record = self.threads.try_get(state.current)?;
        (record.state == State::Ready && !self.run.reaches(record.priority)).then_some(state.current)
    }

    #[inline(always)]
    fn fast_signal(&mut self, cpu: usize, control: u64) -> Option<Outcome> {
        let from = self.fast_stays(cpu)?;
        let capability = look_up(self.links.get(from as usize)?, &self.capabilities, control, Rights::SIGNAL)?;
        if capability.badge == 0 || self.revoking != 0 {
            return None;
        }
        if self.notification_queues.get(capability.object as usize)?.head != NONE {
            return None;
        }
        let notification = self.notifications.fresh(capability.object)?;
        if notification.generation != capability.generation || notification.life != 1 {
            return None;
        }
        if notification.bound != NONE && self.threads.get(notification.bound).state == State::Receiving {
            return None;
        }
        notification.bits |= capability.badge;
        Some(Outcome::of(Status::Ok))
    }

    #[inline(always)]
    fn fast_poll(&mut self, cpu: usize, control: u64) -> Option<Outcome> {
        let from = self.fast_stays(cpu)?;
        let capability = look_up(self.links.get(from as usize)?, &self.capabilities, control, Rights::WAIT)?;
        if self.revoking != 0 {
            return None;
        }
        let notification = self.notifications.fresh(capability.object)?;
        if notification.generation != capability.generation || notification.life != 1 {
            return None;
        }
        Some(match core::mem::take(&mut notification.bits) {
            0 => Outcome::of(Status::WouldBlock),
            bits => Outcome::event(Event::Notification, bits),
        })
    }
}
