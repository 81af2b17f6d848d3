//! Every parser over anything: random blocks, sound blocks with one byte changed, sound blocks that are hostile (their
//! checksums are right, their contents are not). None panics, none loops, and what is accepted holds its invariants.

use abi::Epoch;
use format::*;
use proptest::prelude::*;

const WORLD: World = World(0x77);

fn geometry() -> Geometry {
    Geometry::new(2048, 4, 16).expect("fits")
}

fn epoch() -> Epoch {
    Epoch::first_of(3).expect("fits")
}

fn block(bytes: &[u8]) -> BlockBytes {
    let mut block = [0; BLOCK_SIZE];
    block[..bytes.len()].copy_from_slice(bytes);
    block
}

/// Runs every parser; whatever one accepts is gone through.
fn parse_all(at: Block, bytes: &BlockBytes) {
    let geometry = geometry();
    if let Ok(header) = Header::parse(at, bytes, 2048) {
        assert!(header.geometry.blocks() <= 2048);
    }
    if let Ok((root, _)) = Root::parse(WORLD, &geometry, at, bytes) {
        assert!(root.is_valid(&geometry));
    }
    if let Ok(found) = Descriptor::parse(WORLD, &geometry, at, bytes) {
        assert!(geometry.is_data(found.head.next));
        assert!(found.items().all(|item| item.check().is_ok()));
    }
    for level in 0..=NODE_LEVEL_MAX {
        let sum = Seal::Node.checksum(WORLD, at, epoch(), bytes);
        let pointer = Pointer::single(at, epoch(), sum);
        if let Ok(node) = Node::parse(WORLD, &geometry, &pointer, level, bytes) {
            let children = (0..node.count()).filter_map(|position| node.child(position)).count();
            let items = node.items().count();
            assert!(if level == 0 { items } else { children } == node.count() as usize);
            let _ = (node.find_child(Key { object: 1, index: 5 }), node.find_item(Key { object: 1, index: 5 }));
        }
        let sum = Seal::SpaceIndex.checksum(WORLD, at, epoch(), bytes);
        let pointer = Pointer::single(at, epoch(), sum);
        if let Ok(index) = SpaceIndex::parse(WORLD, &geometry, &pointer, level, bytes) {
            assert!((0..index.count()).all(|position| index.pointer(position).is_some()));
        }
    }
    if let Some(node) = Node::view(bytes) {
        let _ = (node.items().count(), node.find_child(Key::default()), node.find_item(Key::default()));
    }
}

fn items() -> impl Strategy<Value = Vec<(u64, u64, u32)>> {
    prop::collection::vec((0u64..4, 0u64..60, 20u32..2000), 1..60)
}

/// A sound leaf of pages in order.
fn leaf(items: &[(u64, u64, u32)]) -> (BlockBytes, Pointer, usize) {
    let mut sorted: Vec<_> = items.iter().map(|(object, index, block)| ((*object, *index), *block)).collect();
    sorted.sort_unstable();
    sorted.dedup_by_key(|(key, _)| *key);
    let mut bytes = [0; BLOCK_SIZE];
    let mut writer = NodeWriter::start(&mut bytes, 0);
    for ((object, index), block) in &sorted {
        let place = Place { block: Block(*block), incarnation: 1 };
        let key = Key { object: *object, index: *index };
        assert!(writer.push_item(&mut bytes, &Item::Page { key, place, sum: Checksum(7) }));
    }
    let pointer = writer.seal(&mut bytes, WORLD, Block(33), epoch());
    (bytes, pointer, sorted.len())
}

