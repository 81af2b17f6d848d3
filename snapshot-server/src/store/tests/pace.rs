//! When the log is folded, and which checkpoints stay.

use super::*;
use crate::CACHE_FRAMES_MIN;
use crate::calm::memory_with;

#[test]
fn an_interval_ends_after_so_many_descriptors() {
    let mut bench = Bench::new(1024, Config { interval_descriptors: 5, ..LAZY });
    for number in 0..50 {
        // The last descriptor is its epoch's commit, so the next epoch's beginning ends the interval.
        assert_eq!(bench.checkpoints(), (number as usize).saturating_sub(1) / 5, "{number}");
        bench.epoch([(number, 0)]);
    }
}

#[test]
fn an_interval_ends_after_so_many_changes() {
    let mut bench = Bench::new(2048, Config { interval_entries: 12, ..LAZY });
    for number in 0..50 {
        assert_eq!(bench.checkpoints(), number as usize / 4, "{number}");
        bench.epoch((0..3).map(|index| (number, index)));
    }
}

#[test]
fn what_is_asked_for_is_folded_between_two_epochs() {
    let mut bench = Bench::new(1024, LAZY);
    bench.store.want_checkpoint();
    bench.rest();
    assert_eq!(bench.checkpoints(), 0, "there is nothing to be folded");
    bench.epoch([(1, 1)]);
    bench.begin(1);
    bench.store.want_checkpoint();
    bench.rest();
    assert_eq!(bench.checkpoints(), 0, "one gathers");
    assert_eq!(bench.put(1, 2), Ok(()));
    bench.seal(2);
    bench.rest();
    assert_eq!(bench.checkpoints(), 1);
    let newest = *bench.store.root().newest().expect("a checkpoint");
    assert_eq!((newest.epoch, newest.pages, newest.time_ns), (bench.store.head(), 2, 2));
}

/// Kept are the oldest, the newest, and between them fewer the older they are.
#[test]
fn checkpoints_grow_denser_towards_now() {
    let kept = 8;
    let mut bench = Bench::new(2048, Config { checkpoints: kept, ..LAZY });
    let (mut first, mut times) = (Epoch::NONE, Vec::new());
    for number in 1..300u64 {
        let epoch = bench.begin(number * 1000);
        assert_eq!(bench.put(1, number % 5), Ok(()));
        bench.seal(number * 1000);
        bench.store.want_checkpoint();
        bench.rest();
        if first == Epoch::NONE {
            first = epoch;
        }
        let root = bench.store.root();
        assert_eq!(root.newest().map(|newest| newest.epoch), Some(epoch));
        assert_eq!(root.checkpoints()[0].epoch, first);
        assert_eq!(root.checkpoints().len(), usize::from(kept).min(number as usize));
        times = root.checkpoints().iter().map(|checkpoint| checkpoint.time_ns / 1000).collect();
    }
    // Gaps are in proportion to their age.
    let newest = times[times.len() - 1];
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] <= 4 * (newest - pair[1]) + 3, "{times:?}");
    }
}

/// The largest of the recent epochs is remembered for a while.
#[test]
fn a_large_epoch_is_expected_again_for_a_while() {
    let mut bench = Bench::new(2048, LAZY);
    bench.epoch((0..100).map(|index| (1, index)));
    assert_eq!(bench.store.epoch_pages, 100);
    let mut expected = Vec::new();
    for _ in 0..12 {
        bench.epoch([(1, 1)]);
        expected.push(bench.store.epoch_pages);
    }
    assert!(expected.is_sorted_by(|before, after| after < before || *after <= 3), "{expected:?}");
    assert!((50..100).contains(&expected[1]) && expected[11] < 10, "{expected:?}");
}

