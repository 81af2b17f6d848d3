//! What was promised, across all lives of a world: what each epoch should hold, what has been announced as durable,
//! what has reached the outside. A restore is held against it.

use crate::cast::{Cast, DATA};
use crate::model::Model;
use abi::{Epoch, FLAG_REPEATABLE, Outcome, Status};
use kernel_core::{Budget, Capability, Endpoint, Kernel, Notification, Process, State, Thread};
use std::collections::{BTreeMap, BTreeSet};

/// What has happened, counted over all lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Steps of the simulation.
    pub steps: u64,
    /// Instructions of the world.
    pub instructions: u64,
    /// Times the power went.
    pub power_cuts: u64,
    /// Restores of a world.
    pub restores: u64,
    /// Worlds begun, because nothing had been committed before.
    pub beginnings: u64,
    /// Epochs cut.
    pub cuts: u64,
    /// Epochs announced as durable.
    pub commits: u64,
    /// Epochs in which nothing had changed.
    pub quiet: u64,
    /// Faults that the pager was told of.
    pub faults: u64,
    /// Pages that came back from the store.
    pub paged_in: u64,
    /// Pages handed to the store.
    pub handed: u64,
    /// Calls that were told `Restarted`.
    pub restarted: u64,
    /// Calls that were asked again.
    pub repeated: u64,
    /// Numbers shown outside.
    pub shown: u64,
    /// Numbers shown outside again.
    pub shown_again: u64,
    /// `sync` calls answered.
    pub synced: u64,
    /// Drivers that died.
    pub driver_deaths: u64,
    /// Memory objects that programs of the world made.
    pub objects_made: u64,
    /// Console servers that died.
    pub console_deaths: u64,
    /// Times a program slept.
    pub sleeps: u64,
    /// Times writers began to wait for room on the disk.
    pub writers_waited: u64,
    /// Times they went on.
    pub writers_went_on: u64,
    /// Times the disk was full for what is new.
    pub disks_full: u64,
}

impl Figures {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (name, value, more) in self.each_mut(other) {
            let _ = name;
            *value += more;
        }
    }

    fn each_mut(&mut self, other: &Self) -> [(&'static str, &mut u64, u64); 23] {
        [
            ("steps", &mut self.steps, other.steps),
            ("writers waited for room", &mut self.writers_waited, other.writers_waited),
            ("writers went on", &mut self.writers_went_on, other.writers_went_on),
            ("disks full", &mut self.disks_full, other.disks_full),
            ("instructions", &mut self.instructions, other.instructions),
            ("power cuts", &mut self.power_cuts, other.power_cuts),
            ("restores", &mut self.restores, other.restores),
            ("beginnings", &mut self.beginnings, other.beginnings),
            ("epochs cut", &mut self.cuts, other.cuts),
            ("epochs durable", &mut self.commits, other.commits),
            ("quiet epochs", &mut self.quiet, other.quiet),
            ("faults", &mut self.faults, other.faults),
            ("pages in", &mut self.paged_in, other.paged_in),
            ("pages out", &mut self.handed, other.handed),
            ("restarted calls", &mut self.restarted, other.restarted),
            ("repeated calls", &mut self.repeated, other.repeated),
            ("numbers shown", &mut self.shown, other.shown),
            ("shown again", &mut self.shown_again, other.shown_again),
            ("syncs", &mut self.synced, other.synced),
            ("driver deaths", &mut self.driver_deaths, other.driver_deaths),
            ("objects made", &mut self.objects_made, other.objects_made),
            ("console deaths", &mut self.console_deaths, other.console_deaths),
            ("sleeps", &mut self.sleeps, other.sleeps),
        ]
    }
}

impl core::fmt::Display for Figures {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut copy = *self;
        for (name, value, _) in copy.each_mut(self) {
            writeln!(f, "{value:>12} {name}")?;
        }
        Ok(())
    }
}

/// The world at the end of an epoch.
struct Snapshot {
    model: Model,
    threads: Vec<(u32, Thread)>,
    objects: Objects,
}

