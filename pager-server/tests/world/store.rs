//! A snapshot server made of maps: takes the pager's messages, reads frames when it gets to them, in any order, and
//! remembers what it was told, by epoch.

use super::kernel::{Bytes, Kernel};
use super::random::Random;
use abi::Epoch;
use abi::protocol::paging::{PageName, PagedAs, Room, ToPager, ToStore};
use abi::record::{BatchReader, Table};
use pager_server::ObjectRecord;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zerocopy::FromBytes;

#[derive(Clone, Debug, Default)]
pub struct Told {
    pub pages: BTreeMap<PageName, Bytes>,
    pub drops: BTreeSet<u64>,
    pub records: BTreeMap<(u16, u32), Vec<u8>>,
    pub in_flight: usize,
    pub dirty: u64,
    pub batches: u64,
    pub gathered: bool,
}

/// What one committed epoch holds.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub pages: BTreeMap<PageName, Bytes>,
    pub records: BTreeMap<(u16, u32), Vec<u8>>,
}

pub struct Store {
    pub from_pager: VecDeque<ToStore>,
    pub to_pager: VecDeque<ToPager>,
    pub ring_max: usize,
    pub batches: BTreeMap<u32, Vec<u8>>,
    pub restore: BTreeMap<u32, Vec<u8>>,
    /// Dirty frames not yet read: epoch, page, frame, contents when told.
    reading: Vec<(Epoch, PageName, u32, Bytes)>,
    asked: Vec<(PageName, u32)>,
    pub told: BTreeMap<u64, Told>,
    pub image: Image,
    pub committed: Option<Epoch>,
    pub dropped: BTreeSet<u64>,
    pub ready: bool,
    pub refused: Option<(u16, u32)>,
    pub short: u64,
    pub page_ins: u64,
    /// Pages that fail their checksum.
    pub damaged: BTreeSet<PageName>,
    /// Pages that fit beside what is committed, and pages that fit in all.
    pub writes_max: u64,
    pub growth_max: u64,
    handled: u64,
    /// Whether the pager says that writers wait, and how often they began to.
    pub waits: bool,
    pub waited: u64,
}

/// More room than any test needs.
pub const PLENTY: u64 = 1 << 40;

impl Store {
    pub fn new(image: Image, committed: Option<Epoch>) -> Self {
        Self {
            from_pager: VecDeque::new(),
            to_pager: VecDeque::new(),
            ring_max: 110,
            batches: BTreeMap::new(),
            restore: BTreeMap::new(),
            reading: Vec::new(),
            asked: Vec::new(),
            told: BTreeMap::new(),
            image,
            committed,
            dropped: BTreeSet::new(),
            ready: false,
            refused: None,
            short: 0,
            page_ins: 0,
            damaged: BTreeSet::new(),
            writes_max: PLENTY,
            growth_max: PLENTY,
            handled: 0,
            waits: false,
            waited: 0,
        }
    }

    fn uncommitted(&self) -> u64 {
        self.told.values().map(|told| told.dirty).sum()
    }

    /// What there is room for now.
    pub fn room(&self) -> Room {
        let (handled, uncommitted) = (self.handled, self.uncommitted());
        let growth = self.growth_max.saturating_sub(self.image.pages.len() as u64 + uncommitted);
        Room { handled, writes: self.writes_max.saturating_sub(uncommitted), growth }
    }

    pub fn tell_room(&mut self) {
        self.to_pager.push_back(ToPager::Room(self.room()));
    }

