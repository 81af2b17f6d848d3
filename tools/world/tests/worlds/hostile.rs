//! Images made to deceive, with checksums that are right: each is refused, or its epoch reported, with the block and
//! the reason; and no command comes to harm.

use abi::record::Table;
use abi::{Kind, Rights};
use format::{
    Block, Checksum, Geometry, Header, Key, Node, NodeWriter, Pointer, RawChecksum, RawHeader, RawRoot, Root, Seal,
    World,
};
use kernel_core::{Capability, Process, State, Thread, VectorState};
use pager_records::{ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord, SpaceRecord};
use world::{Access, FileHost, Survey};
use zerocopy::{FromBytes, IntoBytes};

use crate::image::{Image, Outcome, world};
use crate::inhabited::{Records, SLOTS, format, inhabited, memory, records};

const BLOCKS: usize = 2048;

/// Runs every command that reads; returns `fsck`.
fn all(image: &Image) -> Outcome {
    let path = image.path();
    for arguments in [
        vec!["info", &path],
        vec!["epochs", &path],
        vec!["ps", &path],
        vec!["caps", &path, "3"],
        vec!["graph", &path],
        vec!["--json", "graph", &path],
        vec!["cat-page", &path, "1", "3"],
        vec!["diff", &path, "1.1", "1.2"],
    ] {
        world(&arguments);
    }
    world(&["fsck", &path])
}

fn refused(image: &Image, words: &[&str]) {
    let fsck = all(image);
    let text = fsck.text();
    assert!(fsck.status == 1 && words.iter().all(|word| text.contains(word)), "{words:?} expected: {text}");
}

fn block(bytes: &mut [u8], at: usize) -> &mut [u8; 4096] {
    (&mut bytes[at * 4096..(at + 1) * 4096]).try_into().expect("a block")
}

/// Changes both copies of the header, and makes their checksums right.
fn with_header(bytes: &mut [u8], change: impl Fn(&mut RawHeader)) {
    for at in [0, bytes.len() / 4096 - 1] {
        let mut raw = RawHeader::read_from_bytes(block(bytes, at)).expect("a header");
        change(&mut raw);
        raw.sum = RawChecksum::default();
        let sum = Seal::Header.checksum(World(raw.world.get()), Block(at as u32), abi::Epoch::NONE, raw.as_bytes());
        raw.sum = sum.into();
        block(bytes, at).copy_from_slice(raw.as_bytes());
    }
}

#[test]
fn headers_whose_numbers_overflow_are_refused() {
    let image = Image::new("headers", BLOCKS as u64);
    inhabited(&image, BLOCKS, 8);
    let whole = std::fs::read(&image.0).expect("read");
    let spoil = |change: &dyn Fn(&mut RawHeader), words: &[&str]| {
        let mut bytes = whole.clone();
        with_header(&mut bytes, change);
        std::fs::write(&image.0, &bytes).expect("written");
        refused(&image, words);
    };
    spoil(&|raw| raw.blocks = u64::MAX.into(), &["header", "18446744073709551615 blocks"]);
    spoil(&|raw| raw.blocks = (BLOCKS as u64 + 1).into(), &["truncated", "2049 blocks"]);
    spoil(&|raw| raw.blocks = 3.into(), &["3 blocks are too few"]);
    spoil(&|raw| raw.root_slots = u32::MAX.into(), &["4294967295 slots make no ring"]);
    spoil(&|raw| raw.root_slots = 0.into(), &["0 slots make no ring"]);
    spoil(&|raw| raw.segment_blocks = 0x8000_0001.into(), &["make no segment"]);
    spoil(&|raw| raw.version = 200.into(), &["version 200"]);
    spoil(&|raw| raw.rest[7] = 1, &["header", "damaged"]);
    std::fs::write(&image.0, &whole[..4096 * 100]).expect("written");
    refused(&image, &["truncated", "2048 blocks"]);
    std::fs::write(&image.0, b"PK\x03\x04 something else altogether".repeat(4000)).expect("written");
    refused(&image, &["not that of a store"]);
    std::fs::write(&image.0, []).expect("written");
    refused(&image, &["header"]);
    std::fs::write(&image.0, vec![0; 1 << 20]).expect("written");
    refused(&image, &["never formatted"]);
}

