//! Explores a universe of the kernel core and prints what it saw.

mod bar;

use bar::Bar;
use clap::Parser;
use spec::universe::{self, Family};
use spec::{Explorer, Report};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Explores universes of the kernel core, every interleaving of every call.
#[derive(Parser)]
#[command(
    after_help = "Size 1 of each universe is what the tests explore to closure. In each size after it there is one more of \
    what --list names: a thread, a handle, a CPU. Few of them close in memory that a computer has; the bar says how many new \
    states each state brings, and once that is less than one, how many are to come.\n\
    A universe that ends for want of memory, or at --states, is said not to have closed: what was explored of it was sound. \
    A finding is printed with the events that lead to it, and is exit status 1."
)]
struct Arguments {
    /// Universe to explore; all of them when none is named
    #[arg(long)]
    universe: Option<String>,
    /// How large, from 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    size: u32,
    /// Stop after this many states (default: explore to closure)
    #[arg(long)]
    states: Option<u64>,
    /// Threads that explore
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Memory for all that is held, in MiB: with less, depth first; without room for what has been seen, no further
    #[arg(long, value_name = "MIB", default_value_t = 3072)]
    memory: u32,
    /// Count the values that each part of the states takes, to find what makes a universe large (slow)
    #[arg(long)]
    parts: bool,
    /// Name the universes, what they are about, and what grows with their size
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match explore(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Refused(why)) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
        Err(Ended::Found(what)) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// Why nothing more was explored.
enum Ended {
    Refused(String),
    Found(String),
}

fn explore(arguments: &Arguments) -> Result<(), Ended> {
    let named: Vec<&Family> = match &arguments.universe {
        Some(name) => vec![universe::family(name).ok_or_else(|| unknown(name))?],
        None => universe::FAMILIES.iter().collect(),
    };
    if arguments.list {
        named.iter().for_each(|family| describe(family));
        return Ok(());
    }
    let mut total = 0;
    for family in named {
        let universe = family.of_size(arguments.size).ok_or_else(|| {
            Ended::Refused(format!("{} has sizes 1 to {}, not {}", family.name, family.size_max, arguments.size))
        })?;
        let explorer = Explorer {
            states_max: arguments.states.unwrap_or(u64::MAX),
            workers: arguments.workers.into(),
            bytes_max: (arguments.memory as usize) << 20,
            parts: arguments.parts,
        };
        let (bar, start) = (Bar::new(family.name, arguments.states, explorer.bytes_max), Instant::now());
        let explored = explorer.run(&universe, &|progress| bar.show(progress));
        bar.finish();
        let report = explored.map_err(|failure| Ended::Found(format!("{}: {failure}", family.name)))?;
        print(family.name, &report, start.elapsed());
        total += report.states;
    }
    println!("{total} states in all");
    Ok(())
}

fn unknown(name: &str) -> Ended {
    let names: Vec<&str> = universe::names().collect();
    Ended::Refused(format!("there is no universe {name:?}: there are {}", names.join(", ")))
}

fn describe(family: &Family) {
    if let Some(universe) = family.of_size(1) {
        println!("{:<14} {}", family.name, universe.about);
        println!("{:<14}   sizes 1 to {}: each a {} more", "", family.size_max, family.grows);
    }
}

fn print(name: &str, report: &Report, took: Duration) {
    let closure = match (report.closed, report.out_of_memory) {
        (true, _) => "closed",
        (false, true) => "not closed: no memory is left",
        (false, false) => "not closed",
    };
    println!(
        "{name}: {} states, {} transitions, depth {}, {closure}, {:.1} s, {:.0} states/s, {} MiB",
        report.states,
        report.transitions,
        report.depth,
        took.as_secs_f64(),
        report.states as f64 / took.as_secs_f64(),
        report.bytes >> 20
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
