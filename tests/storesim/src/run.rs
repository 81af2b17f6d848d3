//! Running a script: several lives of one world on one disk, each ended by a cut.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Once;

use abi::Epoch;
use format::BlockBytes;
use snapshot_server::{Failure, PutError};

use crate::arena::Arena;
use crate::disk::{Fault, SimDisk};
use crate::faulty::open_offer;
use crate::life::{Ended, History, Life, LifeError, Lived};
use crate::provenance::commit;
use crate::random::Random;
use crate::script::{Kind, LifePlan, Script};
use crate::tally::Tally;
use crate::twins::{rot_nodes, rot_run};
use crate::{kept, room, worn};

/// A run that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What was run: running it again does the same.
    pub script: Box<Script>,
    /// In which life, from 0.
    pub life: u32,
    /// What went wrong.
    pub error: LifeError,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { script, life, error } = self;
        write!(f, "life {life}: {error:?}\n{}", replay(script.kind, script.seed, script.lives.len()))
    }
}

/// Seed and commit of a run, and how to see it again.
pub fn replay(kind: Kind, seed: u64, lives: usize) -> String {
    let lives = if kind == Kind::Every { String::new() } else { format!(" --lives {lives}") };
    let (commit, kind) = (commit(), kind.name());
    format!("seed {seed}, {commit}; replay: cargo xtask sim --store --kind {kind} --seed {seed}{lives}; add --shrink")
}

thread_local! {
    static RUNNING: Cell<Option<(Kind, u64, usize)>> = const { Cell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, a panic of this thread says how to see the run again.
pub(crate) struct Named;

impl Named {
    pub(crate) fn new(script: &Script) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if QUIET.get() {
                    return;
                }
                before(info);
                if let Some((kind, seed, lives)) = RUNNING.get() {
                    eprintln!("{}", replay(kind, seed, lives));
                }
            }));
        });
        RUNNING.set(Some((script.kind, script.seed, script.lives.len())));
        Self
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

/// Runs something whose panics are expected and say nothing; `None`: it panicked.
pub(crate) fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    let before = QUIET.replace(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    QUIET.set(before);
    result.ok()
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
    tally.add("cut: between data and commit", u64::from(disk.descriptor_unflushed()));
    tally.add(if unflushed == 0 { "cut: nothing unflushed" } else { "cut: with unflushed writes" }, 1);
}

/// Draws the run of `kind` that `seed` stands for and runs it.
pub fn run_seed(kind: Kind, seed: u64, lives: u32) -> Result<Tally, Failed> {
    run_script(&Script::draw(kind, seed, lives))
}

/// Runs a script: the same script does the same, always.
pub fn run_script(script: &Script) -> Result<Tally, Failed> {
    let _named = Named::new(script);
    let mut run = Run::new(script);
    for (number, plan) in script.lives.iter().enumerate() {
        let failed = |error| Failed { script: Box::new(script.clone()), life: number as u32, error };
        if !run.live(plan, number == 0).map_err(failed)? {
            break;
        }
    }
    run.tally.disk(&run.disk.count);
    Ok(run.tally)
}

/// A run under way.
struct Run<'s> {
    script: &'s Script,
    arena: Arena,
    disk: SimDisk,
    history: History,
    tally: Tally,
    /// Nodes of which one copy has rotted.
    spoilt: HashSet<BlockBytes>,
    /// What every opening has to come to from now on.
    expected: Option<Epoch>,
}

impl<'s> Run<'s> {
    fn new(script: &'s Script) -> Self {
        let arena = Arena::new(&script.plan.sizes);
        let disk = SimDisk::new(script.plan.sizes.blocks, script.plan.disk_seed, arena.page_count());
        let (history, tally) = (History::default(), Tally::default());
        Self { script, arena, disk, history, tally, spoilt: HashSet::new(), expected: None }
    }

