//! # mmio: how a driver touches its device
//!
//! One of the three places in the tree where `unsafe` is allowed. It turns two things that the kernel
//! mapped into a driver's address space, a device's registers and memory that the device may read and
//! write, into values that safe code can use and that a test can replace.
//!
//! **What it does.** Three views of a (virtual base, length) window:
//!
//! | type | over | a driver sees |
//! | --- | --- | --- |
//! | [`RegisterWindow`] | device registers | [`Registers`]: volatile, ordered, bounds-checked |
//! | [`DmaWindow`] | ordinary frames that the device reaches | [`DmaMemory`]: the same, and device addresses |
//! | [`SharedWords`] | memory shared with another process | a slice of atomics, for rings |
//!
//! [`Ports`] is the same idea for x86 port space; [`SteadyClock`] is what deadlines of devices are counted by.
//!
//! **What it refuses.** References into memory that a device or another process may change: there is no
//! `&T` or `&mut T` to it, only copies in and out (or atomics). Accesses outside the window or misaligned
//! ones: they stop the driver (a broken invariant of our own), so an offset that a *device* supplied is
//! first asked about with [`Registers::contains`]. Interpreting anything: it knows no device.
//!
//! **Ordering.** A register write comes after every earlier access to [`DmaMemory`]; a register or DMA read
//! comes before every later one. So "fill the queue, ring the doorbell" and "see the phase bit, read the
//! entry" need no further barriers.
//!
//! **Neighbours.** `nvme`, `console`, `platform` are written against the traits and never see a pointer; their
//! programs make the windows from mappings; their tests bring fakes.
#![cfg_attr(not(test), no_std)]
#![allow(unsafe_code)] // rule `three-unsafe-homes`

mod clock;
mod dma;
mod ports;
mod registers;
mod shared;
mod window;

pub use clock::SteadyClock;
pub use dma::{DmaError, DmaMemory, DmaWindow, FRAME_BYTES};
pub use ports::Ports;
pub use registers::{Registers, SubWindow};
pub use shared::SharedWords;
pub use window::{RegisterWindow, WindowError};
