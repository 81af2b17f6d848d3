//! `replay=SEED` on the kernel's command line: the sequences of calls of `init::replay`, made for real. Each result is
//! kept in memory that all puppets share, and printed when it is over, one a line: `REPLAY who rax rdi words caps`.

use super::bench::{Step, Stopped, Workshop, end};
use core::sync::atomic::{AtomicU64, Ordering};
use init::replay::{
    CONDUCTOR, CallRegisters, Cast, MEMORY_PAGES, PUPPETS, RESULT_WORDS, RESULTS_MAX, Script, Stage, normal,
};
use libos::abi::boot_info::BootInfo;
use libos::abi::protocol::startup::WINDOWS_START;
use libos::abi::{Epoch, MapFlags, PAGE_SIZE};
use libos::{Mapping, Process, Space, any_call, load_word, println, store_word};

/// Where puppets have the results: a word that counts them, then the results.
const RESULTS_AT: u64 = WINDOWS_START + (3 << 40);
/// Where puppets find the seed.
const SEED_AT: u64 = WINDOWS_START + (4 << 40);
const RESULTS_PAGES: u64 = ((1 + RESULTS_MAX * RESULT_WORDS) * 8).div_ceil(PAGE_SIZE) as u64;

/// Replays the sequences of a seed and ends the machine.
pub(crate) fn run(info: &BootInfo<'static>, seed: &str) -> ! {
    let replayed = seed.parse().map_err(|_| Stopped("reading the seed", "u64")).and_then(|seed| replay(info, seed));
    if let Err(why) = &replayed {
        println!("init: the replay stopped: {why:?}");
    }
    end(replayed.is_ok())
}

fn replay(info: &BootInfo<'static>, seed: u64) -> Result<(), Stopped> {
    let mut workshop = Workshop::open(info)?;
    let (results, first_page) = workshop.words(RESULTS_PAGES)?;
    let mut machine = OnMachine { workshop, seed, first_page, stopped: None };
    let cast = Cast::gather(&mut machine);
    if let Some(stopped) = machine.stopped {
        return Err(stopped);
    }
    let cast = cast.step("gathering the cast")?;
    let mut script = Script::new(seed, CONDUCTOR);
    while let Some(asked) = script.next_round(&cast) {
        let after = any_call(asked);
        keep(results, CONDUCTOR, &normal(&asked, &after));
    }
    let count = results[0].load(Ordering::Relaxed) as usize;
    for result in results[1..].chunks_exact(RESULT_WORDS).take(count) {
        let word = |at: usize| result[at].load(Ordering::Relaxed);
        println!(
            "REPLAY {} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x}",
            word(0),
            word(1),
            word(2),
            word(3),
            word(4),
            word(5),
            word(6),
            word(7),
            word(8),
            word(9),
            word(10),
            word(11),
        );
    }
    println!("REPLAYED {count}");
    Ok(())
}

/// Init writes a result: no puppet runs meanwhile.
fn keep(results: &[AtomicU64], who: usize, registers: &CallRegisters) {
    let count = results[0].load(Ordering::Relaxed);
    let place = 1 + count as usize * RESULT_WORDS;
    for (to, word) in results[place..].iter().zip(core::iter::once(&(who as u64)).chain(registers)) {
        to.store(*word, Ordering::Relaxed);
    }
    results[0].store(count + 1, Ordering::Relaxed);
}

struct OnMachine {
    workshop: Workshop,
    seed: u64,
    first_page: u64,
    stopped: Option<Stopped>,
}

impl OnMachine {
    fn map(&mut self, process: Process) -> Result<[u64; 2], Stopped> {
        let image = self.workshop.furnish(process, Epoch::NONE)?;
        let (memory, flags) = (self.workshop.memory.memory, MapFlags::WRITE);
        let (first_page, pages) = (self.first_page, RESULTS_PAGES);
        let results = Mapping { address: RESULTS_AT, memory, first_page, pages, flags, epoch: Epoch::NONE };
        Space::Own(process).map_all(results).step("mapping the results")?;
        let own = self.workshop.memory.take(1).step("taking pages")?;
        let seed = Mapping { address: SEED_AT, memory, first_page: own, pages: 1, flags, epoch: Epoch::NONE };
        self.workshop.memory.words(own, 1)[0].store(self.seed, Ordering::Relaxed);
        Space::Own(process).map_all(seed).step("mapping the seed")?;
        Ok([puppet as extern "C" fn(u64) -> ! as usize as u64, image.stack - 8])
    }
}

impl Stage for OnMachine {
    fn call(&mut self, registers: CallRegisters) -> CallRegisters {
        any_call(registers)
    }

    fn furnish(&mut self, process: u16, _who: usize) -> [u64; 2] {
        let process = Process(libos::abi::Handle(process));
        self.map(process).unwrap_or_else(|stopped| {
            self.stopped = Some(stopped);
            [0; 2]
        })
    }

    fn memory(&mut self) -> u16 {
        let memory = self.workshop.memory.take(MEMORY_PAGES).step("taking pages");
        let part = memory.and_then(|first| self.workshop.memory.part(first, MEMORY_PAGES).step("dividing memory"));
        match part {
            Ok(memory) => memory.0.0,
            Err(stopped) => {
                self.stopped = Some(stopped);
                0
            }
        }
    }
}

/// A puppet: it makes its calls, and then waits for ever.
extern "C" fn puppet(who: u64) -> ! {
    let mut script = Script::new(load_word(SEED_AT), who as usize % PUPPETS);
    while let Some(asked) = script.next_call() {
        let after = normal(&asked, &any_call(asked));
        let count = load_word(RESULTS_AT);
        let place = RESULTS_AT + 8 * (1 + count * RESULT_WORDS as u64);
        for (at, &word) in (0..).zip(core::iter::once(&who).chain(&after)) {
            store_word(place + 8 * at, word);
        }
        store_word(RESULTS_AT, count + 1);
    }
    loop {
        any_call(init::replay::for_ever());
    }
}
