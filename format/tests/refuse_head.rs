//! What header, geometry, pointers and descriptors must not say: each rule broken by itself, under a checksum that fits,
//! so that nothing but the rule can refuse it. And what lies exactly at a bound is taken.

use abi::{Epoch, INCARNATION_MAX};
use format::*;
use zerocopy::{FromBytes, IntoBytes};

const WORLD: World = World(0x77);
const AT: Block = Block(33);

fn geometry() -> Geometry {
    Geometry::new(2048, 4, 16).expect("fits")
}

fn epoch(incarnation: u32, counter: u64) -> Epoch {
    Epoch::from_bits(u64::from(incarnation) << 40 | counter)
}

#[test]
fn a_geometry_takes_what_lies_at_its_bounds() {
    assert_eq!(DISK_BLOCKS_MAX, 225 << 18, "225 GiB");
    for (blocks, slots, segment) in [(50, 8, 8), (DISK_BLOCKS_MAX, 2, 65_536), (1 << 20, 64, 65_536), (38, 2, 8)] {
        let made = Geometry::new(blocks, slots, segment).expect("fits");
        assert_eq!((made.blocks(), made.root_slots(), made.segment_blocks()), (blocks as u32, slots, segment));
    }
    let refused = |blocks, slots, segment| Geometry::new(blocks, slots, segment).expect_err("must not fit");
    assert_eq!(refused(37, 2, 8), GeometryError::DiskTooSmall(37, 38));
    assert_eq!(refused(DISK_BLOCKS_MAX + 1, 2, 8), GeometryError::DiskTooLarge(DISK_BLOCKS_MAX + 1));
    assert_eq!(refused(1 << 20, 65, 8), GeometryError::RootSlots(65));
    assert_eq!(refused(1 << 20, 64, 4), GeometryError::SegmentBlocks(4));
    assert_eq!(refused(1 << 20, 64, 1 << 17), GeometryError::SegmentBlocks(1 << 17));
}

#[test]
fn a_geometry_says_what_lies_where() {
    let geometry = geometry();
    assert_eq!(geometry.headers(), [Block(0), Block(2047)]);
    assert_eq!((geometry.data_start(), geometry.data_end(), geometry.data_blocks()), (Block(5), Block(2043), 2038));
    assert_eq!(geometry.root(0), [Block(1), Block(2043)]);
    assert_eq!(geometry.root(7), [Block(4), Block(2046)]);
    assert_eq!([4, 5, 2042, 2043].map(|block| geometry.is_data(Block(block))), [false, true, true, false]);
    assert_eq!((Block(5).index(), Block(5).is_some(), Block::NONE.is_some()), (5, true, false));
    assert_eq!(Block(5).to_string(), "block 5");
}

/// A store that was written today must verify for ever: the same inputs hash to the same.
#[test]
fn checksums_never_change() {
    let bytes = core::array::from_fn(|at| at as u8);
    let place = Place { block: Block(0x1234), incarnation: 0x5678 };
    let page = page_checksum(World(0xfeed_face_0123_4567), place, &bytes);
    let sum = Seal::Node.checksum(World(0xfeed_face_0123_4567), Block(0x1234), epoch(3, 9), &bytes[..77]);
    assert_eq!(page.0, 274133738448991965823097445979024256905);
    assert_eq!(sum.0, 205094383617700333137545346925726435460);
    let raw = RawChecksum::from(Checksum(7 << 64 | 9));
    assert_eq!((raw.0.get(), raw.1.get(), Checksum::from(raw)), (9, 7, Checksum(7 << 64 | 9)));
}

#[test]
fn a_pointer_leads_into_the_disk_or_nowhere() {
    let good = Pointer { block: Block(99), twin: Block(98), epoch: epoch(1, 0), sum: Checksum(3) };
    let check = |pointer: Pointer| RawPointer::new(pointer).check(100);
    for pointer in [good, Pointer { twin: Block(99), block: Block(98), ..good }, Pointer::NONE] {
        assert_eq!(check(pointer), Some(pointer));
    }
    assert_eq!(check(Pointer { twin: Block::NONE, ..good }), Some(Pointer::single(Block(99), good.epoch, good.sum)));
    for pointer in [
        Pointer { block: Block(100), ..good },
        Pointer { twin: Block(100), ..good },
        Pointer { twin: Block(99), ..good },
        Pointer { epoch: epoch(0, 5), ..good },
        Pointer { twin: Block(5), ..Pointer::NONE },
        Pointer { epoch: epoch(1, 0), ..Pointer::NONE },
        Pointer { sum: Checksum(1), ..Pointer::NONE },
    ] {
        assert_eq!(check(pointer), None, "{pointer:?}");
    }
    assert_eq!(good.to_twin(), Some(Pointer { block: Block(98), twin: Block::NONE, ..good }));
    assert_eq!(Pointer { twin: Block::NONE, ..good }.to_twin(), None);
}

