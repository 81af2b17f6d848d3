//! Init's end of the link to the platform driver, and the one device that a driver wants today.

use super::boot::System;
use core::sync::atomic::AtomicU64;
use init::{Found, Next, Search};
use libos::abi::protocol::devices::{self, Asker, CLASS_NVME, Reply, Request};
use libos::println;

/// The link.
pub(crate) struct DeviceLink {
    area: &'static [AtomicU64],
    asker: Asker<'static>,
    search: Search,
    /// The device is silent and on, and waits for a driver.
    ready: Option<Found>,
}

impl DeviceLink {
    /// Over the link's area.
    pub(crate) fn new(area: &'static [AtomicU64]) -> Self {
        Self { area, asker: fresh(area), search: Search::new(CLASS_NVME), ready: None }
    }

    /// Empties the area for a new platform driver.
    pub(crate) fn reset(&mut self) {
        self.asker = fresh(self.area);
    }

    /// Asks what is open.
    pub(crate) fn ask_again(&mut self) {
        if let Some(request) = self.search.question() {
            self.ask(request);
        }
    }

    fn ask(&mut self, request: Request) {
        if self.asker.ask(request).is_err() {
            println!("init: the platform driver takes no questions");
        }
    }

    fn answer(&mut self) -> Option<Reply> {
        self.asker.answer().unwrap_or_else(|_| {
            println!("init: the platform driver answers nonsense");
            None
        })
    }
}

/// Init's end of an emptied area.
fn fresh(area: &'static [AtomicU64]) -> Asker<'static> {
    devices::reset(area);
    let Some(asker) = Asker::new(area) else { panic!("the area of devices has its size from the protocol") };
    asker
}

impl System {
    /// The platform driver has answered.
    pub(crate) fn devices_rung(&mut self) {
        while let Some(reply) = self.device.answer() {
            match self.device.search.answered(reply) {
                Next::Ask(request) => {
                    self.device.ask(request);
                    self.ring_platform();
                }
                Next::Start(found) => {
                    let at = found.device.place;
                    println!("init: nvme at {:02x}:{:02x}.{}", at >> 8, at >> 3 & 31, at & 7);
                    self.device.ready = Some(found);
                }
                Next::Absent => println!("init: no NVMe device: nothing can be made durable"),
                Next::Lost => println!("init: the NVMe device does not obey; its driver is not started again"),
                Next::Nothing => {}
            }
        }
    }

    /// The device, if its driver can be started now.
    pub(crate) fn ready_device(&self) -> Option<Found> {
        self.device.ready
    }

    /// The driver of the device has died: its frames are used again only when the device is silent.
    pub(crate) fn silence_device(&mut self) {
        self.device.ready = None;
        if let Some(request) = self.device.search.driver_died() {
            self.device.ask(request);
            self.ring_platform();
        }
    }
}
