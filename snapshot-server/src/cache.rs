//! Blocks read from the disk, kept by the pointer that leads to them: map nodes, and during recovery whatever it reads.
//!
//! A frame is found by its whole pointer, checksum included, so a block that was freed and written anew is never taken
//! for what it was.

use abi::Epoch;
use format::{Block, Checksum, Pointer};

use crate::disk::{Disk, DiskError};
use crate::memory::{Frame, FrameState, PageRef};
use crate::queue::{Queue, Reader};

/// What asking for a block gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Not yet there: ask again after the next completion.
    Pending,
    /// There, and the frame's number. Whether it was verified is said beside it.
    Ready(PageRef, u16, bool),
    /// The disk could not read it.
    Unreadable,
}

#[derive(Debug)]
pub(crate) struct Cache<'m> {
    frames: &'m mut [Frame],
    clock: u64,
    retries: u8,
}

/// How often a block that the medium could not give is asked for again.
const RETRIES_MAX: u8 = 5;

impl<'m> Cache<'m> {
    pub(crate) fn new(frames: &'m mut [Frame], pages: &[PageRef]) -> Self {
        for (frame, page) in frames.iter_mut().zip(pages) {
            *frame = Frame { page: *page, ..Frame::default() };
        }
        Self { frames, clock: 0, retries: 0 }
    }

    /// A pointer for a block of which nothing but the address is known; what is read is never shared.
    pub(crate) fn raw(block: Block, nonce: u64) -> Pointer {
        Pointer::single(block, Epoch::NONE, Checksum(u128::from(nonce)))
    }

    /// The block that `pointer` leads to, read when it is not here.
    pub(crate) fn fetch<D: Disk>(&mut self, queue: &mut Queue<'_>, disk: &mut D, pointer: &Pointer) -> Fetch {
        self.clock += 1;
        if let Some(index) = self.frames.iter().position(|f| f.state != FrameState::Empty && f.pointer == *pointer) {
            let frame = &mut self.frames[index];
            frame.used = self.clock;
            return match frame.state {
                FrameState::Loaded => Fetch::Ready(frame.page, index as u16, false),
                FrameState::Valid => Fetch::Ready(frame.page, index as u16, true),
                FrameState::Unreadable => {
                    frame.state = frame.failed();
                    Fetch::Unreadable
                }
                FrameState::Bad => Fetch::Unreadable,
                FrameState::Empty | FrameState::Reading => Fetch::Pending,
            };
        }
        let oldest = (0..self.frames.len())
            .filter(|i| self.frames[*i].state != FrameState::Reading)
            .min_by_key(|i| (self.frames[*i].state != FrameState::Empty, self.frames[*i].used));
        if let Some(index) = oldest
            && queue.read(disk, pointer.block, self.frames[index].page, Reader::Frame(index as u16))
        {
            let frame = &mut self.frames[index];
            (frame.pointer, frame.state, frame.used) = (*pointer, FrameState::Reading, self.clock);
        }
        Fetch::Pending
    }

    /// A read into `frame` has ended.
    pub(crate) fn loaded(&mut self, frame: u16, result: Result<(), DiskError>) {
        let frame = &mut self.frames[usize::from(frame)];
        frame.state = match result {
            Ok(()) => {
                self.retries = 0;
                FrameState::Loaded
            }
            // Asked for again when it is wanted again; only the medium's own refusals are counted.
            Err(DiskError::Lost) => FrameState::Empty,
            Err(_) if self.retries < RETRIES_MAX => {
                self.retries += 1;
                FrameState::Empty
            }
            Err(_) => {
                self.retries = 0;
                FrameState::Unreadable
            }
        };
    }

    /// What is in `frame` was looked at; what is not what its pointer says is forgotten.
    pub(crate) fn verified(&mut self, frame: u16, valid: bool) {
        let frame = &mut self.frames[usize::from(frame)];
        frame.state = if valid { FrameState::Valid } else { frame.failed() };
    }

    /// The second copy is no better than the first: both are read anew when they are asked for again.
    pub(crate) fn forget_bad(&mut self, pointer: &Pointer) {
        for frame in self.frames.iter_mut().filter(|frame| frame.state == FrameState::Bad) {
            if frame.pointer == *pointer {
                frame.state = FrameState::Empty;
            }
        }
    }
}
