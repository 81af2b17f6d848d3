//! # counter: an object of the world that counts
//!
//! **What it does.** Answers [`abi::protocol::counter`]: adds to its one number, or says it. The number lies in the memory
//! of its process and nowhere else; that it is there after a power cut is the system's work, not the counter's.
//!
//! **What it refuses.** Requests it does not know. To overflow: it wraps.
//!
//! **Key types.** [`Counter`]. **Neighbours.** `tally` and `prompt` call it; `main.rs` wires it to `libos`.
//!
//! **Across a restore** it goes on as if nothing had been; its clients too.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod counter;

pub use counter::{Answer, Counter};
