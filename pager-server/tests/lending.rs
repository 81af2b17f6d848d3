//! Lending a page to the volatile process that borrows, one story each. That what it sees is always what is in the page,
//! whatever else happens, is checked after every event here and in the property test ([`world`]).

mod world;

use abi::protocol::lent::{LentName, PLACES};
use abi::protocol::memory::{Badge, Error, Request};
use abi::protocol::paging::ToPager;
use abi::protocol::service::Service;
use world::kernel::Effect;
use world::store::PLENTY;
use world::{PAGE, Shape, World};

const CALM: Shape =
    Shape { frames: 64, donated: 4, reserve: 4, interleave: 0, pool: 1000, writes: PLENTY, growth: PLENTY };

/// A world with one space and one object of `pages` pages, mapped at [`PAGE`] and lent.
fn world(shape: Shape, pages: u64) -> (World, u32, u32) {
    let mut world = World::new(1, shape);
    let space = (0..99).find_map(|_| world.create_space()).expect("made");
    let object = (0..99).find_map(|_| world.create_object(space, pages, false)).expect("made");
    assert!(world.map(space, object, PAGE, 0, pages, true));
    assert!(world.lend(space, object));
    (world, space, object)
}

/// Lets threads run and faults be served until nothing moves, without the store.
fn run(world: &mut World) {
    for _ in 0..200 {
        world.outside.kernel.run_any();
        world.receive();
    }
    world.check();
}

fn write(world: &mut World, space: u32, page: u64) {
    world.access(space, page, true);
    run(world);
}

fn cut(world: &mut World) {
    world.outside.kernel.exported = true;
    world.tell(ToPager::Cut);
    world.check();
}

/// The frame that the borrower sees of an object, if it was told of it.
fn shown(world: &World, object: u32) -> Option<u32> {
    let kernel = &world.outside.kernel;
    let name = LentName::of_object(kernel.model.objects[&object].id);
    let place = kernel.names.iter().find(|(_, told)| **told == name).map(|(place, _)| place)?;
    kernel.window.get(place).copied()
}

#[test]
fn a_page_is_shown_when_it_has_been_written_and_keeps_its_frame_when_the_writer_is_first() {
    let (mut world, space, object) = world(CALM, 40);
    assert_eq!(shown(&world, object), None, "zeros lie in the window anyway");
    // More than the ring to the store has room for: what was written last is claimed late.
    for page in (0..40).rev() {
        write(&mut world, space, PAGE + page);
    }
    let frame = shown(&world, object).expect("written");
    cut(&mut world);
    write(&mut world, space, PAGE);
    assert_eq!((world.outside.kernel.figures.copies, shown(&world, object)), (1, Some(frame)));
    world.settle();
    assert_eq!(shown(&world, object), Some(frame));
}

#[test]
fn a_page_that_a_device_reads_moves_and_so_does_what_is_shown() {
    let (mut world, space, object) = world(CALM, 1);
    write(&mut world, space, PAGE);
    let before = shown(&world, object).expect("written");
    // Gathered with the cut, so the device has it before the writer comes.
    cut(&mut world);
    write(&mut world, space, PAGE);
    let after = shown(&world, object).expect("still");
    assert_ne!(before, after, "the frame stays with the ended epoch");
    world.settle();
    assert_eq!(shown(&world, object), Some(after));
}

#[test]
fn a_lent_page_is_never_evicted() {
    let (mut world, space, object) = world(Shape { frames: 24, ..CALM }, 60);
    write(&mut world, space, PAGE);
    world.settle();
    let frame = shown(&world, object).expect("written");
    for round in 0..3 {
        for page in 1..60 {
            world.access(space, PAGE + page, round != 1);
            world.settle();
        }
    }
    assert!(world.outside.store.page_ins > 30, "memory is short");
    assert_eq!(shown(&world, object), Some(frame));
}

#[test]
fn what_is_destroyed_is_shown_no_more() {
    let (mut world, space, object) = world(CALM, 1);
    write(&mut world, space, PAGE);
    world.destroy_object(object);
    assert!(world.outside.kernel.window.is_empty() && world.outside.kernel.names.is_empty());
    assert_eq!(world.pager.lent().count(), 0);
    // Another one in its slot has another name.
    let next = (0..99).find_map(|_| world.create_object(space, 1, false)).expect("made");
    assert!(world.map(space, next, PAGE + 9, 0, 1, true) && world.lend(space, next));
    write(&mut world, space, PAGE + 9);
    assert!(shown(&world, next).is_some());
    world.destroy_space(space);
    assert!(world.outside.kernel.window.is_empty());
    world.settle();
}

