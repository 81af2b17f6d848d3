//! Blocks that have rotted: what is read instead, what is said, and how often it is tried.

use super::*;
use crate::read::{Known, Lookup};
use crate::{Answer, ReadError};

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
