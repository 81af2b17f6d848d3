//! A disk that loses power at a chosen command.
//!
//! Ending QEMU is not a power cut: the host keeps all that QEMU wrote, flushed or not. So the disk itself stands here, as
//! a network block device below the machine's NVMe controller, with a cache that a cut empties. Writes wait in it until
//! a flush; at the chosen command the disk freezes (that command and all later ones are never answered), and what was
//! waiting survives as a disk leaves it: some of it, in any order, the last of it torn between sectors. The same seed
//! gives the same survivors.
//!
//! It refuses to lose what was flushed: everything that a completed flush covers is there afterwards, and nothing is
//! there that was not written. A failure in a test is replayed from seed and command number ([`Cut`] prints both).
//!
//! Key types: [`PowerCutDisk`] (serve, choose the cut, wait for it, survive), [`VolatileDisk`] (the model alone),
//! [`Cut`], [`Command`]. Neighbours: `qemu-machine` starts the machine (`Disk::Socket`), the crash tests judge what came
//! back.
#![forbid(unsafe_code)]

mod disk;
mod power;
mod protocol;
mod random;
mod server;
#[cfg(test)]
mod tests;

pub use disk::{Command, SECTOR_BYTES, VolatileDisk};
pub use power::{Cut, NoCut, PowerCutDisk};
pub use random::Random;
