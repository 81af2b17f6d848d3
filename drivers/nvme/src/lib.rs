//! # nvme: a disk behind an NVMe controller
//!
//! A library that drives one NVMe 1.4 controller with one pair of I/O queues, and answers the block protocol of
//! `abi` with it. The program around it (`main.rs`) only waits for interrupts and signals and calls in here.
//!
//! **What it does.** Brings a controller from any state to ready; reads, writes, flushes, zeroes and deallocates
//! blocks of 4 KiB over sectors of 512 or 4096 bytes; cuts requests up for devices that take less at once; turns each
//! status code of the specification into an error that says who is to blame; resets a controller that is late, fatal or
//! talks nonsense, and brings it up again.
//!
//! **What it refuses.** To wait: everything is a state and [`Controller::poll`], with the time passed in. To
//! allocate. To retry: whoever asked decides. To say that a request is over while the device might still touch its
//! frames: its completion comes when the controller has answered or has stopped, or when the platform driver has
//! silenced the device ([`Controller::silenced`]). To call a flush successful when a reset came between the writes
//! and it. Shadow doorbells, metadata, SGLs, several namespaces, fused commands.
//!
//! | type | is |
//! | --- | --- |
//! | [`Controller`] | the driver proper, over a [`Registers`](mmio::Registers) window and DMA memory |
//! | [`Settings`], [`State`], [`Death`] | what it is told, how it stands, why it gave up |
//! | [`Service`] | the block protocol's driver end, served from a controller |
//! | [`msix`] | programming the device's interrupt table |
//!
//! **Across a restore** nothing here survives: the driver is volatile, and starts with a reset.
//!
//! **Neighbours.** `platform` finds the device, gives the register window and silences it; the snapshot server is
//! the other end of the rings, which this crate knows only as `abi::protocol::block`. Numbers such as "§3.1.5" are
//! sections of the NVM Express Base Specification, revision 1.4.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod command;
mod controller;
mod identify;
mod memory;
pub mod msix;
mod queue;
mod registers;
mod service;
mod slots;
mod status;

pub use controller::{Controller, Death, Missing, Settings, SetupError, State, Step, SubmitError};
pub use memory::FRAMES as DMA_FRAMES;
pub use service::{Service, Turn};
pub use status::Status;

#[cfg(test)]
mod tests;
