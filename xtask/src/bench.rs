//! `cargo xtask bench`: lets the machine measure itself, and sets the figures beside those of others.
//!
//! The guest is booted with `bench=NAME` on its command line, measures, prints one line a figure on its debug serial
//! port, and ends with success:
//!
//! ```text
//! BENCH ipc_round_trip 238 insns p50=238 p99=240 runs=1000
//! BENCH commit_idle @3 insns
//! ```
//!
//! A benchmark that `host` names runs on this computer instead, and prints the same lines.
//!
//! A value `@N` is what the counting plugin found in region N, for each time it was entered.

mod anchors;
mod figure;
mod host;
mod lines;
mod plugin;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use qemu_machine::{Disk, Ending, Guest, Machine, WaitError};

use crate::artifacts::{self, Profile};
use crate::failure::refusal;
use crate::progress::Step;
use crate::{child, image, packages, project};
use anchors::Anchors;
use figure::Figure;

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Which benchmark: `store` runs on this computer; any other the guest finds as `bench=NAME` on its command line
    name: String,
    /// Print one JSON object a line instead of the table
    #[arg(long)]
    json: bool,
    /// Measure time instead of instructions: figures of this computer, which differ from run to run
    #[arg(long)]
    wall: bool,
    /// Number of CPUs
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Further words for the kernel's command line; of `store`: `--quick`, `--only latency|stream|amplification`
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// End the machine after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Count by the plugin, which leaves out what idles or spins
    #[arg(long)]
    plugin: bool,
    /// Do not keep the figures in docs/figures
    #[arg(long)]
    no_save: bool,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !is_name(&options.name) {
        return Err(refusal(format!("{:?} is no name of a benchmark: letters, digits, - and _", options.name)));
    }
    let (mut figures, setting) = match host::binary(&options.name) {
        Some(binary) => host::measure(options, binary)?,
        None => on_machine(options, &options.name)?,
    };
    if options.name == "ipc" {
        // What a restore takes needs a machine of its own: it leaves another world.
        figures.extend(on_machine(options, "restore")?.0);
        keep_the_longest(&mut figures);
        figures.push(lines::kernel()?);
    }
    if options.json {
        for figure in &figures {
            println!("{}", figure.to_json());
        }
    } else {
        print!("{}", Anchors::load()?.table(&figures));
    }
    if !options.no_save {
        let path = save(options, setting, &figures)?;
        eprintln!("kept in {}", path.display());
    }
    Ok(())
}

/// Each run tells of the longest entry that it saw: only the longest of all stays.
fn keep_the_longest(figures: &mut Vec<Figure>) {
    const NAME: &str = "longest_entry_insns";
    let longest = figures.iter().filter(|figure| figure.name == NAME).map(|figure| figure.value).fold(0.0, f64::max);
    figures.retain(|figure| figure.name != NAME || figure.value == longest);
}

/// Boots the machine for the benchmark `name`, and returns its figures and what they depend on.
fn on_machine(options: &Options, name: &str) -> Result<(Vec<Figure>, serde_json::Value)> {
    packages::need_emulator()?;
    let artifacts = artifacts::build(Profile::Release)?;
    let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
    machine.cpus = options.smp;
    machine.memory_mib = options.memory;
    let command_line = format!("bench={name} {} {}", words_for(name), options.append);
    machine.command_line = command_line.split_whitespace().collect::<Vec<_>>().join(" ");
    machine.count_instructions = !options.wall;
    let disk = project::target().join("bench.img");
    image::prepare(&disk, 1024, true)?;
    machine.disk = Disk::Image(disk);
    if options.plugin {
        machine.extra.extend(plugin::options(&project::target())?);
    }
    let figures = measure(&machine, options, name)?;
    let version = child::output(std::process::Command::new(qemu_machine::qemu_program()).arg("--version"))?;
    let setting = serde_json::json!({
        "emulator": version.lines().next(),
        "counted": if options.wall { "time" } else { "instructions" },
        "cpus": machine.cpus,
        "memory_mib": machine.memory_mib,
        "command_line": machine.command_line,
    });
    Ok((figures, setting))
}

/// What a benchmark of the machine always has on the kernel's command line: room for 100,000 objects of the world.
fn words_for(name: &str) -> &'static str {
    if name == "ipc" { "tables=25" } else { "" }
}

fn measure(machine: &Machine, options: &Options, name: &str) -> Result<Vec<Figure>> {
    let step = Step::begin(format!("Measuring {name}"));
    let mut guest = Guest::start(machine).map_err(|error| child::cannot_start("QEMU", &error))?;
    let ending = match guest.wait_end(Duration::from_secs(options.timeout)) {
        Ok(ending) => ending,
        Err(WaitError::Ended(ending, _)) => ending,
        Err(WaitError::Deadline(tail)) => {
            bail!("the benchmark has not ended within {} s; the console's last lines:\n{tail}", options.timeout)
        }
    };
    let console = guest.console().text();
    let tail = guest.console().tail(30);
    if let Ending::Refused(complaint) = ending {
        return Err(refusal(complaint.to_string()));
    }
    let regions = plugin::read_report(guest.complaints());
    let figures: Result<Vec<Figure>> = console.lines().filter_map(|line| Figure::read(line, &regions)).collect();
    let figures = figures?;
    if ending != Ending::Success {
        bail!("{ending} in the benchmark {name}; the console's last lines:\n{tail}");
    }
    if figures.is_empty() {
        bail!("the guest printed no figure: is there a benchmark {name}? The console's last lines:\n{tail}");
    }
    step.done(&format!("{} figures", figures.len()));
    Ok(figures)
}

/// Keeps the figures with all that is needed to take them again.
fn save(options: &Options, setting: serde_json::Value, figures: &[Figure]) -> Result<PathBuf> {
    let folder = project::root().join("docs/figures");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.json", options.name));
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        child::output(command.current_dir(project::root()).args(arguments)).ok()
    };
    let changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    let mut record = serde_json::json!({
        "bench": options.name,
        "commit": git(&["rev-parse", "HEAD"]),
        "changed_since_commit": changed,
        "figures": figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
    });
    if let (Some(record), serde_json::Value::Object(setting)) = (record.as_object_mut(), setting) {
        record.extend(setting);
    }
    let text = serde_json::to_string_pretty(&record)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
