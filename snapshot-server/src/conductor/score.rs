//! The conductor itself.

use abi::protocol::paging::{BATCHES, ToPager, ToStore};
use abi::protocol::snapshot::{Epochs, Error};
use abi::protocol::wiring::{EpochsPage, Failure as Why, Phase as Shown};
use abi::record::{BatchWriter, RECORD_BYTES_MAX, Table};
use abi::{Epoch, Handle, PAGE_SIZE};
use format::{GeometryError, HeaderError};

use super::arrival::{Arrival, Put, put_result};
use super::check::Check;
use super::credit::Credit;
use super::environment::{Environment, Note, epochs, why_no_world};
use super::gathering::{Gathering, Stage};
use super::page_ins::PageIns;
use super::policy::{Pace, Policy};
use super::waiters::Waiters;
use crate::room::Demand;
use crate::{Config, Event, Failure, FormatOptions, Host, Memory, PageRef, RecordStep, Refusal, Store};

/// Messages to the pager for which room is kept: answers that cannot wait elsewhere.
pub(super) const ROOM_KEPT: usize = 4;
/// Steps of one poll, at most.
const STEPS_MAX: usize = 64;
/// Bit of a page reference that says in which of two epochs under way the frame was handed over.
const PARITY: u64 = 1 << 32;
/// Tables from here on are not the kernel's.
const PAGER_TABLES: u16 = Table::MemoryObject as u16;

/// How far the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    /// The incarnation is being made durable.
    Incarnating,
    /// A new world: the pager, then init with its genesis, are at work.
    Beginning,
    /// Records go back; up to here.
    Recalling(Option<(u16, u32)>),
    /// The pager checks what it was given.
    Ending,
    Running,
    Failed,
}

/// Leads epochs into the store and the world out of it. See the module's page.
pub struct Conductor<'m, H> {
    pub(super) store: Option<Store<'m, H>>,
    pub(super) policy: Policy,
    pub(super) pace: Pace,
    pub(super) phase: Phase,
    pub(super) page: EpochsPage,
    pub(super) gathering: Gathering,
    /// Newest epoch given to the store, and newest quiet one after it.
    pub(super) sealed: Epoch,
    pub(super) quiet: Epoch,
    /// Epochs handed to the store whose frames may come back, by parity.
    pub(super) under_way: [Epoch; 2],
    pub(super) waiters: Waiters,
    pub(super) page_ins: PageIns,
    pub(super) pending: Option<ToStore>,
    pub(super) kernel: Arrival,
    pub(super) pager: Arrival,
    pub(super) batches_free: u32,
    pub(super) recalled: u64,
    pub(super) check: Check,
    pub(super) credit: Credit,
    /// The first epoch does not fit: what it would take, counted up to now.
    pub(super) overfull: Option<Demand>,
}

impl<'m, H: Host> Conductor<'m, H> {
    /// Opens the store on the host's disk, at `epoch` if one is asked for.
    pub fn open(memory: Memory<'m>, host: H, config: Config, policy: Policy, epoch: Option<Epoch>) -> Self {
        Self::new(Store::open(memory, host, config, epoch), policy)
    }

    /// Makes a store of the host's disk, which was found blank.
    pub fn format(memory: Memory<'m>, host: H, config: Config, policy: Policy, options: FormatOptions) -> Self {
        Self::new(Store::format(memory, host, config, options), policy)
    }

    fn new(store: Store<'m, H>, policy: Policy) -> Self {
        Self {
            store: Some(store),
            policy,
            pace: Pace::default(),
            phase: Phase::Opening,
            page: EpochsPage::default(),
            gathering: Gathering::IDLE,
            sealed: Epoch::NONE,
            quiet: Epoch::NONE,
            under_way: [Epoch::NONE; 2],
            waiters: Waiters::NONE,
            page_ins: PageIns::NONE,
            pending: None,
            kernel: Arrival::NONE,
            pager: Arrival::NONE,
            batches_free: (1 << BATCHES) - 1,
            recalled: 0,
            check: Check::NONE,
            credit: Credit::NONE,
            overfull: None,
        }
    }

    /// How the world stands.
    pub fn page(&self) -> &EpochsPage {
        &self.page
    }

