//! A store 80 % full of uniformly random pages, written ten times over: what each page costs, folds, cleaning and
//! retirement included, and what an opening behind that takes.

use std::path::Path;
use std::time::Instant;

use storesim::Random;
use world::HostMemory;

use crate::files::{self, STORE};
use crate::subject::{Bench, BenchHost, sizes};
use crate::{Error, print};

/// Overwrites random pages in epochs of `epoch_pages` until `times` the capacity was written, and opens the store again.
pub(crate) fn measure(folder: &Path, blocks: usize, epoch_pages: u64, name: &str, times: u64) -> Result<(), Error> {
    let mut memory = HostMemory::new(&sizes(blocks, 384));
    let path = files::make(folder, STORE, blocks)?;
    let host = files::host(&path, memory.page_count())?;
    let map_bytes = memory.bytes();
    let mut random = Random::new(7);
    let mut bench = Bench::new(&mut memory, host, true)?;
    bench.incarnate()?;
    let live = u64::from(bench.store.status().data_blocks) * 8 / 10;
    let mut filled = 0;
    while filled < live {
        let count = (live - filled).min(1024);
        bench.epoch_of(filled..filled + count)?;
        filled += count;
    }
    bench.settle()?;
    let before = bench.store.status();
    let wanted = blocks as u64 * times;
    let started = Instant::now();
    let mut written = 0;
    while written < wanted {
        let pages: Vec<u64> = (0..epoch_pages).map(|_| random.below(live)).collect();
        bench.epoch_of(pages.into_iter())?;
        written += epoch_pages;
    }
    bench.settle()?;
    let after = bench.store.status();
    let pages = (after.pages_written - before.pages_written) as f64;
    print(name, (after.blocks_written - before.blocks_written) as f64 / pages, "blocks/page");
    let of = |figure: &str| name.replace("write_amplification", figure);
    print(&of("overwrite_rate"), pages * 4096.0 / 1e6 / started.elapsed().as_secs_f64(), "MB/s");
    let commands = bench.store.host_mut().commands() as f64;
    print(&of("commands_per_mib"), commands * 256.0 / after.blocks_written as f64, "commands");
    let descriptors = after.descriptors;
    drop(bench);
    let host = files::host(&path, memory.page_count())?;
    let opening = Instant::now();
    let bench = Bench::new(&mut memory, host, false)?;
    let figure = if epoch_pages == 16 { "recovery_ms" } else { "recovery_ms_large" };
    print(figure, opening.elapsed().as_secs_f64() * 1e3, "ms");
    print(&figure.replace("ms", "descriptors"), f64::from(descriptors), "descriptors");
    drop(bench);
    if epoch_pages == 16 {
        let gib = blocks as f64 * 4096.0 / (1u64 << 30) as f64;
        print("map_bytes_per_gib", map_bytes as f64 / gib, "bytes");
    }
    Ok(())
}
