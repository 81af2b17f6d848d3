//! Messages: synchronous rendezvous on endpoints, replies, notifications.
//!
//! Invariants:
//! 1. No endpoint has senders and receivers waiting at once.
//! 2. A thread in `AwaitReply` or `AwaitFault` has at most one Reply in the system.
//! 3. A message is delivered once, or its sender is told why not.

use crate::decode::Answer;
use crate::kernel::Caller;
use crate::object::NONE;
use crate::transfer::Undeliverable;
use crate::{Capability, Kernel, Machine, State};
use abi::{Event, FLAG_MOVE, FLAG_REPEATABLE, Handle, Kind, Outcome, Rights, Status, Timeout};

/// Senders whose messages turn out undeliverable that one receive passes over.
const FAILED_SENDERS_MAX: usize = 8;

impl Kernel {
    /// System calls `Call` and `Send`.
    pub(crate) fn send(
        &mut self,
        m: &mut impl Machine,
        caller: Caller,
        handle: Handle,
        call: bool,
    ) -> Result<Answer, Status> {
        let slot = self.look_up(caller.process, handle, Rights::SEND)?;
        let Capability { object: endpoint, badge, .. } = *self.capabilities.get(slot);
        if !self.is_world_thread(caller.thread) && endpoint < self.endpoints.world() {
            // Law 3: the volatile side never waits inside the world.
            return Err(Status::WorldClosed);
        }
        if self.endpoints.get(endpoint).life != 1 {
            return Err(Status::PeerDied);
        }
        let control = self.control(caller.cpu);
        let (flags, timeout) = (control.flags(), control.timeout());
        if flags & FLAG_REPEATABLE != 0 && flags & FLAG_MOVE != 0 {
            return Err(Status::BadArgument);
        }
        let caps = self.cpus[caller.cpu].frame.caps;
        self.check_parcels(caller.process, caps, flags)?;
        let record = self.threads.change(caller.thread);
        record.badge = badge;
        record.flags = flags;
        let receiver = self.endpoints.beside(endpoint).first().filter(|&first| self.is_receiver(first));
        let Some(receiver) = receiver else {
            if timeout == Timeout::POLL {
                return Err(Status::WouldBlock);
            }
            let state = if call { State::Calling } else { State::Sending };
            self.wait(m, caller.cpu, state, endpoint, timeout);
            return Ok(Answer::Keep);
        };
        let event = if call { Event::Call } else { Event::Message };
        self.deliver(caller.thread, receiver, event, badge, flags).map_err(|Undeliverable::Sender(status)| status)?;
        if !call {
            self.wake(receiver);
            return Ok(Answer::Done);
        }
        self.hand_over(receiver);
        self.park(m, caller.cpu);
        self.bind_reply(receiver, caller.thread, State::AwaitReply);
        if timeout != Timeout::POLL {
            self.set_deadline(m, caller.thread, timeout);
        }
        Ok(Answer::Keep)
    }

    pub(crate) fn is_receiver(&self, thread: u32) -> bool {
        self.threads.get(thread).state == State::Receiving
    }

    /// System call `Receive`.
    pub(crate) fn receive(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let slot = self.look_up(caller.process, handle, Rights::RECEIVE)?;
        let endpoint = self.capabilities.get(slot).object;
        if self.threads.get(caller.thread).serving != NONE {
            return Err(Status::WrongState);
        }
        if self.endpoints.get(endpoint).life != 1 {
            return Err(Status::PeerDied);
        }
        let bound = self.threads.get(caller.thread).bound;
        if bound != NONE && self.notifications.get(bound).bits != 0 {
            let bits = core::mem::take(&mut self.notifications.change(bound).bits);
            self.cpus[caller.cpu].frame.rax = Outcome::event(Event::Notification, bits).0;
            return Ok(Answer::Keep);
        }
        for _ in 0..self.steps(FAILED_SENDERS_MAX) {
            let sender = self.endpoints.beside(endpoint).first().filter(|&first| !self.is_receiver(first));
            let Some(sender) = sender else {
                let timeout = self.control(caller.cpu).timeout();
                if timeout == Timeout::POLL {
                    return Err(Status::WouldBlock);
                }
                self.wait(m, caller.cpu, State::Receiving, endpoint, timeout);
                return Ok(Answer::Keep);
            };
            if self.take_from(m, sender, caller.thread) {
                return Ok(Answer::Keep);
            }
        }
        Ok(self.restart_call(caller))
    }

