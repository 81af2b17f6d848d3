//! Epochs with records that no kernel and no pager could have written: refused, and the last one stays.

use super::*;

/// Records that were said to be unsound.
fn told(stage: &Stage) -> Vec<(u16, u32)> {
    let refused = |note: &Note| if let Note::Unsound(record, _) = note { Some(*record) } else { None };
    stage.notes.iter().filter_map(refused).collect()
}

fn object(index: u32, record: ObjectRecord) -> (u16, u32, Vec<u8>) {
    (Table::MemoryObject as u16, index, record.as_bytes().to_vec())
}

fn region(index: u32, record: RegionRecord) -> (u16, u32, Vec<u8>) {
    (Table::Region as u16, index, record.as_bytes().to_vec())
}

#[test]
fn an_epoch_with_an_unsound_record_of_the_pager_is_refused_too() {
    let own = ObjectRecord { content: 7, pages: 4, space: 2, life: 1, ..ObjectRecord::EMPTY };
    let part = RegionRecord { page: 0x1000, pages: 4, object: 1, space: 2, ..RegionRecord::EMPTY };
    let unsound = [
        object(1, ObjectRecord { content: 100, ..own }),
        object(1, ObjectRecord { space: 3, ..own }),
        object(1, ObjectRecord { parent: 4, ..own }),
        object(1, ObjectRecord { life: 9, ..own }),
        object(8, own),
        region(1, RegionRecord { space: 3, ..part }),
        region(1, RegionRecord { object_page: 1, ..part }),
        (Table::Space as u16, 2, vec![0xff; 16]),
        (Table::Pager as u16, 0, vec![0; 24]),
        (Table::Region as u16, 1, vec![0; 8]),
    ];
    for (case, record) in unsound.into_iter().enumerate() {
        let (mut conductor, mut stage) = begun();
        let sound = [counters(), space(2, 9), object(1, own), region(1, part)];
        let last = cut_pager(&mut conductor, &mut stage, sound);
        assert_eq!(stage.page.committed, last, "case {case}: {:?}", stage.notes);
        let (table, index) = (record.0, record.1);
        let ended = cut_pager(&mut conductor, &mut stage, [record]);
        assert!(last < ended && stage.page.committed == last, "case {case}");
        assert_eq!(stage.page.failure, Some(Failure::BadRecords), "case {case}: {:?}", stage.notes);
        assert!(told(&stage).contains(&(table, index)), "case {case}: {:?}", stage.notes);
    }
    // That an object's space is gone only the whole shows: it is not the object that has changed.
    let (mut conductor, mut stage) = begun();
    cut_pager(&mut conductor, &mut stage, [counters(), space(2, 9), object(1, own)]);
    let free = SpaceRecord { generation: 1, ..SpaceRecord::EMPTY };
    let ended = cut_pager(&mut conductor, &mut stage, [(Table::Space as u16, 2, free.as_bytes().to_vec())]);
    assert_eq!((stage.page.committed, stage.page.failure), (ended, None));
    conductor.store_mut().expect("a store").want_checkpoint();
    cut_pager(&mut conductor, &mut stage, [space(3, 1)]);
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.failure, Some(Failure::BadRecords));
    assert!(told(&stage).contains(&(Table::MemoryObject as u16, 1)), "{:?}", stage.notes);
}

pub(super) fn endpoint(index: u32) -> (u16, u32, Vec<u8>) {
    (Table::Endpoint as u16, index, Endpoint { budget: 0, life: 1, ..Endpoint::FREE }.as_bytes().to_vec())
}

pub(super) fn capability(slot: u32, record: Capability) -> (u16, u32, Vec<u8>) {
    (Table::Capability as u16, slot, record.as_bytes().to_vec())
}

#[test]
fn an_epoch_with_an_unsound_record_is_refused_and_the_last_one_stays() {
    let rights = abi::Kind::Endpoint.rights().bits();
    let root = Capability { kind: abi::Kind::Endpoint as u8, object: 2, rights, ..Capability::EMPTY };
    let child = Capability { parent: 3, depth: 1, rights: rights & !1, ..root };
    let weak = Capability { rights: rights & !1, ..root };
    let unsound = [
        // An object that no table has; a parent that is not there; one that may less; one of another object.
        vec![capability(5, Capability { object: 8, ..root })],
        vec![capability(5, Capability { parent: 6, ..child })],
        vec![capability(3, weak), capability(5, Capability { rights, ..child })],
        vec![capability(5, Capability { object: 3, ..child })],
        // A capability to what has not been made yet; an endpoint that was made from no budget.
        vec![capability(5, Capability { generation: 1, ..root })],
        vec![(Table::Endpoint as u16, 4, Endpoint { life: 1, ..Endpoint::FREE }.as_bytes().to_vec())],
        // Bytes that are no record at all.
        vec![(Table::Endpoint as u16, 4, vec![0xff; 16])],
        vec![(Table::Thread as u16, 4, vec![1; 8])],
    ];
    for (case, records) in unsound.into_iter().enumerate() {
        let (mut conductor, mut stage) = begun();
        let sound = [world_record(), budget(), endpoint(2), capability(3, root), capability(4, child)];
        let last = cut_records(&mut conductor, &mut stage, sound);
        assert_eq!(stage.page.committed, last, "case {case}: {:?}", stage.notes);
        let refused = records.last().map(|(table, index, _)| (*table, *index)).expect("a record");
        let ended = cut_records(&mut conductor, &mut stage, records);
        assert!(last < ended && stage.page.committed == last, "case {case}");
        assert_eq!(stage.page.failure, Some(Failure::BadRecords), "case {case}: {:?}", stage.notes);
        assert!(told(&stage).contains(&refused), "case {case}: {:?}", stage.notes);
        // What is on the disk is still the last epoch, whether or not parts of the refused one went out.
        let mut after = calm();
        after.blocks = host(&mut conductor).blocks.clone();
        let mut conductor = Conductor::open(memory(BLOCKS), after, Config::default(), POLICY, None);
        let mut stage = Stage::default();
        settle(&mut conductor, &mut stage);
        assert_eq!(stage.page.restored, last, "case {case}: {:?}", stage.notes);
    }
}

