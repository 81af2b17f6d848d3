//! What a boot after a power cut asks of the kernel. A run of its own: it leaves a world of dead endpoints.

use super::peer::Workshop;
use super::{Longest, Step, Stopped};
use libos::abi::boot_info::{WORLD_CAPACITIES, handle};
use libos::abi::protocol::startup::WINDOWS_START;
use libos::abi::record::{BatchWriter, Table};
use libos::abi::{Epoch, MapFlags, PAGE_SIZE};
use libos::{EpochControl, Mapping, Process, Space, println, store_word, ticks};

/// Where init has the page of records.
const BATCH_AT: u64 = WINDOWS_START + (1 << 40);
/// Records that the kernel takes before it lets others in.
const STEP_RECORDS: u32 = 16;

/// Vector components of all threads: x87, SSE, AVX.
const COMPONENTS: u32 = 7;

const EPOCH: EpochControl = EpochControl(handle::EPOCH);

pub(super) fn run(workshop: &mut Workshop, longest: &mut Longest) -> Result<(), Stopped> {
    let page = workshop.memory.take(1).step("taking a page")?;
    let memory = workshop.memory.memory;
    let first = Epoch::first_of(1).ok_or(Stopped("naming an epoch", "Epoch"))?;
    let at =
        Mapping { address: BATCH_AT, memory, first_page: page, pages: 1, flags: MapFlags::WRITE, epoch: Epoch::NONE };
    Space::Own(Process(handle::PROCESS)).map(at).step("mapping")?;
    fill_batch(STEP_RECORDS);
    longest.time("Restore_of_16_records", || EPOCH.restore(memory, page)).step("restoring")?;
    fill_batch(u32::MAX);
    let begin = ticks();
    let taken = EPOCH.restore(memory, page).step("restoring")?;
    println!("init: a page of {taken} records: {} instructions", ticks() - begin);
    // Once a boot, before anybody of the world runs, and linear in the size of its tables: no call like the others.
    let begin = ticks();
    EPOCH.resume(first, 0).step("letting the world run")?;
    println!("BENCH resume_insns {} insns", ticks() - begin);
    Ok(())
}

/// Fills the page with at most `records` records: those of an empty world, and then the smallest there are, of endpoints
/// that have died.
fn fill_batch(records: u32) {
    let mut page = [0; PAGE_SIZE];
    let mut batch = BatchWriter::new(&mut page);
    let mut push = |table: Table, index: u32, words: &[u32]| {
        let fill = |to: &mut [u8]| {
            for (to, word) in to.chunks_exact_mut(4).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        };
        batch.push(table as u16, index, words.len() * 4, fill)
    };
    // Version, components; epoch, tickets and time, of 64 bits each; capacities.
    let mut world = [1, COMPONENTS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    world[8..].copy_from_slice(&WORLD_CAPACITIES);
    // What is left, what is used; generation, parent, life, zero.
    let mut root = [0; 16];
    root[..6].copy_from_slice(&WORLD_CAPACITIES);
    root[12..].copy_from_slice(&[1, u32::MAX, 1, 0]);
    let mut pushed = u32::from(push(Table::World, 0, &world)) + u32::from(push(Table::Budget, 0, &root));
    // Generation, service, budget, life.
    while pushed < records && push(Table::Endpoint, pushed, &[1, 0, u32::MAX, 0]) {
        pushed += 1;
    }
    batch.finish();
    for (address, bytes) in (BATCH_AT..).step_by(8).zip(page.chunks_exact(8)) {
        store_word(address, bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    }
}
