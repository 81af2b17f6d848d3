//! Simulation of the store: its real code over a disk with a volatile cache that loses, keeps, reorders and tears
//! unflushed writes, rots, misdirects and refuses, all from one seed.
//!
//! What is checked is what is promised: after any cut the store opens at an epoch that was sealed, never older than the
//! last acknowledged, with exactly the pages and records of that epoch; opened twice it is the same; what is damaged is
//! reported, never returned as good.
//!
//! Key types: [`Script`] (a run written out: drawn from a seed, kept, shrunk, run again), [`SimDisk`] and its
//! [`Fault`]s, [`Arena`] (a store's memory), [`Model`] (what an epoch should hold), [`Life`] (a store between two cuts),
//! [`Shrinker`] (makes a failing script small), [`Tally`] (what has happened, counted).
#![forbid(unsafe_code)]

mod arena;
mod changes;
mod disk;
mod draw;
mod every;
mod faulty;
pub mod golden;
mod kept;
mod life;
mod model;
mod progress;
#[cfg(test)]
mod protocol;
mod provenance;
mod random;
mod room;
mod run;
mod script;
mod shrink;
mod soak;
mod tally;
mod twins;
mod worn;

pub use arena::{Arena, Sizes};
pub use disk::{Broken, CutMode, Fault, SimDisk};
pub use every::{Openings, every_index};
pub use life::{Ended, History, Life, LifeError, Lived};
pub use model::{Model, fill};
pub use progress::{COUNTS_VARIABLE, Progress, hours, note};
pub use provenance::commit;
pub use random::Random;
pub use run::{Failed, replay, run_script, run_seed};
pub use script::{Change, Kind, LifePlan, Plan, Script, Turn};
pub use shrink::{Failure, Shrinker, error_name, passed, try_here};
pub use soak::{Soaked, soak};
pub use tally::Tally;
