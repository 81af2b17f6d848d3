//! CHECK: before an epoch commits, every changed record of the kernel and of the pager and all it refers to are judged
//! by the functions that these themselves use when they take a world back; after each fold all records are, a few at a
//! time, between two epochs, and with them what shows only when all are seen ([`Whole`]). What fails is refused: the
//! epoch is never sealed, the last one stays.
//!
//! Invariant: records are looked at only while the store holds whole epochs: when all of one has arrived, or none
//! gathers.

use abi::record::{RECORD_BYTES_MAX, Table};
use format::Block;
use kernel_core::graph::{Graph, is_sound, is_within, read_alone};
use kernel_core::{Budget, Capability, Endpoint, Notification, Process, Thread, World};
use pager_records::{Misfit, ObjectRecord, PagerRecord, RegionRecord, SpaceRecord};
use zerocopy::FromBytes;

use super::environment::{Flaw, Refused};
use crate::{Conflict, Host, RecordStep, Store, Whole};

/// Changed records that are remembered; of an epoch with more all records are checked.
const CHANGED_MAX: usize = 1024;
/// Records looked at in one step.
const STEP_RECORDS: usize = 16;
/// The pager's counters.
const COUNTERS: (u16, u32) = (Table::Pager as u16, 0);
/// The world's own record.
const WORLD: (u16, u32) = (Table::World as u16, 0);

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// More is to be looked at.
    More,
    /// A block of the map is being read.
    Waiting,
    /// All is sound.
    Sound,
    /// This record, or what it refers to, is not what a kernel writes.
    Unsound(Refused, Flaw),
    /// This block of the map cannot be used.
    Unreadable(Block),
}

/// Why a record cannot be had.
enum Stop {
    Waiting,
    Unsound(Refused, Flaw),
    Unreadable(Block),
}

/// What has changed, and how far it and the whole have been looked at.
#[derive(Clone, Debug)]
pub(super) struct Check {
    changed: [(u16, u32); CHANGED_MAX],
    len: usize,
    /// More has changed than is remembered.
    overflown: bool,
    next: usize,
    /// The whole: behind which record it goes on; `None`: from the first.
    at: Option<(u16, u32)>,
    /// All records are to be looked at between two epochs.
    wanted: bool,
    /// What was seen of the whole.
    whole: Whole,
    /// The world's own record, once it is known: sizes do not change.
    world: Option<World>,
}

impl Check {
    pub(super) const NONE: Self = Self {
        changed: [(0, 0); CHANGED_MAX],
        len: 0,
        overflown: false,
        next: 0,
        at: None,
        wanted: false,
        whole: Whole::NEW,
        world: None,
    };

    /// A record has gone back to whom it belongs.
    pub(super) fn restored(&mut self, record: Refused, bytes: &[u8]) {
        if record == WORLD {
            self.world = World::read(bytes).ok();
        }
    }

    /// An epoch begins.
    pub(super) fn begin(&mut self) {
        (self.len, self.next, self.overflown) = (0, 0, false);
    }

    /// A record of it has arrived.
    pub(super) fn changed(&mut self, table: u16, index: u32) {
        match self.changed.get_mut(self.len) {
            Some(place) => {
                *place = (table, index);
                self.len += 1;
            }
            None => {
                // The whole, from the start: what was looked at of it before is of older epochs.
                self.overflown = true;
                self.restart();
            }
        }
    }

    /// All records are to be looked at.
    pub(super) fn want_whole(&mut self) {
        self.wanted = true;
        self.restart();
    }

    fn restart(&mut self) {
        self.at = None;
        self.whole.begin();
    }

    /// Looks at some of what the epoch that is complete has changed.
    pub(super) fn epoch<H: Host>(&mut self, store: &mut Store<'_, H>) -> Checked {
        if self.overflown {
            return self.whole(store);
        }
        let mut records = match Records::new(store, &mut self.world) {
            Ok(records) => records,
            Err(stop) => return stop.into(),
        };
        for _ in 0..STEP_RECORDS {
            let Some(&(table, index)) = self.changed[..self.len].get(self.next) else { return Checked::Sound };
            let whole = self.wanted.then_some(&mut self.whole);
            let followed = |records: &mut Records<'_, '_, H>| match whole {
                Some(whole) => records.agrees((table, index), |records| whole.follow(records, table, index)),
                None => Ok(()),
            };
            match records.judge(table, index).and_then(|()| followed(&mut records)) {
                Ok(()) => self.next += 1,
                Err(stop) => return stop.into(),
            }
        }
        Checked::More
    }