/// On a store that is always nearly full, an epoch begins only when one a quarter larger than the last would fit, or
/// nothing more can be won back; and nearly always it begins at once, for folds come early enough.
#[test]
fn room_for_an_epoch_like_the_last_is_won_back_before_it_is_needed() {
    for size in [20u32, 60, 150] {
        let mut bench = Bench::new(2048, LAZY);
        let data = bench.store.status().data_blocks;
        let live = u64::from(data) * 7 / 10;
        let mut at = 0;
        let (mut begun, mut busy, mut folds) = (0, 0, 0);
        while begun < 200 {
            let likely = (bench.store.epoch_pages * 5 / 4).max(data / 64);
            let fits = bench.store.room().writes >= likely;
            let wins = bench.store.active.len > 0 || bench.store.is_folding();
            match bench.store.begin(bench.next, 0) {
                Ok(()) => {
                    assert!(bench.store.room().writes >= likely || !wins, "{size}");
                    // What a fold that begins later leaves to the epoch which gathers meanwhile.
                    let kept = data / 32 + bench.store.reserve() + 64 + 2 * bench.store.epoch_pages;
                    let late = !bench.store.is_folding() && bench.store.descriptors >= 8;
                    assert!(!late || bench.store.space.free() >= kept, "{size}: {:?}", bench.store.status());
                }
                Err(SealError::Busy) => {
                    // While an interval is folded its fold and the next are counted one by one.
                    assert!(!fits || bench.store.is_folding(), "{size}: room {:?} for {likely}", bench.store.room());
                    busy += 1;
                    bench.rest();
                    continue;
                }
                Err(error) => panic!("{error:?}"),
            }
            begun += 1;
            bench.next = bench.next.next().expect("not the last");
            for _ in 0..size {
                at = (at * 5 + 1) % live.next_power_of_two();
                assert_eq!(bench.put(1, at % live), Ok(()));
            }
            bench.seal(0);
            bench.rest();
            folds = bench.checkpoints();
        }
        let status = bench.store.status();
        let amplification = status.blocks_written as f64 / status.pages_written as f64;
        // Each of these epochs ends in another of these small segments: two copies of a root say so.
        let roots = 2.0 / f64::from(size);
        assert!(folds > 3 && amplification < 1.17 + roots, "{size}: {folds} folds, {status:?}");
        // The largest leave too little beside themselves.
        assert!(busy == 0 || size > 100, "{size}: {busy} of {begun} waited");
    }
}

/// On a store that is full but for a few pages small epochs do not each wait for a fold.
#[test]
fn a_brimful_store_takes_small_epochs_as_they_come() {
    let mut bench = Bench::new(2048, Config { checkpoints: 1, ..LAZY });
    let data = bench.store.status().data_blocks;
    let mut pages = 0;
    while bench.store.room().writes > data / 64 + 12 {
        let count = (bench.store.room().writes - data / 64 - 11).min(100);
        bench.epoch((pages..pages + count).map(|index| (1, index.into())));
        pages += count;
        while bench.store.win_back() {
            bench.rest();
        }
    }
    assert!(bench.store.room().writes >= data / 64, "{:?}", bench.store.room());
    // The large ones are forgotten.
    let mut waited = Vec::new();
    for round in 0..60 {
        let likely = (bench.store.epoch_pages + bench.store.epoch_pages / 4).max(data / 64);
        let (room, used) = (bench.store.room().writes, bench.store.status().entries_used);
        if bench.store.begin(bench.next, 0) == Err(SealError::Busy) {
            assert!((room < likely || bench.store.is_folding()) && used > 0, "{round}: {room} for {likely}");
            waited.push(round);
            bench.rest();
            assert_eq!(bench.store.begin(bench.next, 0), Ok(()));
        }
        bench.next = bench.next.next().expect("not the last");
        assert_eq!(bench.put(1, round % 3), Ok(()));
        bench.seal(0);
        bench.rest();
    }
    assert!((1..40).contains(&waited.len()), "{waited:?}");
}