/// An image with a checkpoint; where its newest root lies, and that root.
fn folded(image: &Image) -> (Vec<u8>, Geometry, World, Root) {
    let mut memory = memory(BLOCKS);
    let mut made = format(&mut memory, image);
    made.epoch(&records(8), &[(1, 3, 4)]);
    made.folded_epoch(&Records::new(), &[(1, 4, 5)]);
    drop(made);
    let mut bytes = std::fs::read(&image.0).expect("read");
    let header = Header::parse(Block(0), block(&mut bytes, 0), BLOCKS as u64).expect("a header");
    let geometry = header.geometry;
    let roots = (0..u64::from(geometry.root_slots())).filter_map(|slot| {
        let at = geometry.root(slot)[0];
        Root::parse(header.world, &geometry, at, block(&mut bytes, at.index())).ok()
    });
    let newest = roots.map(|(root, _)| root).max_by_key(|root| root.sequence).expect("a root");
    assert!(newest.newest().is_some(), "it has a checkpoint");
    (bytes, geometry, header.world, newest)
}

/// Changes the newest root in both places, and makes its checksum right.
fn with_root(bytes: &mut [u8], geometry: &Geometry, world: World, root: &Root, change: impl Fn(&mut RawRoot)) {
    let places = geometry.root(root.sequence);
    for at in places {
        let mut raw = RawRoot::read_from_bytes(block(bytes, at.index())).expect("a root");
        change(&mut raw);
        raw.sum = RawChecksum::default();
        let epoch = abi::Epoch::from_bits(raw.sequence.get());
        raw.sum = Seal::Root.checksum(world, places[0], epoch, raw.as_bytes()).into();
        block(bytes, at.index()).copy_from_slice(raw.as_bytes());
    }
}

#[test]
fn roots_that_point_outside_are_not_followed() {
    let image = Image::new("roots", BLOCKS as u64);
    let (whole, geometry, world, root) = folded(&image);
    assert_eq!(all(&image).status, 0, "as it is, it is sound");
    type Change = fn(&mut RawRoot);
    let changes: [(&str, Change); 8] = [
        ("map", |raw| raw.checkpoints[0].map.block = u32::MAX.into()),
        ("table", |raw| raw.checkpoints[0].space.block = 1.into()),
        ("level", |raw| raw.checkpoints[0].map_level = 255),
        ("count", |raw| raw.count = 200),
        ("log", |raw| raw.log.block = 0x7fff_ffff.into()),
        ("incarnation", |raw| raw.incarnation = u32::MAX.into()),
        ("order", |raw| raw.checkpoints[0].epoch = u64::MAX.into()),
        ("slot", |raw| raw.checkpoints[0].slot = 99),
    ];
    for (name, change) in changes {
        let mut bytes = whole.clone();
        with_root(&mut bytes, &geometry, world, &root, change);
        std::fs::write(&image.0, &bytes).expect("written");
        // The root before it is sound, so the epoch may be another one; what this one says is never believed.
        let fsck = all(&image);
        let info = crate::image::world(&["--json", "info", &image.path()]);
        let older = info.status == 1 || info.json()["checkpoints"] == 0;
        assert!(fsck.status == 1 || older, "{name}: {}{}", fsck.text(), info.text());
    }
}

/// A map that consists of `node` alone, put where the map's root was, and pointed at.
fn with_map(
    image: &Image,
    level: u8,
    make: impl Fn(&mut [u8; 4096], Block, abi::Epoch) -> (NodeWriter, u8),
) -> Vec<u8> {
    let (mut bytes, geometry, world, root) = folded(image);
    let old = root.newest().expect("a checkpoint").map;
    let mut node = [0; 4096];
    let (writer, tree_level) = make(&mut node, old.block, old.epoch);
    assert_eq!(level, tree_level);
    let pointer = writer.seal(&mut node, world, old.block, old.epoch);
    block(&mut bytes, old.block.index()).copy_from_slice(&node);
    with_root(&mut bytes, &geometry, world, &root, |raw| {
        let count = usize::from(raw.count);
        let checkpoint = &mut raw.checkpoints[count - 1];
        checkpoint.map = format::RawPointer::new(pointer);
        checkpoint.map_level = tree_level;
    });
    bytes
}

