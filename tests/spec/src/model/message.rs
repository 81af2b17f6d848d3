//! Messages: a sender and a receiver meet on an endpoint; the sender of a call waits for the one Reply.

use super::{Called, Doing, End, Model, Name, Object, Serves};
use crate::event::Frame;
use crate::sim::AGAIN_RIP;
use abi::registers::{pack_caps, unpack_caps};
use abi::{
    CAPS_MAX, Event, FLAG_CAPS_MASK, FLAG_MOVE, FLAG_REPEATABLE, Handle, Kind, MOVED_CHILDREN_MAX, Outcome, Rights,
    Status, Timeout,
};

impl Model {
    /// The endpoint or notification that a capability refers to.
    fn object_of(&self, name: Name) -> u32 {
        match self.caps[&name].object {
            Object::Is(_, object) => object,
            _ => unreachable!("rights are disjoint by kind"),
        }
    }

    /// Whether a thread may still do what it waits to do: the handle by which it began leads there yet.
    fn still_may(&self, thread: u32, needed: Rights, object: u32) -> bool {
        let record = self.thread(thread);
        let through = (record.process, record.frame.control().handle().0);
        self.allows(through, needed).is_ok() && self.object_of(through) == object
    }

    /// The first of those who wait to receive; those before it who no longer may are told so.
    pub(super) fn first_receiver(&mut self, endpoint: u32) -> Option<u32> {
        let receives = |model: &Self, &thread: &u32| matches!(model.thread(thread).doing, Doing::Receiving(_));
        while let Some(first) = self.endpoints[&endpoint].queue.front().copied().filter(|first| receives(self, first)) {
            if self.still_may(first, Rights::RECEIVE, endpoint) {
                return Some(first);
            }
            self.wake_with(first, Status::Revoked);
        }
        None
    }

    /// The first of those who wait for a notification, likewise.
    fn first_waiter(&mut self, notification: u32) -> Option<u32> {
        while let Some(&first) = self.notifications[&notification].queue.front() {
            if self.still_may(first, Rights::WAIT, notification) {
                return Some(first);
            }
            self.wake_with(first, Status::Revoked);
        }
        None
    }

    /// A thread begins to wait, behind those who wait already.
    pub(super) fn wait(&mut self, thread: u32, doing: Doing, timeout: Timeout) {
        let ticket = self.draw_ticket();
        match doing {
            Doing::Calling(e) | Doing::Sending(e) | Doing::Faulting(e) | Doing::Receiving(e) => {
                self.endpoints.get_mut(&e).expect("it lives").queue.push_back(thread);
            }
            Doing::Waiting(n) => self.notifications.get_mut(&n).expect("it lives").queue.push_back(thread),
            _ => {}
        }
        let deadline = timeout.ns().map(|ns| self.now.saturating_add(ns));
        let record = self.thread_mut(thread);
        (record.doing, record.ticket, record.deadline) = (doing, ticket, deadline);
    }

    /// `Send` and `Call`: to the first receiver that waits, else in line behind other senders. Volatile threads never
    /// wait inside the world.
    pub(super) fn send(&mut self, cpu: usize, thread: u32, name: Name, frame: Frame, call: bool) -> Called {
        self.allows(name, Rights::SEND)?;
        let (endpoint, badge) = (self.object_of(name), self.caps[&name].badge);
        if !self.is_world_thread(thread) && endpoint < self.world[2] {
            return Err(Status::WorldClosed);
        }
        let (flags, timeout) = (frame.control().flags(), frame.control().timeout());
        if flags & FLAG_REPEATABLE != 0 && flags & FLAG_MOVE != 0 {
            return Err(Status::BadArgument);
        }
        self.parcels(name.0, frame, flags)?;
        let Some(receiver) = self.first_receiver(endpoint) else {
            if timeout == Timeout::POLL {
                return Err(Status::WouldBlock);
            }
            self.leave(cpu);
            self.wait(thread, if call { Doing::Calling(endpoint) } else { Doing::Sending(endpoint) }, timeout);
            self.thread_mut(thread).sent = Some((badge, flags));
            return Ok(End::Kept);
        };
        let event = if call { Event::Call } else { Event::Message };
        self.deliver(thread, receiver, event, badge, flags)?;
        if !call {
            self.wake(receiver);
            return Ok(End::Done);
        }
        self.hand_over(receiver);
        self.leave(cpu);
        self.thread_mut(thread).sent = Some((badge, flags));
        if flags & FLAG_REPEATABLE != 0 {
            self.thread_mut(thread).ticket = self.draw_ticket();
        }
        self.await_reply(thread, receiver);
        if timeout != Timeout::POLL {
            self.thread_mut(thread).deadline = timeout.ns().map(|ns| self.now.saturating_add(ns));
        }
        Ok(End::Kept)
    }

