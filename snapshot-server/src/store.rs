//! The store itself: its state, its life from opening to failure, and the one poll that drives everything.

use abi::Epoch;
use format::{Block, Checksum, Geometry, LogStart, NodeError, Root, World};

use crate::cache::Cache;
use crate::commit::{RootWrite, SealedQueue};
use crate::disk::{DiskError, Host, Op};
use crate::fold::Fold;
use crate::formatting::Formatting;
use crate::gather::Gather;
use crate::layer::{Layer, Pool};
use crate::memory::{CACHE_FRAMES_MIN, Memory, PENDING_MIN, PageRef, WRITE_BUFFERS_MAX, WRITE_BUFFERS_MIN};
use crate::queue::{Owner, Queue, ReadDone};
use crate::reached::Reached;
use crate::read::{ReadError, ReadOp};
use crate::recovery::{OpenReport, Recovery, Refusal};
use crate::space::Space;

/// Recent epochs of the log that can be kept bootable.
pub(crate) const RECENT_MAX: usize = 8;
/// Steps that one poll takes at most before it returns to its caller.
const STEPS_MAX: u32 = 256;
/// Steps of a fold that one poll takes at most while an epoch gathers: who puts is not kept waiting for all of it.
const FOLD_STEPS_MAX: u32 = 1;
/// Pages handed back between two steps.
const RELEASES_MAX: u32 = 32;

/// How the store weighs space, time and memory. Correctness depends on none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Epochs of the log, besides the newest, that stay bootable until the next checkpoint: 0 ..= 7.
    pub recent_epochs: u8,
    /// Checkpoints kept, the newest included: 1 ..= 12.
    pub checkpoints: u8,
    /// An interval ends when so many entries have changed (half of the pool at most).
    pub interval_entries: u32,
    /// An interval ends when its log has so many descriptors: what an opening has to read.
    pub interval_descriptors: u32,
    /// Epochs of more pages than this are committed behind a barrier, so that an opening need not verify their pages.
    pub verify_pages: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            recent_epochs: 1,
            checkpoints: 8,
            interval_entries: 1 << 14,
            interval_descriptors: 4096,
            verify_pages: 1024,
        }
    }
}

/// What a new store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatOptions {
    /// Its identity, drawn at random.
    pub world: World,
    /// Slots of each root ring (see `format::Geometry`).
    pub root_slots: u32,
    /// Blocks of a segment, a power of two.
    pub segment_blocks: u32,
    /// Now, in ns since 1970; 0 when unknown.
    pub formatted_ns: u64,
    /// Fingerprint of the programs that the world is made with; 0 when unknown.
    pub programs: u64,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Recovery, or format, is done; reading works, writing after [`Store::new_incarnation`].
    Opened(OpenReport),
    /// There is no store here that can be opened, or not as asked. Final.
    Refused(Refusal),
    /// The incarnation asked for is durable: epochs of it can begin.
    IncarnationDurable(u32),
    /// A page given to `put_page` is durable where it lies: its frame may be reused. The epoch is not committed by that.
    PageWritten(PageRef),
    /// The epoch is durable.
    Committed(Epoch),
    /// A read that was not answered at once has ended.
    PageRead {
        /// The token given with it.
        token: u64,
        /// Where the page is now.
        result: Result<crate::read::PageSource, ReadError>,
    },
    /// The map was folded: this epoch is a checkpoint.
    CheckpointDurable(Epoch),
    /// The checkpoints asked for are gone, their space is free.
    Retired,
    /// The store can go on no more; what was committed is whole and can be opened anew. Final.
    Failed(Failure),
}

/// Why the store stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk would not write or flush, after retries.
    Disk {
        /// What it was asked.
        op: Op,
        /// First block of the command.
        block: Block,
        /// What it said.
        error: DiskError,
    },
    /// A block of the map that folding needs cannot be read, or is not what its parent says.
    Map(Block),
}

