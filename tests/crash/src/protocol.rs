//! The network block device protocol, as far as QEMU speaks it with us: fixed newstyle negotiation, simple replies.
//!
//! Numbers are those of the protocol's specification (`doc/proto.md` of the NBD project); all are big-endian.

use std::io::{self, Read, Write};

/// First word of the greeting.
pub(crate) const GREETING: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Second word of the greeting, and first of each option.
pub(crate) const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// First word of the answer to an option.
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// First word of a request.
pub(crate) const REQUEST: u32 = 0x2560_9513;
/// First word of a simple reply.
pub(crate) const REPLY: u32 = 0x6744_6698;

/// Greeting flags: fixed newstyle, no padding of zeros.
pub(crate) const GREETING_FLAGS: u16 = 0b11;
/// What the disk can: flags are valid, flush is understood, zeros can be written without sending them.
pub(crate) const DISK_FLAGS: u16 = 1 | 1 << 2 | 1 << 6;

/// Options of the negotiation.
pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
}

/// Answers to options.
pub(crate) mod answer {
    pub(crate) const ACKNOWLEDGED: u32 = 1;
    pub(crate) const INFORMATION: u32 = 3;
    pub(crate) const UNSUPPORTED: u32 = 0x8000_0001;
}

/// Kinds of requests.
pub(crate) mod kind {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISCONNECT: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const WRITE_ZEROES: u16 = 6;
}

/// Error numbers in replies.
pub(crate) mod error {
    pub(crate) const NONE: u32 = 0;
    pub(crate) const INVALID: u32 = 22;
}

/// Longest option or request, in bytes: what the specification tells servers to support.
pub(crate) const LENGTH_MAX: u32 = 32 << 20;
/// Information about the disk: its length and flags.
pub(crate) const INFORMATION_EXPORT: u16 = 0;
/// Information about the disk: smallest, preferred and largest request.
pub(crate) const INFORMATION_BLOCK_SIZE: u16 = 3;

/// A request as it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) kind: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl Request {
    /// Reads the next request.
    pub(crate) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let magic = read_u32(stream)?;
        let _flags = read_u16(stream)?;
        let kind = read_u16(stream)?;
        let request = Self { kind, cookie: read_u64(stream)?, offset: read_u64(stream)?, length: read_u32(stream)? };
        if magic != REQUEST || request.length > LENGTH_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(request)
    }

    /// Writes it, as a client does.
    #[cfg(test)]
    pub(crate) fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        stream.write_all(&REQUEST.to_be_bytes())?;
        stream.write_all(&0u16.to_be_bytes())?;
        stream.write_all(&self.kind.to_be_bytes())?;
        stream.write_all(&self.cookie.to_be_bytes())?;
        stream.write_all(&self.offset.to_be_bytes())?;
        stream.write_all(&self.length.to_be_bytes())
    }
}

/// Writes the reply to a request, with `data` behind it.
pub(crate) fn write_reply(stream: &mut impl Write, cookie: u64, error: u32, data: &[u8]) -> io::Result<()> {
    let mut head = Vec::with_capacity(16 + data.len());
    head.extend_from_slice(&REPLY.to_be_bytes());
    head.extend_from_slice(&error.to_be_bytes());
    head.extend_from_slice(&cookie.to_be_bytes());
    head.extend_from_slice(data);
    stream.write_all(&head)
}

/// Writes an answer to an option.
pub(crate) fn write_answer(stream: &mut impl Write, option: u32, answer: u32, data: &[u8]) -> io::Result<()> {
    stream.write_all(&OPTION_REPLY.to_be_bytes())?;
    stream.write_all(&option.to_be_bytes())?;
    stream.write_all(&answer.to_be_bytes())?;
    stream.write_all(&(data.len() as u32).to_be_bytes())?;
    stream.write_all(data)
}

pub(crate) fn read_u16(stream: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

pub(crate) fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

pub(crate) fn read_u64(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Reads `length` bytes, refusing lengths that nobody needs.
pub(crate) fn read_bytes(stream: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length > LENGTH_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
