//! A store that gets full: what does not fit, and a pager that keeps to the room it is told of.

use abi::protocol::paging::Room;

use super::*;

/// A cut in which `count` pages of `content` have changed.
fn cut_pages(conductor: &mut Conductor<'static, Calm>, stage: &mut Stage, content: u64, count: u64) -> Epoch {
    stage.now += 10_000;
    settle(conductor, stage);
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.to_export.push(world_record());
    host(conductor).pages[OWN_PAGES as usize].fill(content as u8 | 1);
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    for index in 0..count {
        let page = PageName { content, index };
        stage.said.push_back(ToStore::Dirty { epoch: ended, page, frame: OWN_PAGES as u32 });
    }
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: count, batches: 0, drops: 0 });
    settle(conductor, stage);
    ended
}

#[test]
fn what_does_not_fit_is_told_before_and_leaves_the_last_epoch_whole() {
    let (mut conductor, mut stage) = begun_on(calm_of(700));
    let mut last = Epoch::NONE;
    for content in 1.. {
        let ended = cut_pages(&mut conductor, &mut stage, content, 25);
        if stage.page.phase == Phase::Failed {
            break;
        }
        assert_eq!(stage.page.committed, ended);
        last = ended;
    }
    let noted = |note: fn(&Note) -> bool| stage.notes.iter().position(note).expect("noted");
    assert!(noted(|note| matches!(note, Note::Short(..))) < noted(|note| *note == Note::Full), "{:?}", stage.notes);
    assert_eq!((stage.page.committed, stage.page.failure), (last, Some(Failure::Full)));
    assert_eq!(conductor.sync(&mut stage, Handle(1)), Err(Error::Undurable));
    // The next boot goes on at the last epoch, and dropping something makes room.
    let mut after = calm_of(700);
    after.blocks = host(&mut conductor).blocks.clone();
    let mut conductor = Conductor::open(memory(BLOCKS), after, Config::default(), POLICY, None);
    let mut stage = Stage::default();
    settle(&mut conductor, &mut stage);
    assert_eq!((stage.page.phase, stage.page.restored), (Phase::Running, last), "{:?}", stage.notes);
    let ended = stage.running;
    stage.now += 10_000;
    settle(&mut conductor, &mut stage);
    stage.running = ended.next().expect("another epoch");
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    for content in 1..10 {
        stage.said.push_back(ToStore::Dropped { epoch: ended, content });
    }
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 0, batches: 0, drops: 9 });
    settle(&mut conductor, &mut stage);
    assert_eq!(stage.page.committed, ended, "{:?}", stage.notes);
    // Whoever needs the room says so; then what was dropped is won back.
    stage.said.push_back(ToStore::Waits { writers: true });
    let ended = cut_pages(&mut conductor, &mut stage, 90, 25);
    assert_eq!(stage.page.committed, ended, "{:?}", stage.notes);
}

/// A new world of so many pages and endpoints on a disk of so many blocks: its first epoch and what people are told.
fn begin_with(blocks: usize, pages: u64, endpoints: u32) -> (Epoch, Stage) {
    let (mut conductor, mut stage) = begun_on(calm_of(blocks));
    stage.to_export.extend((0..endpoints).map(super::unsound::endpoint));
    stage.to_export.push(budget());
    let world =
        kernel_core::World { version: 1, components: 3, epoch: 1, ticket: 1, time_ns: 1, capacities: [3000; 6] };
    stage.to_export.push((Table::World as u16, 0, world.as_bytes().to_vec()));
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.now += 10_000;
    settle(&mut conductor, &mut stage);
    host(&mut conductor).pages[OWN_PAGES as usize].fill(1);
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    for index in 0..pages {
        let page = PageName { content: 1, index };
        stage.said.push_back(ToStore::Dirty { epoch: ended, page, frame: OWN_PAGES as u32 });
    }
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages, batches: 0, drops: 0 });
    settle(&mut conductor, &mut stage);
    (ended, stage)
}

/// A world that is too large for its disk is refused with the size of one that takes it; that one does.
#[test]
fn a_genesis_that_does_not_fit_is_told_how_large_a_disk_it_needs() {
    for (pages, endpoints, small) in [(300, 10, 200), (40, 400, 100), (500, 300, 200)] {
        let (_, stage) = begin_with(small, pages, endpoints);
        assert_eq!((stage.page.committed, stage.page.failure), (Epoch::NONE, Some(Failure::Full)));
        let needed = stage.notes.iter().find_map(|note| match note {
            Note::TooSmall(needed, blocks) if *blocks == small as u64 => Some(*needed as usize),
            _ => None,
        });
        let needed = needed.unwrap_or_else(|| panic!("{pages} {endpoints}: {:?}", stage.notes));
        let least = pages as usize + endpoints as usize / 90;
        assert!((least..4 * least + 600).contains(&needed), "{pages} {endpoints}: {needed} of {small}");
        let (ended, stage) = begin_with(needed, pages, endpoints);
        assert_eq!((stage.page.committed, stage.page.failure), (ended, None), "{pages} {endpoints}: {:?}", stage.notes);
    }
}

