//! The block that commits a large epoch: it goes out behind a barrier of its own, beside the pages of the next epoch.
//!
//! ```text
//!   Waits ──(all before it durable)──▶ Writing ─▶ Written ─▶ Flushing ─▶ Durable
//!     ▲─────────────(the disk was reset)─────────────────────────┘
//! ```

use format::Block;

use crate::disk::{Command, Op};
use crate::memory::PageRef;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LateState {
    /// For what was pushed before it, or for a place in the disk's queue.
    Waits,
    /// A command writes it.
    Writing,
    /// The command has ended; no flush that covers it has begun.
    Written,
    /// Such a flush is under way.
    Flushing,
    /// Such a flush has ended.
    Durable,
}

/// A block that is written late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    pub(crate) block: Block,
    pub(crate) page: PageRef,
    pub(crate) state: LateState,
    /// All below this position of the ring comes before it.
    behind: u64,
}

impl Late {
    pub(crate) fn new(block: Block, page: PageRef, behind: u64) -> Self {
        Self { block, page, state: LateState::Waits, behind }
    }

    /// Whether it can go out when all below `flushed` is durable.
    pub(crate) fn is_due(&self, flushed: u64) -> bool {
        self.state == LateState::Waits && flushed >= self.behind
    }

    /// The position that has to be durable first, if it is not.
    pub(crate) fn awaits(&self, flushed: u64) -> Option<u64> {
        (flushed < self.behind).then_some(self.behind)
    }

    /// Whether what lies below `position` can be durable without it.
    pub(crate) fn is_beyond(&self, position: u64) -> bool {
        self.state == LateState::Durable || position < self.behind
    }

    /// The disk may have forgotten it: it is written again. True when it had been written.
    pub(crate) fn rewind(&mut self) -> bool {
        let written = matches!(self.state, LateState::Written | LateState::Flushing);
        if self.state != LateState::Durable {
            self.state = LateState::Waits;
        }
        written
    }

    /// The command that writes it.
    pub(crate) fn command(&self, tag: u32) -> Command<'_> {
        let pages = core::slice::from_ref(&self.page);
        Command { tag, op: Op::Write, block: u64::from(self.block.0), pages }
    }
}
