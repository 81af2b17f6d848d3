//! What a root must not say: each rule broken by itself, under a checksum that fits. And what is done to its checkpoints.

use abi::{Epoch, INCARNATION_MAX};
use format::*;
use zerocopy::{FromBytes, IntoBytes};

const WORLD: World = World(0x77);

fn geometry() -> Geometry {
    Geometry::new(2048, 4, 16).expect("fits")
}

fn checkpoint(counter: u64, slot: u8) -> Checkpoint {
    let epoch = Epoch::from_bits(3 << 40 | counter);
    let pointer = |block| Pointer { block: Block(block), twin: Block(9), epoch, sum: Checksum(3) };
    let (map, space) = (pointer(5), pointer(2042));
    let (time_ns, pages, records, used_blocks, map_nodes) = (11, 12, 13, 14, 15);
    let (record_nodes, record_bytes) = (15, 13 * 1048);
    Checkpoint {
        epoch,
        map,
        map_level: 9,
        space,
        slot,
        time_ns,
        pages,
        records,
        used_blocks,
        map_nodes,
        record_nodes,
        record_bytes,
    }
}

/// Interval 14, of incarnation 3, with these checkpoints.
fn root(kept: &[Checkpoint]) -> Root {
    let mut root = Root::first(Block(100));
    (root.sequence, root.previous, root.incarnation, root.restores, root.interval) = (6, Checksum(8), 3, 2, 14);
    (root.resume.block, root.resume.sequence, root.resume.previous) = (Block(2042), 7, Checksum(1 << 90));
    assert!(kept.iter().all(|checkpoint| root.push(*checkpoint)));
    root
}

/// A root that `spoil` has changed, its checksum made to fit.
fn parse(root: &Root, spoil: impl FnOnce(&mut RawRoot)) -> Result<Root, RootError> {
    let mut bytes = [0; BLOCK_SIZE];
    let sum = root.write(WORLD, &geometry(), &mut bytes);
    let raw = RawRoot::mut_from_bytes(&mut bytes).expect("as large as a block");
    assert_eq!(sum, raw.sum.into());
    spoil(raw);
    let sequence = raw.sequence.get();
    raw.sum = RawChecksum::default();
    let at = geometry().root(sequence)[0];
    let sum = Seal::Root.checksum(WORLD, at, Epoch::from_bits(sequence), raw.as_bytes());
    raw.sum = sum.into();
    Root::parse(WORLD, &geometry(), at, &bytes).map(|(root, found)| {
        assert_eq!(found, sum);
        root
    })
}

#[test]
fn a_root_says_what_it_was_told_and_nothing_that_it_must_not() {
    let kept: Vec<Checkpoint> = (0..13).map(|at| checkpoint(u64::from(at), 13 - at)).collect();
    for count in [0, 1, 2, 13] {
        let root = root(&kept[..count]);
        assert_eq!(parse(&root, |_| {}), Ok(root));
        assert_eq!(root.checkpoints(), &kept[..count]);
    }
    let spoils: [fn(&mut RawRoot); 16] = [
        |raw| raw.sequence.set(0),
        |raw| raw.count = 14,
        |raw| raw.reserved[0] = 1,
        |raw| raw.reserved[133] = 1,
        |raw| raw.rest[0] = 1,
        |raw| raw.rest[2175] = 1,
        |raw| raw.checkpoints[1].reserved[0] = 1,
        |raw| raw.checkpoints[1].rest[7] = 1,
        |raw| raw.checkpoints[1].map.block.set(2048),
        |raw| raw.checkpoints[1].space.twin.set(2048),
        |raw| raw.interval = 13,
        |raw| raw.log.block.set(4),
        |raw| raw.log.reserved.set(1),
        |raw| raw.resume.reserved.set(1),
        |raw| raw.checkpoints[2].map_nodes.set(1),
        |raw| raw.count = 1,
    ];
    for (which, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(parse(&root(&kept[..2]), spoil), Err(RootError::Invalid), "spoil {which}");
    }
    assert_eq!(parse(&root(&kept[..2]), |raw| raw.magic[0] = b'Q'), Err(RootError::Foreign));
}

