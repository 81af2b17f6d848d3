//! The store: epochs on disk that no power cut, torn write or rotten block can fool.
//!
//! A copy-on-write log over one disk. An epoch's pages go out in large writes into free blocks, behind descriptors that
//! name them by checksum; the last descriptor of an epoch commits it. Every so many epochs the log is folded into the
//! page map, a tree whose parents hold their children's checksums, and a root makes that durable: a checkpoint.
//! Opening the store reads the newest root and the log behind it, nothing else.
//!
//! It is a state machine that never waits and never allocates: the caller gives it all its memory ([`Memory`]) and a
//! [`Host`], which is a [`Disk`] and a way to reach pages ([`PageMemory`]), calls [`Store::poll`], and acts on each [`Event`]. The same
//! library runs in the snapshot server over the NVMe driver's rings and in the simulator over a disk that cheats.
//!
//! ```text
//! open ─▶ Opened ─▶ new_incarnation ─▶ IncarnationDurable ─▶ begin ─▶ put … ─▶ seal ─▶ Committed ─▶ begin …
//! ```
//!
//! It refuses: to write before the incarnation is durable; to overwrite anything that an epoch which can still be
//! booted needs; to return a page whose checksum does not match; to begin what space does not suffice for.
//!
//! Key types: [`Store`], [`Config`], [`Memory`], [`Event`], [`PutError`], [`ReadError`], [`Refusal`].
//! Neighbours: `format` has the layouts; the pager's pages and the kernel's records are opaque here.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod cache;
#[cfg(test)]
mod calm;
mod commit;
pub mod conductor;
mod disk;
mod fold;
mod formatting;
mod gather;
mod late;
mod layer;
mod load;
mod map;
mod memory;
mod merge;
mod queue;
mod reached;
mod read;
mod recover_log;
mod recover_root;
mod recover_verify;
mod recovery;
mod room;
mod space;
mod store;
mod whole;

pub use commit::{IncarnationError, RetireError};
pub use disk::{COMMAND_PAGES_MAX, Command, Completion, Disk, DiskError, Full, Host, Op};
pub use gather::{PutError, SealError};
pub use layer::{Cell, Entry};
pub use memory::{
    CACHE_FRAMES_MIN, Frame, Memory, PENDING_MIN, PageMemory, PageRef, TableBlock, WRITE_BUFFERS_MAX, WRITE_BUFFERS_MIN,
};
pub use queue::Pending;
pub use read::{Answer, ItemStep, PageSource, ReadError, ReadOp, RecordStep};
pub use recovery::{Case, Damage, Dropped, LogEnd, OpenReport, Refusal};
pub use room::Room;
pub use space::Deferred;
pub use store::{Config, Event, Failure, FormatOptions, Status, Store};
pub use whole::{Conflict, Whole};
