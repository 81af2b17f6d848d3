//! Explores a universe of the kernel core and prints what it saw.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use spec::{Explorer, Progress, Report, universe};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Explores universes of the kernel core, every interleaving of every call.
#[derive(Parser)]
struct Arguments {
    /// Universe to explore; all of them when none is named.
    #[arg(long)]
    universe: Option<String>,
    /// Stop after this many states (default: explore to closure).
    #[arg(long)]
    states: Option<u64>,
    /// Threads that explore.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Memory for states that wait, in MiB.
    #[arg(long, default_value_t = 3072)]
    memory: usize,
    /// Count the values that each part of the states takes, to find what makes a universe large (slow)
    #[arg(long)]
    parts: bool,
    /// Name the universes and what they are about.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let names = match &arguments.universe {
        Some(name) => vec![name.as_str()],
        None => universe::NAMES.to_vec(),
    };
    let mut total = 0;
    for name in names {
        let Some(universe) = universe::named(name) else {
            eprintln!("there is no universe {name:?}: there are {}", universe::NAMES.join(", "));
            return ExitCode::from(2);
        };
        if arguments.list {
            println!("{name:<16} {}", universe.about);
            continue;
        }
        let explorer = Explorer {
            states_max: arguments.states.unwrap_or(u64::MAX),
            workers: arguments.workers,
            bytes_max: arguments.memory << 20,
            parts: arguments.parts,
        };
        let bar = bar(arguments.states, name);
        let start = Instant::now();
        let said = Mutex::new(Instant::now());
        let watch = |progress: Progress| {
            // Without a terminal there is no bar: a line now and then.
            if let Ok(mut said) = said.try_lock()
                && bar.is_hidden()
                && said.elapsed() > Duration::from_secs(5)
            {
                *said = Instant::now();
                let Progress { states, transitions, waiting } = progress;
                eprintln!("{name}: {states} states, {transitions} transitions, {waiting} states wait");
            }
            bar.set_position(progress.states);
            bar.set_message(format!("{} transitions, {} states wait", progress.transitions, progress.waiting));
        };
        match explorer.run(&universe, &watch) {
            Ok(report) => {
                bar.finish_and_clear();
                print(name, &report, start.elapsed());
                total += report.states;
            }
            Err(failure) => {
                bar.finish_and_clear();
                eprintln!("{name}: {failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    if !arguments.list {
        println!("{total} states in all");
    }
    ExitCode::SUCCESS
}

fn bar(states: Option<u64>, name: &str) -> ProgressBar {
    // Without a bound nobody knows how many there will be: a bar without length counts.
    let (bar, template) = match states {
        Some(states) => (ProgressBar::new(states), "{prefix} [{bar:40}] {pos}/{len} states, {per_sec}, {msg}"),
        None => (ProgressBar::new_spinner(), "{prefix} {spinner} {pos} states, {per_sec}, {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar.with_prefix(name.to_owned())
}

fn print(name: &str, report: &Report, took: Duration) {
    let closure = if report.closed { "closed" } else { "not closed" };
    println!(
        "{name}: {} states, {} transitions, depth {}, {closure}, {:.1} s",
        report.states,
        report.transitions,
        report.depth,
        took.as_secs_f64()
    );
    for (call, count) in &report.by_call {
        println!("  {call:<20} {count:>12}");
    }
    println!("  sometimes:");
    for (what, count) in report.sometimes.iter() {
        println!("    {what:<32} {count:>12}");
    }
    if report.parts.iter().next().is_some() {
        println!("  parts that differ, and how many values they take:");
    }
    for (part, count) in report.parts.iter() {
        println!("    {part:<32} {count:>12}");
    }
}
