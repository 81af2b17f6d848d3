//! The conductor: decides when the world is cut, leads each epoch from the pager and the kernel into the store, and the
//! world back out of it at a boot.
//!
//! A state machine over the [`Store`](crate::Store) and an [`Environment`], which is the kernel's calls, the link to
//! the pager, and everybody who wants to know. It never waits: [`Conductor::poll`] does what can be done and says
//! whether anything was.
//!
//! ```text
//! Opening ─▶ Incarnating ─▶ Beginning (new world) ──────────────▶ Running ─▶ … Failed
//!                      └──▶ Recalling ─▶ Ending ─▶ (resume) ──▶ ┘
//! ```
//!
//! Invariants:
//! 1. An epoch is sealed only when the pager has said `Gathered`, what it counted there has arrived, and the kernel has
//!    exported everything; so what commits is whole.
//!    And sound: every record that has changed was judged with all it refers to (`check`).
//! 2. A frame is released when its contents are on the disk, once for each `Dirty`.
//! 3. `committed` only ever names epochs that are durable, or equal to one that is (a quiet epoch).
//! 4. The pager never believes in more room than there is, but for what commits and folds take meanwhile and give back.
//! 5. Whoever asked for `sync` in epoch e is answered when e is committed, not before.

mod arrival;
mod block_disk;
mod check;
mod credit;
mod environment;
mod gathering;
mod genesis;
mod page_ins;
mod policy;
mod probe;
mod running;
mod score;
mod waiters;

#[cfg(test)]
mod tests;

pub use block_disk::BlockDisk;
pub use environment::{Batch, Environment, Flaw, Note, Refused};
pub use policy::Policy;
pub use probe::{Probe, Probed};
pub use score::Conductor;
