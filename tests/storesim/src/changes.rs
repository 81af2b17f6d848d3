//! What a life does to its world: changes, epochs, space given back. Each waits as long as the store is busy, and ends
//! the life when the power goes.

use abi::Epoch;
use snapshot_server::{PutError, RetireError, SealError, Store};

use crate::disk::SimDisk;
use crate::life::{Ended, Life, LifeError, Lived, POLLS_MAX};
use crate::model::fill;
use crate::random::Random;
use crate::script::Change;

impl<'a> Life<'a> {
    /// Repeats `put` while the store is busy.
    pub(crate) fn put(&mut self, mut put: impl FnMut(&mut Store<'a, SimDisk>) -> Result<(), PutError>) -> Lived<()> {
        for _ in 0..POLLS_MAX {
            match put(&mut self.store) {
                Err(PutError::NotGathering) if self.faults_expected => self.until("stop", |_| false)?,
                Ok(()) => {
                    self.puts += 1;
                    return Ok(());
                }
                Err(PutError::Busy) => {
                    self.tally.add("put while busy", 1);
                    if self.store.host_mut().is_dead() {
                        return Err(Ok(Ended::Cut));
                    }
                    if let Some(event) = self.store.poll() {
                        self.take(event)?;
                    }
                }
                Err(PutError::Full) => return Err(Ok(Ended::Full)),
                Err(error) => return Err(Err(LifeError::Put(error))),
            }
        }
        Err(Err(LifeError::Hung("put")))
    }

    /// Puts a page of new contents.
    pub fn put_page(&mut self, object: u64, index: u64) -> Lived<()> {
        self.until("free page", |life| !life.free.is_empty())?;
        let Some(page) = self.free.pop() else {
            return Err(Err(LifeError::Hung("free page")));
        };
        self.history.contents += 1;
        let content = self.history.contents;
        fill(content, snapshot_server::PageMemory::bytes_mut(self.store.host_mut(), page));
        let put = self.put(|store| store.put_page(object, index, page));
        if put.is_err() {
            self.free.push(page);
        }
        put?;
        self.model.pages.insert((object, index), content);
        Ok(())
    }

    /// One change of the epoch that gathers.
    pub fn change(&mut self, change: Change) -> Lived<()> {
        match change {
            Change::Page(object, index) => self.put_page(object, index)?,
            Change::Zero(object, index, count) => {
                self.put(|store| store.put_zero(object, index, count))?;
                self.model.pages.extend((index..index + count).map(|index| ((object, index), 0)));
            }
            Change::Drop(object, index, count) => {
                self.put(|store| store.drop_pages(object, index, count))?;
                self.model.drop_pages(object, index, count);
            }
            Change::DropObject(object) => {
                self.put(|store| store.drop_object(object))?;
                self.model.drop_pages(object, 0, format::EXTENT_MAX);
            }
            Change::Record(table, index, length) => {
                self.history.contents += 1;
                let mut random = Random::new(self.history.contents);
                let bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
                self.put(|store| store.put_record(table, index, &bytes))?;
                self.model.records.insert((table, index), bytes);
            }
            Change::Remove(table, index) => {
                self.put(|store| store.remove_record(table, index))?;
                self.model.records.remove(&(table, index));
            }
        }
        Ok(())
    }

    /// Gathers one epoch of `changes` and seals it; does not wait for its commit.
    pub fn epoch(&mut self, changes: &[Change]) -> Lived<()> {
        let next = match self.last_begun {
            Some(last) => last.next(),
            None => Epoch::first_of(self.store.root().incarnation),
        };
        let Some(epoch) = next else {
            return Err(Err(LifeError::Hung("epoch numbers")));
        };
        self.last_begun = next;
        self.begin(epoch)?;
        let mut full = false;
        for change in changes {
            match self.change(*change) {
                Err(Ok(Ended::Full)) => {
                    full = true;
                    break;
                }
                other => other?,
            }
        }
        self.seal(epoch)?;
        if full { Err(Ok(Ended::Full)) } else { Ok(()) }
    }

    /// Frees space when the disk is full: drops `object` in an epoch of its own, makes a checkpoint, and gives up the
    /// older ones.
    pub fn free_some(&mut self, object: u64) -> Lived<()> {
        let Some(epoch) = self.last_begun.and_then(Epoch::next) else {
            return Err(Err(LifeError::Hung("epoch numbers")));
        };
        self.last_begun = Some(epoch);
        self.begin(epoch)?;
        self.put(|store| store.drop_object(object))?;
        self.model.drop_pages(object, 0, format::EXTENT_MAX);
        self.store.want_checkpoint();
        self.seal(epoch)?;
        self.settle()
    }

    /// Gives up all checkpoints but the newest.
    pub fn retire(&mut self) -> Lived<()> {
        for _ in 0..POLLS_MAX {
            match self.store.retire_before(self.store.head()) {
                Ok(()) | Err(RetireError::Nothing) => return Ok(()),
                Err(RetireError::Order) if self.faults_expected => self.until("stop", |_| false)?,
                Err(RetireError::Order) => return Err(Err(LifeError::Hung("retire"))),
                Err(RetireError::Busy) => {}
            }
            if self.store.host_mut().is_dead() {
                return Err(Ok(Ended::Cut));
            }
            if let Some(event) = self.store.poll() {
                self.take(event)?;
            }
        }
        Err(Err(LifeError::Hung("retire")))
    }

    /// One epoch with one of each kind of item.
    pub fn put_all_kinds(&mut self, round: u32) -> Lived<()> {
        let next = self.last_begun.and_then(Epoch::next);
        let Some(epoch) = next else {
            return Err(Err(LifeError::Hung("epoch numbers")));
        };
        self.last_begun = next;
        self.begin(epoch)?;
        let first = u64::from(round);
        self.put(|store| store.put_zero(2, first, 3))?;
        self.model.pages.extend((first..first + 3).map(|index| ((2, index), 0)));
        self.put(|store| store.drop_pages(2, first + 1, 1))?;
        self.model.drop_pages(2, first + 1, 1);
        let bytes = vec![round as u8 + 1; 40 + 300 * round as usize];
        self.put(|store| store.put_record(7, round, &bytes))?;
        self.model.records.insert((7, round), bytes);
        if round > 1 {
            self.put(|store| store.remove_record(7, round - 2))?;
            self.model.records.remove(&(7, round - 2));
        }
        self.seal(epoch)
    }

    /// One epoch of pages of object 1.
    pub fn epoch_of(&mut self, indices: &[u64]) -> Lived<()> {
        let next = match self.last_begun {
            Some(last) => last.next(),
            None => Epoch::first_of(self.store.root().incarnation),
        };
        let Some(epoch) = next else {
            return Err(Err(LifeError::Hung("epoch numbers")));
        };
        self.last_begun = next;
        self.begin(epoch)?;
        for index in indices {
            self.put_page(1, *index)?;
        }
        self.seal(epoch)
    }

    pub(crate) fn begin(&mut self, epoch: Epoch) -> Lived<()> {
        for _ in 0..POLLS_MAX {
            // A store that has stopped says why before it says that the order is wrong.
            while let Some(event) = self.store.poll() {
                self.take(event)?;
            }
            self.time_ns += 1000;
            match self.store.begin(epoch, self.time_ns) {
                Ok(()) => return Ok(()),
                Err(SealError::Busy) => {
                    if self.store.host_mut().is_dead() {
                        return Err(Ok(Ended::Cut));
                    }
                    if let Some(event) = self.store.poll() {
                        self.take(event)?;
                    }
                }
                Err(error) => return Err(Err(LifeError::Seal(error))),
            }
        }
        Err(Err(LifeError::Hung("begin")))
    }

    pub(crate) fn seal(&mut self, epoch: Epoch) -> Lived<()> {
        // What the seal makes durable counts from the moment that it is asked for; an empty epoch is never written.
        if core::mem::take(&mut self.puts) > 0 {
            if self.keep_only_newest {
                self.history.sealed.clear();
            }
            self.history.sealed.push((epoch, self.model.clone()));
        }
        for _ in 0..POLLS_MAX {
            self.time_ns += 1000;
            match self.store.seal(self.time_ns) {
                Ok(()) => return Ok(()),
                Err(SealError::Busy) => {
                    if self.store.host_mut().is_dead() {
                        return Err(Ok(Ended::Cut));
                    }
                    if let Some(event) = self.store.poll() {
                        self.take(event)?;
                    }
                }
                Err(_) if self.faults_expected => self.until("stop", |_| false)?,
                Err(error) => return Err(Err(LifeError::Seal(error))),
            }
        }
        Err(Err(LifeError::Hung("seal")))
    }

    /// Waits until all that was sealed is committed.
    pub fn settle(&mut self) -> Lived<()> {
        let last = self.history.sealed.last().map_or(Epoch::NONE, |(epoch, _)| *epoch);
        self.until("commit", |life| life.history.acknowledged >= last)
    }
}

#[cfg(test)]
mod tests {
    use format::World;
    use snapshot_server::{Config, FormatOptions};

