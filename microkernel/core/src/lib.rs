//! The kernel as a state machine: capabilities, messages, scheduling, page tables and the epoch cut.
//!
//! [`Kernel`] is plain state over [`records`] tables and what is derived from them. Every entry (`syscall`,
//! `page_fault`, `exception`, `interrupt`, `timer`, `reschedule`) runs to completion in a bounded number of steps on
//! behalf of one CPU, with the kernel lock held; none blocks. What it needs of the hardware it asks of a [`Machine`],
//! which `hal` implements on x86_64 and the tests implement on a map. It has no unsafe code, allocates nothing after
//! [`Kernel::new`], reads no user memory, and never panics on anything a process does.
//!
//! Recorded state (law 2) lives in the tables of `object/` and in [`World`]; the rest (queues, child links, free sets,
//! page tables, deadlines) is derived and rebuilt by `resume`.
//!
//! Neighbours: `abi` (the contract), `records` (tables), `microkernel/hal` (entry, exit, and the machine).
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]
#![allow(clippy::needless_borrow, reason = "a slab is a reference on the machine and owns its memory on the host")]

mod boot;
#[cfg(any(test, feature = "host"))]
mod canonical;
mod capability;
mod decode;
mod destroy;
mod device;
#[cfg(any(test, feature = "host"))]
mod edge;
mod epoch;
mod fast;
mod fault;
mod first_write;
pub mod graph;
#[cfg(any(test, feature = "host"))]
mod host;
#[cfg(any(test, feature = "host"))]
mod invariant;
mod ipc;
mod kernel;
mod machine;
mod object;
mod queue;
mod restore;
mod schedule;
mod space;
mod transfer;
#[cfg(any(test, feature = "host"))]
mod view;

#[cfg(test)]
mod tests;

pub use boot::{BootProcess, Capacities};
#[cfg(any(test, feature = "host"))]
pub use canonical::{Canonical, Listener, Part};
pub use fast::{Bring, Short, Switch};
pub use fault::OrphanFault;
#[cfg(any(test, feature = "host"))]
pub use host::HostMachine;
#[cfg(any(test, feature = "host"))]
pub use invariant::Violation;
pub use kernel::{Cpu, Cpus, Kernel, World};
pub use machine::{Machine, TableId};
pub use object::{
    Budget, Capability, Counts, Endpoint, HANDLES_MIN, Notification, Process, RecordError, State, Task, Thread,
    VectorState,
};
#[cfg(any(test, feature = "host"))]
pub use view::{Held, Mapped};
