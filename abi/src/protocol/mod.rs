//! What clients and servers say to each other, a file for each protocol.

pub mod memory;
pub mod service;
