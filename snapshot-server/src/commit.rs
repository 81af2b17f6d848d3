//! From sealed to durable: epochs, roots, incarnations.
//!
//! ```text
//!   sealed ──(all written, one flush)──▶ committed
//!   root:  data ──flush──▶ both copies ──flush──▶ in force
//! ```

use abi::{Epoch, INCARNATION_MAX};
use format::{Checksum, LogStart, Root};

use crate::disk::Host;
use crate::queue::Owner;
use crate::store::{Event, Phase, Store};

/// Epochs that wait for the disk at once.
const SEALED_MAX: usize = 4;

/// A sealed epoch on its way to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sealed {
    pub(crate) epoch: Epoch,
    /// Durable when all below this position is.
    pub(crate) end: u64,
    pub(crate) floor: Epoch,
    /// Whether anything was written for it.
    pub(crate) written: bool,
    /// Where the log goes on behind it.
    pub(crate) log: LogStart,
}

/// Sealed epochs, oldest first.
#[derive(Debug, Default)]
pub(crate) struct SealedQueue {
    epochs: [Sealed; SEALED_MAX],
    len: usize,
}

impl SealedQueue {
    pub(crate) fn is_full(&self) -> bool {
        self.len == SEALED_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, sealed: Sealed) {
        assert!(self.len < SEALED_MAX, "the caller looks for room first");
        self.epochs[self.len] = sealed;
        self.len += 1;
    }

    fn first(&self) -> Option<&Sealed> {
        self.epochs[..self.len].first()
    }

    fn pop(&mut self) -> Option<Sealed> {
        let sealed = *self.first()?;
        self.epochs.copy_within(1..self.len, 0);
        self.len -= 1;
        Some(sealed)
    }
}

/// A root on its way to the disk.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one, and no heap to put the large variant on")]
pub(crate) enum RootWrite {
    Idle,
    /// What it points to must be durable first.
    Data {
        position: u64,
        root: Root,
        why: RootFor,
    },
    /// Written; in force when durable.
    Written {
        position: u64,
        root: Root,
        sum: Checksum,
        why: RootFor,
    },
}

/// What a root is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootFor {
    Incarnation,
    Checkpoint,
    Retire,
}

/// Why no new incarnation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncarnationError {
    /// The caller's fault: the store is not open, or an incarnation has begun already.
    Order,
    /// All 2^24 − 1 were used.
    Exhausted,
}

/// Why no checkpoint was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetireError {
    /// The caller's fault: no incarnation is running.
    Order,
    /// Not now: an interval is being folded or a root written. Poll and try again.
    Busy,
    /// There is none before that epoch, beside the newest.
    Nothing,
}

impl<'m, H: Host> Store<'m, H> {
    /// Begins the next incarnation, whose number is returned; nothing can be gathered before
    /// [`Event::IncarnationDurable`]. What was on the disk beyond the epoch that was opened is abandoned by this.
    pub fn new_incarnation(&mut self) -> Result<u32, IncarnationError> {
        if !matches!(self.phase, Phase::Opened) || !matches!(self.root_write, RootWrite::Idle) {
            return Err(IncarnationError::Order);
        }
        if self.root.incarnation == INCARNATION_MAX {
            return Err(IncarnationError::Exhausted);
        }
        let mut root = self.next_root();
        root.incarnation += 1;
        root.restores = if self.head.incarnation() == self.root.incarnation { 1 } else { root.restores + 1 };
        root.resume = self.log;
        let number = root.incarnation;
        self.write_root(root, RootFor::Incarnation);
        Ok(number)
    }

    /// Gives up the checkpoints before `epoch`, but never the newest; [`Event::Retired`] follows, and their space is
    /// found by the sweep behind it.
    pub fn retire_before(&mut self, epoch: Epoch) -> Result<(), RetireError> {
        if !matches!(self.phase, Phase::Running) {
            return Err(RetireError::Order);
        }
        if self.is_folding() || !matches!(self.root_write, RootWrite::Idle) {
            return Err(RetireError::Busy);
        }
        let mut root = self.next_root();
        while root.checkpoints().len() > 1 && root.checkpoints()[0].epoch < epoch {
            root.remove(0);
        }
        if root.checkpoints().len() == self.root.checkpoints().len() {
            return Err(RetireError::Nothing);
        }
        self.write_root(root, RootFor::Retire);
        Ok(())
    }

    /// The root after this one, equal to it in all but its place in the order of roots.
    pub(crate) fn next_root(&self) -> Root {
        let mut root = self.root;
        root.sequence += 1;
        root.previous = self.root_sum;
        root
    }

    /// Starts to make `root` durable, after all that is pending now.
    pub(crate) fn write_root(&mut self, root: Root, why: RootFor) {
        let position = self.queue.head();
        self.queue.want_flush(position);
        self.root_write = RootWrite::Data { position, root, why };
    }

    /// Moves a root on its way.
    pub(crate) fn step_root(&mut self) -> bool {
        // A root is large: it is not moved at every step of the store.
        if matches!(self.root_write, RootWrite::Idle) {
            return false;
        }
        match core::mem::replace(&mut self.root_write, RootWrite::Idle) {
            RootWrite::Idle => false,
            RootWrite::Data { position, root, why } => {
                // What is pushed behind a descriptor that is being filled would wait for it.
                let held = self.gather.is_filling();
                if !self.queue.is_durable(position) || self.buffers.free() < 1 || self.queue.room() < 2 || held {
                    self.root_write = RootWrite::Data { position, root, why };
                    return false;
                }
                let Some(page) = self.buffers.take() else {
                    unreachable!("looked for above");
                };
                let geometry = *self.space.geometry();
                let said = if self.counts_records { root } else { root.uncounted() };
                let sum = said.write(self.world, &geometry, self.host.bytes_mut(page));
                let [a, b] = geometry.root(root.sequence);
                self.queue.push(a, page, Owner::Shared);
                self.queue.push(b, page, Owner::Buffer);
                self.status.blocks_written += 2;
                let position = self.queue.head();
                self.queue.want_flush(position);
                self.root_write = RootWrite::Written { position, root, sum, why };
                true
            }
            RootWrite::Written { position, root, sum, why } => {
                if !self.queue.is_durable(position) {
                    self.root_write = RootWrite::Written { position, root, sum, why };
                    return false;
                }
                let old = core::mem::replace(&mut self.root, root);
                self.root_sum = sum;
                match why {
                    RootFor::Incarnation => {
                        self.phase = Phase::Running;
                        self.reached.vouched = self.head;
                        self.events.push(Event::IncarnationDurable(self.root.incarnation));
                    }
                    RootFor::Checkpoint => {
                        let newest = self.root.newest().map_or(Epoch::NONE, |newest| newest.epoch);
                        self.reached.vouched = self.reached.vouched.max(newest);
                        self.checkpoint_durable(&old);
                    }
                    RootFor::Retire => {
                        self.fold.stage = crate::fold::Stage::Sweep(self.sweep_after(&old));
                        self.events.push(Event::Retired);
                    }
                }
                true
            }
        }
    }

    /// Commits sealed epochs whose last block is durable.
    pub(crate) fn step_commit(&mut self) -> bool {
        let mut progress = false;
        while let Some(sealed) = self.sealed.first()
            && self.queue.is_durable(sealed.end)
            && self.events.has_room(4)
            && let Some(sealed) = self.sealed.pop()
        {
            progress = true;
            if sealed.written {
                self.head = sealed.epoch;
                self.space.release_up_to(sealed.floor);
                self.reached(sealed.epoch, sealed.log);
            }
            self.events.push(Event::Committed(sealed.epoch));
        }
        progress
    }
}