#[test]
fn maps_with_circles_or_nonsense_in_them_are_refused() {
    let image = Image::new("maps", BLOCKS as u64);
    // A node that points at itself: no checksum can be right for it, but the one who follows must not need that.
    let to_itself = |bytes: &mut [u8; 4096], at: Block, epoch: abi::Epoch| {
        let mut writer = NodeWriter::start(bytes, 1);
        assert!(writer.push_child(bytes, Key::default(), &Pointer::single(at, epoch, Checksum(1))));
        (writer, 1)
    };
    // A tree said to be very deep, whose child is a leaf somewhere.
    let deep = |bytes: &mut [u8; 4096], at: Block, epoch: abi::Epoch| {
        let mut writer = NodeWriter::start(bytes, 3);
        assert!(writer.push_child(bytes, Key::default(), &Pointer::single(Block(at.0 + 1), epoch, Checksum(1))));
        (writer, 3)
    };
    // A leaf with a page in the headers, and one with pages out of order.
    let outside = |bytes: &mut [u8; 4096], _: Block, _: abi::Epoch| {
        let mut writer = NodeWriter::start(bytes, 0);
        let place = format::Place { block: Block(1), incarnation: 1 };
        let page = format::Item::Page { key: Key { object: 1, index: 1 }, place, sum: Checksum(1) };
        assert!(writer.push_item(bytes, &page));
        (writer, 0)
    };
    let disorder = |bytes: &mut [u8; 4096], _: Block, _: abi::Epoch| {
        let mut writer = NodeWriter::start(bytes, 0);
        for index in [9, 3] {
            let zero = format::Item::Zero { key: Key { object: 1, index }, count: 4 };
            assert!(writer.push_item(bytes, &zero));
        }
        (writer, 0)
    };
    for (name, bytes) in [
        ("circle", with_map(&image, 1, to_itself)),
        ("deep", with_map(&image, 3, deep)),
        ("outside", with_map(&image, 0, outside)),
        ("disorder", with_map(&image, 0, disorder)),
    ] {
        std::fs::write(&image.0, &bytes).expect("written");
        let fsck = all(&image);
        assert!(fsck.status == 1 && fsck.text().contains("block "), "{name}: {}", fsck.text());
    }
}

/// Both copies of a leaf have rotted: whoever wants what is in it is told which block, and what is wrong with it.
#[test]
fn a_leaf_that_has_rotted_is_named_with_the_reason() {
    let image = Image::new("leaf", BLOCKS as u64);
    let (mut bytes, geometry, world, root) = folded(&image);
    let newest = root.newest().expect("a checkpoint");
    assert!(newest.map_level > 0, "more than one leaf");
    let top = Node::parse(world, &geometry, &newest.map, newest.map_level, block(&mut bytes, newest.map.block.index()));
    let top = top.expect("sound");
    let (_, last) = top.child(top.count() - 1).expect("a child");
    for at in [last.block, last.twin] {
        block(&mut bytes, at.index())[300] ^= 1;
    }
    std::fs::write(&image.0, &bytes).expect("written");
    let ps = self::world(&["ps", &image.path()]);
    let (text, named) = (ps.text(), format!("at {}: its contents do not hash", last.block));
    assert!(ps.status == 1 && text.contains(&named), "{named} expected: {text}");
}

