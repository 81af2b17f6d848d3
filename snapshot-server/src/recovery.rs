//! Opening: which root, which log, which epoch. Every way it can go is a labelled [`Case`].
//!
//! ```text
//!   header ─▶ roots ─▶ table ─▶ walk the log to its end ─▶ replay it: verify what may be torn, then apply
//! ```
//! Nothing is written: an opening that is cut and begun again sees the same disk and ends the same way.

use abi::Epoch;
use format::{
    Block, Checksum, DESCRIPTOR_ITEM_BYTES, Descriptor, DescriptorError, DescriptorHead, Geometry, Header, HeaderError,
    Item, ItemIter, Key, LogStart, Root, RootError, page_checksum,
};

use crate::cache::{Cache, Fetch};
use crate::disk::Host;
use crate::gather::Gather;
use crate::layer::{Held, Value};
use crate::memory::PageRef;
use crate::queue::Owner;
use crate::store::{Event, FormatOptions, Phase, Store};

/// Blocks asked for ahead of the one that is wanted.
const AHEAD: u32 = 8;

/// What an opening met: rows of the table of cases. A report has a set of them.
///
/// | case | met when | what is done |
/// | --- | --- | --- |
/// | `HeaderSecond` | the first header is damaged | the second is used |
/// | `RootOneCopy` | of the newest root one copy is damaged, torn or old | the other is used |
/// | `RootOlder` | the newest root's table or map cannot be used | the root before it, and a longer log |
/// | `NoCheckpoint` | nothing was ever folded | the log is replayed from the first descriptor |
/// | `LogEmpty` | nothing was committed behind the checkpoint | the checkpoint is the epoch |
/// | `LogEndBlank` | the log ends where nothing of ours lies | |
/// | `LogEndTorn` | it ends at a damaged descriptor | which belongs to no acknowledged epoch |
/// | `LogEndStale` | it ends at a descriptor that is left over | |
/// | `LogEndAbandoned` | it ends at a descriptor of an abandoned future | which never verifies |
/// | `EpochUnfinished` | descriptors without their commit lie behind the last epoch | they are dropped |
/// | `EpochDropped` | an epoch that nothing proves durable has a wrong page | it and all after it are dropped |
/// | `EpochVerified` | an epoch that nothing proves durable is whole | it is the newest |
/// | `FoldInterrupted` | an interval had ended, its checkpoint was not made | it is folded anew |
/// | `AskedFor` | an older epoch was asked for | what is newer is abandoned by the next incarnation |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Case {
    HeaderSecond,
    RootOneCopy,
    RootOlder,
    NoCheckpoint,
    LogEmpty,
    LogEndBlank,
    LogEndTorn,
    LogEndStale,
    LogEndAbandoned,
    EpochUnfinished,
    EpochDropped,
    EpochVerified,
    FoldInterrupted,
    AskedFor,
}

impl Case {
    /// Every case.
    pub const ALL: [Self; 14] = [
        Self::HeaderSecond,
        Self::RootOneCopy,
        Self::RootOlder,
        Self::NoCheckpoint,
        Self::LogEmpty,
        Self::LogEndBlank,
        Self::LogEndTorn,
        Self::LogEndStale,
        Self::LogEndAbandoned,
        Self::EpochUnfinished,
        Self::EpochDropped,
        Self::EpochVerified,
        Self::FoldInterrupted,
        Self::AskedFor,
    ];
}

/// How an opening went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The epoch that was opened; [`Epoch::NONE`] for a store in which nothing was committed.
    pub epoch: Epoch,
    /// The newest incarnation on the disk.
    pub incarnation: u32,
    /// Restores in a row, before this one, that committed nothing.
    pub restores: u32,
    /// When the epoch was cut, by its maker's clock.
    pub time_ns: u64,
    /// Descriptors read from the log.
    pub descriptors: u32,
    /// Blocks read by the opening.
    pub blocks_read: u64,
    /// What was dropped because it did not verify.
    pub dropped: Option<Dropped>,
    cases: u32,
}

impl OpenReport {
    /// Whether `case` was met.
    pub fn met(&self, case: Case) -> bool {
        self.cases & (1 << case as u32) != 0
    }

    fn meet(&mut self, case: Case) {
        self.cases |= 1 << case as u32;
    }
}

/// An epoch at the log's end that was not, or is no more, whole. After a power cut that is what an unacknowledged
/// epoch looks like; after an orderly stop it means that a block has rotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which epoch.
    pub epoch: Epoch,
    /// The page that does not verify.
    pub key: Key,
    /// Where it should lie.
    pub block: Block,
}