    /// Looks at some records more, if all were asked for. [`Checked::Sound`]: nothing is left to be done.
    pub(super) fn background<H: Host>(&mut self, store: &mut Store<'_, H>) -> Checked {
        if !self.wanted {
            return Checked::Sound;
        }
        let checked = self.whole(store);
        self.wanted = matches!(checked, Checked::More | Checked::Waiting);
        checked
    }

    fn whole<H: Host>(&mut self, store: &mut Store<'_, H>) -> Checked {
        let mut out = [0; RECORD_BYTES_MAX];
        for _ in 0..STEP_RECORDS {
            let found = store.next_record(self.at, &mut out);
            let mut records = match Records::new(store, &mut self.world) {
                Ok(records) => records,
                // A world without a record has none of itself either.
                Err(_) if found == RecordStep::End && self.at.is_none() => return Checked::Sound,
                Err(stop) => return stop.into(),
            };
            let (table, index) = match found {
                RecordStep::Record(table, index, _) => (table, index),
                RecordStep::Pending => return Checked::Waiting,
                RecordStep::Failed(block) => return Checked::Unreadable(block),
                RecordStep::End if self.whole.next_pass(&records.capacities) => {
                    self.at = None;
                    return Checked::More;
                }
                RecordStep::End => return Checked::Sound,
            };
            let judged = if self.whole.is_first_pass() { records.judge(table, index) } else { Ok(()) };
            let whole = &mut self.whole;
            let seen = judged.and_then(|()| records.agrees((table, index), |records| whole.see(records, table, index)));
            match seen {
                Ok(()) => self.at = Some((table, index)),
                Err(stop) => return stop.into(),
            }
        }
        Checked::More
    }
}

impl From<Stop> for Checked {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Waiting => Self::Waiting,
            Stop::Unsound(record, flaw) => Self::Unsound(record, flaw),
            Stop::Unreadable(block) => Self::Unreadable(block),
        }
    }
}

/// The records in a store as a graph.
struct Records<'s, 'm, H> {
    store: &'s mut Store<'m, H>,
    capacities: [u32; 6],
    ticket: u64,
}

impl<'s, 'm, H: Host> Records<'s, 'm, H> {
    /// `known` is the world's own record as it was seen first.
    fn new(store: &'s mut Store<'m, H>, known: &mut Option<World>) -> Result<Self, Stop> {
        let mut records = Self { store, capacities: [0; 6], ticket: 0 };
        let (table, index) = WORLD;
        let world = records.get(table, index, World::read)?.ok_or(Stop::Unsound(WORLD, Flaw::Missing))?;
        if !known.get_or_insert(world).is_shaped_like(&world) {
            return Err(Stop::Unsound(WORLD, Flaw::Shape));
        }
        (records.capacities, records.ticket) = (world.capacities, world.ticket);
        Ok(records)
    }

    /// The record itself, alone and with all that it refers to.
    fn judge(&mut self, table: u16, index: u32) -> Result<(), Stop> {
        let there = self.get(table, index, |bytes| read_alone(table, bytes))?.is_some();
        if there && !is_within(table, index, &self.capacities) {
            return Err(Stop::Unsound((table, index), Flaw::Outside));
        }
        let sound = is_sound(self, table, index)? && pager_records::is_sound(self, table, index)?;
        if sound { Ok(()) } else { Err(Stop::Unsound((table, index), Flaw::References)) }
    }

    /// A record with all that were seen.
    fn agrees(
        &mut self,
        record: Refused,
        see: impl FnOnce(&mut Self) -> Result<Option<Conflict>, Stop>,
    ) -> Result<(), Stop> {
        see(self)?.map_or(Ok(()), |conflict| Err(Stop::Unsound(record, Flaw::Conflict(conflict))))
    }

