//! What a boot after a power cut asks of the kernel. A run of its own: it leaves a world of dead endpoints.

use super::peer::Workshop;
use super::{Longest, Step, Stopped};
use libos::abi::boot_info::handle;
use libos::abi::protocol::startup::WINDOWS_START;
use libos::abi::record::{BatchWriter, Table};
use libos::abi::{Epoch, MapFlags, PAGE_SIZE};
use libos::{EpochControl, Mapping, Process, Space, println, store_word, ticks};

/// Where init has the page of records.
const BATCH_AT: u64 = WINDOWS_START + (1 << 40);
/// Records that the kernel takes before it lets others in.
const STEP_RECORDS: u32 = 16;

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

/// Fills the page with at most `records` records: the smallest there are, of endpoints that have died.
fn fill_batch(records: u32) {
    let mut page = [0; PAGE_SIZE];
    let mut batch = BatchWriter::new(&mut page);
    // Generation, service, budget, life.
    let record = [1, 0, u32::MAX, 0_u32].map(u32::to_le_bytes);
    let mut index = 0;
    while index < records
        && batch.push(Table::Endpoint as u16, index, record.len() * 4, |to| to.copy_from_slice(record.as_flattened()))
    {
        index += 1;
    }
    batch.finish();
    for (address, bytes) in (BATCH_AT..).step_by(8).zip(page.chunks_exact(8)) {
        store_word(address, bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
    }
}
