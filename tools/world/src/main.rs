//! `world`: look into an image or a disk. Exit status: 0 all is well, 1 something is wrong with it, 2 the call is.

mod command;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Looks into a store: which epochs it keeps, what lives in them, whether every block is what it should be.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Look at this epoch (as `world epochs` prints it: incarnation.counter, or a plain number) instead of the newest;
    /// not with commands that look at all epochs or name their own.
    #[arg(long, global = true, value_parser = command::epoch)]
    epoch: Option<abi::Epoch>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What the store is, how full, and how an opening would go.
    Info { image: PathBuf },
    /// Epochs that can be booted: time, size, dirty pages, duration.
    Epochs { image: PathBuf },
    /// Processes, their threads and what these do.
    Ps { image: PathBuf },
    /// What a process holds.
    Caps { image: PathBuf, process: u32 },
    /// The capability graph, as SVG (or, with --dot, for Graphviz).
    Graph {
        image: PathBuf,
        /// For Graphviz.
        #[arg(long)]
        dot: bool,
    },
    /// What changed between two epochs.
    Diff {
        image: PathBuf,
        #[arg(value_parser = command::epoch)]
        from: abi::Epoch,
        #[arg(value_parser = command::epoch)]
        to: abi::Epoch,
    },
    /// The contents of a page, as bytes.
    CatPage { image: PathBuf, object: u64, index: u64 },
    /// Verifies every block that any kept epoch needs; exit status 1 and a list when something is wrong.
    Fsck { image: PathBuf },
    /// Makes an older epoch the newest. WRITES to the image: what is newer is lost.
    Rewind {
        image: PathBuf,
        #[arg(value_parser = command::epoch)]
        to: abi::Epoch,
    },
    /// Writes an epoch to a file of its own.
    Export { image: PathBuf, file: PathBuf },
    /// Makes an image of an exported world. WRITES to the image: whatever is in it is lost.
    Import {
        file: PathBuf,
        image: PathBuf,
        /// Yes, overwrite what is there.
        #[arg(long)]
        overwrite: bool,
        /// Make a new image of so many MiB.
        #[arg(long, value_name = "MIB", conflicts_with = "overwrite")]
        size: Option<u64>,
    },
}

impl Command {
    /// Whether it looks at one epoch, which can be chosen.
    fn has_epoch(&self) -> bool {
        !matches!(
            self,
            Self::Epochs { .. } | Self::Diff { .. } | Self::Fsck { .. } | Self::Rewind { .. } | Self::Import { .. }
        )
    }
}

fn main() -> ExitCode {
    let Arguments { json, epoch, command } = Arguments::parse();
    if epoch.is_some() && !command.has_epoch() {
        let why = "--epoch chooses nothing for this command";
        Arguments::command().error(clap::error::ErrorKind::ArgumentConflict, why).exit();
    }
    let output = command::Output { json, epoch };
    let done = match command {
        Command::Info { image } => output.info(&image),
        Command::Epochs { image } => output.epochs(&image),
        Command::Ps { image } => output.ps(&image),
        Command::Caps { image, process } => output.caps(&image, process),
        Command::Graph { image, dot } => output.graph(&image, dot),
        Command::Diff { image, from, to } => output.diff(&image, from, to),
        Command::CatPage { image, object, index } => output.cat_page(&image, object, index),
        Command::Fsck { image } => output.fsck(&image),
        Command::Rewind { image, to } => output.rewind(&image, to),
        Command::Export { image, file } => output.export(&image, &file),
        Command::Import { file, image, overwrite, size } => output.import(&file, &image, overwrite, size),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}
