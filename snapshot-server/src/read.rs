//! Reading: pages by object and index, each verified; records in order.
//!
//! What is read is the newest that was put, committed or not: the layer that gathers, the layer being folded, then the
//! map on disk.

use format::{Block, Checksum, Key, Place, RECORD_BYTES_MAX, page_checksum};

use crate::disk::{DiskError, Host};
use crate::layer::Value;
use crate::map::{Found, Kind};
use crate::memory::PageRef;
use crate::queue::Reader;
use crate::store::{Event, Phase, Store};

/// How often a page that does not verify is looked up and read again: what looks rotten may have moved meanwhile.
const TRIES_MAX: u8 = 5;

/// Where a page's contents came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// From the disk, verified, into the page given.
    Disk,
    /// It is zero; the page given was not touched.
    Zero,
    /// The store has never had it, or it was dropped; the page given was not touched.
    Absent,
}

/// Why a page was not read. It is never given to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The caller's fault: no store is open, or an object or index that cannot be.
    Invalid,
    /// Not now: too many reads are under way. Poll and try again.
    Busy,
    /// The disk will not read this block of the page.
    Unreadable(Block),
    /// What lies there is not what was written: rotten, misdirected or lost.
    Wrong(Block),
    /// A block of the map on the way to it is unreadable or wrong.
    Map(Block),
}

/// Answer to [`Store::read_page`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Known at once.
    Now(PageSource),
    /// [`Event::PageRead`] will say.
    Later,
}

/// A read under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOp {
    state: State,
    token: u64,
    key: Key,
    into: PageRef,
    place: Place,
    sum: Checksum,
    tries: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// To be looked up.
    Wanted,
    /// Looked up, to be read.
    Found,
    /// Being read.
    Reading,
}

/// What the store knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Page(Place, Checksum),
    Zero,
    Absent,
}

/// What looking something up gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup<T> {
    /// A block of the map is being read.
    Pending,
    Found(T),
    /// This block of the map cannot be used.
    Failed(Block),
}

/// Answer to [`Store::next_item`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemStep {
    /// Poll, then ask again.
    Pending,
    /// A page with contents.
    Page(Key),
    /// So many pages of zeroes from here.
    Zero(Key, u64),
    /// A record and its length in bytes; its contents are at the front of the buffer.
    Record(Key, usize),
    /// Nothing more.
    End,
    /// As [`RecordStep::Failed`].
    Failed(Block),
}

/// Answer to [`Store::next_record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordStep {
    /// Poll, then ask again.
    Pending,
    /// The next record: its table, index, and length in bytes; its contents are at the front of the buffer.
    Record(u16, u32, usize),
    /// There is none.
    End,
    /// This block of the map cannot be used: the records of this epoch are not whole. [`Block::NONE`]: the store is
    /// not open.
    Failed(Block),
}

