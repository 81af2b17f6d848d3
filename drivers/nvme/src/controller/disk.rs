//! Reading and writing, once the controller is ready.

use abi::protocol::block::{BlockError, CallerFault, DiskInfo, FRAMES_MAX, Op, Request};
use mmio::{DmaMemory, Registers};

use super::{Controller, Death, Phase};
use crate::command::Command;
use crate::memory::{describe, describe_range, frame_is_reachable};
use crate::registers::Condition;

/// Why a request was not submitted; then nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// The controller is not ready: wait, or see why it is dead.
    NotReady,
    /// As many requests are under way as can be: take completions first.
    Full,
    /// The request itself is wrong.
    Caller(CallerFault),
}

impl<R: Registers, D: DmaMemory> Controller<R, D> {
    /// Whether this disk could do what is asked, if it were cut into commands that are not too long.
    ///
    /// # Errors
    /// See [`SubmitError`]; never [`SubmitError::Full`].
    pub fn admits(&self, request: &Request) -> Result<(), SubmitError> {
        let (Phase::Ready, Some(info)) = (self.phase, self.info()) else {
            return Err(SubmitError::NotReady);
        };
        let info = DiskInfo { request_blocks_max: FRAMES_MAX as u32, ..info };
        admissible(request, &info).map_err(SubmitError::Caller)
    }

    /// Submits a request. The frames that it names belong to the device until its completion is taken. The device
    /// learns of it at the next [`poll`](Controller::poll), so that several share a doorbell.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit(&mut self, now_ns: u64, request: &Request) -> Result<(), SubmitError> {
        let (Phase::Ready, Some(info), Some(namespace)) = (self.phase, self.info(), self.found.namespace) else {
            return Err(SubmitError::NotReady);
        };
        admissible(request, &info).map_err(SubmitError::Caller)?;
        if !self.has_room() {
            return Err(SubmitError::Full);
        }
        let slot = self.slots.vacancy().ok_or(SubmitError::Full)?;
        let per_block = u64::from(namespace.sectors_per_block);
        let sector = request.block * per_block;
        // `admissible` keeps this below 2^32: reads and writes by FRAMES_MAX, zeroes by ZERO_BLOCKS_MAX.
        let sectors = u32::try_from(u64::from(request.blocks) * per_block)
            .map_err(|_| SubmitError::Caller(CallerFault::TooLong))?;

        // Nothing can fail from here on.
        if request.op == Op::Flush && self.flush_must_fail {
            self.flush_must_fail = false;
            self.writes_settled = self.writes_done;
            self.slots.finish_at_once(slot, request.tag, Op::Flush, Err(BlockError::Unknown));
            return Ok(());
        }
        let number = self.found.namespace_number;
        let command = match request.op {
            Op::Read | Op::Write => {
                let pages = describe(&self.memory, slot, request.frames());
                Command::transfer(request.op == Op::Write, number, pages, sector, sectors, request.durable)
            }
            Op::Flush => Command::flush(number),
            Op::WriteZeroes => Command::write_zeroes(number, sector, sectors, request.durable),
            Op::Deallocate => Command::deallocate(number, describe_range(&self.memory, slot, sector, sectors)),
        };
        let covers = if request.op == Op::Flush { self.writes_done } else { 0 };
        let deadline_ns = now_ns.saturating_add(self.settings.command_ns_max);
        let identifier = self.slots.take_off(slot, request.tag, request.op, deadline_ns, covers);
        self.io.push(&self.memory, &command.named(identifier));
        Ok(())
    }

    pub(super) fn step_ready(&mut self, now_ns: u64) -> bool {
        self.io.announce(&self.registers, &self.capabilities);
        let before = self.slots.flying();
        if !self.sweep() {
            return self.restart(now_ns);
        }
        let after = self.slots.flying();
        if after < before {
            self.resets_in_row = 0;
        }
        if after == 0 {
            return false;
        }
        if now_ns >= self.look_at_ns {
            self.look_at_ns = now_ns.saturating_add(self.settings.look_ns_max);
            match self.condition() {
                Condition::Removed => return self.die(Death::Removed),
                Condition::Fatal | Condition::NotReady => return self.restart(now_ns),
                Condition::Ready => {}
            }
        }
        // Only after the sweep: an answer whose interrupt got lost is not late.
        if self.slots.deadline_ns().is_some_and(|deadline_ns| now_ns >= deadline_ns) {
            return self.restart(now_ns);
        }
        false
    }

    /// Takes all answers of the I/O queue; false when one of them is nonsense.
    pub(super) fn sweep(&mut self) -> bool {
        // More answers than entries would mean that the device overwrites what has not been announced as read.
        for _ in 0..self.io.entries() {
            let Some(answer) = self.io.pop(&self.memory) else {
                break;
            };
            let landed = (answer.queue == self.io.number()).then(|| self.slots.land(answer.identifier, answer.status));
            let Some(landed) = landed.flatten() else {
                return false;
            };
            match (landed.op, landed.result) {
                (Op::Write | Op::WriteZeroes | Op::Deallocate, Ok(())) => self.writes_done += 1,
                (Op::Flush, Ok(())) => self.writes_settled = self.writes_settled.max(landed.covers),
                _ => {}
            }
        }
        self.io.announce(&self.registers, &self.capabilities);
        true
    }
}

/// Whether this disk can do what is asked.
fn admissible(request: &Request, info: &DiskInfo) -> Result<(), CallerFault> {
    request.check().map_err(|_| CallerFault::Malformed)?;
    let supported = match request.op {
        Op::Read | Op::Write | Op::Flush => true,
        Op::WriteZeroes => info.can_zero,
        Op::Deallocate => info.can_deallocate,
    };
    if !supported {
        return Err(CallerFault::Unsupported);
    }
    if request.op.has_frames() && request.blocks > info.request_blocks_max {
        return Err(CallerFault::TooLong);
    }
    let end = request.block.checked_add(u64::from(request.blocks));
    if end.is_none_or(|end| end > info.blocks) {
        return Err(CallerFault::OutOfRange);
    }
    if !request.frames().iter().all(|frame| frame_is_reachable(*frame)) {
        return Err(CallerFault::BadFrame);
    }
    Ok(())
}
