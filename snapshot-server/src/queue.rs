//! Commands under way: a ring of blocks to be written, in order, gathered into large commands; flushes; reads.
//!
//! ```text
//!   released ≤ flushed ≤ completed ≤ issued ≤ head      positions in the ring, counted from the store's start
//! ```
//! Positions are how the rest of the store speaks of durability: what was pushed below `flushed` is on the medium.
//!
//! A page is handed back when it is durable, not when its write was completed: a disk that is reset may forget what it
//! had completed and not flushed ([`Disk::resets`]), and so may one that fails to flush it. Then all of that is written
//! again.
//!
//! Invariants: (Q1) the order above, and `head - released` never exceeds the ring; (Q2) no flush is submitted between
//! a reset and the repetition of what the disk may have forgotten; (Q3) no entry at or beyond `hold` is issued: the
//! descriptor there is still being filled; (Q4) the late block is issued only when all that was pushed before it is
//! durable, and nothing from its position on counts as durable before it is.

use format::Block;

use crate::disk::{COMMAND_PAGES_MAX, Command, Completion, Disk, DiskError, Op};
use crate::late::{Late, LateState};
use crate::memory::PageRef;

/// Commands under way at once.
pub(crate) const COMMANDS_MAX: usize = 32;
/// How often a command that the medium refused is repeated.
pub(crate) const MEDIUM_RETRIES_MAX: u8 = 5;

/// Who gets a written page back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The caller, by an event.
    #[default]
    Caller,
    /// The store's write buffers.
    Buffer,
    /// Nobody yet: another entry writes it too.
    Shared,
}

/// A block to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    page: PageRef,
    block: u32,
    owner: Owner,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Write { first: u64, count: u16 },
    Late,
    Flush { covers: u64, late: bool },
    Frame(u16),
    Page(u16),
}

/// A read that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadDone {
    /// Into a cache frame.
    Frame(u16, Result<(), DiskError>),
    /// Of a caller's read.
    Page(u16, Result<(), DiskError>),
}

/// Which read a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A cache frame.
    Frame(u16),
    /// A caller's read.
    Page(u16),
}

/// A command that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommandFailed {
    pub(crate) op: Op,
    pub(crate) block: Block,
    pub(crate) error: DiskError,
}

#[derive(Debug)]
pub(crate) struct Queue<'m> {
    ring: &'m mut [Pending],
    released: u64,
    completed: u64,
    issued: u64,
    head: u64,
    hold: Option<u64>,
    late: Option<Late>,
    /// What was pushed below is durable.
    pub(crate) flushed: u64,
    flush_wanted: u64,
    slots: [(Slot, u8); COMMANDS_MAX],
    again: [bool; COMMANDS_MAX],
    busy: usize,
    /// Writes among the commands.
    writing: usize,
    /// Resets of the disk, and failed flushes, that were dealt with.
    resets: u64,
    /// Flushes that failed: what they were to make durable is lost or not.
    failed_flushes: u64,
    /// How often in a row the medium refused one.
    flush_tries: u8,
    /// Blocks written again after resets.
    pub(crate) rewritten: u64,
    /// Writes that went out before a late block which was pushed before them.
    pub(crate) overtaken: u64,
    /// The first command that failed for good.
    pub(crate) failed: Option<CommandFailed>,
}

impl<'m> Queue<'m> {
    /// Over a ring of at least [`PENDING_MIN`](crate::PENDING_MIN) places; of any other number than a power of two it
    /// uses as many as the next lower one.
    pub(crate) fn new(ring: &'m mut [Pending]) -> Self {
        let places = 1 << ring.len().ilog2();
        Self {
            ring: &mut ring[..places],
            released: 0,
            completed: 0,
            issued: 0,
            head: 0,
            hold: None,
            late: None,
            flushed: 0,
            flush_wanted: 0,
            slots: [(Slot::Free, 0); COMMANDS_MAX],
            again: [false; COMMANDS_MAX],
            busy: 0,
            writing: 0,
            resets: 0,
            failed_flushes: 0,
            flush_tries: 0,
            rewritten: 0,
            overtaken: 0,
            failed: None,
        }
    }

    fn at(&mut self, position: u64) -> &mut Pending {
        let place = self.place(position);
        &mut self.ring[place]
    }

    /// Several times a page: no division.
    fn place(&self, position: u64) -> usize {
        position as usize & (self.ring.len() - 1)
    }