    fn await_reply(&mut self, caller: u32, server: u32) {
        self.thread_mut(caller).doing = Doing::AwaitReply;
        self.thread_mut(server).serves = Some(Serves::Caller(caller));
    }

    /// The capabilities of a message, if they are the process's to give.
    fn parcels(&self, process: u32, frame: Frame, flags: u8) -> Result<Vec<Name>, Status> {
        let count = usize::from(flags & FLAG_CAPS_MASK);
        if count > CAPS_MAX {
            return Err(Status::BadArgument);
        }
        let moved = flags & FLAG_MOVE != 0;
        let mut parcels = Vec::new();
        for handle in &unpack_caps(frame.caps)[..count] {
            let name = (process, handle.0);
            self.allows(name, if moved { Rights::empty() } else { Rights::COPY })?;
            if moved && parcels.contains(&name) {
                return Err(Status::BadArgument);
            }
            parcels.push(name);
            let derived = self.caps.values().filter(|cap| cap.parent.is_some_and(|parent| parcels.contains(&parent)));
            if moved && derived.count() > MOVED_CHILDREN_MAX {
                return Err(Status::TablesExhausted);
            }
        }
        Ok(parcels)
    }

    /// The message in the sender's registers goes to the receiver, with all of its capabilities or not at all.
    fn deliver(&mut self, sender: u32, receiver: u32, event: Event, badge: u64, flags: u8) -> Result<(), Status> {
        let message = self.thread(sender).frame;
        let (from, to) = (self.thread(sender).process, self.thread(receiver).process);
        let parcels = self.parcels(from, message, flags)?;
        if parcels.iter().any(|name| !self.may_hold(to, &self.caps[name])) {
            return Err(Status::WorldClosed);
        }
        if self.free_handles(to).take(parcels.len()).count() < parcels.len() {
            return Err(Status::PeerTableFull);
        }
        let mut handles = [Handle::NULL; CAPS_MAX];
        for (handle, name) in handles.iter_mut().zip(parcels) {
            *handle = Handle(if flags & FLAG_MOVE != 0 { self.move_cap(name, to) } else { self.copy_cap(name, to) });
        }
        self.thread_mut(receiver).frame =
            Frame { rax: Outcome::event(event, badge).0, caps: pack_caps(handles), ..message };
        Ok(())
    }

    /// `Receive`: bits of the bound notification first, then the first sender whose message can be delivered; those
    /// whose cannot are told: in steps, if there are many. A sender whose capability is gone sends nothing.
    pub(super) fn receive(&mut self, cpu: usize, thread: u32, name: Name, frame: Frame, seen: &Self) -> Called {
        self.allows(name, Rights::RECEIVE)?;
        let endpoint = self.object_of(name);
        if self.thread(thread).serves.is_some() {
            return Err(Status::WrongState);
        }
        if let Some(bound) = self.thread(thread).bound
            && self.notifications[&bound].bits != 0
        {
            let bits = self.take_bits(bound);
            self.thread_mut(thread).frame.rax = Outcome::event(Event::Notification, bits).0;
            return Ok(End::Kept);
        }
        loop {
            let first = self.endpoints[&endpoint].queue.front().copied();
            let Some(sender) = first.filter(|&first| !matches!(self.thread(first).doing, Doing::Receiving(_))) else {
                if frame.control().timeout() == Timeout::POLL {
                    return Err(Status::WouldBlock);
                }
                self.leave(cpu);
                self.wait(thread, Doing::Receiving(endpoint), frame.control().timeout());
                return Ok(End::Kept);
            };
            if self.take_from(sender, thread, endpoint) {
                return Ok(End::Kept);
            }
            let left = |model: &Self| model.endpoints.get(&endpoint).map(|record| record.queue.len());
            if left(self) == left(seen) && seen.threads.get(&thread).is_some_and(|seen| seen.rip == AGAIN_RIP) {
                return Ok(End::Again);
            }
        }
    }

    fn take_from(&mut self, sender: u32, receiver: u32, endpoint: u32) -> bool {
        let doing = self.thread(sender).doing;
        if matches!(doing, Doing::Faulting(_)) {
            let Some((_, badge)) = self.memory_port(self.thread(sender).process).filter(|port| port.0 == endpoint)
            else {
                // Its faults go elsewhere now, or nowhere: the access is simply made again.
                self.wake(sender);
                return false;
            };
            self.endpoints.get_mut(&endpoint).expect("it lives").queue.pop_front();
            self.deliver_fault(sender, receiver, badge);
            return true;
        }
        let call = matches!(doing, Doing::Calling(_));
        let (badge, flags) = self.thread(sender).sent.unwrap_or_default();
        let through = (self.thread(sender).process, self.thread(sender).frame.control().handle().0);
        let still = self.still_may(sender, Rights::SEND, endpoint) && self.caps[&through].badge == badge;
        let event = if call { Event::Call } else { Event::Message };
        let delivered = if still { self.deliver(sender, receiver, event, badge, flags) } else { Err(Status::Revoked) };
        match delivered {
            Err(status) => {
                self.wake_with(sender, status);
                return false;
            }
            Ok(()) if call => {
                self.endpoints.get_mut(&endpoint).expect("it lives").queue.pop_front();
                self.await_reply(sender, receiver);
            }
            Ok(()) => self.wake_with(sender, Status::Ok),
        }
        true
    }

