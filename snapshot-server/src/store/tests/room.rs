//! What the store says that fits, does; and little more does.

use super::*;

/// Puts records and pages, as many as it says that fit, and then more until it is full: how many more that were.
fn fill(bench: &mut Bench, object: u64) -> (u32, u32) {
    let promised = bench.store.room().writes;
    bench.begin(0);
    let known = bench.store.root().newest().map_or(0, |newest| newest.records as u32);
    for index in 0..known + 64 {
        assert_eq!(bench.done(&PutError::Busy, |store| store.put_record(5, index, &[3; 372])), Ok(()));
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
    for blocks in [512, 1024, 2048] {
        for tenths in [0, 3, 6] {
            let mut bench = Bench::new(blocks, Config { checkpoints: 1, ..LAZY });
            let live = u64::from(bench.store.status().data_blocks) * tenths / 10;
            for at in (0..live).step_by(40) {
                bench.epoch((at..(at + 40).min(live)).map(|index| (index % 7, index)));
            }
            win_back(&mut bench);
            let (promised, more) = fill(&mut bench, 10);
            assert!((1..5).contains(&more), "{blocks} blocks, {tenths} tenths full: {promised}, then {more}");
        }
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
        assert!((promised..promised + promised / 4).contains(&pages), "{blocks} blocks: {promised}, {pages}");
        // What is kept back for two epochs, their records and folds is little.
        assert!(data - pages < 240 + data / 10, "{blocks} blocks: {pages} pages, {:?}", bench.store.status());
        let kept = (data / 64).clamp(8, 256);
        for round in 0..60 {
            win_back(&mut bench);
            let room = bench.store.room();
            assert!(room.writes >= kept, "{blocks} blocks, round {round}: {room:?}");
            bench.epoch((0..kept).map(|index| (1, u64::from((index * 37 + round) % pages))));
        }
    }
}