/// Numbers of a running store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The newest durable epoch.
    pub head: Epoch,
    /// Blocks that epochs may use.
    pub data_blocks: u32,
    /// Free blocks.
    pub free_blocks: u32,
    /// Blocks kept back so that what is gathered can be folded.
    pub reserved_blocks: u32,
    /// See [`Room::writes`](crate::Room::writes).
    pub room_pages: u32,
    /// Entries of the pool in use.
    pub entries_used: u32,
    /// Blocks that wait for recent epochs to pass.
    pub deferred_blocks: u32,
    /// Checkpoints kept.
    pub checkpoints: u32,
    /// Nodes of the map that were read from their second copy because the first was unreadable or wrong.
    pub second_copies: u32,
    /// Nodes of the map whose copies lie near each other, for want of a free block apart, written since opening.
    pub copies_near: u32,
    /// How often the store gave up all checkpoints but the newest because it was short of space in the midst of an epoch.
    pub retired_for_space: u32,
    /// Descriptors since the newest checkpoint.
    pub descriptors: u32,
    /// Blocks written since opening, of every kind.
    pub blocks_written: u64,
    /// Pages of the caller among them.
    pub pages_written: u64,
    /// Blocks written again because the disk may have forgotten them.
    pub blocks_rewritten: u64,
    /// Writes of later epochs that went out before the block which commits a large one.
    pub writes_before_commit: u64,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one, and no heap to put the large variant on")]
pub(crate) enum Phase {
    Formatting(Formatting),
    Opening(Recovery),
    /// Opened; nothing written yet.
    Opened,
    Running,
    Stopped,
}

/// A world's epochs on one disk. See the crate's page for its life.
pub struct Store<'m, H> {
    pub(crate) host: H,
    pub(crate) config: Config,
    pub(crate) world: World,
    /// Nodes of the map are written twice (see [`Merge`](crate::merge::Merge)).
    pub(crate) twins: bool,
    /// Checkpoints say on disk what their records take.
    pub(crate) counts_records: bool,
    pub(crate) space: Space<'m>,
    pub(crate) pool: Pool<'m>,
    /// What has changed since the last interval ended.
    pub(crate) active: Layer,
    /// The interval being folded.
    pub(crate) frozen: Layer,
    /// Number of the interval that gathers.
    pub(crate) interval: u8,
    pub(crate) queue: Queue<'m>,
    pub(crate) cache: Cache<'m>,
    pub(crate) buffers: Buffers,
    pub(crate) reads: &'m mut [ReadOp],
    pub(crate) root: Root,
    pub(crate) root_sum: Checksum,
    /// Where the next descriptor goes.
    pub(crate) log: LogStart,
    pub(crate) descriptors: u32,
    pub(crate) gather: Gather,
    pub(crate) fold: Fold,
    /// The next epoch to be sealed should end its interval.
    pub(crate) fold_wanted: bool,
    /// The newest epoch of which something was written, sealed or opened, and when it was cut.
    pub(crate) last_written: (Epoch, u64),
    /// Pages of the largest recent epoch.
    pub(crate) epoch_pages: u32,
    pub(crate) sealed: SealedQueue,
    pub(crate) recent: [Epoch; RECENT_MAX],
    /// The newest durable epoch.
    pub(crate) head: Epoch,
    pub(crate) root_write: RootWrite,
    pub(crate) reached: Reached,
    pub(crate) map_flaw: Option<(Block, Option<NodeError>)>,
    pub(crate) phase: Phase,
    pub(crate) events: EventRing,
    pub(crate) status: Status,
    /// Pages handed back since the last step, about.
    released: u32,
    /// The last step moved a fold on.
    folded: bool,
    /// See [`Store::has_more`].
    more: bool,
    pub(crate) nonce: u64,
}

/// The store's own pages for what it writes: a stack of those that are free.
#[derive(Debug)]
pub(crate) struct Buffers {
    pages: [PageRef; WRITE_BUFFERS_MAX],
    free: usize,
    total: usize,
}

impl Buffers {
    fn new(given: &[PageRef]) -> Self {
        let mut pages = [PageRef::default(); WRITE_BUFFERS_MAX];
        let free = given.len().min(WRITE_BUFFERS_MAX);
        pages[..free].copy_from_slice(&given[..free]);
        Self { pages, free, total: free }
    }

    /// Whether most wait for a flush.
    pub(crate) fn is_pressed(&self) -> bool {
        self.free < self.total / 2
    }

    /// Buffers that can be taken.
    pub(crate) fn free(&self) -> usize {
        self.free
    }

    pub(crate) fn take(&mut self) -> Option<PageRef> {
        self.free = self.free.checked_sub(1)?;
        Some(self.pages[self.free])
    }

    pub(crate) fn give(&mut self, page: PageRef) {
        self.pages[self.free] = page;
        self.free += 1;
    }
}

