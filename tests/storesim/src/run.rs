//! Seeded runs: several lives of one world on one disk, each ended by a cut at a random command.

use format::World;
use snapshot_server::{Config, Failure, FormatOptions};

use crate::arena::{Arena, Sizes};
use crate::disk::{CutMode, Fault, SimDisk};
use crate::life::{Ended, History, Life, LifeError, Lived};
use crate::random::Random;
use crate::tally::Tally;

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its seed: running it again does the same.
    pub seed: u64,
    /// In which life, from 0.
    pub life: u32,
    /// What went wrong.
    pub error: LifeError,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, life, error } = self;
        write!(f, "life {life}: {error:?}; replay: cargo run --release -p storesim -- --seed {seed}")
    }
}

/// What a run's world is like; all from its seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Memory of the store.
    pub sizes: Sizes,
    /// How it weighs space and time.
    pub config: Config,
    /// What is formatted.
    pub options: FormatOptions,
    /// Objects that are written.
    pub objects: u64,
    /// Pages of each.
    pub indices: u64,
    /// Most changes of an epoch.
    pub changes: u64,
}

impl Plan {
    /// Draws a plan: small disks, short intervals, few checkpoints, so that everything happens often.
    pub fn new(random: &mut Random) -> Self {
        let segment_blocks = if random.chance(50) { 8 } else { 16 };
        let sizes = Sizes {
            blocks: random.within(160, 420) as usize,
            segment_blocks,
            entries: 600,
            cells: 900,
            deferred: random.within(1, 64) as usize,
            caller_pages: 40,
        };
        let config = Config {
            recent_epochs: random.below(4) as u8,
            checkpoints: random.within(1, 4) as u8,
            interval_entries: random.within(8, 60) as u32,
            interval_descriptors: random.within(2, 12) as u32,
            verify_pages: random.within(2, 24) as u32,
        };
        let options = FormatOptions {
            world: World(random.bits()),
            root_slots: random.within(2, 4) as u32,
            segment_blocks: segment_blocks as u32,
            formatted_ns: 0,
            programs: 0,
        };
        // Now and then more than the disk can hold.
        let too_much = random.chance(4);
        let indices = if too_much { random.within(100, 300) } else { random.within(4, 16) };
        let changes = if too_much { random.within(16, 60) } else { random.within(1, 16) };
        Self { sizes, config, options, objects: random.within(1, 3), indices, changes }
    }
}

/// Says how to see a run again when an assertion of the store ends it.
pub(crate) struct Replay(pub(crate) u64, pub(crate) &'static str);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay: cargo run --release -p storesim -- --seed {}{}", self.0, self.1);
        }
    }
}

/// Counts how a life has ended; an error when that broke a promise.
pub(crate) fn judge(end: Lived<()>, faulty: bool, tally: &mut Tally) -> Result<(), LifeError> {
    match end {
        Ok(()) | Err(Ok(Ended::Done)) => tally.add("lives: done", 1),
        Err(Ok(Ended::Cut)) => tally.add("lives: cut", 1),
        Err(Ok(Ended::Full)) => tally.add("lives: disk full", 1),
        Err(Ok(Ended::Refused(_))) if faulty => tally.add("lives: refused to open", 1),
        Err(Ok(Ended::Stopped(_))) if faulty => tally.add("lives: stopped", 1),
        Err(Ok(Ended::Refused(refusal))) => return Err(LifeError::Refused(refusal)),
        Err(Ok(Ended::Stopped(failure))) => return Err(LifeError::Stopped(failure)),
        Err(Err(error)) => return Err(error),
    }
    Ok(())
}

/// Counts what a cut meets.
pub(crate) fn tally_cut(disk: &SimDisk, tally: &mut Tally) {
    let (unflushed, flushing) = disk.unflushed();
    tally.add("cuts", 1);
    tally.add(if flushing { "cut: during a flush" } else { "cut: outside a flush" }, 1);
    tally.add("cut: between data and root", u64::from(disk.root_unflushed()));
    tally.add(if unflushed == 0 { "cut: nothing unflushed" } else { "cut: with unflushed writes" }, 1);
}

