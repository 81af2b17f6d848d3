//! Large epochs beside raw sequential writes: both with the same number of commands under way and commands of the same
//! size, both made durable every 32 MiB without waiting for it, turn about.

use std::path::Path;
use std::time::{Duration, Instant};

use snapshot_server::{COMMAND_PAGES_MAX, Command, Disk, Op, PageRef};
use world::HostMemory;

use crate::files::{self, RAW, STORE};
use crate::meter::Reading;
use crate::subject::{Bench, BenchHost, sizes};
use crate::threads::{DEPTH, ThreadDisk};
use crate::{Error, median, print};

/// Pages of an epoch: 32 MiB.
const EPOCH_PAGES: u64 = 8192;
/// Epochs between two looks at the clock.
const EPOCHS: u64 = 4;
/// Pages of the caller, and of the raw writer: two epochs, one that gathers while the other drains.
const CALLER_PAGES: usize = 2 * EPOCH_PAGES as usize;

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
    let mut pairs = Vec::new();
    let (mut meter, mut raw_meter) = (Reading::default(), Reading::default());
    for round in 0..rounds {
        let first = round * EPOCHS * EPOCH_PAGES;
        // Turn about, and each first every other time: a disk that gets slower or faster meanwhile prefers neither.
        let mut pair = (Duration::ZERO, Duration::ZERO);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                disk.read_meter();
                pair.0 = raw(&mut disk, first, &pages)?;
                raw_meter.add(&disk.read_meter());
            } else {
                bench.store.host_mut().read_meter();
                pair.1 = through_store(&mut bench, first)?;
                meter.add(&bench.store.host_mut().read_meter());
            }
        }
        pairs.push(pair);
    }
    report(&pairs);
    report_meter("raw", &raw_meter, pairs.iter().map(|pair| pair.0).sum());
    report_meter("stream", &meter, pairs.iter().map(|pair| pair.1).sum());
    let status = bench.store.status();
    let commands = bench.store.host_mut().commands() as f64;
    print("stream_commands_per_mib", commands * 256.0 / status.blocks_written as f64, "commands");
    Ok(())
}

/// The same epochs, of consecutive pages, through the store.
fn through_store(bench: &mut Bench<'_, ThreadDisk>, first: u64) -> Result<Duration, Error> {
    let started = Instant::now();
    for epoch in 0..EPOCHS {
        let index = first + epoch * EPOCH_PAGES;
        bench.epoch_of(index..index + EPOCH_PAGES)?;
    }
    bench.settle()?;
    Ok(started.elapsed())
}

/// Prints the ratio of raw time to the store's: the median of the pairs, and of the sums.
fn report(pairs: &[(Duration, Duration)]) {
    let ratios: Vec<f64> = pairs.iter().map(|(raw, store)| raw.as_secs_f64() / store.as_secs_f64()).collect();
    print("stream_ratio", median(ratios), "of-raw");
    let total = |times: &mut dyn Iterator<Item = Duration>| times.sum::<Duration>().as_secs_f64();
    let (raw, store) = (total(&mut pairs.iter().map(|pair| pair.0)), total(&mut pairs.iter().map(|pair| pair.1)));
    // A fold comes in one round of three.
    print("stream_with_folds_ratio", raw / store, "of-raw");
    let times = pairs.iter().map(|pair| pair.1.as_secs_f64()).collect();
    print("stream_rate", (EPOCHS * EPOCH_PAGES * 4096) as f64 / median(times) / 1e6, "MB/s");
}

/// Prints what the disk did in `time`.
fn report_meter(name: &str, meter: &Reading, time: Duration) {
    let part = |of: Duration| of.as_secs_f64() / time.as_secs_f64();
    print(&format!("{name}_idle"), part(meter.idle), "of-time");
    print(&format!("{name}_only_flush"), part(meter.only_flush), "of-time");
    print(&format!("{name}_caller_busy"), 1.0 - part(meter.slept), "of-time");
    print(&format!("{name}_depth"), meter.depth / time.as_secs_f64(), "commands");
    print(&format!("{name}_flushes"), meter.flushes.into(), "flushes");
    print(&format!("{name}_flush_us"), meter.flushing.as_secs_f64() * 1e6 / f64::from(meter.flushes.max(1)), "us");
}
