//! A store over a disk without surprises: what it says of itself is held against what the disk was asked and now holds.

use super::*;
use crate::calm::{Calm, OWN_PAGES, memory};
use crate::{Case, PutError, SealError};
use format::{Descriptor, DescriptorHead};

mod account;
mod damage;
mod folds;
mod large;
mod listing;
mod orders;
mod pace;
mod room;
mod rot;

/// Pages of the caller.
const CALLERS: u64 = 256;

/// A store at work.
struct Bench {
    store: Store<'static, Calm>,
    /// Pages of the caller that the store does not have.
    free: Vec<PageRef>,
    /// All that has happened.
    events: Vec<Event>,
    next: Epoch,
    /// Contents given out.
    given: u64,
}

const OPTIONS: FormatOptions =
    FormatOptions { world: World(9), root_slots: 4, segment_blocks: 16, formatted_ns: 0, programs: 0 };

/// One that never folds unless it has to.
const LAZY: Config = Config {
    recent_epochs: 1,
    checkpoints: 4,
    interval_entries: u32::MAX,
    interval_descriptors: u32::MAX,
    verify_pages: 8,
};

fn callers() -> Vec<PageRef> {
    (OWN_PAGES..OWN_PAGES + CALLERS).map(PageRef).collect()
}

impl Bench {
    fn of(store: Store<'static, Calm>) -> Self {
        let mut bench = Self { store, free: callers(), events: Vec::new(), next: Epoch::NONE, given: 0 };
        bench.rest();
        bench
    }

    /// A new store of so many blocks, in its first incarnation.
    fn new(blocks: usize, config: Config) -> Self {
        let mut bench = Self::of(Store::format(memory(blocks), Calm::of(blocks, CALLERS), config, OPTIONS));
        bench.incarnate();
        bench
    }

    fn incarnate(&mut self) {
        let number = self.store.new_incarnation().expect("opened");
        self.rest();
        assert!(self.events.contains(&Event::IncarnationDurable(number)), "{:?}", self.events);
        self.next = Epoch::first_of(number).expect("not the last");
    }

    /// What is on the disk is all there is.
    fn reopened(&mut self, config: Config) -> (Self, OpenReport) {
        self.spoilt(config, &[])
    }

    /// The same after these blocks have rotted.
    fn spoilt(&mut self, config: Config, rotten: &[Block]) -> (Self, OpenReport) {
        let blocks = self.store.host.blocks.clone();
        let mut host = Calm { blocks, ..Calm::of(0, CALLERS) };
        for block in rotten {
            host.block_mut(block.index())[70] ^= 1;
        }
        let mut bench = Self::of(Store::open(memory(host.blocks.len()), host, config, None));
        bench.given = self.given;
        let Some(Event::Opened(report)) = bench.events.first().copied() else { panic!("{:?}", bench.events) };
        (bench, report)
    }

    /// Polls until nothing goes on any more.
    fn rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..100_000 {
            match self.store.poll() {
                Some(Event::PageWritten(page)) => self.free.push(page),
                Some(event) => self.events.push(event),
                // A descriptor that is being filled is let go after some polls.
                None if !self.store.has_more() && self.store.host.done.is_empty() => quiet += 1,
                None => quiet = 0,
            }
            if quiet > 3 {
                return;
            }
        }
        panic!("the store never rests");
    }

    /// Does what may have to wait.
    fn done<E: PartialEq + std::fmt::Debug>(
        &mut self,
        busy: &E,
        mut act: impl FnMut(&mut Store<'static, Calm>) -> Result<(), E>,
    ) -> Result<(), E> {
        for _ in 0..1000 {
            match act(&mut self.store) {
                Err(error) if error == *busy => self.rest(),
                other => return other,
            }
        }
        panic!("busy for ever");
    }

    fn begin(&mut self, now_ns: u64) -> Epoch {
        let epoch = self.next;
        assert_eq!(self.done(&SealError::Busy, |store| store.begin(epoch, now_ns)), Ok(()));
        self.next = epoch.next().expect("not the last");
        epoch
    }

    /// Puts a page that no other is like.
    fn put(&mut self, object: u64, index: u64) -> Result<(), PutError> {
        if self.free.is_empty() {
            self.rest();
        }
        let page = self.free.pop().expect("the store hands pages back");
        self.given += 1;
        let bytes = self.store.host.pages[page.0 as usize].as_mut();
        bytes.fill(self.given as u8 | 1);
        bytes[..8].copy_from_slice(&self.given.to_le_bytes());
        let put = self.done(&PutError::Busy, |store| store.put_page(object, index, page));
        if put.is_err() {
            self.free.push(page);
        }
        put
    }

    fn seal(&mut self, now_ns: u64) {
        assert_eq!(self.done(&SealError::Busy, |store| store.seal(now_ns)), Ok(()));
    }

    /// An epoch of these pages, durable.
    fn epoch(&mut self, pages: impl IntoIterator<Item = (u64, u64)>) -> Epoch {
        let epoch = self.begin(10);
        for (object, index) in pages {
            assert_eq!(self.put(object, index), Ok(()));
        }
        self.seal(20);
        self.rest();
        assert_eq!(self.store.head(), epoch);
        epoch
    }

    fn checkpoints(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::CheckpointDurable(_))).count()
    }

    /// The descriptors from `from` up to the end of the log, as they lie on the disk.
    fn log_from(&self, from: LogStart) -> Vec<DescriptorHead> {
        let (mut at, mut heads) = (from, Vec::new());
        while at.sequence < self.store.log.sequence {
            let bytes = self.store.host.block(at.block.index());
            let found = Descriptor::parse(self.store.world, self.store.geometry(), at.block, &bytes).expect("sound");
            assert_eq!((found.head.sequence, found.head.previous), (at.sequence, at.previous));
            at = LogStart { block: found.head.next, sequence: at.sequence + 1, previous: found.sum };
            heads.push(found.head);
        }
        assert_eq!(at, self.store.log);
        heads
    }

    /// The contents of a page that was put as number `given`.
    fn check(&mut self, object: u64, index: u64, given: u64) {
        let into = self.free.pop().expect("a page");
        let answer = self.store.read_page(7, object, index, into).expect("open");
        if answer == crate::Answer::Later {
            self.events.clear();
            self.rest();
            let read = Event::PageRead { token: 7, result: Ok(crate::PageSource::Disk) };
            assert!(self.events.contains(&read), "{object} {index}: {:?}", self.events);
        } else {
            assert_eq!(answer, crate::Answer::Now(crate::PageSource::Disk));
        }
        assert_eq!(self.store.host.pages[into.0 as usize][..8], given.to_le_bytes(), "{object} {index}");
        self.free.push(into);
    }
}

/// Who has given away more than half of the buffers is short of them, and has them back when they are returned.
#[test]
fn buffers_are_scarce_when_less_than_half_is_there() {
    let pages: Vec<PageRef> = (0..10).map(PageRef).collect();
    let mut buffers = Buffers::new(&pages);
    let mut taken = Vec::new();
    while let Some(page) = buffers.take() {
        taken.push(page);
        assert_eq!(buffers.is_pressed(), taken.len() > 5, "{taken:?}");
    }
    assert_eq!(taken.len(), 10);
    taken.into_iter().for_each(|page| buffers.give(page));
    assert!(!buffers.is_pressed() && buffers.free() == 10);
}
