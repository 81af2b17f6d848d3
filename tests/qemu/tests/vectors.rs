//! Vector registers belong to a thread: nothing that happens to it changes them, whoever runs meanwhile.
//!
//! The trial `vectors` (tests/trials) holds patterns in all of them across calls, signals, waits, preemption, page faults,
//! first writes and power cuts, and prints what it did and how often a pattern was found changed. Five of its threads do
//! so side by side, in two processes, at one priority.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crash_disk::PowerCutDisk;
use qemu_machine::{Artifacts, Disk, Guest, Machine};

/// How long a machine may take for anything here: an emulated one on a busy host is slow.
const LIMIT: Duration = Duration::from_secs(180);
const DISK_BYTES: usize = 64 << 20;
/// Rounds in each boot, at the least.
const ROUNDS: u64 = 4;
/// Registers whose loss the trial must notice: 16 vectors, 8 of the x87 stack, two control words.
const PARTS: u64 = 26;

/// What one of the trial's lines says, by name.
type Line = BTreeMap<String, u64>;

/// The trial's last whole line.
fn last_line(console: &str) -> Option<Line> {
    let (whole, _) = console.rsplit_once('\n')?;
    let line = whole.lines().rev().find_map(|line| line.split_once("vectors: "))?.1;
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(words.chunks_exact(2).filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?))).collect())
}

/// Waits until the trial has made `rounds` rounds; its last line.
fn wait_rounds(guest: &mut Guest, rounds: u64) -> Line {
    let deadline = Instant::now() + LIMIT;
    loop {
        let console = guest.console().text();
        for words in ["ALARM", "PANIC", "EXCEPTION", "panicked", "stopped"] {
            assert!(!console.contains(words), "{words:?} on the console:\n{console}");
        }
        if let Some(line) = last_line(&console) {
            // Said at once: a thread with wrong registers may not get far.
            assert_eq!(line["wrong"], 0, "registers were changed:\n{console}");
            if line["rounds"] >= rounds {
                return line;
            }
        }
        assert!(Instant::now() < deadline, "waiting for round {rounds}:\n{console}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn socket(cpus: u32) -> PathBuf {
    std::env::temp_dir().join(format!("perennial-vectors-{}-{cpus}", std::process::id()))
}

/// Cuts the power so often.
fn registers_stay(cpus: u32, cuts: u64) {
    let mut disk = PowerCutDisk::empty(DISK_BYTES, 1);
    let mut line = Line::new();
    for boot in 0..=cuts {
        disk.serve(&socket(cpus)).expect("served");
        let artifacts = Artifacts::of_trial("vectors");
        let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
        (machine.cpus, machine.disk) = (cpus, Disk::Socket(socket(cpus)));
        let mut guest = Guest::start(&machine).expect("QEMU starts");
        let rounds = line.get("rounds").copied().unwrap_or(0) + ROUNDS;
        line = wait_rounds(&mut guest, rounds);
        assert_eq!(line["noticed"], PARTS, "lost registers go unnoticed: {line:?}");
        disk.cut_now();
        guest.kill();
        if boot > 0 {
            assert!(guest.console().text().contains("goes on as"), "no restore:\n{}", guest.console());
        }
        disk = disk.survive();
    }
    println!("{cpus} CPUs: {line:?}");
    let least = |name: &str, least: u64| assert!(line[name] >= least, "{name} {} of {least}: {line:?}", line[name]);
    least("calls", (cuts + 1) * ROUNDS);
    least("signals", (cuts + 1) * ROUNDS);
    least("switched", ROUNDS);
    least("fresh", 3);
    least("rewritten", 2);
    // At each cut at least one thread computes and two wait.
    least("computing-restored", cuts);
    least("waiting-restored", cuts);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn vector_registers_belong_to_a_thread() {
    registers_stay(1, 2);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn vector_registers_belong_to_a_thread_on_two_cpus() {
    registers_stay(2, 1);
}