fn descriptor(items: &[(u64, u64, u32)], at: Block) -> BlockBytes {
    let mut bytes = [0; BLOCK_SIZE];
    let mut writer = DescriptorWriter::start(&mut bytes);
    for (object, index, block) in items {
        let place = Place { block: Block(*block), incarnation: 1 };
        let key = Key { object: *object, index: *index };
        assert!(writer.push(&mut bytes, &Item::Page { key, place, sum: Checksum(7) }));
    }
    let head = DescriptorHead {
        epoch: epoch(),
        sequence: 9,
        previous: Checksum(1),
        durable: Epoch::NONE,
        floor: Epoch::NONE,
        time_ns: 1,
        gathered_ns: 1,
        pages: items.len() as u32,
        records: 0,
        next: Block(40),
        flags: DescriptorFlags { commit: true, ..DescriptorFlags::default() },
    };
    writer.seal(&mut bytes, WORLD, at, &head);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..BLOCK_SIZE), at in 0u32..2048, magic in 0usize..6) {
        let mut bytes = block(&bytes);
        let magics: [&[u8; 8]; 6] =
            [b"PERENNIA", b"PERNROOT", b"PERNLOG1", b"PERNMAP1", b"PERNSPAC", b"\0\0\0\0\0\0\0\0"];
        bytes[..8].copy_from_slice(magics[magic]);
        parse_all(Block(at), &bytes);
    }

    #[test]
    fn a_leaf_is_read_as_written_and_every_changed_byte_is_seen(items in items(), position in 0usize..BLOCK_SIZE, flip in 1u8..) {
        let (mut bytes, pointer, count) = leaf(&items);
        let node = Node::parse(WORLD, &geometry(), &pointer, 0, &bytes).expect("sound");
        prop_assert_eq!(node.items().count(), count);
        for (object, index, _) in &items {
            let key = Key { object: *object, index: *index };
            prop_assert!(node.find_item(key).is_some());
        }
        bytes[position] ^= flip;
        prop_assert_eq!(Node::parse(WORLD, &geometry(), &pointer, 0, &bytes).err(), Some(NodeError::Damaged));
        parse_all(pointer.block, &bytes);
    }

    #[test]
    fn a_descriptor_is_read_as_written_and_every_changed_byte_is_seen(items in items(), position in 0usize..BLOCK_SIZE, flip in 1u8..) {
        let at = Block(33);
        let items: Vec<_> = items.into_iter().filter(|(.., block)| *block != 33).collect();
        let mut bytes = descriptor(&items, at);
        let found = Descriptor::parse(WORLD, &geometry(), at, &bytes).expect("sound");
        prop_assert_eq!(found.items().count(), items.len());
        prop_assert_eq!(found.head.sequence, 9);
        prop_assert!(Descriptor::parse(WORLD, &geometry(), Block(34), &bytes).is_err());
        prop_assert!(Descriptor::parse(World(1), &geometry(), at, &bytes).is_err());
        bytes[position] ^= flip;
        prop_assert!(Descriptor::parse(WORLD, &geometry(), at, &bytes).is_err());
    }

    #[test]
    fn a_hostile_node_with_a_sound_checksum_is_refused_or_harmless(items in items(), position in 0usize..200, value: u8) {
        let (mut bytes, _, _) = leaf(&items);
        bytes[position] = value;
        parse_all(Block(33), &bytes);
    }

    #[test]
    fn a_root_is_read_as_written(sequence in 1u64..1000, incarnation in 1u32..1000, kept in 0usize..=12, position in 0usize..BLOCK_SIZE, flip in 1u8..) {
        let geometry = geometry();
        let mut root = Root::first(Block(100));
        root.sequence = sequence;
        root.incarnation = incarnation;
        root.interval = 14;
        for slot in 0..kept {
            let pointer = Pointer::single(Block(50 + slot as u32), Epoch::from_bits(1 << 40 | slot as u64), Checksum(3));
            let pushed = root.push(Checkpoint { epoch: pointer.epoch, map: pointer, space: pointer, slot: slot as u8 + 1, ..Checkpoint::default() });
            prop_assert!(pushed);
        }
        let mut bytes = [0; BLOCK_SIZE];
        let sum = root.write(WORLD, &geometry, &mut bytes);
        for at in geometry.root(sequence) {
            prop_assert_eq!(Root::parse(WORLD, &geometry, at, &bytes), Ok((root, sum)));
        }
        let [other, _] = geometry.root(sequence + 1);
        prop_assert_eq!(Root::parse(WORLD, &geometry, other, &bytes), Err(RootError::Damaged));
        bytes[position] ^= flip;
        prop_assert!(Root::parse(WORLD, &geometry, geometry.root(sequence)[0], &bytes).is_err());
    }
}

#[test]
fn what_a_checkpoint_or_root_must_not_say_is_refused() {
    let geometry = geometry();
    let valid = {
        let mut root = Root::first(Block(100));
        let pointer = Pointer::single(Block(50), epoch(), Checksum(3));
        root.incarnation = 3;
        assert!(root.push(Checkpoint { epoch: epoch(), space: pointer, slot: 2, ..Checkpoint::default() }));
        root
    };
    assert!(valid.is_valid(&geometry));
    let mut older = valid;
    older.incarnation = 2;
    let mut slot = valid;
    slot.interval = 2;
    let mut log = valid;
    log.log.block = Block(1);
    let mut resume = valid;
    resume.resume.sequence = 0;
    let mut twice = valid;
    let again = *twice.newest().expect("one");
    assert!(twice.push(again));
    for root in [older, slot, log, resume, twice] {
        assert!(!root.is_valid(&geometry), "{root:?}");
    }
}
