//! What epochs, openings and the store's numbers say.

use super::*;

#[test]
fn an_epoch_says_what_was_put_into_it() {
    let mut bench = Bench::new(1024, LAZY);
    for (round, pages) in [1u32, 8, 9, 40, 3].into_iter().enumerate() {
        let (before, log) = (bench.store.status(), bench.store.log);
        let sequence = bench.store.root().sequence;
        let count = bench.store.host.count;
        let started = 1_000 * (round as u64 + 1);
        let epoch = bench.begin(started);
        for index in 0..pages {
            assert_eq!(bench.put(1, index.into()), Ok(()));
        }
        for index in 0..5 {
            assert_eq!(bench.store.put_record(3, index, &[1; 200]), Ok(()));
        }
        assert_eq!(bench.store.put_zero(2, 0, 7), Ok(()));
        assert_eq!(bench.store.remove_record(3, 4), Ok(()));
        bench.seal(started + 77);
        bench.rest();
        let heads = bench.log_from(log);
        let (commit, others) = heads.split_last().expect("a descriptor");
        let barrier = pages > LAZY.verify_pages;
        assert_eq!((commit.epoch, commit.flags.commit, commit.flags.barrier), (epoch, true, barrier), "{pages}");
        assert_eq!((commit.pages, commit.records), (pages, 6));
        assert_eq!((commit.time_ns, commit.gathered_ns), (started + 77, 77));
        let plain = |head: &DescriptorHead| head.epoch == epoch && head.flags == Default::default();
        assert!(others.iter().all(plain), "{others:?}");
        // Recent epochs: one beside the newest.
        let floor = heads.last().map(|head| head.floor);
        assert!(floor.is_some_and(|floor| floor < epoch && (round == 0 || floor > Epoch::NONE)), "{floor:?}");
        let status = bench.store.status();
        assert_eq!(status.head, epoch);
        assert_eq!(status.pages_written - before.pages_written, u64::from(pages));
        assert_eq!(status.descriptors - before.descriptors, heads.len() as u32);
        let asked = bench.store.host.count;
        assert_eq!(status.blocks_written - before.blocks_written, asked.written - count.written);
        // And a root, in two copies, where the log came into another segment.
        let reached = u64::from(bench.store.root().sequence != sequence);
        assert_eq!(asked.written - count.written, u64::from(pages) + heads.len() as u64 + 2 * reached);
        assert!(asked.flushes - count.flushes <= 1 + u64::from(barrier) + reached, "{pages}");
        // Pages, records, the removed one among them, and the extent.
        let entries = pages.max(bench.store.status().entries_used - 6) + 6;
        assert_eq!(status.entries_used, entries);
    }
    let used = bench.store.status();
    let blocks = bench.store.space.table_bytes(0).iter().filter(|byte| **byte == 0).count();
    assert_eq!(used.free_blocks, blocks as u32);
}

#[test]
fn what_an_epoch_replaces_waits_for_the_epochs_that_can_still_be_booted() {
    let mut bench = Bench::new(1024, LAZY);
    bench.epoch((0..5).map(|index| (1, index)));
    bench.epoch([(1, 7)]);
    assert_eq!(bench.store.status().deferred_blocks, 0);
    let free = bench.store.status().free_blocks;
    bench.epoch((0..4).map(|index| (1, index)));
    assert_eq!(bench.store.status().deferred_blocks, 4);
    // Four pages and a descriptor; what they replace is not free yet.
    assert_eq!(bench.store.status().free_blocks, free - 5);
    bench.epoch([(1, 8)]);
    bench.epoch([(1, 9)]);
    assert_eq!(bench.store.status().deferred_blocks, 0);
    assert_eq!(bench.store.status().free_blocks, free - 5 - 2 - 2 + 4);
}

#[test]
fn restores_that_commit_nothing_are_counted() {
    let mut bench = Bench::new(1024, LAZY);
    bench.epoch([(1, 1)]);
    for (restores, commits) in [(0, false), (1, false), (2, false), (3, true), (0, false), (1, true), (0, true)] {
        let (opened, report) = bench.reopened(LAZY);
        assert_eq!(report.restores, restores);
        bench = opened;
        bench.incarnate();
        if commits {
            bench.epoch([(1, 2)]);
        }
    }
}

/// With checkpoints and without, at every length of the log: the opening says what it has read.
#[test]
fn an_opening_says_what_it_has_read() {
    for descriptors in 1..40 {
        let mut bench = Bench::new(1024, Config { interval_descriptors: 7, ..LAZY });
        for number in 0..descriptors {
            bench.epoch((0..1 + number % 3).map(|index| (number, index)));
        }
        let root = *bench.store.root();
        let log = bench.log_from(root.log).len() as u32;
        let proven = bench.store.vouched() == bench.store.head();
        let newest = bench.log_from(root.log).last().filter(|_| !proven).map_or(0, |head| head.pages);
        let (opened, report) = bench.reopened(LAZY);
        assert_eq!((report.epoch, report.descriptors), (bench.store.head(), log));
        assert_eq!(report.met(Case::NoCheckpoint), root.newest().is_none());
        assert_eq!(report.met(Case::LogEmpty), log == 0);
        assert_eq!(report.time_ns, 20);
        // A header, two copies of each root, the log with the block behind it, two segments in case the log goes on there,
        // and the pages of the one epoch that neither a root nor the log proves durable.
        let behind = 2 * OPTIONS.segment_blocks;
        // Index, table, root of the map.
        let checkpoint = if root.newest().is_some() { 3 } else { 0 };
        let expected = 1 + 2 * OPTIONS.root_slots + checkpoint + log + 1 + behind + newest;
        assert_eq!(report.blocks_read, u64::from(expected), "{descriptors}: {report:?}");
        // Behind each descriptor three blocks are guessed.
        let read = opened.store.host.count.read;
        assert!(read <= report.blocks_read + 3 * u64::from(log + 1), "{descriptors}: {read}, {report:?}");
    }
}
