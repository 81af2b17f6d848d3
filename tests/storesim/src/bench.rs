//! `bench-store`: the store over a file past the page cache, beside raw writes to another file in the same run.
//!
//! Prints one line per figure: `BENCH name value unit`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use abi::Epoch;
use format::World;
use snapshot_server::{
    Command, Config, Disk, Event, FormatOptions, Op, PageMemory, PageRef, PutError, SealError, Store,
};
use storesim::Random;
use world::{Access, FileHost, HostMemory, Sizes};

type Error = Box<dyn std::error::Error>;

/// A store at work, with the caller's free pages.
struct Bench<'m> {
    store: Store<'m, FileHost>,
    free: Vec<PageRef>,
    epoch: Epoch,
    committed: Epoch,
    clock: Instant,
    content: u64,
}

fn sizes(blocks: usize) -> Sizes {
    Sizes {
        blocks,
        segment_blocks: 256,
        entries: blocks / 2,
        cells: 1024,
        deferred: 4096,
        cache: 64,
        caller_pages: 384,
    }
}

fn config(blocks: usize) -> Config {
    Config {
        recent_epochs: 1,
        checkpoints: 4,
        interval_entries: blocks as u32 / 5,
        interval_descriptors: blocks as u32 / 16,
        verify_pages: 256,
    }
}

impl<'m> Bench<'m> {
    fn new(memory: &'m mut HostMemory, host: FileHost, format: bool) -> Result<Self, Error> {
        let blocks = host.blocks() as usize;
        let free = memory.caller_pages().collect();
        let options = FormatOptions { world: World(0x62656e6368), root_slots: 8, segment_blocks: 256, formatted_ns: 0 };
        let store = if format {
            Store::format(memory.memory(), host, config(blocks), options)
        } else {
            Store::open(memory.memory(), host, config(blocks), None)
        };
        let clock = Instant::now();
        let mut bench = Self { store, free, epoch: Epoch::NONE, committed: Epoch::NONE, clock, content: 1 };
        bench.until(|_, event| matches!(event, Event::Opened(_)))?;
        Ok(bench)
    }

