//! One story each: what the property test finds by chance, shown on purpose, and what it leaves out.

mod world;

use abi::protocol::memory::{Badge, Error, Request};
use abi::protocol::paging::{PageName, PagedAs, ToPager, ToStore};
use abi::record::Table;
use abi::{Epoch, FrameState};
use pager_server::{Broken, HELD_MAX, Note};
use proptest::prelude::*;
use world::kernel::{Answered, Op, Thread, Where};
use world::store::PLENTY;
use world::{PAGE, Shape, World};

const CALM: Shape =
    Shape { frames: 64, donated: 4, reserve: 4, interleave: 0, pool: 1000, writes: PLENTY, growth: PLENTY };

/// A world with one space and one object of `pages` pages, mapped at [`PAGE`].
fn world(shape: Shape, pages: u64) -> (World, u32, u32) {
    let mut world = World::new(1, shape);
    let space = (0..99).find_map(|_| world.create_space()).expect("made");
    let object = (0..99).find_map(|_| world.create_object(space, pages, false)).expect("made");
    assert!(world.map(space, object, PAGE, 0, pages, true));
    (world, space, object)
}

/// Makes an access and waits until it is done.
fn write(world: &mut World, space: u32, page: u64) {
    world.access(space, page, true);
    run(world);
}

/// Lets threads run and faults be served until nothing moves, without the store.
fn run(world: &mut World) {
    for _ in 0..200 {
        world.outside.kernel.run_any();
        world.receive();
    }
    world.check();
}

fn cut(world: &mut World) {
    world.outside.kernel.exported = true;
    world.tell(ToPager::Cut);
    world.check();
}

fn cut_refused(world: &World) -> bool {
    matches!(world.outside.store.from_pager.back(), Some(ToStore::CutRefused(_)))
}

/// A page that is read again and again stays, while many others come and go.
#[test]
fn what_is_in_use_is_not_evicted() {
    const PAGES: u64 = 60;
    let (mut world, space, _) = world(Shape { frames: 24, ..CALM }, PAGES);
    for page in 0..PAGES {
        world.access(space, PAGE + page, true);
        world.settle();
    }
    let before = world.outside.store.page_ins;
    for page in 1..PAGES {
        for page in [PAGE, PAGE + page] {
            world.access(space, page, false);
            world.settle();
        }
    }
    let paged_in = world.outside.store.page_ins - before;
    assert!((PAGES / 2..=PAGES).contains(&paged_in), "{paged_in}: each of the others once, and it at most once");
}

#[test]
fn the_device_is_first_and_the_page_moves() {
    let (mut world, space, _) = world(CALM, 1);
    write(&mut world, space, PAGE);
    cut(&mut world);
    let frozen = world.outside.kernel.figures.frozen;
    write(&mut world, space, PAGE);
    assert_eq!(world.outside.kernel.figures.frozen, frozen + 1, "the frame is claimed");
    assert!(world.outside.kernel.threads.is_empty(), "the writer does not wait for the device");
    assert_eq!(world.outside.kernel.figures.copies, 0);
    world.settle();
    world.crash(None);
    world.read_all();
}

/// What the pager wrote itself the kernel takes for clean: it must not be written in place before it is on its way.
#[test]
fn what_the_genesis_wrote_stays_with_the_first_epoch() {
    let mut world = World::new(1, Shape { frames: 160, ..CALM });
    world.genesis(40);
    let space = *world.outside.kernel.model.spaces.keys().next().expect("made");
    for page in (0..40).step_by(2) {
        world.access(space, PAGE + page, false);
    }
    run(&mut world);
    cut(&mut world);
    for page in 0..40 {
        world.access(space, PAGE + page, true);
    }
    run(&mut world);
    assert!(world.outside.kernel.threads.is_empty(), "nobody waits");
    // The first epoch alone becomes durable.
    while !world.commit() {
        world.outside.kernel.exported = false;
        world.outside.store.read_one(&mut world.outside.kernel, &mut world.random);
        world.settle_messages();
        world.pager.work(&mut world.outside);
    }
    world.crash(None);
    world.read_all();
}