#[test]
fn records_that_no_kernel_writes_are_named_with_their_block() {
    let slot = SLOTS + 7;
    let capability = |change: &dyn Fn(&mut Capability)| {
        let held = records(8);
        let mut record = Capability::read(&held[&(Table::Capability as u16, slot)]).expect("a capability");
        change(&mut record);
        (Table::Capability as u16, slot, record.as_bytes().to_vec())
    };
    let process = records(8)[&(Table::Process as u16, 2)].clone();
    let thread = records(8)[&(Table::Thread as u16, 1)].clone();
    let cases = [
        (
            capability(&|record| record.rights = Kind::Endpoint.rights().bits() | Rights::MEMORY_MAP.bits()),
            "fields contradict",
        ),
        (capability(&|record| record.object = 0x00ff_ffff), "another object than its parent's"),
        (capability(&|record| (record.parent, record.object) = (u32::MAX, 0x00ff_ffff)), "no place for"),
        (capability(&|record| record.parent = 7 * SLOTS + 20), "parent does not exist"),
        (capability(&|record| record.parent = slot), "circle"),
        (capability(&|record| record.kind = Kind::Memory as u8), "fields contradict"),
        ((Table::Process as u16, 3, process), "where another process has its own"),
        ((Table::Thread as u16, 5, thread[..thread.len() - 8].to_vec()), "wrong length"),
        ((Table::Thread as u16, 4000, thread), "outside its table"),
        ((Table::World as u16, 0, vec![0xff; 24]), "world itself"),
    ];
    for ((table, index, bytes), words) in cases {
        let image = Image::new("records", BLOCKS as u64);
        let mut memory = memory(BLOCKS);
        let mut made = format(&mut memory, &image);
        made.epoch(&records(8), &[(1, 3, 4)]);
        made.epoch(&Records::from([((table, index), bytes)]), &[]);
        drop(made);
        refused(&image, &[words, "block ", &format!("record {index} of table {table}")]);
    }
    // A right that the parent has not: the parent loses it, the child keeps it.
    let image = Image::new("rights", BLOCKS as u64);
    let mut memory = memory(BLOCKS);
    let mut made = format(&mut memory, &image);
    let mut held = records(8);
    let owner = (Table::Capability as u16, 3);
    let mut parent = Capability::read(&held[&owner]).expect("a capability");
    parent.rights = Rights::RECEIVE.bits();
    held.insert(owner, parent.as_bytes().to_vec());
    made.epoch(&held, &[]);
    drop(made);
    refused(&image, &["rights that its parent has not", "block ", "record 39 of table 7"]);
}

#[test]
fn records_that_contradict_each_other_are_named() {
    let of = |table: Table, index: u32| records(8)[&(table as u16, index)].clone();
    let thread = |index: u32, change: &dyn Fn(&mut Thread)| {
        let mut record = Thread::read(&of(Table::Thread, index)).expect("a thread");
        change(&mut record);
        ((Table::Thread as u16, index), record.as_bytes().to_vec())
    };
    let calls = thread(0, &|thread| (thread.state, thread.call_sequence) = (State::AwaitReply, 5));
    let serves = |index: u32| thread(index, &|thread| (thread.serving, thread.serving_sequence) = (0, 5));
    let root = of(Table::Capability, SLOTS + 1);
    let receiver = Thread::read(&of(Table::Thread, 1)).expect("a thread").object;
    let cases = [
        (vec![calls.clone(), serves(3)], None),
        (vec![calls, serves(3), serves(6)], Some(("Reply", "record 6 of table 2"))),
        (vec![((Table::Capability as u16, SLOTS), root.clone())], Some(("null handle", "record 1 of table 1"))),
        (vec![((Table::Process as u16, 7), Process::FREE.as_bytes().to_vec())], Some(("no process", "of table 7"))),
        (
            vec![thread(3, &|thread| (thread.state, thread.object) = (State::Sending, receiver))],
            Some(("waits to send", "record 3 of table 2")),
        ),
        (vec![((Table::Endpoint as u16, 9), of(Table::Endpoint, 2))], Some(("another port", "record 9 of table 4"))),
    ];
    for (changed, told) in cases {
        let image = Image::new("together", BLOCKS as u64);
        let mut memory = memory(BLOCKS);
        let mut made = format(&mut memory, &image);
        made.epoch(&records(8), &[(1, 3, 4)]);
        made.epoch(&changed.into_iter().collect(), &[]);
        drop(made);
        match told {
            None => assert_eq!(all(&image).status, 0, "{}", all(&image).text()),
            Some((what, record)) => refused(&image, &[what, record, "block "]),
        }
    }
}

