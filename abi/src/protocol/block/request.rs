//! What a client asks. Words of an entry: 0 tag; 1 op | flags << 8 | blocks << 32; 2 first block; 3 … 7 the frames
//! when they are at most [`INLINE_MAX`], else zero and the frames lie in the list of the entry's slot.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{FRAMES_MAX, ZERO_BLOCKS_MAX, list_of};
use crate::protocol::ring::{ENTRY_WORDS, Entry};

/// Frames that fit into the entry itself.
const INLINE_MAX: usize = ENTRY_WORDS - FRAMES_AT;
const FRAMES_AT: usize = 3;
const FLAG_DURABLE: u64 = 1 << 8;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// Fill the frames from the disk.
    Read = 1,
    /// Write the frames to the disk: durable after a flush that was submitted when this had completed.
    Write = 2,
    /// Make every write that had completed at submission durable. Names no blocks and no frames.
    Flush = 3,
    /// Make the blocks read as zeroes. Names no frames.
    WriteZeroes = 4,
    /// Say that the blocks' contents are of no use any more; they then read as anything. Names no frames.
    Deallocate = 5,
}

impl Op {
    /// From its number.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Read,
            2 => Self::Write,
            3 => Self::Flush,
            4 => Self::WriteZeroes,
            5 => Self::Deallocate,
            _ => return None,
        })
    }

    /// Whether each block comes with a frame.
    #[must_use]
    pub const fn has_frames(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// A request, checked: [`Request::check`] holds for each value that comes out of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the request in its completion; the client's choice.
    pub tag: u64,
    /// What to do.
    pub op: Op,
    /// Ask that this write be durable when it completes (FUA). A hint: some disks accept and ignore it, so only a
    /// flush may be relied on.
    pub durable: bool,
    /// First block.
    pub block: u64,
    /// How many blocks; for reads and writes, how many of `frames` count.
    pub blocks: u32,
    /// A frame number for each block.
    pub frames: [u64; FRAMES_MAX],
}

/// Why a request is malformed: always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// No such operation, or bits that mean nothing.
    NoSuchOp,
    /// A flush with blocks, anything else without, more than [`FRAMES_MAX`] for a read or write or [`ZERO_BLOCKS_MAX`]
    /// to zero, or past 2^64.
    BadRange,
}

impl Request {
    /// A request without frames.
    #[must_use]
    pub const fn plain(tag: u64, op: Op, block: u64, blocks: u32) -> Self {
        Self { tag, op, durable: false, block, blocks, frames: [0; FRAMES_MAX] }
    }

    /// A read or write of as many blocks as there are frames; `None` when there are more than [`FRAMES_MAX`].
    #[must_use]
    pub fn transfer(tag: u64, op: Op, block: u64, frames: &[u64]) -> Option<Self> {
        let mut request = Self::plain(tag, op, block, u32::try_from(frames.len()).ok()?);
        request.frames.get_mut(..frames.len())?.copy_from_slice(frames);
        Some(request)
    }

    /// The frames that count.
    #[must_use]
    pub fn frames(&self) -> &[u64] {
        let count = if self.op.has_frames() { self.blocks as usize } else { 0 };
        self.frames.get(..count).unwrap_or(&[])
    }

    /// Whether any client may ask this of any disk.
    ///
    /// # Errors
    /// [`RequestError::BadRange`].
    pub fn check(&self) -> Result<(), RequestError> {
        let fits = match self.op {
            Op::Flush => self.blocks == 0 && self.block == 0,
            Op::Read | Op::Write => (1..=FRAMES_MAX as u32).contains(&self.blocks),
            Op::WriteZeroes => (1..=ZERO_BLOCKS_MAX).contains(&self.blocks),
            Op::Deallocate => self.blocks != 0,
        };
        let ends = self.block.checked_add(u64::from(self.blocks)).is_some();
        if fits && ends { Ok(()) } else { Err(RequestError::BadRange) }
    }

    /// As it lies in the ring; frames that do not fit go to `list`.
    pub(super) fn write(&self, list: &[AtomicU64]) -> Entry {
        let mut entry = [0; ENTRY_WORDS];
        entry[0] = self.tag;
        entry[1] = self.op as u64 | if self.durable { FLAG_DURABLE } else { 0 } | u64::from(self.blocks) << 32;
        entry[2] = self.block;
        let frames = self.frames();
        if frames.len() <= INLINE_MAX {
            entry[FRAMES_AT..FRAMES_AT + frames.len()].copy_from_slice(frames);
        } else {
            for (word, frame) in list.iter().zip(frames) {
                word.store(*frame, Ordering::Relaxed);
            }
        }
        entry
    }

    /// Takes entry `index` apart; trusts nothing in it. Even then the tag, which is any number, is the client's.
    pub(super) fn read(area: &[AtomicU64], index: u64, entry: &Entry) -> Result<Self, RequestError> {
        let op = Op::from_bits(entry[1] as u8).ok_or(RequestError::NoSuchOp)?;
        if entry[1] & 0xffff_fe00 != 0 {
            return Err(RequestError::NoSuchOp);
        }
        let mut request = Self::plain(entry[0], op, entry[2], (entry[1] >> 32) as u32);
        request.durable = entry[1] & FLAG_DURABLE != 0;
        request.check()?;
        let count = if op.has_frames() { request.blocks as usize } else { 0 };
        if count <= INLINE_MAX {
            request.frames[..count].copy_from_slice(&entry[FRAMES_AT..FRAMES_AT + count]);
        } else {
            let list = list_of(area, index).ok_or(RequestError::BadRange)?;
            for (frame, word) in request.frames[..count].iter_mut().zip(list) {
                *frame = word.load(Ordering::Relaxed);
            }
        }
        Ok(request)
    }
}
