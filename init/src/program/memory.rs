//! Init's own frames, mapped into init as a whole, and the memory that is handed on.

use core::sync::atomic::AtomicU64;
use init::{Pool, PoolEmpty};
use libos::abi::boot_info::{BootInfo, FrameRange, handle};
use libos::abi::protocol::startup::{WINDOWS_START, WindowEntry, WindowFlags};
use libos::abi::{Epoch, Handle, MapFlags, PAGE_SIZE, Rights};
use libos::{MapError, Mapping, Memory, Pages, Process, Window};

/// Less memory for a world is no use: its processes, donated frames, and what waits for the disk.
const WORLD_PAGES_MIN: u64 = 2048;

/// Where init maps the bundle.
const BUNDLE_AT: u64 = WINDOWS_START;
/// Where init maps its pool.
const POOL_AT: u64 = WINDOWS_START + (1 << 32);

/// Why there is no memory to start with; the machine is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMemory {
    /// No range of free memory at all.
    None,
    /// Too little of it in one piece, in pages.
    TooLittle {
        /// What the manifest needs, and a small world.
        needed: u64,
        /// What there is.
        found: u64,
    },
    /// The kernel did not divide it.
    Divide(libos::CopyError),
    /// The kernel did not map it.
    Map(MapError),
}

impl core::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::None => write!(f, "the kernel has left no free memory"),
            Self::TooLittle { needed, found } => {
                let short = (needed - found).div_ceil(256);
                write!(f, "this machine has too little memory: {short} MiB more are needed")
            }
            Self::Divide(why) => write!(f, "memory was not divided: {why:?}"),
            Self::Map(why) => write!(f, "memory was not mapped: {why:?}"),
        }
    }
}

/// Init's memory.
pub(crate) struct OwnMemory {
    /// All of the pool.
    pub(crate) memory: Memory,
    /// The pool as init sees it.
    pages: Pages,
    window: Window,
    /// First frame of the pool.
    first_frame: u64,
    pool: Pool,
    /// The rest of the largest range: the world's memory.
    pub(crate) ram: Memory,
    /// Where that lies.
    pub(crate) ram_range: FrameRange,
}

impl OwnMemory {
    /// Divides the largest range of free memory: `pool_pages` for the volatile servers, the rest for the world.
    pub(crate) fn divide(info: &BootInfo<'static>, pool_pages: u64) -> Result<Self, NoMemory> {
        let range = *info.ranges().first().ok_or(NoMemory::None)?;
        let (needed, found) = (pool_pages.saturating_add(WORLD_PAGES_MIN), range.count);
        if found < needed {
            return Err(NoMemory::TooLittle { needed, found });
        }
        let whole = Memory(Handle(handle::MEMORY));
        let part = |offset, pages| whole.part(offset, pages, Rights::all()).map_err(NoMemory::Divide);
        let memory = part(0, pool_pages)?;
        let ram = part(pool_pages, range.count - pool_pages)?;
        let at = Mapping {
            address: POOL_AT,
            memory,
            first_page: 0,
            pages: pool_pages,
            flags: MapFlags::WRITE,
            epoch: Epoch::NONE,
        };
        let window = Process::OWN.map_window(at, false).map_err(NoMemory::Map)?;
        let ram_range = FrameRange { first: range.first + pool_pages, count: range.count - pool_pages };
        let pool = Pool::new(pool_pages);
        Ok(Self { memory, pages: window.pages(), window, first_frame: range.first, pool, ram, ram_range })
    }

    /// Consecutive pages, zeroed; the number of the first.
    pub(crate) fn take(&mut self, pages: u64) -> Result<u64, PoolEmpty> {
        let first = self.pool.take(pages)?;
        self.zero(first, pages);
        Ok(first)
    }

    /// Zeroes pages.
    pub(crate) fn zero(&self, first: u64, pages: u64) {
        for page in first..first + pages {
            self.pages.zero(page as usize);
        }
    }

    /// Writes bytes from the start of a page on.
    pub(crate) fn write(&self, page: u64, bytes: &[u8]) {
        self.pages.write(page as usize * PAGE_SIZE, bytes);
    }

    /// A few pages as words.
    pub(crate) fn words(&self, first: u64, pages: u64) -> &'static [AtomicU64] {
        let part = self.window.part(first as usize * PAGE_SIZE, pages as usize * PAGE_SIZE);
        let Ok(words) = part.and_then(|part| part.atomics()) else { panic!("pages {first} + {pages} of the pool") };
        words
    }

    /// How a window onto pages of the pool is named to a server.
    pub(crate) fn entry(&self, address: u64, first: u64, pages: u64, write: bool) -> WindowEntry {
        WindowEntry {
            address,
            bytes: pages * PAGE_SIZE as u64,
            first_frame: self.first_frame + first,
            flags: if write { WindowFlags::WRITE } else { WindowFlags::empty() },
            handle: Handle::NULL,
        }
    }

    /// A part of the pool as a capability of its own.
    pub(crate) fn part(&self, first: u64, pages: u64) -> Result<Memory, libos::CopyError> {
        self.memory.part(first, pages, Rights::all())
    }
}

/// Maps the bundle into init; its bytes.
pub(crate) fn map_bundle(info: &BootInfo<'static>) -> Result<&'static [u8], NoMemory> {
    let (range, bytes) = (info.raw().bundle, info.raw().bundle_bytes);
    let at = Mapping {
        address: BUNDLE_AT,
        memory: Memory(handle::BUNDLE),
        first_page: 0,
        pages: range.count,
        flags: MapFlags::empty(),
        epoch: Epoch::NONE,
    };
    let window = Process::OWN.map_window(at, true).map_err(NoMemory::Map)?;
    let Ok(all) = window.fixed_bytes() else { return Err(NoMemory::Map(MapError::BadRange)) };
    all.get(..bytes as usize).ok_or(NoMemory::Map(MapError::BadRange))
}
