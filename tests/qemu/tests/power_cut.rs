//! The whole system over a disk that loses power: whatever it has said outside is still true afterwards, and the world
//! goes on.
//!
//! The witnesses live in the world. `tally` counts with `counter`, compares every answer with its own memory, and prints
//! each thousandth; the console lets a line out only when its epoch has committed. So a number that was seen is durable:
//! after the cut the world must have it, count on from it without a gap (a line may come twice, never be missing), and
//! raise no alarm. A world that was born durably is never born again.
//!
//! Replay a failure with PERENNIAL_SEED=… as its message says.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crash_disk::{Cut, PowerCutDisk, Random};
use qemu_machine::{Artifacts, Disk, Guest, Machine};

/// How long a machine may take for one thing.
const LIMIT: Duration = Duration::from_secs(180);
/// Length of the disk.
const DISK_BYTES: usize = 128 << 20;
/// Boots with a cut, in one test.
const CUTS: u32 = 5;
/// Sets the seed.
const SEED_VARIABLE: &str = "PERENNIAL_SEED";
/// `tally` prints every so many steps.
const TALLY_STEP: u64 = 1000;

/// What a world has let out, over all its boots.
#[derive(Debug, Default)]
struct Witness {
    /// The highest number that was seen.
    highest: u64,
    /// The boot at which its birth was said to be durable.
    born: Option<u32>,
    /// What the console showed at the last boot.
    console: String,
}

impl Witness {
    /// Looks at the console of one boot, up to now.
    fn look(&mut self, console: &str, boot: u32, story: &str) {
        let fail = |what: &str| panic!("{what} at boot {boot}; {story}\nthe console of this boot:\n{console}");
        for words in ["ALARM", "PANIC", "EXCEPTION", "panicked"] {
            if console.contains(words) {
                fail(&format!("{words:?} was shown"));
            }
        }
        if self.born.is_some_and(|born| born < boot) && console.contains("a new world begins") {
            fail("a world that was durable is gone");
        }
        let mut last = None;
        for number in tallies(console) {
            let follows = last.is_none_or(|last| number == last + TALLY_STEP || number <= last);
            if !follows || number > self.highest.max(last.unwrap_or(0)) + TALLY_STEP {
                fail(&format!("{number} leaves out numbers after {}", last.unwrap_or(self.highest)));
            }
            last = Some(number);
            self.highest = self.highest.max(number);
        }
        if self.born.is_none() && (console.contains(" is durable") || last.is_some()) {
            self.born = Some(boot);
        }
        self.console = console.to_owned();
    }
}

/// The numbers that `tally` has printed, whole lines only.
fn tallies(console: &str) -> Vec<u64> {
    let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| line.split_once("tally: ")?.1.trim().parse().ok()).collect()
}

fn start(socket: &Path, cpus: u32) -> Guest {
    let artifacts = Artifacts::from_environment();
    let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
    machine.cpus = cpus;
    machine.disk = Disk::Socket(socket.to_owned());
    Guest::start(&machine).expect("QEMU starts")
}

fn seed_or(default: u64) -> u64 {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} is not a number: {text:?}")),
        Err(_) => default,
    }
}

fn socket(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("perennial-cut-{}-{seed}", std::process::id()))
}

/// Cuts the power `CUTS` times, each at a command between 1 and `command_max` of its boot, then lets the world run on.
fn cut_and_go_on(default_seed: u64, command_max: u64, cpus: u32) {
    let seed = seed_or(default_seed);
    let path = socket(seed);
    let mut random = Random::new(seed);
    let mut disk = PowerCutDisk::empty(DISK_BYTES, random.next_number());
    let mut witness = Witness::default();
    let mut story = format!("replay with {SEED_VARIABLE}={seed}");
    for boot in 1..=CUTS {
        let command = 1 + random.below(command_max);
        disk.cut_at(command);
        disk.serve(&path).expect("served");
        let mut guest = start(&path, cpus);
        let cut = wait_for_cut(&disk, &mut guest, &mut witness, boot, &story);
        guest.kill();
        witness.look(&guest.console().text(), boot, &story);
        story.push_str(&format!("\n  boot {boot}: {cut}; highest number seen {}", witness.highest));
        disk = disk.survive();
    }
    disk.serve(&path).expect("served");
    let mut guest = start(&path, cpus);
    let goal = witness.highest + 3 * TALLY_STEP;
    let deadline = Instant::now() + LIMIT;
    while witness.highest < goal {
        assert!(Instant::now() < deadline, "the world does not go on to {goal}; {story}\n{}", witness.console);
        std::thread::sleep(Duration::from_millis(50));
        witness.look(&guest.console().text(), CUTS + 1, &story);
    }
    guest.type_text("count\r").expect("the machine runs");
    guest.wait_for("count\r\n", LIMIT).unwrap_or_else(|error| panic!("{error}; {story}"));
}

/// Waits for the cut, watching the console meanwhile: a world that fails before it need not be waited for.
fn wait_for_cut(disk: &PowerCutDisk, guest: &mut Guest, witness: &mut Witness, boot: u32, story: &str) -> Cut {
    let deadline = Instant::now() + LIMIT;
    loop {
        match disk.wait_cut(Duration::from_millis(100)) {
            Ok(cut) => return cut,
            Err(error) => {
                witness.look(&guest.console().text(), boot, story);
                assert!(Instant::now() < deadline, "no cut: {error}; {story}\n{}", witness.console);
            }
        }
    }
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn cuts_while_a_world_is_born() {
    cut_and_go_on(101, 24, 1);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn cuts_early_in_a_world() {
    cut_and_go_on(202, 120, 1);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn cuts_in_a_world_that_runs() {
    cut_and_go_on(303, 300, 1);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn cuts_with_two_cpus() {
    cut_and_go_on(404, 200, 2);
}