/// All of the world but its threads and memory, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Objects {
    processes: Vec<(u32, Process)>,
    endpoints: Vec<(u32, Endpoint)>,
    notifications: Vec<(u32, Notification)>,
    budgets: Vec<(u32, Budget)>,
    capabilities: Vec<(u32, Capability)>,
}

impl Objects {
    fn of(kernel: &Kernel) -> Self {
        fn below<'k, T: Copy + 'k>(all: impl Iterator<Item = (u32, &'k T)>, bound: u32) -> Vec<(u32, T)> {
            all.filter(|&(at, _)| at < bound).map(|(at, record)| (at, *record)).collect()
        }
        let [processes, _, endpoints, notifications, budgets, slots] = kernel.world_bounds();
        Self {
            processes: below(kernel.each_process(), processes),
            endpoints: below(kernel.each_endpoint(), endpoints),
            notifications: below(kernel.each_notification(), notifications),
            budgets: below(kernel.each_budget(), budgets),
            capabilities: below(kernel.each_capability().map(|held| (held.slot, held.capability)), slots),
        }
    }
}

/// All of it.
#[derive(Default)]
pub(crate) struct Chronicle {
    /// Memory now.
    pub(crate) model: Model,
    /// Who plays.
    pub(crate) cast: Cast,
    snapshots: BTreeMap<Epoch, Snapshot>,
    quiet: BTreeSet<Epoch>,
    acknowledged: Epoch,
    /// The largest number that was shown, the largest of which a piece was seen, and the last of which one was.
    shown: u64,
    seen: u64,
    begun: u64,
    /// The largest number that a program was told is durable.
    durable: u64,
    pub(crate) figures: Figures,
}

impl Chronicle {
    /// The kernel has just cut.
    pub(crate) fn cut(&mut self, kernel: &Kernel, ended: Epoch) {
        self.figures.cuts += 1;
        let threads = world_threads(kernel);
        self.snapshots.insert(ended, Snapshot { model: self.model.clone(), threads, objects: Objects::of(kernel) });
    }

    /// The pager says that nothing changed in this epoch.
    pub(crate) fn quiet(&mut self, ended: Epoch) {
        let mut earlier = self.snapshots.range(..=ended).rev();
        let (now, before) = (earlier.next(), earlier.next());
        if let (Some((_, now)), Some((_, before))) = (now, before) {
            assert!(now.model == before.model, "epoch {ended} is said to be quiet, but memory has changed");
        }
        self.figures.quiet += 1;
        self.quiet.insert(ended);
    }

    /// An epoch was announced as durable.
    pub(crate) fn announce(&mut self, epoch: Epoch) {
        assert!(epoch > self.acknowledged, "{epoch} is announced after {}", self.acknowledged);
        assert!(self.snapshots.contains_key(&epoch), "{epoch} is announced and was never cut");
        self.acknowledged = epoch;
        self.figures.commits += 1;
        let needed = self.durable_epoch();
        self.snapshots.retain(|&epoch, _| epoch >= needed);
    }

    /// Whether effects of this epoch may be seen outside.
    pub(crate) fn is_durable(&self, epoch: Epoch) -> bool {
        epoch <= self.acknowledged
    }

    /// The newest epoch that must be on the disk: quiet ones after it need not be.
    fn durable_epoch(&self) -> Epoch {
        let written = |epoch: &&Epoch| !self.quiet.contains(epoch);
        self.snapshots.range(..=self.acknowledged).map(|(epoch, _)| epoch).rfind(written).copied().unwrap_or_default()
    }

    /// A piece of a number reaches the outside: the number itself, or after it the number shifted by `mark`.
    pub(crate) fn show(&mut self, piece: u64, every: u64, mark: u32) {
        if piece >> mark == 0 {
            let known = piece <= self.seen || piece == self.shown + every;
            assert!(known, "{piece} is shown after {}: something was lost", self.shown);
            self.seen = self.seen.max(piece);
            self.begun = piece;
            return;
        }
        let number = piece >> mark;
        assert!(number == self.begun && number << mark == piece, "{piece:#x} is shown after {:#x}", self.begun);
        let again = number <= self.shown;
        assert!(again || number == self.shown + every, "{number} is shown after {}: something was lost", self.shown);
        self.figures.shown += 1;
        self.figures.shown_again += u64::from(again);
        self.shown = self.shown.max(number);
    }