    /// One life; false when no other can follow.
    fn live(&mut self, plan: &LifePlan, formatting: bool) -> Result<bool, LifeError> {
        let script = self.script;
        self.disk.in_order = script.in_order;
        if plan.probed {
            self.expected = self.probe()?;
        }
        if !formatting && checks_kept(script) {
            kept::check(&script.plan, &mut self.arena, &self.disk, &self.history, &mut self.tally)?;
        }
        if script.kind == Kind::Plain {
            self.disk.fault = plan.fault;
        }
        let disk = core::mem::replace(&mut self.disk, SimDisk::new(0, 0, 0));
        let history = core::mem::take(&mut self.history);
        let mut life = if formatting {
            Life::format(&mut self.arena, disk, script.plan.config(), script.plan.options())
        } else {
            Life::open(&mut self.arena, disk, script.plan.config(), None, history)
        };
        life.faults_expected = script.kind == Kind::Faulty;
        let end = live(&mut life, script, plan, formatting);
        self.tally.merge(&life.tally);
        let status = life.store.status();
        self.tally.add("store: retired by itself", status.retired_for_space.into());
        self.tally.add("store: block written again", status.blocks_rewritten);
        self.tally.add("store: next epoch written before a commit", status.writes_before_commit);
        self.tally.add("store: second copy read", status.second_copies.into());
        self.tally.add("store: copies near each other", status.copies_near.into());
        let opened = life.opened_epoch();
        self.history = core::mem::take(&mut life.history);
        self.disk = life.store.into_host();
        if let (Some(expected), Some(opened)) = (self.expected, opened)
            && expected != opened
        {
            return Err(LifeError::WrongEpoch(opened, expected));
        }
        let refused = if let Err(Ok(Ended::Refused(refusal))) = &end { Some(*refusal) } else { None };
        let end = kept_promise(script.kind, forgiven(end, !formatting && plan.fault.write_error > 0));
        let faulty = script.kind == Kind::Faulty || matches!(end, Err(Ok(Ended::Stopped(_))));
        worn::count(&end, script.kind, &mut self.tally);
        judge(end, faulty, &mut self.tally)?;
        self.disk.fault = Fault::default();
        if let Some(refusal) = refused {
            let disk = core::mem::replace(&mut self.disk, SimDisk::new(0, 0, 0));
            let (disk, end) = open_offer(&script.plan, &mut self.arena, disk, &self.history, refusal, &mut self.tally);
            self.disk = disk;
            end?;
            return Ok(false);
        }
        self.cut(plan);
        Ok(true)
    }

    fn cut(&mut self, plan: &LifePlan) {
        tally_cut(&self.disk, &mut self.tally);
        self.disk.revive(plan.mode, plan.seed);
        for (block, bit) in &plan.rot {
            self.disk.rot(*block as usize, *bit as usize);
            self.tally.add("fault: rotten block", 1);
        }
        self.disk.bad.extend(plan.bad.iter().map(|block| *block as usize));
        if self.script.kind == Kind::RottenMap {
            let mut random = Random::new(plan.seed ^ 1);
            let sizes = &self.script.plan.sizes;
            let Self { disk, spoilt, tally, .. } = self;
            if random.chance(50) {
                rot_nodes(disk, sizes.blocks, spoilt, &mut random, tally);
            } else {
                rot_run(disk, (sizes.blocks, sizes.segment_blocks), spoilt, &mut random, tally);
            }
        }
    }

    /// The epoch to which an opening without a cut comes.
    fn probe(&mut self) -> Result<Option<Epoch>, LifeError> {
        let config = self.script.plan.config();
        let mut life = Life::open(&mut self.arena, self.disk.clone(), config, None, self.history.clone());
        let end = life.opened().map(|_| ());
        judge(end, false, &mut Tally::default())?;
        Ok(life.opened_epoch())
    }
}

/// Whether all kept epochs are opened after each cut: often enough, for that takes longer than the life.
fn checks_kept(script: &Script) -> bool {
    script.kind == Kind::Worn || script.kind == Kind::Plain && script.seed.is_multiple_of(20)
}

/// A disk that refuses the same command over and over ends a store, which says so; nothing may be lost by that. Any
/// other end of a store whose disk does what it is told is a broken promise.
fn forgiven(end: Lived<()>, disk_fails: bool) -> Lived<()> {
    match end {
        Err(Err(LifeError::Stopped(failure @ Failure::Disk { .. }))) if disk_fails => Err(Ok(Ended::Stopped(failure))),
        end => end,
    }
}

