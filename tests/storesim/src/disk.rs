//! A disk with a volatile cache, as unreliable as it is told to be.
//!
//! A command takes effect when it is completed, in an order drawn at random. A write stays in the cache until a flush
//! that was submitted after its completion is completed. A cut does to each block in the cache, and to each command
//! under way, what its [`CutMode`] says; then the disk is what a reboot would find.

use std::collections::BTreeSet;
use std::rc::Rc;

use format::BlockBytes;
use serde::{Deserialize, Serialize};
use snapshot_server::{Command, Completion, Disk, DiskError, Full, Op, PageMemory, PageRef};

use crate::random::Random;

/// What a cut does to writes that were not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutMode {
    /// All are lost.
    Lost,
    /// All are kept.
    Kept,
    /// The first some, in order, are kept.
    Prefix,
    /// Any subset of their blocks is kept.
    Subset,
    /// Any subset of their 512-byte sectors is kept.
    Torn,
}

impl CutMode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Lost, Self::Kept, Self::Prefix, Self::Subset, Self::Torn];
}

/// Faults beyond losing power, each with the chance of happening per command, in 1/10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A write or flush fails, and works when repeated: what a flush has failed for may be forgotten by then.
    pub write_error: u64,
    /// A read fails, and works when repeated.
    pub read_error: u64,
    /// The driver dies: the command is lost, nobody knows whether it happened.
    pub command_lost: u64,
    /// A block of a write is acknowledged and never written.
    pub lost_write: u64,
    /// A block of a write lands elsewhere.
    pub misdirected: u64,
    /// The disk is reset: commands under way are lost, and of what was not flushed any part may be forgotten.
    pub reset: u64,
}

impl Fault {
    /// How many kinds of fault can happen.
    pub fn kinds(&self) -> usize {
        let Self { write_error, read_error, command_lost, lost_write, misdirected, reset } = *self;
        [write_error, read_error, command_lost, lost_write, misdirected, reset].iter().filter(|each| **each > 0).count()
    }
}

/// How a disk breaks its word. No store can stand on such a disk: that its failures are found shows that the
/// simulation looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Broken {
    /// It does not.
    #[default]
    No,
    /// A flush is acknowledged and does nothing.
    FlushIgnored,
    /// A flush makes durable what commits, and not the pages that it commits.
    CommitBeforeData,
    /// A read of one block in eight gives the contents of its neighbour.
    WrongBlockRead,
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// See [`Fault::write_error`].
    pub write_errors: u64,
    /// See [`Fault::read_error`].
    pub read_errors: u64,
    /// See [`Fault::command_lost`].
    pub commands_lost: u64,
    /// See [`Fault::lost_write`].
    pub lost_writes: u64,
    /// See [`Fault::misdirected`].
    pub misdirected: u64,
    /// See [`Fault::reset`].
    pub resets: u64,
    /// Unflushed blocks, completed or not, that a reset lost.
    pub reset_lost: u64,
    /// Completed blocks that a failed flush lost.
    pub flush_lost: u64,
    /// Reads of blocks that are bad.
    pub bad_reads: u64,
    /// Completions out of the order of submission.
    pub reordered: u64,
    /// Unflushed blocks that a cut lost.
    pub cut_lost: u64,
    /// Unflushed blocks that a cut kept.
    pub cut_kept: u64,
    /// Unflushed blocks that a cut tore.
    pub cut_torn: u64,
}

#[derive(Clone, Debug)]
struct Write {
    block: usize,
    data: Vec<Rc<BlockBytes>>,
    /// Whether it was completed, and at which tick.
    completed: Option<u64>,
}

#[derive(Clone, Debug)]
struct Waiting {
    tag: u32,
    op: Op,
    block: usize,
    pages: Vec<PageRef>,
    /// Of a write: its place in `writes`.
    write: u64,
    submitted: u64,
}

