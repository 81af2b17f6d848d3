//! # The pager: who owns physical memory
//!
//! **What it does.** Serves the memory port ([`abi::protocol::memory`]): memory objects, copy-on-write copies of them,
//! and regions that put them into address spaces. Serves faults: maps what is resident, makes zeros, pages in through
//! the snapshot server, evicts what is clean. Shows pages that programs lend to the one volatile process that borrows
//! ([`abi::protocol::lent`]). Issues the cut, between two requests, and then hands the ended epoch to
//! the snapshot server ([`abi::protocol::paging`]): its own changed records, what was dropped, and every page that was
//! written, each claimed from its writers or as the copy that the first write left behind. Brings all of it back.
//!
//! **What it refuses.** To wait for anybody: a fault that cannot be served yet is put aside, in a bounded table. To
//! allocate after start. To know where a page lies on disk. To believe a record before it was checked. To give a
//! program a page that the store could not verify.
//!
//! **Key types.** [`Pager`], all state, over tables of a fixed size ([`Config`]); its events are [`Pager::request`],
//! [`Pager::fault`], [`Pager::store_message`] and [`Pager::work`]. What it needs of the outside is an [`Environment`]:
//! [`Kernel`], [`Frames`], [`StoreLink`], [`BorrowerLink`], [`Notes`].
//!
//! **State.** Recorded (law 2): [`ObjectRecord`], [`RegionRecord`], [`SpaceRecord`], [`PagerRecord`], in epoch-versioned
//! tables. Derived, and empty after a restore: frames, contents, who uses a space, where a lent page is shown, what waits.
//!
//! **Bounds.** A walk that unmaps one page everywhere visits at most [`OBJECT_REGIONS_MAX`] regions for each object
//! below the page's content; eviction passes over pages that would need more. A request that destroys or copies an
//! object is linear in its resident pages and in the size of its regions (one call for 512 pages).
//!
//! **Neighbours.** `abi`, `records`. `main.rs` wires it to `libos`; `tests/` runs it over a kernel and a store made of
//! maps; the simulation runs it with the real ones.
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]
#![allow(clippy::needless_borrow, reason = "a slab is a reference on the machine and owns its memory on the host")]

mod config;
mod content;
mod cut;
mod environment;
mod eviction;
mod fault;
mod fold;
mod frame;
mod gather;
mod genesis;
mod invariant;
mod lend;
mod object;
mod page;
mod pager;
mod region;
mod request;
mod reserve;
mod restore;
mod shelter;
mod space;
mod tree;
mod writes;

pub use config::{Config, ConfigError, HELD_MAX};
pub use environment::{
    Answer, BorrowerLink, CutPoint, Environment, FirstWrite, Frames, Kernel, Mapping, Note, Notes, ProcessName,
    ReplyTo, StoreLink,
};
pub use fault::FaultMessage;
pub use genesis::GenesisError;
pub use pager::{Broken, Figures, Pager};
pub use pager_records::DEPTH_MAX;
pub use pager_records::{OBJECT_PAGES_MAX, ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord, SpaceRecord};
pub use region::OBJECT_REGIONS_MAX;
pub use request::RequestMessage;
