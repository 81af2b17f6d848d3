//! Messages and what a receive brings.

use crate::raw::Frame;
use abi::fault::{Access, Fault};
use abi::registers::{pack_caps, unpack_caps};
use abi::{CAPS_MAX, Control, Event, FLAG_MOVE, Handle, Outcome, WORDS};
use core::hint::cold_path;

/// A tag, eight words, up to four capabilities: all in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What is asked or answered; its meaning is the protocol's.
    pub tag: u64,
    /// The words.
    pub words: [u64; WORDS],
    /// Handles of the capabilities, from the front; the first null handle ends them. Sent, they name what is copied
    /// (or moved); received, where the copies were put.
    pub caps: [Handle; CAPS_MAX],
}

impl Message {
    /// A message with this tag and nothing else.
    pub const fn tagged(tag: u64) -> Self {
        Self { tag, words: [0; WORDS], caps: [Handle::NULL; CAPS_MAX] }
    }

    /// With word `index` (0 … 7) set.
    #[must_use]
    pub const fn word(mut self, index: usize, value: u64) -> Self {
        self.words[index] = value;
        self
    }

    /// With capability `index` (0 … 3) set; those before it must be set too.
    #[must_use]
    pub const fn cap(mut self, index: usize, handle: Handle) -> Self {
        self.caps[index] = handle;
        self
    }

    /// `control`, with the flags that say how many capabilities go with it. Most messages carry none, and that is one
    /// look at them all.
    #[inline(always)]
    pub(crate) fn marked(&self, control: Control, flags: impl FnOnce(&Self) -> u8) -> Control {
        if pack_caps(self.caps) == 0 {
            return control;
        }
        cold_path();
        control.with_flags(control.flags() | flags(self))
    }

    /// How many capabilities go with it.
    #[inline]
    pub(crate) fn caps_count(&self) -> u8 {
        self.caps.iter().take_while(|handle| !handle.is_null()).count() as u8
    }

    /// Flags that move its capabilities, if it has any: a message without goes the shortest way.
    #[inline]
    pub(crate) fn moving_flags(&self) -> u8 {
        let count = self.caps_count();
        if count == 0 { 0 } else { count | FLAG_MOVE }
    }

    #[inline(always)]
    pub(crate) fn frame(&self) -> Frame {
        Frame { tag: self.tag, words: self.words, caps: pack_caps(self.caps) }
    }

    #[inline(always)]
    pub(crate) fn of(frame: Frame) -> Self {
        Self { tag: frame.tag, words: frame.words, caps: unpack_caps(frame.caps) }
    }
}

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message whose sender does not wait.
    Message {
        /// The badge of the capability it was sent through.
        badge: u64,
        /// The message.
        message: Message,
    },
    /// A message whose sender waits: the thread now holds its Reply.
    Call {
        /// The badge of the capability it was sent through.
        badge: u64,
        /// The message.
        message: Message,
    },
    /// The bound notification was signalled first: its bits.
    Notification(u64),
    /// A fault of a process that the endpoint serves: the thread now holds the Reply that lets it go on.
    Fault(FaultReport),
}

impl Received {
    #[inline(always)]
    pub(crate) fn of(outcome: Outcome, frame: Frame) -> Self {
        let badge = outcome.badge();
        match outcome.kind() {
            Event::Message => Self::Message { badge, message: Message::of(frame) },
            Event::Call => Self::Call { badge, message: Message::of(frame) },
            Event::Notification => Self::Notification(badge),
            Event::Fault => Self::Fault(FaultReport::of(badge, frame)),
            Event::None => panic!("a receive succeeded and brought nothing"),
        }
    }
}

/// A fault, as told to whoever serves the process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// The badge given to `SetMemoryPort`.
    pub badge: u64,
    /// A missing page, or another exception.
    pub kind: Fault,
    /// The address accessed.
    pub address: u64,
    /// The access (for a page fault).
    pub access: Access,
    /// The exception's vector (for another exception; 14 for a page fault).
    pub vector: u8,
    /// The process, as `Map` through the memory port wants it named.
    pub process: u64,
    /// The thread's number.
    pub thread: u64,
    /// Its instruction pointer.
    pub instruction: u64,
    /// The CPU's error code.
    pub error_code: u64,
}

impl FaultReport {
    #[inline]
    pub(crate) fn of(badge: u64, frame: Frame) -> Self {
        let [address, what, process, thread, instruction, error_code, ..] = frame.words;
        let (kind, access, vector) = if frame.tag == Fault::Exception as u64 {
            (Fault::Exception, Access::empty(), what as u8)
        } else {
            (Fault::Page, Access::from_bits_truncate(what), 14)
        };
        Self { badge, kind, address, access, vector, process, thread, instruction, error_code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_through_registers_unchanged() {
        let message = Message::tagged(7).word(0, 1).word(7, 8).cap(0, Handle(3)).cap(1, Handle(4));
        assert_eq!(Message::of(message.frame()), message);
        assert_eq!(message.caps_count(), 2);
        assert_eq!(Message::default().caps_count(), 0);
    }

    #[test]
    fn faults_are_told_apart() {
        let mut frame = Message::tagged(Fault::Page as u64).word(0, 0x5000).word(1, 3).word(2, 9).frame();
        let Received::Fault(report) = Received::of(Outcome::event(Event::Fault, 5), frame) else { panic!("a fault") };
        assert_eq!((report.badge, report.address, report.process), (5, 0x5000, 9));
        assert_eq!((report.kind, report.access), (Fault::Page, Access::WRITE | Access::EXECUTE));
        frame.tag = Fault::Exception as u64;
        let Received::Fault(report) = Received::of(Outcome::event(Event::Fault, 5), frame) else { panic!("a fault") };
        assert_eq!((report.kind, report.vector), (Fault::Exception, 3));
    }
}
