//! What drivers need besides windows: interrupts and I/O ports.

use crate::Notification;
use crate::error::errors;
use crate::message::Message;
use crate::raw::{syscall, syscall_short};
use abi::{Call, Control, Handle};

errors! {
    /// Why the interrupt was not bound.
    BindInterruptError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, AlreadyBound, PeerDied, BadRange }
    /// Why it was not acknowledged.
    AckError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WrongState, PeerDied, BadRange }
    /// Why the port was not touched.
    PortError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadRange }
}

/// A capability to a range of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt(pub Handle);

/// What a device writes where to raise a message interrupt; zeros for an interrupt line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageInterrupt {
    /// The address.
    pub address: u64,
    /// The data.
    pub data: u32,
}

impl Interrupt {
    /// Delivers the first interrupt of the range as a signal through `to`.
    pub fn bind(self, to: Notification) -> Result<MessageInterrupt, BindInterruptError> {
        let message = Message::default().cap(0, to.0);
        let (outcome, frame) = syscall(Control::new(Call::BindInterrupt, self.0).with_flags(1), message.frame());
        BindInterruptError::check(outcome)?;
        Ok(MessageInterrupt { address: frame.tag, data: frame.words[0] as u32 })
    }

    /// Lets it arrive again.
    pub fn acknowledge(self) -> Result<(), AckError> {
        AckError::check(syscall_short(Control::new(Call::AckInterrupt, self.0), 0).0)
    }
}

/// A capability to a range of I/O ports. Ports are named by their absolute numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPorts(pub Handle);

/// Bytes that one debug write takes.
pub(crate) const DEBUG_BYTES_MAX: usize = 64;

impl IoPorts {
    /// Reads `width` bytes (1, 2, 4) from `port`.
    pub fn read(self, port: u16, width: u8) -> Result<u32, PortError> {
        let message = Message::tagged(port.into()).word(0, width.into());
        let (outcome, frame) = syscall(Control::new(Call::PortRead, self.0), message.frame());
        PortError::check(outcome)?;
        Ok(frame.tag as u32)
    }

    /// Writes `width` bytes (1, 2, 4) to `port`.
    pub fn write(self, port: u16, width: u8, value: u32) -> Result<(), PortError> {
        let message = Message::tagged(port.into()).word(0, width.into()).word(1, value.into());
        PortError::check(syscall(Control::new(Call::PortWrite, self.0), message.frame()).0)
    }

    /// Writes to the kernel's debug serial port, which the range must cover. 64 bytes a call: what is longer may be
    /// mixed with what others write.
    pub fn debug_write(self, bytes: &[u8]) -> Result<(), PortError> {
        for chunk in bytes.chunks(DEBUG_BYTES_MAX) {
            let mut packed = [0; DEBUG_BYTES_MAX];
            packed[..chunk.len()].copy_from_slice(chunk);
            let mut words = [0; 8];
            for (word, bytes) in words.iter_mut().zip(packed.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            let message = Message { tag: chunk.len() as u64, words, ..Message::default() };
            PortError::check(syscall(Control::new(Call::DebugWrite, self.0), message.frame()).0)?;
        }
        Ok(())
    }
}
