//! Which crates are tried, and which tests a mutant of each meets, the cheapest first.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The crate whose code is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The kernel's core
    Core,
    /// Epoch-versioned tables
    Records,
    /// What is on disk
    Format,
    /// The store and its conductor
    SnapshotServer,
}

/// A kind of tests, from the innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ring {
    /// Tests of the crate itself, properties among them
    Unit,
    /// Random sequences held against a specification, and the tests of crates that depend on it
    Property,
    /// Exhaustion of small universes
    Explore,
    /// Simulations from a seed
    Sim,
}

/// Where the program of a stage comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// The unit tests of a library.
    Lib,
    /// A file in `tests/`.
    Test(&'static str),
    /// A binary.
    Bin(&'static str),
}

/// One program to run.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) ring: Ring,
    pub(super) package: &'static str,
    pub(super) program: Program,
    pub(super) arguments: Vec<&'static str>,
    /// Where it lies, once it is built.
    pub(super) path: PathBuf,
    /// Where it is run.
    pub(super) folder: PathBuf,
}

impl Subject {
    /// Its name on the command line and in file names.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Records => "records",
            Self::Format => "format",
            Self::SnapshotServer => "snapshot-server",
        }
    }

    /// Its package.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Core => "kernel-core",
            other => other.name(),
        }
    }

    /// The root file of its library.
    pub(super) fn root_file(self) -> &'static str {
        match self {
            Self::Core => "microkernel/core/src/lib.rs",
            Self::Records => "records/src/lib.rs",
            Self::Format => "format/src/lib.rs",
            Self::SnapshotServer => "snapshot-server/src/lib.rs",
        }
    }

    /// Files whose code is no part of what is tested on this computer: what only the machine's programs have, and what
    /// only tests have.
    pub(super) fn excluded(self) -> &'static [&'static str] {
        match self {
            Self::Core => &["microkernel/core/src/host.rs", "microkernel/core/src/canonical.rs", "**/view.rs"],
            Self::SnapshotServer => &["snapshot-server/src/program/**", "snapshot-server/src/main.rs"],
            Self::Records | Self::Format => &[],
        }
    }
}

fn stage(ring: Ring, package: &'static str, program: Program, arguments: &[&'static str]) -> Stage {
    let what = match program {
        Program::Lib => "unit tests".to_owned(),
        Program::Test(name) | Program::Bin(name) => name.to_owned(),
    };
    let name = [package, &what].into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ");
    let (path, folder) = (PathBuf::new(), PathBuf::new());
    Stage { name, ring, package, program, arguments: arguments.to_vec(), path, folder }
}

/// The stages of a crate, or those of one ring, in groups of which each is built by itself: those of the crate's own
/// package first.
pub(super) fn groups(subject: Subject, only: Option<Ring>) -> Vec<Vec<Stage>> {
    let (own, others): (Vec<Stage>, Vec<Stage>) =
        stages(subject, only).into_iter().partition(|stage| stage.package == subject.package());
    [own, others].into_iter().filter(|group| !group.is_empty()).collect()
}

/// All of them in their order.
fn stages(subject: Subject, only: Option<Ring>) -> Vec<Stage> {
    use Program::{Bin, Lib, Test};
    let explore = |states| stage(Ring::Explore, "spec", Bin("explore"), &["--workers", "1", "--states", states]);
    let random = || stage(Ring::Property, "spec", Test("random"), &[]);
    let simulated = |arguments: &[&'static str]| stage(Ring::Sim, "storesim", Bin("storesim"), arguments);
    let kept = |filters: &[&'static str]| stage(Ring::Sim, "storesim", Lib, filters);
    let story = |arguments: &[&'static str]| stage(Ring::Sim, "sim", Bin("sim"), arguments);
    // Shortest first: most of what they notice a few seeds notice.
    let lives = || {
        [
            kept(&["golden::", "changes::"]),
            simulated(&["--seed", "1", "--kind", "plain", "--runs", "20"]),
            simulated(&["--seed", "1", "--kind", "rotten-map", "--runs", "20"]),
            simulated(&["--seed", "1", "--kind", "faulty", "--runs", "20"]),
            simulated(&["--seed", "1", "--kind", "room", "--runs", "4"]),
            simulated(&["--seed", "1", "--kind", "every"]),
            simulated(&["--seed", "1", "--kind", "worn", "--runs", "40"]),
            simulated(&["--seed", "21", "--kind", "plain", "--runs", "100"]),
            simulated(&["--seed", "5", "--kind", "plain", "--lives", "40"]),
            kept(&["soak::"]),
        ]
    };
    let stories = || [story(&["--runs", "3"]), story(&["--seed", "4", "--runs", "4"])];
    let mut stages = match subject {
        Subject::Records => vec![
            stage(Ring::Unit, "records", Lib, &[]),
            stage(Ring::Property, "kernel-core", Lib, &[]),
            random(),
            explore("3000"),
        ],
        Subject::Core => vec![
            stage(Ring::Unit, "kernel-core", Lib, &[]),
            explore("1000"),
            random(),
            stage(Ring::Property, "spec", Test("noninterference"), &[]),
            explore("5000"),
        ],
        Subject::Format => {
            let mut stages = vec![
                stage(Ring::Unit, "format", Test("refuse_head"), &[]),
                stage(Ring::Unit, "format", Test("refuse_map"), &[]),
                stage(Ring::Unit, "format", Test("refuse_root"), &[]),
                stage(Ring::Unit, "format", Test("reference"), &[]),
                stage(Ring::Unit, "format", Lib, &[]),
                stage(Ring::Unit, "format", Test("parsers"), &[]),
                stage(Ring::Property, "snapshot-server", Lib, &[]),
            ];
            stages.extend(lives());
            stages
        }
        Subject::SnapshotServer => {
            let mut stages = vec![stage(Ring::Unit, "snapshot-server", Lib, &[])];
            stages.extend(lives());
            stages.extend(stories());
            stages
        }
    };
    stages.retain(|stage| only.is_none_or(|ring| stage.ring == ring));
    stages
}
