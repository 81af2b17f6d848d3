//! A world of one page and two records, led into a store and out of it again.

use std::collections::{BTreeMap, VecDeque};

use abi::protocol::paging::{PageName, PagedAs, ToPager, ToStore};
use abi::protocol::snapshot::Error;
use abi::protocol::wiring::{EpochsPage, Failure, Phase};
use abi::record::{BatchReader, BatchWriter, Table};
use abi::{Epoch, Handle, PAGE_SIZE};
use format::World;
use kernel_core::{Budget, Capability, Endpoint, Notification};
use pager_records::{ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord, SpaceRecord};
use zerocopy::IntoBytes;

use super::environment::{Batch, Environment, Flaw, Note, Refused};
use super::{Conductor, Policy, Probe, Probed};
use crate::calm::{Calm, OWN_PAGES, memory};
use crate::*;

mod pace;
mod probe;
mod room;
mod unsound;
mod whole;

const WORLD_PAGES: u64 = 8;
const BLOCKS: usize = 4096;

fn calm() -> Calm {
    calm_of(BLOCKS)
}

fn calm_of(blocks: usize) -> Calm {
    Calm::of(blocks, WORLD_PAGES)
}

/// Pager, kernel, and everybody else, in a few maps.
#[derive(Default)]
struct Stage {
    now: u64,
    running: Epoch,
    /// Changed records of the ended epoch, still to be exported.
    to_export: Vec<(u16, u32, Vec<u8>)>,
    kernel: BTreeMap<(u16, u32), Vec<u8>>,
    pager: BTreeMap<(u16, u32), Vec<u8>>,
    batches: [Vec<u8>; 8],
    said: VecDeque<ToStore>,
    heard: Vec<ToPager>,
    page: EpochsPage,
    announced: Epoch,
    answers: Vec<(Handle, Result<Epoch, Error>)>,
    notes: Vec<Note>,
    resumed: Option<Epoch>,
    /// Pages said to be dirty, and dealt with.
    dirty: u64,
}

fn unpack(batch: &[u8], into: &mut BTreeMap<(u16, u32), Vec<u8>>) {
    for entry in BatchReader::new(batch).expect("a batch") {
        let (table, index, bytes) = entry.expect("an entry");
        into.insert((table, index), bytes.to_vec());
    }
}

impl Environment for Stage {
    fn now_ns(&mut self) -> u64 {
        self.now
    }
    fn export(&mut self, to: &mut Batch) -> usize {
        let mut writer = BatchWriter::new(to);
        while let Some((table, index, bytes)) = self.to_export.last() {
            if !writer.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                break;
            }
            self.to_export.pop();
        }
        writer.finish()
    }
    fn restore(&mut self, batch: &Batch) -> Result<(), Refused> {
        unpack(batch, &mut self.kernel);
        Ok(())
    }
    fn resume(&mut self, first: Epoch) -> Result<(), Refused> {
        self.running = first;
        self.resumed = Some(first);
        Ok(())
    }
    fn running(&mut self) -> Epoch {
        self.running
    }
    fn announce(&mut self, epoch: Epoch) {
        self.announced = epoch;
    }
    fn receive(&mut self) -> Option<ToStore> {
        let said = self.said.pop_front();
        self.dirty += u64::from(matches!(said, Some(ToStore::Dirty { .. })));
        said
    }
    fn room(&mut self) -> usize {
        100
    }
    fn send(&mut self, message: ToPager) {
        // The pager's own part of a restore, as it answers it.
        match message {
            ToPager::Begin { .. } => self.said.push_back(ToStore::Ready),
            ToPager::Restore { slot, .. } => {
                let batch = self.batches[slot as usize].clone();
                unpack(&batch, &mut self.pager);
                self.said.push_back(ToStore::BatchTaken { slot });
            }
            ToPager::RestoreEnd { .. } => self.said.push_back(ToStore::Ready),
            _ => {}
        }
        self.heard.push(message);
    }
    fn put_batch(&mut self, slot: u32, batch: &[u8]) {
        self.batches[slot as usize] = batch.to_vec();
    }
    fn get_batch(&mut self, slot: u32, to: &mut [u8]) {
        let batch = &self.batches[4 + slot as usize];
        to.copy_from_slice(&batch[..to.len()]);
    }
    fn publish(&mut self, page: &EpochsPage) {
        self.page = *page;
    }
    fn answer(&mut self, caller: Handle, result: Result<Epoch, Error>) {
        self.answers.push((caller, result));
    }
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

