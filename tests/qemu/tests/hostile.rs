//! A hostile process throws calls with any registers at the kernel, from several threads, and nobody else notices: the
//! tally counts on, epochs commit, a power cut in the middle is a power cut like any other.
//!
//! Seeded: a failure names the seed. `HOSTILE_SEED=N cargo xtask test --ring qemu --filter hostile` throws others. How far the
//! threads get in a time slice is the machine's, so two runs of a seed are alike, not the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crash_disk::{PowerCutDisk, Random};
use qemu_machine::{Artifacts, Disk, Guest, Machine};

/// How long a machine may take for anything here: an emulated one on a busy host is slow.
const LIMIT: Duration = Duration::from_secs(180);
const DISK_BYTES: usize = 64 << 20;
const SEED: u64 = 0x5eed_0f11;
/// How much is asked of a machine: two emulated CPUs on a busy host get on slowly.
struct Size {
    cpus: u32,
    /// Power cuts.
    cuts: u32,
    /// Generations of hostile threads in each boot, at the least, and numbers that the tally prints.
    generations: u64,
    tallies: u64,
    /// Answers that must have been given, of [`ANSWERS`].
    answers: usize,
    /// Throws, misdeeds, kinds of calls that succeeded.
    least: [u64; 3],
}
/// What a line of the keeper names: seed, generation, 14 counts, and two more.
const NAMES: usize = 18;
/// Steps between the tally's lines.
const LINE_EVERY: u64 = 1000;
/// What must never be seen: processes that disagree, a kernel or server that stopped, epochs that do not commit.
const NEVER: [&str; 8] =
    ["ALARM", "PANIC", "EXCEPTION", "panicked", "stopped:", "has stopped", "makes no world", "unsound"];
/// Answers that must have been given, to have tried anything.
const ANSWERS: [&str; 8] =
    ["ok", "bad-handle", "wrong-kind", "missing-right", "bad-argument", "no-such-call", "would-block", "timed-out"];

/// What one of the keeper's lines says, by name.
type Line = BTreeMap<String, u64>;

/// The console without the lines of the pager on threads that stop, which come between the letters of others.
fn clean(console: &str) -> String {
    let mut text = String::new();
    for (index, part) in console.split("pager: ").enumerate() {
        let rest = if index == 0 { part } else { part.split_once('\n').map_or("", |(_, rest)| rest) };
        text.push_str(rest);
    }
    text
}

/// Whole lines that begin with this, without it.
fn lines<'t>(console: &'t str, start: &'t str) -> impl Iterator<Item = &'t str> {
    let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(move |line| Some(line.split_once(start)?.1.trim()))
}

/// The keeper's last line that nothing came between.
fn last_line(console: &str) -> Option<Line> {
    let read = |line: &str| -> Option<Line> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pairs = words.chunks(2).map(|pair| Some((pair[0].to_owned(), pair.get(1)?.parse().ok()?)));
        pairs.collect::<Option<Line>>().filter(|line| line.len() == NAMES)
    };
    lines(console, "hostile: ").filter_map(read).last()
}

/// The last number of the tally, which only grows within one boot; that none is missing the tally sees to.
fn last_tally(console: &str, story: &str) -> u64 {
    let numbers: Vec<u64> = lines(console, "tally: ").filter_map(|number| number.parse().ok()).collect();
    for pair in numbers.windows(2) {
        assert!(pair[0] < pair[1], "{story}: {} after {}:\n{console}", pair[1], pair[0]);
    }
    numbers.last().copied().unwrap_or(0)
}

/// Watches one boot until the hostile process and the tally have got so far, and the process has thrown `enough`.
fn watch(guest: &mut Guest, generation: u64, tally: u64, enough: impl Fn(&Line) -> bool, story: &str) -> (Line, u64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let console = clean(&guest.console().text());
        for words in NEVER {
            assert!(!console.contains(words), "{story}: {words:?} on the console:\n{console}");
        }
        let number = last_tally(&console, story);
        match last_line(&console) {
            Some(line) if line["generation"] >= generation && number >= tally && enough(&line) => {
                return (line, number);
            }
            _ => {}
        }
        assert!(Instant::now() < deadline, "{story}: waiting for generation {generation}, tally {tally}:\n{console}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks for the counter's number and for an epoch, until both answers come in one piece: the number, which must be beyond
/// `before`. What was shown before a power cut may be shown again first.
fn ask(guest: &mut Guest, before: u64, story: &str) -> u64 {
    let deadline = Instant::now() + LIMIT;
    for step in 0.. {
        if step % 200 == 0 {
            guest.type_text("count\rsync\r").expect("typed");
        }
        let console = clean(&guest.console().text());
        let number = console.lines().rev().find_map(|line| line.trim().parse().ok());
        if let Some(number) = number.filter(|&number| number > before && console.contains("durable with epoch")) {
            return number;
        }
        assert!(Instant::now() < deadline, "{story}: nothing is durable:\n{console}");
        std::thread::sleep(Duration::from_millis(50));
    }
    unreachable!("it ends by its deadline")
}

fn nobody_notices(size: &Size) {
    let cpus = size.cpus;
    let seed = std::env::var("HOSTILE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    let mut random = Random::new(seed);
    let mut disk = PowerCutDisk::empty(DISK_BYTES, random.next_number());
    let path: PathBuf = std::env::temp_dir().join(format!("perennial-hostile-{}-{cpus}", std::process::id()));
    let (mut line, mut tally, mut counted) = (Line::new(), 0, 0);
    let [throws, misdeeds, succeeded] = size.least;
    let least = [("throws", throws), ("misdeeds", misdeeds), ("succeeded", succeeded), ("calls", abi::CALLS.into())];
    // A generation throws for as long as it lives: on a busy host it takes more of them.
    let enough = |line: &Line| {
        least.iter().all(|&(name, least)| line[name] >= least)
            && ANSWERS[..size.answers].iter().all(|&answer| line[answer] > 0)
    };
    for boot in 0..=size.cuts {
        let story = format!("HOSTILE_SEED={seed}, {cpus} CPUs, boot {boot}");
        disk.serve(&path).expect("served");
        let artifacts = Artifacts::of_trial("hostile");
        let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
        (machine.cpus, machine.disk) = (cpus, Disk::Socket(path.clone()));
        machine.command_line = format!("hostile={seed}");
        let mut guest = Guest::start(&machine).expect("QEMU starts");
        let generation = line.get("generation").copied().unwrap_or(0) + size.generations;
        let numbers = tally + size.tallies * LINE_EVERY;
        (line, tally) = watch(&mut guest, generation, numbers, |line| boot < size.cuts || enough(line), &story);
        assert_eq!(line["seed"], seed, "{story}: other throws than asked for");
        // All this time epochs commit: what is asked for now is durable soon.
        counted = ask(&mut guest, counted, &story);
        disk.cut_now();
        guest.kill();
        let console = guest.console().text();
        assert_eq!(boot > 0, console.contains("goes on as"), "{story}: born or restored?\n{console}");
        disk = disk.survive();
    }
    println!("HOSTILE_SEED={seed}, {cpus} CPUs, tally {tally}: {line:?}");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_hostile_process_hurts_nobody() {
    let least = [10_000, 20, 12];
    nobody_notices(&Size { cpus: 1, cuts: 2, generations: 25, tallies: 1, answers: ANSWERS.len(), least });
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_hostile_process_hurts_nobody_on_two_cpus() {
    nobody_notices(&Size { cpus: 2, cuts: 1, generations: 8, tallies: 0, answers: 6, least: [500, 1, 3] });
}