    /// Answers a caller with what is in the server's registers; a fault is answered by anything.
    fn answer(&mut self, server: u32, reply: Serves, frame: Frame, hand_over: bool) -> Result<(), Status> {
        let Serves::Caller(caller) = reply else { return Err(Status::PeerDied) };
        if self.thread(caller).doing == Doing::AwaitReply {
            self.deliver(server, caller, Event::None, 0, frame.control().flags())?;
        }
        if hand_over {
            self.hand_over(caller)
        } else {
            self.wake(caller)
        }
        Ok(())
    }

    /// `Reply`: with the Reply that the thread holds, or one that was saved. A Reply is used up when it answers, or
    /// when it turns out to be void.
    pub(super) fn reply(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        let spent = |answered: Result<(), Status>| matches!(answered, Ok(()) | Err(Status::PeerDied));
        if name.1 == 0 {
            let reply = self.thread(thread).serves.ok_or(Status::NoReply)?;
            let answered = self.answer(thread, reply, frame, false);
            if spent(answered) {
                self.thread_mut(thread).serves = None;
            }
            return answered.map(|()| End::Done);
        }
        self.allows(name, Rights::REPLY)?;
        let reply = match self.caps[&name].object {
            Object::Reply(caller) => Serves::Caller(caller),
            _ => Serves::Void(self.caps[&name].of_world),
        };
        let answered = self.answer(thread, reply, frame, false);
        if spent(answered) {
            self.caps.remove(&name);
        }
        answered.map(|()| End::Done)
    }

    /// `ReplyReceive`: the Reply is gone in any case; a caller whose answer cannot be delivered is told so.
    pub(super) fn reply_receive(&mut self, cpu: usize, thread: u32, name: Name, frame: Frame, seen: &Self) -> Called {
        self.allows(name, Rights::RECEIVE)?;
        if let Some(reply) = self.thread(thread).serves {
            let answered = self.answer(thread, reply, frame, true);
            if let (Err(status), Serves::Caller(caller)) = (answered, reply) {
                let full = status == Status::PeerTableFull;
                self.lose_reply(caller, if full { Status::TableFull } else { Status::Abandoned });
            }
            self.thread_mut(thread).serves = None;
        }
        self.receive(cpu, thread, name, frame, seen)
    }

    /// A Reply is gone without an answer: the caller is told, or asks again if the server died and its call may be
    /// repeated. A fault that nobody will answer stops its thread; one whose server died happens again.
    pub(super) fn lose_reply(&mut self, caller: u32, status: Status) {
        let restarted = status == Status::Restarted;
        match self.thread(caller).doing {
            Doing::AwaitFault if restarted => self.wake(caller),
            Doing::AwaitFault => {
                self.release(caller);
                self.thread_mut(caller).doing = Doing::Stopped;
            }
            Doing::AwaitReply => {
                let repeatable = self.thread(caller).sent.is_some_and(|(_, flags)| flags & FLAG_REPEATABLE != 0);
                if !(restarted && repeatable && self.ask_again(caller)) {
                    self.wake_with(caller, status);
                }
            }
            _ => {}
        }
    }

    /// A repeatable call is in line again, at its old place.
    fn ask_again(&mut self, caller: u32) -> bool {
        let Some(endpoint) = self.asks(caller) else { return false };
        self.void(caller);
        let (badge, flags) = self.thread(caller).sent.unwrap_or_default();
        if let Some(receiver) = self.first_receiver(endpoint) {
            if self.deliver(caller, receiver, Event::Call, badge, flags).is_err() {
                return false;
            }
            self.wake(receiver);
            self.await_reply(caller, receiver);
            return true;
        }
        self.thread_mut(caller).doing = Doing::Calling(endpoint);
        let ticket = self.thread(caller).ticket;
        let place = self.endpoints[&endpoint].queue.iter().position(|&other| self.thread(other).ticket > ticket);
        let queue = &mut self.endpoints.get_mut(&endpoint).expect("it lives").queue;
        queue.insert(place.unwrap_or(queue.len()), caller);
        true
    }

