//! Moving a message from one thread to another, capabilities included: everything is checked, then done.

use crate::decode::require;
use crate::graph::stands;
use crate::object::NONE;
use crate::{Capability, Kernel, State, Thread};
use abi::registers::unpack_caps;
use abi::{
    CAPS_MAX, Control, Event, FLAG_CAPS_MASK, FLAG_MOVE, FLAG_REPEATABLE, Handle, Kind, MOVED_CHILDREN_MAX, Outcome,
    Rights, Status,
};

/// Capabilities on their way: the slots they are in.
pub(crate) struct Parcels {
    slots: [u32; CAPS_MAX],
    count: usize,
    moved: bool,
}

impl Kernel {
    /// The capabilities that a thread of `process` is about to send, if they are the process's to give.
    pub(crate) fn parcels(&self, process: u32, caps: u64, flags: u8) -> Result<Parcels, Status> {
        let count = usize::from(flags & FLAG_CAPS_MASK);
        require(count <= CAPS_MAX, Status::BadArgument)?;
        let mut parcels = Parcels { slots: [NONE; CAPS_MAX], count, moved: flags & FLAG_MOVE != 0 };
        // What was derived from a capability goes along when it is moved, all in one step.
        let mut children = MOVED_CHILDREN_MAX;
        let needed = if parcels.moved { Rights::empty() } else { Rights::COPY };
        for (at, handle) in unpack_caps(caps).into_iter().enumerate().take(count) {
            let slot = self.look_up(process, handle, needed)?;
            // A capability can be moved only once.
            if parcels.moved && parcels.slots.contains(&slot) {
                return Err(Status::BadArgument);
            }
            if parcels.moved {
                let along = self.children(slot).take(children + 1).count();
                children = children.checked_sub(along).ok_or(Status::TablesExhausted)?;
            }
            parcels.slots[at] = slot;
        }
        Ok(parcels)
    }

    /// Checks that `receiver`'s process may and can take all parcels.
    fn check_room(&self, process: u32, parcels: &Parcels) -> Result<(), Status> {
        for &slot in &parcels.slots[..parcels.count] {
            require(self.may_hold(process, self.capabilities.get(slot)), Status::WorldClosed)?;
            if !parcels.moved && self.parent_for(process, slot).1 > crate::object::DEPTH_MAX {
                return Err(Status::TablesExhausted);
            }
        }
        if self.has_room(process, parcels.count) { Ok(()) } else { Err(Status::PeerTableFull) }
    }

    /// Delivers the message in `sender`'s registers to `receiver`, which waits, and sets the receiver's result. The
    /// receiver's and the sender's states are the caller's to change.
    pub(crate) fn deliver(
        &mut self,
        sender: u32,
        receiver: u32,
        event: Event,
        badge: u64,
        flags: u8,
    ) -> Result<(), Status> {
        let message = *self.registers(sender);
        let from = self.threads.get(sender).process;
        let to = self.threads.get(receiver).process;
        let parcels = self.parcels(from, message.caps, flags)?;
        self.check_room(to, &parcels)?;
        // ---- point of no return ----
        let mut handles = [Handle::NULL; CAPS_MAX];
        for (handle, &slot) in handles.iter_mut().zip(&parcels.slots[..parcels.count]) {
            *handle = self.hand_parcel(slot, parcels.moved, to);
        }
        let registers = self.registers_mut(receiver);
        registers.rax = Outcome::event(event, badge).0;
        registers.rdi = message.rdi;
        registers.words = message.words;
        registers.caps = abi::registers::pack_caps(handles);
        Ok(())
    }

    /// Gives one parcel to a process that has room and may hold it.
    fn hand_parcel(&mut self, slot: u32, moved: bool, process: u32) -> Handle {
        let placed = if moved {
            self.move_capability(slot, process)
        } else {
            let mut copy = *self.capabilities.get(slot);
            (copy.parent, copy.depth) = self.parent_for(process, slot);
            self.place(process, copy)
        };
        debug_assert!(placed.is_ok(), "room was checked");
        placed.unwrap_or(Handle::NULL)
    }

