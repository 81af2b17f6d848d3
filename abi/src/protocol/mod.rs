//! What clients and servers say to each other, a file for each protocol.

pub mod block;
pub mod clock;
pub mod console;
pub mod counter;
pub mod devices;
pub mod genesis;
pub mod lent;
pub mod memory;
pub mod paging;
pub mod ring;
pub mod service;
pub mod snapshot;
pub mod startup;
pub mod wiring;
