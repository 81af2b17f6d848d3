//! Looks into a store from outside: the image of a disk, or the disk itself.
//!
//! It only reads unless told otherwise, refuses an image that somebody else has open, and survives any image: what it
//! prints comes through the same checks as what a machine would boot.
//!
//! Key types: [`FileHost`] (a file as a store's disk), [`HostMemory`] (a store's memory from the heap), [`Session`]
//! (a store opened at an epoch, with calls that wait), [`Survey`] (roots, checkpoints and log as they lie on the disk),
//! [`Fsck`] (every block verified), [`Graph`] (who holds what), [`judge`] (whether
//! records are such as a kernel writes), [`portable`] (a world in a file of its own).
#![forbid(unsafe_code)]

mod file;
mod fsck;
mod graph;
mod judge;
mod lock;
mod memory;
mod names;
mod picture;
pub mod portable;
mod refusal;
mod session;
mod survey;

pub use file::{Access, FileHost};
pub use fsck::{Fsck, Problem, Verified};
pub use graph::{Graph, Held, ProcessView, rights_text};
pub use judge::{Unsound, judge};
pub use memory::{HostMemory, Sizes};
pub use names::names;
pub use refusal::root as root_text;
pub use session::{Contents, Session, WorldError};
pub use survey::{LogEpoch, LogSize, RootCopy, RootFlaw, Survey};
