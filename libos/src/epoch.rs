//! Epochs: the calls of pager and snapshot server.

use crate::error::errors;
use crate::message::Message;
use crate::raw::{Frame, syscall};
use crate::{Endpoint, Memory};
use abi::protocol::service::Service;
use abi::{Call, Control, Epoch, FRAMES_BATCH_MAX, FrameState, Handle, Outcome, Status};

errors! {
    /// Why the epoch goes on.
    CutError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, Busy, WrongState }
    /// Why the log was not read.
    ReadLogError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WrongState, BadRange }
    /// Why no frame was taken.
    DonateError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadRange, WrongState }
    /// Why no frame changed.
    SetFramesError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadRange, WrongState }
    /// Why nothing was exported.
    ExportError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadRange, WrongState }
    /// Why the announcement was refused.
    CommittedError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, WrongState }
    /// Why the port is not there.
    BindPortError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, TableFull, TablesExhausted, WrongState }
    /// A refusal that names no record.
    RestoreRefusal { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BadRange, WrongState, TablesExhausted, BadRecord, Busy, PoolExhausted }
}

/// Why records were not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// This record is not one the kernel could have written: the store, or who fed it, is to blame.
    BadRecord {
        /// Its table, as [`abi::record::Table`] numbers them.
        table: u16,
        /// Its index.
        index: u32,
    },
    /// The call itself was refused.
    Refused(RestoreRefusal),
}

/// Why the world does not run.
pub type ResumeError = RestoreError;

/// A capability to the Epoch object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochControl(pub Handle);

/// What a cut returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutPoint {
    /// The epoch that now runs.
    pub running: Epoch,
    /// Position in the log of first writes at which the ended epoch ends.
    pub log_position: u64,
    /// No record of the kernel had changed in the ended epoch.
    pub quiet: bool,
}

/// A first write: the frame, and the frame that now holds what was frozen in it (0: the contents needed no copy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The frame that was written to.
    pub frame: u32,
    /// Where its frozen contents are, or 0.
    pub copy: u32,
}

/// Entries of the log of first writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstWrites {
    entries: [Copied; FRAMES_BATCH_MAX],
    count: usize,
}

impl FirstWrites {
    /// The entries, in order.
    pub fn entries(&self) -> &[Copied] {
        &self.entries[..self.count]
    }
}

impl EpochControl {
    /// Ends the current epoch.
    pub fn cut(self) -> Result<CutPoint, CutError> {
        let (outcome, frame) = syscall(Control::new(Call::Cut, self.0), Message::default().frame());
        CutError::check(outcome)?;
        Ok(CutPoint { running: Epoch::from_bits(frame.tag), log_position: frame.words[0], quiet: frame.words[1] != 0 })
    }

    /// Reads the log of first writes from `position` on, releasing what lies before it. From now on first writes stop at
    /// position `limit`; `u64::MAX`: nowhere.
    pub fn read_log(self, position: u64, limit: u64) -> Result<FirstWrites, ReadLogError> {
        let asked = Message::tagged(position).word(0, limit);
        let (outcome, frame) = syscall(Control::new(Call::ReadLog, self.0), asked.frame());
        ReadLogError::check(outcome)?;
        let count = frame.tag.min(FRAMES_BATCH_MAX as u64) as usize;
        let entries = frame.words.map(|word| Copied { frame: word as u32, copy: (word >> 32) as u32 });
        Ok(FirstWrites { entries, count })
    }

    /// Donates up to 8 frames (page offsets within `memory`) for copies; returns how many there was room for.
    pub fn donate(self, memory: Memory, pages: &[u64]) -> Result<usize, DonateError> {
        let (words, count) = batch(pages);
        let (outcome, frame) = self.with_memory(Call::Donate, memory, count, words);
        DonateError::check(outcome)?;
        Ok(frame.tag as usize)
    }

    /// Sets the state of up to 8 frames (page offsets within `memory`); returns a mask of those that changed.
    pub fn set_frames(self, memory: Memory, state: FrameState, pages: &[u64]) -> Result<u8, SetFramesError> {
        let (words, count) = batch(pages);
        let (outcome, frame) = self.with_memory(Call::SetFrames, memory, count | (state as u64) << 8, words);
        SetFramesError::check(outcome)?;
        Ok(frame.tag as u8)
    }

    /// Writes a batch of the ended epoch's changed records into page `page` of `memory`; returns its bytes, 0 when all
    /// have been exported.
    pub fn export(self, memory: Memory, page: u64) -> Result<usize, ExportError> {
        let (outcome, frame) = self.with_memory(Call::Export, memory, page, [0; 8]);
        ExportError::check(outcome)?;
        Ok(frame.tag as usize)
    }

    /// Gives back the batch of records in page `page` of `memory`; returns how many were taken.
    pub fn restore(self, memory: Memory, page: u64) -> Result<usize, RestoreError> {
        let (outcome, frame) = self.with_memory(Call::Restore, memory, page, [0; 8]);
        check_records(outcome, &frame)?;
        Ok(frame.tag as usize)
    }

    /// Lets the world run, from `first` on and at this world time.
    pub fn resume(self, first: Epoch, world_ns: u64) -> Result<(), ResumeError> {
        let message = Message::tagged(first.bits()).word(0, world_ns);
        let (outcome, frame) = syscall(Control::new(Call::Resume, self.0), message.frame());
        check_records(outcome, &frame)
    }

    /// Announces that `epoch` and all before it are durable.
    pub fn committed(self, epoch: Epoch) -> Result<(), CommittedError> {
        let message = Message::tagged(epoch.bits());
        let (outcome, _) = syscall(Control::new(Call::Committed, self.0), message.frame());
        CommittedError::check(outcome)
    }

    /// A receiving capability for a port of the world; `BadArgument` when the world has no such port.
    pub fn bind_port(self, service: Service) -> Result<Endpoint, BindPortError> {
        let message = Message::tagged(service as u64);
        let (outcome, frame) = syscall(Control::new(Call::BindPort, self.0), message.frame());
        BindPortError::check(outcome)?;
        Ok(Endpoint(Handle(frame.tag as u16)))
    }

    fn with_memory(self, call: Call, memory: Memory, argument: u64, words: [u64; 8]) -> (Outcome, Frame) {
        let message = Message { tag: argument, words, ..Message::default() }.cap(0, memory.0);
        syscall(Control::new(call, self.0).with_flags(1), message.frame())
    }
}

/// The first [`FRAMES_BATCH_MAX`] of `pages` as words, and how many there are.
fn batch(pages: &[u64]) -> ([u64; FRAMES_BATCH_MAX], u64) {
    let mut words = [0; FRAMES_BATCH_MAX];
    let count = pages.len().min(FRAMES_BATCH_MAX);
    words[..count].copy_from_slice(&pages[..count]);
    (words, count as u64)
}

fn check_records(outcome: Outcome, frame: &Frame) -> Result<(), RestoreError> {
    if outcome.status() == Status::BadRecord {
        return Err(RestoreError::BadRecord { table: frame.words[0] as u16, index: frame.words[1] as u32 });
    }
    RestoreRefusal::check(outcome).map_err(RestoreError::Refused)
}
