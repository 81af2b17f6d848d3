//! What whoever keeps the epochs may ask for, and what anybody may ask about them and about capabilities.

use super::{Called, Cap, End, Model, Name, Object, Unspecified};
use crate::event::Frame;
use abi::{Handle, Kind, Rights, Status};

impl Model {
    /// `Identify`: what a capability is. How the kernel tells an object from an earlier one of the same number is its
    /// own business.
    pub(super) fn identify(&mut self, thread: u32, name: Name, seen: &Self) -> Called {
        self.allows(name, Rights::empty())?;
        let cap = self.caps[&name];
        let named = seen.thread(thread).frame.words[2];
        let named = match cap.object {
            Object::Is(_, number) | Object::Reply(number) => u64::from(number) | named >> 32 << 32,
            _ => named,
        };
        let range = match cap.object {
            Object::Range(_, first, count) => [first.into(), count.into()],
            _ => [0, 0],
        };
        let frame = &mut self.thread_mut(thread).frame;
        frame.rdi = cap.kind() as u64 | u64::from(cap.of_world) << 8;
        frame.words[..5].copy_from_slice(&[cap.rights.bits().into(), cap.badge, named, range[0], range[1]]);
        Ok(End::Done)
    }

    /// `Clock`: the running epoch, the last that is durable, and world time, which stands still while the machine is off.
    pub(super) fn clock(&mut self, thread: u32) -> Called {
        let (epoch, committed) = (self.pages.epoch, self.committed);
        let world_time = self.now.wrapping_add(self.world_ahead);
        let frame = &mut self.thread_mut(thread).frame;
        (frame.rdi, frame.words[0], frame.words[1]) = (epoch, committed, world_time);
        Ok(End::Done)
    }

    /// `Committed`: an epoch is durable. Epochs become so in their order, and only when they have ended.
    pub(super) fn commit(&mut self, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::EPOCH_RECORDS)?;
        let runs_yet = self.started && frame.rdi >= self.pages.epoch;
        if frame.rdi < self.committed || runs_yet {
            return Err(Status::BadArgument);
        }
        self.committed = frame.rdi;
        Ok(End::Done)
    }

    /// `BindPort`: the port of this service, to be answered and to be handed on.
    pub(super) fn bind_port(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::EPOCH_PORTS)?;
        let port = self.endpoints.iter().find(|(_, port)| port.service != 0 && u64::from(port.service) == frame.rdi);
        let object = Object::Is(Kind::Endpoint, *port.ok_or(Status::BadArgument)?.0);
        let cap = Cap { object, of_world: true, rights: PORT_RIGHTS, badge: 0, parent: None, dying: false };
        let handle = self.place(name.0, cap).ok_or(Status::TableFull)?;
        self.thread_mut(thread).frame.rdi = u64::from(handle);
        Ok(End::Done)
    }

    /// The frame that records pass through: page `rdi` of the Memory in the first capability.
    fn batch_frame(&self, name: Name, frame: Frame, needed: Rights) -> Result<u32, Status> {
        let memory = (name.0, Handle(frame.caps as u16).0);
        self.allows(memory, needed)?;
        let Object::Range(_, first, count) = self.caps[&memory].object else { return Err(Status::WrongKind) };
        let inside = frame.rdi < u64::from(count) && first + (frame.rdi as u32) < self.pages.memory;
        if inside { Ok(first + frame.rdi as u32) } else { Err(Status::BadRange) }
    }

    /// `Export`: records of the epoch that ended, a batch at a time, until none is left. What is in them is no matter
    /// of this specification: a restore of them is the world at the cut.
    pub(super) fn export(&mut self, thread: u32, name: Name, frame: Frame, seen: &Self) -> Called {
        self.allows(name, Rights::EPOCH_RECORDS)?;
        let to = self.batch_frame(name, frame, Rights::MEMORY_WRITE)?;
        let written = seen.thread(thread).frame.rdi;
        self.pages.write_batch(to, &seen.pages);
        self.thread_mut(thread).frame.rdi = if self.pages.exported { 0 } else { written };
        // It ends, but not before something was written.
        self.pages.exported |= seen.pages.exported && written > 0;
        Ok(End::Done)
    }

    /// `Restore`, `Resume`: only into a world that does not run yet. What they make of it then is what a crash makes of
    /// the world that was: [`Model::crossed`].
    pub(super) fn begin(&self, name: Name) -> Result<Called, Unspecified> {
        match self.allows(name, Rights::EPOCH_RECORDS) {
            Err(status) => Ok(Err(status)),
            Ok(()) if self.started => Ok(Err(Status::WrongState)),
            Ok(()) => Err(Unspecified),
        }
    }
}

/// What whoever binds a port may do with it.
pub(crate) const PORT_RIGHTS: Rights = Rights::RECEIVE.union(Rights::SEND).union(Rights::COPY);
