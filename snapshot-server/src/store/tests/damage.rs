//! Blocks that have rotted: what is read instead, what is said, and how often it is tried.

use super::*;
use crate::read::{Known, Lookup};
use crate::{Answer, Damage, ReadError};
use format::HeaderError;

/// A store of a checkpoint and an epoch behind it.
fn bench() -> Bench {
    let mut bench = Bench::new(1024, LAZY);
    bench.epoch((0..5).map(|index| (1, index)));
    bench.store.want_checkpoint();
    bench.rest();
    bench.epoch([(2, 0)]);
    bench
}

#[test]
fn the_second_of_two_copies_is_used_and_counted() {
    let mut bench = bench();
    let (opened, report) = bench.reopened(LAZY);
    assert!(!report.met(Case::HeaderSecond) && !report.met(Case::RootOneCopy) && !report.met(Case::RootOlder));
    assert_eq!(opened.store.status().second_copies, 0);
    let sequence = bench.store.root().sequence;
    let map = bench.store.root().newest().expect("a checkpoint").map;
    let root = bench.store.geometry().root(sequence);
    let headers = bench.store.geometry().headers();
    let cases = [
        (headers[0], Some(Case::HeaderSecond)),
        (headers[1], None),
        (root[0], Some(Case::RootOneCopy)),
        (root[1], Some(Case::RootOneCopy)),
        (map.block, None),
        (map.twin, None),
    ];
    for (block, case) in cases {
        let (mut opened, report) = bench.spoilt(LAZY, &[block]);
        let (one_copy, second) = (report.met(Case::RootOneCopy), report.met(Case::HeaderSecond));
        assert_eq!((report.epoch, report.met(Case::RootOlder)), (bench.store.head(), false), "{block}");
        assert_eq!(one_copy, case == Some(Case::RootOneCopy), "{block}");
        assert_eq!(second, case == Some(Case::HeaderSecond), "{block}");
        assert_eq!(opened.store.status().second_copies, u32::from(block == map.block), "{block}");
        for index in 0..5 {
            opened.check(1, index, index + 1);
        }
        opened.check(2, 0, 6);
        // Whoever goes on from there leaves nothing behind.
        opened.incarnate();
        let epoch = opened.epoch([(3, 0)]);
        opened.store.want_checkpoint();
        opened.rest();
        let (_, report) = opened.reopened(LAZY);
        assert_eq!((report.epoch, report.met(Case::LogEmpty)), (epoch, true), "{block}");
    }
}

fn refusal(host: Calm, epoch: Option<Epoch>) -> Option<Refusal> {
    let bench = Bench::of(Store::open(memory(host.blocks.len().max(100)), host, LAZY, epoch));
    match bench.events[..] {
        [Event::Refused(refusal)] => Some(refusal),
        [Event::Opened(_)] => None,
        _ => panic!("{:?}", bench.events),
    }
}

#[test]
fn what_cannot_be_opened_is_refused_with_a_reason() {
    let bench = bench();
    let head = bench.store.head();
    let checkpoint = bench.store.root().newest().expect("a checkpoint").epoch;
    let geometry = *bench.store.geometry();
    let with = |blocks: Vec<Block>| {
        let mut host = Calm { blocks: bench.store.host.blocks.clone(), ..Calm::of(0, CALLERS) };
        blocks.iter().for_each(|block| host.block_mut(block.index())[70] ^= 1);
        host
    };
    let roots: Vec<Block> = (0..u64::from(OPTIONS.root_slots)).flat_map(|sequence| geometry.root(sequence)).collect();
    assert_eq!(refusal(Calm::of(1024, CALLERS), None), Some(Refusal::Header(HeaderError::Blank)));
    assert_eq!(refusal(with(geometry.headers().to_vec()), None), Some(Refusal::Header(HeaderError::Damaged)));
    let gone = Refusal::Damaged { damage: Damage::Roots, offer: None };
    assert_eq!(refusal(with(roots), None), Some(gone));
    for (epoch, kept) in [(checkpoint, true), (head, true), (Epoch::from_bits(head.bits() + 1), false)] {
        let refused = (!kept).then_some(Refusal::NotKept(epoch));
        assert_eq!(refusal(with(Vec::new()), Some(epoch)), refused, "{epoch}");
    }
    let unreadable = Calm { worn: Some((Op::Read, 0)), ..with(Vec::new()) };
    assert!(refusal(unreadable, None).is_some());
}

