//! `storesim`: cuts as many as one likes. Exits with 1 when a promise was broken, and prints how to see it again.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use storesim::{
    Failed, Failure, Kind, Openings, Progress, Script, Shrinker, Tally, error_name, every_index, replay, run_script,
};

/// Simulates the store over a disk that loses power, each run from a seed; stops at the first that breaks a promise.
#[derive(Parser, Debug)]
struct Options {
    /// Only this seed; with --hours or --runs: the first
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds one after another for so long (a fraction is fine)
    #[arg(long, value_parser = storesim::hours)]
    hours: Option<f64>,
    /// So many seeds
    #[arg(long, conflicts_with = "hours", value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// plain, faulty, rotten-map, worn, room, records or every; without it all of them: those of room for one seed in ten, every, the
    /// longest, for one in a hundred
    #[arg(long, value_parser = |text: &str| text.parse::<Kind>().map_err(|()| "no such kind"))]
    kind: Option<Kind>,
    /// Cuts of each world
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    lives: u32,
    /// Make a failing run as small as it goes
    #[arg(long)]
    shrink: bool,
    /// Run a script that was kept
    #[arg(long, conflicts_with_all = ["seed", "hours", "runs", "kind"])]
    script: Option<PathBuf>,
    /// How the disk breaks its word, to see that it is found: flush-ignored, commit-before-data, wrong-block-read
    #[arg(long, value_parser = broken)]
    broken: Option<storesim::Broken>,
    /// Print one line when the run fails
    #[arg(long, hide = true)]
    terse: bool,
}

fn broken(text: &str) -> Result<storesim::Broken, &'static str> {
    match text {
        "flush-ignored" => Ok(storesim::Broken::FlushIgnored),
        "commit-before-data" => Ok(storesim::Broken::CommitBeforeData),
        "wrong-block-read" => Ok(storesim::Broken::WrongBlockRead),
        _ => Err("no such way"),
    }
}

fn run(script: &Script) -> Result<Tally, Box<Failed>> {
    match script.kind {
        Kind::Every if script.lives.len() == 1 => every_index(script.seed, Openings::One),
        _ => run_script(script),
    }
    .map_err(Box::new)
}

/// The kinds of the seed, the long ones for some seeds only, which begin with the first.
fn kinds(wanted: Option<Kind>, number: u64) -> Vec<Kind> {
    let is_due = |kind: &Kind| match kind {
        Kind::Room | Kind::Records => number.is_multiple_of(10),
        Kind::Every => number.is_multiple_of(100),
        Kind::Plain | Kind::Faulty | Kind::RottenMap | Kind::Worn => true,
    };
    match wanted {
        Some(kind) => vec![kind],
        None => Kind::ALL.into_iter().filter(is_due).collect(),
    }
}

/// Runs a script in a process of its own, so that whatever it does can be seen.
fn try_apart(script: &Script) -> Option<Failure> {
    let last = script.lives.len().saturating_sub(1);
    let file = std::env::temp_dir().join(format!("perennial-script-{}.json", std::process::id()));
    std::fs::write(&file, script.to_json().ok()?).ok()?;
    let output = Command::new(std::env::current_exe().ok()?).arg("--script").arg(&file).arg("--terse").output();
    let _ = std::fs::remove_file(&file);
    let output = output.ok()?;
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.strip_prefix("failed ").and_then(|text| text.trim().split_once(' '));
    Some(match told {
        Some((life, name)) => Failure { life: life.parse().unwrap_or(last), name: name.to_owned() },
        None => Failure { life: last, name: "panic".into() },
    })
}

fn shrink(script: &Script) {
    let Some(failure) = try_apart(script) else {
        eprintln!("nothing to shrink: it does not fail");
        return;
    };
    eprintln!("shrinking {} steps that end in {} …", script.steps(), failure.name);
    let mut shrinker = Shrinker::new(&try_apart, Duration::from_secs(300));
    let small = shrinker.shrink(script, &failure);
    let file = format!("storesim-{}-{}.json", script.kind.name(), script.seed);
    println!("after {} tries {} steps that end in {}:\n{small}", shrinker.tries, small.steps(), failure.name);
    match small.to_json().map(|json| std::fs::write(&file, json)) {
        Ok(Ok(())) => println!("kept in {file}; replay: cargo xtask sim --store --script {file}"),
        _ => eprintln!("it could not be kept in {file}"),
    }
}

fn failed(options: &Options, failed: &Failed) -> ExitCode {
    if options.terse {
        println!("failed {} {}", failed.life, error_name(&failed.error));
        return ExitCode::FAILURE;
    }
    eprintln!("{failed}");
    if options.shrink {
        shrink(&failed.script);
    }
    ExitCode::FAILURE
}

fn kept(options: &Options, file: &PathBuf) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{} cannot be read: {error}", file.display());
            return ExitCode::from(2);
        }
    };
    match Script::from_json(&text) {
        Ok(script) => match run_script(&script) {
            Ok(tally) => {
                print!("{script}{tally}");
                ExitCode::SUCCESS
            }
            Err(error) => failed(options, &error),
        },
        Err(error) => {
            eprintln!("{} holds no script: {error}", file.display());
            ExitCode::from(2)
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(file) = &options.script {
        return kept(&options, file);
    }
    let limit = options.hours.map(|hours| Duration::from_secs_f64(hours * 3600.0));
    let runs = options.runs.unwrap_or(if options.seed.is_none() && limit.is_none() { 1000 } else { 1 });
    let (begun, first) = (Instant::now(), options.seed.unwrap_or(1));
    let progress = Progress::start(limit);
    let mut tally = Tally::of_all_classes();
    let mut seed = first;
    loop {
        for kind in kinds(options.kind, seed - first) {
            let mut script = Script::draw(kind, seed, options.lives);
            script.broken = options.broken.unwrap_or_default();
            progress.begin(replay(kind, seed, script.lives.len()));
            if options.shrink && limit.is_none() && options.runs.is_none() {
                // A run that ends the whole process is caught too.
                if try_apart(&script).is_some() && kind != Kind::Every {
                    drop(progress);
                    shrink(&script);
                    return ExitCode::FAILURE;
                }
            }
            match run(&script) {
                Ok(run) => {
                    progress.done(run.of("cuts"));
                    tally.merge(&run);
                }
                Err(error) => {
                    drop(progress);
                    return failed(&options, &error);
                }
            }
        }
        let over = limit.map_or(seed - first + 1 >= runs, |limit| begun.elapsed() >= limit);
        match seed.checked_add(1) {
            Some(next) if !over => seed = next,
            _ => break,
        }
    }
    drop(progress);
    print!("{tally}");
    println!(
        "{} cuts, seeds {first} to {seed}, {} s: no promise was broken",
        tally.of("cuts"),
        begun.elapsed().as_secs()
    );
    ExitCode::SUCCESS
}