    use super::*;
    use crate::arena::{Arena, Sizes};

    #[test]
    fn an_object_is_dropped_in_calls_that_each_have_an_end() {
        let sizes =
            Sizes { blocks: 2048, segment_blocks: 64, entries: 2048, cells: 64, deferred: 64, caller_pages: 100 };
        let options =
            FormatOptions { world: World(3), root_slots: 4, segment_blocks: 64, formatted_ns: 0, programs: 0 };
        let mut arena = Arena::new(&sizes);
        let disk = SimDisk::new(sizes.blocks, 3, arena.page_count());
        let mut life = Life::format(&mut arena, disk, Config::default(), options);
        let run = |life: &mut Life<'_>| -> Lived<u32> {
            life.opened()?;
            life.incarnate()?;
            life.epoch_of(&(0..300).map(|index| 2 * index).collect::<Vec<_>>())?;
            let epoch = life.last_begun.and_then(Epoch::next).ok_or(Err(LifeError::Hung("epoch numbers")))?;
            life.last_begun = Some(epoch);
            life.begin(epoch)?;
            let before = life.tally.of("put while busy");
            life.put(|store| store.drop_object(1))?;
            life.model.drop_pages(1, 0, format::EXTENT_MAX);
            let calls = life.tally.of("put while busy") - before;
            // The same once more finds four parts only.
            life.put(|store| store.drop_object(1))?;
            life.seal(epoch)?;
            life.settle()?;
            life.check_all()?;
            Ok(calls as u32)
        };
        assert_eq!(run(&mut life), Ok(4), "300 pages, 64 in each call but the last");
        assert!(life.store.status().entries_used < 10, "{:?}", life.store.status());
    }
}
