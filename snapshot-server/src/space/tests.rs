//! Tests of the table of used blocks.

use super::*;

#[test]
fn renaming_frees_what_only_the_retired_checkpoint_needed() {
    let mut sweep = Sweep::new();
    // Checkpoint 1 goes; 2 is the next newer.
    sweep.rename[1] = 2;
    sweep.log_kept[3] = true;
    let cases = [
        (0x10, 0x20), // alive since 1
        (0x12, 0x00), // needed by 1 alone
        (0x13, 0x23), // needed by 1 and 2
        (0x23, 0x23), // needed by 2
        (0x22, 0x00),
        (0xf1, 0x00),
        (0xf3, 0xf3),
        (0x0f, 0x0f),
        (0x00, 0x00),
    ];
    for (byte, expected) in cases {
        assert_eq!(sweep.apply(byte), expected, "{byte:#x}");
    }
}

#[test]
fn second_copies_lie_apart_while_there_is_a_block_that_does() {
    for alone in 0..180 {
        second_copies(alone);
    }
}

/// So many blocks are taken alone before pairs are: then the two sorts meet everywhere.
fn second_copies(alone: u32) {
    let geometry = Geometry::new(200, 2, 8).expect("fits");
    let (mut bytes, mut table, mut segments, mut deferred) =
        ([0; 200], [TableBlock::default(); 1], [0; 25], [Deferred::default(); 4]);
    let mut space = Space::new(&mut bytes, &mut table, &mut segments, &mut deferred, geometry);
    for _ in 0..alone {
        space.allocate(1).expect("free");
    }
    let mut near = 0;
    while let Some(first) = space.allocate(1) {
        let apart = |block: Block| (block.0 / 8).abs_diff(first.0 / 8) >= APART_SEGMENTS as u32;
        match space.allocate_apart(1, first) {
            Some(second) => assert!(apart(second), "{first} and {second}"),
            None => {
                near += 1;
                let left = (0..200).map(Block).filter(|block| geometry.is_data(*block));
                assert!(left.clone().all(|block| space.bytes[block.index()] != 0 || !apart(block)));
            }
        }
    }
    assert!(space.free() == 0 && near < 24, "{near}");
}

/// When the cursor of second copies has come near a first one, it goes on far away, not just behind it.
#[test]
fn a_second_copy_that_would_lie_near_goes_half_a_disk_away() {
    let geometry = Geometry::new(200, 2, 8).expect("fits");
    let (mut bytes, mut table, mut segments, mut deferred) =
        ([0; 200], [TableBlock::default(); 1], [0; 25], [Deferred::default(); 4]);
    for segment in 1..24 {
        let mut space = Space::new(&mut bytes, &mut table, &mut segments, &mut deferred, geometry);
        space.cursors[SECOND] = segment * 8;
        let second = space.allocate_apart(1, Block(segment * 8)).expect("free").0 / 8;
        let distance = second.abs_diff(segment).min(25 - second.abs_diff(segment));
        assert!(distance >= 25 / 3, "{segment} and {second}");
    }
}

#[test]
fn every_block_is_found_and_counts_stay_true() {
    let geometry = Geometry::new(50, 8, 8).expect("fits");
    let (mut bytes, mut table, mut segments, mut deferred) =
        ([0; 50], [TableBlock::default(); 1], [0; 7], [Deferred::default(); 4]);
    let mut space = Space::new(&mut bytes, &mut table, &mut segments, &mut deferred, geometry);
    let total = geometry.data_blocks();
    for round in 0..3u32 {
        let mut taken = Vec::new();
        while let Some(block) = space.allocate(1) {
            assert!(geometry.is_data(block) && !taken.contains(&block));
            taken.push(block);
        }
        assert_eq!((taken.len() as u32, space.free()), (total, 0));
        for (i, block) in taken.iter().enumerate() {
            assert!(space.die(*block, 1));
            if i < 4 {
                space.defer(*block, Epoch::from_bits(u64::from(round) + 1));
            }
        }
        space.release_up_to(Epoch::from_bits(u64::from(round)));
        assert_eq!(space.free(), 0);
        space.release_up_to(Epoch::from_bits(u64::from(round) + 1));
        assert_eq!(space.free(), 4);
        let mut sweep = Sweep::new();
        while !space.sweep_some(&mut sweep, 7) {}
        assert_eq!(space.free(), total);
    }
}