/// Ends that others may come to and runs of this kind may not.
fn kept_promise(kind: Kind, end: Lived<()>) -> Lived<()> {
    match (kind, end) {
        // Whoever keeps to the room is never told that there is none.
        (Kind::Room | Kind::Records, Err(Ok(Ended::Full))) => Err(Err(LifeError::Put(PutError::Full))),
        // A medium that takes nothing more ends a store by that alone.
        (Kind::Worn, Err(Ok(Ended::Stopped(failure @ Failure::Map(_))))) => Err(Err(LifeError::Stopped(failure))),
        (_, end) => end,
    }
}

fn live(life: &mut Life<'_>, script: &Script, plan: &LifePlan, formatting: bool) -> Lived<()> {
    // A format that is cut was never there; formats are cut by a test of their own.
    let cut_opening = !formatting && matches!(script.kind, Kind::Plain | Kind::Every);
    if cut_opening {
        life.store.host_mut().commands_left = plan.cut;
    }
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.store.host_mut().broken = script.broken;
    if !cut_opening {
        life.store.host_mut().commands_left = plan.cut;
    }
    if script.kind == Kind::Faulty {
        life.store.host_mut().fault = plan.fault;
    }
    life.faults_expected |= plan.writes.is_some();
    let disk = life.store.host_mut();
    disk.writes_left = plan.writes;
    disk.takes_writes = plan.writes.is_some_and(|writes| writes % 2 == 0);
    if script.kind.keeps_to_room() {
        return room::work(life, plan);
    }
    work(life, plan)?;
    if matches!(script.kind, Kind::Faulty | Kind::Every) { life.check_all() } else { Ok(()) }
}

/// Epochs until the power goes or all is done.
pub(crate) fn work(life: &mut Life<'_>, plan: &LifePlan) -> Lived<()> {
    for turn in &plan.turns {
        match life.epoch(&turn.changes) {
            Err(Ok(Ended::Full)) => {
                // Full is an error that leaves all whole and room to free: drop something, and go on.
                life.tally.add("disk full", 1);
                life.free_some(turn.spare)?;
            }
            other => other?,
        }
        if turn.settle {
            life.settle()?;
        }
        if let Some((object, index)) = turn.look {
            let epoch = life.store.head();
            life.check_page(epoch, object, index)?;
        }
        if turn.retire {
            life.retire()?;
        }
    }
    life.settle()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrink::passed;

    /// Cuts of the test; `cargo xtask sim` makes as many as one likes.
    const SEEDS: u64 = 17_000;
    const LIVES: u32 = 6;

    #[test]
    fn a_script_does_the_same_each_time() {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Every) {
            let script = Script::draw(kind, 7, LIVES);
            let kept = Script::from_json(&script.to_json().expect("written")).expect("read");
            assert_eq!(kept, script);
            assert_eq!(run_script(&script), run_script(&kept));
        }
    }

    #[test]
    fn a_hundred_thousand_seeded_cuts_lose_nothing_that_was_acknowledged() {
        let mut tally = Tally::default();
        for seed in 1..=SEEDS {
            tally.merge(&passed(run_seed(Kind::Plain, seed, LIVES)));
        }
        tally.report("storesim: plain");
        assert!(tally.of("cuts") >= 100_000, "{} cuts", tally.of("cuts"));
        // Each of these must have happened, or the run has shown less than it seems to.
        tally.require(&[
            "disk full",
            "checkpoints",
            "checkpoints retired on demand",
            "cut: during a flush",
            "cut: with unflushed writes",
            "cut: between data and commit",
            "cut: between data and root",
            "cut: block lost",
            "cut: block kept",
            "cut: block torn",
            "disk: completed out of order",
            "fault: write error",
            "fault: read error",
            "fault: command lost",
            "fault: reset",
            "fault: block forgotten by a reset",
            "fault: block forgotten by a failed flush",
            "store: block written again",
            "store: next epoch written before a commit",
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
        ]);
    }
}
