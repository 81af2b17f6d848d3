//! A disk so large that the index of its table of used blocks has two levels.

use super::*;
use crate::fold::index_blocks;
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
        let segment = u64::from(OPTIONS.segment_blocks);
        assert!(report.blocks_read >= 1 + roots + index + table as u64 + 2, "{report:?}");
        assert!(report.blocks_read <= 1 + roots + index + table as u64 + 2 + segment, "{report:?}");
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
        }
        assert_eq!((opened.checkpoints(), bench.checkpoints()), (2, 5));
        assert_eq!(opened.store.status().free_blocks, bench.store.status().free_blocks, "{blocks} blocks");
    }
}
