//! Messages: synchronous rendezvous on endpoints, replies, notifications.
//!
//! Invariants:
//! 1. No endpoint has senders and receivers waiting at once.
//! 2. A thread in `AwaitReply` or `AwaitFault` has at most one Reply in the system.
//! 3. A message is delivered once, or its sender is told why not.

use crate::decode::{Answer, Called, require};
use crate::kernel::Caller;
use crate::object::NONE;
use crate::{Capability, Kernel, Machine, State};
use abi::{Call, Control, Event, FLAG_MOVE, FLAG_REPEATABLE, Kind, Outcome, Rights, Status, Timeout};

/// Senders whose messages turn out undeliverable that one receive passes over.
const FAILED_SENDERS_MAX: usize = 8;

impl Kernel {
    /// System calls `Call` and `Send`.
    pub(crate) fn send(&mut self, m: &mut impl Machine, caller: Caller, call: bool) -> Called {
        let Capability { object: endpoint, badge, .. } = self.named(caller, Rights::SEND)?;
        if !self.is_world_thread(caller.thread) && endpoint < self.endpoints.world() {
            // Law 3: the volatile side never waits inside the world.
            return Err(Status::WorldClosed);
        }
        let control = self.control(caller.cpu);
        let (flags, timeout) = (control.flags(), control.timeout());
        if flags & FLAG_REPEATABLE != 0 && flags & FLAG_MOVE != 0 {
            return Err(Status::BadArgument);
        }
        let caps = self.cpus[caller.cpu].frame.caps;
        self.parcels(caller.process, caps, flags)?;
        let record = self.threads.change(caller.thread);
        record.badge = badge;
        record.flags = flags;
        let Some(receiver) = self.first_receiver(endpoint) else {
            return self.block(m, caller, if call { State::Calling } else { State::Sending }, endpoint);
        };
        let event = if call { Event::Call } else { Event::Message };
        self.deliver(caller.thread, receiver, event, badge, flags)?;
        if !call {
            self.wake(receiver);
            return Ok(Answer::Done);
        }
        self.hand_over(receiver);
        self.park(m, caller.cpu);
        if flags & FLAG_REPEATABLE != 0 {
            // Should it be asked again, this is where it stands in line.
            let ticket = self.ticket();
            self.threads.change(caller.thread).ticket = ticket;
        }
        self.bind_reply(receiver, caller.thread, State::AwaitReply);
        if timeout != Timeout::POLL {
            self.set_deadline(m, caller.thread, timeout);
        }
        Ok(Answer::Keep)
    }

    pub(crate) fn is_receiver(&self, thread: u32) -> bool {
        self.threads.get(thread).state == State::Receiving
    }

    /// The first of those who wait to receive on an endpoint.
    pub(crate) fn first_receiver(&mut self, endpoint: u32) -> Option<u32> {
        self.first_allowed(|kernel| {
            kernel.endpoints.beside(endpoint).first().filter(|&first| kernel.is_receiver(first))
        })
    }

    /// The first of a queue that still may wait there. Those before it who no longer may are told so: each once, all in
    /// one step, and there are at most as many as threads.
    fn first_allowed(&mut self, first: impl Fn(&Self) -> Option<u32>) -> Option<u32> {
        loop {
            let first = first(self)?;
            if self.still_may(first) {
                return Some(first);
            }
            self.wake_with(first, Status::Revoked);
        }
    }

    /// System call `Receive`.
    pub(crate) fn receive(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let endpoint = self.named(caller, Rights::RECEIVE)?.object;
        require(self.threads.get(caller.thread).serving == NONE, Status::WrongState)?;
        let bound = self.threads.get(caller.thread).bound;
        if bound != NONE && self.take_bits(caller, bound) {
            return Ok(Answer::Keep);
        }
        for _ in 0..self.steps(FAILED_SENDERS_MAX) {
            let sender = self.endpoints.beside(endpoint).first().filter(|&first| !self.is_receiver(first));
            let Some(sender) = sender else { return self.block(m, caller, State::Receiving, endpoint) };
            if self.take_from(sender, caller.thread) {
                return Ok(Answer::Keep);
            }
        }
        Ok(self.restart_call(caller))
    }

