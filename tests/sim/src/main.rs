//! Runs stories of the whole system by their seeds; exits with 1 at the first that goes wrong.

use clap::Parser;
use sim::Limits;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use storesim::Progress;

/// Simulates the whole system through power cuts, one story a seed; stops at the first that goes wrong.
#[derive(Parser, Debug)]
struct Options {
    /// First seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1, conflicts_with = "hours", value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seeds one after another for so long (a fraction is fine)
    #[arg(long, value_parser = storesim::hours)]
    hours: Option<f64>,
    /// What to leave out, as a shrunk story says: cuts=N, steps=N, no-faults, no-deaths, no-sleep, in-order, all-lost,
    /// one-cpu, with commas between them
    #[arg(long, default_value_t)]
    limits: Limits,
    /// Leave out of a failing story what it does not need
    #[arg(long, conflicts_with_all = ["runs", "hours"])]
    shrink: bool,
    /// Say what happens in each life
    #[arg(long)]
    verbose: bool,
}

/// Runs a story in a process of its own; where it panicked, if it did.
fn fails_apart(seed: u64, limits: &Limits) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["--seed", &seed.to_string(), "--limits", &limits.to_string()]);
    let output = command.output().ok()?;
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let place = text.split_once("panicked at ").and_then(|(_, rest)| rest.lines().next());
    Some(place.unwrap_or("it ended badly").trim_end_matches(':').to_owned())
}

fn shrink(seed: u64) -> ExitCode {
    let Some(place) = fails_apart(seed, &Limits::default()) else {
        eprintln!("nothing to shrink: seed {seed} does not fail");
        return ExitCode::SUCCESS;
    };
    eprintln!("shrinking the story of seed {seed}, which fails at {place} …");
    let mut fails = |limits: &Limits| fails_apart(seed, limits).as_ref() == Some(&place);
    let (limits, tries) = sim::shrink(&mut fails);
    println!("after {tries} tries: cargo xtask sim --system --seed {seed} --limits {limits} --verbose");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.shrink {
        return shrink(options.seed);
    }
    let limit = options.hours.map(|hours| Duration::from_secs_f64(hours * 3600.0));
    let begun = Instant::now();
    let progress = Progress::start(limit);
    let mut figures = sim::Figures::default();
    let mut seed = options.seed;
    loop {
        progress.begin(sim::replay(seed));
        let told = sim::run_limited(seed, &options.limits, options.verbose);
        progress.done(told.power_cuts);
        figures.add(&told);
        let runs = (seed - options.seed).saturating_add(1);
        let over = limit.map_or(runs >= options.runs, |limit| begun.elapsed() >= limit);
        match seed.checked_add(1) {
            Some(next) if !over => seed = next,
            _ => break,
        }
    }
    drop(progress);
    print!("{figures}");
    let cuts = figures.power_cuts;
    println!("{cuts} cuts, seeds {} to {seed}, {} s: all was as promised", options.seed, begun.elapsed().as_secs());
    ExitCode::SUCCESS
}
