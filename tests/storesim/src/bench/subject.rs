//! What is measured: a store at work for a caller that has a fixed number of pages.

use std::time::{Duration, Instant};

use abi::Epoch;
use format::World;
use snapshot_server::{Config, Event, FormatOptions, Host, PageRef, PutError, SealError, Store};
use world::{FileHost, HostMemory, Sizes};

use crate::Error;

/// What the bench needs of a host beside what the store does.
pub(crate) trait BenchHost: Host {
    /// Sleeps until a command has ended, if any is under way.
    fn wait(&mut self);
    /// Commands so far.
    fn commands(&self) -> u64;
}

impl BenchHost for FileHost {
    /// Commands are done when they are submitted.
    fn wait(&mut self) {}

    fn commands(&self) -> u64 {
        self.commands
    }
}

/// Memory of a store for a disk of `blocks` blocks and a caller with `caller_pages` pages.
pub(crate) fn sizes(blocks: usize, caller_pages: usize) -> Sizes {
    Sizes { blocks, segment_blocks: 256, entries: blocks / 2, cells: 1024, deferred: 4096, cache: 64, caller_pages }
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

/// Pages between two polls.
const POLL_PAGES: usize = 64;

/// A store at work, with the caller's free pages.
pub(crate) struct Bench<'m, H> {
    pub(crate) store: Store<'m, H>,
    free: Vec<PageRef>,
    epoch: Epoch,
    committed: Epoch,
    clock: Instant,
    content: u64,
}

impl<'m, H: BenchHost> Bench<'m, H> {
    /// Formats the host's disk, or opens what is on it.
    pub(crate) fn new(memory: &'m mut HostMemory, host: H, format: bool) -> Result<Self, Error> {
        let blocks = host.blocks() as usize;
        let free = memory.caller_pages().collect();
        let options = FormatOptions {
            world: World(0x62656e6368),
            root_slots: 8,
            segment_blocks: 256,
            formatted_ns: 0,
            programs: 0,
        };
        let store = if format {
            Store::format(memory.memory(), host, config(blocks), options)
        } else {
            Store::open(memory.memory(), host, config(blocks), None)
        };
        let clock = Instant::now();
        let mut bench = Self { store, free, epoch: Epoch::NONE, committed: Epoch::NONE, clock, content: 1 };
        bench.until(|event| matches!(event, Event::Opened(_)))?;
        Ok(bench)
    }

    pub(crate) fn incarnate(&mut self) -> Result<(), Error> {
        let number = self.store.new_incarnation().map_err(|error| format!("{error:?}"))?;
        self.until(|event| matches!(event, Event::IncarnationDurable(_)))?;
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

    fn until(&mut self, done: impl Fn(&Event) -> bool) -> Result<(), Error> {
        for _ in 0..10_000_000 {
            match self.store.poll() {
                Some(event) => {
                    self.take(&event)?;
                    if done(&event) {
                        return Ok(());
                    }
                }
                None if self.store.has_more() => {}
                None => self.store.host_mut().wait(),
            }
        }
        Err("the store hangs".into())
    }

    fn poll(&mut self) -> Result<(), Error> {
        match self.store.poll() {
            Some(event) => self.take(&event),
            None if self.store.has_more() => Ok(()),
            None => {
                self.store.host_mut().wait();
                Ok(())
            }
        }
    }

    /// Takes what has happened, and does not wait.
    fn poll_events(&mut self) -> Result<(), Error> {
        while let Some(event) = self.store.poll() {
            self.take(&event)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Error> {
        let epoch = self.epoch.next().ok_or("epoch numbers")?;
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
        let page = self.free.pop().ok_or("no page")?;
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

    /// The pages that the next epoch takes, in the order in which it does.
    pub(crate) fn next_pages(&self, count: usize) -> Vec<PageRef> {
        self.free.iter().rev().take(count).copied().collect()
    }

    /// One epoch of these pages, on its way to the disk.
    pub(crate) fn epoch_of(&mut self, pages: impl Iterator<Item = u64>) -> Result<(), Error> {
        self.begin()?;
        for (count, index) in pages.enumerate() {
            self.put(index)?;
            // Who gathers from messages polls between them.
            if count % POLL_PAGES == POLL_PAGES - 1 {
                self.poll_events()?;
            }
        }
        self.seal()
    }

    /// Waits until all epochs are durable.
    pub(crate) fn settle(&mut self) -> Result<(), Error> {
        while self.committed < self.epoch {
            self.poll()?;
        }
        Ok(())
    }

    /// One durable epoch of `pages` pages from `index` on.
    pub(crate) fn commit(&mut self, index: u64, pages: u64) -> Result<Duration, Error> {
        let started = Instant::now();
        self.epoch_of(index..index + pages)?;
        self.settle()?;
        Ok(started.elapsed())
    }
}
