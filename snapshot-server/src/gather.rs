//! Gathering an epoch: pages, extents and records are put, then it is sealed.
//!
//! Each put first looks for everything that it needs, then changes things, so one that fails has changed nothing.
//!
//! ```text
//!   ring:  … | descriptor | page | page | … | descriptor | page …
//!              ▲ hold: nothing from here on is issued until the descriptor is full or the epoch sealed
//! ```

use abi::Epoch;
use format::{Block, DescriptorFlags, DescriptorHead, DescriptorWriter, EXTENT_MAX, Item, Key, Place, page_checksum};
use format::{PAGE_STORED, RECORD_BYTES_MAX, TABLE_BIT};

use crate::commit::Sealed;
use crate::disk::Host;
use crate::layer::{Held, Pool, PoolFull, Swapped, Value};
use crate::memory::PageRef;
use crate::queue::Owner;
use crate::store::{Phase, Store};

/// Polls in which nothing goes on until a half-filled descriptor is let go.
const QUIET_POLLS: u8 = 2;
/// Blocks that ordinary epochs leave free: two epochs that only free, their descriptors and the root's table.
pub(crate) const EMERGENCY_BLOCKS: u32 = 12;
/// What such an epoch puts in an interval of its own.
pub(crate) const EMERGENCY_KEYS: u64 = 1;
/// What one put comes to in a layer: an extent within another leaves three.
const PUT_KEYS: u64 = 3;

/// Items that putting an extent replaces in one call.
const EXTENT_ITEMS_MAX: u32 = 64;
/// Blocks by which one put, and the seal behind it, can bring the free ones nearer to what is kept back.
pub(crate) const PUT_BLOCKS_MAX: u32 = 16;

/// Why nothing was put. Nothing has changed; but of an extent over many items [`PutError::Busy`] may leave a part put,
/// and the rest follows when the same call is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// The caller's fault: no epoch is gathering.
    NotGathering,
    /// The caller's fault: an object, index, count, or length that cannot be.
    Invalid,
    /// Not now: buffers are under way to the disk, or the last interval is still being folded. Poll and try again.
    Busy,
    /// The disk is too full for it, though all older epochs have been retired, or the epoch larger than the store's
    /// memory. The last epoch is whole; what this epoch has gathered can still be sealed, and the next may free.
    Full,
}

/// Why an epoch was not begun or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The caller's fault: no incarnation is durable, none gathers, or one still does.
    Order,
    /// The caller's fault: not newer than the last, or not of this incarnation.
    Epoch,
    /// Not now: too many epochs wait for the disk, or a fold has to win back space first. Poll and try again.
    Busy,
}

/// The epoch that gathers.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// Whether one does.
    pub(crate) open: bool,
    pub(crate) epoch: Epoch,
    descriptor: Option<OpenDescriptor>,
    items: u32,
    pages: u32,
    records: u32,
    begun_ns: u64,
    /// Polls since the last put in which nothing went on.
    quiet: u8,
    /// An extent of which a part was put, and where the rest starts.
    extent: Option<(Held, Key)>,
}

impl Gather {
    /// Whether a descriptor is being filled: what is pushed behind it waits for it.
    pub(crate) fn is_filling(&self) -> bool {
        self.descriptor.is_some()
    }
}

#[derive(Debug)]
struct OpenDescriptor {
    page: PageRef,
    writer: DescriptorWriter,
}

impl<'m, H: Host> Store<'m, H> {
    /// Begins to gather `epoch`, which must be newer than any before and of the durable incarnation. `now_ns` is any
    /// monotonic clock. The epoch before may still be on its way to the disk.
    pub fn begin(&mut self, epoch: Epoch, now_ns: u64) -> Result<(), SealError> {
        if !matches!(self.phase, Phase::Running) || self.gather.open {
            return Err(SealError::Order);
        }
        if epoch <= self.gather.epoch || epoch <= self.head || epoch.incarnation() != self.root.incarnation {
            return Err(SealError::Epoch);
        }
        if self.sealed.is_full() {
            return Err(SealError::Busy);
        }
        self.end_interval_if_due();
        let likely = (self.epoch_pages + self.epoch_pages / 4).max(self.space.geometry().data_blocks() / 64);
        if self.room_pages() < likely && self.wins_back() {
            return Err(SealError::Busy);
        }
        self.gather = Gather { open: true, epoch, begun_ns: now_ns, ..Gather::default() };
        Ok(())
    }

    /// Whether a fold, which is begun if need be, will win back space for an epoch like the last ones.
    fn wins_back(&mut self) -> bool {
        if !self.is_folding() {
            self.want_checkpoint();
            self.end_interval_if_due();
        }
        self.is_folding()
    }

