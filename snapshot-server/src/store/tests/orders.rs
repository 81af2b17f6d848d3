//! What the store refuses, and what it does instead of refusing.

use super::*;
use crate::{IncarnationError, RetireError};

#[test]
fn epochs_come_in_order_and_one_at_a_time() {
    let mut bench = Bench::of(Store::format(memory(1024), Calm::of(1024, CALLERS), LAZY, OPTIONS));
    let first = Epoch::first_of(1).expect("an epoch");
    let store = &mut bench.store;
    assert_eq!(store.begin(first, 0), Err(SealError::Order), "no incarnation");
    assert_eq!(store.retire_before(first), Err(RetireError::Order), "no incarnation");
    assert_eq!(store.new_incarnation(), Ok(1));
    assert_eq!(store.new_incarnation(), Err(IncarnationError::Order), "on its way");
    assert_eq!(store.begin(first, 0), Err(SealError::Order), "not durable");
    bench.rest();
    let store = &mut bench.store;
    assert_eq!(store.new_incarnation(), Err(IncarnationError::Order), "begun");
    assert_eq!(store.seal(0), Err(SealError::Order), "none gathers");
    assert_eq!(store.put_zero(1, 1, 1), Err(PutError::NotGathering));
    assert_eq!(store.begin(Epoch::NONE, 0), Err(SealError::Epoch));
    assert_eq!(store.begin(Epoch::first_of(2).expect("an epoch"), 0), Err(SealError::Epoch), "another incarnation");
    let [second, third] = [1, 2].map(|more| Epoch::from_bits(first.bits() + more));
    assert_eq!(store.begin(second, 0), Ok(()));
    assert_eq!(store.begin(third, 0), Err(SealError::Order), "one gathers");
    assert_eq!(store.put_zero(1, 1, 1), Ok(()));
    assert_eq!(store.seal(0), Ok(()));
    // It is not durable yet, and it was begun: neither it nor an older one again.
    assert_eq!(store.head(), Epoch::NONE);
    assert_eq!(store.begin(second, 0), Err(SealError::Epoch));
    assert_eq!(store.begin(first, 0), Err(SealError::Epoch));
    bench.rest();
    let store = &mut bench.store;
    assert_eq!((store.head(), store.begin(second, 0)), (second, Err(SealError::Epoch)));
    assert_eq!(store.begin(third, 0), Ok(()));
}

#[test]
fn keys_and_lengths_that_cannot_be_are_refused() {
    let mut bench = Bench::new(1024, LAZY);
    bench.begin(0);
    let (page, store) = (PageRef(OWN_PAGES), &mut bench.store);
    assert_eq!(store.put_page(1 << 63, 0, page), Err(PutError::Invalid));
    assert_eq!(store.put_page(1, u64::MAX, page), Err(PutError::Invalid));
    assert_eq!(store.put_zero(1, 0, 0), Err(PutError::Invalid));
    assert_eq!(store.put_zero(1, 5, u64::MAX), Err(PutError::Invalid));
    assert_eq!(store.drop_pages(1 << 63, 0, 1), Err(PutError::Invalid));
    assert_eq!(store.put_record(1, 1, &[]), Err(PutError::Invalid));
    assert_eq!(store.put_record(1, 1, &[0; 1025]), Err(PutError::Invalid));
    assert_eq!(store.put_record(1, 1, &[0; 1024]), Ok(()));
    assert_eq!(store.status().entries_used, 1);
}

/// Checkpoints that are given up are gone, the newest never; what they alone needed is free.
#[test]
fn checkpoints_are_given_up_when_asked() {
    let mut bench = Bench::new(1024, LAZY);
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(bench.epoch((0..20).map(|index| (1, index))));
        bench.store.want_checkpoint();
        bench.rest();
    }
    let kept = |bench: &Bench| bench.store.root().checkpoints().iter().map(|kept| kept.epoch).collect::<Vec<_>>();
    assert_eq!(kept(&bench), made);
    assert_eq!(bench.store.retire_before(made[0]), Err(RetireError::Nothing));
    let free = bench.store.status().free_blocks;
    assert_eq!(bench.store.retire_before(made[2]), Ok(()));
    assert_eq!(bench.store.retire_before(made[2]), Err(RetireError::Busy), "on its way");
    bench.rest();
    assert_eq!((bench.events.last(), kept(&bench)), (Some(&Event::Retired), made[2..].to_vec()));
    // Twice twenty pages, and of each the map and the table.
    let freed = bench.store.status().free_blocks - free;
    assert!((40..60).contains(&freed), "{freed}");
    assert_eq!(bench.store.retire_before(Epoch::from_bits(u64::MAX)), Ok(()));
    bench.rest();
    assert_eq!(kept(&bench), made[3..]);
    assert_eq!(bench.store.retire_before(Epoch::from_bits(u64::MAX)), Err(RetireError::Nothing));
    let (mut opened, _) = bench.reopened(LAZY);
    assert_eq!(opened.store.status().free_blocks, bench.store.status().free_blocks);
    for index in 0..20 {
        opened.check(1, index, 60 + index + 1);
    }
}
