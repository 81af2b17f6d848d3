//! What items, nodes of the map and indices of the table must not say: each rule broken by itself, under a checksum that
//! fits. And what lies exactly at a bound is taken.

use abi::{Epoch, INCARNATION_MAX};
use format::*;
use zerocopy::FromBytes;

const WORLD: World = World(0x77);
const AT: Block = Block(33);

fn geometry() -> Geometry {
    Geometry::new(2048, 4, 16).expect("fits")
}

fn epoch() -> Epoch {
    Epoch::first_of(3).expect("fits")
}

const fn key(object: u64, index: u64) -> Key {
    Key { object, index }
}

fn page(key: Key, block: u32) -> Item<'static> {
    Item::Page { key, place: Place { block: Block(block), incarnation: 1 }, sum: Checksum(7) }
}

#[test]
fn keys_name_pages_or_records() {
    assert_eq!(Key::record(5, 6), key(1 << 63 | 5, 6));
    assert_eq!(Key::record(u16::MAX, u32::MAX).as_record(), Some((u16::MAX, u32::MAX)));
    assert_eq!(key(TABLE_BIT | 0x1_0000, 0).as_record(), None);
    assert_eq!(key(TABLE_BIT | 5, 1 << 32).as_record(), None);
    assert_eq!(key(5, 6).as_record(), None);
    assert_eq!(EXTENT_MAX, 1 << 52);
    let pages = [(TABLE_BIT - 1, EXTENT_MAX - 1), (TABLE_BIT, 0), (0, EXTENT_MAX), (0, 0)];
    assert_eq!(pages.map(|(object, index)| key(object, index).is_page()), [true, false, false, true]);
}

#[test]
fn items_keep_their_bounds() {
    let (first, last) = (key(1, 0), key(1, EXTENT_MAX - 1));
    let (record, record_last) = (Key::record(2, 3), Key::record(2, u32::MAX));
    let (no_page, nothing) = (key(1, EXTENT_MAX), key(TABLE_BIT | 0x1_0000, 0));
    let of = |incarnation| Item::Page { key: first, place: Place { block: Block(9), incarnation }, sum: Checksum(0) };
    let zero = |key, count| Item::Zero { key, count };
    let absent = |key, count| Item::Absent { key, count };
    let bytes = [1; RECORD_BYTES_MAX + 1];
    let written = |key, length: usize| Item::Record { key, bytes: &bytes[..length] };
    for sound in [
        of(1),
        of(INCARNATION_MAX),
        page(last, 1),
        zero(last, 1),
        zero(first, EXTENT_MAX),
        absent(last, 1),
        absent(first, EXTENT_MAX),
        absent(record_last, 1),
        absent(Key::record(2, 0), 1 << 32),
        written(record_last, 1),
        written(record, RECORD_BYTES_MAX),
    ] {
        assert_eq!(sound.check(), Ok(()), "{sound:?}");
    }
    for (wrong, error) in [
        (page(no_page, 1), ItemError::Key(no_page)),
        (page(record, 1), ItemError::Key(record)),
        (page(no_page, 0), ItemError::Key(no_page)),
        (page(first, 0), ItemError::Place(first)),
        (of(0), ItemError::Place(first)),
        (of(INCARNATION_MAX + 1), ItemError::Place(first)),
        (zero(record, 1), ItemError::Key(record)),
        (zero(first, 0), ItemError::Extent(first, 0)),
        (zero(last, 2), ItemError::Extent(last, 2)),
        (zero(last, u64::MAX), ItemError::Extent(last, u64::MAX)),
        (absent(nothing, 1), ItemError::Key(nothing)),
        (absent(no_page, 1), ItemError::Key(no_page)),
        (absent(first, EXTENT_MAX + 1), ItemError::Extent(first, EXTENT_MAX + 1)),
        (absent(record, 0), ItemError::Extent(record, 0)),
        (absent(record_last, 2), ItemError::Extent(record_last, 2)),
        (written(first, 8), ItemError::Key(first)),
        (written(record, 0), ItemError::RecordBytes(0)),
        (written(record, RECORD_BYTES_MAX + 1), ItemError::RecordBytes(1025)),
    ] {
        assert_eq!(wrong.check(), Err(error), "{wrong:?}");
    }
}

