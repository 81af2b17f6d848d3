//! The kernel core held against its specification: an abstract kernel made of plain sets, maps and queues
//! ([`model`]), an abstraction of the real one into it ([`abstraction`]), and an explorer that takes a small universe
//! through every interleaving of every call ([`Explorer`]), each step compared, each state checked against every
//! invariant of the core and every [`property`].
//!
//! Universes have names ([`universe::named`]) and are run to closure: `cargo xtask explore --universe NAME`. Each comes in
//! several sizes ([`universe::Family`]): the first is what the tests explore, each after it has one thing more of what it is
//! about, as far as memory allows: `--size N --memory MIB`; what is held is counted whole, waiting states, digests and
//! ways. What states are told apart by is enough ([`congruent`]), so counts repeat, whoever looks first. Random sequences over
//! larger universes are in `tests/`, with proptest.
//!
//! It refuses nothing and repairs nothing: the first disagreement ends a run with the events that lead to it.
//! Neighbours: `kernel-core` with the feature `host` (what is explored), `abi` (the calls).
#![forbid(unsafe_code)]

/// Every step clones a kernel: of an exploration's time a fifth was the system's allocator's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod abstraction;
mod congruence;
mod digest;
mod event;
mod explorer;
pub mod genesis;
pub mod model;
mod parts;
pub mod property;
mod refinement;
mod shared;
mod sim;
mod sometimes;
mod trace;
pub mod universe;

pub use abstraction::abstraction;
pub use congruence::{Compared, congruent};
pub use digest::digest;
pub use event::{EPOCH_BEFORE, EPOCH_NOW, Event, Frame, LOG_END, Op};
pub use explorer::{Explorer, Failure, Progress, Report};
pub use genesis::{Genesis, Made};
pub use parts::Parts;
pub use refinement::{agree, fast_agrees, refines};
pub use shared::Shared;
pub use sim::{AGAIN_RIP, Records, Sim};
pub use sometimes::Sometimes;
pub use universe::{Stepped, Universe};
