//! `cargo xtask fuzz`: the targets of `tests/fuzz`, for as long as one likes.

use anyhow::{Context, Result};
use clap::Args;

use crate::child::cannot_start;
use crate::project;

/// Options of `fuzz`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What to feed; without it, what there is is listed
    target: Option<String>,
    /// The input of this seed; with --seconds, the first
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Go on for so long
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// Runs a target on this terminal; its exit status is ours.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = project::cargo();
    // With assertions and checks of overflow, which a release would hide, and with panics that can be told of.
    command.args(["run", "--quiet", "--profile", "fuzz", "--package", "fuzz", "--"]);
    command.args(&options.target);
    for (name, value) in [("--seed", options.seed), ("--seconds", options.seconds)] {
        if let Some(value) = value {
            command.arg(name).arg(value.to_string());
        }
    }
    let status = command.status().map_err(|error| cannot_start("cargo", &error)).context("building the targets")?;
    match status.code() {
        Some(0) => Ok(()),
        // What is wrong has been said.
        Some(code) => std::process::exit(code),
        None => anyhow::bail!("the target was ended: {status}"),
    }
}