#[test]
fn items_are_as_long_as_they_say() {
    let record = |length: usize| Item::Record { key: Key::record(2, 3), bytes: &[0xff; 16][..length] };
    let extents = [Item::Zero { key: key(1, 2), count: 3 }, Item::Absent { key: key(1, 2), count: 4 }];
    let sizes = [(page(key(1, 2), 9), 40, 1), (extents[0], 32, 3), (extents[1], 32, 4)];
    let records = [(record(1), 32, 1), (record(8), 32, 1), (record(9), 40, 1)];
    for (item, stored, count) in sizes.into_iter().chain(records) {
        assert_eq!((item.stored_bytes(), item.count()), (stored, count), "{item:?}");
        let mut bytes = [0xee; 64];
        assert!(!item.write(&mut bytes[..stored - 1]) && bytes == [0xee; 64]);
        assert!(item.write(&mut bytes[..stored]) && bytes[stored..] == [0xee; 64][stored..]);
        assert_eq!(Item::parse(&bytes[..stored]), Ok(item));
        for short in 0..stored {
            assert_eq!(Item::parse(&bytes[..short]), Err(ItemError::Short), "{item:?} cut at {short}");
        }
        let mut iter = ItemIter::new(&bytes[..stored]);
        assert_eq!((iter.clone().check_all(), iter.rest().len()), (Ok(1), stored));
        assert_eq!((iter.next(), iter.rest().len(), iter.next()), (Some(item), 0, None));
        // Another one begins and is none.
        assert!(ItemIter::new(&bytes[..stored + 8]).check_all().is_err());
    }
}

#[test]
fn fields_that_a_kind_does_not_use_are_zero() {
    let parse = |item: Item<'_>, at: usize, value: u8| {
        let mut bytes = [0; 64];
        assert!(item.write(&mut bytes));
        bytes[at] = value;
        Item::parse(&bytes).map(|item| item.count())
    };
    let zero = Item::Zero { key: key(1, 2), count: 3 };
    let absent = Item::Absent { key: key(1, 2), count: 3 };
    let record = Item::Record { key: Key::record(2, 3), bytes: &[9; 9] };
    for at in 1..8 {
        assert_eq!(parse(zero, at, 1), Err(ItemError::Kind(2)), "byte {at}");
        assert_eq!(parse(absent, at, 1), Err(ItemError::Kind(3)), "byte {at}");
    }
    for at in 1..4 {
        assert_eq!(parse(record, at, 1), Err(ItemError::Kind(4)), "byte {at}");
    }
    for at in 33..40 {
        assert_eq!(parse(record, at, 1), Err(ItemError::Kind(4)), "padding at {at}");
    }
    assert_eq!(parse(record, 5, 4), Err(ItemError::RecordBytes(0x409)));
    let longest = Item::Record { key: Key::record(2, 3), bytes: &[9; RECORD_BYTES_MAX] };
    let mut bytes = [0; 24 + RECORD_BYTES_MAX];
    assert!(longest.write(&mut bytes));
    assert_eq!(Item::parse(&bytes), Ok(longest));
    for kind in [0, 5, 255] {
        assert_eq!(parse(zero, 0, kind), Err(ItemError::Kind(kind)));
    }
    // What it says is checked, too.
    assert_eq!(parse(zero, 24, 0), Err(ItemError::Extent(key(1, 2), 0)));
}

/// A node that `fill` has filled and `spoil` changed, parsed as `level` under a checksum that fits.
fn node(
    level: u8,
    fill: impl FnOnce(&mut NodeWriter, &mut BlockBytes),
    spoil: impl FnOnce(&mut RawNode, &mut [u8]),
) -> Result<u32, NodeError> {
    let mut bytes = [0xee; BLOCK_SIZE];
    let mut writer = NodeWriter::start(&mut bytes, level);
    fill(&mut writer, &mut bytes);
    let pointer = writer.seal(&mut bytes, WORLD, AT, epoch());
    assert_eq!((pointer.block, pointer.twin, pointer.epoch), (AT, Block::NONE, epoch()));
    let (raw, body) = RawNode::mut_from_prefix(&mut bytes).expect("fits");
    spoil(raw, body);
    let pointer = Pointer { sum: Seal::Node.checksum(WORLD, AT, epoch(), &bytes), ..pointer };
    Node::parse(WORLD, &geometry(), &pointer, level, &bytes).map(|node| {
        assert_eq!(node.level(), level);
        node.count()
    })
}