/// Memory for a disk of `blocks` blocks in segments of 64.
struct Memory {
    bytes: Vec<u8>,
    table: Vec<TableBlock>,
    segments: Vec<u32>,
    deferred: Vec<Deferred>,
    geometry: Geometry,
}

impl Memory {
    fn new(blocks: u64) -> Self {
        let geometry = Geometry::new(blocks, 8, 64).expect("fits");
        let (table, segments) = (blocks.div_ceil(4096), blocks.div_ceil(64));
        Self {
            bytes: vec![0; blocks as usize],
            table: vec![TableBlock::default(); table as usize],
            segments: vec![0; segments as usize],
            deferred: vec![Deferred::default(); 3],
            geometry,
        }
    }

    fn space(&mut self) -> Space<'_> {
        Space::new(&mut self.bytes, &mut self.table, &mut self.segments, &mut self.deferred, self.geometry)
    }
}

/// P1 and P2.
fn assert_counted(space: &Space<'_>) {
    let zeroes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count() as u32;
    let bytes = &space.bytes[..space.blocks() as usize];
    assert_eq!(space.free(), zeroes(bytes), "P1");
    for (segment, blocks) in bytes.chunks(space.geometry.segment_blocks() as usize).enumerate() {
        assert_eq!(space.segments[segment], zeroes(blocks), "P2, segment {segment}");
    }
}

#[test]
fn memory_must_be_large_enough() {
    let geometry = Geometry::new(10_000, 8, 64).expect("fits");
    let fits = |bytes, table, segments| Space::fits(bytes, table, segments, &geometry);
    assert!(fits(10_000, 3, 157));
    assert!(!fits(9_999, 3, 157) && !fits(10_000, 2, 157) && !fits(10_000, 3, 156));
    let mut memory = Memory::new(10_000);
    let mut space = memory.space();
    assert!(!space.adopt(Geometry::new(10_001, 8, 64).expect("fits")));
    assert_eq!(*space.geometry(), geometry, "nothing has changed");
    space.allocate(3);
    let smaller = Geometry::new(9_000, 4, 128).expect("fits");
    assert!(space.adopt(smaller));
    assert_eq!((*space.geometry(), space.used(), space.free()), (smaller, 0, smaller.data_blocks()));
    assert_counted(&space);
}

#[test]
fn a_new_table_reserves_what_is_not_data() {
    let mut memory = Memory::new(10_000);
    let mut space = memory.space();
    let geometry = *space.geometry();
    for block in (0..10_000).map(Block) {
        let expected = if geometry.is_data(block) { 0 } else { RESERVED };
        assert_eq!(space.bytes[block.index()], expected, "{block}");
    }
    assert_eq!((space.free(), space.used(), space.table_blocks()), (geometry.data_blocks(), 0, 3));
    assert_eq!([0, 1, 2].map(|index| space.table_bytes(index).len()), [4096, 4096, 10_000 - 8192]);
    assert!(space.table.iter().all(|block| block.dirty), "nothing of it is on disk yet");
    assert_counted(&space);
    let taken = space.allocate(5).expect("free");
    assert_eq!((space.used(), space.free()), (1, geometry.data_blocks() - 1));
    assert!(space.is_alive(taken) && space.is_alive_in(taken, 5) && !space.is_alive_in(taken, 4));
    let log = space.allocate_log(5).expect("free");
    assert_eq!(log.0, taken.0 + 1, "in ascending runs");
    assert_eq!((space.bytes[log.index()], space.is_alive(log)), (0xf5, false));
    assert_counted(&space);
}

#[test]
fn what_changes_a_byte_and_nothing_else_makes_its_table_block_dirty() {
    let mut memory = Memory::new(10_000);
    let mut space = memory.space();
    let clean = |space: &mut Space<'_>| space.table.iter_mut().for_each(|block| block.dirty = false);
    let dirty = |space: &Space<'_>| [0, 1, 2].map(|index: usize| space.table[index].dirty);
    clean(&mut space);
    space.replay_birth(Block(4096), 3);
    assert_eq!(dirty(&space), [false, true, false]);
    clean(&mut space);
    space.replay_birth(Block(4096), 3);
    assert_eq!(dirty(&space), [false; 3], "it was born there already");
    assert!(space.replay_death(Block(4096), 3));
    assert_eq!(dirty(&space), [false, true, false]);
    clean(&mut space);
    space.replay_log(Block(8192), 3);
    space.replay_log(Block(4095), 3);
    assert_eq!(dirty(&space), [true, false, true]);
    assert_counted(&space);
}

