//! Every index: one fixed workload, the power cut at each of its commands in turn, in every mode; the opening cut at
//! each of its commands too, and opened again.

use abi::Epoch;

use crate::arena::Arena;
use crate::disk::{CutMode, SimDisk};
use crate::life::{Ended, History, Life, LifeError, Lived};
use crate::random::Random;
use crate::run::{Failed, Plan, Replay, judge, tally_cut, work};
use crate::tally::Tally;

/// A workload's world, formatted and stopped after `commands` commands.
fn world(seed: u64, commands: u64, tally: &mut Tally) -> Result<(Plan, Arena, SimDisk, History, bool), LifeError> {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    let mut arena = Arena::new(&plan.sizes);
    let disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut life = Life::format(&mut arena, disk, plan.config, plan.options);
    let end = live(&mut life, &plan, &mut random, commands);
    let cut = matches!(end, Err(Ok(Ended::Cut)));
    judge(end, false, tally)?;
    tally.merge(&life.tally);
    let history = core::mem::take(&mut life.history);
    let disk = life.store.into_host();
    Ok((plan, arena, disk, history, cut))
}

fn live(life: &mut Life<'_>, plan: &Plan, random: &mut Random, commands: u64) -> Lived<()> {
    life.opened()?;
    life.incarnate()?;
    life.store.host_mut().commands_left = Some(commands);
    for _ in 0..3 {
        work(life, plan, random, 24)?;
    }
    Ok(())
}

/// Opens, and cuts after `commands` when that is given; what was opened and how many commands it took.
fn open(
    plan: &Plan,
    arena: &mut Arena,
    disk: SimDisk,
    history: &History,
    commands: Option<u64>,
    tally: &mut Tally,
) -> Result<(Option<Epoch>, SimDisk, u64), LifeError> {
    let before = disk.commands;
    let mut life = Life::open(arena, disk, plan.config, None, history.clone());
    life.store.host_mut().commands_left = commands;
    let end = check(&mut life);
    let epoch = end.is_ok().then(|| life.store.head());
    judge(end, false, tally)?;
    tally.merge(&life.tally);
    let disk = life.store.into_host();
    let taken = disk.commands - before;
    Ok((epoch, disk, taken))
}

fn check(life: &mut Life<'_>) -> Lived<()> {
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.check_all()
}

/// Cuts the workload of `seed` at every command, in every mode, and each opening after it at every command.
pub fn every_index(seed: u64) -> Result<Tally, Failed> {
    let _replay = Replay(seed, " --every");
    let mut tally = Tally::default();
    for index in 0.. {
        let failed = |error| Failed { seed, life: index as u32, error };
        let (plan, mut arena, disk, history, cut) = world(seed, index, &mut tally).map_err(failed)?;
        if !cut {
            break;
        }
        for mode in CutMode::ALL {
            let mut first = disk.clone();
            tally_cut(&first, &mut tally);
            first.revive(mode, seed ^ index);
            let (epoch, _, commands) =
                open(&plan, &mut arena, first.clone(), &history, None, &mut tally).map_err(failed)?;
            // The same disk again, cut on the way, and then opened: the same epoch.
            let again = (index * 7 + mode as u64) % commands.max(1);
            let (_, mut second, _) =
                open(&plan, &mut arena, first, &history, Some(again), &mut tally).map_err(failed)?;
            tally.add("opening cut", 1);
            second.revive(mode, seed ^ index ^ 1);
            let (epoch_again, ..) = open(&plan, &mut arena, second, &history, None, &mut tally).map_err(failed)?;
            if epoch != epoch_again {
                let (epoch, again) = (epoch.unwrap_or_default(), epoch_again.unwrap_or_default());
                return Err(failed(LifeError::WrongEpoch(again, epoch)));
            }
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_at_every_command_is_survived() {
        let mut tally = Tally::default();
        for seed in 1..=20 {
            match every_index(seed) {
                Ok(run) => tally.merge(&run),
                Err(failed) => panic!("at command {}: {failed}", failed.life),
            }
        }
        println!("{tally}");
        assert!(tally.of("cuts") > 5_000, "{tally}");
        assert!(tally.of("opening cut") > 5_000);
        assert!(tally.of("checkpoints") > 0);
    }
}