    /// Notes that `server` now holds the Reply to `caller`, whose call or fault has been received.
    pub(crate) fn bind_reply(&mut self, server: u32, caller: u32, state: State) {
        let record = self.threads.change(caller);
        record.state = state;
        record.object = NONE;
        record.call_sequence = record.call_sequence.wrapping_add(1);
        let sequence = record.call_sequence;
        let record = self.threads.change(server);
        record.serving = caller;
        record.serving_sequence = sequence;
    }

    /// Whether the Reply (`caller`, `sequence`) still stands for a call that waits.
    pub(crate) fn reply_stands(&self, caller: u32, sequence: u32) -> bool {
        self.threads.try_get(caller).is_some_and(|record| stands(record, sequence))
    }

    /// The Reply (`caller`, `sequence`) is gone without an answer. A fault that nobody will answer stops its thread.
    pub(crate) fn void_reply(&mut self, caller: u32, sequence: u32, status: Status) {
        if !self.reply_stands(caller, sequence) {
            return;
        }
        if self.threads.get(caller).state == State::AwaitFault {
            if status == Status::Restarted {
                // The access is simply made again.
                self.wake(caller);
            } else {
                self.threads.change(caller).state = State::Stopped;
            }
        } else if status != Status::Restarted || !self.ask_again(caller) {
            self.wake_with(caller, status);
        }
    }

    /// Law 4: the server of a repeatable call died, so the call is in line again, at its old ticket. False: it is not
    /// repeatable, or can no longer be made.
    fn ask_again(&mut self, caller: u32) -> bool {
        let Thread { ticket, badge, flags, .. } = **self.threads.get(caller);
        let Some(endpoint) = self.asks_again(caller) else { return false };
        if let Some(receiver) = self.first_receiver(endpoint) {
            if self.deliver(caller, receiver, Event::Call, badge, flags).is_err() {
                return false;
            }
            self.wake(receiver);
            self.bind_reply(receiver, caller, State::AwaitReply);
            return true;
        }
        let record = self.threads.change(caller);
        (record.state, record.object) = (State::Calling, endpoint);
        // Only those who ask again themselves, and were received before, can be in front of it.
        let mut behind = self.endpoints.beside(endpoint).head;
        while behind != NONE && self.threads.get(behind).ticket < ticket {
            behind = self.threads.beside(behind).next;
        }
        self.endpoints.beside_mut(endpoint).insert_before(&mut self.threads, caller, behind);
        true
    }

    /// The endpoint that a caller would ask again, if its call may be repeated and still be made as it was: its handle
    /// may name something else by now.
    pub(crate) fn asks_again(&self, caller: u32) -> Option<u32> {
        let record = self.threads.get(caller);
        if record.flags & FLAG_REPEATABLE == 0 {
            return None;
        }
        let slot = self.look_up(record.process, Control(record.registers.rax).handle(), Rights::SEND).ok()?;
        let Capability { object: endpoint, badge, .. } = *self.capabilities.get(slot);
        let allowed = self.is_world_thread(caller) || endpoint >= self.endpoints.world();
        (allowed && badge == record.badge).then_some(endpoint)
    }

    /// What a caller is told when `thread`, which held its Reply, is no more.
    pub(crate) fn death_status(&self, thread: u32) -> Status {
        if self.is_world_thread(thread) { Status::PeerDied } else { Status::Restarted }
    }

    /// The Reply capability in `slot`, if that is what it is.
    pub(crate) fn saved_reply(&self, slot: u32) -> Option<(u32, u32)> {
        let capability = self.capabilities.get(slot);
        (capability.kind() == Some(Kind::Reply)).then_some((capability.object, capability.generation))
    }
}