    /// Entries that can be pushed.
    pub(crate) fn room(&self) -> usize {
        self.ring.len() - (self.head - self.released) as usize
    }

    /// Whether a flush would make anything durable that nobody has asked for yet.
    pub(crate) fn can_flush(&self) -> bool {
        self.completed > self.flushed && self.flush_wanted <= self.flushed
    }

    /// Whether no write is under way.
    pub(crate) fn is_still(&self) -> bool {
        self.writing == 0
    }

    /// Whether a flush now would cover as much as a large command, or all there is.
    pub(crate) fn is_worth_a_flush(&self) -> bool {
        self.is_still() || self.completed - self.flushed >= COMMAND_PAGES_MAX as u64
    }

    /// Asks for a flush of all that is completed.
    pub(crate) fn flush_completed(&mut self) {
        self.want_flush(self.completed);
    }

    /// Where the next push goes.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Appends a block to be written.
    pub(crate) fn push(&mut self, block: Block, page: PageRef, owner: Owner) {
        assert!(self.room() > 0, "Q1: the caller looks for room first");
        let head = self.head;
        *self.at(head) = Pending { page, block: block.0, owner, done: false };
        self.head += 1;
    }

    /// Nothing from `position` on is issued until this is called with `None`.
    pub(crate) fn hold(&mut self, position: Option<u64>) {
        self.hold = position;
    }

    /// Whether a late block is on its way. There is one at a time.
    pub(crate) fn has_late(&self) -> bool {
        self.late.is_some()
    }

    /// A block that is written when all that was pushed before it is durable; what is pushed behind it does not wait.
    pub(crate) fn push_late(&mut self, block: Block, page: PageRef) {
        assert!(!self.has_late(), "the caller looks before");
        self.late = Some(Late::new(block, page, self.head));
        self.want_flush(self.head);
    }

    /// The page of a late block that is durable, once.
    pub(crate) fn release_late(&mut self) -> Option<PageRef> {
        self.late.take_if(|late| late.state == LateState::Durable).map(|late| late.page)
    }

    /// Whether all that was pushed below `position` is durable, a late block among it.
    pub(crate) fn is_durable(&self, position: u64) -> bool {
        self.flushed >= position && self.late.is_none_or(|late| late.is_beyond(position))
    }

    /// What was pushed below `position` should become durable.
    pub(crate) fn want_flush(&mut self, position: u64) {
        self.flush_wanted = self.flush_wanted.max(position);
    }

    /// The next durable page to hand back, once per entry.
    pub(crate) fn release(&mut self) -> Option<(PageRef, Owner)> {
        if self.released == self.flushed {
            return None;
        }
        let released = self.released;
        let entry = *self.at(released);
        self.released += 1;
        Some((entry.page, entry.owner))
    }

    /// The page that is waiting or under way to `block`, if any: the newest.
    pub(crate) fn find(&self, block: Block) -> Option<PageRef> {
        (self.released..self.head)
            .rev()
            .map(|position| &self.ring[self.place(position)])
            .find(|entry| entry.block == block.0)
            .map(|entry| entry.page)
    }

    fn free_slot(&self) -> Option<usize> {
        if self.busy == COMMANDS_MAX { None } else { self.slots.iter().position(|(slot, _)| *slot == Slot::Free) }
    }

    fn start(&mut self, index: usize, slot: Slot) {
        self.slots[index] = (slot, 0);
        self.busy += 1;
    }

    /// Submits a read of `block` into `page`; false when the disk or the slots are full.
    pub(crate) fn read<D: Disk>(&mut self, disk: &mut D, block: Block, page: PageRef, reader: Reader) -> bool {
        // One slot is kept for writes and one for flushes, so that readers cannot hold up a commit.
        let Some(index) = self.free_slot().filter(|_| self.busy + 2 < COMMANDS_MAX) else {
            return false;
        };
        let command = Command { tag: index as u32, op: Op::Read, block: u64::from(block.0), pages: &[page] };
        if disk.submit(&command).is_err() {
            return false;
        }
        let slot = match reader {
            Reader::Frame(frame) => Slot::Frame(frame),
            Reader::Page(read) => Slot::Page(read),
        };
        self.start(index, slot);
        true
    }