#[test]
fn the_writer_is_first_and_the_copy_is_handed() {
    let (mut world, space, _) = world(CALM, 40);
    for page in 0..40 {
        write(&mut world, space, PAGE + page);
    }
    // More than fits into the ring: the rest is claimed later.
    cut(&mut world);
    for page in 0..40 {
        world.access(space, PAGE + page, true);
    }
    run(&mut world);
    assert!(world.outside.kernel.figures.copies > 0);
    world.settle();
    world.crash(None);
    world.read_all();
}

#[test]
fn two_epochs_wait_and_a_third_is_refused() {
    let (mut world, space, _) = world(CALM, 2);
    for _ in 0..2 {
        write(&mut world, space, PAGE);
        while world.outside.store.take(&mut world.outside.kernel) || world.deliver() {}
        cut(&mut world);
        assert!(!cut_refused(&world));
    }
    write(&mut world, space, PAGE);
    while world.outside.store.take(&mut world.outside.kernel) || world.deliver() {}
    cut(&mut world);
    assert!(cut_refused(&world), "two epochs wait for the disk");
    world.settle();
    world.crash(None);
    world.read_all();
}

#[test]
fn a_kernel_that_is_busy_is_not_cut() {
    let (mut world, ..) = world(CALM, 1);
    cut(&mut world);
    world.outside.kernel.exported = false;
    let running = world.pager.running();
    world.settle_messages();
    world.tell(ToPager::Cut);
    assert!(cut_refused(&world) && world.pager.running() == running);
}

#[test]
fn an_idle_world_stays_quiet() {
    let (mut world, space, _) = world(Shape { frames: 24, ..CALM }, 40);
    for page in 0..40 {
        world.access(space, PAGE + page, true);
    }
    world.settle();
    world.outside.kernel.quiet = true;
    // Reading, paging in and evicting all of it, and draining, change no record.
    for page in 0..40 {
        world.access(space, PAGE + page, false);
        world.settle();
    }
    assert!(world.outside.store.page_ins > 20);
    cut(&mut world);
    let quiet = world.outside.store.from_pager.iter().find_map(|message| match message {
        ToStore::CutDone { quiet, .. } => Some(*quiet),
        _ => None,
    });
    assert_eq!(quiet, Some(true));
}

#[test]
fn a_damaged_page_is_never_given_to_a_program() {
    let (mut world, space, object) = world(CALM, 3);
    for page in 0..3 {
        write(&mut world, space, PAGE + page);
    }
    world.settle();
    world.crash(None);
    let content = world.outside.store.image.pages.keys().next().expect("stored").content;
    world.outside.store.damaged.insert(PageName { content, index: 1 });
    world.access(space, PAGE, false);
    world.settle();
    world.access(space, PAGE + 1, false);
    world.access(space, PAGE + 1, true);
    world.access(space, PAGE + 2, false);
    for _ in 0..20 {
        run(&mut world);
        world.outside.store.answer_one(&mut world.outside.kernel, &mut world.random);
        world.settle_messages();
    }
    let waits = |thread: &Thread| thread.page == PAGE + 1 && matches!(thread.state, Where::Held(_));
    assert!(world.outside.kernel.threads.iter().all(waits) && world.outside.kernel.threads.len() == 2);
    assert_eq!(world.outside.notes, [Note::Damaged { page: PageName { content, index: 1 } }]);
    // Its end frees those who wait for it.
    world.destroy_object(object);
    world.check();
    assert!(world.outside.kernel.threads.is_empty());
}

#[test]
fn a_full_table_of_waiting_faults_lets_nothing_more_in() {
    let (mut world, space, _) = world(CALM, 4);
    for page in 0..4 {
        write(&mut world, space, PAGE + page);
    }
    world.settle();
    world.crash(None);
    for at in 0..HELD_MAX + 6 {
        world.access(space, PAGE + at as u64 % 4, at % 2 == 0);
    }
    for _ in 0..10 {
        run(&mut world);
    }
    assert!(!world.pager.can_receive());
    let queued = world.outside.kernel.threads.iter().filter(|thread| matches!(thread.state, Where::Queued(_))).count();
    assert_eq!(queued, 6);
    world.settle();
    assert!(world.pager.can_receive());
}

