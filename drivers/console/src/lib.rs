//! # console: a serial line, and the console port of the world
//!
//! **What it does.** Drives a 16550 UART, and answers the port through which the world's programs speak to a person
//! (`abi::protocol::console`). Here DESIGN's law 5 becomes code: what a program writes is shown only when the epoch in
//! which the server read it has committed, and the program hears of it only when it has been shown; what a person types
//! is forgotten only when the epoch that took it has committed.
//!
//! **What it refuses.** To show anything early, whatever a program says or does to its ring. To keep the only copy of
//! output: that stays in the world, in rings that this server sees read-only ([`abi::protocol::lent`]). To believe what
//! lies there. To wait in a call: the world's calls are put aside and answered later. To allocate. Line editing, echo and
//! colours: those are the shell's, in the world, and come back with it.
//!
//! | type | is |
//! | --- | --- |
//! | [`Uart`] | the device, over a range of [`Ports`](mmio::Ports) |
//! | [`Console`] | the port's server, over a [`World`] that it answers to and a [`Line`] that it speaks on |
//!
//! **What is lost when.**
//!
//! | dies | output | input |
//! | --- | --- | --- |
//! | a writer | shown or not | – |
//! | the world, restored in place | repeated from what was not certainly shown | nothing: handed out again |
//! | this server | as above | typed and not taken, or taken in an epoch that did not commit |
//! | the machine | as above | as above |
//!
//! **Neighbours.** The snapshot server rings when an epoch has committed, and is rung when output waits. Volatile servers
//! do not print here but on the kernel's debug line, which is usually the same wire.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod input;
mod output;
mod server;
mod uart;

pub use server::{Console, Line, Turn, World};
pub use uart::{Uart, UartError};

#[cfg(test)]
mod tests;
