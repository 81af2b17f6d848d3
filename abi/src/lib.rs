//! The contract between Perennial's kernel and its programs, stated once.
//!
//! Numbers, rights, register packing, errors, boot information, record batches, the boot bundle and the protocols of
//! ports live here and nowhere else. Nothing here acts: types, their checked conversions, and index arithmetic.
//! Everything may depend on this crate; it depends on nothing of the project.
//!
//! Key types: [`Call`] (system calls), [`Registers`], [`Control`] and [`Outcome`] (how they travel), [`Status`] (how
//! they end), [`Rights`] and [`Kind`] (what capabilities allow), [`Epoch`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod boot_info;
pub mod bundle;
mod call;
mod epoch;
pub mod fault;
mod handle;
mod kind;
mod memory;
pub mod protocol;
pub mod record;
pub mod registers;
mod rights;
mod status;
mod timeout;

pub use call::{CALLS, Call, MOVED_CHILDREN_MAX, WORLD_PRIORITY_MAX};
pub use epoch::{COUNTER_BITS, Epoch, INCARNATION_MAX};
pub use handle::Handle;
pub use kind::Kind;
pub use memory::{FRAMES_BATCH_MAX, FrameState, MAP_PAGES_MAX, MapFlags, PAGE_SIZE, USER_END, USER_START};
pub use registers::{
    BADGE_MAX, CAPS_MAX, Control, Event, FLAG_CAPS_MASK, FLAG_MOVE, FLAG_REPEATABLE, Outcome, Registers, WORDS,
};
pub use rights::Rights;
pub use status::{Blame, Status};
pub use timeout::Timeout;
