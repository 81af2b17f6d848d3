//! Mapping, and faults that another process serves.

use super::peer::Workshop;
use super::{Longest, Step, Stopped, WARM_UP};
use libos::abi::boot_info::handle;
use libos::abi::protocol::startup::WINDOWS_START;
use libos::abi::{Epoch, MAP_PAGES_MAX, MapFlags, PAGE_SIZE, Timeout};
use libos::{
    Budget, Capability, Endpoint, FaultReport, Mapping, Memory, Message, Process, Received, Space, println, store_word,
    ticks,
};

/// Pages that are mapped and protected.
const PAGES: u64 = 2048;
/// Where, in init and in the peer: far from what init maps for itself.
const RANGE_AT: u64 = WINDOWS_START + (1 << 40);
/// A page in the middle of a leaf table.
const ACROSS: u64 = 256;
/// Faults that are answered without a mapping, and with one.
const FAULTS: u64 = 10_000;
const FAULTS_MAPPED: u64 = 512;

pub(super) fn run(workshop: &mut Workshop, longest: &mut Longest) -> Result<(), Stopped> {
    let first = workshop.memory.take(PAGES).step("taking pages")?;
    let memory = workshop.memory.memory;
    mappings(memory, first, longest)?;
    faults(workshop, memory, first)
}

fn page_at(page: u64) -> u64 {
    RANGE_AT + page * PAGE_SIZE as u64
}

fn mappings(memory: Memory, first: u64, longest: &mut Longest) -> Result<(), Stopped> {
    let space = Space::Own(Process(handle::PROCESS));
    let map = |page: u64| {
        let (address, first_page) = (page_at(page), first + page);
        let (pages, flags) = (MAP_PAGES_MAX, MapFlags::WRITE);
        space.map(Mapping { address, memory, first_page, pages, flags, epoch: Epoch::NONE })
    };
    let blocks = || (0..PAGES).step_by(MAP_PAGES_MAX as usize);
    let (mut mapped, mut protected) = (0, 0);
    for _ in 0..2 {
        // The second time page-table pages come from a pool that has given them out before: as in a long life.
        mapped = 0;
        protected = 0;
        for page in blocks() {
            let begin = ticks();
            map(page).step("mapping")?;
            mapped += ticks() - begin;
        }
        for page in blocks() {
            let begin = ticks();
            space.protect(page_at(page), MAP_PAGES_MAX, MapFlags::empty()).step("protecting")?;
            protected += ticks() - begin;
        }
        for page in blocks() {
            space.unmap(page_at(page), MAP_PAGES_MAX).step("unmapping")?;
        }
    }
    println!("BENCH map_page {} insns pages={PAGES}", mapped / PAGES);
    println!("BENCH protect_page {} insns pages={PAGES}", protected / PAGES);
    // Across the end of a leaf table, with all tables below the root still to be made.
    longest.time("Map_512_pages", || map(ACROSS)).step("mapping")?;
    for page in 0..MAP_PAGES_MAX {
        store_word(page_at(ACROSS + page), 1);
    }
    let accessed = longest
        .time("Accessed_512_pages", || space.accessed(page_at(ACROSS), MAP_PAGES_MAX))
        .step("asking what was accessed")?;
    if accessed != [u64::MAX; 8] {
        return Err(Stopped("asking what was accessed", "a page was not"));
    }
    longest
        .time("Protect_512_pages", || space.protect(page_at(ACROSS), MAP_PAGES_MAX, MapFlags::empty()))
        .step("protecting")?;
    longest.time("Unmap_512_pages", || space.unmap(page_at(ACROSS), MAP_PAGES_MAX)).step("unmapping")?;
    Ok(())
}

fn faults(workshop: &mut Workshop, memory: Memory, first: u64) -> Result<(), Stopped> {
    let budget = Budget(handle::BUDGET);
    let port = budget.endpoint(None).step("making an endpoint")?;
    let peer = workshop.peer(budget, Epoch::NONE)?;
    peer.process.set_memory_port(port, 1).step("setting the memory port")?;
    let thread = peer.start(touch_pages, RANGE_AT)?;
    // Nothing is mapped, so the same access faults again.
    for _ in 0..WARM_UP {
        next(port)?;
    }
    let begin = ticks();
    for _ in 0..FAULTS {
        next(port)?;
    }
    println!("BENCH fault_round_trip {} insns runs={FAULTS}", (ticks() - begin) / FAULTS);
    let space = Space::Own(peer.process);
    let map = |page: u64| {
        let (address, first_page, flags) = (page_at(page), first + page, MapFlags::WRITE);
        space.map(Mapping { address, memory, first_page, pages: 1, flags, epoch: Epoch::NONE })
    };
    // The tables below the first page are made once.
    map(0).step("mapping")?;
    let mut fault = next(port)?;
    let begin = ticks();
    for page in 1..=FAULTS_MAPPED {
        if fault.address != page_at(page) {
            return Err(Stopped("serving faults", "another page"));
        }
        map(page).step("mapping")?;
        fault = next(port)?;
    }
    println!("BENCH fault_map_round_trip {} insns runs={FAULTS_MAPPED}", (ticks() - begin) / FAULTS_MAPPED);
    Capability(thread.0).destroy().step("ending a thread")
}

/// Lets the thread go on whose fault was the last, and waits for the next.
#[inline(always)]
fn next(port: Endpoint) -> Result<FaultReport, Stopped> {
    match port.reply_receive(&Message::default(), Timeout::FOREVER) {
        Ok(Received::Fault(fault)) => Ok(fault),
        _ => Err(Stopped("serving faults", "not a fault")),
    }
}

/// Writes to one page after the other.
extern "C" fn touch_pages(from: u64) -> ! {
    let mut address = from;
    loop {
        store_word(address, 1);
        address += PAGE_SIZE as u64;
    }
}
