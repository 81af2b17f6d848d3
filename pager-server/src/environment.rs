//! What the pager needs of the world around it: the kernel's calls, the bytes of frames, the link to the snapshot
//! server, somewhere to say what went wrong. Implemented by `main.rs` on libos and by the tests on fakes.
//!
//! None of these may wait. Frames are physical frame numbers throughout.

use abi::fault::Access;
use abi::protocol::lent::LentName;
use abi::protocol::paging::{PageName, ToStore};
use abi::{Epoch, FRAMES_BATCH_MAX, FrameState, Handle, MapFlags, Status};

/// A process, as fault messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessName(pub u64);

/// Whose call or fault is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyTo {
    /// The one that was just received.
    Current,
    /// One that [`Kernel::save_reply`] put aside.
    Saved(Handle),
}

/// An answer: tag, words, and at most one capability, which is moved to the caller (or dropped with the answer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// 0, or an [`abi::protocol::memory::Error`].
    pub tag: u64,
    /// The first words.
    pub words: [u64; 3],
    /// The capability.
    pub cap: Option<Handle>,
}

/// One page that is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Into which process.
    pub process: ProcessName,
    /// At which address.
    pub address: u64,
    /// What.
    pub frame: u32,
    /// How.
    pub flags: MapFlags,
    /// The epoch in which a writable mapping was decided; [`Epoch::NONE`] for one that is not writable.
    pub epoch: Epoch,
}

/// What the kernel's cut says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutPoint {
    /// The epoch that now runs.
    pub running: Epoch,
    /// Where in the log of first writes the ended epoch ends.
    pub log_position: u64,
    /// No record of the kernel had changed.
    pub quiet: bool,
}

/// An entry of the kernel's log of first writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstWrite {
    /// The frame that was written.
    pub frame: u32,
    /// The donated frame that got its frozen contents; `None` when they needed no copy.
    pub copy: Option<u32>,
}

/// The kernel's calls. Batches are of at most [`FRAMES_BATCH_MAX`] frames.
pub trait Kernel {
    /// `Map` of one page.
    fn map(&mut self, mapping: &Mapping) -> Result<(), Status>;
    /// `Unmap`, whoever serves the process now: when it returns no CPU has a translation left. It fails only when there is no
    /// such process any more.
    fn unmap(&mut self, process: ProcessName, address: u64, pages: u64) -> Result<(), Status>;
    /// `Accessed` of one page: whether it was since this was last asked; no, if the process is gone.
    fn was_accessed(&mut self, process: ProcessName, address: u64) -> bool;
    /// `Cut`.
    fn cut(&mut self) -> Result<CutPoint, Status>;
    /// `ReadLog` from `position`, releasing what lies before it; first writes stop at `limit`. How many entries it wrote
    /// to `to`.
    fn read_log(&mut self, position: u64, limit: u64, to: &mut [FirstWrite; FRAMES_BATCH_MAX]) -> usize;
    /// `Donate`. How many of them, from the first, the ring had room for.
    fn donate(&mut self, frames: &[u32]) -> usize;
    /// `SetFrames`. Bit i: frame i changed.
    ///
    /// `Untracked` forgets everything; `Clean` changes only frames that were not written in the running epoch, `Claimed`
    /// only those of them that are dirty.
    fn set_frames(&mut self, frames: &[u32], state: FrameState) -> u8;
    /// Answers. When it fails nothing was delivered and the capability is gone.
    fn reply(&mut self, to: ReplyTo, answer: &Answer) -> Result<(), Status>;
    /// Lets a thread that faulted make its access again. It may do so as late as with the next receive, but must before
    /// the next cut. A thread that is gone needs no answer.
    fn resume(&mut self, to: ReplyTo) {
        let _ = self.reply(to, &Answer::default());
    }
    /// Puts the Reply of what was just received aside; `None`: the handle table is full.
    fn save_reply(&mut self) -> Option<Handle>;
    /// Drops a Reply: a caller gets `Abandoned`, a thread that faulted stops.
    fn drop_reply(&mut self, to: ReplyTo);
    /// A capability of the memory port with this badge; `None`: the handle table is full.
    fn mint(&mut self, badge: u64) -> Option<Handle>;
    /// The badge of a capability that came with a request, if it is one of the memory port.
    fn badge_of(&mut self, handle: Handle) -> Option<u64>;
    /// Drops a capability.
    fn drop_handle(&mut self, handle: Handle);
}

/// The bytes of frames.
pub trait Frames {
    /// Fills a frame with zero.
    fn zero(&mut self, frame: u32);
    /// Copies a frame.
    fn copy(&mut self, from: u32, to: u32);
    /// Writes bytes into a frame, from `offset` on; they end within it.
    fn write(&mut self, frame: u32, offset: usize, bytes: &[u8]);
}

/// The way to the snapshot server ([`abi::protocol::paging`]). What it says comes in through
/// [`crate::Pager::store_message`].
pub trait StoreLink {
    /// Messages that could be sent now.
    fn room(&mut self) -> usize;
    /// Sends; only when there is room.
    fn send(&mut self, message: ToStore);
    /// Fills a batch page of ours.
    fn put_batch(&mut self, slot: u32, bytes: &[u8]);
    /// Reads a batch page of theirs.
    fn get_batch(&mut self, slot: u32, to: &mut [u8]);
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A thread touched what is not mapped, and stopped.
    NoRegion {
        /// Its process.
        process: ProcessName,
        /// Where.
        address: u64,
        /// How.
        access: Access,
    },
    /// A thread touched what does not allow it, and stopped.
    Forbidden {
        /// Its process.
        process: ProcessName,
        /// Where.
        address: u64,
        /// How.
        access: Access,
    },
    /// A thread touched an object that was destroyed, and stopped.
    Gone {
        /// Its process.
        process: ProcessName,
        /// Where.
        address: u64,
    },
    /// The store cannot give a page back; threads that need it wait.
    Damaged {
        /// The page.
        page: PageName,
    },
    /// Programs write more than the disk has room for: they wait.
    StoreFull,
    /// The kernel would not map a page.
    MapRefused {
        /// The process.
        process: ProcessName,
        /// Where.
        address: u64,
        /// Why.
        status: Status,
    },
}

/// The one volatile process that sees what programs of the world lend ([`abi::protocol::lent`]). While there is none,
/// both do nothing.
pub trait BorrowerLink {
    /// Shows a frame in a place of its window, read-only; `None`: a page of zeros. When it returns no CPU sees there what
    /// was shown before.
    fn show(&mut self, place: usize, frame: Option<u32>);
    /// Tells it whose page lies in a place, and wakes it; `None`: nobody's.
    fn tell(&mut self, place: usize, name: Option<LentName>);
}

/// Where notes go.
pub trait Notes {
    /// Says it; may lose it, never waits.
    fn note(&mut self, note: Note);
}

/// All of it.
pub trait Environment: Kernel + Frames + StoreLink + BorrowerLink + Notes {}

impl<T: Kernel + Frames + StoreLink + BorrowerLink + Notes> Environment for T {}
