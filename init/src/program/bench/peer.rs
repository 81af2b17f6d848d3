//! The other side of a measurement: a second process that runs init's own program, with fresh data and a stack.

use super::{Step, Stopped};
use crate::program::memory::{OwnMemory, map_bundle};
use crate::program::spawn::map_image;
use core::sync::atomic::AtomicU64;
use init::Image;
use libos::abi::boot_info::BootInfo;
use libos::abi::boot_info::handle::WORLD_BUDGET;
use libos::abi::bundle::Bundle;
use libos::abi::{Epoch, Handle, Rights, WORLD_PRIORITY_MAX};
use libos::{Budget, Capability, Process, Thread, ThreadStart};

/// Handles of a peer.
const HANDLES: u64 = 64;
/// Pages of its stack.
const STACK_PAGES: u64 = 4;
/// Pages of the pool: what all peers and measurements take together.
const POOL_PAGES: u64 = 8192;

/// What peers are made from.
pub(crate) struct Workshop {
    bundle: Bundle<'static>,
    pub(crate) memory: OwnMemory,
}

/// A peer whose thread has yet to be started.
pub(super) struct Peer {
    pub(super) process: Process,
    image: Image,
    budget: Budget,
}

impl Workshop {
    pub(crate) fn open(info: &BootInfo<'static>) -> Result<Self, Stopped> {
        let bytes = map_bundle(info).step("mapping the bundle")?;
        let bundle = Bundle::open(bytes).step("opening the bundle")?;
        let memory = OwnMemory::divide(info, POOL_PAGES).step("dividing memory")?;
        Ok(Self { bundle, memory })
    }

    /// A process made from `budget`, its program mapped as decided in `epoch`.
    pub(super) fn peer(&mut self, budget: Budget, epoch: Epoch) -> Result<Peer, Stopped> {
        let process = budget.process(HANDLES).step("making a process")?;
        let image = self.furnish(process, epoch)?;
        Ok(Peer { process, image, budget })
    }

    /// Maps init's program, fresh data and a stack into a process, as decided in `epoch`.
    pub(crate) fn furnish(&mut self, process: Process, epoch: Epoch) -> Result<Image, Stopped> {
        let program = self.bundle.program("init").ok_or(Stopped("finding init", "Bundle"))?;
        let image = Image::of(&program, STACK_PAGES, 0).step("laying init out")?;
        let own = self.memory.take(image.own_pages).step("taking pages")?;
        map_image(process, &image, &self.bundle, &self.memory, own, epoch).step("mapping init")?;
        Ok(image)
    }

    /// Fresh pages of the pool as words, and the number of the first.
    pub(crate) fn words(&mut self, pages: u64) -> Result<(&'static [AtomicU64], u64), Stopped> {
        let first = self.memory.take(pages).step("taking pages")?;
        Ok((self.memory.words(first, pages), first))
    }
}

impl Peer {
    /// Gives it a copy of a capability; its handle there.
    pub(super) fn give(&self, what: Handle, rights: Rights, badge: u64) -> Result<Handle, Stopped> {
        self.process.grant(Capability(what), rights, badge).step("granting")
    }

    /// Starts a thread of it at `entry`, at init's own priority, or as near to that as a thread of the world comes.
    pub(super) fn start(&self, entry: extern "C" fn(u64) -> !, argument: u64) -> Result<Thread, Stopped> {
        // The System V ABI wants the stack 8 bytes off a multiple of 16 where a function begins.
        let stack = self.image.stack - 8;
        let priority = if self.budget.0 == WORLD_BUDGET { WORLD_PRIORITY_MAX } else { u8::MAX };
        let start = ThreadStart { entry: entry as usize as u64, stack, argument, priority };
        let thread = self.budget.thread(self.process, start).step("making a thread")?;
        thread.start().step("starting a thread")?;
        Ok(thread)
    }
}
