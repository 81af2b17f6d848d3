//! Looks into a store from outside: the image of a disk, or the disk itself.
//!
//! It only reads unless told otherwise, refuses an image that somebody else has open, and survives any image: what it
//! prints comes through the same checks as what a machine would boot.
//!
//! Key types: [`FileHost`] (a file as a store's disk), [`HostMemory`] (a store's memory from the heap).
#![forbid(unsafe_code)]

mod file;
mod memory;

pub use file::{Access, FileHost};
pub use memory::{HostMemory, Sizes};
