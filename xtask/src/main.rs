//! The one door: whatever is done with Perennial on a host is a command here, and CI runs nothing else.
//!
//! `build` makes kernel, programs and boot bundle; `run` boots them in QEMU; `test` runs every ring of tests and ends in
//! one line; `sim` simulates as long as one likes; `bench` measures beside the figures of other systems; `mutants` tests
//! the tests; `explore` takes the kernel core through every state of small universes; `setup` installs what a fresh
//! machine lacks. All of them begin by looking for what they need, and say in one sentence what is missing and what to
//! type.
//!
//! It refuses to do quietly what a person did not ask for: no toolchain is downloaded, nothing is installed without
//! root, no disk image is overwritten without `--fresh`, no process is ended that it did not start.
//!
//! Exit status: 0 all went well; 1 something built, run or tested failed; 2 it could not be tried (wrong usage, or
//! something missing on this computer).
//!
//! Neighbours: `abi::bundle` (what it packs), `qemu-machine` (what it boots), `init/system.toml` (who runs).
#![forbid(unsafe_code)]

mod artifacts;
mod bare_metal;
mod bench;
mod bundle;
mod child;
mod cli;
mod elf;
mod explore;
mod failure;
mod fuzz;
mod image;
mod manifest;
mod mutants;
mod packages;
mod progress;
mod project;
mod run;
mod sim;
mod suite;
mod sysroot;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            failure::exit_code(&error)
        }
    }
}
