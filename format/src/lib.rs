//! What the store keeps on disk: layouts, their checks, and nothing that acts.
//!
//! Every structure is a pair: a raw form (`repr(C)`, little-endian, no padding, size and offsets asserted) and a
//! checked form that only a successful parse returns. A parse is given the address and the world that the block should
//! belong to and verifies its checksum, which is keyed by both, before it looks at any field; what it accepts holds the
//! invariants that its type names, whatever bytes were on the disk. It refuses everything else by a value of its own
//! error type, never by a panic.
//!
//! Key types: [`Header`] (which store this is, and its geometry), [`Root`] (the newest checkpoint and where the log
//! behind it starts), [`Descriptor`] (one log block: items inline, pages by address and checksum), [`Node`] (one block
//! of the page map), [`SpaceIndex`] (where the table of used blocks lies), [`Item`] (one entry of log and map alike).
//!
//! Neighbours: the snapshot server's library writes and reads these; `tools/world` and the simulator read them.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod block;
mod checksum;
mod descriptor;
mod geometry;
mod header;
mod item;
mod node;
mod root;
mod space;

pub use block::{BLOCK_SIZE, Block, BlockBytes, Place, Pointer, RawPointer};
pub use checksum::{Checksum, RawChecksum, Seal, World, page_checksum};
pub use descriptor::{
    DESCRIPTOR_ITEM_BYTES, Descriptor, DescriptorError, DescriptorFlags, DescriptorHead, DescriptorWriter,
    RawDescriptor,
};
pub use geometry::{DISK_BLOCKS_MAX, Geometry, GeometryError, ROOT_SLOTS_MAX, ROOT_SLOTS_MIN};
pub use header::{Header, HeaderError, RawHeader, VERSION};
pub use item::{
    EXTENT_MAX, EXTENT_STORED, Item, ItemError, ItemIter, Key, PAGE_STORED, RECORD_BYTES_MAX, RECORD_STORED_MAX,
    RECORD_STORED_MIN, RawItem, TABLE_BIT, record_stored,
};
pub use node::{NODE_BODY_BYTES, NODE_LEVEL_MAX, Node, NodeError, NodeWriter, RawChild, RawNode};
pub use root::{CHECKPOINTS_MAX, Checkpoint, LogStart, RawCheckpoint, RawLogStart, RawRoot, Root, RootError};
pub use space::{RawKept, RawSpaceIndex, SPACE_POINTERS_MAX, SpaceIndex, SpaceIndexError};
