//! `cargo xtask explore`: takes universes of the kernel core through every interleaving of every call.
//!
//! The explorer is a program of the crate `spec`; it is built as shipped, and its progress bar and its findings come
//! through unchanged. A finding (the events that lead to it are printed) is exit status 1, an unknown universe 2.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::failure::refusal;
use crate::{child, project};

/// Options of `explore`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Universe to explore; without it all of them, one after the other
    #[arg(long, value_name = "NAME")]
    universe: Option<String>,
    /// How large, from 1: what grows with it --list says. Size 1 is what the tests explore to closure
    #[arg(long, value_name = "N", default_value_t = 1)]
    size: u32,
    /// Stop after so many states; without it each universe is explored to closure
    #[arg(long, value_name = "COUNT")]
    states: Option<u64>,
    /// Threads that explore
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Memory for all that is held, in MiB: with less of it exploration goes depth first, and ends when digests of what
    /// has been seen take all of it
    #[arg(long, value_name = "MIB", default_value_t = 3072)]
    memory: u32,
    /// Name the universes, what they are about and what grows with their size, and explore nothing
    #[arg(long)]
    list: bool,
}

/// Explores, and ends as the explorer ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    let status = command(options).status().map_err(|error| child::cannot_start("cargo", &error))?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said itself what it does not know.
        Some(2) => Err(refusal("nothing was explored")),
        _ => bail!("exploration has not ended well ({status})"),
    }
}

fn command(options: &Options) -> Command {
    let mut command = project::cargo();
    command.args(["run", "--quiet", "--locked", "--release", "-p", "spec", "--bin", "explore", "--"]);
    if let Some(universe) = &options.universe {
        command.arg("--universe").arg(universe);
    }
    if let Some(states) = options.states {
        command.arg("--states").arg(states.to_string());
    }
    let numbers = [("--size", options.size), ("--workers", options.workers), ("--memory", options.memory)];
    for (name, number) in numbers {
        command.arg(name).arg(number.to_string());
    }
    if options.list {
        command.arg("--list");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_explorer_is_told_what_was_asked_for() {
        let universe = Some("ipc".to_owned());
        let options = Options { universe, size: 2, states: Some(7), workers: 3, memory: 64, list: false };
        let command = command(&options);
        let arguments: Vec<_> = command.get_args().filter_map(|argument| argument.to_str()).collect();
        let own = arguments.iter().position(|&argument| argument == "--").expect("its own arguments");
        assert_eq!(arguments[own + 1..].join(" "), "--universe ipc --states 7 --size 2 --workers 3 --memory 64");
    }
}