    /// The store, for numbers and for the host.
    pub fn store_mut(&mut self) -> Option<&mut Store<'m, H>> {
        self.store.as_mut()
    }

    /// Somebody waits for the next commit: output, or memory.
    pub fn hurry(&mut self) {
        self.pace.hurry();
    }

    /// Nanoseconds until something is to be done although nobody rings; `None`: nothing.
    pub fn due_in(&self, now_ns: u64) -> Option<u64> {
        match (self.phase, self.gathering.stage) {
            (Phase::Running, Stage::Idle) => Some(self.pace.due_in(&self.policy, now_ns)),
            // The kernel's clock is looked at until the genesis is complete.
            (Phase::Beginning, _) => Some(self.policy.hurry_ns),
            _ => None,
        }
    }

    /// A `sync` by the caller whose saved Reply is `caller`: answered when what was before it is durable. An error is
    /// to be answered at once.
    pub fn sync(&mut self, env: &mut impl Environment, caller: Handle) -> Result<(), Error> {
        if self.phase == Phase::Failed {
            return Err(Error::Undurable);
        }
        if !self.waiters.add(caller, env.running()) {
            return Err(Error::Busy);
        }
        self.pace.hurry();
        Ok(())
    }

    /// Whether one more `sync` can wait.
    pub fn has_room_for_sync(&self) -> bool {
        self.waiters.has_room()
    }

    /// The answer to `Epochs`.
    pub fn epochs(&self, env: &mut impl Environment) -> Epochs {
        let root = self.store.as_ref().map(Store::root);
        let kept = root.map_or(0, |root| root.checkpoints().len() as u64);
        let oldest = root.and_then(|root| root.checkpoints().first().map(|kept| kept.epoch)).unwrap_or_default();
        let room = |store: &Store<'m, H>| (store.room().growth, store.status().data_blocks);
        let room = self.store.as_ref().map_or((0, 0), room);
        epochs(env.running(), &self.page, oldest, kept, room)
    }

    /// Does what can be done. True: call again, there may be more; false: nothing until somebody rings, or
    /// [`Self::due_in`].
    pub fn poll(&mut self, env: &mut impl Environment) -> bool {
        for _ in 0..STEPS_MAX {
            let Some(mut store) = self.store.take() else { return false };
            let mut moved = self.pump_store(&mut store, env);
            moved |= self.take_message(&mut store, env);
            moved |= match self.phase {
                Phase::Beginning => self.watch_genesis(env),
                Phase::Recalling(after) => self.recall(&mut store, env, after),
                Phase::Running => self.run(&mut store, env),
                _ => false,
            };
            self.store = Some(store);
            if !moved {
                return false;
            }
        }
        true
    }

    pub(super) fn publish(&mut self, env: &mut impl Environment, phase: Shown) {
        self.page.phase = phase;
        env.publish(&self.page);
    }

    pub(super) fn fail(&mut self, env: &mut impl Environment, why: Why, note: Note) {
        if self.phase == Phase::Failed {
            return;
        }
        self.phase = Phase::Failed;
        self.page.failure = Some(why);
        env.note(note);
        self.publish(env, Shown::Failed);
        while let Some(caller) = self.waiters.take(Epoch::from_bits(u64::MAX)) {
            env.answer(caller, Err(Error::Undurable));
        }
    }

    // ---- the store's events --------------------------------------------------------------------------------

    fn pump_store(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        // Each event may need a message to the pager; without room they stay in the store.
        if env.room() <= ROOM_KEPT {
            return false;
        }
        let Some(event) = store.poll() else { return store.has_more() };
        match event {
            Event::Opened(report) => {
                env.note(Note::Opened(report));
                self.page.restored = report.epoch;
                self.page.committed = report.epoch;
                match store.new_incarnation() {
                    Ok(_) => self.phase = Phase::Incarnating,
                    Err(_) => self.fail(env, Why::Damaged, Note::Refused(Refusal::NotKept(report.epoch))),
                }
            }
            Event::Refused(refusal) => self.refused(env, refusal),
            Event::IncarnationDurable(incarnation) => self.incarnated(store, env, incarnation),
            Event::PageWritten(page) => {
                let epoch = self.under_way[usize::from(page.0 & PARITY != 0)];
                env.send(ToPager::Released { epoch, frame: page.0 as u32 });
            }
            Event::Committed(epoch) => self.committed(env, epoch),
            Event::PageRead { token, result } => {
                if let Some((page, frame)) = self.page_ins.end(token) {
                    let source = result.map_err(|_| ());
                    self.paged(store, env, page, frame, source);
                }
            }
            Event::CheckpointDurable(_) => self.check.want_whole(),
            Event::Retired => {}
            Event::Failed(failure) => {
                let why = if matches!(failure, Failure::Map(_)) { Why::Damaged } else { Why::DiskDead };
                self.fail(env, why, Note::StoreFailed(failure));
            }
        }
        true
    }

    fn refused(&mut self, env: &mut impl Environment, refusal: Refusal) {
        if let Refusal::Geometry(GeometryError::DiskTooSmall(blocks, least)) = refusal {
            // The store's own parts do not fit: of a world nobody knows yet what it takes.
            return self.fail(env, Why::Full, Note::TooSmall(least, blocks));
        }
        let why = match refusal {
            Refusal::Header(HeaderError::Blank) => Why::NoDisk,
            Refusal::Header(HeaderError::Foreign | HeaderError::Geometry(_) | HeaderError::Truncated(_)) => {
                Why::Foreign
            }
            Refusal::Header(HeaderError::Version(_)) => Why::Version,
            Refusal::Header(HeaderError::Damaged) | Refusal::Damaged { .. } | Refusal::NotKept(_) => Why::Damaged,
            Refusal::Unreadable(_) => Why::DiskDead,
            Refusal::Memory | Refusal::Geometry(_) => Why::Machine,
        };
        self.fail(env, why, Note::Refused(refusal));
    }

    fn incarnated(&mut self, store: &Store<'m, H>, env: &mut impl Environment, incarnation: u32) {
        let Some(first) = Epoch::first_of(incarnation) else {
            self.fail(env, Why::Damaged, Note::PagerBroken);
            return;
        };
        self.page.first = first;
        self.tell_room(store, env);
        if self.page.restored == Epoch::NONE {
            env.send(ToPager::Begin { epoch: first });
            self.phase = Phase::Beginning;
            env.note(Note::Began(first));
        } else {
            self.phase = Phase::Recalling(None);
            self.publish(env, Shown::Restoring);
        }
    }

    fn committed(&mut self, env: &mut impl Environment, epoch: Epoch) {
        // Quiet epochs after the last that was written are what that one is.
        let reached = if epoch >= self.sealed { epoch.max(self.quiet) } else { epoch };
        if self.page.committed < self.page.first {
            env.note(Note::FirstCommit(epoch));
        }
        self.reached(env, reached);
    }

    pub(super) fn reached(&mut self, env: &mut impl Environment, epoch: Epoch) {
        self.page.committed = epoch;
        env.announce(epoch);
        let phase = self.page.phase;
        self.publish(env, phase);
        while let Some(caller) = self.waiters.take(epoch) {
            env.answer(caller, Ok(epoch));
        }
    }

    // ---- the pager's messages ------------------------------------------------------------------------------

    fn take_message(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        if self.pending.is_none() {
            self.pending = env.receive();
        }
        let Some(message) = self.pending else { return false };
        let put = self.handle(store, env, message);
        match put {
            Put::Later => return false,
            Put::Done => {
                if !self.gathering.count(&message) {
                    self.fail(env, Why::BadRecords, Note::PagerBroken);
                }
                if matches!(message, ToStore::Dirty { .. }) {
                    self.credit.handled();
                }
            }
            Put::Full => return self.full(store, env),
            Put::Broken => self.fail(env, Why::BadRecords, Note::PagerBroken),
        }
        self.pending = None;
        true
    }

    fn handle(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment, message: ToStore) -> Put {
        match message {
            ToStore::Ready => self.ready(env),
            ToStore::RestoreRefused { table, index } => {
                self.fail(env, why_no_world(table), Note::BadRecord((table, index)));
                Put::Done
            }
            ToStore::CutDone { ended, quiet, .. } => {
                self.gathering = Gathering::cut(ended, quiet);
                if quiet {
                    self.gathering.stage = Stage::Filling;
                }
                Put::Done
            }
            ToStore::CutRefused(_) => {
                self.gathering = Gathering::IDLE;
                self.pace.asked(env.now_ns());
                Put::Done
            }
            ToStore::Short => {
                self.pace.hurry();
                Put::Done
            }
            ToStore::Waits { writers } => {
                self.writers_wait(writers);
                Put::Done
            }
            ToStore::BatchTaken { slot } => {
                self.batches_free |= 1 << slot;
                Put::Done
            }
            ToStore::PageIn { page, frame } => self.page_in(store, env, page, frame),
            // Parts of an epoch wait until the store has begun it.
            _ if self.gathering.stage != Stage::Filling => Put::Later,
            ToStore::Dirty { epoch, page, frame } => {
                let parity = usize::from(epoch.bits() & 1 != 0);
                self.under_way[parity] = epoch;
                let named = PageRef(u64::from(frame) | if parity == 1 { PARITY } else { 0 });
                let zero = store.host_mut().bytes(named).iter().all(|byte| *byte == 0);
                if self.overfull.is_some() {
                    return self.count_page(env, epoch, frame, zero);
                }
                if !zero {
                    return put_result(store.put_page(page.content, page.index, named));
                }
                // A page of zeroes is an entry, no block, and nothing is read from its frame any more.
                if env.room() <= ROOM_KEPT {
                    return Put::Later;
                }
                let put = put_result(store.put_zero(page.content, page.index, 1));
                if put == Put::Done {
                    env.send(ToPager::Released { epoch, frame });
                }
                put
            }
            ToStore::Dropped { .. } if self.overfull.is_some() => Put::Done,
            ToStore::Dropped { content, .. } => put_result(store.drop_object(content)),
            ToStore::Records { slot, bytes, .. } => {
                if !self.pager.is_waiting() {
                    let page = self.pager.page();
                    page.fill(0);
                    env.get_batch(slot, &mut page[..(bytes as usize).min(PAGE_SIZE)]);
                    self.pager.arrived();
                }
                let check = &mut self.check;
                let put = match &mut self.overfull {
                    Some(demand) => self.pager.count(demand),
                    None => self.pager.put(store, |table, index| check.changed(table, index)),
                };
                if put == Put::Done {
                    env.send(ToPager::BatchTaken { slot });
                }
                put
            }
            ToStore::Gathered { .. } => Put::Done,
        }
    }

    fn ready(&mut self, env: &mut impl Environment) -> Put {
        match self.phase {
            Phase::Beginning => self.publish(env, Shown::Empty),
            Phase::Ending => match env.resume(self.page.first) {
                Ok(()) => {
                    env.note(Note::Restored(self.page.restored, self.page.first, self.recalled));
                    self.start(env);
                }
                Err(refused) => self.fail(env, Why::BadRecords, Note::BadRecord(refused)),
            },
            _ => return Put::Broken,
        }
        Put::Done
    }

    // ---- beginning and coming back -------------------------------------------------------------------------

    fn watch_genesis(&mut self, env: &mut impl Environment) -> bool {
        if self.page.phase != Shown::Empty || env.running() != self.page.first {
            return false;
        }
        self.start(env);
        true
    }

    fn start(&mut self, env: &mut impl Environment) {
        self.phase = Phase::Running;
        self.pace.asked(env.now_ns());
        // The first commit of an incarnation is worth having soon: restores without one are counted.
        self.pace.hurry();
        self.publish(env, Shown::Running);
    }

    /// One batch of records back to whom they belong.
    fn recall(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment, after: Option<(u16, u32)>) -> bool {
        if self.batches_free == 0 || env.room() <= ROOM_KEPT {
            return false;
        }
        let mut batch = [0; PAGE_SIZE];
        let mut writer = BatchWriter::new(&mut batch);
        let mut record = [0; RECORD_BYTES_MAX];
        let (mut at, mut for_pager, mut step) = (after, None, RecordStep::Pending);
        for _ in 0..PAGE_SIZE {
            step = store.next_record(at, &mut record);
            let RecordStep::Record(table, index, length) = step else { break };
            let pager = table >= PAGER_TABLES;
            if *for_pager.get_or_insert(pager) != pager
                || !writer.push(table, index, length, |to| to.copy_from_slice(&record[..length]))
            {
                break;
            }
            self.check.restored((table, index), &record[..length]);
            at = Some((table, index));
            self.recalled += 1;
        }
        let bytes = writer.finish();
        self.phase = Phase::Recalling(at);
        match for_pager {
            Some(true) if bytes > 0 => self.recall_to_pager(env, &batch[..bytes]),
            Some(false) if bytes > 0 => {
                if let Err(refused) = env.restore(&batch) {
                    self.fail(env, why_no_world(refused.0), Note::BadRecord(refused));
                }
            }
            _ => match step {
                RecordStep::End => {
                    self.phase = Phase::Ending;
                    env.send(ToPager::RestoreEnd { epoch: self.page.first });
                }
                RecordStep::Failed(block) => self.fail(env, Why::Damaged, Note::Refused(Refusal::Unreadable(block))),
                _ => return false,
            },
        }
        true
    }

    fn recall_to_pager(&mut self, env: &mut impl Environment, batch: &[u8]) {
        let slot = self.batches_free.trailing_zeros();
        self.batches_free &= !(1 << slot);
        env.put_batch(slot, batch);
        env.send(ToPager::Restore { slot, bytes: batch.len() as u32 });
    }
}
