//! Devices: interrupts that ring a notification, I/O ports, the debug port.

use super::{Called, End, Model, Name, Object};
use crate::event::Frame;
use abi::{Handle, Rights, Status};
use std::collections::{BTreeMap, BTreeSet};

/// Interrupts below this are lines, which stay masked until they are acknowledged; the rest are messages.
const LINES: u32 = 24;
/// First I/O port of the debug serial port.
const DEBUG_PORT: u64 = 0x3f8;

/// What devices have been told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Interrupts there are.
    pub interrupts: u32,
    /// Lines that are masked.
    pub masked: BTreeSet<u32>,
    /// The last value written to each I/O port.
    pub ports: BTreeMap<u16, u32>,
    /// What was written to the debug port.
    pub debug: Vec<u8>,
}

impl Model {
    /// First and count of a range that this capability gives.
    fn range_of(&self, name: Name, needed: Rights) -> Result<(u64, u64), Status> {
        self.allows(name, needed)?;
        let Object::Range(_, first, count) = self.caps[&name].object else { return Err(Status::WrongKind) };
        Ok((first.into(), count.into()))
    }

    fn interrupt_of(&self, name: Name) -> Result<u32, Status> {
        let (first, _) = self.range_of(name, Rights::INTERRUPT_BIND)?;
        if first < u64::from(self.devices.interrupts) { Ok(first as u32) } else { Err(Status::BadRange) }
    }

    /// An interrupt arrives: a line is masked; whoever is bound to it is signalled.
    pub(super) fn interrupt(&mut self, line: u32) {
        if line < LINES {
            self.devices.masked.insert(line);
        }
        if let Some((notification, badge)) = self.rings(line) {
            self.signal_bits(notification, badge);
        }
    }

    /// What an interrupt rings now, and with what badge: through the handles by which it was bound, if these still lead
    /// to it and to a notification.
    fn rings(&self, line: u32) -> Option<(u32, u64)> {
        let &(process, interrupt, bell) = self.interrupts.get(&line)?;
        let (first, _) = self.range_of((process, interrupt), Rights::INTERRUPT_BIND).ok()?;
        self.allows((process, bell), Rights::SIGNAL).ok()?;
        let bell = &self.caps[&(process, bell)];
        match bell.object {
            Object::Is(_, notification) if first == u64::from(line) && bell.badge != 0 => {
                Some((notification, bell.badge))
            }
            _ => None,
        }
    }

    /// `BindInterrupt`: the first of the range rings a notification from now on, as if the process signalled it. How
    /// the device is to be told is the machine's to say.
    pub(super) fn bind_interrupt(&mut self, thread: u32, name: Name, frame: Frame, seen: &Self) -> Called {
        let line = self.interrupt_of(name)?;
        let bell = (name.0, Handle(frame.caps as u16).0);
        self.allows(bell, Rights::SIGNAL)?;
        if self.caps[&bell].badge == 0 {
            return Err(Status::BadArgument);
        }
        self.interrupts.insert(line, (name.0, name.1, bell.1));
        self.devices.masked.remove(&line);
        let said = seen.thread(thread).frame;
        let frame = &mut self.thread_mut(thread).frame;
        (frame.rdi, frame.words[0]) = (said.rdi, said.words[0]);
        Ok(End::Done)
    }

    /// `AckInterrupt`: the line may ring again, if it rings anything.
    pub(super) fn ack_interrupt(&mut self, name: Name) -> Called {
        let line = self.interrupt_of(name)?;
        self.rings(line).ok_or(Status::WrongState)?;
        self.devices.masked.remove(&line);
        Ok(End::Done)
    }

    /// The I/O port that a call names, all of whose bytes must lie in the capability's range.
    fn port_of(&self, name: Name, frame: Frame) -> Result<u16, Status> {
        let (first, count) = self.range_of(name, Rights::PORTS_USE)?;
        let (port, width) = (frame.rdi, frame.words[0]);
        if !matches!(width, 1 | 2 | 4) {
            return Err(Status::BadArgument);
        }
        let inside = port >= first && port.checked_add(width).is_some_and(|end| end <= first + count);
        if inside { Ok(port as u16) } else { Err(Status::BadRange) }
    }

    /// `PortRead`. A port of these devices says what was last written to it.
    pub(super) fn port_read(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        let port = self.port_of(name, frame)?;
        let value = self.devices.ports.get(&port).copied().unwrap_or_default();
        self.thread_mut(thread).frame.rdi = value.into();
        Ok(End::Done)
    }

    /// `PortWrite`.
    pub(super) fn port_write(&mut self, name: Name, frame: Frame) -> Called {
        let port = self.port_of(name, frame)?;
        self.devices.ports.insert(port, frame.words[1] as u32);
        Ok(End::Done)
    }

    /// `DebugWrite`: up to 64 bytes, for whoever may use the debug port.
    pub(super) fn debug_write(&mut self, name: Name, frame: Frame) -> Called {
        let (first, count) = self.range_of(name, Rights::PORTS_USE)?;
        if !(first..first + count).contains(&DEBUG_PORT) {
            return Err(Status::BadRange);
        }
        let bytes = frame.words.map(u64::to_le_bytes).concat();
        let said = usize::try_from(frame.rdi).ok().and_then(|count| bytes.get(..count)).ok_or(Status::BadArgument)?;
        self.devices.debug.extend_from_slice(said);
        Ok(End::Done)
    }
}