    /// Puts a page into the epoch: it is checksummed now, and belongs to the store until
    /// [`Event::PageWritten`](crate::Event::PageWritten); its contents must not change until then.
    pub fn put_page(&mut self, object: u64, index: u64, page: PageRef) -> Result<(), PutError> {
        let key = Key { object, index };
        if !key.is_page() {
            return Err(PutError::Invalid);
        }
        self.look(key, 1, 0, true)?;
        // The descriptor first, so that its block lies before the page's: they go out in one command.
        self.room_in_descriptor(PAGE_STORED);
        let Some(block) = self.space.allocate(self.interval) else {
            return Err(PutError::Full);
        };
        let place = Place { block, incarnation: self.root.incarnation };
        let sum = page_checksum(self.world, place, self.host.bytes(page));
        self.replace(Held { key, value: Value::Page(place, sum) });
        self.log_item(&Item::Page { key, place, sum });
        self.queue.push(block, page, Owner::Caller);
        self.status.blocks_written += 1;
        self.gather.pages += 1;
        self.status.pages_written += 1;
        Ok(())
    }

    /// Says that `count` pages from `index` are zero: costs no data.
    pub fn put_zero(&mut self, object: u64, index: u64, count: u64) -> Result<(), PutError> {
        let key = Key { object, index };
        self.put_extent(Item::Zero { key, count }, Value::Zero(count))
    }

    /// Drops `count` pages from `index`: reading them gives [`PageSource::Absent`](crate::PageSource::Absent).
    pub fn drop_pages(&mut self, object: u64, index: u64, count: u64) -> Result<(), PutError> {
        let key = Key { object, index };
        if object & TABLE_BIT != 0 {
            return Err(PutError::Invalid);
        }
        self.put_extent(Item::Absent { key, count }, Value::Absent(count))
    }

    /// Drops every page of an object.
    pub fn drop_object(&mut self, object: u64) -> Result<(), PutError> {
        self.drop_pages(object, 0, EXTENT_MAX)
    }

    /// Puts a record of 1 ..= 1,024 bytes, in place of what `table` had at `index`.
    pub fn put_record(&mut self, table: u16, index: u32, bytes: &[u8]) -> Result<(), PutError> {
        let key = Key::record(table, index);
        if bytes.is_empty() || bytes.len() > RECORD_BYTES_MAX {
            return Err(PutError::Invalid);
        }
        self.look(key, 1, bytes.len(), false)?;
        let Ok(value) = self.pool.store_record(bytes) else {
            return Err(PutError::Full);
        };
        self.replace(Held { key, value });
        self.log_item(&Item::Record { key, bytes });
        self.gather.records += 1;
        Ok(())
    }

    /// Removes a record.
    pub fn remove_record(&mut self, table: u16, index: u32) -> Result<(), PutError> {
        let key = Key::record(table, index);
        self.put_extent(Item::Absent { key, count: 1 }, Value::Absent(1))?;
        self.gather.records += 1;
        Ok(())
    }

    fn put_extent(&mut self, item: Item<'_>, value: Value) -> Result<(), PutError> {
        if item.check().is_err() {
            return Err(PutError::Invalid);
        }
        self.look(item.key(), item.count(), 0, false)?;
        let whole = Held { key: item.key(), value };
        let from = self.gather.extent.filter(|(begun, _)| *begun == whole).map_or(whole.key, |(_, from)| from);
        let Some(stop) = self.pool.start_of_nth(&self.active, from, whole.end(), EXTENT_ITEMS_MAX) else {
            self.gather.extent = None;
            self.put_part(&item, from, whole.end());
            return Ok(());
        };
        // An extent over many items is put in parts, so that one call has an end.
        self.put_part(&item, from, stop);
        self.gather.extent = Some((whole, stop));
        Err(PutError::Busy)
    }

    /// Puts the part of an extent from `from` up to `to`.
    fn put_part(&mut self, item: &Item<'_>, from: Key, to: Key) {
        let count = to.index - from.index;
        let (item, value) = match item {
            Item::Zero { .. } => (Item::Zero { key: from, count }, Value::Zero(count)),
            _ => (Item::Absent { key: from, count }, Value::Absent(count)),
        };
        self.replace(Held { key: from, value });
        self.log_item(&item);
    }

