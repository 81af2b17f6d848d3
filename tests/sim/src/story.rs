//! The story of one seed: a world that is begun, runs, loses power, comes back, and runs on, many times over.

use crate::chronicle::{Chronicle, Figures};
use crate::life::{Areas, Life, Plan};
use crate::limits::Limits;
use crate::snapshot::StorePlan;
use format::World;
use snapshot_server::conductor::Policy;
use snapshot_server::{Config, FormatOptions};
use std::cell::Cell;
use storesim::{Arena, CutMode, Fault, Random, SimDisk, Sizes};

/// Times the power goes in one story.
pub const POWER_CUTS: u32 = 12;
/// Steps after which a computer that has not got its world back counts as hung.
const HUNG_STEPS: u64 = 2_000_000;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes a panic say which seed it was.
fn name_the_seed() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            if let Some(seed) = SEED.get() {
                eprintln!("{}", replay(seed));
            }
        }));
    });
}

/// Seed and commit of a story, and how to see it again.
pub fn replay(seed: u64) -> String {
    let commit = storesim::commit();
    format!("seed {seed}, {commit}; replay: cargo xtask sim --system --seed {seed} --verbose; add --shrink")
}

/// Everything that a seed decides at the start.
struct Setting {
    plan: Plan,
    sizes: Sizes,
    fault: Fault,
    steps_max: u64,
}

impl Setting {
    fn new(random: &mut Random, verbose: bool) -> Self {
        let segment_blocks = 16;
        // In a quarter of the stories the disk is hardly large enough for the world.
        let small = random.chance(25);
        let blocks = if small { random.within(600, 760) } else { random.within(1200, 2400) };
        let sizes = Sizes {
            blocks: blocks as usize,
            segment_blocks,
            entries: 4000,
            cells: 6000,
            deferred: 64,
            caller_pages: 0,
        };
        let config = Config {
            recent_epochs: random.below(3) as u8,
            checkpoints: random.within(1, 3) as u8,
            interval_entries: random.within(60, 1000) as u32,
            interval_descriptors: random.within(4, 60) as u32,
            verify_pages: random.within(2, 64) as u32,
        };
        let options = FormatOptions {
            world: World(random.bits() | 1),
            root_slots: random.within(2, 6) as u32,
            segment_blocks: segment_blocks as u32,
            formatted_ns: 0,
            programs: 0,
        };
        let interval_ns = random.within(100_000, 2_000_000);
        let policy = Policy { interval_ns, hurry_ns: interval_ns / random.within(2, 20) };
        let plan = Plan {
            cpus: random.within(1, 3) as u32,
            // Sometimes the world is a good deal larger than memory.
            frames: if random.chance(40) { random.within(56, 110) } else { random.within(110, 260) } as u32,
            tables: random.within(32, 68) as u32,
            log: random.within(16, 128) as u32,
            scribbler_pages: 8 << random.below(4),
            store: StorePlan { config, policy, options },
            step_ns_max: random.within(100, 2000),
            driver_dies: if random.chance(40) { random.within(200, 4000) } else { 0 },
            console_dies: if random.chance(30) { random.within(20, 300) } else { 0 },
            sleep_ns: if random.chance(30) { random.within(1, 20) * interval_ns } else { 0 },
            check_every: 512,
            verbose,
        };
        let some = |random: &mut Random| if random.chance(30) { random.below(60) } else { 0 };
        let [write_error, read_error, command_lost] = [some(random), some(random), some(random)];
        let fault = Fault { write_error, read_error, command_lost, ..Fault::default() };
        Self { plan, sizes, fault, steps_max: random.within(3_000, 25_000) }
    }
}

/// Runs the story of a seed. Panics, and names the seed, when anything is not as promised.
pub fn run_seed(seed: u64, verbose: bool) -> Figures {
    run_limited(seed, &Limits::default(), verbose)
}

/// The same with less of it, as [`Limits`] says.
pub fn run_limited(seed: u64, limits: &Limits, verbose: bool) -> Figures {
    name_the_seed();
    SEED.set(Some(seed));
    let mut random = Random::new(seed);
    let mut setting = Setting::new(&mut random, verbose);
    limits.apply(&mut setting.plan, &mut setting.fault, &mut setting.steps_max);
    let power_cuts = limits.power_cuts.map_or(POWER_CUTS, |cuts| cuts.min(POWER_CUTS));
    let mut disk = SimDisk::new(setting.sizes.blocks, random.bits(), setting.plan.pages());
    let mut chronicle = Chronicle::default();
    for number in 0..=power_cuts {
        let areas = Areas::new();
        let mut arena = Arena::new(&setting.sizes);
        disk.fault = setting.fault;
        disk.in_order = limits.in_order;
        let mut life = Life::new(setting.plan, &areas, &mut arena, disk, random, chronicle);
        live(&mut life, &setting, number, number == power_cuts);
        let numbers = life.board().chronicle.numbers();
        (disk, random, chronicle) = life.end();
        if verbose {
            println!("life {number}: the tally has come to {}, {} was shown", numbers.0, numbers.1);
        }
        chronicle.figures.power_cuts += 1;
        disk.kill();
        let drawn = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
        let mode = if limits.all_lost { CutMode::Lost } else { drawn };
        disk.revive(mode, random.bits());
    }
    SEED.set(None);
    chronicle.figures
}

/// From power on until the power goes: after some steps, or at some command of the disk.
fn live(life: &mut Life<'_>, setting: &Setting, number: u32, is_last: bool) {
    // A store whose format was cut was never there: the simulation of the store covers that.
    let mut waited = 0;
    while number == 0 && life.board().shared.epochs.first == abi::Epoch::NONE {
        life.step();
        waited += 1;
        assert!(waited < HUNG_STEPS, "no world begins: {}", life.describe());
    }
    let random = &mut life.board().random;
    let by_command = random.chance(50).then(|| random.below(600));
    let steps = random.within(1, setting.steps_max);
    life.disk().commands_left = by_command;
    let mut left = if by_command.is_some() { setting.steps_max } else { steps };
    while left > 0 && !life.disk().is_dead() {
        life.step();
        left -= 1;
    }
    // The last life has to get its world back.
    while is_last && !life.disk().is_dead() && !life.board().kernel.has_started() {
        life.step();
        waited += 1;
        assert!(waited < HUNG_STEPS, "the world does not come back: {}", life.describe());
    }
    life.check();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that every run of the tests tries.
    const SEEDS: u64 = 200;

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(run_seed(5, false), run_seed(5, false));
    }

    #[test]
    fn worlds_survive_losing_power() {
        let one = std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("SIM_SEED is a number"));
        let seeds = one.map_or(1..SEEDS + 1, |seed: u64| seed..seed + 1);
        let mut figures = Figures::default();
        for seed in seeds {
            figures.add(&run_seed(seed, one.is_some()));
        }
        println!("{figures}");
        storesim::note("sim: the whole system", &format!("{} cuts, {} restores", figures.power_cuts, figures.restores));
        let rare = [figures.restarted, figures.repeated, figures.quiet, figures.shown_again, figures.driver_deaths]
            .into_iter()
            .chain([figures.writers_waited, figures.writers_went_on, figures.disks_full]);
        assert!(one.is_some() || rare.into_iter().all(|count| count > 0), "something never happened");
    }
}
