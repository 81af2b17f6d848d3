//! One volatile server, as init keeps it.

use init::{List, Planned, Watch};
use libos::abi::MapFlags;
use libos::abi::boot_info::FrameRange;
use libos::abi::protocol::wiring::News;
use libos::{Memory, Notification, Process};

/// Memory that is mapped into a server when it touches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lazy {
    /// Where.
    pub(crate) address: u64,
    /// Which.
    pub(crate) memory: Memory,
    /// How many pages.
    pub(crate) range: FrameRange,
    /// WRITE or not.
    pub(crate) flags: MapFlags,
}

/// Windows of a server that are mapped on touch, at most.
const LAZY_MAX: usize = 2;

/// A server.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    /// What the manifest says.
    pub(crate) planned: Planned<'static>,
    /// Whether it lives.
    pub(crate) watch: Watch,
    /// First of its own pages in the pool.
    pub(crate) own: u64,
    /// How many it has; which is which, its image says.
    pub(crate) own_pages: u64,
    /// Its notification, which outlives it.
    pub(crate) wake: Notification,
    /// Its message interrupt, if it has one.
    pub(crate) message: Option<u64>,
    /// The process that runs now.
    pub(crate) process: Option<Process>,
    /// What is mapped on touch.
    pub(crate) lazy: List<Lazy, LAZY_MAX>,
    /// Where its window of what is lent is, if it borrows.
    pub(crate) lent_at: u64,
    /// What it has been told last.
    pub(crate) news: News,
}

impl Server {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.planned.service.name()
    }

    /// What covers `address` among the windows that are mapped on touch.
    pub(crate) fn lazy_at(&self, address: u64) -> Option<Lazy> {
        let bytes = |lazy: &Lazy| lazy.range.count * libos::abi::PAGE_SIZE as u64;
        self.lazy.iter().find(|lazy| (lazy.address..lazy.address + bytes(lazy)).contains(&address))
    }
}
