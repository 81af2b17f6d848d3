//! Every index: one fixed workload, the power cut at each of its commands in turn, in every mode; the opening cut too,
//! once or twice, and opened again: it comes to the same epoch.

use abi::Epoch;

use crate::arena::Arena;
use crate::disk::{CutMode, FaultCount, SimDisk};
use crate::life::{Ended, History, Life, LifeError, Lived};
use crate::run::{Failed, Named, judge, tally_cut, work};
use crate::script::{Kind, LifePlan, Script};
use crate::tally::Tally;

/// At which commands of an opening it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openings {
    /// At one, which goes round with the index.
    One,
    /// At each.
    Each,
}

/// The workload, stopped after some commands.
struct Stopped {
    disk: SimDisk,
    history: History,
    cut: bool,
}

fn workload(script: &Script, arena: &mut Arena, commands: u64, tally: &mut Tally) -> Result<Stopped, LifeError> {
    let plan = &script.plan;
    let disk = SimDisk::new(plan.sizes.blocks, plan.disk_seed, arena.page_count());
    let mut life = Life::format(arena, disk, plan.config(), plan.options());
    let end = live(&mut life, script, commands);
    let cut = matches!(end, Err(Ok(Ended::Cut)));
    judge(end, false, tally)?;
    tally.merge(&life.tally);
    let history = core::mem::take(&mut life.history);
    Ok(Stopped { disk: life.store.into_host(), history, cut })
}

fn live(life: &mut Life<'_>, script: &Script, commands: u64) -> Lived<()> {
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.store.host_mut().broken = script.broken;
    life.store.host_mut().commands_left = Some(commands);
    work(life, &script.lives[0])
}

/// What an opening came to.
struct Opened {
    epoch: Option<Epoch>,
    disk: SimDisk,
    commands: u64,
}

/// Opens, and cuts after `commands` when that is given.
fn open(
    script: &Script,
    arena: &mut Arena,
    disk: SimDisk,
    history: &History,
    commands: Option<u64>,
    tally: &mut Tally,
) -> Result<Opened, LifeError> {
    let before = disk.commands;
    let mut life = Life::open(arena, disk, script.plan.config(), None, history.clone());
    life.store.host_mut().commands_left = commands;
    let end = check(&mut life);
    let epoch = end.is_ok().then(|| life.store.head());
    judge(end, false, tally)?;
    tally.merge(&life.tally);
    let disk = life.store.into_host();
    let commands = disk.commands - before;
    Ok(Opened { epoch, disk, commands })
}

fn check(life: &mut Life<'_>) -> Lived<()> {
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.check_all()
}

/// One cut of the workload: where, and what it does.
#[derive(Clone, Copy)]
struct Cut {
    index: u64,
    mode: CutMode,
    seed: u64,
}

impl Cut {
    /// The run in which the opening behind it is cut at each of `openings`, written out.
    fn script(self, workload: &Script, openings: &[u64]) -> Box<Script> {
        let first = &workload.lives[0];
        let Self { index, mode, seed } = self;
        let seed = seed ^ index;
        let life = |cut, probed, seed| LifePlan { cut, probed, seed, mode, turns: Vec::new(), ..first.clone() };
        let mut lives = vec![LifePlan { cut: Some(index), seed, mode, ..first.clone() }];
        lives.extend(openings.iter().enumerate().map(|(at, cut)| life(Some(*cut), at == 0, seed ^ 1 ^ at as u64)));
        lives.push(life(None, openings.is_empty(), seed));
        Box::new(Script { lives, ..workload.clone() })
    }

    /// Opens what it left; cuts that opening, once and twice; opens again.
    fn survive(
        self,
        script: &Script,
        arena: &mut Arena,
        stopped: &Stopped,
        openings: Openings,
        tally: &mut Tally,
    ) -> Result<(), Failed> {
        let Self { index, mode, seed } = self;
        let failed = |error, at: &[u64]| Failed { script: self.script(script, at), life: 1 + at.len() as u32, error };
        let mut first = stopped.disk.clone();
        tally_cut(&first, tally);
        first.count = FaultCount::default();
        first.revive(mode, seed ^ index);
        tally.disk(&first.count);
        let history = &stopped.history;
        let opened = open(script, arena, first.clone(), history, None, tally).map_err(|error| failed(error, &[]))?;
        let commands = opened.commands.max(1);
        let one = (index * 7 + mode as u64) % commands;
        let cuts = if openings == Openings::Each { 0..commands } else { one..one + 1 };
        for at in cuts {
            let mut cut_at = vec![at];
            let mut disk = first.clone();
            // Every other one is cut a second time, elsewhere.
            cut_at.extend((at % 2 == 0).then_some((at * 3 + index) % commands));
            for (number, commands) in cut_at.iter().enumerate() {
                let half = open(script, arena, disk, history, Some(*commands), tally)
                    .map_err(|error| failed(error, &cut_at))?;
                disk = half.disk;
                disk.revive(mode, seed ^ index ^ 1 ^ number as u64);
            }
            tally.add("recovery cut", 1);
            tally.add("recovery cut twice", u64::from(cut_at.len() > 1));
            let again = open(script, arena, disk, history, None, tally).map_err(|error| failed(error, &cut_at))?;
            if opened.epoch != again.epoch {
                let (epoch, again) = (opened.epoch.unwrap_or_default(), again.epoch.unwrap_or_default());
                return Err(failed(LifeError::WrongEpoch(again, epoch), &cut_at));
            }
        }
        Ok(())
    }
}

/// Cuts the workload of `seed` at every command, in every mode, and each opening behind it.
pub fn every_index(seed: u64, openings: Openings) -> Result<Tally, Failed> {
    every_index_of(&Script::draw(Kind::Every, seed, 1), openings)
}

/// The same with a workload of its own.
pub(crate) fn every_index_of(script: &Script, openings: Openings) -> Result<Tally, Failed> {
    let _named = Named::new(script);
    let mut tally = Tally::default();
    let mut arena = Arena::new(&script.plan.sizes);
    for index in 0.. {
        let mode = CutMode::Lost;
        let here = Cut { index, mode, seed: script.seed };
        let stopped = workload(script, &mut arena, index, &mut tally).map_err(|error| Failed {
            script: here.script(script, &[]),
            life: 0,
            error,
        })?;
        if !stopped.cut {
            break;
        }
        tally.add("commands cut at", 1);
        for mode in CutMode::ALL {
            Cut { mode, ..here }.survive(script, &mut arena, &stopped, openings, &mut tally)?;
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrink::passed;

    #[test]
    fn a_cut_at_every_command_is_survived() {
        let mut tally = Tally::default();
        for seed in 1..=20 {
            tally.merge(&passed(every_index(seed, Openings::One)));
        }
        tally.report("storesim: every command");
        tally.require_more_than(
            1_000,
            &["commands cut at", "recovery cut", "recovery cut twice", "cut: block lost", "cut: block torn"],
        );
        tally.require(&["checkpoints", "cut: between data and root", "cut: between data and commit"]);
    }

    #[test]
    fn a_recovery_cut_at_each_of_its_commands_comes_to_the_same_epoch() {
        let mut tally = Tally::default();
        for seed in 21..=22 {
            let mut script = Script::draw(Kind::Every, seed, 1);
            script.lives[0].turns.truncate(10);
            tally.merge(&passed(every_index_of(&script, Openings::Each)));
        }
        tally.report("storesim: every command of every recovery");
        tally.require_more_than(1_000, &["recovery cut", "recovery cut twice"]);
    }
}
