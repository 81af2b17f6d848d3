//! `cargo xtask sim`: simulations of the store and of the whole system, from a seed or for hours.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::failure::refusal;
use crate::project;

/// Hours of a run that nobody has said more about.
const HOURS: f64 = 0.02;

/// Options of `sim`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run this seed; with --hours: begin with it
    #[arg(long)]
    seed: Option<u64>,
    /// Run as many seeds as fit in so long (a fraction is fine), half for each simulator
    #[arg(long, value_parser = hours)]
    hours: Option<f64>,
    /// The store alone, over a disk that loses power and lies
    #[arg(long, conflicts_with = "system")]
    store: bool,
    /// The whole system: kernel core, pager, snapshot server, store
    #[arg(long)]
    system: bool,
    /// Make a run that fails as small as it goes, and keep what is left; of the whole system only with --seed alone
    #[arg(long)]
    shrink: bool,
    /// Of the store: plain, faulty, rotten-map, worn, room, records or every
    #[arg(long, requires = "store")]
    kind: Option<String>,
    /// Of the store: cuts of each world
    #[arg(long, requires = "store")]
    lives: Option<u32>,
    /// Of the store: run a script that was kept
    #[arg(long, requires = "store", conflicts_with_all = ["seed", "hours", "kind", "lives"])]
    script: Option<PathBuf>,
    /// Of the system: what to leave out, as a shrunk run says
    #[arg(long, requires = "system")]
    limits: Option<String>,
    /// Say what happens in each life of the system
    #[arg(long, requires = "system")]
    verbose: bool,
}

/// Runs what is asked for, on this terminal.
///
/// # Errors
/// When a promise was broken, or a simulator could not be run.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (store, system) = (!options.system, !options.store);
    let is_one = options.seed.is_some() && options.hours.is_none();
    if options.shrink && system && !is_one {
        return Err(refusal(
            "--shrink makes a story of the whole system small that a seed names: say --seed, or --store",
        ));
    }
    let share = if store && system { 2.0 } else { 1.0 };
    let hours = (!is_one && options.script.is_none()).then(|| options.hours.unwrap_or(HOURS) / share);
    let mut failed = Vec::new();
    for (name, wanted) in [("storesim", store), ("sim", system)] {
        let status = if wanted { simulator(name, options, hours)? } else { continue };
        match status.code() {
            Some(0) => {}
            // As every program here says that it was called wrongly, and it has told why.
            Some(2) => return Err(refusal(format!("{name} cannot do that"))),
            _ => failed.push(name),
        }
    }
    if !failed.is_empty() {
        bail!("{} has found what was not promised", failed.join(" and "));
    }
    Ok(())
}

fn hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if (0.0..=1e6).contains(&hours) { Ok(hours) } else { Err("not within 0 and 1,000,000".into()) }
}

/// Builds and runs one of them; what it says goes to this terminal.
fn simulator(name: &str, options: &Options, hours: Option<f64>) -> Result<ExitStatus> {
    let mut command: Command = project::cargo();
    command.args(["run", "--quiet", "--release", "-p", name, "--bin", name, "--"]);
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    };
    add("--seed", options.seed.map(|seed| seed.to_string()));
    add("--hours", hours.map(|hours| hours.to_string()));
    add("--kind", options.kind.clone());
    add("--lives", options.lives.map(|lives| lives.to_string()));
    add("--script", options.script.as_ref().map(|file| file.display().to_string()));
    add("--limits", options.limits.clone());
    for (option, is_on) in [("--shrink", options.shrink), ("--verbose", options.verbose)] {
        if is_on {
            command.arg(option);
        }
    }
    eprintln!("{name} …");
    command.status().with_context(|| format!("running {name}"))
}