/// A header that `spoil` has changed, its checksum made to fit.
fn header(version: u32, spoil: impl FnOnce(&mut RawHeader)) -> Result<Header, HeaderError> {
    let mut bytes = [0; BLOCK_SIZE];
    Header { version, world: WORLD, geometry: geometry(), formatted_ns: 5, programs: 9 }.write(Block(0), &mut bytes);
    let raw = RawHeader::mut_from_bytes(&mut bytes).expect("as large as a block");
    spoil(raw);
    raw.sum = RawChecksum::default();
    raw.sum = Seal::Header.checksum(World(raw.world.get()), Block(0), Epoch::NONE, raw.as_bytes()).into();
    Header::parse(Block(0), &bytes, 2048)
}

#[test]
fn a_header_says_nothing_that_it_must_not() {
    let sound = header(3, |_| {}).expect("sound");
    assert_eq!((sound.version, sound.programs, sound.formatted_ns), (3, 9, 5));
    for version in [1, 2] {
        assert_eq!(header(version, |_| {}).expect("sound").programs, 0, "not said before version 3");
        assert_eq!(header(version, |raw| raw.programs.set(1)), Err(HeaderError::Damaged));
    }
    assert_eq!(header(3, |raw| raw.programs.set(0)).map(|header| header.programs), Ok(0));
    assert_eq!(header(3, |raw| raw.version.set(0)), Err(HeaderError::Version(0)));
    let spoils: [fn(&mut RawHeader); 6] = [
        |raw| raw.block_size.set(512),
        |raw| raw.block_size.set(0),
        |raw| raw.reserved[0] = 1,
        |raw| raw.reserved[23] = 1,
        |raw| raw.rest[0] = 1,
        |raw| raw.rest[3999] = 1,
    ];
    for (which, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(header(3, spoil), Err(HeaderError::Damaged), "spoil {which}");
    }
    assert_eq!(header(3, |raw| raw.blocks.set(2049)), Err(HeaderError::Truncated(2049)));
    let slots = Err(HeaderError::Geometry(GeometryError::RootSlots(1)));
    assert_eq!(header(3, |raw| raw.root_slots.set(1)), slots);
}

fn head() -> DescriptorHead {
    DescriptorHead {
        epoch: epoch(3, 7),
        sequence: 9,
        previous: Checksum(5 << 64 | 1),
        durable: epoch(3, 6),
        floor: epoch(3, 5),
        time_ns: 11,
        gathered_ns: 12,
        pages: 13,
        records: 14,
        next: Block(40),
        flags: DescriptorFlags { commit: true, barrier: false, interval_end: true },
    }
}

/// The checksum of a descriptor, as docs/reference/format.md has it: what lies before the field keys what lies behind.
fn descriptor_sum(bytes: &BlockBytes) -> Checksum {
    let epoch = Epoch::from_bits(u64::from_le_bytes(bytes[8..16].try_into().expect("8")));
    let front = Seal::Descriptor.checksum(WORLD, AT, epoch, &bytes[..16]).0;
    Seal::Descriptor.checksum(World((front >> 64) as u64 ^ front as u64), AT, epoch, &bytes[32..])
}

/// A descriptor with `head` and `items`, changed by `spoil`, its checksum made to fit.
fn descriptor(
    head: &DescriptorHead,
    items: &[Item<'_>],
    spoil: impl FnOnce(&mut RawDescriptor, &mut [u8]),
) -> Result<DescriptorHead, DescriptorError> {
    let mut bytes = [0xee; BLOCK_SIZE];
    let mut writer = DescriptorWriter::start(&mut bytes);
    assert!(writer.is_empty());
    for item in items {
        assert!(writer.push(&mut bytes, item) && !writer.is_empty());
    }
    let sum = writer.seal(&mut bytes, WORLD, AT, head);
    assert_eq!(sum, descriptor_sum(&bytes));
    let (raw, body) = RawDescriptor::mut_from_prefix(&mut bytes).expect("fits");
    assert_eq!(sum, raw.sum.into());
    spoil(raw, body);
    let sum = descriptor_sum(&bytes);
    bytes[16..32].copy_from_slice(RawChecksum::from(sum).as_bytes());
    let found = Descriptor::parse(WORLD, &geometry(), AT, &bytes)?;
    assert_eq!(found.sum, sum);
    assert!(found.items().eq(items.iter().copied()));
    let stored: usize = items.iter().map(Item::stored_bytes).sum();
    assert_eq!(found.item_bytes(), &bytes[128..128 + stored]);
    Ok(found.head)
}

fn page(block: u32) -> Item<'static> {
    let place = Place { block: Block(block), incarnation: INCARNATION_MAX };
    Item::Page { key: Key { object: 4, index: 8 }, place, sum: Checksum(1 << 100) }
}