    /// Takes the message of the first sender of a queue for `receiver`, which runs. False: it could not be delivered,
    /// and the sender has been told.
    fn take_from(&mut self, m: &mut impl Machine, sender: u32, receiver: u32) -> bool {
        let record = **self.threads.get(sender);
        if record.state == State::Faulting {
            self.deliver_fault(sender, receiver);
            self.leave_queue(sender);
            self.bind_reply(receiver, sender, State::AwaitFault);
            return true;
        }
        let call = record.state == State::Calling;
        let event = if call { Event::Call } else { Event::Message };
        let delivered = if self.still_may_send(sender) {
            self.deliver(sender, receiver, event, record.badge, record.flags)
        } else {
            Err(Undeliverable::Sender(Status::Revoked))
        };
        if let Err(Undeliverable::Sender(status)) = delivered {
            self.wake_with(sender, status);
            return false;
        }
        if call {
            // The deadline of a call covers the reply too, so it stays.
            self.leave_queue(sender);
            self.bind_reply(receiver, sender, State::AwaitReply);
        } else {
            self.wake_with(sender, Status::Ok);
        }
        let _ = m;
        true
    }

    /// Takes a waiting thread off its endpoint's queue, its deadline untouched.
    fn leave_queue(&mut self, thread: u32) {
        let object = self.threads.get(thread).object;
        self.endpoints.beside_mut(object).remove(&mut self.threads, thread);
    }

    /// Whether the capability through which a waiting thread sends is still there: what was revoked delivers nothing.
    fn still_may_send(&self, sender: u32) -> bool {
        let record = self.threads.get(sender);
        let handle = abi::Control(record.registers.rax).handle();
        self.look_up(record.process, handle, Rights::SEND).is_ok_and(|slot| {
            let capability = self.capabilities.get(slot);
            capability.object == record.object && capability.badge == record.badge
        })
    }

    /// System call `Reply`.
    pub(crate) fn reply(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        if handle.is_null() {
            let Some((thread, sequence)) = self.held_reply(caller.thread) else { return Err(Status::NoReply) };
            let answered = self.answer(caller, thread, sequence, false);
            if matches!(answered, Ok(()) | Err(Status::PeerDied)) {
                // Used up, or void: a server must be able to receive again.
                self.threads.change(caller.thread).serving = NONE;
            }
            return answered.map(|()| Answer::Done);
        }
        let slot = self.look_up(caller.process, handle, Rights::REPLY)?;
        let Some((thread, sequence)) = self.saved_reply(slot) else { return Err(Status::WrongKind) };
        let answered = self.answer(caller, thread, sequence, false);
        if matches!(answered, Ok(()) | Err(Status::PeerDied)) {
            // Used up, or void. No child: a Reply is never copied.
            self.empty_slot(slot, Status::Abandoned);
        }
        answered.map(|()| Answer::Done)
    }

    /// System call `ReplyReceive`.
    pub(crate) fn reply_receive(
        &mut self,
        m: &mut impl Machine,
        caller: Caller,
        handle: Handle,
    ) -> Result<Answer, Status> {
        // Checked first, so that a bad handle leaves the Reply where it is.
        self.look_up(caller.process, handle, Rights::RECEIVE)?;
        if let Some((thread, sequence)) = self.held_reply(caller.thread) {
            if let Err(status) = self.answer(caller, thread, sequence, true) {
                // The server's mistake is the caller's loss: it must not wait for ever for a reply that failed.
                self.void_reply(
                    thread,
                    sequence,
                    if status == Status::PeerTableFull { Status::TableFull } else { Status::Abandoned },
                );
            }
            self.threads.change(caller.thread).serving = NONE;
        }
        self.receive(m, caller, handle)
    }

    fn held_reply(&self, thread: u32) -> Option<(u32, u32)> {
        let record = self.threads.get(thread);
        (record.serving != NONE).then_some((record.serving, record.serving_sequence))
    }

    /// Answers a call or fault with what is in the registers of the running thread.
    fn answer(&mut self, caller: Caller, thread: u32, sequence: u32, hand_over: bool) -> Result<(), Status> {
        if !self.reply_stands(thread, sequence) {
            return Err(Status::PeerDied);
        }
        if self.threads.get(thread).state == State::AwaitReply {
            let flags = self.control(caller.cpu).flags();
            self.deliver(caller.thread, thread, Event::None, 0, flags)
                .map_err(|Undeliverable::Sender(status)| status)?;
        }
        if hand_over {
            self.hand_over(thread)
        } else {
            self.wake(thread)
        }
        Ok(())
    }

