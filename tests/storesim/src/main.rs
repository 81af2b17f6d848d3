//! `storesim`: cuts as many as one likes. Exits with 1 when a promise was broken, and prints how to see it again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use storesim::{Tally, every_index, run_faulty, run_rotten_map, run_seed};

const USAGE: &str = "usage: storesim [--seed S] [--hours H] [--lives N] [--faulty] [--every]
  --seed S    only this seed (with --hours: the first)
  --hours H   seeds one after another for so long (a fraction is fine); default 0.01
  --lives N   cuts of each world (default 6)
  --faulty    on disks that lie: lost and misdirected writes, rot
  --rotten-map  one copy of each node of the map rots
  --every     a cut at every command of the seed's workload";

struct Wanted {
    seed: Option<u64>,
    hours: Option<f64>,
    lives: u32,
    faulty: bool,
    every: bool,
    rotten_map: bool,
}

fn wanted() -> Option<Wanted> {
    let mut wanted = Wanted { seed: None, hours: None, lives: 6, faulty: false, every: false, rotten_map: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => wanted.seed = Some(arguments.next()?.parse().ok()?),
            "--hours" => wanted.hours = Some(arguments.next()?.parse().ok()?),
            "--lives" => wanted.lives = arguments.next()?.parse().ok()?,
            "--faulty" => wanted.faulty = true,
            "--every" => wanted.every = true,
            "--rotten-map" => wanted.rotten_map = true,
            _ => return None,
        }
    }
    Some(wanted)
}

fn main() -> ExitCode {
    let Some(wanted) = wanted() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let single = wanted.seed.is_some() && wanted.hours.is_none();
    let budget = Duration::from_secs_f64(wanted.hours.unwrap_or(0.01).max(0.0) * 3600.0);
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut seed = wanted.seed.unwrap_or(1);
    loop {
        let (run, kind) = match (wanted.every, wanted.faulty, wanted.rotten_map) {
            (true, ..) => (every_index(seed), " --every"),
            (_, true, _) => (run_faulty(seed, wanted.lives), " --faulty"),
            (.., true) => (run_rotten_map(seed, wanted.lives), " --rotten-map"),
            _ => (run_seed(seed, wanted.lives), ""),
        };
        match run {
            Ok(run) => tally.merge(&run),
            Err(failed) => {
                eprintln!("{failed}{kind} (lives {})", wanted.lives);
                return ExitCode::FAILURE;
            }
        }
        if single || started.elapsed() >= budget {
            break;
        }
        seed += 1;
    }
    print!("{tally}");
    println!("seeds up to {seed}, {} s", started.elapsed().as_secs());
    ExitCode::SUCCESS
}