/// Why a descriptor does not continue the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// No descriptor, or one that is damaged.
    Block(DescriptorError),
    /// A sound one, left over from before.
    Stale,
    /// A sound one of an abandoned future.
    Abandoned,
}

/// A block that something durable vouches for and that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No root is left.
    Roots,
    /// The table of used blocks, at this block.
    Space(Block),
    /// The log breaks off at this block, but later descriptors prove that it went on.
    Log(Block),
    /// A root of a later incarnation is missing: this descriptor speaks of it.
    LaterIncarnation(Block),
}

/// Why a store cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No header: blank, foreign, of another version, damaged, or too large for this disk.
    Header(HeaderError),
    /// The memory given is too small for this disk or its log.
    Memory,
    /// The disk would not read this block.
    Unreadable(Block),
    /// Damage to the newest epoch; `offer` is the newest one that it does not touch.
    Damaged {
        /// What is damaged.
        damage: Damage,
        /// An older epoch that can be asked for.
        offer: Option<Epoch>,
    },
    /// The epoch asked for is not kept.
    NotKept(Epoch),
    /// While formatting: numbers that make no geometry.
    Geometry(format::GeometryError),
}

#[derive(Debug)]
pub(crate) struct Recovery {
    target: Option<Epoch>,
    stage: Stage,
    report: OpenReport,
    /// Roots with a sequence number at or above this one were tried in vain.
    below: u64,
    found: Option<(Root, Checksum)>,
    copies: u32,
    /// The newest root, whichever is used.
    newest: Option<(Root, Checksum)>,
    header_error: Option<HeaderError>,
    walk: Walk,
    /// The walk when it stood behind the epoch that was asked for.
    asked: Option<Walk>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Header(u8),
    Roots(u32),
    Chosen,
    Walk,
    Beyond(Block),
    Replay,
    Verify { start: LogStart, item: u32 },
    Done,
}

/// The log as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    at: LogStart,
    /// Behind the last commit.
    end: LogStart,
    /// The last commit.
    head: Epoch,
    floor: Epoch,
    /// The newest epoch that a later descriptor proves durable.
    durable: Epoch,
    /// Descriptors since the last commit.
    unfinished: u32,
    unfinished_epoch: Epoch,
    /// Replay: this epoch is verified or proven.
    cleared: Epoch,
}

/// The steps of formatting.
#[derive(Debug)]
pub(crate) struct Formatting {
    options: FormatOptions,
    position: Option<u64>,
    roots: bool,
}

impl Formatting {
    pub(crate) fn new(options: FormatOptions) -> Self {
        Self { options, position: None, roots: false }
    }
}

impl Recovery {
    pub(crate) fn new(target: Option<Epoch>) -> Self {
        Self {
            target,
            stage: Stage::Header(0),
            report: OpenReport::default(),
            below: u64::MAX,
            found: None,
            copies: 0,
            newest: None,
            header_error: None,
            walk: Walk::default(),
            asked: None,
        }
    }
}

enum Step {
    /// Wait for the disk.
    Wait,
    /// Go on.
    On,
}

impl<'m, H: Host> Store<'m, H> {
    fn refuse(&mut self, refusal: Refusal) {
        self.phase = Phase::Stopped;
        self.events.push(Event::Refused(refusal));
    }

    /// Formats: both headers and the first root, then what an opening would find.
    pub(crate) fn step_format(&mut self) -> bool {
        let Phase::Formatting(state) = &self.phase else {
            return false;
        };
        let (options, position, roots) = (state.options, state.position, state.roots);
        if position.is_some_and(|position| self.queue.flushed < position) {
            return false;
        }
        if position.is_none() {
            let geometry = match Geometry::new(
                self.host.blocks().min(format::DISK_BLOCKS_MAX),
                options.root_slots,
                options.segment_blocks,
            ) {
                Ok(geometry) => geometry,
                Err(error) => {
                    self.refuse(Refusal::Geometry(error));
                    return true;
                }
            };
            if !self.space.adopt(geometry) {
                self.refuse(Refusal::Memory);
                return true;
            }
            self.world = options.world;
            // The root first and the headers after it: a format that is cut leaves no header without a root.
            self.root = Root::first(geometry.data_start());
            let root = self.root;
            if let Some(page) = self.buffers.take() {
                self.root_sum = root.write(self.world, &geometry, self.host.bytes_mut(page));
                let [a, b] = geometry.root(root.sequence);
                self.queue.push(a, page, Owner::Shared);
                self.queue.push(b, page, Owner::Buffer);
            }
        } else if !roots {
            let geometry = *self.space.geometry();
            let header = Header { world: self.world, geometry, formatted_ns: options.formatted_ns };
            for at in geometry.headers() {
                if let Some(page) = self.buffers.take() {
                    header.write(at, self.host.bytes_mut(page));
                    self.queue.push(at, page, Owner::Buffer);
                }
            }
        } else {
            self.log = self.root.log;
            self.space.replay_log(self.log.block, self.interval);
            self.phase = Phase::Opened;
            let mut report = OpenReport::default();
            report.meet(Case::NoCheckpoint);
            report.meet(Case::LogEmpty);
            self.events.push(Event::Opened(report));
            return true;
        }
        let end = self.queue.head();
        self.queue.want_flush(end);
        if let Phase::Formatting(state) = &mut self.phase {
            state.roots = state.position.is_some();
            state.position = Some(end);
        }
        true
    }