#[test]
fn chains_of_copies_end() {
    let (mut world, space, object) = world(CALM, 2);
    let mut made = 1;
    for _ in 0..200 {
        write(&mut world, space, PAGE);
        if world.copy_object(object, space).is_some() {
            made += 1;
        }
    }
    assert_eq!(made, pager_server::DEPTH_MAX, "every copy of what has changed makes the chain longer");
    world.settle();
    world.crash(None);
    world.read_all();
}

/// A shell's life: copy, write on both sides, drop the copy.
#[test]
fn copying_again_and_again_goes_on_for_ever() {
    let (mut world, space, object) = world(Shape { interleave: 3, ..CALM }, 4);
    let mut made = 0;
    for round in 0..100 {
        write(&mut world, space, PAGE + round % 3);
        let Some(copy) = world.copy_object(object, space) else { continue };
        made += 1;
        assert!(world.map(space, copy, PAGE + 20, 0, 4, true));
        write(&mut world, space, PAGE + 20 + round % 4);
        write(&mut world, space, PAGE + round % 4);
        if round % 7 == 0 {
            world.settle();
        }
        world.destroy_object(copy);
        world.unmap(space, PAGE + 20, 4);
        world.check();
    }
    assert!(made > 80, "{made}: only answers that got lost are missing");
    world.settle();
    world.crash(None);
    world.read_all();
}

#[test]
fn copies_of_what_has_not_changed_are_brothers() {
    let (mut world, space, object) = world(CALM, 2);
    write(&mut world, space, PAGE);
    let made = (0..20).filter_map(|_| world.copy_object(object, space)).count();
    assert!(made > pager_server::DEPTH_MAX, "{made}");
    world.check();
    let copies: Vec<u32> =
        world.outside.kernel.model.objects.keys().copied().filter(|&other| other != object).collect();
    for copy in copies {
        world.destroy_object(copy);
        world.check();
    }
    // Alone again, it is what it was before it was copied.
    world.settle();
    world.read_all();
}

#[test]
fn stale_capabilities_name_nothing() {
    let (mut world, space, object) = world(CALM, 2);
    let badge = world.object_badge(object);
    world.destroy_object(object);
    (0..99).find_map(|_| world.create_object(space, 2, false)).expect("in the same slot");
    let nothing: world::kernel::Effect = Box::new(|_, _| {});
    let answered = world.request(badge, Request::DestroyObject, [0; 4], None, nothing);
    assert_eq!(answered.map(|answered| answered.tag), Some(Error::Gone as u64));
}

/// What a waiting fault knows to be absent is about one page: its region may be another when it is served again.
#[test]
fn a_region_that_changes_under_a_waiting_fault_is_looked_at_anew() {
    let (mut world, space, object) = world(CALM, 2);
    for page in 0..2 {
        write(&mut world, space, PAGE + page);
    }
    (0..99).find_map(|_| world.copy_object(object, space)).expect("made");
    // Page 1 of the object is its own, page 0 is still its ancestor's.
    write(&mut world, space, PAGE + 1);
    world.settle();
    world.crash(None);
    world.access(space, PAGE, false);
    run(&mut world);
    assert!(world.outside.store.take(&mut world.outside.kernel));
    assert!(world.outside.store.answer_one(&mut world.outside.kernel, &mut world.random));
    assert!(world.deliver(), "the object itself has no such page");
    // It waits for the ancestor's page now; meanwhile the other page comes to lie there.
    world.unmap(space, PAGE, 2);
    assert!(world.map(space, object, PAGE, 1, 1, true));
    world.settle();
    assert_eq!(world.outside.kernel.figures.reads, 1);
    assert_eq!(world.outside.kernel.figures.stopped, 0);
}