    /// The endpoint that a caller who asks again may still ask: by a capability with the badge that it asked with.
    pub(super) fn asks(&self, caller: u32) -> Option<u32> {
        let thread = self.thread(caller);
        let through = (thread.process, thread.frame.control().handle().0);
        self.allows(through, Rights::SEND).ok()?;
        let endpoint = self.object_of(through);
        let as_before = thread.sent.is_some_and(|(badge, _)| badge == self.caps[&through].badge);
        let closed = endpoint < self.world[2] && !self.is_world_thread(caller);
        (as_before && !closed).then_some(endpoint)
    }

    /// `SaveReply`: the Reply becomes a capability.
    pub(super) fn save_reply(&mut self, thread: u32) -> Called {
        let reply = self.thread(thread).serves.ok_or(Status::NoReply)?;
        let process = self.thread(thread).process;
        let (object, of_world) = match reply {
            Serves::Caller(caller) => (Object::Reply(caller), self.is_world_thread(caller)),
            Serves::Void(of_world) => (Object::Gone(Kind::Reply), of_world),
        };
        let cap = super::Cap { object, of_world, rights: Rights::REPLY, badge: 0, parent: None, dying: false };
        if !self.may_hold(process, &cap) {
            return Err(Status::WorldClosed);
        }
        let handle = self.place(process, cap).ok_or(Status::TableFull)?;
        let record = self.thread_mut(thread);
        (record.serves, record.frame.rdi) = (None, u64::from(handle));
        Ok(End::Done)
    }

    fn take_bits(&mut self, notification: u32) -> u64 {
        core::mem::take(&mut self.notifications.get_mut(&notification).expect("it lives").bits)
    }

    /// `Signal`: sets the badge's bits.
    pub(super) fn signal(&mut self, name: Name) -> Called {
        self.allows(name, Rights::SIGNAL)?;
        if self.caps[&name].badge == 0 {
            return Err(Status::BadArgument);
        }
        self.signal_bits(self.object_of(name), self.caps[&name].badge);
        Ok(End::Done)
    }

    /// Bits go to the first who waits, else to the thread that is bound and receives, else they are kept.
    pub(super) fn signal_bits(&mut self, notification: u32, bits: u64) {
        let first = self.first_waiter(notification);
        let record = self.notifications.get_mut(&notification).expect("looked up above");
        record.bits |= bits;
        let bound = record.bound;
        let receives = |&thread: &u32| matches!(self.thread(thread).doing, Doing::Receiving(_));
        if let Some(thread) = first.or(bound.filter(receives)) {
            let bits = self.take_bits(notification);
            self.thread_mut(thread).frame.rax = Outcome::event(Event::Notification, bits).0;
            self.wake(thread);
        }
    }

    /// `Wait`: takes all bits, or waits for some; without a handle it sleeps.
    pub(super) fn wait_for(&mut self, cpu: usize, thread: u32, name: Name, frame: Frame) -> Called {
        let timeout = frame.control().timeout();
        if name.1 == 0 {
            if timeout == Timeout::POLL {
                return Ok(End::Done);
            }
            self.leave(cpu);
            self.wait(thread, Doing::Sleeping, timeout);
            return Ok(End::Kept);
        }
        self.allows(name, Rights::WAIT)?;
        let notification = self.object_of(name);
        if self.notifications[&notification].bits != 0 {
            let bits = self.take_bits(notification);
            self.thread_mut(thread).frame.rax = Outcome::event(Event::Notification, bits).0;
            return Ok(End::Kept);
        }
        if timeout == Timeout::POLL {
            return Err(Status::WouldBlock);
        }
        self.leave(cpu);
        self.wait(thread, Doing::Waiting(notification), timeout);
        Ok(End::Kept)
    }

    /// `BindNotification`: one notification, one thread, of the same side of the world.
    pub(super) fn bind(&mut self, thread: u32, name: Name) -> Called {
        if name.1 == 0 {
            self.unbind(thread);
            return Ok(End::Done);
        }
        self.allows(name, Rights::WAIT)?;
        let notification = self.object_of(name);
        if (notification < self.world[3]) != self.is_world_thread(thread) {
            return Err(Status::WorldClosed);
        }
        if self.notifications[&notification].bound.is_some() || self.thread(thread).bound.is_some() {
            return Err(Status::AlreadyBound);
        }
        self.notifications.get_mut(&notification).expect("it lives").bound = Some(thread);
        self.thread_mut(thread).bound = Some(notification);
        Ok(End::Done)
    }

    pub(super) fn unbind(&mut self, thread: u32) {
        if let Some(notification) = self.thread_mut(thread).bound.take() {
            self.notifications.get_mut(&notification).expect("it lives").bound = None;
        }
    }
}
