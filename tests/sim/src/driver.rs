//! The disk's driver as a process: the driver's end of the block link over the simulated disk, whose interrupt comes
//! through the kernel. It can die at any moment; its successor waits until the device is silent.

use crate::actor::Actor;
use crate::board::Role;
use abi::protocol::block::{Asked, BlockError, Completion, DiskInfo, Driver, MediumFault, Op, Request};
use abi::{Call, Event, Handle, Timeout};
use core::sync::atomic::AtomicU64;
use snapshot_server::{Command, Disk, DiskError, Op as DiskOp, PageMemory, PageRef};
use std::collections::BTreeMap;
use storesim::SimDisk;

/// The program.
pub(crate) struct DriverProgram<'a> {
    area: &'a [AtomicU64],
    driver: Driver<'a>,
    pub(crate) disk: SimDisk,
    /// What the device is doing, by its tags.
    under_way: BTreeMap<u32, Request>,
    next_tag: u32,
    bound: bool,
    /// The snapshot server has not been told that this driver is another one.
    is_new: bool,
}

impl<'a> DriverProgram<'a> {
    pub(crate) fn new(area: &'a [AtomicU64], disk: SimDisk) -> Self {
        let driver = Driver::new(area).expect("the area is large enough");
        Self { area, driver, disk, under_way: BTreeMap::new(), next_tag: 0, bound: false, is_new: true }
    }

    /// Whether the device may have something to say.
    pub(crate) fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(crate) fn describe(&self) -> String {
        format!("driver up {}, {} under way", self.driver.is_up(), self.under_way.len())
    }

    /// It dies, and another one starts in its place: what was under way is unknown.
    pub(crate) fn die(&mut self) {
        self.silence();
        self.driver = Driver::new(self.area).expect("the area is large enough");
        self.is_new = true;
    }

    /// The device is reset: what it was doing happens or not, and then nothing more does.
    fn silence(&mut self) {
        while !self.under_way.is_empty() && !self.disk.is_dead() {
            if let Some(done) = self.disk.poll() {
                self.under_way.remove(&done.tag);
            }
        }
        self.under_way.clear();
    }

    pub(crate) fn turn(&mut self, actor: &mut Actor<'_>, pages: &mut dyn PageMemory) {
        if !self.bound {
            actor.bind();
            let given = actor.given();
            actor.must(Call::BindInterrupt, given.interrupt, |r| r.caps = u64::from(given.interrupt_bell.0));
            self.bound = true;
        }
        if core::mem::take(&mut self.is_new) {
            actor.ring(Role::Snapshot);
        }
        let arrived = actor.arrived();
        if arrived.event == Event::Notification && arrived.badge >> Role::Driver as usize & 1 == 1 {
            let interrupt = actor.given().interrupt;
            actor.must(Call::AckInterrupt, interrupt, |_| {});
        }
        match self.driver.asked() {
            Asked::Open => {
                self.silence();
                self.driver.accept(DiskInfo {
                    blocks: self.disk.blocks(),
                    request_blocks_max: 128,
                    volatile_cache: true,
                    can_zero: false,
                    can_deallocate: false,
                });
                actor.ring(Role::Snapshot);
            }
            Asked::Close => {
                self.silence();
                self.driver.end();
            }
            Asked::Nothing => {}
        }
        if self.complete(pages) {
            actor.ring(Role::Snapshot);
        }
        self.submit(pages);
        actor.wait(Handle::NULL, Timeout::FOREVER);
    }

    /// Passes on what the device has done. True: there was something.
    fn complete(&mut self, pages: &mut dyn PageMemory) -> bool {
        let mut any = false;
        while self.driver.room().expect("a sound client") > 0 {
            let Some(done) = self.disk.poll() else { break };
            let request = self.under_way.remove(&done.tag).expect("the device answers what it was asked");
            if request.op == Op::Read && done.result.is_ok() {
                for &frame in request.frames() {
                    *pages.bytes_mut(PageRef(frame)) = *self.disk.bytes(PageRef(frame));
                }
            }
            let result = done.result.map_err(|error| match error {
                DiskError::Medium if request.op == Op::Read => BlockError::Medium(MediumFault::Read),
                DiskError::Medium => BlockError::Medium(MediumFault::Write),
                DiskError::Lost => BlockError::Transport,
                DiskError::Refused => panic!("the device refuses {request:?}"),
            });
            self.driver.complete(&Completion { tag: request.tag, result, device_status: 0 }).expect("there is room");
            any = true;
        }
        any
    }

    fn submit(&mut self, pages: &mut dyn PageMemory) {
        while let Some(request) = self.driver.peek().expect("a sound client") {
            let request = request.expect("a sound request");
            let op = match request.op {
                Op::Read => DiskOp::Read,
                Op::Write => DiskOp::Write,
                Op::Flush => DiskOp::Flush,
                other => panic!("{other:?} was never offered"),
            };
            let named: Vec<PageRef> = request.frames().iter().map(|&frame| PageRef(frame)).collect();
            if op == DiskOp::Write {
                // A page may be written to two places at once. The disk notices one that changes under way.
                for &page in &named {
                    if self.disk.bytes(page) != pages.bytes(page) {
                        *self.disk.bytes_mut(page) = *pages.bytes(page);
                    }
                }
            }
            let command = Command { tag: self.next_tag, op, block: request.block, pages: &named };
            if self.disk.submit(&command).is_err() {
                return;
            }
            self.under_way.insert(self.next_tag, request);
            self.next_tag = self.next_tag.wrapping_add(1);
            self.driver.taken();
        }
    }
}