fn leaf(items: &[Item<'_>], spoil: impl FnOnce(&mut RawNode, &mut [u8])) -> Result<u32, NodeError> {
    node(0, |writer, bytes| items.iter().for_each(|item| assert!(writer.push_item(bytes, item))), spoil)
}

fn child(block: u32, twin: u32) -> Pointer {
    Pointer { block: Block(block), twin: Block(twin), epoch: epoch(), sum: Checksum(u128::from(block)) }
}

fn inner(children: &[(Key, Pointer)], spoil: impl FnOnce(&mut RawNode, &mut [u8])) -> Result<u32, NodeError> {
    let push = |writer: &mut NodeWriter, bytes: &mut BlockBytes| {
        children.iter().for_each(|(key, pointer)| assert!(writer.push_child(bytes, *key, pointer)));
    };
    node(1, push, spoil)
}

#[test]
fn a_node_says_nothing_of_itself_that_it_must_not() {
    let items = [page(key(1, 2), 5), page(key(1, 3), 2042)];
    let children = [(key(1, 2), child(5, 0)), (key(1, 3), child(2042, 6))];
    assert_eq!((leaf(&items, |_, _| {}), inner(&children, |_, _| {})), (Ok(2), Ok(2)));
    let spoils: [fn(&mut RawNode, &mut [u8]); 9] = [
        |raw, _| raw.magic[7] = b'2',
        |raw, _| raw.epoch.set(raw.epoch.get() + 1),
        |raw, _| raw.count.set(3),
        |raw, _| raw.count.set(1),
        |raw, _| raw.used.set(NODE_BODY_BYTES as u16 + 1),
        |raw, _| raw.level += 1,
        |raw, _| raw.reserved[0] = 1,
        |raw, _| raw.reserved[8] = 1,
        |_, body| body[NODE_BODY_BYTES - 1] = 1,
    ];
    for (which, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(leaf(&items, spoil), Err(NodeError::Head), "spoil {which} of a leaf");
        assert_eq!(inner(&children, spoil), Err(NodeError::Head), "spoil {which} of an inner node");
    }
    assert_eq!((leaf(&[], |_, _| {}), inner(&[], |_, _| {})), (Err(NodeError::Head), Err(NodeError::Head)));
    // The highest level that there is, and one above it.
    let top = |level| {
        let fill = |writer: &mut NodeWriter, bytes: &mut BlockBytes| {
            assert!(writer.push_child(bytes, key(1, 2), &child(5, 0)));
        };
        node(level, fill, |_, _| {})
    };
    assert_eq!((top(NODE_LEVEL_MAX), top(NODE_LEVEL_MAX + 1)), (Ok(1), Err(NodeError::Head)));
    assert_eq!(NODE_LEVEL_MAX, 9);
}

#[test]
fn what_a_leaf_says_is_in_order_and_lies_among_the_data() {
    let order = |items: &[Item<'_>]| leaf(items, |_, _| {});
    let zero = |index, count| Item::Zero { key: key(1, index), count };
    let record = Item::Record { key: Key::record(0, 1), bytes: b"x" };
    assert_eq!(order(&[zero(1, 4), page(key(1, 5), 5), zero(6, 1), page(key(2, 0), 6), record]), Ok(5));
    assert_eq!(order(&[zero(1, 4), page(key(1, 4), 5)]), Err(NodeError::Order(key(1, 4))));
    assert_eq!(order(&[page(key(1, 4), 5), page(key(1, 4), 6)]), Err(NodeError::Order(key(1, 4))));
    assert_eq!(order(&[page(key(2, 0), 5), page(key(1, 9), 6)]), Err(NodeError::Order(key(1, 9))));
    for block in [4, 2043] {
        assert_eq!(order(&[page(key(1, 4), block)]), Err(NodeError::Place(Block(block))));
    }
    let absent = Item::Absent { key: key(1, 2), count: 1 };
    assert_eq!(order(&[absent]), Err(NodeError::Item(ItemError::Kind(3))));
    let none = leaf(&[page(key(1, 4), 5)], |_, body| body[0] = 7);
    assert_eq!(none, Err(NodeError::Item(ItemError::Kind(7))));
}

#[test]
fn children_are_in_order_and_lie_among_the_data() {
    let order = |children: &[(Key, Pointer)]| inner(children, |_, _| {});
    let first = (key(1, 2), child(5, 0));
    assert_eq!(order(&[first, (key(1, 2), child(6, 0))]), Err(NodeError::Order(key(1, 2))));
    assert_eq!(order(&[first, (key(1, 1), child(6, 0))]), Err(NodeError::Order(key(1, 1))));
    for (block, twin, wrong) in [(4, 0, 4), (2043, 0, 2043), (5, 4, 4), (5, 2043, 2043), (33, 0, 33), (5, 33, 33)] {
        assert_eq!(order(&[(key(1, 2), child(block, twin))]), Err(NodeError::Place(Block(wrong))));
    }
    assert_eq!(order(&[(key(1, 2), Pointer::NONE)]), Err(NodeError::Head), "a child that lies nowhere");
    // Children that do not fill the body to its end.
    assert_eq!(inner(&[first], |raw, _| raw.used.set(47)), Err(NodeError::Head));
}

#[test]
fn what_a_node_holds_is_found() {
    let mut bytes = [0; BLOCK_SIZE];
    let mut writer = NodeWriter::start(&mut bytes, 0);
    let items = [page(key(1, 2), 5), Item::Zero { key: key(1, 5), count: 3 }, page(key(3, 0), 6)];
    assert!(items.iter().all(|item| writer.push_item(&mut bytes, item)));
    writer.seal(&mut bytes, WORLD, AT, epoch());
    let node = Node::view(&bytes).expect("a node");
    for (object, index, found) in [
        (1, 1, None),
        (1, 2, Some(0)),
        (1, 3, None),
        (1, 5, Some(1)),
        (1, 7, Some(1)),
        (1, 8, None),
        (2, 6, None),
        (3, 0, Some(2)),
        (3, 1, None),
    ] {
        assert_eq!(node.find_item(key(object, index)), found.map(|at: usize| items[at]), "{object}, {index}");
    }
    assert!(node.items_from(40).eq(items[1..].iter().copied()));
    assert_eq!((node.items_from(112).count(), node.items_from(5000).count(), node.count()), (0, 0, 3));
    let mut writer = NodeWriter::start(&mut bytes, 1);
    for (object, index) in [(1, 2), (1, 6), (3, 0)] {
        assert!(writer.push_child(&mut bytes, key(object, index), &child(5 + object as u32, 0)));
    }
    writer.seal(&mut bytes, WORLD, AT, epoch());
    let node = Node::view(&bytes).expect("a node");
    let found = [(1, 1), (1, 2), (1, 5), (1, 6), (2, 9), (3, 0), (9, 9)];
    assert_eq!(
        found.map(|(object, index)| node.find_child(key(object, index))),
        [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]
    );
    assert_eq!((node.child(2), node.child(3)), (Some((key(3, 0), child(8, 0))), None));
}

#[test]
fn a_node_is_filled_to_the_last_byte() {
    let mut bytes = [0; BLOCK_SIZE];
    let mut writer = NodeWriter::start(&mut bytes, 0);
    assert_eq!((writer.count(), writer.used(), writer.level(), NODE_BODY_BYTES), (0, 0, 0, 4064));
    assert!((0..101).all(|at| writer.push_item(&mut bytes, &page(key(1, 7 + at), 5))));
    let before = bytes;
    assert!(!writer.push_item(&mut bytes, &page(key(2, 0), 5)) && bytes == before);
    assert_eq!((writer.count(), writer.used(), writer.first(), writer.has_records()), (101, 4040, key(1, 7), false));
    assert_eq!(writer.only_child(&bytes), None);
    let mut writer = NodeWriter::start(&mut bytes, 0);
    let record = Item::Record { key: Key::record(0, 1), bytes: b"x" };
    assert!(writer.push_item(&mut bytes, &record) && writer.has_records());
    assert!(writer.push_item(&mut bytes, &page(key(1, 2), 5)) && writer.has_records());
    assert_eq!(writer.only_child(&bytes), None, "a leaf has none");
    let mut writer = NodeWriter::start(&mut bytes, 2);
    assert!(writer.push_child(&mut bytes, key(1, 4), &child(9, 10)));
    assert_eq!((writer.only_child(&bytes), writer.level()), (Some(child(9, 10)), 2));
    assert!((1..84).all(|at| writer.push_child(&mut bytes, key(1, 4 + at), &child(9, 10))));
    assert_eq!((writer.only_child(&bytes), writer.count(), writer.used()), (None, 84, 4032));
    let before = bytes;
    assert!(!writer.push_child(&mut bytes, key(2, 0), &child(9, 10)) && bytes == before);
    assert_eq!((writer.count(), writer.used(), writer.first()), (84, 4032, key(1, 4)));
}

/// An index with `count` pointers, changed by `spoil`, parsed under a checksum that fits.
fn index(count: usize, spoil: impl FnOnce(&mut RawSpaceIndex)) -> Result<(), SpaceIndexError> {
    let pointers: Vec<Pointer> = (0..count).map(|at| child(5 + at as u32, 0)).collect();
    let kept = [Checkpoint { epoch: epoch(), slot: 14, ..Checkpoint::default() }; CHECKPOINTS_MAX];
    let mut bytes = [0; BLOCK_SIZE];
    let pointer = SpaceIndex::write(WORLD, AT, epoch(), (1, 14), &pointers, &kept, &mut bytes);
    spoil(RawSpaceIndex::mut_from_bytes(&mut bytes).expect("as large as a block"));
    let pointer = Pointer { sum: Seal::SpaceIndex.checksum(WORLD, AT, epoch(), &bytes), ..pointer };
    let found = SpaceIndex::parse(WORLD, &geometry(), &pointer, 1, &bytes)?;
    assert!((0..count).all(|at| found.pointer(at) == Some(pointers[at])));
    assert_eq!((found.count(), found.interval(), found.pointer(120)), (count, 14, None));
    assert!(found.kept().eq(kept.iter().map(|kept| (kept.slot, kept.epoch))));
    let elsewhere = Pointer { block: Block(34), ..pointer };
    let damaged = SpaceIndex::parse(WORLD, &geometry(), &elsewhere, 1, &bytes).err();
    assert_eq!(damaged, Some(SpaceIndexError::Damaged));
    Ok(())
}

#[test]
fn an_index_says_nothing_that_it_must_not() {
    assert_eq!((index(SPACE_POINTERS_MAX, |_| {}), index(0, |_| {})), (Ok(()), Ok(())));
    let spoils: [fn(&mut RawSpaceIndex); 18] = [
        |raw| raw.magic[7] = b'2',
        |raw| raw.count.set(121),
        |raw| raw.count.set(3),
        |raw| raw.level = 0,
        |raw| raw.kept_count = 14,
        |raw| raw.interval = 0,
        |raw| raw.interval = 15,
        |raw| raw.kept[12].slot.set(0),
        |raw| raw.kept[0].slot.set(15),
        |raw| raw.kept[0].slot.set(1 << 32 | 1),
        |raw| raw.pointers[1].block.set(4),
        |raw| raw.reserved[0] = 1,
        |raw| raw.reserved[10] = 1,
        |raw| raw.rest[0] = 1,
        |raw| raw.rest[15] = 1,
        |raw| raw.kept_count = 12,
        |raw| raw.count.set(1),
        |raw| raw.pointers[119].epoch.set(1),
    ];
    for (which, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(index(2, spoil), Err(SpaceIndexError::Invalid), "spoil {which}");
    }
}