#[test]
fn what_a_change_elsewhere_has_spoilt_is_found_when_the_log_is_folded() {
    let rights = abi::Kind::Endpoint.rights().bits();
    let root = Capability { kind: abi::Kind::Endpoint as u8, object: 2, rights, ..Capability::EMPTY };
    let child = Capability { parent: 3, depth: 1, ..root };
    let (mut conductor, mut stage) = begun();
    let world = world_of(|world| world.capacities = [64; 6]);
    let holder = super::whole::process(0, 0);
    let records = [world, budget(), holder, endpoint(2), capability(3, root), capability(4, child)];
    cut_records(&mut conductor, &mut stage, records);
    // The parent alone is sound; that its child now may more than it does only the whole shows.
    let ended = cut_records(&mut conductor, &mut stage, [capability(3, Capability { rights: 0, ..root })]);
    assert_eq!((stage.page.committed, stage.page.failure), (ended, None));
    conductor.store_mut().expect("a store").want_checkpoint();
    cut_records(&mut conductor, &mut stage, [endpoint(3)]);
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.failure, Some(Failure::BadRecords));
    assert!(told(&stage).contains(&(Table::Capability as u16, 4)), "{:?}", stage.notes);
}

#[test]
fn an_epoch_of_more_records_than_are_remembered_is_checked_as_a_whole() {
    for broken in [None, Some(1999)] {
        let (mut conductor, mut stage) = begun();
        let world =
            kernel_core::World { version: 1, components: 3, epoch: 1, ticket: 1, time_ns: 1, capacities: [3000; 6] };
        let records = (0..2000).map(endpoint).chain([budget(), (Table::World as u16, 0, world.as_bytes().to_vec())]);
        let bad = Capability { kind: abi::Kind::Endpoint as u8, object: 3000, ..Capability::EMPTY };
        let records = records.chain(broken.map(|slot| capability(slot, bad)));
        let ended = cut_records(&mut conductor, &mut stage, records);
        assert_eq!(stage.page.committed == ended, broken.is_none(), "{:?}", stage.notes);
        assert_eq!(stage.page.failure, broken.map(|_| Failure::BadRecords));
    }
}

fn world_of(change: impl Fn(&mut kernel_core::World)) -> (u16, u32, Vec<u8>) {
    let (table, index, bytes) = world_record();
    let mut world = kernel_core::World::read(&bytes).expect("a record");
    change(&mut world);
    (table, index, world.as_bytes().to_vec())
}

fn vector(index: u32, change: impl Fn(&mut [u8])) -> (u16, u32, Vec<u8>) {
    let mut bytes = kernel_core::VectorState::INITIAL.as_bytes().to_vec();
    change(&mut bytes);
    (Table::Vector as u16, index, bytes)
}

#[test]
fn what_a_restore_would_refuse_is_refused_before_it_commits() {
    let cases = [
        (Flaw::Outside, endpoint(8)),
        (Flaw::Outside, vector(8, |_| ())),
        (Flaw::Bytes, vector(1, |bytes| bytes[512] = 8)),
        (Flaw::Bytes, vector(1, |bytes| bytes[27] = 1)),
        (Flaw::Bytes, (Table::Vector as u16, 1, vec![0; 100])),
        (Flaw::Bytes, (9, 0, vec![1; 8])),
        (Flaw::Bytes, world_of(|world| world.version += 1)),
        (Flaw::Bytes, world_of(|world| world.ticket = u64::MAX)),
        (Flaw::Shape, world_of(|world| world.capacities[5] *= 2)),
    ];
    for (case, (flaw, record)) in cases.into_iter().enumerate() {
        let (mut conductor, mut stage) = begun();
        let last = cut_records(&mut conductor, &mut stage, [world_record(), budget(), endpoint(2), vector(1, |_| ())]);
        assert_eq!(stage.page.committed, last, "case {case}: {:?}", stage.notes);
        let name = (record.0, record.1);
        let ended = cut_records(&mut conductor, &mut stage, [record]);
        assert!(last < ended && stage.page.committed == last, "case {case}: {:?}", stage.notes);
        assert!(stage.notes.contains(&Note::Unsound(name, flaw)), "case {case}: {:?}", stage.notes);
    }
}