impl<'m, H: Host> Store<'m, H> {
    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Opened | Phase::Running)
    }

    /// Reads a page into `into`, which belongs to the store until the answer. `token` comes back with the event.
    pub fn read_page(&mut self, token: u64, object: u64, index: u64, into: PageRef) -> Result<Answer, ReadError> {
        let key = Key { object, index };
        if !key.is_page() || !self.is_open() {
            return Err(ReadError::Invalid);
        }
        let Some(free) = self.reads.iter().position(|read| read.state == State::Free) else {
            return Err(ReadError::Busy);
        };
        let mut read = ReadOp { state: State::Wanted, token, key, into, ..ReadOp::default() };
        match self.known(key) {
            Lookup::Found(Known::Zero) => return Ok(Answer::Now(PageSource::Zero)),
            Lookup::Found(Known::Absent) => return Ok(Answer::Now(PageSource::Absent)),
            Lookup::Found(Known::Page(place, sum)) => {
                if self.copy_pending(place.block, into) {
                    return Ok(Answer::Now(PageSource::Disk));
                }
                (read.state, read.place, read.sum) = (State::Found, place, sum);
            }
            Lookup::Pending => {}
            Lookup::Failed(block) => return Err(ReadError::Map(block)),
        }
        self.reads[free] = read;
        Ok(Answer::Later)
    }

    /// A page that is still on its way to the disk is read from where it waits.
    fn copy_pending(&mut self, block: Block, into: PageRef) -> bool {
        let Some(page) = self.queue.find(block) else {
            return false;
        };
        if page != into {
            let bytes = *self.host.bytes(page);
            *self.host.bytes_mut(into) = bytes;
        }
        true
    }

    fn known(&mut self, key: Key) -> Lookup<Known> {
        for layer in [&self.active, &self.frozen] {
            if let Some(held) = self.pool.find(layer, key) {
                return Lookup::Found(match held.value {
                    Value::Page(place, sum) => Known::Page(place, sum),
                    Value::Zero(_) => Known::Zero,
                    Value::Absent(_) | Value::Record { .. } => Known::Absent,
                });
            }
        }
        self.map_find(key)
    }

    /// Moves reads on.
    pub(crate) fn step_reads(&mut self) -> bool {
        let mut progress = false;
        for index in 0..self.reads.len() {
            if matches!(self.reads[index].state, State::Free | State::Reading) {
                continue;
            }
            if !self.events.has_room(4) {
                break;
            }
            let read = self.reads[index];
            match read.state {
                State::Wanted => match self.known(read.key) {
                    Lookup::Pending => {}
                    Lookup::Found(Known::Zero) => self.answer(index, Ok(PageSource::Zero)),
                    Lookup::Found(Known::Absent) => self.answer(index, Ok(PageSource::Absent)),
                    Lookup::Failed(block) => self.answer(index, Err(ReadError::Map(block))),
                    Lookup::Found(Known::Page(place, sum)) => {
                        if self.copy_pending(place.block, read.into) {
                            self.answer(index, Ok(PageSource::Disk));
                        } else {
                            self.reads[index] = ReadOp { state: State::Found, place, sum, ..read };
                            progress = true;
                        }
                    }
                },
                State::Found => {
                    let reader = Reader::Page(index as u16);
                    if self.queue.read(&mut self.host, read.place.block, read.into, reader) {
                        self.reads[index].state = State::Reading;
                        progress = true;
                    }
                }
                State::Free | State::Reading => {}
            }
        }
        progress
    }

    fn answer(&mut self, index: usize, result: Result<PageSource, ReadError>) {
        let token = self.reads[index].token;
        self.reads[index].state = State::Free;
        self.events.push(Event::PageRead { token, result });
    }

    /// The disk has answered a read.
    pub(crate) fn read_done(&mut self, index: u16, result: Result<(), DiskError>) {
        let index = usize::from(index);
        let mut read = self.reads[index];
        let block = read.place.block;
        let error = match result {
            Ok(()) if page_checksum(self.world, read.place, self.host.bytes(read.into)) == read.sum => {
                return self.answer(index, Ok(PageSource::Disk));
            }
            Ok(()) => ReadError::Wrong(block),
            Err(DiskError::Lost) => {
                self.reads[index].state = State::Wanted;
                return;
            }
            Err(_) => ReadError::Unreadable(block),
        };
        read.tries += 1;
        if read.tries < TRIES_MAX {
            read.state = State::Wanted;
            self.reads[index] = read;
        } else {
            self.answer(index, Err(error));
        }
    }

    /// The first record behind `after` (from the very first when `None`) in order of table and index, into `out`.
    /// Ask until [`RecordStep::End`]; records put meanwhile are seen when they lie ahead.
    pub fn next_record(&mut self, after: Option<(u16, u32)>, out: &mut [u8; RECORD_BYTES_MAX]) -> RecordStep {
        let from = match after {
            None => Key::record(0, 0),
            Some((table, index)) => {
                let key = Key::record(table, index);
                Key { object: key.object, index: key.index + 1 }
            }
        };
        match self.next_item(from, out) {
            ItemStep::Pending => RecordStep::Pending,
            ItemStep::Failed(block) => RecordStep::Failed(block),
            ItemStep::Record(key, length) => match key.as_record() {
                Some((table, index)) => RecordStep::Record(table, index, length),
                None => RecordStep::End,
            },
            ItemStep::Page(_) | ItemStep::Zero(..) | ItemStep::End => RecordStep::End,
        }
    }

    /// One record, into `out`; [`RecordStep::End`] when there is none.
    pub fn record(&mut self, table: u16, index: u32, out: &mut [u8; RECORD_BYTES_MAX]) -> RecordStep {
        let key = Key::record(table, index);
        if self.is_open() {
            // Most of what is asked for has changed lately.
            for layer in [&self.active, &self.frozen] {
                match self.pool.find(layer, key).map(|held| held.value) {
                    Some(Value::Record { cell, length }) => {
                        self.pool.record(cell, length, out);
                        return RecordStep::Record(table, index, length as usize);
                    }
                    Some(_) => return RecordStep::End,
                    None => {}
                }
            }
        }
        match self.next_item(key, out) {
            ItemStep::Pending => RecordStep::Pending,
            ItemStep::Failed(block) => RecordStep::Failed(block),
            ItemStep::Record(found, length) if found == key => RecordStep::Record(table, index, length),
            _ => RecordStep::End,
        }
    }

    /// What the newest epoch holds at or behind `from`, in order of key: all pages first, then all records, whose bytes
    /// are put into `out`. Start at `Key::default()`, go on behind what was answered.
    pub fn next_item(&mut self, from: Key, out: &mut [u8; RECORD_BYTES_MAX]) -> ItemStep {
        if !self.is_open() {
            return ItemStep::Failed(Block::NONE);
        }
        let mut from = from;
        loop {
            let mapped = match self.map_at_or_after(from, out) {
                Lookup::Pending => return ItemStep::Pending,
                Lookup::Failed(block) => return ItemStep::Failed(block),
                Lookup::Found(found) => found,
            };
            let [active, frozen] = [&self.active, &self.frozen].map(|layer| self.pool.at_or_after(layer, from));
            // The first key wins, of equal ones the newest; where something newer begins, an older item ends.
            let mut best = None;
            for found in [active.map(Found::held), frozen.map(Found::held), mapped] {
                best = Self::first_of(best, found.map(|found| Self::behind(found, from)));
            }
            let Some(found) = best else {
                return ItemStep::End;
            };
            // The map's record was put into `out`; when a layer's has won, that one belongs there.
            if let Some(held) = [active, frozen].into_iter().flatten().find(|held| held.key == found.key)
                && let Value::Record { cell, length } = held.value
            {
                self.pool.record(cell, length, out);
            }
            match found.what {
                Kind::Page => return ItemStep::Page(found.key),
                Kind::Zero => return ItemStep::Zero(found.key, found.count),
                Kind::Record(length) => return ItemStep::Record(found.key, length),
                Kind::Absent => from = Key { object: found.key.object, index: found.key.index + found.count },
            }
        }
    }

    /// The part of an item that lies at or behind `from`.
    fn behind(found: Found, from: Key) -> Found {
        if found.key >= from {
            return found;
        }
        Found { key: from, count: found.key.index + found.count - from.index, ..found }
    }

    /// Of a newer and an older item the one that comes first, cut where the other begins if that is the newer.
    fn first_of(newer: Option<Found>, older: Option<Found>) -> Option<Found> {
        let (Some(new), Some(old)) = (newer, older) else {
            return newer.or(older);
        };
        if new.key <= old.key {
            return newer;
        }
        let room = if new.key.object == old.key.object { new.key.index - old.key.index } else { u64::MAX };
        Some(Found { count: old.count.min(room), ..old })
    }
}