/// While an epoch gathers each poll moves a fold by one step at most, so that who puts is not kept waiting.
#[test]
fn a_fold_is_done_in_small_steps_while_an_epoch_gathers() {
    for gathers in [true, false] {
        let mut bench = Bench::new(4096, LAZY);
        for at in 0..10 {
            bench.epoch((0..150).map(|index| (index, at)));
        }
        bench.store.want_checkpoint();
        bench.store.end_interval_if_due();
        if gathers {
            bench.begin(0);
        }
        let mut polls = 0;
        while bench.store.is_folding() {
            bench.store.poll();
            polls += 1;
        }
        // A step of a merge takes 64 entries at most, and many more pages go out than one poll hands back.
        assert_eq!(polls > 1500 / 64, gathers, "{polls} polls");
    }
}

/// Two large epochs under way: the second is not sealed before the block that commits the first is written.
#[test]
fn one_block_at_a_time_goes_out_late() {
    let mut bench = Bench::new(2048, LAZY);
    let pages = LAZY.verify_pages + 1;
    let first = bench.begin(0);
    for index in 0..pages {
        assert_eq!(bench.put(1, index.into()), Ok(()));
    }
    assert_eq!(bench.store.seal(0), Ok(()));
    bench.store.host.still = true;
    bench.store.poll();
    assert_eq!(bench.store.begin(bench.next, 0), Ok(()));
    for index in 0..pages {
        assert_eq!(bench.put(2, index.into()), Ok(()));
    }
    for _ in 0..5 {
        assert_eq!(bench.store.seal(0), Err(SealError::Busy));
        bench.store.poll();
    }
    assert_eq!(bench.store.head(), Epoch::NONE);
    bench.store.host.still = false;
    let second = bench.next;
    bench.seal(0);
    bench.rest();
    assert_eq!(bench.events[bench.events.len() - 2..], [Event::Committed(first), Event::Committed(second)]);
    let (_, report) = bench.reopened(LAZY);
    assert_eq!(report.epoch, second);
}

/// A fold that waits for the disk, or for buffers, does not keep anybody awake.
#[test]
fn who_waits_for_the_disk_rests() {
    for buffers in [24, 60, 150] {
        let memory = memory_with(8192, CACHE_FRAMES_MIN + buffers);
        let mut bench = Bench::of(Store::format(memory, Calm::of(8192, CALLERS), LAZY, OPTIONS));
        bench.incarnate();
        let mut rested = 0;
        for round in 0..3 {
            for at in 0..20 {
                bench.epoch((0..60).map(|page| (1, (page * 20 + at + round * 7) * 3)));
            }
            bench.store.want_checkpoint();
            bench.store.end_interval_if_due();
            while bench.store.is_folding() {
                bench.store.host.still = true;
                let polls = (0..2000).find(|_| bench.store.poll().is_none() && !bench.store.has_more());
                assert!(polls.is_some(), "{buffers} buffers, round {round}: {:?}", bench.store.fold.stage);
                rested += 1;
                bench.store.host.still = false;
                bench.store.poll();
            }
            bench.rest();
        }
        assert!(rested > 3 && bench.store.root().checkpoints().len() == 3, "{buffers} buffers: {rested}");
    }
}

#[test]
fn who_seals_waits_for_buffers() {
    for pages in [1, LAZY.verify_pages + 1] {
        let mut bench = Bench::new(1024, LAZY);
        let epoch = bench.begin(0);
        for index in 0..pages {
            assert_eq!(bench.put(1, index.into()), Ok(()));
        }
        bench.store.host.still = true;
        let taken: Vec<PageRef> = std::iter::from_fn(|| bench.store.buffers.take()).collect();
        assert_eq!(bench.store.seal(0), Err(SealError::Busy));
        taken.into_iter().for_each(|page| bench.store.buffers.give(page));
        bench.store.host.still = false;
        bench.seal(0);
        bench.rest();
        assert_eq!(bench.store.head(), epoch);
    }
}
