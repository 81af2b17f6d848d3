//! Pages, frames, and the flags of mappings.

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: usize = 4096;
/// First address that is not a user address.
pub const USER_END: u64 = 0x0000_8000_0000_0000;
/// The first 64 KiB of every address space stay unmapped: a null pointer and its neighbours fault.
pub const USER_START: u64 = 0x1_0000;
/// Pages in one `Map`, `Unmap`, `Protect` or `Accessed`.
pub const MAP_PAGES_MAX: u64 = 512;
/// Frames in one `Donate` or `SetFrames`.
pub const FRAMES_BATCH_MAX: usize = 8;

bitflags::bitflags! {
    /// What a mapping allows. A page is never both writable and executable (`BadArgument`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MapFlags: u64 {
        /// Writable; needs MEMORY_WRITE on the Memory.
        const WRITE = 1;
        /// Executable.
        const EXECUTE = 2;
        /// Uncached: device registers.
        const DEVICE = 4;
        /// The page is being mapped for a write that has faulted: do the first write's bookkeeping now.
        const NOW = 8;
    }
}

/// What the kernel knows about a frame's contents; it decides what the first write after a cut must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameState {
    /// In no epoch (volatile or transient): written freely.
    Untracked = 0,
    /// Its contents are durable, or zero and never written: a first write only needs a log entry.
    Clean = 1,
    /// Written in some epoch, not yet durable: a first write in a later epoch copies the frozen contents first.
    Dirty = 2,
    /// Frozen and claimed by a device: a first write goes to the pager.
    Claimed = 3,
}

impl FrameState {
    /// From its number.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Untracked,
            1 => Self::Clean,
            2 => Self::Dirty,
            3 => Self::Claimed,
            _ => return None,
        })
    }
}
