//! Simulation of the store: its real code over a disk with a volatile cache that loses, keeps, reorders and tears
//! unflushed writes, rots, misdirects and refuses, all from one seed.
//!
//! What is checked is what is promised: after any cut the store opens at an epoch that was sealed, never older than the
//! last acknowledged, with exactly the pages and records of that epoch; opened twice it is the same; what is damaged is
//! reported, never returned as good.
//!
//! Key types: [`SimDisk`] and its [`Fault`]s, [`Arena`] (a store's memory), [`Model`] (what an epoch should hold),
//! [`Life`] (one seeded run of a store between two cuts), [`Tally`] (what has happened, counted).
#![forbid(unsafe_code)]

mod arena;
mod changes;
mod disk;
mod every;
mod faulty;
pub mod golden;
mod life;
mod model;
#[cfg(test)]
mod protocol;
mod random;
mod run;
mod soak;
mod tally;
mod twins;

pub use arena::{Arena, Sizes};
pub use disk::{CutMode, Fault, SimDisk};
pub use every::every_index;
pub use faulty::run_faulty;
pub use life::{Ended, History, Life, LifeError, Lived};
pub use model::{Model, fill};
pub use random::Random;
pub use run::{Failed, Plan, run_seed};
pub use soak::{Soaked, soak};
pub use tally::Tally;
pub use twins::run_rotten_map;
