//! The pager's records: objects, regions, spaces and counters, as they lie in the store, and what makes them a graph
//! that a pager could have written.
//!
//! Used by the pager, which keeps them and judges all at once when a world comes back, and by whoever keeps epochs,
//! which judges what has changed before it commits. It refuses nothing by itself: it only says what is sound.
//!
//! Key types: [`ObjectRecord`], [`RegionRecord`], [`SpaceRecord`], [`PagerRecord`]; [`Graph`], [`is_sound`].
//! Neighbours: `abi` says which table is which; `kernel-core` does the same for the kernel's records.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod graph;
mod record;

pub use graph::{DEPTH_MAX, Graph, Misfit, is_sound, object_is_sound, read};
pub use record::{
    FREE, GENERATION_MAX, HIDDEN, NONE, OBJECT, OBJECT_PAGES_MAX, ObjectRecord, PAGER_VERSION, PagerRecord,
    RegionRecord, SpaceRecord, are_region_flags, id_of, is_user_range, parts_of,
};