    /// Issues what can be issued; true when something was.
    pub(crate) fn pump<D: Disk>(&mut self, disk: &mut D) -> bool {
        let lost = self.times_lost(disk);
        if self.resets != lost && !self.rewind(lost) {
            return false;
        }
        let mut progress = self.repeat(disk) | self.pump_late(disk);
        // Before the writes, which would take all that the disk takes for as long as there are any.
        progress |= self.pump_flush(disk);
        let limit = self.hold.unwrap_or(self.head);
        while self.issued < limit
            && let Some(index) = self.free_slot()
        {
            let (first, count) = (self.issued, self.run(limit));
            // What could still grow is let go when the disk has nothing else to write, or somebody waits for it.
            let grows = first + count == limit && (count as usize) < COMMAND_PAGES_MAX;
            if grows && self.writing > 0 && self.flush_wanted <= first {
                break;
            }
            if !self.submit_write(disk, index, first, count as u16) {
                break;
            }
            self.overtaken += u64::from(self.late.is_some_and(|late| !late.is_beyond(first)));
            self.issued += count;
            self.writing += 1;
            self.start(index, Slot::Write { first, count: count as u16 });
            progress = true;
        }
        progress
    }

    fn pump_late<D: Disk>(&mut self, disk: &mut D) -> bool {
        let flushed = self.flushed;
        let Some(late) = self.late.filter(|late| late.is_due(flushed)) else {
            return false;
        };
        let Some(index) = self.free_slot() else {
            return false;
        };
        if disk.submit(&late.command(index as u32)).is_err() {
            return false;
        }
        self.set_late(LateState::Writing);
        self.writing += 1;
        self.start(index, Slot::Late);
        true
    }

    fn set_late(&mut self, state: LateState) {
        if let Some(late) = &mut self.late {
            late.state = state;
        }
    }

    fn late_is(&self, state: LateState) -> bool {
        self.late.is_some_and(|late| late.state == state)
    }

    /// Entries from `issued` up to `limit` that lie side by side on the disk and fit into a command.
    fn run(&mut self, limit: u64) -> u64 {
        let (first, mut count) = (self.issued, 1);
        let block = u64::from(self.at(first).block);
        while first + count < limit
            && (count as usize) < COMMAND_PAGES_MAX
            && u64::from(self.at(first + count).block) == block + count
        {
            count += 1;
        }
        count
    }

    /// How often the disk may have forgotten what it had not made durable.
    fn times_lost(&self, disk: &impl Disk) -> u64 {
        disk.resets() + self.failed_flushes
    }

    /// The disk was reset, or could not flush: what is not known to be durable is written again from the start. False: commands from
    /// before are still under way, and could land on what is written now.
    fn rewind(&mut self, resets: u64) -> bool {
        let is_write = |slot: &Slot| matches!(slot, Slot::Write { .. } | Slot::Late | Slot::Flush { .. });
        if (0..COMMANDS_MAX).any(|index| is_write(&self.slots[index].0) && !self.again[index]) {
            return false;
        }
        for index in 0..COMMANDS_MAX {
            if is_write(&self.slots[index].0) {
                self.again[index] = false;
                self.finish(index);
            }
        }
        self.rewritten += self.completed - self.flushed;
        for position in self.flushed..self.issued {
            self.at(position).done = false;
        }
        if let Some(late) = &mut self.late {
            self.rewritten += u64::from(late.rewind());
        }
        (self.completed, self.issued) = (self.flushed, self.flushed);
        self.resets = resets;
        true
    }

    fn submit_write<D: Disk>(&mut self, disk: &mut D, index: usize, first: u64, count: u16) -> bool {
        let mut pages = [PageRef(0); COMMAND_PAGES_MAX];
        for (offset, page) in pages[..usize::from(count)].iter_mut().enumerate() {
            *page = self.at(first + offset as u64).page;
        }
        let block = u64::from(self.at(first).block);
        let pages = &pages[..usize::from(count)];
        disk.submit(&Command { tag: index as u32, op: Op::Write, block, pages }).is_ok()
    }

