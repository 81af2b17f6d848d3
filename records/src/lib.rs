//! Epoch-versioned tables of plain records, used by the kernel and the pager.
//!
//! A [`Table`] keeps, for every record, its live value and at most one older one. [`Table::cut`] ends an epoch in
//! constant time; the first [`Table::change`] of a record after it leaves the old value behind, and [`Table::peek`] and
//! [`Table::pop`] hand out, in bounded batches, exactly what changed in the epoch that was ended. There is one shadow
//! slot a record, so copying never runs out; a second cut before everything was drained is refused.
//!
//! Indices below the table's `world` bound are recorded; those above belong to volatile objects, are never copied and
//! never drained. [`IndexSet`] finds free indices, lowest first, so that the choice is a function of what is in use
//! and not of history.
//!
//! Nothing here allocates after start: memory comes as [`Slab`]s from an [`Arena`]. With the feature `host` a slab is
//! a `Vec`, and tables can be cloned, compared and hashed.
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]

mod index_set;
mod slab;
mod table;

pub use index_set::{IndexSet, set_bits};
#[cfg(any(test, feature = "host"))]
pub use slab::HostArena;
pub use slab::{Arena, Slab};
pub use table::Table;