/// Who goes back to an older epoch leaves behind what was newer: no opening takes it up again, however it lies.
#[test]
fn an_abandoned_future_stays_abandoned() {
    let mut bench = Bench::new(1024, Config { recent_epochs: 7, ..LAZY });
    let epochs: Vec<Epoch> = (0..6).map(|index| bench.epoch([(1, index)])).collect();
    for (position, epoch) in epochs.iter().enumerate().rev() {
        let host = Calm { blocks: bench.store.host.blocks.clone(), ..Calm::of(0, CALLERS) };
        let config = Config { recent_epochs: 7, ..LAZY };
        let mut back = Bench::of(Store::open(memory(1024), host, config, Some(*epoch)));
        let opened = back.events.iter().any(|event| matches!(event, Event::Opened(report) if report.epoch == *epoch));
        assert!(opened, "{epoch}: {:?}", back.events);
        back.given = bench.given;
        back.incarnate();
        // Before anything is written in its stead, and after.
        for more in [false, true] {
            let newest = if more { back.epoch([(2, 0)]) } else { *epoch };
            let (mut again, report) = back.reopened(config);
            assert_eq!(report.epoch, newest, "back to {epoch}: {report:?}");
            let abandoned = position + 1 < epochs.len() && !more;
            assert_eq!(report.met(Case::LogEndAbandoned), abandoned, "back to {epoch}: {report:?}");
            for index in 0..6 {
                let into = again.free[0];
                let absent = again.store.read_page(1, 1, index, into) == Ok(Answer::Now(crate::PageSource::Absent));
                again.rest();
                assert_eq!(absent, index as usize > position, "back to {epoch}, page {index}");
            }
        }
    }
}

#[test]
fn a_rotten_page_is_read_a_few_times_and_refused() {
    let mut bench = bench();
    bench.check(1, 3, 4);
    let key = format::Key { object: 1, index: 3 };
    let Lookup::Found(Known::Page(place, _)) = bench.store.map_find(key) else { panic!("it was read just now") };
    let (mut opened, _) = bench.spoilt(LAZY, &[place.block]);
    opened.check(1, 2, 3);
    let before = opened.store.host.count.read;
    let into = opened.free[0];
    assert_eq!(opened.store.read_page(5, 1, 3, into), Ok(Answer::Later));
    opened.rest();
    assert_eq!(opened.events.last(), Some(&Event::PageRead { token: 5, result: Err(ReadError::Wrong(place.block)) }));
    assert_eq!(opened.store.host.count.read - before, 5);
}

#[test]
fn what_was_never_sealed_is_said_to_be_unfinished() {
    let mut bench = bench();
    let head = bench.store.head();
    let begun = bench.begin(5);
    for index in 0..150 {
        assert_eq!(bench.put(3, index), Ok(()));
    }
    bench.rest();
    assert!(bench.store.log.sequence > bench.log_from(bench.store.root().log).len() as u64);
    let (mut opened, report) = bench.reopened(LAZY);
    assert!(report.met(Case::EpochUnfinished) && report.epoch == head && begun > head, "{report:?}");
    assert_eq!(report.dropped, None);
    // And what comes next is not mistaken for its end.
    opened.incarnate();
    let next = opened.epoch([(4, 4)]);
    let (mut again, report) = opened.reopened(LAZY);
    assert_eq!((report.epoch, report.met(Case::EpochUnfinished)), (next, false), "{report:?}");
    again.check(4, 4, opened.given);
}

#[test]
fn events_come_out_as_they_went_in() {
    let mut ring = EventRing::new();
    let (mut pushed, mut popped) = (0, 0);
    for round in 0..500u32 {
        for _ in 0..round % 9 {
            if ring.has_room(1) {
                ring.push(Event::IncarnationDurable(pushed));
                pushed += 1;
            }
        }
        assert!(ring.has_room(EventRing::MAX - (pushed - popped) as usize));
        assert!(!ring.has_room(EventRing::MAX - (pushed - popped) as usize + 1));
        for _ in 0..round % 7 {
            let expected = (popped < pushed).then_some(Event::IncarnationDurable(popped));
            assert_eq!(ring.pop(), expected);
            popped += u32::from(expected.is_some());
        }
    }
    assert!(pushed > 500 && popped > 400, "{pushed} {popped}");
}
