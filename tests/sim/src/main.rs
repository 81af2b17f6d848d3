//! Runs stories of the whole system by their seeds.

use clap::Parser;

/// Simulates the whole system through power cuts, one story a seed; stops at the first that goes wrong.
#[derive(Parser, Debug)]
struct Options {
    /// First seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Say what happens in each life
    #[arg(long)]
    verbose: bool,
}

fn main() {
    let options = Options::parse();
    let mut figures = sim::Figures::default();
    for seed in options.seed..options.seed.saturating_add(options.runs) {
        figures.add(&sim::run_seed(seed, options.verbose));
    }
    print!("{figures}");
}