/// Events that wait to be taken.
#[derive(Debug)]
pub(crate) struct EventRing {
    events: [Event; Self::MAX],
    first: usize,
    len: usize,
}

impl EventRing {
    const MAX: usize = 64;

    fn new() -> Self {
        Self { events: [Event::Retired; Self::MAX], first: 0, len: 0 }
    }

    /// Whether `count` more fit: whoever raises events looks first and does his step later when they do not.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.len + count <= Self::MAX
    }

    pub(crate) fn push(&mut self, event: Event) {
        assert!(self.len < Self::MAX, "whoever raises an event looks for room first");
        self.events[(self.first + self.len) % Self::MAX] = event;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<Event> {
        self.len = self.len.checked_sub(1)?;
        let event = self.events[self.first];
        self.first = (self.first + 1) % Self::MAX;
        Some(event)
    }
}

impl<'m, H: Host> Store<'m, H> {
    /// Opens the store on the host's disk: at its newest epoch, or at `epoch` when that is kept. Poll until
    /// [`Event::Opened`] or [`Event::Refused`].
    ///
    /// # Panics
    /// When `memory` is smaller than the minima that [`Memory`] names: a fault of the caller's set-up.
    pub fn open(memory: Memory<'m>, host: H, config: Config, epoch: Option<Epoch>) -> Self {
        Self::new(memory, host, config, Phase::Opening(Recovery::new(epoch)))
    }

    /// Makes the host's disk an empty store, whatever was on it, and opens that. Poll as for [`Self::open`].
    ///
    /// # Panics
    /// As [`Self::open`].
    pub fn format(memory: Memory<'m>, host: H, config: Config, options: FormatOptions) -> Self {
        Self::new(memory, host, config, Phase::Formatting(Formatting::new(options)))
    }

    fn new(memory: Memory<'m>, host: H, config: Config, phase: Phase) -> Self {
        let Memory { entries, cells, space, table, segments, pending, deferred, reads, frames, pages: own } = memory;
        assert!(frames.len() >= CACHE_FRAMES_MIN && pending.len() >= PENDING_MIN, "memory: frames, pending");
        assert!(own.len() >= frames.len() + WRITE_BUFFERS_MIN, "memory: pages");
        assert!(usize::from(config.recent_epochs) < RECENT_MAX && (1..=12).contains(&config.checkpoints), "config");
        // Until the header is read any division will do that the memory can hold.
        let smallest = Geometry::new(38, 2, 8).unwrap_or_else(|_| unreachable!("constants that fit"));
        assert!(Space::fits(space.len(), table.len(), segments.len(), &smallest), "memory: space");
        reads.fill(ReadOp::default());
        let cached = frames.len();
        let (cache_pages, write_pages) = own.split_at(cached);
        Self {
            host,
            config,
            world: World(0),
            twins: false,
            counts_records: false,
            space: Space::new(space, table, segments, deferred, smallest),
            pool: Pool::new(entries, cells),
            active: Layer::EMPTY,
            frozen: Layer::EMPTY,
            interval: 1,
            queue: Queue::new(pending),
            cache: Cache::new(frames, cache_pages),
            buffers: Buffers::new(write_pages),
            reads,
            root: Root::first(Block::NONE),
            root_sum: Checksum(0),
            log: LogStart::default(),
            descriptors: 0,
            gather: Gather::default(),
            fold: Fold::new(),
            fold_wanted: false,
            last_written: (Epoch::NONE, 0),
            epoch_pages: 0,
            sealed: SealedQueue::default(),
            recent: [Epoch::NONE; RECENT_MAX],
            head: Epoch::NONE,
            root_write: RootWrite::Idle,
            reached: Reached::default(),
            map_flaw: None,
            phase,
            events: EventRing::new(),
            status: Status::default(),
            released: 0,
            folded: false,
            more: false,
            nonce: 0,
        }
    }

    /// Drives the store and returns what has happened next; `None` when nothing more will until the disk completes
    /// something, or until it is polled again: it stops after many steps, and says so ([`Self::has_more`]). Never waits; the work of one call is
    /// bounded.
    pub fn poll(&mut self) -> Option<Event> {
        let mut folded = 0;
        self.more = true;
        for _ in 0..STEPS_MAX {
            if let Some(event) = self.events.pop() {
                return Some(event);
            }
            // Many pages may wait to be handed back: the disk is not kept waiting until all are.
            self.released = (self.released + 1) % RELEASES_MAX;
            if self.released > 0
                && let Some(event) = self.release()
            {
                return Some(event);
            }
            self.more = self.step();
            folded += u32::from(core::mem::take(&mut self.folded));
            if !self.more || self.gather.open && folded >= FOLD_STEPS_MAX {
                return self.events.pop().or_else(|| self.release());
            }
        }
        None
    }

