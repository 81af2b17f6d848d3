//! What the store needs of a disk: commands submitted, completions polled, nothing that waits.

use crate::memory::{PageMemory, PageRef};

/// Most pages of one command: 512 KiB, what the devices we know take at once.
pub const COMMAND_PAGES_MAX: usize = 128;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Blocks into pages.
    Read,
    /// Pages into blocks.
    Write,
    /// Makes every write that was completed before this was submitted durable. Has no pages.
    Flush,
}

/// One command: `pages.len()` consecutive blocks from `block`, each from or into its page.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Comes back with the completion.
    pub tag: u32,
    /// What it does.
    pub op: Op,
    /// First block, in units of 4 KiB.
    pub block: u64,
    /// The pages, at most [`COMMAND_PAGES_MAX`]; borrowed only until `submit` returns, their contents until the
    /// completion.
    pub pages: &'a [PageRef],
}

/// The disk takes no command now; one will fit after a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a command did not do what it should. Of a write or a flush that failed, any part may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The medium could not read or write these blocks; others may work.
    Medium,
    /// The disk did not answer, was reset, or its driver died; the same command may work later.
    Lost,
    /// The disk says that the command makes no sense: a fault of the store or of the driver.
    Refused,
}

/// A command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The command's tag.
    pub tag: u32,
    /// How it ended.
    pub result: Result<(), DiskError>,
}

/// A disk with a volatile write cache.
pub trait Disk {
    /// Its size in blocks of 4 KiB.
    fn blocks(&self) -> u64;
    /// Starts a command. Commands may be done in any order.
    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full>;
    /// The next command that has ended.
    fn poll(&mut self) -> Option<Completion>;
    /// How often the disk may have forgotten what it had completed and not flushed: its driver died, or reset it. No
    /// command is both submitted with success and the first to find out.
    fn resets(&self) -> u64;
}

/// What a store stands on: a disk, and the pages that its commands name.
pub trait Host: Disk + PageMemory {}

impl<T: Disk + PageMemory> Host for T {}