    /// Takes the message of the first sender of a queue for `receiver`, which runs. False: it could not be delivered,
    /// and the sender has been told.
    fn take_from(&mut self, sender: u32, receiver: u32) -> bool {
        let record = **self.threads.get(sender);
        if record.state == State::Faulting {
            let port = self.memory_port(record.process).filter(|port| port.object == record.object);
            let Some(Capability { badge, .. }) = port else {
                // It has another port now, or none: the access is simply made again.
                self.wake(sender);
                return false;
            };
            self.deliver_fault(sender, receiver, badge);
            self.leave_queue(sender);
            self.bind_reply(receiver, sender, State::AwaitFault);
            return true;
        }
        let call = record.state == State::Calling;
        let event = if call { Event::Call } else { Event::Message };
        let delivered = if self.still_may(sender) {
            self.deliver(sender, receiver, event, record.badge, record.flags)
        } else {
            Err(Status::Revoked)
        };
        if let Err(status) = delivered {
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
        true
    }

    /// Takes a waiting thread off its endpoint's queue, its deadline untouched.
    fn leave_queue(&mut self, thread: u32) {
        let object = self.threads.get(thread).object;
        self.endpoints.beside_mut(object).remove(&mut self.threads, thread);
    }

    /// Whether the capability through which a thread waits is still there: through what was revoked nothing is delivered,
    /// either way. True for one that waits through none.
    pub(crate) fn still_may(&self, thread: u32) -> bool {
        let record = self.threads.get(thread);
        let (needed, badge) = match record.state {
            State::Calling | State::Sending => (Rights::SEND, Some(record.badge)),
            State::Receiving => (Rights::RECEIVE, None),
            State::Waiting => (Rights::WAIT, None),
            _ => return true,
        };
        let control = Control(record.registers.rax);
        let looked_up = self.look_up(record.process, control.handle(), needed);
        let stands = looked_up.is_ok_and(|slot| {
            let capability = self.capabilities.get(slot);
            capability.object == record.object && badge.is_none_or(|badge| capability.badge == badge)
        });
        // Worlds of older builds have not recorded by what their servers wait.
        stands || control.call() == Call::Null as u8
    }

    /// System call `Reply`.
    pub(crate) fn reply(&mut self, caller: Caller) -> Called {
        let (reply, saved) = if caller.handle.is_null() {
            (self.held_reply(caller.thread).ok_or(Status::NoReply)?, None)
        } else {
            let slot = self.look_up(caller.process, caller.handle, Rights::REPLY)?;
            (self.saved_reply(slot).ok_or(Status::WrongKind)?, Some(slot))
        };
        let answered = self.answer(caller, reply.0, reply.1, false);
        if matches!(answered, Ok(()) | Err(Status::PeerDied)) {
            // Used up, or void: a server must be able to receive again.
            if let Some(slot) = saved {
                // No child: a Reply is never copied.
                self.empty_slot(slot, Status::Abandoned);
            } else {
                self.threads.change(caller.thread).serving = NONE;
            }
        }
        answered.map(|()| Answer::Done)
    }

    /// System call `ReplyReceive`.
    pub(crate) fn reply_receive(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        // Checked first, so that a bad handle leaves the Reply where it is.
        self.look_up(caller.process, caller.handle, Rights::RECEIVE)?;
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
        self.receive(m, caller)
    }

    /// The Reply that a thread holds.
    pub(crate) fn held_reply(&self, thread: u32) -> Option<(u32, u32)> {
        let record = self.threads.get(thread);
        (record.serving != NONE).then_some((record.serving, record.serving_sequence))
    }

    /// Answers a call or fault with what is in the registers of the running thread.
    fn answer(&mut self, caller: Caller, thread: u32, sequence: u32, hand_over: bool) -> Result<(), Status> {
        require(self.reply_stands(thread, sequence), Status::PeerDied)?;
        if self.threads.get(thread).state == State::AwaitReply {
            let flags = self.control(caller.cpu).flags();
            self.deliver(caller.thread, thread, Event::None, 0, flags)?;
        }
        if hand_over {
            self.hand_over(thread)
        } else {
            self.wake(thread)
        }
        Ok(())
    }

    /// System call `SaveReply`.
    pub(crate) fn save_reply(&mut self, caller: Caller) -> Called {
        let Some((object, generation)) = self.held_reply(caller.thread) else { return Err(Status::NoReply) };
        let reply = Capability::root(Kind::Reply, object, generation);
        require(self.may_hold(caller.process, &reply), Status::WorldClosed)?;
        let handle = self.place(caller.process, reply)?;
        self.threads.change(caller.thread).serving = NONE;
        Ok(Answer::Value(handle.0.into()))
    }

    /// System call `Signal`.
    pub(crate) fn signal(&mut self, caller: Caller) -> Called {
        let Capability { object, badge, .. } = self.named(caller, Rights::SIGNAL)?;
        require(badge != 0, Status::BadArgument)?;
        self.signal_bits(object, badge);
        Ok(Answer::Done)
    }

    /// Sets bits of a notification: for its first waiter, the thread it is bound to, or to be taken later.
    pub(crate) fn signal_bits(&mut self, notification: u32, bits: u64) {
        let bound = self.notifications.get(notification).bound;
        let waiter = self.first_allowed(|kernel| kernel.notifications.beside(notification).first());
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
    pub(crate) fn wait_for(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let timeout = self.control(caller.cpu).timeout();
        if caller.handle.is_null() {
            if timeout == Timeout::POLL {
                return Ok(Answer::Done);
            }
            self.wait(m, caller.cpu, State::Sleeping, NONE, timeout);
            return Ok(Answer::Keep);
        }
        let notification = self.named(caller, Rights::WAIT)?.object;
        if self.take_bits(caller, notification) {
            return Ok(Answer::Keep);
        }
        self.block(m, caller, State::Waiting, notification)
    }

    /// The caller waits, unless it polls.
    fn block(&mut self, m: &mut impl Machine, caller: Caller, state: State, object: u32) -> Called {
        let timeout = self.control(caller.cpu).timeout();
        if timeout == Timeout::POLL {
            return Err(Status::WouldBlock);
        }
        self.wait(m, caller.cpu, state, object, timeout);
        Ok(Answer::Keep)
    }

    /// Gives the bits of a notification to the running thread; false if there are none.
    fn take_bits(&mut self, caller: Caller, notification: u32) -> bool {
        let bits = self.notifications.get(notification).bits;
        if bits != 0 {
            self.notifications.change(notification).bits = 0;
            self.cpus[caller.cpu].frame.rax = Outcome::event(Event::Notification, bits).0;
        }
        bits != 0
    }

    /// System call `BindNotification`.
    pub(crate) fn bind_notification(&mut self, caller: Caller) -> Called {
        if caller.handle.is_null() {
            self.unbind(caller.thread);
            return Ok(Answer::Done);
        }
        let notification = self.named(caller, Rights::WAIT)?.object;
        let same_world = (notification < self.notifications.world()) == self.is_world_thread(caller.thread);
        require(same_world, Status::WorldClosed)?;
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