/// Runs the world of `seed` through up to `lives` cuts.
pub fn run_seed(seed: u64, lives: u32) -> Result<Tally, Failed> {
    let _replay = Replay(seed, "");
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    // Faults that a store has to get over without anybody noticing, in a third of the runs.
    let fault = if random.chance(33) {
        Fault {
            write_error: random.below(100),
            read_error: random.below(100),
            command_lost: random.below(100),
            reset: random.below(60),
            ..Fault::default()
        }
    } else {
        Fault::default()
    };
    let mut tally = Tally::default();
    let mut arena = Arena::new(&plan.sizes);
    let mut disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut history = History::default();
    for number in 0..lives {
        let formatting = number == 0;
        let disk_fails = !formatting && fault.write_error > 0;
        disk.fault = if formatting { Fault::default() } else { fault };
        let mut life = if formatting {
            Life::format(&mut arena, disk, plan.config, plan.options)
        } else {
            Life::open(&mut arena, disk, plan.config, None, history)
        };
        let end = live(&mut life, &plan, &mut random, formatting);
        tally.merge(&life.tally);
        tally.add("store: retired by itself", life.store.status().retired_for_space.into());
        tally.add("store: block written again", life.store.status().blocks_rewritten);
        // A disk that refuses the same command over and over ends a store, which says so; nothing may be lost by that.
        let end = match end {
            Err(Err(LifeError::Stopped(failure @ Failure::Disk { .. }))) if disk_fails => {
                Err(Ok(Ended::Stopped(failure)))
            }
            end => end,
        };
        let given_up = matches!(end, Err(Ok(Ended::Stopped(_))));
        judge(end, given_up, &mut tally).map_err(|error| Failed { seed, life: number, error })?;
        history = core::mem::take(&mut life.history);
        disk = life.store.into_host();
        tally_cut(&disk, &mut tally);
        let mode = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
        let seed = random.bits();
        disk.revive(mode, seed);
    }
    tally.disk(&disk.count);
    Ok(tally)
}

fn live(life: &mut Life<'_>, plan: &Plan, random: &mut Random, formatting: bool) -> Lived<()> {
    // A store whose format was cut was never there; formats are cut by a test of their own.
    if !formatting {
        // Some cuts hit the opening, the incarnation, the first epoch; the others anything.
        let commands = if random.chance(30) { random.below(40) } else { random.below(200) };
        life.store.host_mut().commands_left = Some(commands);
    }
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    if formatting {
        life.store.host_mut().commands_left = Some(random.below(200));
    }
    work(life, plan, random, 60)
}

/// Epochs until the power goes, `epochs_max` at most.
pub(crate) fn work(life: &mut Life<'_>, plan: &Plan, random: &mut Random, epochs_max: u64) -> Lived<()> {
    for _ in 0..random.within(1, epochs_max) {
        let changes = if random.chance(10) { 0 } else { random.within(1, plan.changes) };
        match life.epoch(random, changes, plan.objects, plan.indices) {
            Err(Ok(Ended::Full)) => {
                // Full is an error that leaves all whole and room to free: drop something, and go on.
                life.tally.add("disk full", 1);
                life.free_some(random, plan.objects)?;
            }
            other => other?,
        }
        if random.chance(50) {
            life.settle()?;
        }
        if random.chance(10) {
            let (object, index) = (random.below(plan.objects), random.below(plan.indices));
            let epoch = life.store.head();
            life.check_page(epoch, object, index)?;
        }
        if random.chance(2) {
            life.retire()?;
        }
    }
    life.settle()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts of the test; the binary `storesim` makes as many as one likes.
    const SEEDS: u64 = 17_000;
    const LIVES: u32 = 6;

    #[test]
    fn a_hundred_thousand_seeded_cuts_lose_nothing_that_was_acknowledged() {
        let mut tally = Tally::default();
        for seed in 1..=SEEDS {
            match run_seed(seed, LIVES) {
                Ok(run) => tally.merge(&run),
                Err(failed) => panic!("{failed}"),
            }
        }
        println!("{tally}");
        assert!(tally.of("cuts") >= 100_000, "{} cuts", tally.of("cuts"));
        // Each of these must have happened, or the run has shown less than it seems to.
        for name in [
            "disk full",
            "checkpoints",
            "checkpoints retired on demand",
            "cut: during a flush",
            "cut: with unflushed writes",
            "cut: block lost",
            "cut: block kept",
            "cut: block torn",
            "fault: write error",
            "fault: read error",
            "fault: command lost",
            "fault: reset",
            "fault: block forgotten by a reset",
            "store: block written again",
            "store: retired by itself",
            "case: NoCheckpoint",
            "case: LogEmpty",
            "case: LogEndBlank",
            "case: LogEndTorn",
            "case: LogEndStale",
            "case: LogEndAbandoned",
            "case: EpochUnfinished",
            "case: EpochDropped",
            "case: EpochVerified",
            "case: FoldInterrupted",
            "case: RootOneCopy",
            "root ring wrapped",
            "cut: between data and root",
        ] {
            assert!(tally.of(name) > 0, "never happened: {name}\n{tally}");
        }
    }
}
