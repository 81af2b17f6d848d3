//! Counters: that each thing a run is meant to meet was met.

use std::collections::BTreeMap;

use snapshot_server::Case;

use crate::disk::FaultCount;

/// What has happened, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

/// What a long run is meant to meet: told of even when it never happened.
const CLASSES: [&str; 22] = [
    "cuts",
    "cut: during a flush",
    "cut: between data and commit",
    "cut: between data and root",
    "cut: block lost",
    "cut: block kept",
    "cut: block torn",
    "recovery cut",
    "recovery cut twice",
    "root ring wrapped",
    "disk full",
    "fault: write error",
    "fault: read error",
    "fault: command lost",
    "fault: reset",
    "fault: lost write",
    "fault: misdirected write",
    "fault: rotten block",
    "fault: bad block read",
    "fault: one copy of a node rotten",
    "worn out: write",
    "room: full",
];

impl Tally {
    /// With a line for each class of fault, also of those that will not happen.
    pub fn of_all_classes() -> Self {
        Self(CLASSES.into_iter().map(|name| (name, 0)).collect())
    }

    /// Counts `name` once more.
    pub fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// How often `name` was counted.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }

    /// Prints it under a title, and leaves it for the report of the whole suite.
    pub fn report(&self, title: &str) {
        println!("{title}\n{self}");
        let cuts = self.of("cuts");
        crate::progress::note(title, &format!("{cuts} cuts, {} openings cut", self.of("recovery cut")));
    }

    /// Panics when something never happened: then a run has shown less than it seems to.
    pub fn require(&self, names: &[&str]) {
        self.require_more_than(0, names);
    }

    /// The same with a bound.
    pub fn require_more_than(&self, bound: u64, names: &[&str]) {
        for name in names {
            assert!(self.of(name) > bound, "happened {} times: {name}\n{self}", self.of(name));
        }
    }

    /// Adds what a disk counted.
    pub fn disk(&mut self, count: &FaultCount) {
        self.add("fault: write error", count.write_errors);
        self.add("fault: read error", count.read_errors);
        self.add("fault: command lost", count.commands_lost);
        self.add("fault: bad block read", count.bad_reads);
        self.add("fault: lost write", count.lost_writes);
        self.add("fault: misdirected write", count.misdirected);
        self.add("fault: reset", count.resets);
        self.add("fault: block forgotten by a reset", count.reset_lost);
        self.add("fault: block forgotten by a failed flush", count.flush_lost);
        self.add("disk: completed out of order", count.reordered);
        self.add("cut: block lost", count.cut_lost);
        self.add("cut: block kept", count.cut_kept);
        self.add("cut: block torn", count.cut_torn);
    }

    /// The name under which a case of recovery is counted.
    pub fn case_name(case: Case) -> &'static str {
        match case {
            Case::HeaderSecond => "case: HeaderSecond",
            Case::RootOneCopy => "case: RootOneCopy",
            Case::RootLost => "case: RootLost",
            Case::RootOlder => "case: RootOlder",
            Case::NoCheckpoint => "case: NoCheckpoint",
            Case::LogEmpty => "case: LogEmpty",
            Case::LogEndBlank => "case: LogEndBlank",
            Case::LogEndTorn => "case: LogEndTorn",
            Case::LogEndUnreadable => "case: LogEndUnreadable",
            Case::LogEndStale => "case: LogEndStale",
            Case::LogEndAbandoned => "case: LogEndAbandoned",
            Case::EpochUnfinished => "case: EpochUnfinished",
            Case::EpochDropped => "case: EpochDropped",
            Case::EpochVerified => "case: EpochVerified",
            Case::FoldInterrupted => "case: FoldInterrupted",
            Case::AskedFor => "case: AskedFor",
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, count) in &self.0 {
            writeln!(f, "{count:>12}  {name}")?;
        }
        Ok(())
    }
}
