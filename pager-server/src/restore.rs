//! Taking the pager's records back: each judged by itself as it comes, all of them as a graph at the end. No frame is
//! filled: pages come in when they are touched.
//!
//! What makes records a graph that the pager could have written:
//! 1. The counters are of this build's version and fit its tables; every content number is below the next one.
//! 2. No two objects have the same content.
//! 3. Parents are hidden, of the same size and kind, in chains of bounded length; a hidden object has a child.
//! 4. Objects are charged to spaces that exist, within what those may own.
//! 5. What a space lends exists and is not transient, and no more is lent than can be.
//! 6. Regions lie in spaces that exist, do not overlap, and stay within their object, if that still exists.

use crate::Pager;
use crate::environment::Environment;
use crate::pager::{Broken, Phase};
use crate::region::OBJECT_REGIONS_MAX;
use abi::protocol::paging::ToStore;
use abi::record::{BatchReader, Table as Kept};
use abi::{Epoch, PAGE_SIZE};
use core::convert::Infallible;
use pager_records::{
    FREE, Graph, HIDDEN, OBJECT, ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord, SpaceRecord, is_sound,
};
use records::Table;
use zerocopy::FromBytes;

/// A record that is not one the pager could have written: its table and index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord {
    table: u16,
    index: u32,
}

fn bad(table: Kept, index: u32) -> BadRecord {
    BadRecord { table: table as u16, index }
}

impl Pager {
    /// A batch of records.
    pub(crate) fn restore_batch(&mut self, env: &mut impl Environment, slot: u32, bytes: usize) -> Result<(), Broken> {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Restoring;
        }
        if self.phase == Phase::Refused {
            return Ok(());
        }
        self.expect_phase(Phase::Restoring)?;
        if bytes > PAGE_SIZE {
            return Err(Broken::Batch { slot });
        }
        let mut page = core::mem::take(&mut self.scratch);
        let filled: &mut [u8] = &mut page;
        env.get_batch(slot, &mut filled[..bytes]);
        let result = self.load_batch(&filled[..bytes]);
        self.scratch = page;
        match result {
            Ok(()) => env.send(ToStore::BatchTaken { slot }),
            Err(refused) => self.refuse(env, refused),
        }
        Ok(())
    }

    fn refuse(&mut self, env: &mut impl Environment, BadRecord { table, index }: BadRecord) {
        self.phase = Phase::Refused;
        env.send(ToStore::RestoreRefused { table, index });
    }

    fn load_batch(&mut self, page: &[u8]) -> Result<(), BadRecord> {
        let foreign = BadRecord { table: u16::MAX, index: 0 };
        for entry in BatchReader::new(page).map_err(|_| foreign)? {
            let (table, index, bytes) = entry.map_err(|_| foreign)?;
            let loaded = if table == Kept::MemoryObject as u16 {
                load(&mut self.objects.table, index, bytes, ObjectRecord::is_valid)
            } else if table == Kept::Region as u16 {
                load(&mut self.regions.table, index, bytes, RegionRecord::is_valid)
            } else if table == Kept::Space as u16 {
                load(&mut self.spaces.table, index, bytes, SpaceRecord::is_valid)
            } else if table == Kept::Pager as u16 {
                load(&mut self.counters, index, bytes, |record: &PagerRecord| record.version == PAGER_VERSION)
            } else {
                Err(Unfit::Record)
            };
            match loaded {
                Ok(()) => {}
                // Another build's: what the record with the version would say, if it came first.
                Err(Unfit::Layout) => return Err(bad(Kept::Pager, 0)),
                Err(Unfit::Record) => return Err(BadRecord { table, index }),
            }
        }
        Ok(())
    }

    /// All records are there.
    pub(crate) fn restore_end(&mut self, env: &mut impl Environment, epoch: Epoch) -> Result<(), Broken> {
        if self.phase == Phase::Refused {
            return Ok(());
        }
        if self.phase == Phase::Waiting {
            self.phase = Phase::Restoring;
        }
        self.expect_phase(Phase::Restoring)?;
        match self.judge() {
            Ok(()) => {
                self.begin(epoch);
                env.send(ToStore::Ready);
            }
            Err(refused) => self.refuse(env, refused),
        }
        Ok(())
    }

    /// Checks the graph and derives what is derived from it.
    fn judge(&mut self) -> Result<(), BadRecord> {
        let counters = *self.counters.get(0);
        let fits = counters.objects_max <= self.objects.table.len()
            && counters.regions_max <= self.regions.table.len()
            && counters.spaces_max <= self.spaces.table.len();
        if !fits || counters.content_next == 0 {
            return Err(bad(Kept::Pager, 0));
        }
        self.spaces.derive();
        self.judge_objects()?;
        self.judge_regions()?;
        self.derive_lends().map_err(|space| bad(Kept::Space, space))
    }

    fn judge_objects(&mut self) -> Result<(), BadRecord> {
        let wrong = |index| bad(Kept::MemoryObject, index);
        if let Some(twice) = self.objects.find_shared_content() {
            return Err(wrong(twice));
        }
        for slot in 0..self.objects.table.len() {
            let record = *self.objects.get(slot);
            if record.life == FREE {
                continue;
            }
            if is_sound(&mut Recorded(self), Kept::MemoryObject as u16, slot) != Ok(true) {
                return Err(wrong(slot));
            }
            if record.life == OBJECT {
                if !self.spaces.can_charge(record.space, record.pages) {
                    return Err(wrong(slot));
                }
                self.spaces.state_mut(record.space).owned += record.pages;
            }
        }
        for slot in 0..self.objects.table.len() {
            let record = *self.objects.get(slot);
            if record.life == FREE {
                self.objects.derive(slot, crate::frame::NONE);
                continue;
            }
            let transient = record.is_transient();
            let content = self.contents.make(record.content, slot, transient, Epoch::NONE).expect("twice as many");
            self.objects.derive(slot, content);
            self.transient_pages += if transient { record.pages } else { 0 };
        }
        let childless =
            |&slot: &u32| self.objects.get(slot).life == HIDDEN && self.objects.state(slot).child == crate::frame::NONE;
        match (0..self.objects.table.len()).find(childless) {
            Some(slot) => Err(wrong(slot)),
            None => Ok(()),
        }
    }

    fn judge_regions(&mut self) -> Result<(), BadRecord> {
        for slot in 0..self.regions.table.len() {
            let region = *self.regions.get(slot);
            if region.pages == 0 {
                continue;
            }
            let wrong = Err(bad(Kept::Region, slot));
            if is_sound(&mut Recorded(self), Kept::Region as u16, slot) != Ok(true) {
                return wrong;
            }
            let object = self.objects.find(region.object);
            let placed = match object {
                Some(object) => {
                    let state = self.objects.state_mut(object);
                    state.region_count += 1;
                    let few = state.region_count <= OBJECT_REGIONS_MAX;
                    few && self.regions.derive(slot, Some((object, &mut state.regions)))
                }
                None => self.regions.derive(slot, None),
            };
            if !placed {
                return wrong;
            }
            self.spaces.state_mut(region.space).regions += 1;
        }
        Ok(())
    }
}