    /// A program has been told that all it did before is durable.
    pub(crate) fn told_durable(&mut self, number: u64) {
        self.figures.synced += 1;
        self.durable = self.durable.max(number);
    }

    /// A new world begins: nothing can have been promised about an earlier one.
    pub(crate) fn begin(&mut self) {
        assert!(self.durable_epoch() == Epoch::NONE, "a world begins, but {} was durable", self.acknowledged);
        assert!(self.seen == 0 && self.durable == 0, "a world begins, but another has been seen outside");
        self.figures.beginnings += 1;
        *self = Self { figures: self.figures, ..Self::default() };
    }

    /// The kernel has just resumed the world of epoch `from`.
    pub(crate) fn restored(&mut self, kernel: &Kernel, from: Epoch) {
        assert!(from >= self.durable_epoch(), "restored to {from}, but {} was durable", self.acknowledged);
        self.snapshots.retain(|&epoch, _| epoch <= from);
        self.quiet.retain(|&epoch| epoch <= from);
        let snapshot = self.snapshots.get(&from).unwrap_or_else(|| panic!("restored to {from}, which never was"));
        let before = snapshot.threads.clone();
        self.model = snapshot.model.restored();
        self.acknowledged = from;
        self.figures.restores += 1;
        assert_eq!(Objects::of(kernel), snapshot.objects, "objects of {from}");
        self.compare_threads(&before, &world_threads(kernel));
        self.compare_numbers();
    }

    /// Law 4, thread by thread: what was and what is differ in nothing else.
    fn compare_threads(&mut self, before: &[(u32, Thread)], after: &[(u32, Thread)]) {
        let names = |threads: &[(u32, Thread)]| threads.iter().map(|&(thread, _)| thread).collect::<Vec<_>>();
        assert_eq!(names(before), names(after), "threads");
        for (&(thread, was), &(_, is)) in before.iter().zip(after) {
            let held = before
                .iter()
                .any(|(_, server)| server.serving == thread && server.serving_sequence == was.call_sequence);
            let (mut state, mut registers) = (was.state, was.registers);
            match was.state {
                State::Faulting | State::AwaitFault => state = State::Ready,
                State::AwaitReply if !held && was.flags & FLAG_REPEATABLE != 0 => {
                    state = State::Calling;
                    self.figures.repeated += 1;
                }
                State::AwaitReply if !held => {
                    state = State::Ready;
                    registers.rax = Outcome::of(Status::Restarted).0;
                    self.figures.restarted += 1;
                }
                _ => {}
            }
            assert_eq!((is.state, is.registers), (state, registers), "thread {thread}, which was {:?}", was.state);
            assert_eq!((is.process, is.priority), (was.process, was.priority), "thread {thread}");
            // Who had waited and begins again comes behind those who were ready; everybody else keeps his turn.
            let again = state == State::Ready && was.state != State::Ready;
            let behind = before.iter().all(|(_, other)| other.ticket < is.ticket);
            assert!(if again { behind } else { is.ticket == was.ticket }, "thread {thread} has lost its turn");
            let told = state == State::Ready && was.state == State::AwaitReply;
            assert!(told || is.deadline == was.deadline, "thread {thread} waits until another time");
        }
    }

    fn compare_numbers(&self) {
        let read = |process| self.model.read(process, DATA).unwrap_or_default();
        let (counter, tally) = (read(self.cast.counter), read(self.cast.tally));
        assert!(counter == tally || counter == tally + 1, "the counter says {counter}, the tally {tally}");
        assert!(tally >= self.seen, "{} was seen, but the world has only come to {tally}", self.seen);
        assert!(tally >= self.durable, "{} was durable, but the world has only come to {tally}", self.durable);
    }

    /// The numbers of counter and tally now, and the largest that was shown.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.model.read(self.cast.tally, DATA).unwrap_or_default(), self.shown)
    }
}

fn world_threads(kernel: &Kernel) -> Vec<(u32, Thread)> {
    let bound = kernel.world_bounds()[1];
    kernel.each_thread().filter(|&(thread, _)| thread < bound).map(|(thread, record)| (thread, *record)).collect()
}
