//! What the store says that fits, does; and little more does.

use super::*;
use crate::Room;

/// Puts records and pages, as many as it says that fit, and then more until it is full: how many more that were.
fn fill(bench: &mut Bench, object: u64) -> (u32, u32) {
    let Room { writes: promised, records, .. } = bench.store.room();
    bench.begin(0);
    let known = bench.store.root().newest().map_or(0, |newest| newest.records as u32);
    for index in 0..known + records / 32 {
        assert_eq!(bench.done(&PutError::Busy, |store| store.put_record(5, index, &[3; 8])), Ok(()));
    }
    for index in 0..promised {
        assert_eq!(bench.put(object, u64::from(index) * 3), Ok(()), "{index} of {promised}");
    }
    let mut more = 0;
    while bench.put(object + 1, more.into()) != Err(PutError::Full) {
        more += 1;
    }
    bench.seal(0);
    bench.rest();
    (promised, more)
}

#[test]
fn what_is_said_to_fit_fits_and_little_more_does() {
    for (blocks, tenths) in [(512, 0), (512, 3), (512, 6), (1024, 3), (2048, 0), (2048, 6), (8192, 0), (8192, 3)] {
        let mut bench = Bench::new(blocks, Config { checkpoints: 1, ..LAZY });
        let live = u64::from(bench.store.status().data_blocks) * tenths / 10;
        for at in (0..live).step_by(40) {
            bench.epoch((at..(at + 40).min(live)).map(|index| (index % 7, index)));
        }
        win_back(&mut bench);
        let (promised, more) = fill(&mut bench, 10);
        // A little more where descriptors are full, or entries suffice.
        assert!((1..40).contains(&more), "{blocks} blocks, {tenths} tenths full: {promised}, then {more}");
        bench.store.want_checkpoint();
        bench.rest();
        assert_eq!(bench.store.status().entries_used, 0, "what was kept back suffices");
    }
}

fn win_back(bench: &mut Bench) {
    while bench.store.win_back() {
        bench.rest();
    }
    assert_eq!(bench.store.status().entries_used, 0);
}

/// A store grows by what it says, and can then still write two epochs of what it has, again and again.
#[test]
fn a_store_grows_by_what_it_says_and_can_still_be_written() {
    for blocks in [512, 1024, 4096] {
        let mut bench = Bench::new(blocks, Config { checkpoints: 1, ..LAZY });
        let data = bench.store.status().data_blocks;
        let promised = bench.store.room().growth;
        let mut pages = 0;
        loop {
            win_back(&mut bench);
            let room = bench.store.room();
            let count = room.growth.min(room.writes).min(100);
            if count == 0 {
                break;
            }
            bench.epoch((pages..pages + count).map(|index| (1, index.into())));
            pages += count;
        }
        assert!((promised * 9 / 10..promised + promised / 4).contains(&pages), "{blocks} blocks: {promised}, {pages}");
        // What is kept back for two epochs, their records and folds is little.
        assert!(data - pages < 270 + data / 10, "{blocks} blocks: {pages} pages, {:?}", bench.store.status());
        let kept = (data / 64).clamp(8, 256);
        for round in 0..60 {
            win_back(&mut bench);
            let room = bench.store.room();
            assert!(room.writes >= kept, "{blocks} blocks, round {round}: {room:?}");
            bench.epoch((0..kept).map(|index| (1, u64::from((index * 37 + round) % pages))));
        }
    }
}

/// Removes records, one in each epoch, until one can be put again: how many then can.
fn freed(bench: &mut Bench) -> u32 {
    for record in 0..60 {
        bench.begin(0);
        assert_eq!(bench.done(&PutError::Busy, |store| store.remove_record(5, record)), Ok(()));
        bench.seal(0);
        win_back(bench);
    }
    bench.begin(0);
    let mut records = 0;
    while bench.done(&PutError::Busy, |store| store.put_record(5, records, &[9; 1024])).is_ok() {
        records += 1;
    }
    bench.seal(0);
    records
}

/// Records until there is no room for one more: folding them fits into what was kept back.
#[test]
fn records_fill_a_store_and_can_be_folded() {
    for blocks in (120..600).step_by(40) {
        let mut bench = Bench::new(blocks, LAZY);
        for round in 0..3 {
            bench.begin(0);
            let mut records = 0;
            while bench.done(&PutError::Busy, |store| store.put_record(5, records, &[round; 1024])).is_ok() {
                records += 1;
            }
            if records == 0 {
                // Nothing can be put any more, but what is there can go, bit by bit.
                bench.seal(0);
                records = freed(&mut bench);
                bench.begin(0);
            }
            assert!(records > 0, "{blocks} blocks, round {round}: {records}");
            bench.seal(0);
            bench.rest();
            bench.store.want_checkpoint();
            bench.rest();
            assert!(bench.checkpoints() > usize::from(round), "{blocks} blocks");
        }
    }
}