    /// A record; `None` when there is none.
    fn get<R, E>(&mut self, table: u16, index: u32, read: impl Fn(&[u8]) -> Result<R, E>) -> Result<Option<R>, Stop> {
        let mut out = [0; RECORD_BYTES_MAX];
        match self.store.record(table, index, &mut out) {
            RecordStep::Record(.., length) => {
                read(&out[..length]).map(Some).map_err(|_| Stop::Unsound((table, index), Flaw::Bytes))
            }
            RecordStep::End => Ok(None),
            RecordStep::Pending => Err(Stop::Waiting),
            RecordStep::Failed(block) => Err(Stop::Unreadable(block)),
        }
    }
}

impl<H: Host> Records<'_, '_, H> {
    /// A record of the pager, `empty` when it was never written; `None`: its table has no such slot.
    fn pagers<R: FromBytes + Copy>(
        &mut self,
        table: Table,
        slot: u32,
        capacity: fn(&PagerRecord) -> u32,
        empty: R,
        is_valid: fn(&R) -> bool,
    ) -> Result<Option<R>, Stop> {
        let counters = pager_records::Graph::counters(self)?;
        if slot >= capacity(&counters) {
            return Ok(None);
        }
        let read = |bytes: &[u8]| -> Result<R, Misfit> { pager_records::read(bytes, is_valid) };
        Ok(Some(self.get(table as u16, slot, read)?.unwrap_or(empty)))
    }
}

impl<H: Host> Graph for Records<'_, '_, H> {
    type Error = Stop;

    fn capacities(&self) -> [u32; 6] {
        self.capacities
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn process(&mut self, index: u32) -> Result<Process, Stop> {
        Ok(self.get(Table::Process as u16, index, Process::read)?.unwrap_or(Process::FREE))
    }

    fn thread(&mut self, index: u32) -> Result<Thread, Stop> {
        Ok(self.get(Table::Thread as u16, index, Thread::read)?.unwrap_or(Thread::FREE))
    }

    fn endpoint(&mut self, index: u32) -> Result<Endpoint, Stop> {
        Ok(self.get(Table::Endpoint as u16, index, Endpoint::read)?.unwrap_or(Endpoint::FREE))
    }

    fn notification(&mut self, index: u32) -> Result<Notification, Stop> {
        Ok(self.get(Table::Notification as u16, index, Notification::read)?.unwrap_or(Notification::FREE))
    }

    fn budget(&mut self, index: u32) -> Result<Budget, Stop> {
        Ok(self.get(Table::Budget as u16, index, Budget::read)?.unwrap_or(Budget::FREE))
    }

    fn capability(&mut self, slot: u32) -> Result<Capability, Stop> {
        Ok(self.get(Table::Capability as u16, slot, Capability::read)?.unwrap_or(Capability::EMPTY))
    }
}

impl<H: Host> pager_records::Graph for Records<'_, '_, H> {
    type Error = Stop;

    fn counters(&mut self) -> Result<PagerRecord, Stop> {
        let (table, index) = COUNTERS;
        self.get(table, index, |bytes| pager_records::read(bytes, |_| true))?
            .ok_or(Stop::Unsound(COUNTERS, Flaw::Missing))
    }

    fn object(&mut self, slot: u32) -> Result<Option<ObjectRecord>, Stop> {
        self.pagers(
            Table::MemoryObject,
            slot,
            |counters| counters.objects_max,
            ObjectRecord::EMPTY,
            ObjectRecord::is_valid,
        )
    }

    fn region(&mut self, slot: u32) -> Result<Option<RegionRecord>, Stop> {
        self.pagers(Table::Region, slot, |counters| counters.regions_max, RegionRecord::EMPTY, RegionRecord::is_valid)
    }

    fn space(&mut self, slot: u32) -> Result<Option<SpaceRecord>, Stop> {
        self.pagers(Table::Space, slot, |counters| counters.spaces_max, SpaceRecord::EMPTY, SpaceRecord::is_valid)
    }
}