fn refusal(world: &mut World, badge: u64, request: u64, words: [u64; 8], cap: Option<Badge>) -> u64 {
    let cap = cap.and_then(|badge| world.outside.kernel.add_handle(Some(badge.bits())));
    world.outside.kernel.serving_request = true;
    world.outside.kernel.answered = None;
    let message = pager_server::RequestMessage { badge, tag: request, words, cap };
    world.pager.request(&mut world.outside, message);
    let Answered { tag, badge, .. } = world.outside.kernel.answered.expect("answered");
    assert_eq!(badge, None);
    tag
}

#[test]
fn nonsense_is_refused() {
    let (mut world, _, object) = world(CALM, 4);
    let space = world.outside.kernel.model.spaces.values().next().expect("made").id;
    let (space, object) = (Badge::Space(space), world.object_badge(object));
    let Badge::Object { id, .. } = object else { panic!("an object") };
    let read_only = Badge::Object { id, write: false };
    let map = Request::MapRegion as u64;
    let page = 4096_u64;
    let high = abi::USER_END;
    for (badge, request, words, cap, error) in [
        (0, 1, [0; 8], None, Error::BadRequest),
        (Badge::Root.bits(), 2, [0; 8], None, Error::BadRequest),
        (space.bits(), 99, [0; 8], None, Error::BadRequest),
        (space.bits(), 2, [0, 0, 0, 0, 0, 0, 0, 0], None, Error::BadArgument),
        (space.bits(), 2, [u64::MAX, 0, 0, 0, 0, 0, 0, 0], None, Error::BadArgument),
        (space.bits(), 2, [1, 2, 0, 0, 0, 0, 0, 0], None, Error::BadArgument),
        (space.bits(), 2, [61, 0, 0, 0, 0, 0, 0, 0], None, Error::BudgetExhausted),
        (space.bits(), map, [99 * page, 1, 0, 0, 0, 0, 0, 0], None, Error::BadCapability),
        (space.bits(), map, [99 * page + 1, 1, 0, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [0, 1, 0, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [high - page, 2, 0, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [99 * page, u64::MAX, 0, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [99 * page, 2, 3, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [99 * page, 2, u64::MAX, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [99 * page, 1, 0, 3, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [99 * page, 1, 0, 4, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (space.bits(), map, [99 * page, 1, 0, 1, 0, 0, 0, 0], Some(read_only), Error::ReadOnly),
        (space.bits(), map, [PAGE * page, 1, 0, 0, 0, 0, 0, 0], Some(object), Error::Overlap),
        (space.bits(), 4, [7, 1, 0, 0, 0, 0, 0, 0], None, Error::BadArgument),
        (space.bits(), 4, [page, 0, 0, 0, 0, 0, 0, 0], None, Error::BadArgument),
        (object.bits(), 5, [0; 8], Some(read_only), Error::BadCapability),
        (space.bits(), 10, [2, 0, 0, 0, 0, 0, 0, 0], None, Error::BadCapability),
        (space.bits(), 10, [2, 0, 0, 0, 0, 0, 0, 0], Some(space), Error::BadCapability),
        (space.bits(), 10, [1, 0, 0, 0, 0, 0, 0, 0], Some(object), Error::BadArgument),
        (object.bits(), 10, [2, 0, 0, 0, 0, 0, 0, 0], Some(object), Error::BadRequest),
        (read_only.bits(), 6, [0; 8], None, Error::ReadOnly),
        (Badge::Space(77).bits(), 7, [0; 8], None, Error::Gone),
        (Badge::Object { id: 1 << 16, write: true }.bits(), 6, [0; 8], None, Error::Gone),
    ] {
        assert_eq!(refusal(&mut world, badge, request, words, cap), error as u64, "{request} {words:?}");
        world.check();
    }
    assert!(world.outside.kernel.handles.is_empty(), "no capability is kept");
}

#[test]
fn what_no_snapshot_server_says_stops_the_pager() {
    let (mut world, space, _) = world(CALM, 1);
    write(&mut world, space, PAGE);
    let epoch = world.pager.running();
    let page = PageName { content: 1, index: 0 };
    for (message, broken) in [
        (ToPager::Begin { epoch }, Broken::Phase),
        (ToPager::Restore { slot: 0, bytes: 8 }, Broken::Phase),
        (ToPager::RestoreEnd { epoch }, Broken::Phase),
        (ToPager::Released { epoch, frame: 0 }, Broken::Released { frame: 0 }),
        (ToPager::Released { epoch, frame: 3 }, Broken::Released { frame: 3 }),
        (ToPager::Paged { page, frame: 3, outcome: PagedAs::Filled }, Broken::Paged { frame: 3 }),
        (ToPager::BatchTaken { slot: 0 }, Broken::Batch { slot: 0 }),
    ] {
        assert_eq!(world.pager.store_message(&mut world.outside, message), Err(broken));
        world.check();
    }
}

#[test]
fn frames_that_are_free_are_unknown_to_the_kernel() {
    let (mut world, space, object) = world(CALM, 8);
    for page in 0..8 {
        write(&mut world, space, PAGE + page);
    }
    world.settle();
    world.destroy_object(object);
    world.settle();
    let tracked = world.outside.kernel.frames.iter().filter(|frame| frame.state != FrameState::Untracked).count();
    assert_eq!(tracked, 0);
    assert_eq!(world.pager.figures().free + world.pager.figures().donated, world.pager.figures().frames);
}

/// A world with a bit of everything, committed.
fn rich(seed: u64) -> World {
    let mut world = World::new(seed, Shape { interleave: 3, ..CALM });
    world.genesis(5);
    let mut actions = world::random::Random::new(seed);
    for _ in 0..1500 {
        world.step(actions.below(256) as u8);
    }
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to one record, the pager refuses it, or what it accepts is sound.
    #[test]
    fn records_are_judged(seed in 0_u64..4, changes in prop::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 40)) {
        let world = rich(seed);
        let image = world.outside.store.image.clone();
        for (which, at, value) in changes {
            let mut world = World::new(seed, CALM);
            world.outside.store.image = image.clone();
            world.outside.store.committed = Some(Epoch::first_of(1).expect("small"));
            let records = &mut world.outside.store.image.records;
            let key = *records.keys().nth(which % records.len()).expect("not empty");
            let bytes = records.get_mut(&key).expect("there");
            let place = at % bytes.len();
            bytes[place] = if value < 128 { bytes[place] ^ 1 << (value % 8) } else { value };
            world.try_restore();
            prop_assert!(world.outside.store.ready != world.outside.store.refused.is_some());
            if world.outside.store.ready {
                world.check();
            }
        }
    }
}

#[test]
fn records_of_another_layout_are_another_version() {
    let mut world = rich(1);
    let records = &mut world.outside.store.image.records;
    let space = records.iter_mut().find(|((table, _), bytes)| *table == Table::Space as u16 && !bytes.is_empty());
    space.expect("there is one").1.truncate(16);
    world.try_restore();
    assert_eq!(world.outside.store.refused, Some((Table::Pager as u16, 0)));
}

#[test]
fn a_thread_that_only_reads_is_shown_what_is_there() {
    let (mut world, space, _) = world(CALM, 1);
    world.access(space, PAGE, false);
    run(&mut world);
    assert_eq!((world.outside.kernel.figures.reads, world.outside.kernel.threads.len()), (1, 0));
    world.outside.kernel.threads.push(Thread { process: 101, page: 1, op: Op::Read, state: Where::Ready });
    run(&mut world);
    assert_eq!(world.outside.kernel.figures.stopped, 1, "nothing is mapped there");
}

/// The store gets done what it can, and commits.
fn commit_all(world: &mut World) {
    for _ in 0..200 {
        world.outside.kernel.exported = true;
        world.outside.store.read_one(&mut world.outside.kernel, &mut world.random);
        world.outside.store.answer_one(&mut world.outside.kernel, &mut world.random);
        world.settle_messages();
        world.pager.work(&mut world.outside);
        world.commit();
    }
    run(world);
}

#[test]
fn writers_wait_for_the_commit_that_makes_room() {
    let (mut world, space, _) = world(Shape { writes: 10, frames: 160, ..CALM }, 30);
    for page in 0..30 {
        world.access(space, PAGE + page, true);
    }
    run(&mut world);
    world.settle_messages();
    assert_eq!((world.outside.kernel.threads.len(), world.pager.figures().writes_left), (20, 0));
    assert!(world.outside.store.waits);
    for left in [10, 0] {
        cut(&mut world);
        commit_all(&mut world);
        assert_eq!(world.outside.kernel.threads.len(), left, "a commit lets as many go on as it made room for");
    }
    world.settle();
    assert!(!world.outside.store.waits && world.outside.store.waited == 1);
    world.crash(None);
    world.read_all();
}

/// The kernel settles first writes by itself: it too must stop where the room ends.
#[test]
fn the_kernel_writes_no_further_than_there_is_room() {
    let (mut world, space, _) = world(Shape { writes: 20, frames: 160, ..CALM }, 30);
    for round in 0..2 {
        for page in 15 * round..15 * (round + 1) {
            write(&mut world, space, PAGE + page);
        }
        cut(&mut world);
        commit_all(&mut world);
    }
    // All thirty are mapped and clean.
    for page in 0..30 {
        world.access(space, PAGE + page, true);
    }
    run(&mut world);
    assert_eq!(world.outside.kernel.threads.len(), 10);
    world.settle();
    world.crash(None);
    world.read_all();
}

/// The first epoch of a world is refused as a whole, with the size of a disk that takes it: by the store, not by the
/// pager, which would have to stop in the midst of it.
#[test]
fn a_world_that_begins_is_not_refused_for_want_of_room() {
    let (mut world, space, _) = world(Shape { growth: 0, ..CALM }, 20);
    cut(&mut world);
    commit_all(&mut world);
    let badge = Badge::Space(world.outside.kernel.model.spaces[&space].id);
    let nothing: world::kernel::Effect = Box::new(|_, answered| assert_ne!(answered.tag, 0));
    let made = world.request(badge, Request::CreateObject, [1, 0, 0, 0], None, nothing);
    assert_eq!(made.map(|answered| answered.tag), Some(Error::StoreFull as u64));
}

#[test]
fn when_the_store_is_full_what_there_is_is_written_and_dropping_makes_room() {
    let (mut world, space, first) = world(Shape { growth: 24, frames: 160, ..CALM }, 20);
    let second = (0..99).find_map(|_| world.create_object(space, 20, false)).expect("made");
    assert!(world.map(space, second, PAGE + 32, 0, 20, true));
    for pages in [0..20, 32..52] {
        for page in pages {
            world.access(space, PAGE + page, true);
        }
        run(&mut world);
    }
    cut(&mut world);
    commit_all(&mut world);
    assert_eq!(world.outside.kernel.threads.len(), 16, "those wait whose pages do not exist");
    assert!(world.outside.notes.contains(&Note::StoreFull));
    // What exists is written on and on; what does not is read as zero; nothing is made or copied.
    for _ in 0..3 {
        for page in 0..20 {
            write(&mut world, space, PAGE + page);
        }
        world.access(space, PAGE + 51, false);
        run(&mut world);
        assert_eq!(world.outside.kernel.threads.len(), 16);
        cut(&mut world);
        commit_all(&mut world);
    }
    let nothing = || -> world::kernel::Effect { Box::new(|_, answered| assert_ne!(answered.tag, 0)) };
    let badge = Badge::Space(world.outside.kernel.model.spaces[&space].id);
    let made = world.request(badge, Request::CreateObject, [1, 0, 0, 0], None, nothing());
    assert_eq!(made.map(|answered| answered.tag), Some(Error::StoreFull as u64));
    let object = world.object_badge(first);
    let copied = world.request(object, Request::CopyObject, [0; 4], Some(badge), nothing());
    assert_eq!(copied.map(|answered| answered.tag), Some(Error::StoreFull as u64));
    // Dropping one lets the writers of the other go on.
    world.destroy_object(first);
    cut(&mut world);
    commit_all(&mut world);
    assert_eq!(world.outside.kernel.threads.len(), 0);
    world.settle();
    world.crash(None);
    world.read_all();
}
