//! `cargo xtask run`: boots Perennial on this terminal.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::termios;
use qemu_machine::{Console, Disk, Ending, Machine, Monitor, Transcript};

use crate::artifacts::{self, Profile};
use crate::failure::refusal;
use crate::{child, image, packages, project};

/// How often a running machine is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Options of `run`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Number of CPUs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Memory of the machine in MiB.
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    memory: u32,
    /// The NVMe disk's image; made if it is not there.
    #[arg(long, value_name = "FILE", default_value = "target/perennial.img")]
    disk: PathBuf,
    /// Size of a new disk image in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    size: u64,
    /// Begin with an empty disk: the world on it is gone.
    #[arg(long)]
    fresh: bool,
    /// Run without an NVMe disk.
    #[arg(long, conflicts_with_all = ["disk", "size", "fresh"])]
    no_disk: bool,
    /// Let the world go on from this epoch instead of the newest, as `1.60`: one of those that `world epochs` lists.
    /// What came after it is given up when the world has begun to run.
    #[arg(long, value_name = "EPOCH", conflicts_with_all = ["no_disk", "fresh"])]
    epoch: Option<String>,
    /// Wait for gdb on port 1234 before the first instruction.
    #[arg(long)]
    gdb: bool,
    /// The console on plain standard input and output, for scripts: no power switch, no terminal modes.
    #[arg(long)]
    headless: bool,
    /// Let time be the count of instructions: slower, and the same at each run.
    #[arg(long)]
    icount: bool,
    /// Switch the machine off after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Words for the kernel's command line.
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Switch the machine off when the console has shown this text (exit status 0), or at the timeout (1).
    #[arg(long, value_name = "TEXT")]
    until: Option<String>,
    /// Build with debug assertions.
    #[arg(long)]
    debug: bool,
    /// Boot this bundle instead of the one that is built.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

/// Builds and boots.
pub(crate) fn run(options: &Options) -> Result<()> {
    packages::need_emulator()?;
    let artifacts = artifacts::build(if options.debug { Profile::Debug } else { Profile::Release })?;
    let mut machine = Machine::new(&artifacts.kernel, Some(options.bundle.as_ref().unwrap_or(&artifacts.bundle)));
    machine.cpus = options.smp;
    machine.memory_mib = options.memory;
    machine.command_line.clone_from(&options.append);
    if let Some(epoch) = &options.epoch {
        machine.command_line = format!("{} epoch={epoch}", machine.command_line).trim_start().to_owned();
    }
    machine.count_instructions = options.icount;
    machine.wait_for_gdb = options.gdb;
    if !options.no_disk {
        let path = if options.disk.is_absolute() { options.disk.clone() } else { project::root().join(&options.disk) };
        image::prepare(&path, options.size, options.fresh)?;
        machine.disk = Disk::Image(path);
    }
    machine.console = if options.headless { Console::Pipes } else { Console::Terminal };
    if options.gdb {
        let kernel = artifacts.kernel.display();
        eprintln!("The machine waits for gdb; in another terminal: gdb {kernel} -ex 'target remote :1234'");
    } else if !options.headless {
        eprintln!("Booting; Ctrl-A X switches the machine off, Ctrl-A H tells more.");
    }
    boot(machine, options)
}

fn boot(mut machine: Machine, options: &Options) -> Result<()> {
    let socket = std::env::temp_dir().join(format!("perennial-run-{}", std::process::id()));
    machine.monitor = Some(socket.clone());
    let terminal = SavedTerminal::save();
    let mut running = Running::start(machine.command(), options.until.clone())?;
    let monitor = Monitor::connect(&socket, || running.is_alive()).ok();
    let limit = options.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let outcome = running.wait(limit);
    let reason = monitor.as_ref().and_then(|monitor| match &outcome {
        Ok(Outcome::Ended(status)) if status.code() == Some(0) => monitor.last_reason(),
        _ => None,
    });
    terminal.restore();
    // QEMU has removed it unless it was killed.
    let _ = std::fs::remove_file(&socket);
    match outcome? {
        Outcome::Seen => {
            eprintln!("\nThe console has shown what was waited for.");
            Ok(())
        }
        Outcome::Deadline => match &options.until {
            Some(text) => bail!("the console has not shown {text:?} within {} s", options.timeout.unwrap_or(0)),
            None => {
                eprintln!("\nThe time is up: the machine was switched off.");
                Ok(())
            }
        },
        Outcome::Ended(status) => judge(&Ending::read(status, &running.complaints(), reason.as_deref()), options),
    }
}

