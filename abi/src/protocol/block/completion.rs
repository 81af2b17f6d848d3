//! How a request ended. Words of an entry: 0 tag; 1 outcome: class in the low byte, detail in the next, the device's own
//! status code in the upper half, for a person to read.

use crate::protocol::ring::{ENTRY_WORDS, Entry};

/// Why a request failed, and who is to blame. After a failed or unknown write the blocks hold old or new contents or a
/// mixture, sector by sector; after a failed read the frames hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockError {
    /// The client asked for what cannot be done; it fails again.
    Caller(CallerFault),
    /// The medium could not keep or give back these blocks; others may be well.
    Medium(MediumFault),
    /// The device failed at something that is not about these blocks. It may go well when asked again, if `again`.
    Controller {
        /// The device does not rule out that a repetition succeeds.
        again: bool,
    },
    /// The data did not get across the bus. It may go well when asked again.
    Transport,
    /// The device was reset, removed or restarted before it answered: the request may or may not have happened.
    Unknown,
}

/// What the client did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CallerFault {
    /// The entry makes no sense.
    Malformed = 1,
    /// Blocks past the end of the disk, or past what the device would accept.
    OutOfRange = 2,
    /// More blocks than [`DiskInfo::request_blocks_max`](super::DiskInfo::request_blocks_max).
    TooLong = 3,
    /// The disk cannot do this.
    Unsupported = 4,
    /// A frame number that no device address reaches.
    BadFrame = 5,
    /// The disk, or this part of it, is write-protected or reserved by another host.
    Protected = 6,
}

/// What the medium did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MediumFault {
    /// It could not store the blocks.
    Write = 1,
    /// It could not give them back.
    Read = 2,
    /// It gave back something that its own checks rejected.
    Check = 3,
    /// It has no room left, or the blocks were deallocated and it will not make up contents.
    Unwritten = 4,
}

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's tag.
    pub tag: u64,
    /// How it ended.
    pub result: Result<(), BlockError>,
    /// The device's own status code; 0 when it gave none.
    pub device_status: u32,
}

const CLASS_DONE: u8 = 0;
const CLASS_CALLER: u8 = 1;
const CLASS_MEDIUM: u8 = 2;
const CLASS_CONTROLLER: u8 = 3;
const CLASS_TRANSPORT: u8 = 4;
const CLASS_UNKNOWN: u8 = 5;

impl Completion {
    pub(super) fn write(&self) -> Entry {
        let (class, detail) = match self.result {
            Ok(()) => (CLASS_DONE, 0),
            Err(BlockError::Caller(fault)) => (CLASS_CALLER, fault as u8),
            Err(BlockError::Medium(fault)) => (CLASS_MEDIUM, fault as u8),
            Err(BlockError::Controller { again }) => (CLASS_CONTROLLER, u8::from(again)),
            Err(BlockError::Transport) => (CLASS_TRANSPORT, 0),
            Err(BlockError::Unknown) => (CLASS_UNKNOWN, 0),
        };
        let mut entry = [0; ENTRY_WORDS];
        entry[0] = self.tag;
        entry[1] = u64::from(class) | u64::from(detail) << 8 | u64::from(self.device_status) << 32;
        entry
    }

    /// `None` for an entry that no driver writes.
    pub(super) fn read(entry: &Entry) -> Option<Self> {
        let [class, detail, zero @ ..] = (entry[1] as u32).to_le_bytes();
        if zero != [0, 0] || entry[2..].iter().any(|word| *word != 0) {
            return None;
        }
        let result = match (class, detail) {
            (CLASS_DONE, 0) => Ok(()),
            (CLASS_CALLER, _) => Err(BlockError::Caller(CallerFault::from_bits(detail)?)),
            (CLASS_MEDIUM, _) => Err(BlockError::Medium(MediumFault::from_bits(detail)?)),
            (CLASS_CONTROLLER, 0 | 1) => Err(BlockError::Controller { again: detail == 1 }),
            (CLASS_TRANSPORT, 0) => Err(BlockError::Transport),
            (CLASS_UNKNOWN, 0) => Err(BlockError::Unknown),
            _ => return None,
        };
        Some(Self { tag: entry[0], result, device_status: (entry[1] >> 32) as u32 })
    }
}

impl CallerFault {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Malformed,
            2 => Self::OutOfRange,
            3 => Self::TooLong,
            4 => Self::Unsupported,
            5 => Self::BadFrame,
            6 => Self::Protected,
            _ => return None,
        })
    }
}

impl MediumFault {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Write,
            2 => Self::Read,
            3 => Self::Check,
            4 => Self::Unwritten,
            _ => return None,
        })
    }
}