/// The disk. See the module.
#[derive(Clone, Debug)]
pub struct SimDisk {
    /// What survives any cut.
    durable: Vec<Rc<BlockBytes>>,
    /// What a read sees.
    visible: Vec<Rc<BlockBytes>>,
    /// Not yet durable, by number of the write.
    writes: Vec<(u64, Write)>,
    waiting: Vec<Waiting>,
    done: Vec<Completion>,
    random: Random,
    tick: u64,
    next_write: u64,
    /// Commands until the power goes; `None`: it stays.
    pub commands_left: Option<u64>,
    dead: bool,
    /// What else goes wrong.
    pub fault: Fault,
    /// How it breaks its word.
    pub broken: Broken,
    /// Blocks that cannot be read, however often it is tried, until they are written.
    pub bad: BTreeSet<usize>,
    /// What has gone wrong.
    pub count: FaultCount,
    /// Commands submitted.
    pub commands: u64,
    /// Writes and flushes until none succeeds any more; `None`: they do.
    pub writes_left: Option<u64>,
    /// Whether one that is worn out still takes writes, and flushes nothing.
    pub takes_writes: bool,
    /// Commands in the order in which they came complete in: no reordering, one at a time.
    pub in_order: bool,
    /// Memory.
    pages: Vec<Rc<BlockBytes>>,
}

/// Whether a block begins like a structure of the store.
fn is_a(block: &BlockBytes, magic: &[u8]) -> bool {
    block.starts_with(magic)
}

impl SimDisk {
    /// An empty disk of `blocks` blocks beside a memory of `pages` pages.
    pub fn new(blocks: usize, seed: u64, pages: usize) -> Self {
        let zero = Rc::new([0; 4096]);
        Self {
            durable: vec![Rc::clone(&zero); blocks],
            visible: vec![Rc::clone(&zero); blocks],
            writes: Vec::new(),
            waiting: Vec::new(),
            done: Vec::new(),
            random: Random::new(seed),
            tick: 0,
            next_write: 0,
            commands_left: None,
            writes_left: None,
            takes_writes: false,
            dead: false,
            fault: Fault::default(),
            broken: Broken::No,
            bad: BTreeSet::new(),
            count: FaultCount::default(),
            commands: 0,
            in_order: false,
            pages: vec![zero; pages],
        }
    }

    /// Whether the power has gone.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Cuts the power now.
    pub fn kill(&mut self) {
        self.dead = true;
    }

    /// Whether unflushed writes are there, and whether a flush is under way: for counters.
    pub fn unflushed(&self) -> (usize, bool) {
        (self.writes.len(), self.waiting.iter().any(|waiting| waiting.op == Op::Flush))
    }

    /// Whether a root waits in the cache whose data are durable: for counters.
    pub fn root_unflushed(&self) -> bool {
        self.writes.iter().any(|(_, write)| write.data.iter().any(|block| is_a(block, b"PERNROOT")))
    }

    /// Whether a descriptor of the log waits in the cache together with other blocks: for counters.
    pub fn descriptor_unflushed(&self) -> bool {
        let mut blocks = self.writes.iter().flat_map(|(_, write)| &write.data);
        blocks.clone().any(|block| is_a(block, b"PERNLOG1")) && blocks.any(|block| !is_a(block, b"PERN"))
    }

    /// Power is back: what the cut left, with `mode`; memory is forgotten.
    pub fn revive(&mut self, mode: CutMode, seed: u64) {
        self.random = Random::new(seed);
        let total = self.writes.len() as u64;
        let prefix = self.random.within(0, total);
        for (position, (_, write)) in core::mem::take(&mut self.writes).into_iter().enumerate() {
            for (offset, data) in write.data.iter().enumerate() {
                let keep = match mode {
                    CutMode::Lost => false,
                    CutMode::Kept => true,
                    CutMode::Prefix => (position as u64) < prefix,
                    CutMode::Subset => self.random.chance(50),
                    CutMode::Torn => {
                        self.tear(write.block + offset, data);
                        continue;
                    }
                };
                if keep {
                    self.durable[write.block + offset] = Rc::clone(data);
                    self.count.cut_kept += 1;
                } else {
                    self.count.cut_lost += 1;
                }
            }
        }
        self.visible = self.durable.clone();
        self.waiting.clear();
        self.done.clear();
        self.dead = false;
        (self.commands_left, self.writes_left) = (None, None);
        let zero = Rc::new([0xee; 4096]);
        self.pages.iter_mut().for_each(|page| *page = Rc::clone(&zero));
    }

    fn tear(&mut self, block: usize, data: &BlockBytes) {
        let mut bytes = *self.durable[block];
        let sectors = self.random.bits();
        for sector in (0..8).filter(|sector| sectors & (1 << sector) != 0) {
            bytes[sector * 512..(sector + 1) * 512].copy_from_slice(&data[sector * 512..(sector + 1) * 512]);
        }
        self.durable[block] = Rc::new(bytes);
        self.count.cut_torn += 1;
    }

