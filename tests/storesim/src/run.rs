//! Seeded runs: several lives of one world on one disk, each ended by a cut at a random command.

use abi::Epoch;
use format::World;
use snapshot_server::{Config, FormatOptions};

use crate::arena::{Arena, Sizes};
use crate::disk::{CutMode, SimDisk};
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
        write!(f, "life {life}: {error:?}; replay: cargo xtask sim --seed {seed}")
    }
}

struct Plan {
    sizes: Sizes,
    config: Config,
    options: FormatOptions,
    objects: u64,
    indices: u64,
    changes: u64,
}

impl Plan {
    fn new(random: &mut Random) -> Self {
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
        };
        let (objects, indices) = (random.within(1, 3), random.within(4, 16));
        Self { sizes, config, options, objects, indices, changes: random.within(1, 16) }
    }
}

/// Runs the world of `seed` through up to `lives` cuts.
pub fn run_seed(seed: u64, lives: u32) -> Result<Tally, Failed> {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    let mut tally = Tally::default();
    let mut arena = Arena::new(&plan.sizes);
    let mut disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut history = History::default();
    for number in 0..lives {
        let formatting = number == 0;
        if std::env::var("STORE_TRACE").is_ok() {
            println!("seed {seed} life {number}");
        }
        let mut life = if formatting {
            Life::format(&mut arena, disk, plan.config, plan.options)
        } else {
            Life::open(&mut arena, disk, plan.config, None, history)
        };
        let end = live(&mut life, &plan, &mut random, formatting);
        tally.merge(&life.tally);
        let error = match end {
            Err(Ok(Ended::Cut | Ended::Done)) | Ok(()) => None,
            Err(Ok(Ended::Full)) => {
                tally.add("disk full", 1);
                None
            }
            Err(Ok(Ended::Refused(refusal))) => Some(LifeError::Refused(refusal)),
            Err(Ok(Ended::Stopped(failure))) => Some(LifeError::Stopped(failure)),
            Err(Err(error)) => Some(error),
        };
        if let Some(error) = error {
            return Err(Failed { seed, life: number, error });
        }
        history = core::mem::take(&mut life.history);
        disk = life.store.into_host();
        let (unflushed, flushing) = disk.unflushed();
        tally.add("cuts", 1);
        tally.add(if flushing { "cut during a flush" } else { "cut outside a flush" }, 1);
        tally.add(if unflushed == 0 { "cut with nothing unflushed" } else { "cut with unflushed writes" }, 1);
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
        let commands = if random.chance(30) { random.below(40) } else { random.below(400) };
        life.store.host_mut().commands_left = Some(commands);
    }
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    if formatting {
        life.store.host_mut().commands_left = Some(random.below(400));
    }
    let epochs = random.within(1, 40);
    for _ in 0..epochs {
        let changes = if random.chance(10) { 0 } else { random.within(1, plan.changes) };
        life.epoch(random, changes, plan.objects, plan.indices)?;
        if random.chance(50) {
            life.settle()?;
        }
        if random.chance(10) {
            let last = life.history.sealed.last().map_or(Epoch::NONE, |(epoch, _)| *epoch);
            let (object, index) = (random.below(plan.objects), random.below(plan.indices));
            life.check_page(last, object, index)?;
        }
    }
    if random.chance(50) {
        life.settle()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_cuts_never_lose_an_acknowledged_epoch() {
        let mut tally = Tally::default();
        let first = std::env::var("STORE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        for seed in first..first + 500 {
            match run_seed(seed, 6) {
                Ok(run) => tally.merge(&run),
                Err(failed) => panic!("{failed}"),
            }
        }
        println!("{tally}");
        assert!(tally.of("cuts") >= 3000);
    }
}
