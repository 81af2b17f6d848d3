//! The running init: one thread that waits for faults of its servers and for its own notification.

mod bench;
mod boot;
mod chain;
mod device;
mod event;
mod genesis;
mod lent;
mod memory;
mod replay;
mod server;
mod spawn;
mod world;

pub(crate) use bench::run as bench;
pub(crate) use boot::System;
pub(crate) use replay::run as replay;