#[test]
fn a_space_lends_one_page() {
    let (mut world, space, first) = world(CALM, 1);
    write(&mut world, space, PAGE);
    let second = (0..99).find_map(|_| world.create_object(space, 1, false)).expect("made");
    assert!(world.map(space, second, PAGE + 9, 0, 1, true));
    write(&mut world, space, PAGE + 9);
    assert!(world.lend(space, second));
    assert!(shown(&world, first).is_none() && shown(&world, second).is_some());
    let changes = world.pager.lent().count();
    assert!(world.lend(space, second), "again: nothing changes");
    assert_eq!((changes, world.pager.lent().count()), (1, 1));
}

#[test]
fn a_copied_ring_is_shown_through_its_ancestor_until_it_is_written() {
    let (mut world, space, object) = world(CALM, 2);
    write(&mut world, space, PAGE);
    let before = shown(&world, object).expect("written");
    let copy = (0..99).find_map(|_| world.copy_object(object, space)).expect("made");
    assert_eq!(shown(&world, object), Some(before));
    write(&mut world, space, PAGE);
    let after = shown(&world, object).expect("still");
    assert_ne!(before, after, "the page is its own now");
    world.destroy_object(copy);
    world.settle();
    assert_eq!(shown(&world, object), Some(after));
}

#[test]
fn after_a_restore_it_is_shown_again_without_a_request() {
    let (mut world, space, object) = world(CALM, 2);
    write(&mut world, space, PAGE);
    world.settle();
    let seen = world.outside.kernel.model.objects[&object].pages[0];
    world.crash(None);
    assert_eq!(shown(&world, object), None, "its page lies on the disk");
    world.settle();
    let frame = shown(&world, object).expect("fetched, though no thread touched it");
    assert_eq!(world.outside.kernel.frames[frame as usize].bytes, seen);
}

#[test]
fn a_ring_in_a_content_that_the_store_has_not_is_looked_for_above() {
    let (mut world, space, object) = world(CALM, 2);
    write(&mut world, space, PAGE);
    (0..99).find_map(|_| world.copy_object(object, space)).expect("made");
    // Page 1 is the object's own, page 0 its ancestor's.
    write(&mut world, space, PAGE + 1);
    world.settle();
    world.crash(None);
    world.settle();
    assert!(shown(&world, object).is_some());
}

#[test]
fn another_borrower_is_shown_everything() {
    let (mut world, space, object) = world(CALM, 1);
    write(&mut world, space, PAGE);
    let frame = shown(&world, object);
    world.change_borrower();
    world.check();
    assert_eq!(shown(&world, object), frame);
}

#[test]
fn a_world_lends_no_more_than_there_are_places() {
    let mut world = World::with_spaces(1, Shape { frames: 160, ..CALM }, PLACES as u32 + 2);
    let spaces: Vec<u32> = (0..PLACES + 1).map(|_| (0..99).find_map(|_| world.create_space()).expect("made")).collect();
    let object = (0..99).find_map(|_| world.create_object(spaces[0], 1, false)).expect("made");
    let (last, others) = spaces.split_last().expect("many");
    for space in others {
        assert!(world.lend(*space, object), "one object may be lent by many");
    }
    assert_eq!(lend(&mut world, *last, object), Error::TablesExhausted as u64);
    world.destroy_space(others[3]);
    assert_eq!(lend(&mut world, *last, object), 0);
    world.check();
}

/// Asks for it, whatever the answer is to be.
fn lend(world: &mut World, space: u32, object: u32) -> u64 {
    let badge = Badge::Space(world.outside.kernel.model.spaces[&space].id);
    let cap = world.object_badge(object);
    let effect: Effect = Box::new(move |model, answered| {
        if answered.tag == 0 {
            model.lent.insert(space, object);
        }
    });
    let words = [Service::Console as u64, 0, 0, 0];
    world.request(badge, Request::Lend, words, Some(cap), effect).expect("answered").tag
}
