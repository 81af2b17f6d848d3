//! The cut, whatever exists and is dirty; and the first write to a page after it.

use super::peer::Workshop;
use super::{Longest, Step, Stopped};
use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::boot_info::handle;
use libos::abi::protocol::startup::WINDOWS_START;
use libos::abi::{Epoch, FRAMES_BATCH_MAX, FrameState, MapFlags, PAGE_SIZE};
use libos::{
    Budget, Capability, EpochControl, Mapping, Memory, Space, clock, load_word, println, sleep, store_word, ticks,
    yield_now,
};

/// Objects of the world at the second cut, and processes at the third.
const OBJECTS_FEW: u64 = 100;
const OBJECTS_MANY: u64 = 100_000;
const PROCESSES: u64 = 1000;
/// Cuts that are measured at each size, with all that can change cheaply changed before each.
const CUTS: usize = 9;

/// Pages that are written to after a cut.
const PAGES: u64 = 256;
/// Where the writer has them.
const PAGES_AT: u64 = WINDOWS_START + (1 << 40);
/// Where it has the words that it shares with init.
const SHARED_AT: u64 = WINDOWS_START + (2 << 40);
/// The shared words: rounds asked for, rounds done, then what each write took.
const ASKED: usize = 0;
const DONE: usize = 1;
const TAKEN: usize = 2;

const EPOCH: EpochControl = EpochControl(handle::EPOCH);

pub(super) fn run(workshop: &mut Workshop, longest: &mut Longest) -> Result<(), Stopped> {
    let records = workshop.memory.take(1).step("taking pages")?;
    let memory = workshop.memory.memory;
    let first = Epoch::first_of(1).ok_or(Stopped("naming an epoch", "Epoch"))?;
    EPOCH.resume(first, 0).step("letting the world run")?;
    first_writes(workshop, records)?;
    let budget = Budget(handle::WORLD_BUDGET);
    let mut kept = None;
    for made in 0..OBJECTS_MANY {
        if made == OBJECTS_FEW {
            cuts("cut_100_objects", memory, records, kept)?;
        }
        // As many of the one kind as of the other; they live on without a capability to them.
        let object = if made % 2 == 0 {
            budget.notification().step("making a notification")?.0
        } else {
            budget.endpoint(None).step("making an endpoint")?.0
        };
        match kept {
            None => kept = Some(object),
            Some(_) => Capability(object).drop().step("dropping")?,
        }
    }
    longest.time("Cut", || EPOCH.cut()).step("cutting")?;
    longest.time("Export", || EPOCH.export(memory, records)).step("exporting")?;
    export(memory, records)?;
    cuts("cut_100000_objects", memory, records, kept)?;
    for _ in 0..PROCESSES {
        let process = budget.process(16).step("making a process")?;
        Capability(process.0).drop().step("dropping")?;
    }
    cuts("cut_1000_processes", memory, records, kept)?;
    let large = longest.time("Create_process_of_4096_handles", || Budget(handle::BUDGET).process(4096));
    let large = large.step("making a process")?;
    longest.time("Destroy_process_of_4096_handles", || Capability(large.0).destroy()).step("destroying")
}

/// All that the ended epoch changed is taken out, or there could be no further cut.
fn export(memory: Memory, records: u64) -> Result<(), Stopped> {
    while EPOCH.export(memory, records).step("exporting")? > 0 {}
    Ok(())
}

/// Prints the median of some cuts. The first has everything dirty that was made before it.
fn cuts(name: &str, memory: Memory, records: u64, kept: Option<libos::abi::Handle>) -> Result<(), Stopped> {
    let mut taken = [0; CUTS];
    for taken in &mut taken {
        if let Some(kept) = kept {
            // Something changes in each epoch.
            let _ = libos::Notification(kept).signal();
        }
        let begin = ticks();
        EPOCH.cut().step("cutting")?;
        *taken = ticks() - begin;
        export(memory, records)?;
    }
    let first = taken[0];
    taken.sort_unstable();
    println!("BENCH {name} {} insns max={} all_dirty={first} runs={CUTS}", taken[CUTS / 2], taken[CUTS - 1]);
    Ok(())
}

fn first_writes(workshop: &mut Workshop, records: u64) -> Result<(), Stopped> {
    let memory = workshop.memory.memory;
    let epoch = clock().epoch;
    let peer = workshop.peer(Budget(handle::WORLD_BUDGET), epoch)?;
    let (shared, shared_page) = workshop.words(1)?;
    let pages = workshop.memory.take(PAGES).step("taking pages")?;
    let donated = workshop.memory.take(PAGES).step("taking pages")?;
    let map = |address, first_page, pages| {
        let at = Mapping { address, memory, first_page, pages, flags: MapFlags::WRITE, epoch };
        Space::Own(peer.process).map_all(at).step("mapping")
    };
    for page in (pages..pages + PAGES).step_by(FRAMES_BATCH_MAX) {
        let batch: [u64; FRAMES_BATCH_MAX] = core::array::from_fn(|at| page + at as u64);
        EPOCH.set_frames(memory, FrameState::Clean, &batch).step("tracking frames")?;
    }
    map(SHARED_AT, shared_page, 1)?;
    map(PAGES_AT, pages, PAGES)?;
    let thread = peer.start(write_pages, 0)?;
    // The first round finds clean pages; what it wrote has to be copied by the second, after a cut.
    write_round(shared, 1);
    EPOCH.cut().step("cutting")?;
    export(memory, records)?;
    for page in (donated..donated + PAGES).step_by(FRAMES_BATCH_MAX) {
        let batch: [u64; FRAMES_BATCH_MAX] = core::array::from_fn(|at| page + at as u64);
        EPOCH.donate(memory, &batch).step("donating")?;
    }
    write_round(shared, 2);
    let mut taken: [u64; PAGES as usize] = core::array::from_fn(|page| shared[TAKEN + page].load(Ordering::Relaxed));
    taken.sort_unstable();
    let (half, most) = (taken[PAGES as usize / 2], taken[PAGES as usize - 1]);
    println!("BENCH first_write_insns {half} insns p90={} runs={PAGES}", taken[PAGES as usize * 9 / 10]);
    println!("BENCH first_write_insns_max {most} insns runs={PAGES}");
    let logged = EPOCH.read_log(PAGES, u64::MAX).step("reading the log")?;
    if logged.entries().iter().any(|entry| entry.copy == 0) || logged.entries().is_empty() {
        return Err(Stopped("writing", "a page that was not copied"));
    }
    Capability(thread.0).destroy().step("ending a thread")
}

/// Long enough that no timer fires while the writer writes, which is less important than init.
const ROUND_NS: u64 = 20_000_000;

fn write_round(shared: &[AtomicU64], round: u64) {
    shared[ASKED].store(round, Ordering::Release);
    while shared[DONE].load(Ordering::Acquire) < round {
        sleep(ROUND_NS);
    }
}

/// Writes to each page when asked to, and notes what each write took.
extern "C" fn write_pages(_: u64) -> ! {
    let mut round = 0;
    loop {
        while load_word(SHARED_AT + 8 * ASKED as u64) == round {
            yield_now();
        }
        for page in 0..PAGES {
            let address = PAGES_AT + page * PAGE_SIZE as u64;
            let begin = ticks();
            store_word(address, 1);
            let taken = ticks() - begin;
            store_word(SHARED_AT + 8 * (TAKEN as u64 + page), taken);
        }
        round += 1;
        store_word(SHARED_AT + 8 * DONE as u64, round);
    }
}
