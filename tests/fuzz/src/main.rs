//! Runs a target for a number of seconds, or one seed again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fuzz::{Campaign, NAMES, named};

/// Anything at all into whatever reads what it does not trust.
#[derive(Parser)]
struct Arguments {
    /// What to feed; without it, what there is is listed
    target: Option<String>,
    /// The input of this seed; with --seconds, the first
    #[arg(long)]
    seed: Option<u64>,
    /// Go on for so long
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(name) = arguments.target else {
        for target in NAMES.into_iter().filter_map(named) {
            println!("{:<8} {}", target.name, target.about);
        }
        return ExitCode::SUCCESS;
    };
    let Some(target) = named(&name) else {
        eprintln!("there is no target {name:?}: there are {}", NAMES.join(", "));
        return ExitCode::from(2);
    };
    let campaign = Campaign::new(target, arguments.seed.unwrap_or(1));
    let result = match (arguments.seconds, arguments.seed) {
        (None, Some(_)) => campaign.inputs(1).map(|()| 1),
        (seconds, _) => {
            let mut said = Instant::now();
            campaign.time(Duration::from_secs(seconds.unwrap_or(10)), |count| {
                if said.elapsed() > Duration::from_secs(5) {
                    said = Instant::now();
                    eprintln!("{name}: {count} inputs");
                }
            })
        }
    };
    match result {
        Ok(count) => {
            println!("{name}: {count} inputs, nothing found");
            ExitCode::SUCCESS
        }
        Err(found) => {
            eprintln!("{found}");
            ExitCode::FAILURE
        }
    }
}