/// The records that have come back, as a graph.
struct Recorded<'p>(&'p Pager);

impl Graph for Recorded<'_> {
    type Error = Infallible;

    fn counters(&mut self) -> Result<PagerRecord, Infallible> {
        Ok(*self.0.counters.get(0))
    }

    fn object(&mut self, slot: u32) -> Result<Option<ObjectRecord>, Infallible> {
        Ok(self.0.objects.table.try_get(slot).copied())
    }

    fn region(&mut self, slot: u32) -> Result<Option<RegionRecord>, Infallible> {
        Ok(self.0.regions.table.try_get(slot).copied())
    }

    fn space(&mut self, slot: u32) -> Result<Option<SpaceRecord>, Infallible> {
        Ok(self.0.spaces.table.try_get(slot).copied())
    }
}

/// Why a record is not loaded.
enum Unfit {
    /// It has another length than this build's.
    Layout,
    /// There is no such index, or it is not valid.
    Record,
}

/// Loads one record. No bytes: it was removed.
fn load<T: FromBytes + Copy + 'static>(
    table: &mut Table<T>,
    index: u32,
    bytes: &[u8],
    is_valid: impl Fn(&T) -> bool,
) -> Result<(), Unfit> {
    if bytes.is_empty() {
        return Ok(());
    }
    let record = T::read_from_bytes(bytes).map_err(|_| Unfit::Layout)?;
    if index >= table.len() || !is_valid(&record) {
        return Err(Unfit::Record);
    }
    table.load(index, record);
    Ok(())
}
