//! The system: built once at the boot, then run for ever.

use super::chain::{BootError, BuildError};
use super::device::DeviceLink;
use super::memory::{OwnMemory, map_bundle};
use super::server::Server;
use super::spawn::{bell_of, ring};
use init::{ACCIDENTS_MAX, Accident, Grant, Image, Life, Link, List, Plan, Planned, SERVERS_MAX, Watch, accidents};
use libos::abi::boot_info::{BootInfo, handle};
use libos::abi::bundle::Bundle;
use libos::abi::protocol::wiring::{News, Phase};
use libos::abi::protocol::{block, devices, genesis, lent, paging};
use libos::abi::{Epoch, PAGE_SIZE};
use libos::mmio::SteadyClock;
use libos::{Budget, Endpoint, Notification, println};

/// The memory of a link, in the pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Area {
    pub(crate) first: u64,
    pub(crate) pages: u64,
}

/// All of init.
pub(crate) struct System {
    pub(crate) info: BootInfo<'static>,
    pub(crate) bundle: Bundle<'static>,
    pub(crate) plan: Plan<'static>,
    pub(crate) memory: OwnMemory,
    /// In the order of the plan.
    pub(crate) servers: List<Server, SERVERS_MAX>,
    /// Where all servers' faults arrive; the badge is the place plus one.
    pub(crate) faults: Endpoint,
    /// Init's own notification, bound to its thread.
    pub(crate) bell: Notification,
    /// In the order of [`Link::ALL`].
    areas: [Area; Link::ALL.len()],
    /// Page of the pool that the snapshot server writes.
    pub(crate) epochs_page: u64,
    /// Page of the pool that nobody writes: shown where nothing is lent.
    pub(crate) blank_page: u64,
    pub(crate) device: DeviceLink,
    pub(crate) accidents: List<Accident<'static>, ACCIDENTS_MAX>,
    /// The epoch that whoever booted the machine wants; `None`: the newest.
    pub(crate) asked: Option<Epoch>,
    /// Bits of the bell that came while something else was waited for.
    pub(crate) rung: u64,
    pub(crate) time: SteadyClock,
    /// How far the world was when init last looked.
    pub(crate) phase: Phase,
    /// The incarnation whose ports have been bound; 0: none.
    pub(crate) incarnation: u32,
}

impl System {
    /// Builds everything and starts the servers that wait for nothing. Not inlined: what it needs of the stack is free
    /// again when the system runs.
    #[inline(never)]
    pub(crate) fn boot(info: BootInfo<'static>) -> Result<Self, BootError> {
        let bundle = Bundle::open(map_bundle(&info).map_err(BootError::Memory)?).map_err(BootError::Bundle)?;
        let plan = Plan::of(&bundle).map_err(BootError::Plan)?;
        let pages = pages_needed(&bundle, &plan)?;
        let mut memory = OwnMemory::divide(&info, pages).map_err(BootError::Memory)?;
        let kill = info.option("kill").unwrap_or_default();
        let accidents = accidents(kill).map_err(|_| BootError::CommandLine("kill"))?;
        let asked = match info.option("epoch") {
            Some(text) => Some(text.parse().map_err(|_| BootError::CommandLine("epoch"))?),
            None => None,
        };
        let budget = Budget(handle::BUDGET);
        let faults = budget.endpoint(None).map_err(BuildError::from)?;
        let bell = budget.notification().map_err(BuildError::from)?;
        bell.bind().map_err(BuildError::from)?;
        let mut areas = [Area::default(); Link::ALL.len()];
        for (area, link) in areas.iter_mut().zip(Link::ALL) {
            let pages = area_pages(link);
            *area = Area { first: memory.take(pages).map_err(BuildError::from)?, pages };
        }
        let epochs_page = memory.take(1).map_err(BuildError::from)?;
        let blank_page = memory.take(1).map_err(BuildError::from)?;
        let device_area = areas[Link::Devices as usize];
        let device = DeviceLink::new(memory.words(device_area.first, device_area.pages));
        let mut system = Self {
            info,
            bundle,
            plan,
            memory,
            servers: List::new(),
            faults,
            bell,
            areas,
            epochs_page,
            blank_page,
            device,
            accidents,
            asked,
            rung: 0,
            time: SteadyClock::new(),
            phase: Phase::Opening,
            incarnation: 0,
        };
        system.prepare()?;
        system.start_all();
        Ok(system)
    }