const POLICY: Policy = Policy { interval_ns: 1_000, hurry_ns: 10 };
const PAGE: PageName = PageName { content: 5, index: 3 };

fn settle(conductor: &mut Conductor<'static, Calm>, stage: &mut Stage) {
    for _ in 0..1000 {
        // A completion rings: whoever is rung polls again.
        if !conductor.poll(stage) && host(conductor).done.is_empty() {
            return;
        }
    }
    panic!("the conductor never rests: {:?}", stage.notes);
}

/// A new world on a blank disk, up to its running.
fn begun() -> (Conductor<'static, Calm>, Stage) {
    begun_on(calm())
}

fn begun_on(mut host: Calm) -> (Conductor<'static, Calm>, Stage) {
    let mut probe = Probe::new(PageRef(0));
    let probed = (0..10).find_map(|_| probe.poll(&mut host));
    assert_eq!(probed, Some(Probed::Blank));
    let options = FormatOptions { world: World(9), root_slots: 4, segment_blocks: 16, formatted_ns: 0, programs: 0 };
    let mut conductor = Conductor::format(memory(BLOCKS), host, Config::default(), POLICY, options);
    let mut stage = Stage::default();
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.phase, Phase::Empty);
    stage.running = stage.page.first;
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.phase, Phase::Running);
    (conductor, stage)
}

/// The world's own record, with room for eight of everything.
fn world_record() -> (u16, u32, Vec<u8>) {
    let world = kernel_core::World { version: 1, components: 3, epoch: 1, ticket: 1, time_ns: 1, capacities: [8; 6] };
    (Table::World as u16, 0, world.as_bytes().to_vec())
}

/// The budget that everything was made from.
fn budget() -> (u16, u32, Vec<u8>) {
    (Table::Budget as u16, 0, Budget { life: 1, ..Budget::FREE }.as_bytes().to_vec())
}

/// A notification in which `bits` were signalled.
fn notification(bits: u64) -> (u16, u32, Vec<u8>) {
    let record = Notification { bits: bits & 0xffff, budget: 0, life: 1, ..Notification::FREE };
    (Table::Notification as u16, 1, record.as_bytes().to_vec())
}

/// The pager's counters, with room for eight of everything.
fn counters() -> (u16, u32, Vec<u8>) {
    let counters =
        PagerRecord { content_next: 100, objects_max: 8, regions_max: 8, spaces_max: 8, version: PAGER_VERSION };
    (Table::Pager as u16, 0, counters.as_bytes().to_vec())
}

fn space(index: u32, pages_max: u64) -> (u16, u32, Vec<u8>) {
    (Table::Space as u16, index, SpaceRecord { pages_max, life: 1, ..SpaceRecord::EMPTY }.as_bytes().to_vec())
}

/// Plays the pager's and kernel's part of a cut in which a page and two records changed.
fn cut(conductor: &mut Conductor<'static, Calm>, stage: &mut Stage, quiet: bool) -> Epoch {
    stage.now += 10_000;
    settle(conductor, stage);
    assert_eq!(stage.heard.last(), Some(&ToPager::Cut));
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet });
    let changed = u64::from(!quiet);
    if !quiet {
        let mut batch = vec![0; PAGE_SIZE];
        let mut writer = BatchWriter::new(&mut batch);
        for (table, index, bytes) in [counters(), space(2, ended.bits())] {
            assert!(writer.push(table, index, bytes.len(), |to| to.copy_from_slice(&bytes)));
        }
        let bytes = writer.finish() as u32;
        stage.batches[4] = batch;
        stage.to_export.extend([world_record(), budget(), notification(ended.bits())]);
        stage.said.push_back(ToStore::Dirty { epoch: ended, page: PAGE, frame: OWN_PAGES as u32 });
        stage.said.push_back(ToStore::Records { epoch: ended, slot: 0, bytes });
    }
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: changed, batches: changed, drops: 0 });
    settle(conductor, stage);
    ended
}