    /// Flips one bit of a block, durably. Returns whether the block had anything in it.
    pub fn rot(&mut self, block: usize, bit: usize) {
        let mut bytes = *self.durable[block];
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.durable[block] = Rc::new(bytes);
        self.visible[block] = Rc::clone(&self.durable[block]);
    }

    /// What a read of `block` would see.
    pub fn block(&self, block: usize) -> &BlockBytes {
        &self.visible[block]
    }

    /// Puts contents into a block, durably.
    pub fn set_block(&mut self, block: usize, bytes: BlockBytes) {
        self.durable[block] = Rc::new(bytes);
        self.visible[block] = Rc::clone(&self.durable[block]);
    }

    fn happens(&mut self, per_10_000: u64) -> bool {
        per_10_000 > 0 && self.random.below(10_000) < per_10_000
    }

    /// Commands under way are lost; of the writes in the cache each is forgotten or not.
    fn reset(&mut self) {
        self.count.resets += 1;
        for waiting in core::mem::take(&mut self.waiting) {
            self.done.push(Completion { tag: waiting.tag, result: Err(DiskError::Lost) });
        }
        for (_, write) in core::mem::take(&mut self.writes) {
            let kept = self.random.chance(30);
            for (offset, data) in write.data.iter().enumerate() {
                let block = write.block + offset;
                if kept {
                    self.durable[block] = Rc::clone(data);
                } else {
                    self.count.reset_lost += 1;
                }
                self.visible[block] = Rc::clone(&self.durable[block]);
            }
        }
    }

    fn apply_write(&mut self, number: u64) {
        let Some(position) = self.writes.iter().position(|(n, _)| *n == number) else {
            return;
        };
        self.writes[position].1.completed = Some(self.tick);
        let write = self.writes[position].1.clone();
        self.bad.retain(|block| !(write.block..write.block + write.data.len()).contains(block));
        for (offset, data) in write.data.iter().enumerate() {
            self.visible[write.block + offset] = Rc::clone(data);
        }
    }

    fn apply_flush(&mut self, submitted: u64) {
        if self.broken == Broken::FlushIgnored {
            return;
        }
        let ours = self.broken == Broken::CommitBeforeData;
        let covered = |write: &Write| write.completed.is_some_and(|tick| tick < submitted);
        for (_, write) in self.writes.iter().filter(|(_, write)| covered(write)) {
            for (offset, data) in write.data.iter().enumerate().filter(|(_, data)| !ours || is_a(data, b"PERN")) {
                self.durable[write.block + offset] = Rc::clone(data);
            }
        }
        self.writes.retain(|(_, write)| !covered(write) || ours && write.data.iter().any(|data| !is_a(data, b"PERN")));
    }

    /// What a flush was to make durable and could not a disk may drop: then the next one ends well without it.
    fn forget_some(&mut self) {
        for (number, write) in core::mem::take(&mut self.writes) {
            if write.completed.is_none() || self.random.chance(50) {
                self.writes.push((number, write));
                continue;
            }
            self.count.flush_lost += write.data.len() as u64;
            (write.block..write.block + write.data.len())
                .for_each(|block| self.visible[block] = Rc::clone(&self.durable[block]));
        }
        // Of two writes to a block the second may have been kept.
        for (_, write) in self.writes.iter().filter(|(_, write)| write.completed.is_some()) {
            for (offset, data) in write.data.iter().enumerate() {
                self.visible[write.block + offset] = Rc::clone(data);
            }
        }
    }

