//! The same calls, made for real by processes on the machine and by the kernel's core on the host: each comes to the same
//! result, to the last register that the calls promise.
//!
//! A seed by hand: `cargo xtask run --headless --no-disk --append replay=SEED`.

use std::collections::BTreeSet;
use std::time::Duration;

use abi::{CALLS, Call, Control, Outcome, Status};
use init::replay::{CONDUCTOR, CallRegisters, Cast, PUPPETS, Script, Stage, for_ever, normal};
use qemu_machine::{Artifacts, Ending, Guest, Machine};
use spec::genesis::MEMORY;
use spec::{Event, Frame, Genesis, Op, Sim};

const SEEDS: [u64; 3] = [1, 645, 2026];
const LIMIT: Duration = Duration::from_secs(240);
/// Calls over all seeds, and per cent of the kinds of calls there are, that must have been compared
/// and have ended well at least once.
const COMPARED_MIN: usize = 2000;
const KINDS_MIN: usize = 80;
/// Results after which all invariants of the core are looked at again.
const CHECKED_EVERY: usize = 16;

/// The core on a machine of maps, with init on CPU 0.
struct OnHost {
    genesis: Genesis,
    processes: Vec<u16>,
}

fn registers(sim: &Sim) -> CallRegisters {
    let Frame { rax, rdi, words: [a, b, c, d, e, f, g, h], caps } = Frame::of(&sim.kernel.cpus[0].frame);
    [rax, rdi, a, b, c, d, e, f, g, h, caps]
}

fn call(sim: &mut Sim, asked: CallRegisters) {
    let [rax, rdi, a, b, c, d, e, f, g, h, caps] = asked;
    sim.call(0, Frame { rax, rdi, words: [a, b, c, d, e, f, g, h], caps });
}

impl Stage for OnHost {
    fn call(&mut self, asked: CallRegisters) -> CallRegisters {
        call(&mut self.genesis.sim, asked);
        registers(&self.genesis.sim)
    }

    fn furnish(&mut self, process: u16, who: usize) -> [u64; 2] {
        assert_eq!(self.processes.len(), who, "puppets come in their order");
        self.processes.push(process);
        [0x40_0000, 0x50_0000]
    }

    fn memory(&mut self) -> u16 {
        let part = Op::new(Call::Copy, MEMORY).with(u64::from(u32::MAX), &[0, 0, init::replay::MEMORY_PAGES]);
        self.genesis.call(part).rdi as u16
    }
}

/// Who runs: the puppets in their order, or the conductor; and what they do.
struct Troupe {
    scripts: Vec<Script>,
    asked: Vec<Option<CallRegisters>>,
    cast: Option<Cast>,
}

/// Kinds of calls that were made, and of those that ended well.
#[derive(Default)]
struct Kinds {
    made: BTreeSet<u8>,
    well: BTreeSet<u8>,
}

