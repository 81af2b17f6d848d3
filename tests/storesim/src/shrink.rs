//! Makes a failing run smaller, as long as it still fails in the same way: fewer lives, faults, epochs and changes, an
//! earlier cut, a disk that keeps the order. What is left is what the failure needs.

use std::time::{Duration, Instant};

use crate::disk::{CutMode, Fault};
use crate::life::LifeError;
use crate::run::{Failed, quietly, run_script};
use crate::script::{Change, LifePlan, Script};

/// How a run failed: in which life and how, as far as two failures are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In which life; the last one when it panicked.
    pub life: usize,
    /// The name of the error, or `panic`.
    pub name: String,
}

impl Failure {
    fn of(failed: &Failed) -> Self {
        Self { life: failed.life as usize, name: error_name(&failed.error) }
    }
}

/// The name of an error without what it says.
pub fn error_name(error: &LifeError) -> String {
    let text = format!("{error:?}");
    text.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

/// How a script fails when it is run here; `None`: it does not.
pub fn try_here(script: &Script) -> Option<Failure> {
    match quietly(|| run_script(script)) {
        Some(Ok(_)) => None,
        Some(Err(failed)) => Some(Failure::of(&failed)),
        None => Some(Failure { life: script.lives.len().saturating_sub(1), name: "panic".into() }),
    }
}

/// The tally of a run that has to pass.
///
/// # Panics
/// When it has not; it is shrunk, and the message holds all that is needed to see it again.
pub fn passed(run: Result<crate::Tally, Failed>) -> crate::Tally {
    match run {
        Ok(tally) => tally,
        Err(failed) => {
            let mut shrinker = Shrinker::new(&try_here, Duration::from_secs(60));
            let small = shrinker.shrink(&failed.script, &Failure::of(&failed));
            let json = small.to_json().unwrap_or_default();
            panic!("{failed}\nafter {} tries as small as this:\n{small}{json}", shrinker.tries);
        }
    }
}

/// A shrinking under way.
pub struct Shrinker<'t> {
    run: &'t dyn Fn(&Script) -> Option<Failure>,
    end: Instant,
    /// Runs so far.
    pub tries: u64,
}

impl<'t> Shrinker<'t> {
    /// Tries scripts with `run`, for about `limit`.
    pub fn new(run: &'t dyn Fn(&Script) -> Option<Failure>, limit: Duration) -> Self {
        Self { run, end: Instant::now() + limit, tries: 0 }
    }

