//! A layer against the plainest model of it.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Act {
    Page(u64, u32),
    Zero(u64, u64),
    Absent(u64, u64),
    Clear(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0u64..60, 1u32..1000).prop_map(|(i, b)| Act::Page(i, b)),
        (0u64..60, 1u64..20).prop_map(|(i, n)| Act::Zero(i, n)),
        (0u64..60, 1u64..20).prop_map(|(i, n)| Act::Absent(i, n)),
        (1u32..4).prop_map(Act::Clear),
    ]
}

fn set(pool: &mut Pool<'_>, layer: &mut Layer, held: &Held) {
    match pool.swap(layer, held) {
        Swapped::Done(_) => return,
        Swapped::Room => assert_eq!(pool.cut_one(layer, held.key, held.count()), Ok(None)),
        Swapped::Overlap => {}
    }
    while pool.cut_one(layer, held.key, held.count()).expect("room").is_some() {}
    pool.put(layer, held).expect("room");
}

proptest! {
    #[test]
    fn a_layer_is_a_map_of_ranges(acts in prop::collection::vec(act(), 1..120)) {
        let (mut entries, mut cells) = (vec![Entry::default(); 256], vec![Cell::default(); 8]);
        let mut pool = Pool::new(&mut entries, &mut cells);
        let mut layer = Layer::EMPTY;
        let mut model: BTreeMap<u64, (u8, u32)> = BTreeMap::new();
        for act in acts {
            let key = |index| Key { object: 3, index };
            match act {
                Act::Page(i, b) => {
                    let value = Value::Page(Place { block: Block(b), incarnation: 1 }, Checksum(9));
                    set(&mut pool, &mut layer, &Held { key: key(i), value });
                    model.insert(i, (1, b));
                }
                Act::Zero(i, n) => {
                    set(&mut pool, &mut layer, &Held { key: key(i), value: Value::Zero(n) });
                    (i..i + n).for_each(|i| { model.insert(i, (2, 0)); });
                }
                Act::Absent(i, n) => {
                    set(&mut pool, &mut layer, &Held { key: key(i), value: Value::Absent(n) });
                    (i..i + n).for_each(|i| { model.insert(i, (3, 0)); });
                }
                Act::Clear(n) => {
                    let before = layer.len;
                    let empty = pool.clear_some(&mut layer, n);
                    prop_assert_eq!(layer.len, before.saturating_sub(n));
                    prop_assert_eq!(empty, layer.len == 0);
                    // What is left can still be searched; nothing is put into it.
                    let mut cursor = Key::default();
                    let mut left = 0;
                    while let Some(held) = pool.at_or_after(&layer, cursor) {
                        cursor = held.end();
                        left += 1;
                        prop_assert!((held.key.index..cursor.index).all(|i| model.contains_key(&i)));
                    }
                    prop_assert_eq!(left, layer.len);
                    while !pool.clear_some(&mut layer, 5) {}
                    model.clear();
                }
            }
            pool.check(&layer);
            pool.check_way(&layer);
            for i in 0..90 {
                let found = pool.find(&layer, key(i)).map(|held| match held.value {
                    Value::Page(place, _) => (1, place.block.0),
                    Value::Zero(_) => (2, 0),
                    Value::Absent(_) => (3, 0),
                    Value::Record { .. } => (4, 0),
                });
                prop_assert_eq!(found, model.get(&i).copied());
            }
            prop_assert_eq!(pool.entries_free + layer.len, 256);
        }
    }

    #[test]
    fn records_keep_their_bytes(lengths in prop::collection::vec(1usize..=RECORD_BYTES_MAX, 1..30)) {
        let (mut entries, mut cells) = (vec![Entry::default(); 40], vec![Cell::default(); 300]);
        let mut pool = Pool::new(&mut entries, &mut cells);
        let mut layer = Layer::EMPTY;
        for (i, length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|n| (n * 7 + i) as u8).collect();
            let key = Key::record(1, i as u32 % 5);
            while pool.cut_one(&mut layer, key, 1).expect("room").is_some() {}
            let value = pool.store_record(&bytes).expect("room");
            pool.put(&mut layer, &Held { key, value }).expect("room");
            let held = pool.find(&layer, key).expect("there");
            let mut out = [0; RECORD_BYTES_MAX];
            prop_assert_eq!(pool.item(&held, &mut out), Item::Record { key, bytes: &bytes });
        }
        pool.clear_some(&mut layer, 100);
        prop_assert_eq!((pool.entries_free, pool.cells_free), (40, 300));
    }
}

