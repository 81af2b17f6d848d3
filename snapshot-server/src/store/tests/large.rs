//! A disk so large that the index of its table of used blocks has two levels.

use super::*;
use crate::CACHE_FRAMES_MIN;
use crate::calm::memory_with;
use crate::fold::index_blocks;
use crate::memory::WRITE_BUFFERS_MIN;
use crate::space::TABLE_BLOCK_BLOCKS;
use format::SPACE_POINTERS_MAX;

#[test]
fn a_table_with_an_index_of_two_levels_comes_back() {
    let leaf = SPACE_POINTERS_MAX * TABLE_BLOCK_BLOCKS as usize;
    // One index block; two, of which the last is nearly empty, full, and three.
    for (blocks, leaves) in [(5000, 1), (leaf, 1), (leaf + 1, 2), (2 * leaf, 2), (2 * leaf + 5000, 3)] {
        let table = blocks.div_ceil(TABLE_BLOCK_BLOCKS as usize);
        assert_eq!(index_blocks(table), (leaves, if leaves == 1 { 1 } else { leaves + 1 }));
        let mut bench = Bench::new(blocks, LAZY);
        for round in 0..3 {
            bench.epoch([(1, round), (2, 2 * round)]);
            let written = bench.store.status().blocks_written;
            bench.store.want_checkpoint();
            bench.rest();
            assert_eq!(bench.checkpoints(), round as usize + 1);
            // The first fold writes the whole table, later ones only what has changed: the index, a node twice, two
            // roots, and the few blocks of the table in which all this lies.
            let written = bench.store.status().blocks_written - written;
            let (_, index) = index_blocks(table);
            let most = if round == 0 { table } else { 4 } + index + 2 + 2;
            assert!(written <= most as u64, "{blocks} blocks, round {round}: {written}");
        }
        let (mut opened, report) = bench.reopened(LAZY);
        assert_eq!(report.epoch, bench.store.head());
        assert!(!report.met(Case::RootOlder) && report.met(Case::LogEmpty), "{report:?}");
        let index = index_blocks(table).1 as u64;
        let roots = u64::from(2 * OPTIONS.root_slots);
        let behind = 2 * u64::from(OPTIONS.segment_blocks);
        assert!(report.blocks_read >= 1 + roots + index + table as u64 + 2, "{report:?}");
        assert!(report.blocks_read <= 1 + roots + index + table as u64 + 2 + behind, "{report:?}");
        assert_eq!(opened.store.status().free_blocks, bench.store.status().free_blocks);
        for round in 0..3 {
            opened.check(1, round, 2 * round + 1);
            opened.check(2, 2 * round, 2 * round + 2);
        }
        // Who was opened anew and who went on do the same, and end with as much space.
        opened.incarnate();
        for bench in [&mut opened, &mut bench] {
            for _ in 0..2 {
                bench.epoch([(1, 0)]);
                bench.store.want_checkpoint();
                bench.rest();
            }
            // What older checkpoints needed is free then, and nothing is lost.
            assert_eq!(bench.store.retire_before(bench.next), Ok(()));
            bench.rest();
        }
        assert_eq!((opened.checkpoints(), bench.checkpoints()), (2, 5));
        assert_eq!(opened.store.status().free_blocks, bench.store.status().free_blocks, "{blocks} blocks");
    }
}

/// A leaf that has become nearly empty takes in the next one, though nothing has changed in that.
#[test]
fn leaves_that_are_nearly_empty_are_merged() {
    let mut bench = Bench::new(8192, LAZY);
    for at in 0..20 {
        bench.epoch((at * 200..at * 200 + 200).map(|page| (1, page)));
        bench.store.want_checkpoint();
        bench.rest();
    }
    let before = bench.store.root().newest().expect("a checkpoint").map_nodes;
    bench.begin(0);
    // Of every second stretch of a leaf's length.
    for at in 0..20 {
        assert_eq!(bench.done(&PutError::Busy, |store| store.drop_pages(1, at * 200, 98)), Ok(()));
    }
    bench.seal(0);
    bench.store.want_checkpoint();
    bench.rest();
    let after = *bench.store.root().newest().expect("a checkpoint");
    assert_eq!(after.pages, 20 * 102);
    assert!(after.map_nodes < before * 2 / 3, "{before}, then {after:?}");
    // One page more: its leaf and the root, each twice, table and index, two roots; no other leaf.
    bench.epoch([(1, 150)]);
    let written = bench.store.status().blocks_written;
    bench.store.want_checkpoint();
    bench.rest();
    let written = bench.store.status().blocks_written - written;
    assert!(written <= 2 * 2 + 2 + 1 + 2, "{written}");
}

/// A map of three levels, folded again and again with the fewest buffers that a store may have.
#[test]
fn a_deep_map_is_folded_with_the_fewest_buffers() {
    let blocks = 24_000;
    let memory = memory_with(blocks, CACHE_FRAMES_MIN + WRITE_BUFFERS_MIN);
    let config = Config { checkpoints: 2, interval_entries: 2000, ..LAZY };
    let mut bench = Bench::of(Store::format(memory, Calm::of(blocks, CALLERS), config, OPTIONS));
    bench.incarnate();
    let mut newest = std::collections::BTreeMap::new();
    for round in 0..60u64 {
        let pages = (0..200).map(|page| {
            // First all of them in order, then everywhere.
            let number = round * 200 + page;
            if round < 50 { number } else { number * 7919 % 10_000 }
        });
        let pages: Vec<u64> = pages.collect();
        let given = bench.given;
        newest.extend(pages.iter().enumerate().map(|(at, page)| (*page, given + at as u64 + 1)));
        bench.epoch(pages.into_iter().map(|page| (page / 5000, page)));
    }
    bench.store.want_checkpoint();
    bench.store.end_interval_if_due();
    let mut idle = 0;
    while bench.store.is_folding() {
        match bench.store.poll() {
            Some(event) => bench.events.push(event),
            None => idle += u32::from(!bench.store.has_more() && bench.store.host.done.is_empty()),
        }
    }
    assert_eq!(idle, 0, "a fold goes on until it is done");
    let checkpoint = *bench.store.root().newest().expect("a checkpoint");
    assert_eq!((checkpoint.map_level, checkpoint.pages), (2, 10_000));
    assert!(bench.checkpoints() > 5);
    let (mut opened, report) = bench.reopened(config);
    assert!(report.met(Case::LogEmpty) && !report.met(Case::RootOlder));
    for (page, given) in newest.iter().step_by(37) {
        opened.check(page / 5000, *page, *given);
    }
    // Everything is listed, in order, and nothing else.
    let (mut from, mut listed, mut out) = (format::Key::default(), Vec::new(), [0; format::RECORD_BYTES_MAX]);
    loop {
        match opened.store.next_item(from, &mut out) {
            crate::ItemStep::Pending => opened.rest(),
            crate::ItemStep::Page(key) => {
                listed.push((key.object, key.index));
                from = format::Key { index: key.index + 1, ..key };
            }
            crate::ItemStep::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(listed.iter().eq(newest.keys().map(|page| (page / 5000, *page)).collect::<Vec<_>>().iter()));
}