    /// Lays the servers out. Their notifications come first: links need both ends.
    fn prepare(&mut self) -> Result<(), BuildError> {
        let mut messages = 0;
        for planned in self.plan.servers.iter() {
            let service = planned.service;
            let own_pages = self.image(&planned)?.own_pages;
            let message = planned.has(Grant::MessageInterrupt).then(|| {
                messages += 1;
                messages - 1
            });
            let server = Server {
                planned,
                watch: Watch::new(service.restart()),
                own: self.memory.take(own_pages)?,
                own_pages,
                wake: Budget(handle::BUDGET).notification()?,
                message,
                process: None,
                lazy: List::new(),
                lent_at: 0,
                news: News::default(),
            };
            self.servers.push(server).map_err(|_| BuildError::NoProgram)?;
        }
        Ok(())
    }

    /// What is mapped where in this server. Not kept: it is large, and servers are seldom started.
    pub(crate) fn image(&self, planned: &Planned<'_>) -> Result<Image, BuildError> {
        image_of(&self.bundle, planned)
    }

    /// Starts every server that needs no device; those wait for the platform driver.
    fn start_all(&mut self) {
        for place in 0..self.servers.len() {
            if !self.wants_device(place) {
                self.start(place);
            }
        }
        if self.plan.holder(Grant::Devices).is_none() {
            println!("init: no platform driver, so no devices");
        }
    }

    pub(crate) fn wants_device(&self, place: usize) -> bool {
        self.servers
            .get(place)
            .is_some_and(|server| server.planned.grants().any(|grant| matches!(grant, Grant::Device(_))))
    }

    /// Starts a server that needs no device, and the questions that only it can answer.
    pub(crate) fn start(&mut self, place: usize) {
        let platform = self.plan.holder(Grant::Devices) == Some(place);
        if platform {
            self.device.reset();
        }
        self.start_with(place, None);
        if platform {
            self.device.ask_again();
            self.ring_platform();
        }
    }

    /// Starts the server at `place`; a failure is a death like any other.
    #[inline(never)]
    pub(crate) fn start_with(&mut self, place: usize, found: Option<init::Found>) {
        let made = self.spawn(place, found);
        let now_ns = self.now_ns();
        let Some(mut server) = self.servers.get(place) else { return };
        match made {
            Ok(()) => {
                server.watch.started(now_ns);
                if server.watch.deaths() > 0 {
                    println!("init: {} runs again", server.name());
                }
                self.servers.set(place, server);
            }
            Err(why) => {
                println!("init: {} was not started: {why:?}", server.name());
                self.bury(place);
            }
        }
    }

    /// Rings the platform driver.
    pub(crate) fn ring_platform(&self) {
        if let Some(server) = self.plan.holder(Grant::Devices).and_then(|place| self.servers.get(place)) {
            ring(server.wake, bell_of(Link::Devices));
        }
    }

    /// The memory of a link.
    pub(crate) fn area(&self, link: Link) -> Area {
        self.areas[link as usize]
    }

    /// Whether the server at `place` runs.
    pub(crate) fn runs(&self, place: usize) -> bool {
        self.servers.get(place).is_some_and(|server| matches!(server.watch.life(), Life::Running { .. }))
    }
}

/// What is mapped where in a server.
fn image_of(bundle: &Bundle<'_>, planned: &Planned<'_>) -> Result<Image, BuildError> {
    let program = bundle.program(planned.service.program()).ok_or(BuildError::NoProgram)?;
    let buffers = planned.grants().map(|grant| match grant {
        Grant::Buffers { pages } => u64::from(pages),
        _ => 0,
    });
    Ok(Image::of(&program, planned.service.stack_pages().into(), buffers.sum())?)
}

/// Pages that init will hand out: the page of epochs, the blank one, the links, all servers' own.
fn pages_needed(bundle: &Bundle<'_>, plan: &Plan<'_>) -> Result<u64, BuildError> {
    let mut pages = 2 + Link::ALL.into_iter().map(area_pages).sum::<u64>();
    for planned in plan.servers.iter() {
        pages += image_of(bundle, &planned)?.own_pages;
    }
    Ok(pages)
}

/// Shared memory that a link takes, in pages.
fn area_pages(link: Link) -> u64 {
    let bytes = match link {
        Link::Paging => paging::AREA_BYTES,
        Link::Block => block::AREA_BYTES,
        Link::Genesis => genesis::AREA_BYTES,
        Link::Devices => devices::AREA_BYTES,
        Link::Lent => lent::AREA_BYTES,
    };
    (bytes / PAGE_SIZE) as u64
}
