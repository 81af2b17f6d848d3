//! Everything that a store holds, listed from any key on, over what gathers, what is being folded and the map.

use std::collections::BTreeMap;

use super::*;
use crate::ItemStep;
use format::{Key, RECORD_BYTES_MAX};

/// Contents of a key: a page, zeroes, or a record of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Page,
    Zero,
    Record(usize),
}

/// What is listed from a key on, extent by extent taken apart.
fn listed(bench: &mut Bench, from: Key) -> BTreeMap<Key, Held> {
    let (mut from, mut all, mut out) = (from, BTreeMap::new(), [0; RECORD_BYTES_MAX]);
    loop {
        let (key, count, held) = match bench.store.next_item(from, &mut out) {
            ItemStep::Pending => {
                if let Some(Event::PageWritten(page)) = bench.store.poll() {
                    bench.free.push(page);
                }
                continue;
            }
            ItemStep::End => return all,
            ItemStep::Page(key) => (key, 1, Held::Page),
            ItemStep::Zero(key, count) => (key, count, Held::Zero),
            ItemStep::Record(key, length) => (key, 1, Held::Record(length)),
            ItemStep::Failed(block) => panic!("{block}"),
        };
        assert!(key >= from && count > 0, "{key:?} {count} behind {from:?}");
        for index in key.index..key.index + count {
            assert_eq!(all.insert(Key { index, ..key }, held), None);
        }
        from = Key { index: key.index + count, ..key };
    }
}

#[test]
fn what_is_listed_is_what_was_put() {
    for seed in 1..9u64 {
        let mut bench = Bench::new(2048, LAZY);
        let (mut model, mut state) = (BTreeMap::<Key, Held>::new(), seed);
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..30 {
            bench.begin(0);
            for _ in 0..12 {
                let key = Key { object: random(3), index: random(60) };
                let count = 1 + random(20);
                let extent = (key.index..key.index + count).map(|index| Key { index, ..key });
                let busy = &PutError::Busy;
                match random(5) {
                    0 | 1 => {
                        assert_eq!(bench.put(key.object, key.index), Ok(()));
                        model.insert(key, Held::Page);
                    }
                    2 => {
                        assert_eq!(bench.done(busy, |store| store.put_zero(key.object, key.index, count)), Ok(()));
                        model.extend(extent.map(|key| (key, Held::Zero)));
                    }
                    3 => {
                        assert_eq!(bench.done(busy, |store| store.drop_pages(key.object, key.index, count)), Ok(()));
                        model.retain(|held, _| {
                            held.object != key.object || !(key.index..key.index + count).contains(&held.index)
                        });
                    }
                    _ => {
                        let (table, index, length) = (random(3) as u16, random(9) as u32, 1 + random(300) as usize);
                        assert_eq!(
                            bench.done(busy, |store| store.put_record(table, index, &[7; 300][..length])),
                            Ok(())
                        );
                        model.insert(Key::record(table, index), Held::Record(length));
                    }
                }
            }
            bench.seal(0);
            if round % 5 == 2 {
                bench.rest();
                bench.store.want_checkpoint();
                // Half of them are listed while the fold is under way.
                bench.store.end_interval_if_due();
                bench.store.host.still = round % 2 == 0;
                bench.store.poll();
                bench.store.host.still = false;
            }
            for _ in 0..3 {
                let from = Key { object: random(4), index: random(90) };
                let expected: BTreeMap<Key, Held> = model.range(from..).map(|(key, held)| (*key, *held)).collect();
                assert_eq!(listed(&mut bench, from), expected, "seed {seed}, round {round}, from {from:?}");
            }
            assert_eq!(listed(&mut bench, Key::default()), model, "seed {seed}, round {round}");
        }
        bench.rest();
        let (mut opened, _) = bench.reopened(LAZY);
        assert_eq!(listed(&mut opened, Key::default()), model, "seed {seed}");
    }
}
