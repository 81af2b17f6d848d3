//! # clock: what time it is outside
//!
//! The smallest driver of the tree, and therefore the one to copy: a device behind a trait, a decision that takes no
//! kernel, a program that wires the two.
//!
//! **What it does.** Reads the battery-backed clock of a PC (Motorola MC146818A and its descendants) and answers the
//! clock port (`abi::protocol::clock`). The clock is taken to run in UTC.
//!
//! **What it refuses.** To set the clock, to guess: a clock that does not hold still for a reading, or says the
//! thirtieth of February, has no time. To remember anything: each answer is a new reading, to the second.
//!
//! | type | is |
//! | --- | --- |
//! | [`Rtc`] | the device, over two [`Ports`](mmio::Ports) |
//! | [`Date`] | what it says, checked |
//! | [`answer`] | the port's answer to one request |
//!
//! **Across a restore** nothing here survives, and nothing needs to.
//!
//! **Neighbours.** Init gives it the ports 0x70 and 0x71; programs of the world call the port.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod date;
mod port;
mod rtc;

pub use date::Date;
pub use port::answer;
pub use rtc::{Rtc, RtcError};
