//! The kernel on its machine: it comes up on any number of CPUs, and whatever goes wrong is said and ends in failure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_machine::{Artifacts, Ending, Guest, Machine};

/// How long a machine may take for anything here: an emulated one on a busy host is slow.
const LIMIT: Duration = Duration::from_secs(120);
/// What the kernel writes to the exit port when it has panicked.
const PANIC: u8 = 0x11;
/// What it writes after an exception of its own.
const EXCEPTION: u8 = 0x12;
/// What it writes when it cannot work with this machine or what was loaded.
const REFUSED: u8 = 0x13;
/// What the kernel says when it hands over to init.
const STARTED: &str = "kernel: started init";

fn machine() -> Machine {
    let artifacts = Artifacts::from_environment();
    Machine::new(&artifacts.kernel, Some(&artifacts.bundle))
}

/// Runs `machine` to its end; gives how it ended and what the console showed.
fn run(machine: &Machine) -> (Ending, String) {
    let mut guest = Guest::start(machine).expect("QEMU starts");
    let ending = guest.wait_end(LIMIT).unwrap_or_else(|error| panic!("the machine hangs: {error}"));
    (ending, guest.console().text())
}

/// A scratch file of this test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("perennial-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).expect("written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn comes_up(cpus: u32) {
    let mut machine = machine();
    machine.cpus = cpus;
    let mut guest = Guest::start(&machine).expect("QEMU starts");
    let words = format!("kernel: {cpus} CPU");
    guest.wait_for(&words, LIMIT).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    guest.wait_for(STARTED, LIMIT).unwrap_or_else(|error| panic!("{STARTED:?}: {error}"));
    let console = guest.console().text();
    for feature in ["SMEP", "SMAP", "UMIP", "NX", "WP"] {
        assert!(console.contains(feature), "the boot says nothing of {feature}:\n{console}");
    }
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn one_cpu_comes_up() {
    comes_up(1);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn two_cpus_come_up() {
    comes_up(2);
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn four_cpus_come_up() {
    comes_up(4);
}

/// Provokes `fault`, expects the machine to end as `value` says and the console to hold all of `words`.
fn provoked(fault: &str, value: u8, words: &[&str]) {
    let artifacts = Artifacts::of_provoker();
    let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
    machine.command_line = format!("fault={fault}");
    let (ending, console) = run(&machine);
    assert_eq!(ending, Ending::Failure(value), "the machine said:\n{console}");
    for word in words {
        assert!(console.contains(word), "{word:?} is missing in:\n{console}");
    }
    assert!(!console.contains("WENT UNNOTICED"), "{console}");
    // Frames have names: the report can be read without a debugger.
    let frames: Vec<&str> = console.lines().map(str::trim_start).filter(|line| line.starts_with('#')).collect();
    let is_deep = frames.iter().any(|frame| frame.contains("stack_overflow::deeper"));
    let is_told = frames.iter().any(|frame| frame.contains("provoke::provoke") || frame.contains("provoke::go_on"));
    assert!(is_told || is_deep, "the way there is not told in:\n{console}");
}

macro_rules! faults {
    ($($test:ident: $fault:literal, $value:expr, $words:expr;)*) => {$(
        #[test]
        #[ignore = "needs the machine: cargo xtask test --ring qemu"]
        fn $test() {
            provoked($fault, $value, &$words);
        }
    )*};
}

faults! {
    a_division_by_zero_is_reported: "divide", EXCEPTION, ["EXCEPTION 0 (divide error)", "rip 0x"];
    a_debug_exception_is_reported: "debug", EXCEPTION, ["EXCEPTION 1 (debug exception)"];
    a_non_maskable_interrupt_is_reported: "nmi", EXCEPTION, ["EXCEPTION 2 (non-maskable interrupt)"];
    a_breakpoint_is_reported: "breakpoint", EXCEPTION, ["EXCEPTION 3 (breakpoint)"];
    an_invalid_instruction_is_reported: "invalid-opcode", EXCEPTION, ["EXCEPTION 6 (invalid opcode)"];
    a_stack_overflow_is_reported: "stack-overflow", EXCEPTION, ["EXCEPTION 8 (double fault)", "stack has overflowed"];
    an_absent_segment_is_reported: "not-present", EXCEPTION, ["EXCEPTION 11 (segment not present)"];
    // A processor raises exception 12 here, QEMU's emulation 13: what matters is that the report is there.
    a_stack_segment_fault_is_reported: "stack-segment", EXCEPTION, ["EXCEPTION 1", "fault), error code 0x0"];
    a_protection_fault_is_reported: "gp", EXCEPTION, ["EXCEPTION 13 (general protection fault)"];
    a_null_read_is_reported: "page-null", EXCEPTION, ["EXCEPTION 14 (page fault)", "a null pointer"];
    a_wild_write_is_reported: "page-unmapped", EXCEPTION, ["EXCEPTION 14 (page fault)", "nothing is mapped"];
    a_wild_jump_is_reported: "page-wild-jump", EXCEPTION, ["EXCEPTION 14 (page fault)", "tried to execute"];
    a_null_jump_is_reported: "page-null-jump", EXCEPTION, ["EXCEPTION 14 (page fault)", "tried to execute"];
    a_write_to_text_is_reported: "page-write-text", EXCEPTION, ["tried to write", "its rights forbid", "the kernel's text"];
    a_write_to_constants_is_reported: "page-write-rodata", EXCEPTION, ["tried to write", "its rights forbid"];
    data_is_not_executable: "page-execute-data", EXCEPTION, ["tried to execute", "its rights forbid"];
    text_has_no_writable_alias: "page-text-alias", EXCEPTION, ["EXCEPTION 14 (page fault)", "tried to write"];
    the_boot_mapping_is_gone: "page-identity", EXCEPTION, ["EXCEPTION 14 (page fault)", "nothing is mapped"];
    a_machine_check_is_reported: "machine-check", EXCEPTION, ["EXCEPTION 18 (machine check)"];
    a_panic_is_reported: "panic", PANIC, ["PANIC on CPU 0", "as the command line wished"];
    an_unknown_fault_is_refused_with_a_list: "nothing-like-that", PANIC, ["no fault is called", "\"divide\""];
}

/// Expects the kernel to refuse with one sentence that contains `words`.
fn refused(machine: &Machine, words: &str) {
    let (ending, console) = run(machine);
    assert_eq!(ending, Ending::Failure(REFUSED), "the machine said:\n{console}");
    let sentence = console.lines().find(|line| line.contains("kernel: cannot start"));
    assert!(sentence.is_some_and(|sentence| sentence.contains(words)), "{words:?} is missing in:\n{console}");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn without_a_bundle_the_kernel_says_so() {
    let mut machine = machine();
    machine.bundle = None;
    refused(&machine, "no boot bundle");
}

fn with_bundle(name: &str, bytes: &[u8], words: &str) {
    let file = Scratch::new(name, bytes);
    let mut machine = machine();
    machine.bundle = Some(file.0.clone());
    refused(&machine, words);
}

fn bundle() -> Vec<u8> {
    std::fs::read(Artifacts::from_environment().bundle).expect("the bundle is there")
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_bundle_cut_short_is_refused() {
    let bytes = bundle();
    with_bundle("short", &bytes[..bytes.len() / 2], "cut short");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_bundle_with_a_flipped_bit_in_a_program_is_refused() {
    let mut bytes = bundle();
    let opened = abi::bundle::Bundle::open(&bytes).expect("a good bundle");
    let segment = opened.programs().find_map(|program| program.segments().next()).expect("a segment");
    let at = segment.offset() as usize + segment.file_bytes() as usize / 2;
    bytes[at] ^= 0x10;
    with_bundle("flipped", &bytes, "wrong checksum");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_file_that_is_no_bundle_is_refused() {
    with_bundle("foreign", &[0x55; 8192], "not a boot bundle");
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn too_little_memory_is_refused() {
    let mut machine = machine();
    machine.memory_mib = 4;
    let mut guest = Guest::start(&machine).expect("QEMU starts");
    let ending = guest.wait_end(LIMIT).expect("it ends");
    let console = guest.console().text();
    // Below what the bundle and the kernel need QEMU itself cannot load them; above that the kernel speaks.
    let by_kernel = ending == Ending::Failure(REFUSED) && console.contains("memory");
    assert!(by_kernel || matches!(ending, Ending::Refused(_)), "{ending}:\n{console}");
}

fn objdump(arguments: &[&str], file: &Path) -> String {
    let output = std::process::Command::new("objdump").args(arguments).arg(file).output().expect("objdump is there");
    assert!(output.status.success(), "objdump: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What one copy of a page is: two registers kept, 32 times two loads and two stores, both had again.
const COPY_INSTRUCTIONS: usize = 2 + 32 * 4 + 2;

/// The kernel leaves the vector registers to the programs: it may save and load them as a whole, and borrow two for the
/// copy of a page, which keeps these aside first and has them again last.
#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn the_kernel_leaves_vector_registers_as_they_were() {
    let text = objdump(&["-d", "--no-show-raw-insn"], &Artifacts::from_environment().kernel);
    let instructions = text.lines().filter(|line| line.starts_with("ffffffff8")).count();
    assert!(instructions > 1000, "only {instructions} instructions of the kernel were found");
    let touches = |line: &&str| ["%xmm", "%ymm", "%zmm", "%mm0", "%mm1", "%st"].iter().any(|name| line.contains(name));
    let found: Vec<&str> = text
        .lines()
        .filter(touches)
        .filter_map(|line| line.split_once('\t').map(|(_, instruction)| instruction.trim()))
        .collect();
    for copy in found.chunks(COPY_INSTRUCTIONS) {
        let said = copy.join("\n");
        assert_eq!(copy.len(), COPY_INSTRUCTIONS, "{said}");
        let moves = |at: usize| copy[at].strip_prefix("vmovdqu").map(str::trim).expect("only moves");
        for (register, first, last) in [("%ymm0", 0, COPY_INSTRUCTIONS - 2), ("%ymm1", 1, COPY_INSTRUCTIONS - 1)] {
            let kept = moves(first).strip_prefix(register).and_then(|rest| rest.strip_prefix(','));
            let had = moves(last).strip_suffix(register).and_then(|rest| rest.strip_suffix(','));
            assert!(kept.is_some() && kept == had, "{register} is not had again in\n{said}");
        }
        let others = (0..copy.len()).any(|at| !moves(at).contains("%ymm0") && !moves(at).contains("%ymm1"));
        assert!(!others, "{said}");
    }
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn no_segment_is_writable_and_executable() {
    let text = objdump(&["-p"], &Artifacts::from_environment().kernel);
    let flags: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("flags ").map(|(_, flags)| flags.trim())).collect();
    assert!(flags.len() >= 3, "{text}");
    assert!(flags.iter().all(|flags| !flags.contains("wx")), "{text}");
}

/// Records that init makes up are a world that the kernel takes back; what is measured of that is for people.
#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn a_page_of_records_is_taken_back_and_resumed() {
    let mut machine = machine();
    machine.command_line = "bench=restore".to_owned();
    let (ending, console) = run(&machine);
    assert_eq!(ending, Ending::Success, "the machine said:\n{console}");
    for row in ["BENCH resume_insns ", "BENCH longest_entry_insns "] {
        assert!(console.contains(row), "no {row:?} in:\n{console}");
    }
}