    fn pump_flush<D: Disk>(&mut self, disk: &mut D) -> bool {
        let flushed = self.flushed;
        // A late block is not kept waiting for what was pushed behind it.
        let goal = self.late.and_then(|late| late.awaits(flushed)).unwrap_or(self.flush_wanted);
        // Who waits for pages or places is not kept waiting for the end of a large epoch.
        let pressed = self.completed - self.flushed >= self.ring.len() as u64 / 4;
        let late = self.late_is(LateState::Written);
        let wanted = self.flush_wanted > self.flushed && self.completed >= goal || late || pressed;
        // A submission before this one may have found out about a reset (Q2).
        if !wanted
            || self.resets != self.times_lost(disk)
            || self.slots.iter().any(|(slot, _)| matches!(slot, Slot::Flush { .. }))
        {
            return false;
        }
        let Some(index) = self.free_slot() else {
            return false;
        };
        if disk.submit(&Command { tag: index as u32, op: Op::Flush, block: 0, pages: &[] }).is_err() {
            return false;
        }
        if late {
            self.set_late(LateState::Flushing);
        }
        self.start(index, Slot::Flush { covers: self.completed, late });
        true
    }

    /// Repeats writes and flushes that failed and may work now.
    fn repeat<D: Disk>(&mut self, disk: &mut D) -> bool {
        let mut progress = false;
        for index in 0..COMMANDS_MAX {
            if !self.again[index] {
                continue;
            }
            let sent = match self.slots[index].0 {
                Slot::Write { first, count } => self.submit_write(disk, index, first, count),
                Slot::Late => self.late.is_none_or(|late| disk.submit(&late.command(index as u32)).is_ok()),
                Slot::Flush { .. } => {
                    let flush = Command { tag: index as u32, op: Op::Flush, block: 0, pages: &[] };
                    self.resets == self.times_lost(disk) && disk.submit(&flush).is_ok()
                }
                _ => true,
            };
            self.again[index] = !sent;
            progress |= sent;
        }
        progress
    }

    /// Takes one completion; of a read, says whose. Completions of unknown commands are ignored.
    pub(crate) fn complete<D: Disk>(&mut self, disk: &D, completion: Completion) -> Option<ReadDone> {
        let reset = self.resets != self.times_lost(disk);
        let index = completion.tag as usize;
        let (slot, _) = *self.slots.get(index)?;
        if slot == Slot::Free || self.again[index] {
            return None;
        }
        match (slot, completion.result) {
            (Slot::Frame(frame), result) => {
                self.finish(index);
                Some(ReadDone::Frame(frame, result))
            }
            (Slot::Page(read), result) => {
                self.finish(index);
                Some(ReadDone::Page(read, result))
            }
            (_, Err(error)) => {
                // A driver that died says nothing about the medium: such commands are repeated for as long as it takes.
                let is_flush = matches!(slot, Slot::Flush { .. });
                self.failed_flushes += u64::from(is_flush);
                let counted = if is_flush { &mut self.flush_tries } else { &mut self.slots[index].1 };
                let tries = *counted;
                if error != DiskError::Lost {
                    *counted += 1;
                }
                if error == DiskError::Refused || tries >= MEDIUM_RETRIES_MAX {
                    self.fail(slot, error);
                } else {
                    self.again[index] = true;
                }
                None
            }
            (Slot::Write { first, count }, Ok(())) => {
                for position in first..first + u64::from(count) {
                    self.at(position).done = true;
                }
                while self.completed < self.issued && {
                    let completed = self.completed;
                    self.at(completed).done
                } {
                    self.completed += 1;
                }
                self.finish(index);
                None
            }
            (Slot::Late, Ok(())) => {
                self.set_late(LateState::Written);
                self.finish(index);
                None
            }
            (Slot::Flush { covers, late }, Ok(())) => {
                // Of a flush that ends behind a reset nobody knows what it covered.
                if !reset {
                    self.flushed = self.flushed.max(covers);
                    self.flush_tries = 0;
                    if late {
                        self.set_late(LateState::Durable);
                    }
                }
                self.finish(index);
                None
            }
            (Slot::Free, Ok(())) => None,
        }
    }

    fn finish(&mut self, index: usize) {
        self.writing -= usize::from(matches!(self.slots[index].0, Slot::Write { .. } | Slot::Late));
        self.slots[index] = (Slot::Free, 0);
        self.busy -= 1;
    }

    fn fail(&mut self, slot: Slot, error: DiskError) {
        let (op, block) = match slot {
            Slot::Write { first, .. } => (Op::Write, Block(self.at(first).block)),
            Slot::Late => (Op::Write, self.late.map_or(Block::NONE, |late| late.block)),
            _ => (Op::Flush, Block::NONE),
        };
        self.failed.get_or_insert(CommandFailed { op, block, error });
    }
}

#[cfg(test)]
mod tests;