#[test]
fn the_log_does_not_touch_what_the_table_gives_to_a_checkpoint() {
    let mut memory = Memory::new(10_000);
    let mut space = memory.space();
    let block = Block(100);
    for (byte, given) in [
        (0x00, false),
        (0x30, false), // of the log's own interval
        (0x20, true),
        (0x23, true),
        (0x22, false),
        (0xe0, true),
        (0xf2, false),
        (0x0f, false),
    ] {
        space.write(block, byte);
        assert_eq!(space.belongs_to_checkpoint(block, 3), given, "{byte:#x}");
        space.replay_birth(block, 3);
        assert_eq!(space.bytes[100], if given { byte } else { 0x30 }, "{byte:#x}");
        assert_eq!(space.replay_death(block, 3), !given, "{byte:#x}");
        assert_eq!(space.bytes[100], if given { byte } else { 0x33 }, "{byte:#x}");
        assert_counted(&space);
    }
    for (byte, alive) in [(0x00, false), (0x10, true), (0xe0, true), (0x12, false), (0xf0, false), (0x0f, false)] {
        space.write(block, byte);
        assert_eq!(space.is_alive(block), alive, "{byte:#x}");
    }
    space.write(block, 0x20);
    assert!(!space.die(block, 3), "an older checkpoint needs it");
    assert_eq!(space.bytes[100], 0x23);
}

#[test]
fn deferred_blocks_are_free_once_their_epoch_is_durable() {
    let mut memory = Memory::new(10_000);
    let mut space = memory.space();
    let epoch = Epoch::from_bits;
    let dead = |space: &mut Space<'_>| {
        let block = space.allocate(3).expect("free");
        assert!(space.die(block, 3));
        block
    };
    let free = space.free();
    for bits in [1, 2, 3, 4] {
        let block = dead(&mut space);
        space.defer(block, epoch(bits));
    }
    assert_eq!((space.deferred_len(), space.free()), (3, free - 4), "the fourth waits for a sweep");
    space.release_up_to(epoch(1));
    assert_eq!((space.deferred_len(), space.free()), (2, free - 3));
    // The ring goes round.
    let block = dead(&mut space);
    space.defer(block, epoch(5));
    space.forget_deferred(epoch(2));
    assert_eq!((space.deferred_len(), space.free()), (2, free - 4), "forgotten, not released");
    space.release_up_to(epoch(4));
    assert_eq!((space.deferred_len(), space.free()), (1, free - 3));
    space.forget_deferred(epoch(5));
    assert_eq!(space.deferred_len(), 0);
    space.release_up_to(epoch(9));
    assert_eq!(space.free(), free - 3);
    // While the log is replayed: what the floor has passed is free at once.
    let (passed, later, at) = (dead(&mut space), dead(&mut space), dead(&mut space));
    space.defer_or_release(passed, epoch(3), epoch(4));
    space.defer_or_release(at, epoch(4), epoch(4));
    space.defer_or_release(later, epoch(5), epoch(4));
    let bytes = [passed, at, later].map(|block| space.bytes[block.index()]);
    assert_eq!((bytes, space.deferred_len()), ([0, 0, 0x33], 1));
    // What has been taken again meanwhile is not released.
    space.replay_birth(later, 3);
    space.release_up_to(epoch(5));
    assert!(space.is_alive_in(later, 3));
    assert_counted(&space);
}

