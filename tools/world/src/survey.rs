//! Roots, checkpoints and log as they lie on the disk, read without a store.

use abi::Epoch;
use format::{
    Block, BlockBytes, Checkpoint, Checksum, Descriptor, DescriptorHead, Header, HeaderError, Item, LogStart, Root,
    RootError, World,
};
use snapshot_server::{Disk, Refusal};

use crate::file::FileHost;
use crate::session::WorldError;

/// An epoch that lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogEpoch {
    /// Its number.
    pub epoch: Epoch,
    /// When it was cut, by its maker's clock (ns).
    pub time_ns: u64,
    /// How long it gathered (ns).
    pub gathered_ns: u64,
    /// Pages in it.
    pub pages: u32,
    /// Records written or removed by it.
    pub records: u32,
    /// Its descriptors.
    pub descriptors: u32,
    /// Whether it can still be booted: nothing that it needs was reused.
    pub bootable: bool,
}

/// Why a copy of a root cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFlaw {
    /// The disk would not read it.
    Unreadable,
    /// What lies there is no root of this store.
    Wrong(RootError),
}

/// A copy of a root that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootCopy {
    /// Where it should lie.
    pub block: Block,
    /// What is wrong with it.
    pub flaw: RootFlaw,
    /// Whether this store has written a root there: else nothing ever was, or it is left over from another store.
    pub written: bool,
}

/// Bytes of a record that a cell of a store's memory holds.
const CELL_BYTES: u64 = 124;

/// What a log, or an epoch that gathers, holds, as far as memory for it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSize {
    /// Items in all its descriptors.
    pub items: u64,
    /// Bytes of all its records.
    pub record_bytes: u64,
    /// Records.
    pub records: u64,
}

/// What the disk says of itself.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Which store it is.
    pub header: Header,
    /// Both copies of the header: sound or not.
    pub headers_sound: [bool; 2],
    /// The newest root.
    pub root: Root,
    /// Sound copies of roots, and all slots.
    pub roots: (u32, u32),
    /// Copies of roots that are not sound, and why.
    pub roots_unsound: Vec<RootCopy>,
    /// Epochs in the log behind the newest checkpoint, oldest first.
    pub log: Vec<LogEpoch>,
    /// Descriptors of the log with their places, for whoever verifies them further.
    pub descriptors: Vec<(Block, Checksum)>,
    /// Where the log ends: what should lie there if it went on.
    pub end: LogStart,
    /// The longest log that any root leads to.
    pub log_size: LogSize,
}

/// A block, or `None` when the disk does not give it.
fn read(host: &mut FileHost, block: Block) -> Option<BlockBytes> {
    let mut bytes = [0; 4096];
    host.read_block(u64::from(block.0), &mut bytes).ok().map(|()| bytes)
}

impl Survey {
    /// Reads header, roots and log.
    pub fn new(host: &mut FileHost) -> Result<Self, WorldError> {
        let (header, headers_sound) = Self::header(host)?;
        let geometry = header.geometry;
        let mut found: Vec<(Root, Checksum)> = Vec::new();
        let mut unsound = Vec::new();
        for slot in 0..u64::from(geometry.root_slots()) {
            for block in geometry.root(slot) {
                let parsed = read(host, block)
                    .ok_or(RootFlaw::Unreadable)
                    .and_then(|bytes| Root::parse(header.world, &geometry, block, &bytes).map_err(RootFlaw::Wrong));
                match parsed {
                    Ok(root) => found.push(root),
                    Err(flaw) => unsound.push((slot, RootCopy { block, flaw, written: true })),
                }
            }
        }
        let sound = found.len() as u32;
        found.sort_by_key(|(root, _)| root.sequence);
        found.dedup_by_key(|(root, _)| root.sequence);
        let Some((root, sum)) = found.last().copied() else {
            let copies = unsound.into_iter().map(|(_, copy)| copy).collect();
            return Err(WorldError::Roots(copies));
        };
        for (slot, copy) in &mut unsound {
            copy.written = is_written(host, *slot, copy, &root, sum, u64::from(geometry.root_slots()));
        }
        let roots_unsound = unsound.into_iter().map(|(_, copy)| copy).collect();
        let roots = (sound, geometry.root_slots() * 2);
        let (log, descriptors, end) = (Vec::new(), Vec::new(), root.log);
        let log_size = LogSize::default();
        let mut survey = Self { header, headers_sound, root, roots, roots_unsound, log, descriptors, end, log_size };
        survey.walk(host);
        survey.log_size = survey.longest(host, &found);
        Ok(survey)
    }