/// An epoch that can still be booted has a record that no kernel writes; the newest has it no more.
#[test]
fn every_epoch_that_boots_is_judged() {
    let index = SLOTS + 7;
    let at = (Table::Capability as u16, index);
    let sound = records(8)[&at].clone();
    let mut record = Capability::read(&sound).expect("a capability");
    record.parent = index;
    let circle = record.as_bytes().to_vec();
    for folded in [false, true] {
        let image = Image::new("every-epoch", BLOCKS as u64);
        let mut memory = memory(BLOCKS);
        let mut made = format(&mut memory, &image);
        made.epoch(&records(8), &[(1, 3, 4)]);
        let changed = Records::from([(at, circle.clone())]);
        let bad = if folded { made.folded_epoch(&changed, &[]) } else { made.epoch(&changed, &[]) };
        let healed = Records::from([(at, sound.clone())]);
        if folded {
            made.folded_epoch(&healed, &[])
        } else {
            made.epoch(&healed, &[])
        };
        drop(made);
        let survey = Survey::new(&mut FileHost::open(&image.0, Access::Read, 0).expect("opened")).expect("a store");
        let kept = survey.checkpoints().iter().any(|kept| kept.epoch == bad);
        assert_eq!(kept, folded);
        let told = format!("(epoch {bad}), record {index} of table {}", Table::Capability as u16);
        refused(&image, &["1 problems", "a circle", &told, "block "]);
    }
}

/// The pager's records of a world with a space that has one object and maps a part of it.
fn pagers() -> Records {
    let counters =
        PagerRecord { content_next: 9, objects_max: 8, regions_max: 8, spaces_max: 8, version: PAGER_VERSION };
    let space = SpaceRecord { pages_max: 9, life: 1, ..SpaceRecord::EMPTY };
    let object = ObjectRecord { content: 7, pages: 4, space: 2, life: 1, ..ObjectRecord::EMPTY };
    let region = RegionRecord { page: 0x1000, pages: 4, object: 1, space: 2, ..RegionRecord::EMPTY };
    Records::from([
        ((Table::Pager as u16, 0), counters.as_bytes().to_vec()),
        ((Table::Space as u16, 2), space.as_bytes().to_vec()),
        ((Table::MemoryObject as u16, 1), object.as_bytes().to_vec()),
        ((Table::Region as u16, 3), region.as_bytes().to_vec()),
        ((Table::Vector as u16, 1), VectorState::INITIAL.as_bytes().to_vec()),
    ])
}

#[test]
fn records_that_no_pager_writes_and_vectors_that_no_processor_takes_are_named_too() {
    let object = |change: &dyn Fn(&mut ObjectRecord)| {
        let bytes = &pagers()[&(Table::MemoryObject as u16, 1)];
        let mut record = ObjectRecord::read_from_bytes(bytes).expect("an object");
        change(&mut record);
        record.as_bytes().to_vec()
    };
    let vector = |at: usize| {
        let mut bytes = VectorState::INITIAL.as_bytes().to_vec();
        bytes[at] = 0x80;
        bytes
    };
    let cases = [
        (None, 0, vec![]),
        (Some(Table::MemoryObject), 1, object(&|object| object.content = 100)),
        (Some(Table::MemoryObject), 1, object(&|object| object.space = 3)),
        (Some(Table::MemoryObject), 1, vec![0xa5; 40]),
        (Some(Table::MemoryObject), 8, object(&|_| ())),
        (Some(Table::Region), 3, vec![0xa5; 7]),
        (Some(Table::Space), 2, vec![0xff; 16]),
        (Some(Table::Pager), 0, vec![0xa5; 24]),
        (Some(Table::Pager), 0, vec![0; 3]),
        (Some(Table::Vector), 1, vector(512)),
        (Some(Table::Vector), 1, vector(27)),
        (Some(Table::Vector), 1, vec![0xa5; 100]),
        (Some(Table::Vector), 4000, vector(0)),
    ];
    for (table, index, bytes) in cases {
        let image = Image::new("pagers", BLOCKS as u64);
        let mut memory = memory(BLOCKS);
        let mut made = format(&mut memory, &image);
        let mut all = records(8);
        all.extend(pagers());
        made.epoch(&all, &[(1, 3, 4)]);
        let Some(table) = table else {
            drop(made);
            let fsck = self::all(&image);
            assert_eq!(fsck.status, 0, "as they are they are sound: {}", fsck.text());
            continue;
        };
        made.epoch(&Records::from([((table as u16, index), bytes)]), &[]);
        drop(made);
        refused(&image, &["block ", &format!("record {index} of table {}", table as u16)]);
    }
}