#[test]
fn a_table_that_speaks_against_the_geometry_is_refused() {
    let mut memory = Memory::new(10_000);
    let mut other = Memory::new(10_000);
    let mut space = memory.space();
    let mut from = other.space();
    from.replay_birth(Block(100), 3);
    from.replay_log(Block(9_990), 14);
    let last = |space: &Space<'_>| {
        let mut block = [0; 4096];
        block[..10_000 - 8192].copy_from_slice(space.table_bytes(2));
        block
    };
    assert!(space.load_table_block(0, from.table_bytes(0)) && space.load_table_block(2, &last(&from)));
    space.count();
    assert_eq!((space.bytes[100], space.bytes[9_990], space.used()), (0x30, 0xfe, 2));
    assert_counted(&space);
    let refused = |index: usize, at: usize, byte: u8| {
        let mut other = Memory::new(10_000);
        let mut block = if index == 2 { last(&from) } else { from.table_bytes(index).try_into().expect("whole") };
        block[at] = byte;
        !other.space().load_table_block(index, &block)
    };
    assert!(refused(0, 0, 0), "the header's place is free");
    assert!(refused(0, 8, 0x10), "a root's place was born");
    assert!(refused(0, 9, RESERVED), "a data block is reserved");
    assert!(refused(1, 0, RESERVED) && refused(1, 4095, 0x01), "born in no interval");
    assert!(refused(2, 10_000 - 8192 - 1, 0), "the second header's place is free");
    assert!(refused(2, 10_000 - 8192, RESERVED) && refused(2, 4095, 1), "behind the end of the disk");
    assert!(!refused(1, 4095, 0x10) && !refused(0, 9, 0xf1) && !refused(0, 9, 0));
}

#[test]
fn sweeps_leave_alone_what_gathers_and_forget_what_has_no_name() {
    let apply = |sweep: &Sweep, bytes: [u8; 8]| bytes.map(|byte| sweep.apply(byte));
    let mut sweep = Sweep::new();
    sweep.gathering = 4;
    sweep.rename[4] = 5;
    // Born in 4: left alone. Died in 4: renamed.
    assert_eq!(
        apply(&sweep, [0x40, 0x44, 0x45, 0x34, 0x30, 0xf4, 0x0f, 0x55]),
        [0x40, 0x44, 0x45, 0x35, 0x30, 0, 0x0f, 0]
    );
    let mut sweep = Sweep::forgetting();
    (sweep.rename[2], sweep.rename[14], sweep.log_kept[14]) = (2, 14, true);
    // A death without a name is undone, a birth without one was never.
    assert_eq!(apply(&sweep, [0x20, 0x2e, 0x23, 0x30, 0x32, 0xfe, 0xff, 0xee]), [0x20, 0x2e, 0x20, 0, 0, 0xfe, 0, 0]);
    assert_eq!((sweep.apply(0x2f), sweep.apply(0xf0)), (0x20, 0));
    // The numbers of those that go become that of the next newer one that stays.
    let mut sweep = Sweep::new();
    let slots = [3, 1, 7, 2].map(|slot| (slot, Epoch::from_bits(u64::from(slot))));
    sweep.rename_retired(slots.into_iter(), |slot, epoch| slot == 7 && epoch == Epoch::from_bits(7), 9);
    assert_eq!([3, 1, 7, 2, 9, 5].map(|slot| sweep.rename[slot]), [7, 7, 7, 9, 9, 5]);
}

#[test]
fn a_sweep_goes_on_where_it_stopped() {
    let mut memory = Memory::new(10_000);
    let mut space = memory.space();
    for block in [9, 100, 101, 9_990] {
        space.write(Block(block), 0x33);
    }
    let used = space.used();
    let mut sweep = Sweep::new();
    assert!(!space.sweep_some(&mut sweep, 101));
    assert_eq!((space.used(), space.bytes[101]), (used - 2, 0x33));
    assert!(!space.sweep_some(&mut sweep, 1) && !space.sweep_some(&mut sweep, 9_897));
    assert_eq!(space.used(), 0);
    assert!(space.sweep_some(&mut sweep, 1) && space.sweep_some(&mut sweep, u32::MAX));
    assert_counted(&space);
}

#[test]
fn blocks_are_taken_from_segments_that_are_free_enough() {
    let mut memory = Memory::new(640);
    let mut space = memory.space();
    // Segment 1 has one free block, 2 none, all others are free.
    for block in 64..192 {
        space.write(Block(block), 0x10);
    }
    space.write(Block(70), 0);
    space.cursors[FIRST] = 63;
    assert_eq!(space.allocate(1), Some(Block(63)), "to the end of the cursor's segment");
    assert_eq!(space.allocate(1), Some(Block(70)), "the cursor stands there");
    space.write(Block(70), 0);
    space.cursors[FIRST] = 62;
    space.write(Block(62), 0x10);
    assert_eq!(space.allocate(1), Some(Block(192)), "far fuller than the others: passed over");
    // Nothing behind the cursor: round the end to the first segment that is.
    space.cursors[FIRST] = 639;
    assert_eq!(space.allocate(1), Some(Block(9)));
    assert_counted(&space);
}