    /// One step of an opening; false when it waits for the disk.
    pub(crate) fn step_recovery(&mut self) -> bool {
        let Phase::Opening(mut recovery) = core::mem::replace(&mut self.phase, Phase::Stopped) else {
            return false;
        };
        let step = match recovery.stage {
            Stage::Header(copy) => self.recover_header(&mut recovery, copy),
            Stage::Roots(slot) => self.recover_roots(&mut recovery, slot),
            Stage::Chosen => self.recover_chosen(&mut recovery),
            Stage::Walk => self.recover_walk(&mut recovery),
            Stage::Beyond(block) => self.recover_beyond(&mut recovery, block),
            Stage::Replay => self.recover_replay(&mut recovery),
            Stage::Verify { start, item } => self.recover_verify(&mut recovery, start, item),
            Stage::Done => {
                self.recovered(recovery);
                return true;
            }
        };
        match step {
            Ok(step) => {
                self.phase = Phase::Opening(recovery);
                matches!(step, Step::On)
            }
            Err(refusal) => {
                self.refuse(refusal);
                true
            }
        }
    }

    /// A block of which only the address is known.
    fn fetch_raw(&mut self, block: Block) -> Result<Option<PageRef>, Refusal> {
        match self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(block, self.nonce)) {
            Fetch::Pending => Ok(None),
            Fetch::Ready(page, ..) => Ok(Some(page)),
            Fetch::Unreadable => Err(Refusal::Unreadable(block)),
        }
    }

    fn recover_header(&mut self, recovery: &mut Recovery, copy: u8) -> Result<Step, Refusal> {
        let blocks = self.host.blocks();
        // The second copy lies in the last block of the store; that is the last of the disk unless the disk grew.
        let at = if copy == 0 { Block(0) } else { Block((blocks.min(format::DISK_BLOCKS_MAX) - 1) as u32) };
        let parsed = match self.fetch_raw(at) {
            Ok(None) => return Ok(Step::Wait),
            Ok(Some(page)) => Header::parse(at, self.host.bytes(page), blocks),
            Err(_) => Err(HeaderError::Damaged),
        };
        recovery.report.blocks_read += 1;
        match parsed {
            Ok(header) => {
                if copy == 1 {
                    recovery.report.meet(Case::HeaderSecond);
                }
                self.world = header.world;
                if !self.space.adopt(header.geometry) {
                    return Err(Refusal::Memory);
                }
                recovery.stage = Stage::Roots(0);
            }
            // What the first copy says is what there is to say, unless the second is sound.
            Err(error) if copy == 0 => {
                recovery.header_error = Some(error);
                recovery.stage = Stage::Header(1);
            }
            Err(error) => return Err(Refusal::Header(recovery.header_error.unwrap_or(error))),
        }
        Ok(Step::On)
    }

    fn recover_roots(&mut self, recovery: &mut Recovery, slot: u32) -> Result<Step, Refusal> {
        let geometry = *self.space.geometry();
        let slots = geometry.root_slots();
        let place = |slot: u32| geometry.root(u64::from(slot % slots))[(slot / slots) as usize];
        for ahead in slot + 1..(slot + AHEAD).min(2 * slots) {
            // Only to have it read: whatever is wrong with it is seen when it is its turn.
            let _ = self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(place(ahead), self.nonce));
        }
        let parsed = match self.fetch_raw(place(slot)) {
            Ok(None) => return Ok(Step::Wait),
            Ok(Some(page)) => Root::parse(self.world, &geometry, place(slot), self.host.bytes(page)),
            Err(_) => Err(RootError::Damaged),
        };
        recovery.report.blocks_read += 1;
        if let Ok((root, sum)) = parsed
            && root.sequence < recovery.below
        {
            match &recovery.found {
                Some((found, _)) if found.sequence > root.sequence => {}
                Some((found, _)) if found.sequence == root.sequence => recovery.copies += 1,
                _ => {
                    recovery.found = Some((root, sum));
                    recovery.copies = 1;
                }
            }
        }
        recovery.stage = if slot + 1 < 2 * slots { Stage::Roots(slot + 1) } else { Stage::Chosen };
        Ok(Step::On)
    }

    fn recover_chosen(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let Some((root, sum)) = recovery.found.take() else {
            return Err(Refusal::Damaged { damage: Damage::Roots, offer: None });
        };
        if recovery.copies == 1 {
            recovery.report.meet(Case::RootOneCopy);
        }
        recovery.newest.get_or_insert((root, sum));
        self.root = root;
        self.root_sum = sum;
        self.interval = root.interval;
        if root.newest().is_none() {
            recovery.report.meet(Case::NoCheckpoint);
        }
        recovery.walk = Walk { at: root.log, end: root.log, ..Walk::default() };
        recovery.stage = Stage::Walk;
        Ok(Step::On)
    }

    /// Whether a sound descriptor is the next of the log.
    fn continues(recovery: &Recovery, head: &DescriptorHead) -> Result<(), LogEnd> {
        let walk = &recovery.walk;
        let Some((newest, _)) = &recovery.newest else {
            return Err(LogEnd::Stale);
        };
        if head.sequence != walk.at.sequence || head.previous != walk.at.previous {
            return Err(LogEnd::Stale);
        }
        // Behind the point where the newest incarnation took over, only what it wrote itself is real.
        if head.sequence >= newest.resume.sequence && head.epoch.incarnation() < newest.incarnation {
            return Err(LogEnd::Abandoned);
        }
        let ordered = if walk.unfinished > 0 { head.epoch == walk.unfinished_epoch } else { head.epoch > walk.head };
        if ordered { Ok(()) } else { Err(LogEnd::Stale) }
    }

    fn recover_walk(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        let Some(page) = self.fetch_raw(at.block)? else {
            return Ok(Step::Wait);
        };
        recovery.report.blocks_read += 1;
        let geometry = *self.space.geometry();
        let parsed = Descriptor::parse(self.world, &geometry, at.block, self.host.bytes(page));
        let result = parsed
            .map_err(LogEnd::Block)
            .and_then(|found| Self::continues(recovery, &found.head).map(|()| (found.head, found.sum)));
        let (head, sum) = match result {
            Ok(found) => found,
            Err(end) => return self.recover_end(recovery, end),
        };
        if let Some((newest, _)) = &recovery.newest
            && head.epoch.incarnation() > newest.incarnation
        {
            return self.damaged(recovery, Damage::LaterIncarnation(at.block));
        }
        let walk = &mut recovery.walk;
        walk.at = LogStart { block: head.next, sequence: head.sequence + 1, previous: sum };
        walk.durable = walk.durable.max(head.durable);
        walk.unfinished += 1;
        walk.unfinished_epoch = head.epoch;
        recovery.report.descriptors += 1;
        if head.flags.commit {
            walk.unfinished = 0;
            walk.head = head.epoch;
            walk.end = walk.at;
            walk.floor = walk.floor.max(head.floor);
            if recovery.target == Some(head.epoch) {
                recovery.asked = Some(*walk);
            }
        }
        Ok(Step::On)
    }

    /// The log ends here. Was it longer?
    fn recover_end(&mut self, recovery: &mut Recovery, end: LogEnd) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        let resume = recovery.newest.as_ref().map_or(0, |(newest, _)| newest.resume.sequence);
        if at.sequence < resume {
            // An earlier opening has read what should lie here, and a root says so.
            return self.damaged(recovery, Damage::Log(at.block));
        }
        recovery.report.meet(match end {
            LogEnd::Block(DescriptorError::Foreign) => Case::LogEndBlank,
            LogEnd::Block(_) => Case::LogEndTorn,
            LogEnd::Stale => Case::LogEndStale,
            LogEnd::Abandoned => Case::LogEndAbandoned,
        });
        if recovery.walk.unfinished > 0 {
            recovery.report.meet(Case::EpochUnfinished);
        }
        recovery.stage = Stage::Beyond(Block(at.block.0 + 1));
        Ok(Step::On)
    }

    /// The walk is over: replays up to its end, or up to the epoch that was asked for when that is still whole.
    fn start_replay(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        if let Some(target) = recovery.target {
            let (floor, durable) = (recovery.walk.floor, recovery.walk.durable);
            match recovery.asked {
                Some(asked) if target >= floor => recovery.walk = Walk { durable, ..asked },
                _ => return Err(Refusal::NotKept(target)),
            }
            recovery.report.meet(Case::AskedFor);
        }
        recovery.stage = Stage::Replay;
        recovery.walk.at = self.root.log;
        Ok(Step::On)
    }

    /// The log is damaged where it should go on; an older epoch that was asked for may be whole all the same.
    fn damaged(&mut self, recovery: &mut Recovery, damage: Damage) -> Result<Step, Refusal> {
        if recovery.asked.is_some() {
            return self.start_replay(recovery);
        }
        let newest = self.root.newest().map_or(Epoch::NONE, |checkpoint| checkpoint.epoch);
        let offer = recovery.walk.head.max(newest);
        Err(Refusal::Damaged { damage, offer: (offer > Epoch::NONE).then_some(offer) })
    }

    /// Looks at the rest of the segment for a descriptor that proves the log to have gone on: then the block where it
    /// breaks off has rotted, and must not be taken for the end.
    fn recover_beyond(&mut self, recovery: &mut Recovery, block: Block) -> Result<Step, Refusal> {
        let geometry = *self.space.geometry();
        let walk = &recovery.walk;
        let segment = |block: Block| block.0 / geometry.segment_blocks();
        if segment(block) != segment(walk.at.block) || !geometry.is_data(block) {
            return self.start_replay(recovery);
        }
        for ahead in 1..AHEAD {
            let ahead = Block(block.0 + ahead);
            if segment(ahead) == segment(walk.at.block) && geometry.is_data(ahead) {
                let _ = self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(ahead, self.nonce));
            }
        }
        let (at, head) = (walk.at, walk.head);
        let page = match self.fetch_raw(block) {
            Ok(None) => return Ok(Step::Wait),
            Ok(page) => page,
            Err(_) => None,
        };
        recovery.report.blocks_read += 1;
        if let Some(page) = page
            && let Ok(found) = Descriptor::parse(self.world, &geometry, block, self.host.bytes(page))
            && found.head.sequence > at.sequence
            && found.head.epoch.incarnation() == recovery.newest.as_ref().map_or(0, |(newest, _)| newest.incarnation)
            && found.head.durable > head
        {
            return self.damaged(recovery, Damage::Log(at.block));
        }
        recovery.stage = Stage::Beyond(Block(block.0 + 1));
        Ok(Step::On)
    }

    /// Applies the descriptor at the walk's place, or has its epoch verified first.
    fn recover_replay(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        if at.sequence == recovery.walk.end.sequence {
            recovery.stage = Stage::Done;
            return Ok(Step::On);
        }
        let Some(page) = self.fetch_raw(at.block)? else {
            return Ok(Step::Wait);
        };
        let geometry = *self.space.geometry();
        let Ok(found) = Descriptor::parse(self.world, &geometry, at.block, self.host.bytes(page)) else {
            return Err(Refusal::Unreadable(at.block));
        };
        let (head, sum) = (found.head, found.sum);
        let walk = &mut recovery.walk;
        if head.epoch > walk.durable && head.epoch > walk.cleared {
            recovery.stage = Stage::Verify { start: at, item: 0 };
            return Ok(Step::On);
        }
        // The pool and the table change while the items are read, so the items are read from a copy.
        let mut copy = [0; DESCRIPTOR_ITEM_BYTES];
        let length = found.item_bytes().len();
        copy[..length].copy_from_slice(found.item_bytes());
        let floor = walk.floor;
        self.space.replay_log(at.block, self.interval);
        self.descriptors += 1;
        for item in ItemIter::new(&copy[..length]) {
            let value = match item {
                Item::Page { place, sum, .. } => Value::Page(place, sum),
                Item::Zero { count, .. } => Value::Zero(count),
                Item::Absent { count, .. } => Value::Absent(count),
                Item::Record { bytes, .. } => self.pool.store_record(bytes).map_err(|_| Refusal::Memory)?,
            };
            self.replay_item(Held { key: item.key(), value }, head.epoch, floor)?;
        }
        if head.flags.commit {
            self.head = head.epoch;
            recovery.report.time_ns = head.time_ns;
            if head.flags.interval_end {
                recovery.report.meet(Case::FoldInterrupted);
                self.end_interval(head.epoch, head.time_ns);
            }
        }
        recovery.walk.at = LogStart { block: head.next, sequence: head.sequence + 1, previous: sum };
        Ok(Step::On)
    }

    fn replay_item(&mut self, held: Held, epoch: Epoch, floor: Epoch) -> Result<(), Refusal> {
        while let Some(cut) =
            self.pool.cut_one(&mut self.active, held.key, held.count()).map_err(|_| Refusal::Memory)?
        {
            if let Value::Page(place, _) = cut.value
                && self.space.die(place.block, self.interval)
            {
                self.space.defer_or_release(place.block, epoch, floor);
            }
        }
        if let Value::Page(place, _) = held.value {
            self.space.replay_birth(place.block, self.interval);
        }
        self.pool.put(&mut self.active, &held).map_err(|_| Refusal::Memory)
    }

    /// Verifies the pages of the epoch that starts at `start`, from item `item` of the descriptor at the walk's place.
    fn recover_verify(&mut self, recovery: &mut Recovery, start: LogStart, item: u32) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        let Some(page) = self.fetch_raw(at.block)? else {
            return Ok(Step::Wait);
        };
        let geometry = *self.space.geometry();
        let Ok(found) = Descriptor::parse(self.world, &geometry, at.block, self.host.bytes(page)) else {
            return Err(Refusal::Unreadable(at.block));
        };
        let (head, sum) = (found.head, found.sum);
        let mut places = [None; AHEAD as usize];
        let pages = found.items().enumerate().filter_map(|(number, item)| match item {
            Item::Page { key, place, sum } => Some((number as u32, key, place, sum)),
            _ => None,
        });
        for (slot, found) in places.iter_mut().zip(pages.skip_while(|(number, ..)| *number < item)) {
            *slot = Some(found);
        }
        if let Some((number, key, place, expected)) = places[0] {
            for (_, _, ahead, _) in places[1..].iter().flatten() {
                let _ = self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(ahead.block, self.nonce));
            }
            let sound = match self.fetch_raw(place.block) {
                Ok(None) => return Ok(Step::Wait),
                Ok(Some(page)) => page_checksum(self.world, place, self.host.bytes(page)) == expected,
                Err(_) => false,
            };
            recovery.report.blocks_read += 1;
            if sound {
                recovery.stage = Stage::Verify { start, item: number + 1 };
                return Ok(Step::On);
            }
            return self.drop_epoch(recovery, start, Dropped { epoch: head.epoch, key, block: place.block });
        }
        recovery.walk.at = LogStart { block: head.next, sequence: head.sequence + 1, previous: sum };
        recovery.stage = Stage::Verify { start, item: 0 };
        if head.flags.commit {
            recovery.report.meet(Case::EpochVerified);
            recovery.walk.cleared = head.epoch;
            recovery.walk.at = start;
            recovery.stage = Stage::Replay;
        }
        Ok(Step::On)
    }

    /// The epoch that starts at `start` is not whole: the one before it is the newest.
    fn drop_epoch(&mut self, recovery: &mut Recovery, start: LogStart, dropped: Dropped) -> Result<Step, Refusal> {
        if let Some(target) = recovery.target {
            return Err(Refusal::NotKept(target));
        }
        recovery.report.meet(Case::EpochDropped);
        recovery.report.dropped = Some(dropped);
        recovery.walk.end = start;
        recovery.walk.at = start;
        recovery.stage = Stage::Replay;
        Ok(Step::On)
    }

    fn recovered(&mut self, recovery: Recovery) {
        let Recovery { mut report, walk, newest, .. } = recovery;
        self.log = walk.end;
        self.space.replay_log(self.log.block, self.interval);
        if self.head == Epoch::NONE {
            report.meet(Case::LogEmpty);
        }
        report.epoch = self.head;
        report.incarnation = self.root.incarnation;
        report.restores = if self.head.incarnation() < self.root.incarnation { self.root.restores } else { 0 };
        if let Some((root, sum)) = newest {
            self.root.sequence = root.sequence;
            self.root.incarnation = root.incarnation;
            self.root_sum = sum;
        }
        self.gather = Gather::default();
        self.phase = Phase::Opened;
        self.events.push(Event::Opened(report));
    }
}