/// What the core on the host makes of a seed: results as the machine prints them.
fn on_host(seed: u64, kinds: &mut Kinds) -> Vec<String> {
    let mut stage = OnHost { genesis: Genesis::roomy(), processes: Vec::new() };
    // Init goes by the number it has before any thread of another runs: the conductor's.
    let init = stage.genesis.sim.kernel.current(0).expect("init runs");
    let volatile = stage.genesis.sim.kernel.world_bounds()[1];
    // Threads of the world are numbered from 0, volatile ones behind init.
    let threads: [u32; PUPPETS] = [0, 1, volatile + 1, volatile + 2];
    // Starting is what the last call but one of the cast does, and the last lowers init: from then on the puppets run.
    let cast = Cast::gather(&mut stage).expect("the cast gathers");
    let mut sim = stage.genesis.sim;
    let scripts = (0..=PUPPETS).map(|who| Script::new(seed, who)).collect();
    let mut troupe = Troupe { scripts, asked: vec![None; PUPPETS + 1], cast: Some(cast) };
    let mut lines = Vec::new();
    loop {
        let runs = sim.kernel.current(0).expect("somebody runs: the conductor never waits");
        let who = if runs == init { Some(CONDUCTOR) } else { threads.iter().position(|&thread| thread == runs) };
        let who = who.unwrap_or_else(|| panic!("seed {seed}: thread {runs} runs, which nobody started"));
        if sim.is_again(0) {
            sim.apply(Event::Again(0));
        } else {
            if let Some(asked) = troupe.asked[who].take() {
                let after = registers(&sim);
                kinds.made.insert(Control(asked[0]).call());
                if Outcome(after[0]).status() == Status::Ok {
                    kinds.well.insert(Control(asked[0]).call());
                }
                lines.push(line(who, &normal(&asked, &after)));
            }
            let next = match &troupe.cast {
                Some(cast) if who == CONDUCTOR => troupe.scripts[who].next_round(cast),
                _ => troupe.scripts[who].next_call(),
            };
            match next {
                None if who == CONDUCTOR => return lines,
                None => call(&mut sim, for_ever()),
                Some(asked) => {
                    troupe.asked[who] = Some(asked);
                    call(&mut sim, asked);
                }
            }
        }
        if lines.len() % CHECKED_EVERY == 0 {
            sim.kernel.check(&sim.m).unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        }
        assert!(sim.m.timers.is_empty(), "seed {seed}: something depends on time");
    }
}

fn line(who: usize, registers: &CallRegisters) -> String {
    let words: Vec<String> = registers.iter().map(|word| format!("{word:x}")).collect();
    format!("REPLAY {who} {}", words.join(" "))
}

/// What the machine makes of it.
fn on_machine(seed: u64) -> Vec<String> {
    let artifacts = Artifacts::from_environment();
    let mut machine = Machine::new(&artifacts.kernel, Some(&artifacts.bundle));
    machine.command_line = format!("replay={seed}");
    let mut guest = Guest::start(&machine).expect("QEMU starts");
    let ending = guest.wait_end(LIMIT).unwrap_or_else(|error| panic!("seed {seed}: the machine hangs: {error}"));
    let console = guest.console().text();
    assert_eq!(ending, Ending::Success, "seed {seed}: the machine said:\n{console}");
    let lines: Vec<String> = console.lines().map(|line| line.trim_end().to_owned()).collect();
    let told = lines.iter().find_map(|line| line.strip_prefix("REPLAYED ")).expect("a count");
    let results: Vec<String> = lines.iter().filter(|line| line.starts_with("REPLAY ")).cloned().collect();
    assert_eq!(told, results.len().to_string(), "seed {seed}: lines are missing");
    results
}

#[test]
fn the_host_replays_itself() {
    for seed in SEEDS {
        let run = || on_host(seed, &mut Kinds::default());
        assert!(run() == run(), "seed {seed}: two runs differ");
    }
}

#[test]
#[ignore = "needs the machine: cargo xtask test --ring qemu"]
fn calls_on_the_machine_are_calls_of_the_core() {
    let (mut compared, mut kinds) = (0, Kinds::default());
    for seed in SEEDS {
        let expected = on_host(seed, &mut kinds);
        let found = on_machine(seed);
        for (number, (host, machine)) in expected.iter().zip(&found).enumerate() {
            assert_eq!(host, machine, "seed {seed}: result {number} (left: the core on the host, right: the machine)");
        }
        assert_eq!(expected.len(), found.len(), "seed {seed}: one of them went on");
        compared += found.len();
    }
    let (made, well) = (kinds.made.len(), kinds.well.len());
    println!("{compared} results of {made} kinds of calls, {well} of which ended well sometimes, are the same");
    assert!(compared >= COMPARED_MIN, "{compared} results are too few");
    let least = usize::from(CALLS) * KINDS_MIN / 100;
    assert!(well >= least, "{well} kinds of calls ended well, of {least}: {:?}", kinds.well);
}
