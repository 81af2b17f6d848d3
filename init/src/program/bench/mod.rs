//! What the machine measures of itself: `bench=NAME` on the kernel's command line has init print figures for
//! `cargo xtask bench NAME` instead of starting the system. Loops and stubs are included, as a program pays for them.

mod epoch;
mod memory;
mod message;
mod peer;
mod restore;

use libos::abi::boot_info::{BootInfo, handle};
use libos::{IoPorts, println, ticks};
pub(crate) use peer::Workshop;

/// Rounds of each measurement.
const ROUNDS: u64 = 10_000;
/// Rounds before it: what is slow only once is not measured.
const WARM_UP: u64 = 100;
/// I/O port that ends the machine in tests, and what says that all is well.
const EXIT_PORT: u16 = 0xf4;
const EXIT_CLEAN: u32 = 0x10;
const EXIT_UNKNOWN: u32 = 0x13;

/// Runs a benchmark and ends the machine.
pub(crate) fn run(info: &BootInfo<'static>, name: &str) -> ! {
    let parts: &[Part] = match name {
        "ipc" => &[message::run, memory::run, epoch::run],
        "restore" => &[restore::run],
        _ => {
            println!("init: there is no benchmark {name:?}; there are: ipc, restore");
            end(false)
        }
    };
    let done = all(info, parts);
    if let Err(why) = &done {
        println!("init: the benchmark stopped: {why:?}");
    }
    end(done.is_ok())
}

/// Ends the machine, well or not.
pub(crate) fn end(well: bool) -> ! {
    let code = if well { EXIT_CLEAN } else { EXIT_UNKNOWN };
    // Where there is no such port the machine is left to its time-out.
    let _ = IoPorts(handle::PORTS).write(EXIT_PORT, 1, code);
    loop {
        libos::sleep(1_000_000_000);
    }
}

/// Why a benchmark stopped: the step that failed, and what it said.
#[derive(Debug)]
#[allow(dead_code, reason = "read by people, through Debug")]
pub(crate) struct Stopped(pub(crate) &'static str, pub(crate) &'static str);

/// Names the step that an error came from.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Stopped>;
}

impl<T, E: core::fmt::Debug> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Stopped> {
        self.map_err(|error| {
            println!("init: {step}: {error:?}");
            Stopped(step, core::any::type_name::<E>())
        })
    }
}

/// A part of a benchmark.
type Part = fn(&mut Workshop, &mut Longest) -> Result<(), Stopped>;

fn all(info: &BootInfo<'static>, parts: &[Part]) -> Result<(), Stopped> {
    let mut workshop = Workshop::open(info)?;
    let mut longest = Longest::default();
    for part in parts {
        part(&mut workshop, &mut longest)?;
    }
    let Longest { insns, call } = longest;
    println!("BENCH longest_entry_insns {insns} insns call={call}");
    Ok(())
}

/// Prints what one round of `round` takes.
fn measure(name: &str, round: impl FnMut()) {
    measure_part(name, 1, ROUNDS, round);
}

/// Prints what one of the `parts` equal parts of a round of `round` takes.
fn measure_part(name: &str, parts: u64, rounds: u64, mut round: impl FnMut()) {
    for _ in 0..WARM_UP.min(rounds) {
        round();
    }
    let begin = ticks();
    for _ in 0..rounds {
        round();
    }
    let each = (ticks() - begin) / (rounds * parts);
    println!("BENCH {name} {each} insns runs={rounds}");
}

/// The longest call that has been seen.
#[derive(Default)]
struct Longest {
    insns: u64,
    call: &'static str,
}

impl Longest {
    /// Makes one call and takes its time.
    fn time<T>(&mut self, call: &'static str, make: impl FnOnce() -> T) -> T {
        let begin = ticks();
        let made = make();
        self.saw(call, ticks() - begin);
        made
    }

    fn saw(&mut self, call: &'static str, insns: u64) {
        println!("init: one {call}: {insns} instructions");
        if insns > self.insns {
            *self = Self { insns, call };
        }
    }
}
