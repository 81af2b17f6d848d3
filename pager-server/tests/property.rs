//! The heart: whatever programs, the store, other CPUs and power cuts do, in whatever order, every read sees what the
//! flat model says, every committed epoch comes back as it was at its cut, and nothing waits for ever.
//!
//! `PAGER_SEED=n` replays; `PAGER_CASES=n` runs more.

mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::ops::Range;
use world::store::PLENTY;
use world::{Shape, World};

fn seed() -> u64 {
    let given = std::env::var("PAGER_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        now.as_nanos() as u64 % 1_000_000_007
    })
}

fn cases(default: u32) -> u32 {
    std::env::var("PAGER_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

#[derive(Clone, Debug)]
enum Step {
    Action(u8),
    Crash(Option<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        800 => any::<u8>().prop_map(Step::Action),
        1 => proptest::option::of(0_usize..3).prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 0..3000)
}

fn run(seed: u64, shape: Shape, steps: &[Step]) -> World {
    let mut world = World::new(seed, shape);
    world.genesis(6);
    world.create_space();
    world.check();
    for step in steps {
        match *step {
            Step::Action(action) => world.step(action),
            Step::Crash(after) => world.crash(after),
        }
        world.check();
    }
    world.settle();
    world.check();
    world.check_usage();
    world.read_all();
    world.check();
    // Once more from what is durable by now.
    world.crash(None);
    world.read_all();
    world.check();
    if std::env::var_os("PAGER_FIGURES").is_some() {
        let (kernel, store) = (&world.outside.kernel, &world.outside.store);
        println!(
            "{shape:?} steps {} done {:?} page-ins {} epoch {}",
            steps.len(),
            kernel.figures,
            store.page_ins,
            kernel.epoch
        );
    }
    world
}

fn search(name: &str, default_cases: u32, shape: impl Strategy<Value = Shape>) {
    search_from(seed(), name, default_cases, shape);
}

fn search_from(seed: u64, name: &str, default_cases: u32, shape: impl Strategy<Value = Shape>) {
    let config = Config {
        cases: cases(default_cases),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: std::env::var("PAGER_SHRINK").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000),
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&(any::<u64>(), shape, steps()), |(inner, shape, steps)| {
        run(inner, shape, &steps);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("replay: PAGER_SEED={seed} cargo test -p pager-server --test property {name}\n{failure}");
    }
}

/// Sizes within these bounds; in half of the cases the store takes few pages at a time.
fn shape(
    frames: Range<u64>,
    donated: Range<u32>,
    reserve: Range<u32>,
    interleave: Range<usize>,
    pool: Range<usize>,
) -> impl Strategy<Value = Shape> {
    let writes = prop_oneof![Just(PLENTY), 10_u64..40];
    (frames, donated, reserve, interleave, pool, writes).prop_map(
        |(frames, donated, reserve, interleave, pool, writes)| {
            let growth = PLENTY;
            Shape { frames, donated, reserve, interleave, pool, writes, growth }
        },
    )
}

#[test]
fn memory_is_what_was_written() {
    let shape = shape(40..120, 1..5, 1..5, 0..5, 6..90);
    search("memory_is_what_was_written", 150, shape);
}

fn short() -> impl Strategy<Value = Shape> {
    shape(16..28, 1..4, 1..3, 0..4, 3..40)
}

#[test]
fn memory_is_what_was_written_when_it_is_short() {
    search("memory_is_what_was_written_when_it_is_short", 150, short());
}

/// From here threads took each other's pages for ever, before one process at a time was sheltered.
#[test]
fn a_seed_that_thrashed_ends() {
    search_from(289_698_772, "memory_is_what_was_written_when_it_is_short", 150, short());
}
