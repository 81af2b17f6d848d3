//! A file as a disk whose commands are timed, with two others beside it to which the same pages are written raw.
//!
//! What an epoch takes beside its commands is the store's own work. The raw writes take the very pages of the epochs, in
//! the same order: whether pages lie side by side in memory makes up to half of a write.

use std::fs::File;
use std::io::{IoSlice, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use format::{BLOCK_SIZE, BlockBytes};
use snapshot_server::{Command, Completion, Disk, Full, PageMemory, PageRef};
use world::FileHost;

use crate::Error;
use crate::subject::BenchHost;

/// See the module.
#[derive(Debug)]
pub(crate) struct Timed {
    host: FileHost,
    raw: [File; 2],
    in_commands: Duration,
}

impl Timed {
    pub(crate) fn new(host: FileHost, raw: [File; 2]) -> Self {
        Self { host, raw, in_commands: Duration::ZERO }
    }

    /// Time spent in the store's commands since this was asked last.
    pub(crate) fn in_commands(&mut self) -> Duration {
        std::mem::take(&mut self.in_commands)
    }

    /// Writes `pages` to `block` of one of the other files and flushes it: the same calls that the store's disk makes.
    pub(crate) fn raw(&mut self, file: usize, block: u64, pages: &[PageRef]) -> Result<Duration, Error> {
        let started = Instant::now();
        self.raw[file].seek(SeekFrom::Start(block * BLOCK_SIZE as u64))?;
        let slices: Vec<_> = pages.iter().map(|page| IoSlice::new(self.host.bytes(*page))).collect();
        let written = self.raw[file].write_vectored(&slices)?;
        self.raw[file].sync_data()?;
        if written == pages.len() * BLOCK_SIZE { Ok(started.elapsed()) } else { Err("a short write".into()) }
    }
}

impl Disk for Timed {
    fn blocks(&self) -> u64 {
        self.host.blocks()
    }

    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        let begun = Instant::now();
        let result = self.host.submit(command);
        self.in_commands += begun.elapsed();
        result
    }

    fn poll(&mut self) -> Option<Completion> {
        self.host.poll()
    }

    fn resets(&self) -> u64 {
        self.host.resets()
    }
}

impl PageMemory for Timed {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        self.host.bytes(page)
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        self.host.bytes_mut(page)
    }
}

impl BenchHost for Timed {
    /// Commands are done when they are submitted.
    fn wait(&mut self) {}

    fn commands(&self) -> u64 {
        self.host.commands
    }
}