    fn incarnate(&mut self) -> Result<(), Error> {
        let number = self.store.new_incarnation().map_err(|error| format!("{error:?}"))?;
        self.until(|_, event| matches!(event, Event::IncarnationDurable(_)))?;
        self.epoch = Epoch::from_bits(u64::from(number) << abi::COUNTER_BITS);
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Result<(), Error> {
        match event {
            Event::PageWritten(page) => self.free.push(*page),
            Event::Committed(epoch) => self.committed = *epoch,
            Event::Refused(refusal) => return Err(format!("{refusal:?}").into()),
            Event::Failed(failure) => return Err(format!("{failure:?}").into()),
            _ => {}
        }
        Ok(())
    }

    fn until(&mut self, done: impl Fn(&Self, &Event) -> bool) -> Result<(), Error> {
        for _ in 0..10_000_000 {
            if let Some(event) = self.store.poll() {
                self.take(&event)?;
                if done(self, &event) {
                    return Ok(());
                }
            }
        }
        Err("the store hangs".into())
    }

    fn poll(&mut self) -> Result<(), Error> {
        match self.store.poll() {
            Some(event) => self.take(&event),
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        let Some(epoch) = self.epoch.next() else {
            return Err("epoch numbers".into());
        };
        loop {
            match self.store.begin(epoch, self.clock.elapsed().as_nanos() as u64) {
                Ok(()) => break,
                Err(SealError::Busy) => self.poll()?,
                Err(error) => return Err(format!("{error:?}").into()),
            }
        }
        self.epoch = epoch;
        Ok(())
    }

    fn put(&mut self, index: u64) -> Result<(), Error> {
        while self.free.is_empty() {
            self.poll()?;
        }
        let Some(page) = self.free.pop() else {
            return Err("no page".into());
        };
        // One word differs from page to page: filling all of it would be a part of what is measured.
        self.content += 1;
        self.store.host_mut().bytes_mut(page)[..8].copy_from_slice(&self.content.to_le_bytes());
        loop {
            match self.store.put_page(1, index, page) {
                Ok(()) => return Ok(()),
                Err(PutError::Busy) => self.poll()?,
                Err(error) => return Err(format!("{error:?} {:?}", self.store.status()).into()),
            }
        }
    }

    fn seal(&mut self) -> Result<(), Error> {
        loop {
            match self.store.seal(self.clock.elapsed().as_nanos() as u64) {
                Ok(()) => return Ok(()),
                Err(SealError::Busy) => self.poll()?,
                Err(error) => return Err(format!("{error:?}").into()),
            }
        }
    }

    fn settle(&mut self) -> Result<(), Error> {
        while self.committed < self.epoch {
            self.poll()?;
        }
        Ok(())
    }

    /// One durable epoch of `pages` pages from `index` on.
    fn commit(&mut self, index: u64, pages: u64) -> Result<Duration, Error> {
        let started = Instant::now();
        self.begin()?;
        for offset in 0..pages {
            self.put(index + offset)?;
        }
        self.seal()?;
        self.settle()?;
        Ok(started.elapsed())
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn print(name: &str, value: f64, unit: &str) {
    println!("BENCH {name} {value:.4} {unit}");
}

fn file(path: &Path, blocks: usize, pages: usize) -> Result<FileHost, Error> {
    let made = std::fs::File::create(path)?;
    made.set_len(blocks as u64 * 4096)?;
    // Blocks that were never written cost an allocation at their first write: both files pay it before the clock runs.
    let chunk = vec![0u8; 1 << 20];
    for _ in 0..blocks.div_ceil(256) {
        std::io::Write::write_all(&mut &made, &chunk)?;
    }
    made.set_len(blocks as u64 * 4096)?;
    made.sync_all()?;
    drop(made);
    match FileHost::open(path, Access::Direct, pages) {
        Ok(host) => Ok(host),
        Err(error) => {
            eprintln!("bench-store: no direct access ({error}): the page cache takes part");
            Ok(FileHost::open(path, Access::Write, pages)?)
        }
    }
}

/// A raw write of `pages` pages at `block` and a flush.
fn raw(host: &mut FileHost, block: u64, pages: &[PageRef], flush: bool) -> Result<Duration, Error> {
    let started = Instant::now();
    host.submit(&Command { tag: 0, op: Op::Write, block, pages }).map_err(|_| "full")?;
    if flush {
        host.submit(&Command { tag: 0, op: Op::Flush, block: 0, pages: &[] }).map_err(|_| "full")?;
    }
    while let Some(done) = host.poll() {
        done.result.map_err(|error| format!("{error:?}"))?;
    }
    Ok(started.elapsed())
}

fn latency(folder: &Path, rounds: usize) -> Result<(), Error> {
    let blocks = 131_072;
    let mut memory = HostMemory::new(&sizes(blocks));
    let host = file(&folder.join("bench-store.img"), blocks, memory.page_count())?;
    let mut raw_host = file(&folder.join("bench-raw.img"), 8 * 8192, 128)?;
    // As scattered in memory as the store's: neither may profit from pages that happen to lie side by side.
    let pages: Vec<PageRef> = (0..128).rev().map(PageRef).collect();
    let mut bench = Bench::new(&mut memory, host, true)?;
    bench.incarnate()?;
    for (name, count) in [("commit_4k_ratio", 1usize), ("commit_64k_ratio", 16)] {
        let (mut store, mut device) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            device.push(raw(&mut raw_host, (round * count % 16_384) as u64, &pages[..count], true)?);
            store.push(bench.commit((round * count % 4096) as u64, count as u64)?);
        }
        let (store, device) = (median(store), median(device));
        print(name, store / device, "of raw write+flush");
        print(&name.replace("ratio", "us"), store * 1e6, "us p50");
    }
    // Streams: 256 MiB in epochs of 32 MiB, turn about with raw writes of 512 KiB and a flush per 32 MiB.
    let (mut store, mut device) = (Duration::ZERO, Duration::ZERO);
    for round in 0..8u64 {
        let started = Instant::now();
        for chunk in 0..64 {
            raw(&mut raw_host, round * 8192 + chunk * 128, &pages, chunk == 63)?;
        }
        device += started.elapsed();
        store += bench.commit(round * 8192, 8192)?;
    }
    print("stream_ratio", device.as_secs_f64() / store.as_secs_f64(), "of raw sequential rate");
    Ok(())
}

/// Fills a store to 80 %, overwrites uniformly random pages until ten times its capacity is written, and opens it.
fn amplification(folder: &Path, blocks: usize, epoch_pages: u64, name: &str, times: u64) -> Result<(), Error> {
    let mut memory = HostMemory::new(&sizes(blocks));
    let path = folder.join("bench-store.img");
    let host = file(&path, blocks, memory.page_count())?;
    let map_bytes = memory.bytes();
    let mut random = Random::new(7);
    let mut bench = Bench::new(&mut memory, host, true)?;
    bench.incarnate()?;
    let live = u64::from(bench.store.status().data_blocks) * 8 / 10;
    let mut filled = 0;
    while filled < live {
        let count = (live - filled).min(1024);
        bench.begin()?;
        for index in filled..filled + count {
            bench.put(index)?;
        }
        bench.seal()?;
        filled += count;
    }
    bench.settle()?;
    let before = bench.store.status();
    let wanted = blocks as u64 * times;
    let started = Instant::now();
    let mut written = 0;
    while written < wanted {
        bench.begin()?;
        for _ in 0..epoch_pages {
            bench.put(random.below(live))?;
        }
        bench.seal()?;
        written += epoch_pages;
    }
    bench.settle()?;
    let after = bench.store.status();
    let pages = (after.pages_written - before.pages_written) as f64;
    print(name, (after.blocks_written - before.blocks_written) as f64 / pages, "blocks per page");
    print(
        &name.replace("write_amplification", "overwrite_rate"),
        pages * 4096.0 / 1e6 / started.elapsed().as_secs_f64(),
        "MB/s",
    );
    let commands = bench.store.host_mut().commands as f64;
    print(
        &name.replace("write_amplification", "commands_per_mib"),
        commands * 256.0 / after.blocks_written as f64,
        "commands",
    );
    let descriptors = after.descriptors;
    drop(bench);
    let host = FileHost::open(&path, Access::Direct, memory.page_count())
        .or_else(|_| FileHost::open(&path, Access::Write, memory.page_count()))?;
    let opening = Instant::now();
    let bench = Bench::new(&mut memory, host, false)?;
    let suffix = name.trim_start_matches("write_amplification");
    print(&format!("recovery_ms{suffix}"), opening.elapsed().as_secs_f64() * 1e3, "ms");
    print(&format!("recovery_descriptors{suffix}"), f64::from(descriptors), "descriptors");
    drop(bench);
    if epoch_pages == 16 {
        print("map_bytes_per_gib", map_bytes as f64 / (blocks as f64 * 4096.0 / (1u64 << 30) as f64), "bytes");
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut folder: PathBuf = std::env::temp_dir();
    let mut quick = false;
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.len()) {
            ("--quick", _) => quick = true,
            ("--folder", 1..) => folder = arguments.next().unwrap_or_default().into(),
            _ => {
                eprintln!("usage: bench-store [--quick] [--folder DIR]");
                return ExitCode::from(2);
            }
        }
    }
    let (rounds, blocks, times) = if quick { (50, 16_384, 2) } else { (400, 65_536, 10) };
    let run = latency(&folder, rounds)
        .and_then(|()| amplification(&folder, blocks, 16, "write_amplification_16", times))
        .and_then(|()| amplification(&folder, blocks * 2, 1024, "write_amplification_large", times));
    for name in ["bench-store.img", "bench-raw.img"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-store: {error}");
            ExitCode::FAILURE
        }
    }
}