/// The last cell and the last entry can be used; what does not fit changes nothing.
#[test]
fn a_pool_can_be_used_up() {
    let (mut entries, mut cells) = (vec![Entry::default(); 1], vec![Cell::default(); 9]);
    let mut pool = Pool::new(&mut entries, &mut cells);
    let mut layer = Layer::EMPTY;
    assert_eq!(pool.store_record(&[1; RECORD_BYTES_MAX + 100]), Err(PoolFull));
    let value = pool.store_record(&[1; RECORD_BYTES_MAX]).expect("nine cells");
    assert_eq!((pool.cells_free, pool.store_record(&[1])), (0, Err(PoolFull)));
    pool.drop_value(value);
    assert_eq!(pool.cells_free, 9);
    let key = |index| Key { object: 3, index };
    let held = |index, value| Held { key: key(index), value };
    assert_eq!(pool.put(&mut layer, &held(10, Value::Zero(10))), Ok(()));
    assert_eq!(pool.put(&mut layer, &held(5, Value::Zero(1))), Err(PoolFull));
    // Its middle would leave two; its front leaves one, which takes its entry.
    assert_eq!(pool.cut_one(&mut layer, key(12), 2), Err(PoolFull));
    assert_eq!(pool.cut_one(&mut layer, key(10), 2), Ok(Some(held(10, Value::Zero(10)))));
    assert_eq!(pool.cut_one(&mut layer, key(18), 2), Ok(Some(held(12, Value::Zero(8)))));
    assert_eq!(pool.at_or_after(&layer, key(0)), Some(held(12, Value::Zero(6))));
    assert_eq!((layer.len, pool.entries_free), (1, 0));
}

/// A layer deeper than the way that is remembered: each key lies behind the one before and ranks a little lower.
#[test]
fn a_way_may_be_too_long() {
    const DEPTH: usize = 3 * 64;
    let key = |index| Key { object: 3, index };
    let mut rank = u64::MAX;
    let lower = |index: &u64| {
        let other = priority(key(*index));
        let takes = other < rank && rank - other < u64::MAX / DEPTH as u64;
        rank = if takes { other } else { rank };
        takes
    };
    let chain: Vec<u64> = (0..1 << 20).step_by(2).filter(lower).take(DEPTH).collect();
    assert_eq!(chain.len(), DEPTH);
    let (mut entries, mut cells) = (vec![Entry::default(); 2 * DEPTH], vec![Cell::default(); 1]);
    let mut pool = Pool::new(&mut entries, &mut cells);
    let mut layer = Layer::EMPTY;
    let held = |index, block| Held {
        key: key(index),
        value: Value::Page(Place { block: Block(block), incarnation: 1 }, Checksum(9)),
    };
    // Neighbours of the last first: they rank anywhere.
    for index in chain.iter().rev().map(|index| index + 1).chain(chain.iter().copied()) {
        set(&mut pool, &mut layer, &held(index, 1));
        pool.check_way(&layer);
    }
    assert_eq!(pool.check(&layer), 2 * DEPTH as u32);
    for (turn, index) in chain.iter().chain(chain.iter().rev()).enumerate() {
        let turn = turn as u32;
        assert!(matches!(pool.swap(&layer, &held(*index, turn + 2)), Swapped::Done(_)));
        assert_eq!(pool.find(&layer, key(*index)), Some(held(*index, turn + 2)));
        pool.check_way(&layer);
    }
}

/// Searches that go on where the last one ended do so in each of two layers by itself.
#[test]
fn two_layers_are_searched_in_turn() {
    let (mut entries, mut cells) = (vec![Entry::default(); 200], vec![Cell::default(); 1]);
    let mut pool = Pool::new(&mut entries, &mut cells);
    let mut layers = [Layer::EMPTY, Layer::EMPTY];
    let held = |index, count| Held { key: Key { object: 3, index }, value: Value::Zero(count) };
    for index in 0..80 {
        for (which, layer) in layers.iter_mut().enumerate() {
            set(&mut pool, layer, &held(index, 1 + which as u64));
            pool.check_way(layer);
        }
    }
    for (which, layer) in layers.iter().enumerate() {
        assert_eq!(pool.check(layer), 80);
        let (first, last) = (held(0, 1), held(79, 1 + which as u64));
        assert_eq!((pool.at_or_after(layer, first.key), pool.find(layer, last.key)), (Some(first), Some(last)));
    }
}
