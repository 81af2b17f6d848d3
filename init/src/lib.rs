//! # init: the first process
//!
//! **What it does.** Reads the manifest in the boot bundle, gives each volatile server its memory and just the
//! capabilities that it names, starts it, hears of its death and starts it again; makes the genesis of a world when the
//! store is empty; hands ports to their servers whenever there is a world.
//!
//! **What it refuses.** To run a manifest that does not add up (a link with one end, a grant nobody knows): it says which
//! service and which word. To restart for ever what dies at once. To touch the world after the genesis: from then on
//! processes of the world are made by processes of the world.
//!
//! **Key types.** [`Grant`] (one word of the manifest), [`Plan`] (the checked manifest), [`Image`] (what is mapped where in a
//! new process), [`Windows`] (where its windows lie), [`Watch`] (who lives, who is restarted when), [`Search`] (a driver's device, found and silenced), [`genesis`] (the memory of
//! the world's first processes), [`Obituary`] (who died, why, where).
//!
//! **Neighbours.** `abi` only. `main.rs` and `program/` wire this library to `libos`; the tests here bring fakes. The other
//! end of the genesis is the pager, of the links each server's `main.rs`; names and bits: `abi::protocol::wiring`.
//!
//! **Across a restore** nothing here survives: init begins anew at each boot.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod accident;
mod devices;
mod fingerprint;
pub mod genesis;
mod grant;
mod image;
mod list;
mod obituary;
mod plan;
mod pool;
pub mod replay;
#[cfg(test)]
mod test_bundle;
mod watch;
mod windows;

pub use accident::{ACCIDENTS_MAX, Accident, BadAccident, accidents};
pub use devices::{Bar, Found, Next, Search};
pub use fingerprint::fingerprint;
pub use grant::{BellTo, Device, Grant, GrantError, Link, port_name};
pub use image::{Filled, Image, ImageError, NEWS_PAGE, Piece, STARTUP_PAGE, Source};
pub use list::{Full, List};
pub use obituary::{Cause, Obituary};
pub use plan::{Plan, PlanError, Planned, SERVERS_MAX, WORLD_MAX};
pub use pool::{Pool, PoolEmpty};
pub use watch::{CALM_NS, DEATHS_MAX, Decision, Life, Watch};
pub use windows::{Windows, WindowsFull};