fn host<'c>(conductor: &'c mut Conductor<'static, Calm>) -> &'c mut Calm {
    conductor.store_mut().expect("a store").host_mut()
}

#[test]
fn an_epoch_commits_and_the_world_comes_back() {
    let (mut conductor, mut stage) = begun();
    host(&mut conductor).pages[OWN_PAGES as usize].fill(0x5a);
    assert_eq!(conductor.sync(&mut stage, Handle(7)), Ok(()));
    let ended = cut(&mut conductor, &mut stage, false);
    assert_eq!((stage.page.committed, stage.announced), (ended, ended));
    assert_eq!(stage.answers, [(Handle(7), Ok(ended))]);
    assert!(stage.heard.contains(&ToPager::Released { epoch: ended, frame: OWN_PAGES as u32 }));
    assert!(stage.heard.contains(&ToPager::BatchTaken { slot: 0 }));
    // The power goes; what is on the disk is all there is.
    let mut after = calm();
    after.blocks = host(&mut conductor).blocks.clone();
    let mut conductor = Conductor::open(memory(BLOCKS), after, Config::default(), POLICY, None);
    let mut stage = Stage::default();
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.phase, Phase::Running, "{:?}", stage.notes);
    assert_eq!(stage.resumed, Epoch::first_of(2));
    assert_eq!(stage.page.restored, ended);
    let kernel = [world_record(), budget(), notification(ended.bits())];
    let kernel = kernel.map(|(table, index, bytes)| ((table, index), bytes));
    assert_eq!(stage.kernel, BTreeMap::from(kernel));
    let pager = [counters(), space(2, ended.bits())].map(|(table, index, bytes)| ((table, index), bytes));
    assert_eq!(stage.pager, BTreeMap::from(pager));
    let frame = OWN_PAGES as u32 + 1;
    stage.said.push_back(ToStore::PageIn { page: PAGE, frame });
    stage.said.push_back(ToStore::PageIn { page: PageName { content: 6, ..PAGE }, frame: frame + 1 });
    settle(&mut conductor, &mut stage);
    let filled = ToPager::Paged { page: PAGE, frame, outcome: PagedAs::Filled };
    assert!(stage.heard.contains(&filled), "{:?}", stage.heard);
    let absent = PageName { content: 6, ..PAGE };
    assert!(stage.heard.contains(&ToPager::Paged { page: absent, frame: frame + 1, outcome: PagedAs::Absent }));
    assert_eq!(host(&mut conductor).pages[frame as usize][..], [0x5a; PAGE_SIZE]);
}

#[test]
fn a_page_of_zeroes_takes_no_block_and_comes_back() {
    let (mut conductor, mut stage) = begun();
    let ended = cut(&mut conductor, &mut stage, false);
    assert_eq!(stage.page.committed, ended);
    let released = ToPager::Released { epoch: ended, frame: OWN_PAGES as u32 };
    assert_eq!(stage.heard.iter().filter(|heard| **heard == released).count(), 1);
    assert_eq!(conductor.store_mut().expect("a store").status().pages_written, 0);
    let frame = OWN_PAGES as u32 + 1;
    host(&mut conductor).pages[frame as usize].fill(7);
    stage.said.push_back(ToStore::PageIn { page: PAGE, frame });
    settle(&mut conductor, &mut stage);
    assert!(stage.heard.contains(&ToPager::Paged { page: PAGE, frame, outcome: PagedAs::Filled }));
    assert_eq!(host(&mut conductor).pages[frame as usize][..], [0; PAGE_SIZE]);
}

#[test]
fn a_quiet_epoch_counts_as_committed_and_writes_nothing() {
    let (mut conductor, mut stage) = begun();
    cut(&mut conductor, &mut stage, false);
    let before = host(&mut conductor).blocks.clone();
    assert_eq!(conductor.sync(&mut stage, Handle(3)), Ok(()));
    let quiet = cut(&mut conductor, &mut stage, true);
    assert_eq!(stage.page.committed, quiet);
    assert_eq!(stage.answers, [(Handle(3), Ok(quiet))]);
    assert!(host(&mut conductor).blocks == before);
}