    /// Takes one message of the pager, if there is one.
    pub fn take(&mut self, kernel: &mut Kernel) -> bool {
        let Some(message) = self.from_pager.pop_front() else { return false };
        let again = ToStore::from_entry(&message.entry());
        assert_eq!(again, Some(message), "it goes through the ring unchanged");
        match message {
            ToStore::Ready => self.ready = true,
            ToStore::RestoreRefused { table, index } => self.refused = Some((table, index)),
            ToStore::CutDone { ended, running, .. } => {
                assert_eq!(ended.next(), Some(running));
                assert!(self.told.insert(ended.bits(), Told::default()).is_none());
            }
            ToStore::CutRefused(_) => {}
            ToStore::Dirty { epoch, page, frame } => {
                assert!(!self.dropped.contains(&page.content), "a page of a content that was dropped");
                let told = self.told.get_mut(&epoch.bits()).expect("it was cut");
                assert!(!told.gathered);
                told.in_flight += 1;
                told.dirty += 1;
                assert!(!self.reading.iter().any(|known| known.2 == frame));
                self.reading.push((epoch, page, frame, kernel.frames[frame as usize].bytes));
                self.handled += 1;
                assert!(self.uncommitted() <= self.writes_max, "the store cannot take so many pages");
            }
            ToStore::Dropped { epoch, content } => {
                let told = self.told.get_mut(&epoch.bits()).expect("it was cut");
                assert!(!told.gathered && told.drops.insert(content) && self.dropped.insert(content));
            }
            ToStore::Records { epoch, slot, bytes } => {
                let told = self.told.get_mut(&epoch.bits()).expect("it was cut");
                assert!(!told.gathered);
                let batch = self.batches.remove(&slot).expect("filled");
                assert_eq!(batch.len(), bytes as usize);
                for entry in BatchReader::new(&batch).expect("a batch") {
                    let (table, index, bytes) = entry.expect("an entry");
                    let twice = told.records.insert((table, index), bytes.to_vec());
                    assert!(twice.is_none(), "a record is told once an epoch");
                }
                told.batches += 1;
                self.to_pager.push_back(ToPager::BatchTaken { slot });
            }
            ToStore::Gathered { epoch, pages, batches, drops } => {
                let told = self.told.get_mut(&epoch.bits()).expect("it was cut");
                assert_eq!((told.dirty, told.batches, told.drops.len() as u64), (pages, batches, drops));
                told.gathered = true;
            }
            ToStore::PageIn { page, frame } => {
                assert!(!self.dropped.contains(&page.content));
                self.asked.push((page, frame));
                self.page_ins += 1;
            }
            ToStore::Short => self.short += 1,
            ToStore::Waits { writers } => {
                assert_ne!(writers, self.waits, "it says what is new");
                self.waits = writers;
                self.waited += u64::from(writers);
            }
            ToStore::BatchTaken { slot } => drop(self.restore.remove(&slot)),
        }
        true
    }

    /// Reads one of the frames that were handed to it.
    pub fn read_one(&mut self, kernel: &mut Kernel, random: &mut Random) -> bool {
        if self.reading.is_empty() {
            return false;
        }
        let at = random.below(self.reading.len());
        let (epoch, page, frame, bytes) = self.reading.swap_remove(at);
        assert_eq!(kernel.frames[frame as usize].bytes, bytes, "a frame changed while it was lent");
        kernel.lend(frame, false);
        let told = self.told.get_mut(&epoch.bits()).expect("it was cut");
        assert!(told.pages.insert(page, bytes).is_none(), "a page is told once an epoch");
        told.in_flight -= 1;
        self.to_pager.push_back(ToPager::Released { epoch, frame });
        true
    }

    /// The newest version of a page that it has read.
    fn newest(&self, page: PageName) -> Option<Bytes> {
        let recent = self.told.values().rev().find_map(|told| told.pages.get(&page));
        recent.or_else(|| self.image.pages.get(&page)).copied()
    }

    /// Answers one of the pages that were asked for.
    pub fn answer_one(&mut self, kernel: &mut Kernel, random: &mut Random) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let at = random.below(self.asked.len());
        let (page, frame) = self.asked.swap_remove(at);
        kernel.assert_unmapped(frame);
        kernel.lend(frame, false);
        let outcome = match self.newest(page) {
            _ if self.damaged.contains(&page) => PagedAs::Damaged,
            Some(bytes) => {
                kernel.frames[frame as usize].bytes = bytes;
                PagedAs::Filled
            }
            None => PagedAs::Absent,
        };
        self.to_pager.push_back(ToPager::Paged { page, frame, outcome });
        true
    }

    /// The oldest epoch that is not committed, if it can be.
    pub fn can_commit(&self) -> Option<Epoch> {
        let (&epoch, told) = self.told.first_key_value()?;
        (told.gathered && told.in_flight == 0).then_some(Epoch::from_bits(epoch))
    }

    /// Makes it durable. A power cut from now on comes back to it.
    pub fn commit(&mut self, epoch: Epoch) {
        let told = self.told.remove(&epoch.bits()).expect("it can be committed");
        self.image.pages.retain(|page, _| !told.drops.contains(&page.content));
        assert!(told.pages.keys().all(|page| !told.drops.contains(&page.content)), "dropped pages are in no epoch");
        self.image.pages.extend(told.pages);
        self.image.records.extend(told.records);
        self.committed = Some(epoch);
        self.assert_no_leaks();
        assert!(self.image.pages.len() as u64 <= self.growth_max, "the store cannot hold so many pages");
        self.tell_room();
    }

    /// Every content of the image is that of an object in it.
    fn assert_no_leaks(&self) {
        let objects = self.image.records.iter().filter(|((table, _), _)| *table == Table::MemoryObject as u16);
        let records = objects.map(|(_, bytes)| ObjectRecord::read_from_bytes(bytes).expect("a record"));
        let named: BTreeSet<u64> = records.filter(|record| record.life != 0).map(|record| record.content).collect();
        let leaked = self.image.pages.keys().find(|page| !named.contains(&page.content));
        assert!(leaked.is_none(), "{leaked:?} is nobody's");
    }
}
