//! `bench-store`: the store over a file past the page cache, beside raw writes to another file in the same run.
//!
//! Prints one line per figure: `BENCH name value unit`.

mod amplification;
mod files;
mod latency;
mod meter;
mod stream;
mod subject;
mod threads;
mod timed;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Error = Box<dyn std::error::Error>;

fn print(name: &str, value: f64, unit: &str) {
    println!("BENCH {name} {value:.4} {unit}");
}

/// The middle one, or the mean of the middle two. There is one at least.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[half - 1] + values[half]) / 2.0 } else { values[half] }
}

fn run(folder: &Path, quick: bool, only: &str) -> Result<(), Error> {
    let (rounds, streams, blocks, times) = if quick { (50, 2, 16_384, 2) } else { (1_500, 16, 65_536, 10) };
    let wanted = |name: &str| only.is_empty() || only == name;
    if wanted("latency") {
        latency::measure(folder, rounds)?;
    }
    if wanted("stream") {
        stream::measure(folder, streams)?;
    }
    if wanted("amplification") {
        amplification::measure(folder, blocks, 16, "write_amplification_16", times)?;
        amplification::measure(folder, blocks * 2, 1024, "write_amplification_large", times)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut folder: PathBuf = std::env::temp_dir();
    let (mut quick, mut only) = (false, String::new());
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.len()) {
            ("--quick", _) => quick = true,
            ("--folder", 1..) => folder = arguments.next().unwrap_or_default().into(),
            ("--only", 1..) => only = arguments.next().unwrap_or_default(),
            _ => {
                eprintln!("usage: bench-store [--quick] [--only latency|stream|amplification] [--folder DIR]");
                return ExitCode::from(2);
            }
        }
    }
    let done = run(&folder, quick, &only);
    for name in [files::STORE, files::RAW, files::RAW_BESIDE] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-store: {error}");
            ExitCode::FAILURE
        }
    }
}
