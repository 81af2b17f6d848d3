//! Folds of what fills leaves worst: never more nodes than was foreseen, never a block too few.

use super::*;

/// A store in which only what is put behind decides when it folds, filled with every second page of an object.
fn of_every_second_page(blocks: usize, pages: u64) -> Bench {
    let mut bench = Bench::new(blocks, Config { checkpoints: 1, ..LAZY });
    for at in (0..pages).step_by(50) {
        bench.epoch((at..(at + 50).min(pages)).map(|page| (1, 2 * page)));
    }
    fold(&mut bench);
    bench
}

fn fold(bench: &mut Bench) {
    bench.store.want_checkpoint();
    bench.rest();
    while bench.store.win_back() {
        bench.rest();
    }
    assert_eq!(bench.store.status().entries_used, 0);
}

/// One page into each leaf of the map, all of them full, on a disk with hardly a block more than that takes: each leaf
/// becomes two.
#[test]
fn a_page_more_in_every_leaf_splits_them_all() {
    for left in [240, 270, 300, 330] {
        let mut bench = of_every_second_page(8192, 7000);
        let mut pages = 7000;
        while bench.store.status().free_blocks > left + 20 {
            bench.epoch((pages..pages + 20).map(|page| (1, 2 * page)));
            pages += 20;
            fold(&mut bench);
        }
        bench.begin(0);
        let mut at = 1;
        while bench.put(1, (at % (2 * pages)) | 1).is_ok() {
            at += 202;
        }
        bench.seal(0);
        fold(&mut bench);
        let (opened, report) = bench.reopened(LAZY);
        assert_eq!((report.epoch, report.met(Case::RootOlder)), (bench.store.head(), false));
        assert_eq!(opened.store.root().newest(), bench.store.root().newest());
    }
}

/// Leaves that four large records fill to the last bytes, and a small one put into each: then three of these fill one.
#[test]
fn a_small_record_in_every_leaf_makes_large_ones_fill_a_third_more() {
    let put = |bench: &mut Bench, index: u32, length: usize| {
        let put = bench.done(&PutError::Busy, |store| store.put_record(2, index, &[5; 1024][..length]));
        assert_eq!(put, Ok(()));
    };
    let mut bench = Bench::new(2048, Config { checkpoints: 1, ..LAZY });
    for leaf in 0..60 {
        bench.begin(0);
        for (at, length) in (0..).zip([1024, 1024, 1024, 880]) {
            put(&mut bench, 10 * leaf + at, length);
        }
        bench.seal(0);
        if leaf % 20 == 19 {
            fold(&mut bench);
        }
    }
    let before = bench.store.root().newest().expect("folded").record_nodes;
    assert_eq!(before, 60, "each is full");
    bench.begin(0);
    for leaf in 0..60 {
        put(&mut bench, 10 * leaf + 7, 8);
    }
    bench.seal(0);
    fold(&mut bench);
    let after = bench.store.root().newest().expect("folded").record_nodes;
    assert!((73..=82).contains(&after), "{before}, then {after}");
}

/// A leaf that loses most of its pages takes in the next, and it ends there: not all the leaves behind are written anew.
#[test]
fn a_starved_leaf_leaves_those_behind_its_neighbour_alone() {
    for pages in 60..100 {
        let mut bench = of_every_second_page(8192, 5000);
        let nodes = bench.store.root().newest().expect("folded").map_nodes;
        let before = bench.store.status().blocks_written;
        bench.begin(0);
        let dropped = bench.done(&PutError::Busy, |store| store.drop_pages(1, 0, 2 * pages));
        assert_eq!(dropped, Ok(()));
        bench.seal(0);
        fold(&mut bench);
        let written = bench.store.status().blocks_written - before;
        assert!(nodes > 50 && written < 20, "{pages} pages: {written} blocks for {nodes} nodes");
        let newest = bench.store.root().newest().expect("folded");
        assert!(newest.map_nodes.abs_diff(nodes) <= 1, "{nodes}, then {newest:?}");
    }
}

/// Records that come, grow, shrink and go: the root says what they take, and in how many leaves.
#[test]
fn a_checkpoint_says_what_its_records_take() {
    let mut bench = Bench::new(2048, LAZY);
    let mut lengths = [0usize; 120];
    let mut seed = 7u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 33) % below
    };
    for round in 0..40 {
        bench.begin(0);
        for _ in 0..draw(60) {
            let index = draw(120) as usize;
            let length = [0, 1, 8, 700, 1000, 1023, 1024][draw(7) as usize];
            let put = bench.done(&PutError::Busy, |store| match length {
                0 => store.remove_record(9, index as u32),
                _ => store.put_record(9, index as u32, &[1; 1024][..length]),
            });
            assert_eq!(put, Ok(()));
            lengths[index] = length;
        }
        assert_eq!(bench.put(3, round), Ok(()));
        bench.seal(0);
        fold(&mut bench);
        let kept = lengths.iter().filter(|length| **length > 0);
        let bytes: usize = kept.clone().map(|length| 24 + length.next_multiple_of(8)).sum();
        let newest = *bench.store.root().newest().expect("folded");
        assert_eq!((newest.records, newest.record_bytes), (kept.count() as u64, bytes as u64));
        let leaves = bytes.div_ceil(format::NODE_BODY_BYTES) as u32;
        assert!((leaves..=2 * leaves + 2).contains(&newest.record_nodes), "{leaves} {newest:?}");
        assert_eq!(bench.reopened(LAZY).0.store.root().newest(), Some(&newest));
    }
}