    /// The smallest script found that fails like `failure`; the script itself when none does.
    pub fn shrink(&mut self, script: &Script, failure: &Failure) -> Script {
        let mut best = script.clone();
        best.lives.truncate(failure.life + 1);
        if !self.fails(&best, failure) {
            best = script.clone();
        }
        loop {
            let before = best.clone();
            self.lives(&mut best, failure);
            self.disk(&mut best, failure);
            self.turns(&mut best, failure);
            self.changes(&mut best, failure);
            self.cuts(&mut best, failure);
            self.values(&mut best, failure);
            if best == before || self.is_over() {
                return best;
            }
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn fails(&mut self, script: &Script, failure: &Failure) -> bool {
        if self.is_over() {
            return false;
        }
        self.tries += 1;
        (self.run)(script).is_some_and(|found| found.name == failure.name)
    }

    /// Takes the changed script if it fails like the other.
    fn accept(&mut self, best: &mut Script, failure: &Failure, change: impl FnOnce(&mut Script)) -> bool {
        let mut candidate = best.clone();
        change(&mut candidate);
        let better = candidate != *best && self.fails(&candidate, failure);
        if better {
            *best = candidate;
        }
        better
    }

    fn lives(&mut self, best: &mut Script, failure: &Failure) {
        // The first formats the disk and stays.
        for number in (1..best.lives.len()).rev() {
            self.accept(best, failure, |script| drop(script.lives.remove(number)));
        }
        while best.lives.len() > 1 && self.accept(best, failure, |script| drop(script.lives.pop())) {}
    }

    fn disk(&mut self, best: &mut Script, failure: &Failure) {
        self.accept(best, failure, |script| script.in_order = true);
        self.accept(best, failure, |script| script.lives.iter_mut().for_each(|life| life.fault = Fault::default()));
        for number in 0..best.lives.len() {
            let faults: [fn(&mut Fault); 6] = [
                |fault| fault.write_error = 0,
                |fault| fault.read_error = 0,
                |fault| fault.command_lost = 0,
                |fault| fault.lost_write = 0,
                |fault| fault.misdirected = 0,
                |fault| fault.reset = 0,
            ];
            for clear in faults {
                self.accept(best, failure, |script| clear(&mut script.lives[number].fault));
            }
            for at in (0..best.lives[number].rot.len()).rev() {
                self.accept(best, failure, |script| {
                    script.lives[number].rot.remove(at);
                });
            }
            for mode in [CutMode::Lost, CutMode::Kept, CutMode::Prefix, CutMode::Subset] {
                if best.lives[number].mode == mode
                    || self.accept(best, failure, |script| script.lives[number].mode = mode)
                {
                    break;
                }
            }
        }
    }

    fn turns(&mut self, best: &mut Script, failure: &Failure) {
        for number in 0..best.lives.len() {
            self.without(best, failure, |script| &mut script.lives[number].turns);
        }
    }

    fn changes(&mut self, best: &mut Script, failure: &Failure) {
        for number in 0..best.lives.len() {
            for turn in (0..best.lives[number].turns.len()).rev() {
                self.without(best, failure, |script| &mut script.lives[number].turns[turn].changes);
                let turns = move |script: &mut Script, change: fn(&mut crate::script::Turn)| {
                    change(&mut script.lives[number].turns[turn]);
                };
                self.accept(best, failure, |script| turns(script, |turn| turn.look = None));
                self.accept(best, failure, |script| turns(script, |turn| turn.retire = false));
                self.accept(best, failure, |script| turns(script, |turn| turn.settle = false));
            }
        }
    }

    /// Leaves out as many items of a list as can be spared: halves first, then smaller pieces, then single ones.
    fn without<T: Clone>(&mut self, best: &mut Script, failure: &Failure, list: impl Fn(&mut Script) -> &mut Vec<T>) {
        let mut piece = list(best).len();
        while piece > 0 {
            let mut start = 0;
            while start < list(best).len() {
                let end = (start + piece).min(list(best).len());
                if !self.accept(best, failure, |script| drop(list(script).drain(start..end))) {
                    start = end;
                }
            }
            piece /= 2;
        }
    }

    fn cuts(&mut self, best: &mut Script, failure: &Failure) {
        for number in 0..best.lives.len() {
            self.accept(best, failure, |script| script.lives[number].probed = false);
            self.accept(best, failure, |script| script.lives[number].writes = None);
            while let Some(writes) = best.lives[number].writes.filter(|writes| *writes > 0)
                && self.accept(best, failure, |script| script.lives[number].writes = Some(writes / 2))
            {}
            // No cut at a command is simpler than one; else an earlier one.
            if self.accept(best, failure, |script| script.lives[number].cut = None) {
                continue;
            }
            while let Some(cut) = best.lives[number].cut.filter(|cut| *cut > 0) {
                let lower = [0, cut / 2, cut - cut.div_ceil(8), cut - 1];
                if !lower
                    .into_iter()
                    .any(|cut| self.accept(best, failure, |script| script.lives[number].cut = Some(cut)))
                {
                    break;
                }
            }
        }
    }

    /// Small numbers in what is left.
    fn values(&mut self, best: &mut Script, failure: &Failure) {
        for number in 0..best.lives.len() {
            self.accept(best, failure, |script| script.lives[number].seed = 0);
            for turn in 0..best.lives[number].turns.len() {
                for at in 0..best.lives[number].turns[turn].changes.len() {
                    let simpler = simplest(best.lives[number].turns[turn].changes[at]);
                    self.accept(best, failure, |script| {
                        change_of(&mut script.lives[number], turn, at, simpler);
                    });
                }
            }
        }
    }
}

fn change_of(life: &mut LifePlan, turn: usize, at: usize, change: Change) {
    life.turns[turn].changes[at] = change;
}

fn simplest(change: Change) -> Change {
    match change {
        Change::Page(..) => Change::Page(0, 0),
        Change::Zero(..) => Change::Zero(0, 0, 1),
        Change::Drop(..) => Change::Drop(0, 0, 1),
        Change::DropObject(_) => Change::DropObject(0),
        Change::Record(..) => Change::Record(0, 0, 1),
        Change::Remove(..) => Change::Remove(0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Broken;
    use crate::script::Kind;

    /// The first seed that fails on a disk that breaks its word like this, and what is left of it.
    fn found(broken: Broken) -> (Script, Script, Failure) {
        for seed in 1..=100 {
            let script = Script { broken, ..Script::draw(Kind::Plain, seed, 6) };
            if let Some(failure) = try_here(&script) {
                let mut shrinker = Shrinker::new(&try_here, Duration::from_secs(120));
                let small = shrinker.shrink(&script, &failure);
                println!("{broken:?}: seed {seed}, {} steps, {failure:?}", script.steps());
                println!("after {} tries {} steps:\n{small}", shrinker.tries, small.steps());
                return (script, small, failure);
            }
        }
        panic!("{broken:?} was not found in a hundred seeds");
    }

    #[test]
    fn a_disk_that_breaks_its_word_is_found_and_shrunk_to_a_few_steps() {
        for broken in [Broken::FlushIgnored, Broken::CommitBeforeData, Broken::WrongBlockRead] {
            let (script, small, failure) = found(broken);
            assert!(script.steps() > 20 * small.steps() || small.steps() <= 4, "{} steps", script.steps());
            assert!(small.steps() <= 12, "{broken:?}:\n{small}");
            let again = Script::from_json(&small.to_json().expect("written")).expect("read");
            assert_eq!(try_here(&again).map(|failure| failure.name), Some(failure.name), "it replays");
            // It is the disk, not the store: with one that keeps its word nothing fails.
            assert_eq!(try_here(&Script { broken: Broken::No, ..small }), None);
        }
    }
}
