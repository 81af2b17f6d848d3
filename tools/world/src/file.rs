//! A file or block device as the store's disk, and ordinary memory as its pages.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::lock;
use format::{BLOCK_SIZE, BlockBytes};
use snapshot_server::{Command, Completion, Disk, DiskError, Full, Op, PageMemory, PageRef};

/// A page where devices that bypass the page cache can reach it.
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Page(BlockBytes);

/// A disk in a file. Commands are done when they are submitted.
#[derive(Debug)]
pub struct FileHost {
    file: File,
    blocks: u64,
    writable: bool,
    pages: Vec<Page>,
    done: Vec<Completion>,
    /// Commands so far.
    pub commands: u64,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing is ever written.
    Read,
    /// As the store asks.
    Write,
    /// The same, past the page cache.
    Direct,
}

/// `O_DIRECT` on Linux for the architectures that we know.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "x86")))]
const DIRECT: i32 = 0x4000;
#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "x86"))))]
const DIRECT: i32 = 0x10000;

impl FileHost {
    /// Opens `path` beside a memory of `pages` pages. The file is locked: against writers when it is only read, else
    /// against everybody; [`std::io::ErrorKind::ResourceBusy`] when somebody else
    /// has it, a machine in QEMU included.
    pub fn open(path: &Path, access: Access, pages: usize) -> std::io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(access != Access::Read);
        #[cfg(target_os = "linux")]
        if access == Access::Direct {
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, DIRECT);
        }
        let mut file = options.open(path)?;
        lock::lock(&file, access)?;
        let blocks = file.seek(SeekFrom::End(0))? / BLOCK_SIZE as u64;
        let pages = vec![Page([0; BLOCK_SIZE]); pages];
        Ok(Self { file, blocks, writable: access != Access::Read, pages, done: Vec::new(), commands: 0 })
    }

    /// One block, read now.
    pub fn read_block(&mut self, block: u64, into: &mut BlockBytes) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(block * BLOCK_SIZE as u64))?;
        self.file.read_exact(into)
    }

    /// Makes the disk one that was never formatted: both places of the header.
    pub fn blank_headers(&mut self) -> std::io::Result<()> {
        for block in [0, self.blocks.saturating_sub(1)] {
            self.file.seek(SeekFrom::Start(block * BLOCK_SIZE as u64))?;
            self.file.write_all(&[0; BLOCK_SIZE])?;
        }
        self.file.sync_data()
    }

    fn run(&mut self, command: &Command<'_>) -> std::io::Result<()> {
        let start = command.block * BLOCK_SIZE as u64;
        match command.op {
            Op::Flush if !self.writable => Ok(()),
            Op::Flush => self.file.sync_data(),
            Op::Write if !self.writable => Err(std::io::ErrorKind::PermissionDenied.into()),
            Op::Write => {
                self.file.seek(SeekFrom::Start(start))?;
                let slices: Vec<_> =
                    command.pages.iter().map(|page| IoSlice::new(&self.pages[page.0 as usize].0)).collect();
                let written = self.file.write_vectored(&slices)?;
                let whole = written == slices.len() * BLOCK_SIZE;
                if whole { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
            }
            Op::Read => {
                self.file.seek(SeekFrom::Start(start))?;
                for page in command.pages {
                    let mut slices = [IoSliceMut::new(&mut self.pages[page.0 as usize].0)];
                    if self.file.read_vectored(&mut slices)? != BLOCK_SIZE {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Ok(())
            }
        }
    }
}

impl Disk for FileHost {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn submit(&mut self, command: &Command<'_>) -> Result<(), Full> {
        self.commands += 1;
        let result = self.run(command).map_err(|_| DiskError::Medium);
        self.done.push(Completion { tag: command.tag, result });
        Ok(())
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop()
    }

    /// A file forgets nothing while its host is up.
    fn resets(&self) -> u64 {
        0
    }
}

impl PageMemory for FileHost {
    fn bytes(&self, page: PageRef) -> &BlockBytes {
        &self.pages[page.0 as usize].0
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut BlockBytes {
        &mut self.pages[page.0 as usize].0
    }
}
