//! A medium that takes nothing more from some write on, in the middle of an epoch: the store stops and says at what; what
//! was committed is whole, and on a disk that writes again the world goes on.

use snapshot_server::{Failure, Op};

use crate::arena::Arena;
use crate::disk::{CutMode, SimDisk};
use crate::life::{Ended, History, Life, LifeError};
use crate::random::Random;
use crate::run::{judge, work};
use crate::script::{Kind, Script};
use crate::tally::Tally;

/// Runs the world of `seed` through `lives` lives, each ended by a medium that is worn out; what went wrong, and in
/// which life.
fn run_worn(seed: u64, lives: u32) -> Result<Tally, (u32, LifeError)> {
    let mut random = Random::new(seed ^ 0x776f_726e);
    let script = Script::draw(Kind::Plain, seed, lives);
    let plan = &script.plan;
    let mut tally = Tally::default();
    let mut arena = Arena::new(&plan.sizes);
    let mut disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut history = History::default();
    for (number, drawn) in script.lives.iter().enumerate() {
        let mut life = if number == 0 {
            Life::format(&mut arena, disk, plan.config(), plan.options())
        } else {
            Life::open(&mut arena, disk, plan.config(), None, history)
        };
        let opened = life.opened().and_then(|_| life.check_all()).and_then(|()| life.incarnate());
        let end = opened.and_then(|()| {
            life.faults_expected = true;
            life.store.host_mut().writes_left = Some(random.below(120));
            work(&mut life, drawn)
        });
        tally.merge(&life.tally);
        let failed = |error| (number as u32, error);
        match &end {
            Err(Ok(Ended::Stopped(Failure::Disk { op: Op::Write, .. }))) => tally.add("worn out: write", 1),
            Err(Ok(Ended::Stopped(Failure::Disk { op: Op::Flush, .. }))) => tally.add("worn out: flush", 1),
            Err(Ok(Ended::Stopped(failure))) => return Err(failed(LifeError::Stopped(*failure))),
            _ => {}
        }
        let stopped = matches!(end, Err(Ok(Ended::Stopped(_))));
        judge(end, stopped, &mut tally).map_err(failed)?;
        history = core::mem::take(&mut life.history);
        disk = life.store.into_host();
        let mode = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
        disk.revive(mode, random.bits());
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_that_takes_nothing_more_costs_nothing_that_was_committed() {
        let mut tally = Tally::default();
        let one = std::env::var("WORN_SEED").ok().map(|seed| seed.parse::<u64>().expect("WORN_SEED is a number"));
        for seed in one.map_or(1..=600, |seed| seed..=seed) {
            match run_worn(seed, 5) {
                Ok(run) => tally.merge(&run),
                Err((life, error)) => panic!(
                    "seed {seed}, life {life}: {error:?}; replay: WORN_SEED={seed} cargo test -p storesim a_medium_that_takes"
                ),
            }
        }
        tally.report("storesim: a worn-out medium");
        assert_eq!(tally.of("damage: page refused"), 0);
        if one.is_none() {
            tally.require_more_than(100, &["worn out: write", "worn out: flush", "epochs committed"]);
        }
    }
}