/// One page in each leaf of the map is written until nothing fits: every leaf is written anew, twice.
#[test]
fn pages_far_apart_fill_a_store_and_can_be_folded() {
    for blocks in (1000..4000).step_by(500) {
        let mut bench = Bench::new(blocks, Config { checkpoints: 1, ..LAZY });
        let mut pages = 0u64;
        while bench.store.room().growth > 100 {
            bench.epoch((pages..pages + 50).map(|page| (1, page)));
            pages += 50;
            win_back(&mut bench);
        }
        for stride in [97, 53, 7, 1] {
            bench.begin(0);
            let mut at = 0;
            while bench.put(1, at % pages).is_ok() {
                at += stride;
            }
            bench.seal(0);
            bench.rest();
            win_back(&mut bench);
        }
        let (opened, report) = bench.reopened(LAZY);
        assert_eq!((report.epoch, report.met(Case::RootOlder)), (bench.store.head(), false));
        assert_eq!(opened.store.status().free_blocks, bench.store.status().free_blocks);
    }
}

/// What waits for recent epochs does not keep a full store from saying that it is full.
#[test]
fn a_full_store_says_so_though_something_will_be_free() {
    let mut bench = Bench::new(512, LAZY);
    bench.epoch((0..20).map(|index| (1, index)));
    bench.epoch((0..20).map(|index| (1, index)));
    assert_eq!(bench.store.status().deferred_blocks, 20);
    let (promised, more) = fill(&mut bench, 2);
    assert!(promised > 100 && more < 5, "{promised}, then {more}");
}

/// Until it is folded, new pages take what they will take then, and the log what it takes.
#[test]
fn the_log_is_part_of_what_is_held() {
    for epochs in [1, 10, 30, 60] {
        let mut bench = Bench::new(2048, LAZY);
        for number in 0..epochs {
            bench.epoch((0..12).map(|index| (number, index)));
        }
        let (before, log) = (bench.store.room().growth, bench.store.status().descriptors);
        win_back(&mut bench);
        let after = bench.store.room().growth;
        // What the map was expected to become comes to a few blocks more or less.
        assert!(
            (before..=before + 2 * log + 12).contains(&(after + 12)),
            "{epochs} epochs, {log} descriptors: {before}, {after}"
        );
    }
}

#[test]
fn nothing_is_won_back_while_an_epoch_gathers() {
    let mut bench = Bench::new(1024, LAZY);
    bench.epoch([(1, 1)]);
    bench.begin(0);
    assert!(!bench.store.win_back());
    bench.rest();
    assert_eq!((bench.checkpoints(), bench.put(1, 2)), (0, Ok(())));
    bench.seal(0);
    bench.rest();
    assert!(bench.store.win_back() && !bench.store.win_back(), "once is enough");
    bench.rest();
    assert_eq!(bench.checkpoints(), 1);
}

/// Who is short of space while a fold goes on, or while an epoch is on its way, waits for it: that is not full.
#[test]
fn what_will_be_free_is_waited_for() {
    for folds in [true, false] {
        let config = Config { recent_epochs: 0, ..LAZY };
        let mut bench = Bench::new(512, config);
        for at in 0..10 {
            bench.epoch((0..20).map(|index| (1, at * 20 + index)));
        }
        if folds {
            bench.store.want_checkpoint();
            bench.rest();
        }
        let epoch = bench.begin(0);
        for index in 0..20 {
            assert_eq!(bench.put(1, index), Ok(()));
        }
        bench.store.host.still = true;
        if folds {
            bench.store.want_checkpoint();
        }
        assert_eq!(bench.store.seal(0), Ok(()));
        bench.store.end_interval_if_due();
        assert_eq!(bench.store.is_folding(), folds);
        assert_eq!(bench.store.begin(bench.next, 0), Ok(()));
        let mut put = Ok(());
        for (index, page) in (0..).zip(bench.free.clone()) {
            put = bench.store.put_page(2, index, page);
            if put.is_err() {
                break;
            }
        }
        assert_eq!((put, bench.store.head() < epoch), (Err(PutError::Busy), true));
        assert!(bench.store.buffers.free() >= 2 && bench.store.queue.room() >= 4, "it is space that is short");
    }
}