    fn header(host: &mut FileHost) -> Result<(Header, [bool; 2]), WorldError> {
        let blocks = host.blocks();
        if blocks == 0 {
            return Err(WorldError::Refused(Refusal::Header(HeaderError::Foreign)));
        }
        let last = Block((blocks.min(format::DISK_BLOCKS_MAX) - 1) as u32);
        let mut parse = |at: Block| {
            let bytes = read(host, at).ok_or(Refusal::Unreadable(at))?;
            Header::parse(at, &bytes, blocks).map_err(Refusal::Header)
        };
        let (first, second) = (parse(Block(0)), parse(last));
        let sound = [first.is_ok(), second.is_ok()];
        // If neither can be used the first says why, unless it is not there at all.
        let blank = Refusal::Header(HeaderError::Blank);
        let telling = match (first, second) {
            (Ok(header), _) | (_, Ok(header)) => Ok(header),
            (Err(Refusal::Header(HeaderError::Blank | HeaderError::Foreign)), Err(error)) if error != blank => {
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        };
        Ok((telling.map_err(WorldError::Refused)?, sound))
    }

    /// Whether a sound descriptor is the next of the log, as an opening judges it; `newest` is the epoch before it.
    fn continues(&self, at: &LogStart, head: &DescriptorHead, newest: Epoch, unfinished: Option<Epoch>) -> bool {
        let root = &self.root;
        // A root vouches for the checksum of what came before its part of the log.
        let vouched = |start: &LogStart| start.sequence != head.sequence || start.previous == head.previous;
        let incarnation = head.epoch.incarnation();
        let resumed = head.sequence >= root.resume.sequence;
        head.sequence == at.sequence
            && head.previous == at.previous
            && vouched(&root.log)
            && vouched(&root.resume)
            && (if resumed { incarnation == root.incarnation } else { incarnation <= root.incarnation })
            && unfinished.map_or(head.epoch > newest, |epoch| head.epoch == epoch)
    }

    /// How far the newest root says that the log goes, when it ends before that or comes there by other descriptors.
    pub fn log_missing(&self) -> Option<LogStart> {
        let (end, known) = (self.end, self.root.resume);
        let missing = end.sequence < known.sequence || end.sequence == known.sequence && end != known;
        missing.then_some(known)
    }

    /// Follows the log from the newest root. A descriptor that cannot be read is its end.
    fn walk(&mut self, host: &mut FileHost) {
        let mut at = self.root.log;
        let (mut floor, mut count) = (Epoch::NONE, 0);
        let (mut newest, mut unfinished) = (self.root.newest().map_or(Epoch::NONE, |newest| newest.epoch), None);
        // Sequence numbers ascend and every descriptor has a block of its own, so this ends.
        for _ in 0..self.header.geometry.blocks() {
            let Some(bytes) = read(host, at.block) else { break };
            let Ok(found) = Descriptor::parse(self.header.world, &self.header.geometry, at.block, &bytes) else {
                break;
            };
            let head = found.head;
            if !self.continues(&at, &head, newest, unfinished) {
                break;
            }
            (newest, unfinished) = if head.flags.commit { (head.epoch, None) } else { (newest, Some(head.epoch)) };
            count += 1;
            self.descriptors.push((at.block, found.sum));
            if head.flags.commit {
                floor = floor.max(head.floor);
                self.log.push(LogEpoch {
                    epoch: head.epoch,
                    time_ns: head.time_ns,
                    gathered_ns: head.gathered_ns,
                    pages: head.pages,
                    records: head.records,
                    descriptors: count,
                    bootable: false,
                });
                count = 0;
            }
            at = LogStart { block: head.next, sequence: head.sequence + 1, previous: found.sum };
        }
        for epoch in &mut self.log {
            epoch.bootable = epoch.epoch >= floor;
        }
        self.end = at;
    }

    /// The size of the longest log that any of these roots, oldest first, leads to: an opening may have to begin with
    /// an older one. The log of an older root leads to that of the next, which is not read again.
    fn longest(&self, host: &mut FileHost, roots: &[(Root, Checksum)]) -> LogSize {
        let mut known: Vec<(LogStart, LogSize)> = Vec::new();
        let mut longest = LogSize::default();
        for (root, _) in roots.iter().rev() {
            let mut at = root.log;
            let mut size = LogSize::default();
            for _ in 0..self.header.geometry.blocks() {
                if let Some((_, rest)) = known.iter().find(|(start, _)| *start == at) {
                    size.add(rest);
                    break;
                }
                let Some(bytes) = read(host, at.block) else { break };
                let Ok(found) = Descriptor::parse(self.header.world, &self.header.geometry, at.block, &bytes) else {
                    break;
                };
                if (found.head.sequence, found.head.previous) != (at.sequence, at.previous) {
                    break;
                }
                found.items().for_each(|item| size.count(&item));
                at = LogStart { block: found.head.next, sequence: at.sequence + 1, previous: found.sum };
            }
            known.push((root.log, size));
            longest.grow(&size);
        }
        longest
    }

    /// Checkpoints kept, oldest first.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        self.root.checkpoints()
    }

    /// Identity of the store.
    pub fn world(&self) -> World {
        self.header.world
    }
}

impl LogSize {
    /// Entries and cells that a store needs for it.
    pub(crate) fn pool(&self) -> (usize, usize) {
        // An item that lies within an extent splits it; each record is there twice while it is replaced.
        let cells = 2 * (self.record_bytes / CELL_BYTES + self.records);
        (2 * self.items as usize, cells as usize)
    }

    pub(crate) fn count(&mut self, item: &Item<'_>) {
        self.items += 1;
        if let Item::Record { bytes, .. } = item {
            self.records += 1;
            self.record_bytes += bytes.len() as u64;
        }
    }

    fn add(&mut self, rest: &Self) {
        self.items += rest.items;
        self.records += rest.records;
        self.record_bytes += rest.record_bytes;
    }

    fn grow(&mut self, other: &Self) {
        self.items = self.items.max(other.items);
        self.records = self.records.max(other.records);
        self.record_bytes = self.record_bytes.max(other.record_bytes);
    }
}

/// Whether the store that `newest` belongs to has written a root where this copy should lie. Formatting leaves the rings
/// as they were, so a root of another store may lie in a slot whose turn has not come.
fn is_written(host: &mut FileHost, slot: u64, copy: &RootCopy, newest: &Root, sum: Checksum, slots: u64) -> bool {
    // How many roots ago it was this slot's turn.
    let ago = (newest.sequence % slots + slots - slot) % slots;
    let told = matches!(copy.flaw, RootFlaw::Unreadable | RootFlaw::Wrong(RootError::Invalid));
    if ago < newest.sequence || told {
        return true;
    }
    // A root behind the newest sound one says whom it follows, even when the rest of it is damaged.
    read(host, copy.block).and_then(|bytes| Root::predecessor(&bytes)) == Some(sum)
}