    /// Whether the last poll stopped although it could have gone on: whoever sleeps when it returns nothing looks here.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Hands back the next written page, if it is the caller's.
    fn release(&mut self) -> Option<Event> {
        if let Some(page) = self.queue.release_late() {
            self.buffers.give(page);
        }
        while let Some((page, owner)) = self.queue.release() {
            match owner {
                Owner::Caller => return Some(Event::PageWritten(page)),
                Owner::Buffer => self.buffers.give(page),
                Owner::Shared => {}
            }
        }
        None
    }

    /// One round over everything that can make progress; false when nothing did.
    fn step(&mut self) -> bool {
        let mut progress = false;
        while let Some(completion) = self.host.poll() {
            progress = true;
            match self.queue.complete(&self.host, completion) {
                Some(ReadDone::Frame(frame, result)) => self.cache.loaded(frame, result),
                Some(ReadDone::Page(read, result)) => self.read_done(read, result),
                None => {}
            }
        }
        if let Some(failed) = self.queue.failed
            && !matches!(self.phase, Phase::Stopped)
        {
            self.stop(Failure::Disk { op: failed.op, block: failed.block, error: failed.error });
            return true;
        }
        progress |= match self.phase {
            Phase::Formatting(_) => self.step_format(),
            Phase::Opening(_) => self.step_recovery(),
            Phase::Opened | Phase::Running => self.step_running(),
            Phase::Stopped => false,
        };
        if !matches!(self.phase, Phase::Stopped) {
            progress |= self.queue.pump(&mut self.host);
        }
        progress
    }

    fn step_running(&mut self) -> bool {
        if !self.events.has_room(8) {
            return false;
        }
        let mut progress = self.step_reads();
        progress |= self.step_commit();
        progress |= self.step_root();
        progress |= self.step_reached();
        self.folded = self.step_fold();
        progress |= self.folded;
        if self.fold_wanted && !self.gather.open {
            self.end_interval_if_due();
        }
        // A flush that hands back a buffer or two would be followed by the next at once.
        if self.buffers.is_pressed() && self.queue.can_flush() && self.queue.is_worth_a_flush() {
            self.queue.flush_completed();
        }
        progress || self.step_quiet()
    }

    /// Stops for good.
    pub(crate) fn stop(&mut self, failure: Failure) {
        self.phase = Phase::Stopped;
        if self.events.has_room(1) {
            self.events.push(Event::Failed(failure));
        }
    }

    /// The newest durable epoch; [`Epoch::NONE`] when nothing was ever committed.
    pub fn head(&self) -> Epoch {
        self.head
    }

    /// The newest epoch that a durable root vouches for: damage to the log never passes for a log that ends before it.
    /// [`Epoch::NONE`] until an incarnation runs.
    pub fn vouched(&self) -> Epoch {
        self.reached.vouched
    }

    /// How the disk is divided, once it is known.
    pub fn geometry(&self) -> &Geometry {
        self.space.geometry()
    }

    /// Identity of the store, once it is known.
    pub fn world(&self) -> World {
        self.world
    }

    /// The newest root: checkpoints kept, incarnation, restores.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The disk and the pages, for whoever drives the one and fills the others.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// The disk and the pages back; what was not committed is forgotten.
    pub fn into_host(self) -> H {
        self.host
    }

    /// Numbers for the console and for policy.
    pub fn status(&self) -> Status {
        let reserved = self.reserve();
        Status {
            head: self.head,
            data_blocks: self.space.geometry().data_blocks(),
            free_blocks: self.space.free(),
            reserved_blocks: reserved,
            room_pages: self.room_pages(),
            entries_used: self.active.len + self.frozen.len,
            deferred_blocks: self.space.deferred_len() as u32,
            checkpoints: self.root.checkpoints().len() as u32,
            descriptors: self.descriptors,
            blocks_rewritten: self.queue.rewritten,
            writes_before_commit: self.queue.overtaken,
            ..self.status
        }
    }
}

#[cfg(test)]
mod tests;
