//! Small epochs beside raw writes of the same bytes and a flush, turn about, one command at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use snapshot_server::{Command, Disk, Op, PageRef};
use world::{FileHost, HostMemory};

use crate::files::{self, RAW, STORE};
use crate::subject::{Bench, sizes};
use crate::{Error, median, print};

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
        let mut pairs = Vec::new();
        for round in 0..rounds {
            // Each first every other time.
            let mut pair = (0.0, 0.0);
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    pair.0 = raw(&mut raw_host, (round * count % 16_384) as u64, &pages[..count])?.as_secs_f64();
                } else {
                    pair.1 = bench.commit((round * count % 4096) as u64, count as u64)?.as_secs_f64();
                }
            }
            pairs.push(pair);
        }
        print(name, median(pairs.iter().map(|(raw, store)| store / raw).collect()), "of-raw");
        print(&name.replace("ratio", "us"), median(pairs.iter().map(|pair| pair.1).collect()) * 1e6, "us");
    }
    Ok(())
}
