//! Large epochs beside raw sequential writes: both with the same number of commands under way and commands of the same
//! size, both made durable every 32 MiB without waiting for it, turn about.

use std::path::Path;
use std::time::{Duration, Instant};

use snapshot_server::{COMMAND_PAGES_MAX, Command, Disk, Op, PageRef};
use world::HostMemory;

use crate::files::{self, RAW, STORE};
use crate::subject::{Bench, BenchHost, sizes};
use crate::threads::{DEPTH, ThreadDisk};
use crate::{Error, print};

/// Pages of an epoch: 32 MiB.
const EPOCH_PAGES: u64 = 8192;
/// Epochs between two looks at the clock.
const EPOCHS: u64 = 4;
/// Pages of the caller, and of the raw writer: 32 MiB.
const CALLER_PAGES: usize = 8192;

/// `EPOCHS` times 32 MiB from `block` on, each flushed.
fn raw(disk: &mut ThreadDisk, block: u64, pages: &[PageRef]) -> Result<Duration, Error> {
    let started = Instant::now();
    let count = COMMAND_PAGES_MAX as u64;
    for command in 0..EPOCHS * EPOCH_PAGES / count {
        disk.drain_below(DEPTH).map_err(|error| format!("{error:?}"))?;
        let first = (command * count) as usize % pages.len();
        let write = Command {
            tag: 0,
            op: Op::Write,
            block: block + command * count,
            pages: &pages[first..first + COMMAND_PAGES_MAX],
        };
        disk.submit(&write).map_err(|_| "full")?;
        if ((command + 1) * count).is_multiple_of(EPOCH_PAGES) {
            disk.drain_below(1).map_err(|error| format!("{error:?}"))?;
            disk.submit(&Command { tag: 0, op: Op::Flush, block: 0, pages: &[] }).map_err(|_| "full")?;
        }
    }
    disk.drain_below(1).map_err(|error| format!("{error:?}"))?;
    Ok(started.elapsed())
}

/// Prints the ratios over `rounds` of 128 MiB each.
pub(crate) fn measure(folder: &Path, rounds: u64) -> Result<(), Error> {
    let blocks = (2 * rounds * EPOCHS * EPOCH_PAGES) as usize;
    let mut memory = HostMemory::new(&sizes(blocks, CALLER_PAGES));
    let store_file = files::direct(&files::make(folder, STORE, blocks)?)?;
    let raw_file = files::direct(&files::make(folder, RAW, blocks / 2)?)?;
    let mut disk = ThreadDisk::new(raw_file, CALLER_PAGES)?;
    let pages: Vec<PageRef> = (0..CALLER_PAGES as u64).rev().map(PageRef).collect();
    let host = ThreadDisk::new(store_file, memory.page_count())?;
    let mut bench = Bench::new(&mut memory, host, true)?;
    bench.incarnate()?;
    let (mut store, mut device) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let first = round * EPOCHS * EPOCH_PAGES;
        device.push(raw(&mut disk, first, &pages)?);
        let started = Instant::now();
        for epoch in 0..EPOCHS {
            let index = first + epoch * EPOCH_PAGES;
            bench.epoch_of(index..index + EPOCH_PAGES)?;
        }
        bench.settle()?;
        store.push(started.elapsed());
    }
    let total = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    let with_folds = total(&device) / total(&store);
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (store, device) = (median(&mut store), median(&mut device));
    print("stream_ratio", device / store, "of-raw");
    // A fold comes in one round of three.
    print("stream_with_folds_ratio", with_folds, "of-raw");
    print("stream_rate", (EPOCHS * EPOCH_PAGES * 4096) as f64 / store / 1e6, "MB/s");
    let status = bench.store.status();
    let commands = bench.store.host_mut().commands() as f64;
    print("stream_commands_per_mib", commands * 256.0 / status.blocks_written as f64, "commands");
    Ok(())
}