    /// Whether the medium takes nothing more of this kind.
    fn is_worn_out(&mut self, op: Op) -> bool {
        match &mut self.writes_left {
            _ if op == Op::Read => false,
            None => false,
            Some(0) => op == Op::Flush || !self.takes_writes,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn run(&mut self, waiting: Waiting) -> Result<(), DiskError> {
        if self.is_worn_out(waiting.op) {
            self.count.write_errors += 1;
            match waiting.op {
                Op::Flush => self.forget_some(),
                _ => self.writes.retain(|(number, _)| *number != waiting.write),
            }
            return Err(DiskError::Medium);
        }
        if self.happens(self.fault.command_lost) {
            self.count.commands_lost += 1;
            if waiting.op == Op::Write && self.random.chance(50) {
                self.apply_write(waiting.write);
            } else {
                self.writes.retain(|(number, _)| *number != waiting.write);
            }
            return Err(DiskError::Lost);
        }
        match waiting.op {
            Op::Read => {
                if self.happens(self.fault.read_error) {
                    self.count.read_errors += 1;
                    return Err(DiskError::Medium);
                }
                if self.bad.range(waiting.block..waiting.block + waiting.pages.len()).next().is_some() {
                    self.count.bad_reads += 1;
                    return Err(DiskError::Medium);
                }
                for (offset, page) in waiting.pages.iter().enumerate() {
                    let block = waiting.block + offset;
                    let wrong = self.broken == Broken::WrongBlockRead && block % 8 == 7;
                    self.pages[page.0 as usize] = Rc::clone(&self.visible[block - usize::from(wrong)]);
                }
            }
            Op::Write => {
                if self.happens(self.fault.write_error) {
                    self.count.write_errors += 1;
                    self.writes.retain(|(number, _)| *number != waiting.write);
                    return Err(DiskError::Medium);
                }
                self.check_untouched(&waiting);
                self.apply_write(waiting.write);
            }
            Op::Flush => {
                if self.happens(self.fault.write_error) {
                    self.count.write_errors += 1;
                    self.forget_some();
                    return Err(DiskError::Medium);
                }
                self.apply_flush(waiting.submitted);
            }
        }
        Ok(())
    }

    /// A page belongs to the disk until its command has ended: nobody may have written to it.
    fn check_untouched(&self, waiting: &Waiting) {
        if self.fault.lost_write > 0 || self.fault.misdirected > 0 {
            return;
        }
        if let Some((_, write)) = self.writes.iter().find(|(number, _)| *number == waiting.write) {
            for (page, data) in waiting.pages.iter().zip(&write.data) {
                assert!(Rc::ptr_eq(&self.pages[page.0 as usize], data), "{page:?} was changed while being written");
            }
        }
    }

    fn begin_write(&mut self, block: usize, pages: &[PageRef]) -> u64 {
        let mut data: Vec<Rc<BlockBytes>> = pages.iter().map(|page| Rc::clone(&self.pages[page.0 as usize])).collect();
        for (offset, data) in data.iter_mut().enumerate() {
            if self.happens(self.fault.lost_write) {
                self.count.lost_writes += 1;
                *data = Rc::clone(&self.visible[block + offset]);
            } else if self.happens(self.fault.misdirected) {
                self.count.misdirected += 1;
                let wrong = self.random.below(self.visible.len() as u64) as usize;
                let stray = core::mem::replace(data, Rc::clone(&self.visible[block + offset]));
                self.durable[wrong] = Rc::clone(&stray);
                self.visible[wrong] = stray;
            }
        }
        let number = self.next_write;
        self.next_write += 1;
        self.writes.push((number, Write { block, data, completed: None }));
        number
    }
}

impl Disk for SimDisk {
    fn blocks(&self) -> u64 {
        self.durable.len() as u64
    }

    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        if self.waiting.len() >= 8 {
            return Err(Full);
        }
        if let Some(left) = &mut self.commands_left {
            if *left == 0 {
                self.dead = true;
            } else {
                *left -= 1;
            }
        }
        if self.dead {
            return Ok(());
        }
        self.commands += 1;
        self.tick += 1;
        let block = command.block as usize;
        let fits = block + command.pages.len() <= self.durable.len();
        assert!(fits && command.pages.len() <= snapshot_server::COMMAND_PAGES_MAX, "the store stays on its disk");
        let write = if command.op == Op::Write { self.begin_write(block, command.pages) } else { u64::MAX };
        self.waiting.push(Waiting {
            tag: command.tag,
            op: command.op,
            block,
            pages: command.pages.to_vec(),
            write,
            submitted: self.tick,
        });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        if self.dead {
            return None;
        }
        if self.done.is_empty() && self.happens(self.fault.reset) {
            self.reset();
        }
        if let Some(done) = self.done.pop() {
            return Some(done);
        }
        if self.waiting.is_empty() {
            return None;
        }
        // Now and then nothing is done yet.
        if !self.in_order && self.random.chance(25) {
            return None;
        }
        let pick = if self.in_order { 0 } else { self.random.below(self.waiting.len() as u64) as usize };
        if pick > 0 {
            self.count.reordered += 1;
        }
        let waiting = self.waiting.remove(pick);
        self.tick += 1;
        let tag = waiting.tag;
        let result = self.run(waiting);
        Some(Completion { tag, result })
    }

    fn resets(&self) -> u64 {
        self.count.resets
    }
}

impl PageMemory for SimDisk {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        &self.pages[page.0 as usize]
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        Rc::make_mut(&mut self.pages[page.0 as usize])
    }
}