#[test]
fn each_rule_of_a_root_is_kept_by_itself() {
    let geometry = geometry();
    let valid = |change: fn(&mut Root)| {
        let mut root = root(&[checkpoint(1, 1), checkpoint(2, 2)]);
        change(&mut root);
        root.is_valid(&geometry)
    };
    let kept = |change: fn(&mut [Checkpoint; 3])| {
        let mut three = [checkpoint(1, 1), checkpoint(2, 2), checkpoint(3, 3)];
        change(&mut three);
        root(&three).is_valid(&geometry)
    };
    let sound: [fn(&mut Root); 6] = [
        |_| {},
        |root| root.interval = 13,
        |root| root.incarnation = INCARNATION_MAX,
        |root| root.resume.sequence = root.log.sequence,
        |root| root.sequence = 1,
        |root| (root.log.block, root.resume.block) = (Block(5), Block(5)),
    ];
    assert_eq!(sound.map(valid), [true; 6]);
    let wrong: [fn(&mut Root); 10] = [
        |root| root.interval = 0,
        |root| root.interval = 15,
        |root| root.interval = 1,
        |root| root.interval = 2,
        |root| root.log.block = Block(4),
        |root| root.resume.block = Block(2043),
        |root| root.resume.sequence = root.log.sequence - 1,
        |root| root.incarnation = INCARNATION_MAX + 1,
        |root| root.incarnation = 2,
        |root| root.sequence = 0,
    ];
    assert_eq!(wrong.map(valid), [false; 10]);
    let sound: [fn(&mut [Checkpoint; 3]); 8] = [
        |_| {},
        |kept| kept[1].slot = 13,
        |kept| (kept[2].map, kept[2].map_level) = (Pointer::NONE, 0),
        |kept| kept[0].map_level = 0,
        |kept| kept[1] = kept[1].uncounted(),
        |kept| (kept[1].records, kept[1].record_bytes, kept[1].record_nodes) = (0, 0, 0),
        |kept| kept[1].record_bytes = 13 * 32,
        |kept| kept[1].record_nodes = 1,
    ];
    assert_eq!(sound.map(kept), [true; 8]);
    let wrong: [fn(&mut [Checkpoint; 3]); 20] = [
        |kept| kept[1].epoch = kept[0].epoch,
        |kept| kept[2].epoch = kept[0].epoch,
        |kept| kept[0].slot = 0,
        |kept| kept[2].slot = 15,
        |kept| kept[1].slot = 1,
        |kept| kept[2].slot = 1,
        |kept| kept[2].slot = 2,
        |kept| kept[1].space.block = Block(4),
        |kept| kept[1].space = Pointer::NONE,
        |kept| kept[1].map_level = NODE_LEVEL_MAX + 1,
        |kept| (kept[1].map, kept[1].map_level) = (Pointer::NONE, 1),
        |kept| (kept[1].map.block, kept[1].map_level) = (Block(2043), 0),
        |kept| kept[1].record_bytes = 0,
        |kept| kept[1].record_nodes = 0,
        |kept| kept[1].record_nodes = 16,
        |kept| kept[1].record_bytes = 13 * 1048 + 8,
        |kept| kept[1].record_bytes = 13 * 32 - 8,
        |kept| kept[1].record_bytes -= 1,
        |kept| kept[1].records = 0,
        |kept| kept[1].records = u64::MAX,
    ];
    assert_eq!(wrong.map(kept), [false; 20]);
    assert!(!checkpoint(1, 1).uncounted().counts_records() && checkpoint(1, 1).counts_records());
}

#[test]
fn checkpoints_come_and_go_and_leave_nothing_behind() {
    let [first, second, third] = [checkpoint(1, 1), checkpoint(2, 3), checkpoint(3, 4)];
    let all = root(&[first, second, third]);
    for (position, removed, left) in
        [(0, first, [second, third]), (1, second, [first, third]), (2, third, [first, second])]
    {
        let mut some = all;
        assert_eq!(some.remove(position), Some(removed));
        assert_eq!(some, root(&left), "as if it had never been there");
        assert_eq!(some.remove(2), None);
    }
    for (epoch, left) in [(checkpoint(0, 0), 0), (first, 1), (second, 2), (third, 3), (checkpoint(9, 0), 3)] {
        let mut some = all;
        some.truncate_after(epoch.epoch);
        assert_eq!(some, root(&[first, second, third][..left]));
    }
    assert_eq!((all.newest(), root(&[]).newest()), (Some(&third), None));
    assert_eq!((all.free_slot(), root(&[]).free_slot()), (Some(2), Some(1)));
    let mut full = Root::first(Block(100));
    assert!((0..13).all(|at| full.push(checkpoint(u64::from(at), 2 + at))));
    assert_eq!((full.free_slot(), full.push(first), full.checkpoints().len()), (None, false, 13));
    full.remove(12);
    assert_eq!(full.free_slot(), Some(14));
    full.interval = 14;
    assert_eq!(full.free_slot(), Some(1));
}
