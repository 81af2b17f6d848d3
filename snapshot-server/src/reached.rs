//! Roots that say how far the log has come. Where a log ends cannot be told from a block of it that has rotted, unless
//! something behind it proves that it went on. Recovery looks for that in the blocks that follow; how long the log was
//! before them a root vouches for.
//!
//! ```text
//!   committed ──(far from root.resume)──▶ due ──▶ both copies pushed ──(next flush)──▶ vouched
//! ```
//! A root costs two commands, so that one for each segment would be felt in epochs of 64 KiB: there is one for
//! [`VOUCH_SEGMENTS`] of them, and one for each epoch that is as long as a segment, where it costs nothing.
//!
//! Such a root differs from the one before it in `resume` and in its place in the order of roots, and nothing waits for
//! it. The two newest slots take turns, so that the roots of older checkpoints stay in the ring.
//!
//! Invariants: (E1) `resume` of such a root lies behind a durable epoch; (E2) none is pushed before the last one is
//! durable, nor while a root for something else is on its way.

use abi::Epoch;
use format::LogStart;

use crate::commit::RootWrite;
use crate::disk::Host;
use crate::queue::Owner;
use crate::store::{Phase, Store};

/// Segments of blocks written between two such roots.
const VOUCH_SEGMENTS: u64 = 4;

/// What the roots say, and should say, of the log's length.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// Behind the newest durable epoch, when a root should say that it was reached.
    due: Option<(LogStart, Epoch)>,
    /// The epoch in front of the place that the last such root names.
    named: Epoch,
    /// That root is durable when all below this position is.
    position: u64,
    /// Blocks that had been written when that root was.
    written: u64,
    /// Blocks that had been written when the last epoch was durable.
    committed: u64,
    /// Sequence number of the last root that was written for something else.
    base: u64,
    /// Sequence number of the last such root.
    last: u64,
    /// The newest epoch that a durable root vouches for.
    pub(crate) vouched: Epoch,
}

impl<'m, H: Host> Store<'m, H> {
    /// `epoch` is durable, and the log goes on at `log`.
    pub(crate) fn reached(&mut self, epoch: Epoch, log: LogStart) {
        let size = u64::from(self.space.geometry().segment_blocks());
        let written = self.status.blocks_written;
        let far = written - self.reached.written >= VOUCH_SEGMENTS * size;
        let long = written - self.reached.committed >= size;
        // That anything was ever committed must not hang on one block: an empty store is where a new world begins.
        let first = self.root.newest().is_none() && self.root.resume.sequence == self.root.log.sequence;
        self.reached.committed = written;
        if self.reached.due.is_some() || far || long || first {
            self.reached.due = Some((log, epoch));
        }
    }

    /// Whether a root that vouches for the log is due or on its way to the disk.
    pub fn is_vouching(&self) -> bool {
        self.reached.due.is_some() || !self.queue.is_durable(self.reached.position)
    }

    /// Pushes a root that is due.
    pub(crate) fn step_reached(&mut self) -> bool {
        let durable = self.queue.is_durable(self.reached.position);
        if durable {
            self.reached.vouched = self.reached.vouched.max(self.reached.named);
        }
        let Some((log, epoch)) = self.reached.due else {
            return false;
        };
        if log.sequence <= self.root.resume.sequence {
            self.reached.due = None;
            return false;
        }
        let idle = matches!(self.root_write, RootWrite::Idle) && matches!(self.phase, Phase::Running);
        if !durable || !idle || self.buffers.is_pressed() || self.queue.room() < 8 {
            return false;
        }
        let Some(page) = self.buffers.take() else {
            return false;
        };
        let geometry = *self.space.geometry();
        let slots = u64::from(geometry.root_slots());
        // Slots whose first turn has not come are filled in order: none is passed over.
        if self.root.sequence != self.reached.last || self.root.sequence < slots {
            self.reached.base = self.root.sequence;
        }
        let in_base_slot = (self.root.sequence - self.reached.base).is_multiple_of(slots);
        let mut root = self.next_root();
        root.sequence = self.root.sequence + if in_base_slot { 1 } else { slots - 1 };
        root.resume = log;
        self.root_sum = root.write(self.world, &geometry, self.host.bytes_mut(page));
        self.root = root;
        let [a, b] = geometry.root(root.sequence);
        self.queue.push(a, page, Owner::Shared);
        self.queue.push(b, page, Owner::Buffer);
        self.status.blocks_written += 2;
        let (position, written) = (self.queue.head(), self.status.blocks_written);
        self.reached = Reached { due: None, named: epoch, position, written, last: root.sequence, ..self.reached };
        true
    }
}
