//! What became of each mutant: kept between runs, and summed up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::list::Mutant;
use super::scratch::Tried;
use super::stage::{Ring, Subject};
use crate::project;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// A test failed
    Caught,
    /// A test did not end
    TimedOut,
    /// Nobody noticed
    Missed,
    /// It is no program
    Unviable,
}

impl Verdict {
    fn is_noticed(self) -> bool {
        matches!(self, Self::Caught | Self::TimedOut)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Entry {
    name: String,
    verdict: Option<Verdict>,
    /// The tests that noticed.
    ring: Option<Ring>,
    /// What the explorer says by itself.
    explored: Option<Verdict>,
    /// It cannot be woven in.
    #[serde(default)]
    apart: bool,
}

/// Verdicts by key.
pub(super) struct Ledger {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl Ledger {
    /// The verdicts that earlier runs came to.
    pub(super) fn open(subject: Subject) -> Result<Self> {
        let path = project::target().join("mutants").join(format!("{}.json", subject.name()));
        let entries = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged: remove it to start again", path.display()))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { path, entries })
    }

    /// Keeps them.
    pub(super) fn save(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec_pretty(&self.entries)?)?;
        std::fs::rename(&beside, &self.path).with_context(|| self.path.display().to_string())
    }

    /// Whether a mutant is to be tried: no verdict yet, or the one that is asked for again.
    pub(super) fn is_open(&self, key: &str, ring: Option<Ring>, again: Option<Verdict>) -> bool {
        let Some(entry) = self.entries.get(key) else { return true };
        let verdict = if ring == Some(Ring::Explore) { entry.explored } else { entry.verdict };
        match verdict {
            None => entry.verdict != Some(Verdict::Unviable),
            verdict => again.is_some() && verdict == again,
        }
    }

    /// What earlier runs found out about how a mutant can be built.
    pub(super) fn tried(&self, mutant: &Mutant) -> Tried {
        match self.entries.get(&mutant.key) {
            Some(entry) if entry.apart => Tried::Apart,
            Some(entry) if entry.verdict == Some(Verdict::Unviable) => Tried::DoesNotCompile,
            _ => Tried::Together,
        }
    }

    /// Notes how a mutant can be built.
    pub(super) fn set_tried(&mut self, mutant: &Mutant, tried: Tried) {
        let entry = self.entries.entry(mutant.key.clone()).or_default();
        entry.name.clone_from(&mutant.name);
        entry.apart = tried == Tried::Apart;
        if tried == Tried::DoesNotCompile {
            entry.verdict = Some(Verdict::Unviable);
        }
    }

    /// A verdict of all tests.
    pub(super) fn set(&mut self, mutant: &Mutant, verdict: Verdict, ring: Option<Ring>) {
        let entry = self.entries.entry(mutant.key.clone()).or_default();
        entry.name.clone_from(&mutant.name);
        (entry.verdict, entry.ring) = (Some(verdict), ring);
    }

    /// A verdict of the explorer by itself. What it has noticed nobody else needs to notice.
    pub(super) fn set_explored(&mut self, mutant: &Mutant, verdict: Verdict) {
        let entry = self.entries.entry(mutant.key.clone()).or_default();
        entry.name.clone_from(&mutant.name);
        entry.explored = Some(verdict);
        if verdict == Verdict::Unviable || verdict.is_noticed() && !entry.verdict.is_some_and(Verdict::is_noticed) {
            (entry.verdict, entry.ring) = (Some(verdict), verdict.is_noticed().then_some(Ring::Explore));
        }
    }

    /// A mutant and its verdict, for people.
    pub(super) fn line(&self, mutant: &Mutant) -> String {
        let entry = self.entries.get(&mutant.key).cloned().unwrap_or_default();
        let verdict = entry.verdict.map_or("open".to_owned(), |verdict| format!("{verdict:?}").to_lowercase());
        let ring = entry.ring.map_or(String::new(), |ring| format!("{ring:?}").to_lowercase());
        let explored = if entry.explored.is_some_and(Verdict::is_noticed) { "explorer" } else { "" };
        format!("{verdict:<9} {ring:<9} {explored:<9} {}", mutant.name)
    }

    /// The sample in figures.
    pub(super) fn summary(&self, subject: Subject, seed: u64, listed: usize, sample: &[Mutant]) -> Summary {
        let known: Vec<(&Mutant, &Entry)> =
            sample.iter().filter_map(|mutant| Some((mutant, self.entries.get(&mutant.key)?))).collect();
        let count = |verdict| known.iter().filter(|(_, entry)| entry.verdict == Some(verdict)).count();
        let mut by_ring: BTreeMap<Ring, usize> = BTreeMap::new();
        for (_, entry) in &known {
            if let (Some(true), Some(ring)) = (entry.verdict.map(Verdict::is_noticed), entry.ring) {
                *by_ring.entry(ring).or_default() += 1;
            }
        }
        let missed = known.iter().filter(|(_, entry)| entry.verdict == Some(Verdict::Missed));
        let (caught, timed_out, missed_count) =
            (count(Verdict::Caught), count(Verdict::TimedOut), count(Verdict::Missed));
        let viable = caught + timed_out + missed_count;
        Summary {
            name: subject.name(),
            seed,
            listed,
            drawn: sample.len(),
            tried: viable + count(Verdict::Unviable),
            viable,
            caught,
            timed_out,
            missed: missed_count,
            unviable: count(Verdict::Unviable),
            percent_noticed: ((caught + timed_out) as f64 * 1000.0 / viable.max(1) as f64).round() / 10.0,
            first_noticed_by: by_ring,
            explored: known.iter().filter(|(_, entry)| entry.explored.is_some()).count(),
            noticed_by_explorer_alone: known
                .iter()
                .filter(|(_, entry)| entry.explored.is_some_and(Verdict::is_noticed))
                .count(),
            survivors: missed.map(|(mutant, _)| mutant.name.clone()).collect(),
        }
    }
}

/// What the tests of a crate are worth.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    name: &'static str,
    seed: u64,
    listed: usize,
    drawn: usize,
    tried: usize,
    viable: usize,
    caught: usize,
    timed_out: usize,
    missed: usize,
    unviable: usize,
    percent_noticed: f64,
    first_noticed_by: BTreeMap<Ring, usize>,
    explored: usize,
    noticed_by_explorer_alone: usize,
    survivors: Vec<String>,
}

impl Summary {
    /// Says it.
    pub(super) fn print(&self) {
        println!(
            "{}: {} of {} drawn have a verdict; of {} viable ones {} caught, {} timed out, {} missed: {} % noticed",
            self.name,
            self.tried,
            self.drawn,
            self.viable,
            self.caught,
            self.timed_out,
            self.missed,
            self.percent_noticed
        );
        for (ring, count) in &self.first_noticed_by {
            println!("  first noticed by {:<9} {count:>4}", format!("{ring:?}").to_lowercase());
        }
        if self.explored > 0 {
            println!("  by the explorer alone {:>6} of {}", self.noticed_by_explorer_alone, self.explored);
        }
        self.survivors.iter().for_each(|name| println!("  survivor: {name}"));
    }

    /// Keeps it beside the other figures.
    pub(super) fn keep(&self) -> Result<()> {
        let path = project::root().join(format!("docs/figures/mutants-{}.json", self.name));
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }
}
