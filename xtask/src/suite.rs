//! `cargo xtask test`: every ring of tests, and the checks before them.

mod checks;
mod host;
mod report;
mod verdict;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::artifacts::{self, Profile};
use crate::{packages, project};
use host::Selection;
use report::Report;

/// How long a ring of host tests may take, builds included. Each test has a limit of its own besides (nextest.toml).
const RING_MAX: Duration = Duration::from_secs(60 * 60);

/// Names the folder into which tests write the counts that the report shows, one file each: of cuts, of states.
const COUNTS_VARIABLE: &str = "PERENNIAL_COUNTS";

/// A ring of tests, from the innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Ring {
    /// Formatting, lints, documentation, house rules; unit and property tests on the host.
    Unit,
    /// Simulations on the host, each from one seed.
    Sim,
    /// The kernel's core explored over every interleaving of a small universe.
    Explore,
    /// The machine in QEMU.
    Qemu,
}

const RINGS: [Ring; 4] = [Ring::Unit, Ring::Sim, Ring::Explore, Ring::Qemu];

/// Options of `test`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run this ring alone (may be given more than once)
    #[arg(long, value_enum)]
    ring: Vec<Ring>,
    /// Run only tests whose name contains this text, and no other checks
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs what is asked for. The last line is `N passed, N failed`; an error if anything failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let wanted = |ring: Ring| options.ring.is_empty() || options.ring.contains(&ring);
    let mut report = Report::default();
    let tests = packages_by_ring()?;
    let counts = project::target().join("counts");
    match std::fs::remove_dir_all(&counts) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!("emptying {}: {error}", counts.display()),
        _ => std::fs::create_dir_all(&counts).with_context(|| format!("making {}", counts.display()))?,
    }
    if wanted(Ring::Unit) && options.filter.is_none() {
        checks::run(&mut report);
    }
    for ring in RINGS.into_iter().filter(|&ring| wanted(ring)) {
        let Some(packages) = tests.get(&ring) else { continue };
        run_ring(ring, packages, options, &counts, &mut report);
    }
    report.counts(&counts);
    report.print(start.elapsed());
    if report.passed() == 0 && report.failed() == 0 {
        println!("0 passed, 0 failed");
        bail!("no test matched");
    }
    println!("{} passed, {} failed", report.passed(), report.failed());
    if report.failed() > 0 {
        // The last line has said it: no more words behind it.
        std::process::exit(1);
    }
    Ok(())
}

fn run_ring(ring: Ring, packages: &[String], options: &Options, counts: &Path, report: &mut Report) {
    let mut selection = Selection {
        packages: packages.to_vec(),
        filter: options.filter.clone(),
        environment: Vec::new(),
        ignored: false,
    };
    let name = match ring {
        Ring::Unit => "Unit and property tests",
        Ring::Sim => "Simulations",
        Ring::Explore => "Exhaustion of small universes",
        Ring::Qemu => "The machine in QEMU",
    };
    if ring == Ring::Qemu {
        match build_machine() {
            Ok(environment) => selection.environment = environment,
            Err(error) => return report.check_failed("build for the machine", &format!("{error:#}")),
        }
        selection.ignored = true;
    }
    selection.environment.push((COUNTS_VARIABLE.to_owned(), counts.into()));
    let begun = Instant::now();
    match host::run(name, &selection, RING_MAX) {
        Ok(verdicts) => report.ring(name, verdicts, begun.elapsed()),
        Err(error) => report.check_failed(name, &format!("{error:#}")),
    }
}

fn build_machine() -> Result<Vec<(String, std::ffi::OsString)>> {
    packages::need_emulator()?;
    let artifacts = artifacts::build(Profile::Release)?;
    let (provoker, its_bundle) = artifacts::build_provoker()?;
    let trials = artifacts::build_trials(&artifacts.kernel)?;
    Ok(vec![
        (qemu_machine::TRIALS_VARIABLE.to_owned(), trials.into()),
        (qemu_machine::KERNEL_VARIABLE.to_owned(), artifacts.kernel.into()),
        (qemu_machine::BUNDLE_VARIABLE.to_owned(), artifacts.bundle.into()),
        (qemu_machine::PROVOKER_VARIABLE.to_owned(), provoker.into()),
        (qemu_machine::PROVOKER_BUNDLE_VARIABLE.to_owned(), its_bundle.into()),
    ])
}

/// Which crates hold the tests of which ring. A crate may say it itself: `[package.metadata.perennial] ring = "sim"`,
/// or `"none"` for those that only the bare machine can run.
fn packages_by_ring() -> Result<BTreeMap<Ring, Vec<String>>> {
    let mut rings: BTreeMap<Ring, Vec<String>> = BTreeMap::new();
    for package in project::packages()? {
        let ring = match (package.ring.as_deref(), package.folder.as_str()) {
            (Some("none"), _) | (None, "microkernel" | "microkernel/hal" | "libos") => continue,
            (Some(named), _) => match Ring::from_str(named, false) {
                Ok(ring) => ring,
                Err(_) => bail!("{}/Cargo.toml names the unknown ring {named:?}", package.folder),
            },
            (None, "tests/sim" | "tests/storesim") => Ring::Sim,
            (None, "tests/spec" | "tests/explore") => Ring::Explore,
            (None, _) => Ring::Unit,
        };
        rings.entry(ring).or_default().push(package.spec.clone());
        if package.folder == "tests/qemu" && ring != Ring::Qemu {
            // Its own unit tests run on the host, what it ignores there needs the machine.
            rings.entry(Ring::Qemu).or_default().push(package.spec);
        }
    }
    Ok(rings)
}