    /// Everything that a put needs: an epoch, a descriptor, ring places, a buffer, blocks, entries, cells.
    fn look(&mut self, key: Key, count: u64, record: usize, page: bool) -> Result<(), PutError> {
        if !self.gather.open || !matches!(self.phase, Phase::Running) {
            return Err(PutError::NotGathering);
        }
        if key.index.checked_add(count).is_none() {
            return Err(PutError::Invalid);
        }
        // A put may close one descriptor, open the next, and push a page.
        if self.queue.room() < 4 || self.buffers.free() < 2 {
            return Err(PutError::Busy);
        }
        let cells = Pool::cells_for(record);
        if self.pool.entries_free < 8 || self.pool.cells_free < cells + 8 {
            return Err(if self.is_folding() { PutError::Busy } else { PutError::Full });
        }
        let frees_only = !page && record == 0;
        let keys = if self.active.len == 0 { 1 } else { PUT_KEYS };
        let surely = self.folds_surely();
        debug_assert!(surely >= self.folds_max(keys, record), "ample is enough");
        if self.space.free() >= surely + EMERGENCY_BLOCKS + PUT_BLOCKS_MAX {
            return Ok(());
        }
        let needed = if frees_only {
            self.folds_least(keys)
        } else {
            self.folds_max(if page { keys } else { 0 }, record) + EMERGENCY_BLOCKS
        };
        if self.space.free() < needed + PUT_BLOCKS_MAX {
            let comes_back = self.is_folding() || self.sealed_frees() || self.retire_for_space();
            return Err(if comes_back { PutError::Busy } else { PutError::Full });
        }
        Ok(())
    }

    /// Whether epochs on their way to the disk will free something when they are durable.
    fn sealed_frees(&self) -> bool {
        !self.sealed.is_empty() && self.space.deferred_len() > 0
    }

    /// Gives up all checkpoints but the newest, which the last durable epoch stands on; false when that is the only one.
    pub(crate) fn retire_for_space(&mut self) -> bool {
        let newest = self.root.newest().map_or(Epoch::NONE, |newest| newest.epoch);
        let retires = self.retire_before(newest).is_ok();
        self.status.retired_for_space += u32::from(retires);
        retires
    }

    /// Sets an item of the gathering layer; what it replaces there dies. Room was looked for.
    pub(crate) fn replace(&mut self, held: Held) {
        let mut overlaps = match self.pool.swap(&self.active, &held) {
            Swapped::Done(old) => return self.replaced(&old),
            Swapped::Room => false,
            Swapped::Overlap => true,
        };
        while overlaps {
            match self.pool.cut_one(&mut self.active, held.key, held.count()) {
                Ok(Some(old)) => self.replaced(&old),
                Ok(None) => overlaps = false,
                Err(PoolFull) => unreachable!("entries were looked for"),
            }
        }
        if self.pool.put(&mut self.active, &held).is_err() {
            unreachable!("an entry was looked for");
        }
    }

    fn replaced(&mut self, old: &Held) {
        if let Value::Page(place, _) = old.value
            && self.space.die(place.block, self.interval)
        {
            self.space.defer(place.block, self.gather.epoch);
        }
    }

    /// Closes a descriptor into which `stored_bytes` do not fit, and opens one when none is.
    fn room_in_descriptor(&mut self, stored_bytes: usize) {
        if self.gather.descriptor.as_ref().is_some_and(|open| !open.writer.fits(stored_bytes)) {
            let head = self.descriptor_head(DescriptorFlags::default(), 0);
            self.close_descriptor(head);
        }
        if self.gather.descriptor.is_none() {
            self.open_descriptor();
        }
    }

    /// Appends an item to the open descriptor.
    fn log_item(&mut self, item: &Item<'_>) {
        self.gather.items += 1;
        self.gather.quiet = 0;
        self.room_in_descriptor(item.stored_bytes());
        let Some(open) = &mut self.gather.descriptor else {
            unreachable!("opened above");
        };
        let fitted = open.writer.push(self.host.bytes_mut(open.page), item);
        assert!(fitted, "an item fits into an empty descriptor");
    }

    fn open_descriptor(&mut self) {
        let Some(page) = self.buffers.take() else {
            unreachable!("a buffer was looked for");
        };
        let writer = DescriptorWriter::start(self.host.bytes_mut(page));
        self.queue.hold(Some(self.queue.head()));
        self.push_block(self.log.block, page);
        self.gather.descriptor = Some(OpenDescriptor { page, writer });
    }

    fn descriptor_head(&self, flags: DescriptorFlags, now_ns: u64) -> DescriptorHead {
        let commit = flags.commit;
        DescriptorHead {
            epoch: self.gather.epoch,
            sequence: self.log.sequence,
            previous: self.log.previous,
            durable: self.head,
            floor: if commit { self.floor() } else { Epoch::NONE },
            time_ns: if commit { now_ns } else { 0 },
            gathered_ns: if commit { now_ns.saturating_sub(self.gather.begun_ns) } else { 0 },
            pages: if commit { self.gather.pages } else { 0 },
            records: if commit { self.gather.records } else { 0 },
            next: Block::NONE,
            flags,
        }
    }

