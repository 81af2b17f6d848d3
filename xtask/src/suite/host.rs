//! Runs test binaries on the host: by nextest where it is installed, else by cargo alone.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::verdict::{CargoTestReader, Verdict, read_nextest};
use crate::progress::Step;
use crate::{child, project};

/// Which tests.
pub(crate) struct Selection {
    /// Of these crates.
    pub(crate) packages: Vec<String>,
    /// Whose names contain this.
    pub(crate) filter: Option<String>,
    /// With these variables.
    pub(crate) environment: Vec<(String, OsString)>,
    /// Those that are ignored on the host, instead of the others.
    pub(crate) ignored: bool,
}

/// Runs them all, whatever fails, and gives a verdict for each.
///
/// # Errors
/// When they could not be built, or a runner failed without naming a test.
pub(crate) fn run(name: &str, selection: &Selection, limit: Duration) -> Result<Vec<Verdict>> {
    let step = Step::begin(name);
    let is_there = child::output(project::cargo().args(["nextest", "--version"])).is_ok();
    let mut command = if is_there { nextest(selection) } else { cargo_test(selection) };
    for (variable, value) in &selection.environment {
        command.env(variable, value);
    }
    let mut reader = CargoTestReader::default();
    let mut verdicts: Vec<Verdict> = Vec::new();
    let finished = child::watch(&mut command, limit, |line| {
        let verdict = if is_there { read_nextest(line) } else { reader.read(line) };
        step.detail(line);
        verdicts.extend(verdict);
    })?;
    // nextest tells of a failed test as it fails and, with some options, once more at the end.
    let mut seen = std::collections::BTreeSet::new();
    verdicts.retain(|verdict| seen.insert(verdict.name.clone()));
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    if !finished.status.success() {
        drop(step);
        let is_noise = |line: &&String| {
            let line = line.trim_start();
            ["Compiling ", "PASS ", "SKIP ", "Running ", "Finished ", "Downloaded "]
                .iter()
                .any(|word| line.starts_with(word))
                || (line.starts_with("test ") && line.ends_with(" ok"))
        };
        let shown: Vec<_> = finished.lines.iter().filter(|line| !is_noise(line)).map(String::as_str).collect();
        if failed == 0 {
            bail!("the tests could not be run:\n{}", shown.join("\n"));
        }
        eprintln!("{}", shown.join("\n"));
    } else {
        step.done(&format!("{} passed", verdicts.len()));
    }
    Ok(verdicts)
}

fn nextest(selection: &Selection) -> Command {
    let mut command = project::cargo();
    command.args(["nextest", "run", "--color", "never", "--no-fail-fast", "--no-tests", "pass"]);
    command.args(["--status-level", "all", "--final-status-level", "none", "--failure-output", "immediate"]);
    command.args(["--show-progress", "none"]);
    command.arg("--config-file").arg(project::root().join("xtask/nextest.toml"));
    add_packages(&mut command, selection);
    if selection.ignored {
        command.args(["--run-ignored", "only"]);
    }
    if let Some(filter) = &selection.filter {
        command.args(["--", filter]);
    }
    command
}

fn cargo_test(selection: &Selection) -> Command {
    let mut command = project::cargo();
    command.args(["test", "--no-fail-fast", "--color", "never"]);
    add_packages(&mut command, selection);
    command.arg("--lib").arg("--bins").arg("--tests").arg("--");
    if selection.ignored {
        // Machines one after the other: they share the processor.
        command.args(["--ignored", "--test-threads", "1"]);
    }
    if let Some(filter) = &selection.filter {
        command.arg(filter);
    }
    command
}

fn add_packages(command: &mut Command, selection: &Selection) {
    for package in &selection.packages {
        command.args(["-p", package]);
    }
}
