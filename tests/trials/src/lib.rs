//! # trials: programs of the world that try out what only the machine can show
//!
//! **What it does.** `vectors` (src/vectors) keeps all vector registers full of patterns across calls, signals, waits,
//! preemption, page faults, first writes and power cuts, and looks at them after each. `hostile` (src/hostile) throws calls
//! with any registers at the kernel, from several threads, and ends in every way that a thread can. What can be judged on
//! the host is in this library: [`Pattern`], [`throw()`].
//!
//! **What it refuses.** To be part of the system: each has a manifest here, whose services `cargo xtask test` adds to those
//! of init/system.toml in a bundle of its own.
//!
//! **Neighbours.** `libos`, in the programs alone; tests/qemu, which boots them and judges what they print.
//! **Across a restore** they go on, and say how many of their steps were cut in two by one.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod pattern;
mod random;
mod throw;

pub use pattern::{PARTS, Part, Pattern};
pub use random::Random;
pub use throw::{Throw, throw};
