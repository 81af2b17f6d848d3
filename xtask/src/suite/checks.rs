//! What is checked before any test runs: formatting, lints, documentation, house rules.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use super::report::Report;
use crate::artifacts::{BUILD_MAX, PROGRAM_TARGET, TRIALS, packages_of_programs};
use crate::bare_metal::{self, Compiler};
use crate::manifest::Manifest;
use crate::progress::Step;
use crate::project::PROGRAM_FEATURE;
use crate::{child, project, tidy};

/// A check by name.
type Check = (&'static str, fn() -> Result<()>);

/// Runs all checks, whatever fails.
pub(crate) fn run(report: &mut Report) {
    let checks: [Check; 6] = [
        ("Formatting", formatting),
        ("House rules", house_rules),
        ("Lints for the host", host_lints),
        ("Lints for programs", program_lints),
        ("Lints for the bare machine", bare_metal_lints),
        ("Documentation", documentation),
    ];
    for (name, check) in checks {
        let begun = Instant::now();
        match check() {
            Ok(()) => report.check_passed(name, begun.elapsed()),
            Err(error) => report.check_failed(name, &format!("{error:#}")),
        }
    }
}

fn run_quietly(sentence: &str, mut command: Command) -> Result<()> {
    let step = Step::begin(sentence);
    let finished = child::watch(&mut command, BUILD_MAX, |line| step.detail(line))?;
    if !finished.status.success() {
        drop(step);
        let is_noise =
            |line: &&String| ["Checking", "Compiling"].iter().any(|word| line.trim_start().starts_with(word));
        let shown: Vec<_> = finished.lines.iter().filter(|line| !is_noise(line)).map(String::as_str).collect();
        bail!("{}", shown.join("\n"));
    }
    step.done("ok");
    Ok(())
}

fn formatting() -> Result<()> {
    let mut command = project::cargo();
    command.args(["fmt", "--all", "--check"]);
    run_quietly("Checking the formatting", command)
}

fn host_lints() -> Result<()> {
    let mut command = project::cargo();
    command.args(["clippy", "--all-targets", "--", "-D", "warnings"]);
    run_quietly("Checking lints for the host", command)
}

fn program_lints() -> Result<()> {
    let manifest = Manifest::of_system(&TRIALS)?;
    let packages = packages_of_programs(&manifest)?;
    if packages.is_empty() {
        return Ok(());
    }
    let mut command = project::cargo();
    command.env("CARGO_TARGET_DIR", project::target().join("user")).args(["clippy", "--target", PROGRAM_TARGET]);
    for (program, package) in &packages {
        command.args(["-p", &package.spec, "--bin", program]);
        command.args(["--features", &format!("{}/{PROGRAM_FEATURE}", package.name)]);
    }
    command.args(["--", "-D", "warnings"]);
    run_quietly("Checking lints for programs", command)
}

fn bare_metal_lints() -> Result<()> {
    let compiler = Compiler::choose()?;
    let mut command = compiler.lint();
    // What the kernel uses has been checked for the host, by the linter of the compiler that people have.
    command.args(["-p", "microkernel", "-p", "kernel-hal", "--bins", "--lib", "--examples"]);
    command.args(["--target", bare_metal::TARGET]);
    if matches!(compiler, Compiler::Own(_)) {
        command.args(["--no-deps", "--", "-D", "warnings"]);
    }
    run_quietly("Checking lints for the bare machine", command)
}

fn documentation() -> Result<()> {
    let mut command = project::cargo();
    command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps"]);
    run_quietly("Checking the documentation", command)
}

fn house_rules() -> Result<()> {
    let step = Step::begin("Checking the rules of the house");
    let findings = tidy::check()?;
    let errors = findings.iter().filter(|finding| finding.is_error).count();
    for finding in findings.iter().filter(|finding| !finding.is_error) {
        eprintln!("  {finding}");
    }
    if errors > 0 {
        drop(step);
        let shown: Vec<_> = findings.iter().filter(|finding| finding.is_error).map(ToString::to_string).collect();
        bail!("{}", shown.join("\n"));
    }
    step.done("ok");
    Ok(())
}
