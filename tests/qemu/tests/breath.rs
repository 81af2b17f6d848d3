//! First breath: one world that lives on through many power cuts in a row, in the real machine.
//!
//! Seeded: `BREATH_SEED=N cargo xtask test --ring qemu --filter breath` chooses other cuts. The machine's own
//! timing is not ours to choose, so a failure names the seed, the boot and the cut, and shows the console.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crash_disk::{PowerCutDisk, Random};
use qemu_machine::{Artifacts, Disk, Guest, Machine};

/// How long a machine may take for anything here: an emulated one on a busy host is slow.
const LIMIT: Duration = Duration::from_secs(180);
const DISK_BYTES: usize = 64 << 20;
/// Cuts in a row on one world.
const CUTS: u32 = 11;
const SEED: u64 = 0x0b5e_55ed;
/// Steps between the tally's lines.
const LINE_EVERY: u64 = 1000;
/// What must never be seen: processes that disagree, a server that stopped itself, a disk or world that was refused.
const NEVER: [&str; 6] = ["ALARM", "panicked", "makes no world", "disagree", "holds no store", "has stopped"];

fn seed() -> u64 {
    std::env::var("BREATH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("perennial-breath-{name}-{}", std::process::id()))
}

/// A machine over `disk`, and `words` on the kernel's command line.
fn boot(disk: &mut PowerCutDisk, name: &str, words: &str) -> Guest {
    let path = socket(name);
    disk.serve(&path).expect("served");
    let artifacts = Artifacts::from_environment();
    let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
    machine.disk = Disk::Socket(path);
    machine.command_line = words.to_owned();
    Guest::start(&machine).expect("QEMU starts")
}

fn expect(guest: &mut Guest, text: &str) {
    guest.wait_for(text, LIMIT).unwrap_or_else(|error| panic!("waiting for {text:?}: {error}"));
}

/// Numbers of the tally's lines, in order. A line that the cut tore is no line.
fn tallies(console: &str) -> Vec<u64> {
    let complete = console.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let numbers = complete.split("tally: ").skip(1).filter_map(|rest| rest.split(['\r', '\n']).next());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// What the outside has seen of one world, over all its boots.
#[derive(Default)]
struct Outside {
    /// The highest number that was ever shown.
    last: u64,
    /// Boots that showed a number not shown before.
    advances: u32,
    restores: u32,
}

impl Outside {
    /// Judges the console of one boot; `at` says which, for people.
    fn watch(&mut self, console: &str, at: &str) {
        for text in NEVER {
            assert!(!console.contains(text), "{at}: {text:?} on the console:\n{console}");
        }
        if console.contains("a new world begins in") {
            assert_eq!(self.last, 0, "{at}: a world was lost after it had shown {}:\n{console}", self.last);
        }
        self.restores += u32::from(console.contains("goes on as"));
        let numbers = tallies(console);
        for pair in numbers.windows(2) {
            assert_eq!(pair[1], pair[0] + LINE_EVERY, "{at}: a gap or a repeat within one boot:\n{console}");
        }
        if let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) {
            // Repeats are allowed, losses are not.
            assert!(
                first <= self.last + LINE_EVERY,
                "{at}: lines between {} and {first} are lost:\n{console}",
                self.last
            );
            self.advances += u32::from(last > self.last);
            self.last = self.last.max(last);
        }
    }
}

/// The console without the tally's lines, which come between the prompt's letters.
fn without_tallies(console: &str) -> String {
    let mut text = String::new();
    for (index, part) in console.split("tally: ").enumerate() {
        let rest = if index == 0 { part } else { part.split_once('\n').map_or("", |(_, rest)| rest) };
        text.push_str(rest);
    }
    text
}

/// Waits until the console, seen through `view`, shows what `found` looks for.
fn wait_until(guest: &mut Guest, what: &str, found: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !found(&guest.console().text()) {
        assert!(Instant::now() < deadline, "waiting for {what}:\n{}", guest.console().text());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A line that is nothing but a number: the prompt's answer to `count`.
fn counts(console: &str) -> Vec<u64> {
    console.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_world_lives_through_power_cuts_in_a_row() {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut disk = PowerCutDisk::empty(DISK_BYTES, random.next_number());
    let mut outside = Outside::default();
    for number in 1..=CUTS {
        let command = 10 + random.below(160);
        disk.cut_at(command);
        let mut guest = boot(&mut disk, "cuts", "");
        let cut = disk.wait_cut(LIMIT).unwrap_or_else(|error| {
            panic!("seed {seed}, boot {number}: no cut at command {command}: {error}\n{}", guest.console().text())
        });
        guest.kill();
        let at = format!("seed {seed}, boot {number}, {cut}");
        outside.watch(&guest.console().text(), &at);
        disk = disk.survive();
    }
    // The last boot is not cut: what the world remembers is asked for.
    let mut guest = boot(&mut disk, "cuts", "");
    expect(&mut guest, "goes on as");
    expect(&mut guest, "tally: ");
    guest.type_text("count\r").expect("typed");
    wait_until(&mut guest, "the answer to `count`", |console| !counts(&without_tallies(console)).is_empty());
    let shown_before = outside.last;
    guest.kill();
    let console = guest.console().text();
    outside.watch(&console, &format!("seed {seed}, the last boot"));
    let remembered = counts(&without_tallies(&console)).first().copied();
    assert!(remembered >= Some(shown_before), "{remembered:?} after {shown_before} was shown:\n{console}");
    assert!(outside.restores >= CUTS / 2, "only {} of {CUTS} cuts met a world", outside.restores);
    assert!(outside.advances >= 3, "the world hardly moved: {} boots showed anything new", outside.advances);
    println!(
        "seed {seed}: {CUTS} cuts, {} restores, {} boots advanced, last number shown {}",
        outside.restores, outside.advances, outside.last
    );
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn half_a_line_is_there_again_and_the_call_that_was_cut_is_told_once() {
    let mut disk = PowerCutDisk::empty(DISK_BYTES, 7);
    let mut guest = boot(&mut disk, "line", "");
    expect(&mut guest, "> ");
    guest.type_text("cou").expect("typed");
    // An echo is only shown when the epoch that remembers the letters is durable.
    wait_until(&mut guest, "the echo", |console| without_tallies(console).contains("> cou"));
    guest.kill();
    let mut disk = disk.survive();
    let mut guest = boot(&mut disk, "line", "");
    wait_until(&mut guest, "the half line", |console| without_tallies(console).contains("> cou"));
    guest.type_text("nt\r").expect("typed");
    wait_until(&mut guest, "the answer", |console| !counts(&without_tallies(console)).is_empty());
    guest.kill();
    let console = guest.console().text();
    // The prompt's read was in the console server's hands at the cut: one `Restarted`, one redrawing.
    assert_eq!(without_tallies(&console).matches("> cou").count(), 1, "{console}");
}

/// The epoch from which the console says that the world goes on.
fn restored(console: &str) -> Option<(u64, u64)> {
    let (_, rest) = console.split_once("the world of epoch ")?;
    let (incarnation, counter) = rest.split_whitespace().next()?.split_once('.')?;
    Some((incarnation.parse().ok()?, counter.parse().ok()?))
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn an_older_epoch_is_booted_when_it_is_asked_for() {
    let mut disk = PowerCutDisk::empty(DISK_BYTES, 11);
    let mut guest = boot(&mut disk, "older", "");
    expect(&mut guest, "tally: 3000");
    guest.kill();
    let image = disk.survive().contents();
    let again = |words: &str, text: &str| {
        let mut disk = PowerCutDisk::new(image.clone(), 12);
        let mut guest = boot(&mut disk, "older", words);
        expect(&mut guest, text);
        let console = guest.console().text();
        guest.kill();
        console
    };
    let console = again("", "goes on as");
    let (incarnation, newest) = restored(&console).unwrap_or_else(|| panic!("no epoch named:\n{console}"));
    // The epoch before the newest is always kept, and while the tally runs each is written.
    let older = format!("{incarnation}.{}", newest - 1);
    let console = again(&format!("epoch={older}"), "tally: ");
    assert!(console.contains(&format!("the world of epoch {older} goes on as 2.1")), "{console}");
    again("epoch=9.9", "epoch 9.9 is not kept");
}