    /// The oldest epoch that stays bootable beside the one that gathers.
    fn floor(&self) -> Epoch {
        match self.config.recent_epochs {
            0 => self.gather.epoch,
            _ if self.is_tight() => self.gather.epoch,
            kept => self.recent[usize::from(kept) - 1],
        }
    }

    /// Seals the open descriptor and lets it go, with what was held behind it.
    fn close_descriptor(&mut self, head: DescriptorHead) {
        let Some(open) = self.gather.descriptor.take() else {
            unreachable!("one is open");
        };
        self.seal_descriptor(&open, head);
        self.queue.hold(None);
    }

    /// Gives a descriptor its place in the log.
    fn seal_descriptor(&mut self, open: &OpenDescriptor, head: DescriptorHead) {
        let Some(next) = self.space.allocate_log(self.interval) else {
            unreachable!("a block was looked for");
        };
        let head = DescriptorHead { next, sequence: self.log.sequence, previous: self.log.previous, ..head };
        let sum = open.writer.seal(self.host.bytes_mut(open.page), self.world, self.log.block, &head);
        self.log = format::LogStart { block: next, sequence: head.sequence + 1, previous: sum };
        self.descriptors += 1;
    }

    /// Commits an epoch behind a barrier of its own: by a descriptor without items that goes out when all of it is
    /// durable. What the next epoch puts need not wait for that.
    fn commit_late(&mut self, head: DescriptorHead) {
        let Some(page) = self.buffers.take() else {
            unreachable!("a buffer was looked for");
        };
        let writer = DescriptorWriter::start(self.host.bytes_mut(page));
        self.queue.push_late(self.log.block, page);
        self.status.blocks_written += 1;
        self.seal_descriptor(&OpenDescriptor { page, writer }, head);
    }

    /// Seals the epoch: nothing more is put into it, and [`Event::Committed`](crate::Event::Committed) follows when it
    /// is durable. An epoch into which nothing was put costs nothing. `now_ns` is the clock of [`Self::begin`].
    pub fn seal(&mut self, now_ns: u64) -> Result<(), SealError> {
        if !self.gather.open {
            return Err(SealError::Order);
        }
        let behind_barrier = self.gather.pages > self.config.verify_pages;
        let waits = behind_barrier && self.queue.has_late();
        if waits || self.sealed.is_full() || self.buffers.free() < 2 || self.queue.room() < 4 {
            return Err(SealError::Busy);
        }
        self.gather.open = false;
        // One large epoch is remembered for a while.
        self.epoch_pages = (self.epoch_pages / 2 + self.epoch_pages / 4).max(self.gather.pages);
        if self.gather.items == 0 {
            self.sealed.push(Sealed { epoch: self.gather.epoch, end: self.queue.head(), ..Sealed::default() });
            return Ok(());
        }
        let interval_end = self.should_end_interval();
        let flags = DescriptorFlags { commit: true, barrier: behind_barrier, interval_end };
        let head = self.descriptor_head(flags, now_ns);
        if behind_barrier && self.gather.is_filling() {
            let plain = self.descriptor_head(DescriptorFlags::default(), 0);
            self.close_descriptor(plain);
        }
        self.write_commit(head);
        Ok(())
    }

    /// Lets a descriptor that is being filled go when nothing else goes on, and flushes what was completed: somebody
    /// waits for a page behind it, or a fold for its place in the ring. A small epoch that is put and sealed without
    /// pauses never comes here.
    pub(crate) fn step_quiet(&mut self) -> bool {
        if !self.queue.is_still() || !self.gather.is_filling() && !self.queue.can_flush() {
            return false;
        }
        self.gather.quiet += 1;
        if self.gather.quiet < QUIET_POLLS {
            return false;
        }
        self.gather.quiet = 0;
        if self.queue.can_flush() {
            self.queue.flush_completed();
        }
        if !self.gather.is_filling() {
            return true;
        }
        let head = self.descriptor_head(DescriptorFlags::default(), 0);
        self.close_descriptor(head);
        true
    }

    fn write_commit(&mut self, head: DescriptorHead) {
        if head.flags.barrier {
            self.commit_late(head);
        } else {
            if self.gather.descriptor.is_none() {
                self.open_descriptor();
            }
            self.close_descriptor(head);
        }
        let end = self.queue.head();
        self.queue.want_flush(end);
        self.recent.copy_within(..crate::store::RECENT_MAX - 1, 1);
        self.recent[0] = head.epoch;
        self.last_written = (head.epoch, head.time_ns);
        self.sealed.push(Sealed { epoch: head.epoch, end, floor: head.floor, written: true, log: self.log });
        if head.flags.interval_end {
            self.end_interval(head.epoch, head.time_ns, self.log);
        }
    }
}