#[test]
fn a_descriptor_says_what_it_was_told() {
    let items = [page(5), Item::Record { key: Key::record(3, 4), bytes: b"abc" }, page(2042)];
    assert_eq!(descriptor(&head(), &items, |_, _| {}), Ok(head()));
    for head in [
        DescriptorHead { durable: Epoch::NONE, floor: head().epoch, ..head() },
        DescriptorHead { next: Block(5), ..head() },
        DescriptorHead { next: Block(2042), ..head() },
        DescriptorHead { epoch: epoch(1, 0), durable: Epoch::NONE, floor: Epoch::NONE, ..head() },
    ] {
        assert_eq!(descriptor(&head, &[], |_, _| {}), Ok(head));
    }
    for bits in [0, 1, 3, 5, 7] {
        let flags = DescriptorFlags { commit: bits & 1 != 0, barrier: bits & 2 != 0, interval_end: bits & 4 != 0 };
        let head = DescriptorHead { flags, ..head() };
        let found = descriptor(&head, &[], |raw, _| assert_eq!(raw.flags.get(), bits));
        assert_eq!(found, Ok(head));
    }
}

#[test]
fn a_descriptor_says_nothing_that_it_must_not() {
    let head = head();
    let spoils: [fn(&mut RawDescriptor); 14] = [
        |raw| raw.epoch.set(5),
        |raw| raw.durable.set(raw.epoch.get()),
        |raw| raw.durable.set(raw.epoch.get() + 1),
        |raw| raw.floor.set(raw.epoch.get() + 1),
        |raw| raw.next.set(AT.0),
        |raw| raw.next.set(4),
        |raw| raw.next.set(2043),
        |raw| raw.reserved[0] = 1,
        |raw| raw.reserved[23] = 1,
        |raw| raw.flags.set(2),
        |raw| raw.flags.set(4),
        |raw| raw.flags.set(9),
        |raw| raw.item_bytes.set(3969),
        |raw| raw.flags.set(8),
    ];
    for (which, spoil) in spoils.into_iter().enumerate() {
        // Of the older epochs nothing is said, so that each of them can be wrong by itself.
        let head = DescriptorHead { durable: Epoch::NONE, floor: Epoch::NONE, ..head };
        let found = descriptor(&head, &[], |raw, _| spoil(raw));
        assert_eq!(found, Err(DescriptorError::Head), "spoil {which}");
    }
    assert_eq!(descriptor(&head, &[page(5)], |_, body| body[40] = 1), Err(DescriptorError::Head));
    assert_eq!(descriptor(&head, &[page(5)], |_, body| body[3967] = 1), Err(DescriptorError::Head));
    assert_eq!(descriptor(&head, &[], |raw, _| raw.magic[7] = b'2'), Err(DescriptorError::Foreign));
    let kind = descriptor(&head, &[page(5)], |_, body| body[0] = 9);
    assert_eq!(kind, Err(DescriptorError::Item(ItemError::Kind(9))));
    for block in [AT.0, 4, 2043] {
        let found = descriptor(&head, &[page(5), page(block)], |_, _| {});
        assert_eq!(found, Err(DescriptorError::Place(Block(block))));
    }
}

#[test]
fn a_descriptor_is_filled_to_the_last_byte() {
    let mut bytes = [0; BLOCK_SIZE];
    let mut writer = DescriptorWriter::start(&mut bytes);
    assert_eq!(DESCRIPTOR_ITEM_BYTES, 3968);
    for _ in 0..99 {
        assert!(writer.fits(40) && writer.push(&mut bytes, &page(5)));
    }
    // 8 bytes are left.
    assert!(writer.fits(8) && !writer.fits(9));
    let before = bytes;
    assert!(!writer.push(&mut bytes, &page(5)) && bytes == before);
    writer.seal(&mut bytes, WORLD, AT, &head());
    let found = Descriptor::parse(WORLD, &geometry(), AT, &bytes).expect("sound");
    assert_eq!((found.items().count(), found.item_bytes().len()), (99, 3960));
    // A block is used again: nothing of what it held is left.
    DescriptorWriter::start(&mut bytes).seal(&mut bytes, WORLD, AT, &head());
    assert!(bytes[128..].iter().all(|byte| *byte == 0));
}
