//! The whole system on the host, from one seed.
//!
//! What is real: the kernel core, the pager's library, the conductor and the store, the console's server, and every
//! protocol between them, each library called by the thread of a process of the simulated kernel that makes real
//! system calls. What is simulated: the hardware (memory, page tables and what each CPU remembers of them, timers,
//! interrupts, a disk with a volatile cache that loses, reorders and tears), the thin mains of the servers, and the
//! programs of the world, which run on a small instruction set and keep all their state in simulated registers and
//! memory, so that a restore really has to bring it back.
//!
//! What is checked: every word that a program of the world reads is the one last written, across power cuts, eviction
//! and copies; a restore brings back each thread as it was at the cut of its epoch, but for what law 4 says; no epoch
//! that was announced is lost; nothing is seen outside that the world does not remember, and nothing is lost on the
//! way out; a frame that lies with the store does not change; the invariants of kernel and pager hold.
//!
//! Key types: [`run_seed`], one story; [`Figures`], what happened in it; [`Limits`], less of a story that fails.
//! Neighbours: tests/storesim (the disk), tests/spec (the kernel alone, exhaustively).
#![forbid(unsafe_code)]

mod actor;
mod board;
mod cast;
mod chronicle;
mod console;
mod driver;
mod init;
mod life;
mod limits;
mod machine;
mod model;
mod pager;
mod shared;
mod snapshot;
mod story;
mod text;

pub use chronicle::Figures;
pub use limits::{Limits, shrink};
pub use story::{POWER_CUTS, replay, run_limited, run_seed};
