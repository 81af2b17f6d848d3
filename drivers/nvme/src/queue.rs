//! A submission queue with its completion queue (§4.1). Invariants:
//!
//! 1. At most `entries − 1` commands are under way, so neither queue can overflow (kept by the caller, who has a slot
//!    for each).
//! 2. `phase` is the phase bit of entries that the controller has written since the head last passed entry 0 (§4.6):
//!    an entry with another phase is old.

use mmio::{DmaMemory, Registers};

use crate::command::Command;
use crate::registers::Capabilities;
use crate::status::Status;

const SUBMISSION_BYTES: usize = 64;
const COMPLETION_BYTES: usize = 16;

/// One completion queue entry: what it says, not yet believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) identifier: u16,
    pub(crate) queue: u16,
    pub(crate) status: Status,
}

/// A pair of queues of the same number and length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuePair {
    number: u16,
    entries: u32,
    submissions: usize,
    completions: usize,
    tail: u32,
    head: u32,
    phase: bool,
    tail_unannounced: bool,
    head_unannounced: bool,
}

impl QueuePair {
    /// A pair of `entries` at the offsets `submissions` and `completions` of the DMA memory. Clears the completions:
    /// an entry of an earlier life must not look like a new one.
    pub(crate) fn new(
        memory: &impl DmaMemory,
        number: u16,
        entries: u32,
        submissions: usize,
        completions: usize,
    ) -> Self {
        memory.clear(completions, entries as usize * COMPLETION_BYTES);
        Self {
            number,
            entries,
            submissions,
            completions,
            tail: 0,
            head: 0,
            phase: true,
            tail_unannounced: false,
            head_unannounced: false,
        }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    /// Writes a command behind the others; the controller learns of it at [`announce`](Self::announce).
    pub(crate) fn push(&mut self, memory: &impl DmaMemory, command: &Command) {
        let at = self.submissions + self.tail as usize * SUBMISSION_BYTES;
        for (i, dword) in command.0.iter().enumerate() {
            memory.write_u32(at + i * 4, *dword);
        }
        self.tail = (self.tail + 1) % self.entries;
        self.tail_unannounced = true;
    }

    /// Takes the next completion, if the controller has written one.
    pub(crate) fn pop(&mut self, memory: &impl DmaMemory) -> Option<Answer> {
        let at = self.completions + self.head as usize * COMPLETION_BYTES;
        // The dword with the phase bit is read first: when it is new, the entry is complete.
        let last = memory.read_u32(at + 12);
        if (last >> 16 & 1 == 1) != self.phase {
            return None;
        }
        let queue = (memory.read_u32(at + 8) >> 16) as u16;
        self.head += 1;
        if self.head == self.entries {
            self.head = 0;
            self.phase = !self.phase;
        }
        self.head_unannounced = true;
        Some(Answer { identifier: last as u16, queue, status: Status::from_raw(last) })
    }

    /// Rings the doorbells of what has moved.
    pub(crate) fn announce(&mut self, registers: &impl Registers, capabilities: &Capabilities) {
        if self.head_unannounced {
            self.head_unannounced = false;
            registers.write_u32(capabilities.head_doorbell(self.number), self.head);
        }
        if self.tail_unannounced {
            self.tail_unannounced = false;
            registers.write_u32(capabilities.tail_doorbell(self.number), self.tail);
        }
    }
}
