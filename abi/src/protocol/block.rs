//! Between a client of a disk (the snapshot server) and its driver: requests and completions through rings in one
//! shared area, no calls. Neither side waits in a call to the other; each signals the other's notification after it
//! has pushed.
//!
//! All sizes are in *blocks* of [`BLOCK_BYTES`], whatever the medium's sector is. Memory is named by physical frame
//! number: one block, one frame. A frame belongs to the device from `submit` until the completion of its tag has been
//! taken, whatever that says: also after an error, a time-out or a reset of the device.
//!
//! Area, in words: the client's line, the driver's line, the request ring, the completion ring, then one list of
//! [`FRAMES_MAX`] frame numbers for each slot of the request ring.
//!
//! **Sessions.** A client opens the link with a number that was never used in this area, a driver accepts it; both
//! rings then start at 0. Either may die at any time:
//!
//! ```text
//!   client                                  driver
//!   open(): session = n, rings zeroed  ──▶  accept(): says what the disk is, accepted = n
//!   (up: requests, completions)
//!   close(): session = 0               ──▶  sees it, stops the device's accesses, accepted = 0
//!                                           starts anew: refused = session, accepted = 0
//!   sees accepted != n: link is lost   ◀──
//! ```
//!
//! **Flushes.** A flush that ends well covers every write that had completed when it was submitted. One that ends as
//! [`BlockError::Unknown`] says that the device was reset since: what had completed and not been flushed may be gone
//! from its cache, and the next flush, which may end well, says nothing about that. The same holds for a lost link.
//! So a client that merely repeats the flush has proved nothing: it writes those blocks again, or reads them back and
//! compares, before it relies on them.
//!
//! When the link is lost every request without a completion is *unknown*: it may or may not have happened. The
//! client reports it so and opens a new session. A new driver says `accepted = 0` only after its device was
//! silenced, so when the client sees the link lost *by a restart* its frames are its own again.

mod client;
mod completion;
mod driver;
mod request;

use core::sync::atomic::AtomicU64;

pub use client::{Client, Link, OpenError, SubmitError};
pub use completion::{BlockError, CallerFault, Completion, MediumFault};
pub use driver::{Asked, Driver};
pub use request::{Op, Request, RequestError};

use super::ring::Layout;

/// Bytes of a block, and of the frame that holds one.
pub const BLOCK_BYTES: usize = 4096;
/// Blocks in one request that names frames, at most.
pub const FRAMES_MAX: usize = 128;
/// Blocks in one [`Op::WriteZeroes`], at most.
pub const ZERO_BLOCKS_MAX: u32 = 8192;
/// Requests under way at once, at most.
pub const REQUESTS_MAX: u32 = 64;

/// Shape of both rings.
const RING: Layout = Layout::new(REQUESTS_MAX).expect("a power of two");

/// Places in the area, in words.
mod place {
    use super::{FRAMES_MAX, REQUESTS_MAX, RING};

    /// Client: the session it wants, 0 for none.
    pub(super) const SESSION: usize = 0;
    /// Client: the last session it has opened.
    pub(super) const SESSION_LAST: usize = 1;
    /// Driver: the session it serves, 0 for none.
    pub(super) const ACCEPTED: usize = 8;
    /// Driver: the last session it has refused, because it began before the driver did.
    pub(super) const REFUSED: usize = 9;
    /// Driver: blocks of the disk.
    pub(super) const BLOCKS: usize = 10;
    /// Driver: blocks in a request at most, and flags above.
    pub(super) const SHAPE: usize = 11;
    pub(super) const REQUESTS: usize = 16;
    pub(super) const COMPLETIONS: usize = REQUESTS + RING.words();
    pub(super) const LISTS: usize = COMPLETIONS + RING.words();
    pub(super) const END: usize = LISTS + REQUESTS_MAX as usize * FRAMES_MAX;
}

/// Bytes of shared memory that a link takes, in whole pages.
pub const AREA_BYTES: usize = (place::END * 8).next_multiple_of(crate::PAGE_SIZE);

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// Its size in blocks.
    pub blocks: u64,
    /// Blocks in one read or write, 1 to [`FRAMES_MAX`].
    pub request_blocks_max: u32,
    /// It forgets unflushed writes when the power fails.
    pub volatile_cache: bool,
    /// [`Op::WriteZeroes`] is there.
    pub can_zero: bool,
    /// [`Op::Deallocate`] is there.
    pub can_deallocate: bool,
}

impl DiskInfo {
    fn shape(self) -> u64 {
        u64::from(self.request_blocks_max)
            | u64::from(self.volatile_cache) << 32
            | u64::from(self.can_zero) << 33
            | u64::from(self.can_deallocate) << 34
    }

    /// What the driver said; `None` for what no driver says.
    fn from_words(blocks: u64, shape: u64) -> Option<Self> {
        let request_blocks_max = shape as u32;
        let flag = |bit: u32| shape >> bit & 1 == 1;
        let info =
            Self { blocks, request_blocks_max, volatile_cache: flag(32), can_zero: flag(33), can_deallocate: flag(34) };
        let sound = (1..=FRAMES_MAX as u32).contains(&request_blocks_max) && info.shape() == shape;
        sound.then_some(info)
    }
}

/// The list of frame numbers beside request `index` of the ring.
fn list_of(area: &[AtomicU64], index: u64) -> Option<&[AtomicU64]> {
    let start = place::LISTS + RING.slot(index) * FRAMES_MAX;
    area.get(start..start + FRAMES_MAX)
}

#[cfg(test)]
mod tests;