    /// System call `SaveReply`.
    pub(crate) fn save_reply(&mut self, caller: Caller) -> Result<Answer, Status> {
        let Some((object, generation)) = self.held_reply(caller.thread) else { return Err(Status::NoReply) };
        let reply = Capability {
            kind: Kind::Reply as u8,
            rights: Rights::REPLY.bits(),
            object,
            generation,
            ..Capability::EMPTY
        };
        if !self.may_hold(caller.process, &reply) {
            return Err(Status::WorldClosed);
        }
        let handle = self.place(caller.process, reply)?;
        self.threads.change(caller.thread).serving = NONE;
        self.cpus[caller.cpu].frame.rdi = u64::from(handle.0);
        Ok(Answer::Done)
    }

    /// System call `Signal`.
    pub(crate) fn signal(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let slot = self.look_up(caller.process, handle, Rights::SIGNAL)?;
        let Capability { object, badge, .. } = *self.capabilities.get(slot);
        if badge == 0 {
            return Err(Status::BadArgument);
        }
        self.signal_bits(object, badge);
        Ok(Answer::Done)
    }

    /// Sets bits of a notification: for its first waiter, the thread it is bound to, or to be taken later.
    pub(crate) fn signal_bits(&mut self, notification: u32, bits: u64) {
        if self.notifications.get(notification).life != 1 {
            return;
        }
        let bound = self.notifications.get(notification).bound;
        let waiter = self.notifications.beside(notification).first();
        let woken = waiter.or_else(|| (bound != NONE && self.is_receiver(bound)).then_some(bound));
        let pending = self.notifications.get(notification).bits | bits;
        match woken {
            Some(thread) => {
                if self.notifications.get(notification).bits != 0 {
                    self.notifications.change(notification).bits = 0;
                }
                self.registers_mut(thread).rax = Outcome::event(Event::Notification, pending).0;
                self.wake(thread);
            }
            None => self.notifications.change(notification).bits = pending,
        }
    }

    /// System call `Wait`.
    pub(crate) fn wait_for(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let timeout = self.control(caller.cpu).timeout();
        if handle.is_null() {
            if timeout == Timeout::POLL {
                return Ok(Answer::Done);
            }
            self.wait(m, caller.cpu, State::Sleeping, NONE, timeout);
            return Ok(Answer::Keep);
        }
        let slot = self.look_up(caller.process, handle, Rights::WAIT)?;
        let notification = self.capabilities.get(slot).object;
        if self.notifications.get(notification).life != 1 {
            return Err(Status::PeerDied);
        }
        let bits = self.notifications.get(notification).bits;
        if bits != 0 {
            self.notifications.change(notification).bits = 0;
            self.cpus[caller.cpu].frame.rax = Outcome::event(Event::Notification, bits).0;
            return Ok(Answer::Keep);
        }
        if timeout == Timeout::POLL {
            return Err(Status::WouldBlock);
        }
        self.wait(m, caller.cpu, State::Waiting, notification, timeout);
        Ok(Answer::Keep)
    }

    /// System call `BindNotification`.
    pub(crate) fn bind_notification(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        if handle.is_null() {
            self.unbind(caller.thread);
            return Ok(Answer::Done);
        }
        let slot = self.look_up(caller.process, handle, Rights::WAIT)?;
        let notification = self.capabilities.get(slot).object;
        let same_world = (notification < self.notifications.world()) == self.is_world_thread(caller.thread);
        if !same_world {
            return Err(Status::WorldClosed);
        }
        if self.notifications.get(notification).bound != NONE || self.threads.get(caller.thread).bound != NONE {
            return Err(Status::AlreadyBound);
        }
        self.notifications.change(notification).bound = caller.thread;
        self.threads.change(caller.thread).bound = notification;
        Ok(Answer::Done)
    }

    /// Ends the binding of a thread to its notification, if it has one.
    pub(crate) fn unbind(&mut self, thread: u32) {
        let bound = self.threads.get(thread).bound;
        if bound != NONE {
            self.threads.change(thread).bound = NONE;
            self.notifications.change(bound).bound = NONE;
        }
    }
}