fn judge(ending: &Ending, options: &Options) -> Result<()> {
    match ending {
        Ending::Refused(complaint) => Err(refusal(complaint.to_string())),
        _ if options.until.is_some() => bail!("{ending} before the console showed what was waited for"),
        Ending::Success | Ending::Stopped => {
            eprintln!("\n{}.", capitalised(&ending.to_string()));
            Ok(())
        }
        Ending::Failure(_) | Ending::Reset | Ending::PowerOff => bail!("{ending}"),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

enum Outcome {
    Seen,
    Deadline,
    Ended(ExitStatus),
}

/// A QEMU under way; ended with this value at the latest.
struct Running {
    child: Child,
    seen: Arc<AtomicBool>,
    complaints: Arc<Mutex<String>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Running {
    fn start(mut command: Command, until: Option<String>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        if until.is_some() {
            command.stdout(Stdio::piped());
        }
        // A machine whose input is empty, as under CI, still gets its console; QEMU minds a closed one.
        command.stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| child::cannot_start(&name, &error))?;
        let seen = Arc::new(AtomicBool::new(false));
        let complaints = Arc::new(Mutex::new(String::new()));
        let mut threads = Vec::new();
        if let (Some(text), Some(mut output)) = (until, child.stdout.take()) {
            let seen = Arc::clone(&seen);
            threads.push(thread::spawn(move || copy_until(&mut output, &text, &seen)));
        }
        if let Some(mut errors) = child.stderr.take() {
            let complaints = Arc::clone(&complaints);
            threads.push(thread::spawn(move || {
                let mut text = Vec::new();
                // What could be read until an error is what there is to say.
                let _ = errors.read_to_end(&mut text);
                if let Ok(mut complaints) = complaints.lock() {
                    complaints.push_str(&String::from_utf8_lossy(&text));
                }
            }));
        }
        Ok(Self { child, seen, complaints, threads })
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn wait(&mut self, limit: Option<Instant>) -> Result<Outcome> {
        loop {
            if self.seen.load(Ordering::Acquire) {
                self.end();
                return Ok(Outcome::Seen);
            }
            if let Some(status) = self.child.try_wait().context("waiting for QEMU")? {
                for thread in self.threads.drain(..) {
                    // A reader that panicked has been heard of already.
                    let _ = thread.join();
                }
                let seen = self.seen.load(Ordering::Acquire);
                return Ok(if seen { Outcome::Seen } else { Outcome::Ended(status) });
            }
            if limit.is_some_and(|limit| Instant::now() >= limit) {
                self.end();
                return Ok(Outcome::Deadline);
            }
            thread::sleep(GLANCE);
        }
    }

    fn complaints(&self) -> String {
        self.complaints.lock().map(|text| text.clone()).unwrap_or_default()
    }

    fn end(&mut self) {
        if self.is_alive() {
            child::end_tree(self.child.id());
        }
        // Collects the status; an error means that it has been collected.
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn copy_until(output: &mut impl Read, text: &str, seen: &AtomicBool) {
    let mut transcript = Transcript::default();
    let mut piece = vec![0; 4096];
    let mut screen = std::io::stdout();
    while let Ok(length @ 1..) = output.read(&mut piece) {
        // A closed screen must not stop the machine's console.
        let _ = screen.write_all(&piece[..length]).and_then(|()| screen.flush());
        transcript.push(&piece[..length]);
        if transcript.find(text) {
            seen.store(true, Ordering::Release);
        }
    }
}

/// The terminal's modes: QEMU changes them, and puts them back only when it ends by itself.
struct SavedTerminal(Option<termios::Termios>);

impl SavedTerminal {
    fn save() -> Self {
        let input = std::io::stdin();
        Self(if input.is_terminal() { termios::tcgetattr(&input).ok() } else { None })
    }

    fn restore(&self) {
        if let Some(modes) = &self.0 {
            // A terminal that has gone away needs no modes.
            let _ = termios::tcsetattr(std::io::stdin(), termios::SetArg::TCSANOW, modes);
        }
    }
}