/// What the pager would still dirty: all that it said has been dealt with.
fn left(stage: &Stage) -> Room {
    let heard = stage.heard.iter().rev().find_map(|heard| match heard {
        ToPager::Room(room) => Some(*room),
        _ => None,
    });
    let room = heard.expect("it was told");
    let since = stage.dirty - room.handled;
    Room { writes: room.writes.saturating_sub(since), growth: room.growth.saturating_sub(since), ..room }
}

#[test]
fn a_pager_that_keeps_to_the_room_fills_the_store_and_goes_on() {
    let (mut conductor, mut stage) = begun_on(calm_of(1400));
    let first = stage.heard.iter().position(|heard| matches!(heard, ToPager::Room(_)));
    let begin = stage.heard.iter().position(|heard| matches!(heard, ToPager::Begin { .. }));
    assert!(first < begin && first.is_some(), "it knows before it begins");
    let mut content = 0;
    loop {
        if left(&stage).growth < 25 {
            // What a fold wins back is asked for first.
            stage.said.push_back(ToStore::Waits { writers: true });
            settle(&mut conductor, &mut stage);
        }
        if left(&stage).growth < 25 {
            break;
        }
        assert!(left(&stage).writes >= 25, "{:?}", left(&stage));
        content += 1;
        let ended = cut_pages(&mut conductor, &mut stage, content, 25);
        assert_eq!(stage.page.committed, ended, "{:?}", stage.notes);
    }
    assert!(content > 10, "{content}: {:?}", left(&stage));
    // What there is is written again and again.
    for round in 0..200 {
        stage.said.push_back(ToStore::Waits { writers: round % 3 > 0 });
        settle(&mut conductor, &mut stage);
        let writes = left(&stage).writes.min(25);
        assert!(writes > 5, "{round}: {:?}", left(&stage));
        let ended = cut_pages(&mut conductor, &mut stage, 1 + round % content, writes);
        assert_eq!(stage.page.committed, ended, "{round}: {:?}", stage.notes);
    }
    assert!(stage.notes.iter().any(|note| matches!(note, Note::Short(..))), "{:?}", stage.notes);
    // Somebody waits, something is dropped: there is room.
    stage.said.push_back(ToStore::Waits { writers: true });
    settle(&mut conductor, &mut stage);
    let before = left(&stage).growth;
    stage.now += 10_000;
    settle(&mut conductor, &mut stage);
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.to_export.push(world_record());
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    for content in 1..5 {
        stage.said.push_back(ToStore::Dropped { epoch: ended, content });
    }
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 0, batches: 0, drops: 4 });
    settle(&mut conductor, &mut stage);
    assert!(left(&stage).growth > before + 50, "{before}: {:?}, {:?}", left(&stage), stage.notes);
    assert!(!stage.notes.contains(&Note::Full));
}

/// Space is short when less than a sixteenth is left, and no more when twice that is.
#[test]
fn it_is_known_when_space_is_short() {
    let (mut conductor, mut stage) = begun_on(calm_of(700));
    let (mut were_short, mut contents) = (Vec::new(), 0);
    for round in 0..60 {
        let status = conductor.store_mut().expect("a store").status();
        let room = conductor.store_mut().expect("a store").room().growth;
        let short = status.data_blocks / 16;
        if room == 0 || room + status.entries_used < short {
            assert!(conductor.pace.is_short(), "round {round}: {room} of {status:?}");
        } else if room > 2 * short || were_short.last() == Some(&false) {
            assert!(!conductor.pace.is_short(), "round {round}: {room} of {status:?}");
        }
        were_short.push(conductor.pace.is_short());
        if room > 20 && round < 30 {
            contents += 1;
            cut_pages(&mut conductor, &mut stage, contents, 20);
        } else if contents > 2 {
            drop_contents(&mut conductor, &mut stage, [contents, contents - 1]);
            contents -= 2;
        }
        stage.said.push_back(ToStore::Waits { writers: true });
        settle(&mut conductor, &mut stage);
        assert_eq!(stage.page.failure, None, "{:?}", stage.notes);
    }
    let turns = were_short.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(turns >= 2, "{were_short:?}");
    let notes = stage.notes.iter().filter(|note| matches!(note, Note::Short(..))).count();
    assert!((1..=turns).contains(&notes), "{notes} notes, {turns} turns");
}

/// A cut in which some contents were dropped.
fn drop_contents<const N: usize>(conductor: &mut Conductor<'static, Calm>, stage: &mut Stage, contents: [u64; N]) {
    stage.now += 10_000;
    settle(conductor, stage);
    let ended = stage.running;
    stage.running = ended.next().expect("another epoch");
    stage.to_export.push(world_record());
    stage.said.push_back(ToStore::CutDone { ended, running: stage.running, quiet: false });
    stage.said.extend(contents.map(|content| ToStore::Dropped { epoch: ended, content }));
    stage.said.push_back(ToStore::Gathered { epoch: ended, pages: 0, batches: 0, drops: N as u64 });
    settle(conductor, stage);
}
