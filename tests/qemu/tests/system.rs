//! The whole system on its machine, as a person at the console sees it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use qemu_machine::{Artifacts, Disk, Ending, Guest, Machine};

/// How long a machine may take for one thing.
const LIMIT: Duration = Duration::from_secs(180);
/// Length of a disk image.
const IMAGE_BYTES: u64 = 128 << 20;
/// Looks at the interrupts that are being handled: hardly ever is there one.
const LOOKS_MAX: usize = 50;
/// What the world says when it begins.
const GREETING: &str = "Perennial. `help` says what can be typed.";

/// An empty disk image, removed at the end of its test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Self {
        Self::of(name, IMAGE_BYTES)
    }

    fn of(name: &str, bytes: u64) -> Self {
        let path = std::env::temp_dir().join(format!("perennial-system-{name}-{}.img", std::process::id()));
        let file = std::fs::File::create(&path).expect("made");
        file.set_len(bytes).expect("sized");
        Self(path)
    }

    fn machine(&self) -> Machine {
        let artifacts = Artifacts::from_environment();
        let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
        machine.disk = Disk::Image(self.0.clone());
        machine
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn start(machine: &Machine) -> Guest {
    Guest::start(machine).expect("QEMU starts")
}

fn expect(guest: &mut Guest, text: &str) {
    guest.wait_for(text, LIMIT).unwrap_or_else(|error| panic!("{text:?}: {error}"));
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_world_begins_and_answers() {
    let image = Image::new("answers");
    let mut guest = start(&image.machine());
    expect(&mut guest, "nvme: its interrupts arrive");
    expect(&mut guest, "a new world begins");
    expect(&mut guest, GREETING);
    guest.type_text("help\r").expect("the machine runs");
    expect(&mut guest, "wait until all so far survives a power cut");
    guest.type_text("sync\r").expect("the machine runs");
    expect(&mut guest, "durable with epoch 1.");
    guest.type_text("epochs\r").expect("the machine runs");
    expect(&mut guest, "a world that was never restored");
    expect(&mut guest, "tally: 2000");
    assert!(!guest.console().text().contains("ALARM"), "{}", guest.console());
}

/// Vectors that the first CPU's local APIC has delivered and not heard the end of, as QEMU's monitor tells.
fn in_service(monitor: &mut BufReader<UnixStream>) -> String {
    monitor.get_mut().write_all(b"info lapic\n").expect("QEMU runs");
    let told = monitor.by_ref().lines().map(|line| line.expect("QEMU runs"));
    let mut vectors = told.filter_map(|line| line.strip_prefix("ISR").map(|vectors| vectors.trim().to_owned()));
    vectors.next().expect("QEMU tells of it")
}

/// A message that nobody takes keeps all lines out, the console's among them.
#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn interrupts_of_the_disk_are_taken() {
    let image = Image::new("interrupts");
    let mut machine = image.machine();
    let socket = image.0.with_extension("monitor");
    let option = format!("socket,id=look,path={},server=on,wait=off", socket.display());
    machine.extra = ["-chardev", option.as_str(), "-mon", "chardev=look,mode=readline"].map(OsString::from).into();
    let mut guest = start(&machine);
    expect(&mut guest, "tally: 1000");
    let mut monitor = BufReader::new(UnixStream::connect(&socket).expect("QEMU listens"));
    // One may be under way just now.
    let mut seen = Vec::new();
    while seen.len() < LOOKS_MAX && seen.last().is_none_or(|vectors| vectors != "(none)") {
        seen.push(in_service(&mut monitor));
    }
    assert!(seen.len() < LOOKS_MAX, "{seen:?}");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn half_a_line_survives_the_end_of_the_machine() {
    let image = Image::new("half");
    let mut guest = start(&image.machine());
    expect(&mut guest, GREETING);
    // The echo comes when the epoch that took the letters has committed: from then on they are durable.
    guest.type_text("cou").expect("the machine runs");
    expect(&mut guest, "cou");
    // Two more epochs, so that the one which is restored finds the prompt where it spends its life: reading on.
    expect(&mut guest, "tally: ");
    expect(&mut guest, "tally: ");
    guest.kill();
    let mut guest = start(&image.machine());
    expect(&mut guest, "the world goes on");
    expect(&mut guest, "> cou");
    guest.type_text("nt\r").expect("the machine runs");
    expect(&mut guest, "nt\r\n");
    expect(&mut guest, "\r\n> ");
    let console = guest.console().text();
    for words in ["a new world begins", "ALARM", "no such command"] {
        assert!(!console.contains(words), "{words:?} in:\n{console}");
    }
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_world_is_restored_with_more_cpus_and_memory() {
    let image = Image::new("grows");
    let mut guest = start(&image.machine());
    expect(&mut guest, "tally: 1000");
    guest.kill();
    let mut machine = image.machine();
    machine.cpus = 4;
    machine.memory_mib = 512;
    let mut guest = start(&machine);
    expect(&mut guest, "tally: 2000");
    let console = guest.console().text();
    assert!(!console.contains("a new world begins") && !console.contains("ALARM"), "{console}");
}

/// Kills the server `name` soon after the boot: the world goes on and nobody notices but by the report.
fn survives_the_death_of(name: &str) {
    let image = Image::new(name);
    let mut machine = image.machine();
    machine.command_line = format!("kill={name}@2500");
    let mut guest = start(&machine);
    expect(&mut guest, "tally: 1000");
    // Well beyond the death, whenever it comes on this host.
    expect(&mut guest, &format!("{name} "));
    expect(&mut guest, "tally: 9000");
    guest.type_text("sync\r").expect("the machine runs");
    expect(&mut guest, "durable with epoch");
    assert!(!guest.console().text().contains("ALARM"), "{}", guest.console());
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn the_disk_driver_may_die() {
    survives_the_death_of("nvme");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn the_console_driver_may_die() {
    survives_the_death_of("console");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn without_a_disk_the_system_says_so() {
    let artifacts = Artifacts::from_environment();
    let mut guest = start(&Machine::new(&artifacts.kernel, Some(&artifacts.bundle)));
    expect(&mut guest, "no NVMe device");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn an_image_in_use_is_named() {
    let image = Image::new("used");
    let mut first = start(&image.machine());
    expect(&mut first, "kernel: ");
    let mut second = start(&image.machine());
    let ending = second.wait_end(LIMIT).expect("QEMU refuses");
    assert_eq!(ending, Ending::Refused(qemu_machine::Complaint::ImageInUse));
}

/// The bundle of another build: one whose tally has a larger stack.
fn bundle_of_another_build() -> Vec<u8> {
    use abi::bundle::{RawHeader, RawProgram, RawSegment, RawService, checksum};
    use zerocopy::{FromBytes, IntoBytes};
    let mut bytes = std::fs::read(Artifacts::from_environment().bundle).expect("the bundle is there");
    let header_bytes = size_of::<RawHeader>();
    let (mut header, _) = RawHeader::read_from_prefix(&bytes).expect("a header");
    let programs = header.program_count.get() as usize * size_of::<RawProgram>();
    let segments = header.segment_count.get() as usize * size_of::<RawSegment>();
    let services = header.service_count.get() as usize * size_of::<RawService>();
    let table = &mut bytes[header_bytes..header_bytes + programs + segments + services];
    let raw = <[RawService]>::mut_from_bytes(&mut table[programs + segments..]).expect("services");
    let tally = raw.iter_mut().find(|service| service.name.as_str() == "tally").expect("tally");
    tally.stack_pages += 1;
    header.table_checksum = checksum(table).into();
    let covered = header_bytes - size_of_val(&header.header_checksum);
    header.header_checksum = checksum(&header.as_bytes()[..covered]).into();
    bytes[..header_bytes].copy_from_slice(header.as_bytes());
    abi::bundle::Bundle::open(&bytes).expect("a good bundle");
    bytes
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_world_of_another_build_is_said_to_be_so_and_goes_on() {
    const WORDS: &str = "another build made this world";
    let image = Image::new("build");
    let bundle = image.0.with_extension("bundle");
    std::fs::write(&bundle, bundle_of_another_build()).expect("written");
    let mut machine = image.machine();
    machine.bundle = Some(bundle.clone());
    let mut guest = start(&machine);
    expect(&mut guest, "tally: 1000");
    guest.kill();
    let mut guest = start(&machine);
    expect(&mut guest, "the world goes on");
    assert!(!guest.console().text().contains(WORDS), "its own build:\n{}", guest.console());
    guest.kill();
    let mut guest = start(&image.machine());
    expect(&mut guest, WORDS);
    expect(&mut guest, "--fresh");
    expect(&mut guest, "tally: 2000");
    // Nothing depends on it being gone.
    let _ = std::fs::remove_file(&bundle);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_store_of_a_later_version_is_named_and_not_touched() {
    use std::os::unix::fs::FileExt;
    let image = Image::new("later");
    let mut guest = start(&image.machine());
    expect(&mut guest, "is durable");
    guest.kill();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&image.0).expect("the image");
    // Both headers; the version is their third word of four bytes.
    for header in [0, IMAGE_BYTES - 4096] {
        file.write_all_at(&[0x77], header + 8).expect("written");
    }
    let before = std::fs::read(&image.0).expect("read");
    let mut guest = start(&image.machine());
    expect(&mut guest, "the store has layout version 119");
    expect(&mut guest, "--fresh");
    guest.kill();
    assert!(std::fs::read(&image.0).expect("read") == before, "the disk was written to");
}

/// The number behind `before` on the console.
fn number_behind(guest: &mut Guest, before: &str) -> u64 {
    expect(guest, before);
    expect(guest, "begin it on a larger one");
    let console = guest.console().text();
    let behind = console.split_once(before).map_or("", |(_, behind)| behind);
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {before:?}: {console}"))
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_disk_too_small_for_a_new_world_is_told_what_size_is_needed_and_that_suffices() {
    const SMALL_MIB: u64 = 4;
    let small = Image::of("small", SMALL_MIB << 20);
    let mut guest = start(&small.machine());
    let needed = number_behind(&mut guest, "a new world needs a disk of ");
    expect(&mut guest, "no durable world");
    assert!(!guest.console().text().contains("is durable"), "{}", guest.console());
    guest.kill();
    assert!((SMALL_MIB + 1..64).contains(&needed), "{needed} MiB");
    let enough = Image::of("enough", needed << 20);
    let mut guest = start(&enough.machine());
    expect(&mut guest, "is durable");
    expect(&mut guest, GREETING);
    guest.type_text("sync\r").expect("the machine runs");
    expect(&mut guest, "durable with epoch 1.");
    guest.kill();
    assert!(!guest.console().text().contains("larger one"), "{}", guest.console());
    // And what has become durable is there after the end of the machine.
    let mut guest = start(&enough.machine());
    expect(&mut guest, "goes on as");
    println!("a new world needs {needed} MiB");
}
