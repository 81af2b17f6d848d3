//! Small epochs beside raw writes of the same bytes and a flush, turn about, one command at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use snapshot_server::{Command, Disk, Op, PageRef};
use world::{FileHost, HostMemory};

use crate::files::{self, RAW, STORE};
use crate::subject::{Bench, sizes};
use crate::{Error, print};

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// A raw write of `pages` at `block` and a flush.
fn raw(host: &mut FileHost, block: u64, pages: &[PageRef]) -> Result<Duration, Error> {
    let started = Instant::now();
    host.submit(&Command { tag: 0, op: Op::Write, block, pages }).map_err(|_| "full")?;
    host.submit(&Command { tag: 0, op: Op::Flush, block: 0, pages: &[] }).map_err(|_| "full")?;
    while let Some(done) = host.poll() {
        done.result.map_err(|error| format!("{error:?}"))?;
    }
    Ok(started.elapsed())
}

/// Prints the ratios for epochs of 4 and 64 KiB, over `rounds` of each.
pub(crate) fn measure(folder: &Path, rounds: usize) -> Result<(), Error> {
    let blocks = 131_072;
    let mut memory = HostMemory::new(&sizes(blocks, 384));
    let host = files::host(&files::make(folder, STORE, blocks)?, memory.page_count())?;
    let mut raw_host = files::host(&files::make(folder, RAW, 16_384)?, 128)?;
    // As scattered in memory as the store's: neither may profit from pages that happen to lie side by side.
    let pages: Vec<PageRef> = (0..128).rev().map(PageRef).collect();
    let mut bench = Bench::new(&mut memory, host, true)?;
    bench.incarnate()?;
    for (name, count) in [("commit_4k_ratio", 1usize), ("commit_64k_ratio", 16)] {
        let (mut store, mut device) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            device.push(raw(&mut raw_host, (round * count % 16_384) as u64, &pages[..count])?);
            store.push(bench.commit((round * count % 4096) as u64, count as u64)?);
        }
        let (store, device) = (median(store), median(device));
        print(name, store / device, "of-raw");
        print(&name.replace("ratio", "us"), store * 1e6, "us");
    }
    Ok(())
}
