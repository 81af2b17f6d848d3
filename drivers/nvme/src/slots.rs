//! The commands under way. Invariants (checked by [`Slots::check`]):
//!
//! 1. Each slot is free, flying (the controller may touch its frames) or done (it may not), and `free`, `flying`, `done`
//!    say so: disjoint, and together all slots.
//! 2. A done slot has a result; it turns free only by being taken: one completion for each request.
//! 3. A command identifier is slot | generation << 6, and the generation changes with each use: an answer that comes
//!    twice, or from a life before a reset, names no flying command.

use abi::protocol::block::{BlockError, Completion, Op};

use crate::memory::SLOTS;
use crate::status::Status;

const SLOT_BITS: u32 = SLOTS.trailing_zeros();

const _: () = assert!(SLOTS == 64, "the masks below are 64 bits");

/// One command.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u64,
    op: Op,
    generation: u16,
    deadline_ns: u64,
    /// For a flush: writes that had completed when it was submitted.
    covers: u64,
    result: Result<(), BlockError>,
    device_status: u32,
}

/// What is known about a command that has just been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) op: Op,
    pub(crate) covers: u64,
    pub(crate) result: Result<(), BlockError>,
}

/// All commands of the I/O queue.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: [Slot; SLOTS],
    free: u64,
    flying: u64,
    done: u64,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        let empty =
            Slot { tag: 0, op: Op::Flush, generation: 0, deadline_ns: 0, covers: 0, result: Ok(()), device_status: 0 };
        Self { slots: [empty; SLOTS], free: u64::MAX, flying: 0, done: 0 }
    }

    /// Commands that the controller has not answered.
    pub(crate) fn flying(&self) -> u32 {
        self.flying.count_ones()
    }

    /// Commands whose completion waits to be taken.
    pub(crate) fn done(&self) -> u32 {
        self.done.count_ones()
    }

    /// A slot that is free now.
    pub(crate) fn vacancy(&self) -> Option<usize> {
        (self.free != 0).then(|| self.free.trailing_zeros() as usize)
    }

    /// The command in `slot` (a [`vacancy`](Self::vacancy)) takes off. Gives its identifier.
    pub(crate) fn take_off(&mut self, slot: usize, tag: u64, op: Op, deadline_ns: u64, covers: u64) -> u16 {
        let generation = self.slots[slot].generation.wrapping_add(1) & (u16::MAX >> SLOT_BITS);
        self.slots[slot] = Slot { tag, op, generation, deadline_ns, covers, result: Ok(()), device_status: 0 };
        self.free &= !(1 << slot);
        self.flying |= 1 << slot;
        slot as u16 | generation << SLOT_BITS
    }

    /// The request that would have gone into `slot` (a vacancy) is answered without the controller.
    pub(crate) fn finish_at_once(&mut self, slot: usize, tag: u64, op: Op, result: Result<(), BlockError>) {
        self.take_off(slot, tag, op, 0, 0);
        self.finish(slot, result, 0);
    }

    fn finish(&mut self, slot: usize, result: Result<(), BlockError>, device_status: u32) {
        self.slots[slot].result = result;
        self.slots[slot].device_status = device_status;
        self.flying &= !(1 << slot);
        self.done |= 1 << slot;
    }

    /// The controller has answered; `None` when it answers what nobody asked.
    pub(crate) fn land(&mut self, identifier: u16, status: Status) -> Option<Answered> {
        let slot = usize::from(identifier) % SLOTS;
        let generation = identifier >> SLOT_BITS;
        if self.flying >> slot & 1 == 0 || self.slots[slot].generation != generation {
            return None;
        }
        let result = status.judge();
        self.finish(slot, result, status.number());
        Some(Answered { op: self.slots[slot].op, covers: self.slots[slot].covers, result })
    }

    /// The controller has stopped: whatever was flying may or may not have happened. Gives the most that one of the
    /// flushes among them covered: of so many writes the client now hears that they may be lost.
    pub(crate) fn ground_all(&mut self) -> u64 {
        let mut covered = 0;
        while self.flying != 0 {
            let slot = self.flying.trailing_zeros() as usize;
            covered = covered.max(self.slots[slot].covers);
            self.finish(slot, Err(BlockError::Unknown), 0);
        }
        covered
    }

    /// When the first flying command is late.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        let flying = |slot: &usize| self.flying >> slot & 1 == 1;
        (0..SLOTS).filter(flying).map(|slot| self.slots[slot].deadline_ns).min()
    }

    /// Takes a completion.
    pub(crate) fn take_done(&mut self) -> Option<Completion> {
        if self.done == 0 {
            return None;
        }
        let slot = self.done.trailing_zeros() as usize;
        self.done &= !(1 << slot);
        self.free |= 1 << slot;
        let Slot { tag, result, device_status, .. } = self.slots[slot];
        Some(Completion { tag, result, device_status })
    }

    /// Invariant 1.
    pub(crate) fn check(&self) -> bool {
        let disjoint = self.free & self.flying == 0 && self.free & self.done == 0 && self.flying & self.done == 0;
        disjoint && self.free | self.flying | self.done == u64::MAX
    }
}