#[test]
fn a_pager_that_miscounts_stops_the_world_before_it_commits() {
    let (mut conductor, mut stage) = begun();
    stage.now += 10_000;
    settle(&mut conductor, &mut stage);
    let ended = stage.running;
    stage.said.push_back(ToStore::CutDone { ended, running: ended.next().expect("next"), quiet: false });
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 1, batches: 0, drops: 0 });
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.phase, Phase::Failed);
    assert!(stage.page.committed < ended);
    assert_eq!(conductor.sync(&mut stage, Handle(1)), Err(Error::Undurable));
}

/// A cut in which these records of the kernel have changed.
fn cut_records(
    conductor: &mut Conductor<'static, Calm>,
    stage: &mut Stage,
    records: impl IntoIterator<Item = (u16, u32, Vec<u8>)>,
) -> Epoch {
    stage.now += 10_000;
    settle(conductor, stage);
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.to_export.extend(records);
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 0, batches: 0, drops: 0 });
    settle(conductor, stage);
    ended
}

/// A cut in which these records of the pager have changed.
fn cut_pager(
    conductor: &mut Conductor<'static, Calm>,
    stage: &mut Stage,
    records: impl IntoIterator<Item = (u16, u32, Vec<u8>)>,
) -> Epoch {
    stage.now += 10_000;
    settle(conductor, stage);
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.to_export.push(world_record());
    let mut batch = vec![0; PAGE_SIZE];
    let mut writer = BatchWriter::new(&mut batch);
    for (table, index, bytes) in records {
        assert!(writer.push(table, index, bytes.len(), |to| to.copy_from_slice(&bytes)));
    }
    let bytes = writer.finish() as u32;
    stage.batches[4] = batch;
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    stage.said.push_back(ToStore::Records { epoch: ended, slot: 0, bytes });
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 0, batches: 1, drops: 0 });
    settle(conductor, stage);
    ended
}

/// From the command at which the medium gives up on: the state has a name, nobody waits, the last epoch stays.
#[test]
fn a_disk_that_fails_in_the_midst_of_an_epoch_ends_committing_and_costs_no_epoch() {
    for op in [Op::Write, Op::Flush] {
        let mut failed = 0;
        for left in 0..20 {
            let (mut conductor, mut stage) = begun();
            host(&mut conductor).pages[OWN_PAGES as usize].fill(0x5a);
            let last = cut(&mut conductor, &mut stage, false);
            assert_eq!(stage.page.committed, last);
            host(&mut conductor).worn = Some((op, left));
            assert_eq!(conductor.sync(&mut stage, Handle(4)), Ok(()));
            let ended = cut(&mut conductor, &mut stage, false);
            if stage.page.committed == ended {
                break;
            }
            failed += 1;
            assert_eq!((stage.page.phase, stage.page.failure), (Phase::Failed, Some(Failure::DiskDead)));
            assert_eq!((stage.page.committed, stage.announced), (last, last));
            let said =
                |note: &Note| matches!(note, Note::StoreFailed(crate::Failure::Disk { op: at, .. }) if *at == op);
            assert!(stage.notes.iter().any(said), "{op:?} {left}: {:?}", stage.notes);
            assert_eq!(stage.answers, [(Handle(4), Err(Error::Undurable))]);
            assert_eq!(conductor.sync(&mut stage, Handle(5)), Err(Error::Undurable));
            let mut after = calm();
            after.blocks = host(&mut conductor).blocks.clone();
            let mut conductor = Conductor::open(memory(BLOCKS), after, Config::default(), POLICY, None);
            let mut stage = Stage::default();
            settle(&mut conductor, &mut stage);
            // The epoch may have reached the disk though nobody could be sure.
            assert!([last, ended].contains(&stage.page.restored), "{op:?} {left}: {:?}", stage.notes);
        }
        assert!(failed > 0, "{op:?} never failed");
    }
}
