//! The commands and their help.

use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;

use crate::artifacts::{self, Profile};
use crate::bare_metal::Compiler;
use crate::failure::refusal;
use crate::{bench, explore, fuzz, mutants, packages, run, sim, suite, tidy};

/// Builds, runs, tests and measures Perennial.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
#[command(after_help = "Exit status: 0 all went well; 1 something failed; 2 it could not be tried.\n\
    What is missing on this computer is installed if you are root on a Debian; else you are told what to type.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Install what this computer lacks: QEMU, firmware, and a compiler for the bare machine
    Setup,
    /// Build the kernel, the programs and the boot bundle, and print where they are
    Build(Build),
    /// Build Perennial and boot it in QEMU, with its console on this terminal
    Run(run::Options),
    /// Run the tests: checks, host tests, simulations, the machine in QEMU; the last line counts them
    Test(suite::Options),
    /// Simulate the store and the whole system, from a seed or for hours, losing power all the time
    Sim(sim::Options),
    /// Let the machine measure itself, and set the figures beside those of other systems
    Bench(bench::Options),
    /// Test the tests: put faults into the code, and count which of them a test notices
    Mutants(mutants::Options),
    /// Take the kernel core through every interleaving of small universes, beside its specification
    Explore(explore::Options),
    /// Feed anything to whatever reads what it does not trust: calls, records, blocks, images
    Fuzz(fuzz::Options),
    /// Check the rules of the house alone
    Tidy,
}

#[derive(Args, Debug)]
struct Build {
    /// Build with debug assertions instead of as shipped
    #[arg(long)]
    debug: bool,
}

/// Mistakes in a word, at most, for which a command is still suggested.
const MISTAKES_MAX: usize = 2;

/// Reads the command line. clap suggests by a measure that misses swapped letters in short words; where it knows
/// nothing, the command with the fewest mistakes is suggested.
fn parse<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(words).map_err(|mut error| {
        if let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand)
            && error.get(ContextKind::SuggestedSubcommand).is_none()
        {
            let commands = CommandLine::command();
            let names = commands.get_subcommands().map(|command| command.get_name().to_owned());
            let mistakes = |name: &String| strsim::osa_distance(typed, name);
            if let Some(nearest) = names.min_by_key(mistakes).filter(|name| mistakes(name) <= MISTAKES_MAX) {
                error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![nearest]));
            }
        }
        error
    })
}

/// Does what the command line says.
pub(crate) fn execute() -> Result<()> {
    let command = parse(std::env::args_os()).unwrap_or_else(|error| error.exit()).command;
    if std::env::consts::ARCH != "x86_64" && !matches!(command, Command::Tidy) {
        return Err(refusal(format!(
            "Perennial is built on x86-64 computers only; this one is {}",
            std::env::consts::ARCH
        )));
    }
    match command {
        Command::Setup => {
            packages::need_emulator()?;
            println!("emulator  {}", qemu_machine::qemu_program().display());
            println!("compiler  {}", Compiler::choose()?.describe());
            Ok(())
        }
        Command::Build(options) => {
            let artifacts = artifacts::build(if options.debug { Profile::Debug } else { Profile::Release })?;
            println!("kernel    {}", artifacts.kernel.display());
            for (name, path) in &artifacts.programs {
                println!("program   {name} {}", path.display());
            }
            println!("bundle    {}", artifacts.bundle.display());
            Ok(())
        }
        Command::Run(options) => run::run(&options),
        Command::Test(options) => suite::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Explore(options) => explore::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Tidy => {
            let findings = tidy::check()?;
            for finding in &findings {
                println!("{finding}");
            }
            let errors = findings.iter().filter(|finding| finding.is_error).count();
            anyhow::ensure!(errors == 0, "{errors} rules of the house are broken");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn an_unknown_command_suggests_the_nearest() {
        for (typed, meant) in [("biuld", "'build'"), ("rnu", "'run'"), ("tets", "'test'")] {
            let error = parse(["cargo xtask", typed]).expect_err("unknown");
            assert!(error.to_string().contains(meant), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let error = parse(["cargo xtask", "something-else"]).expect_err("unknown");
        assert!(error.get(ContextKind::SuggestedSubcommand).is_none(), "{error}");
    }
}
