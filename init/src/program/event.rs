//! The loop: faults, bells, deaths, restarts.

use super::boot::System;
use init::{Cause, Decision, Life, Obituary};
use libos::abi::boot_info::handle;
use libos::abi::fault::Fault;
use libos::abi::protocol::wiring::Bell;
use libos::abi::{Epoch, MAP_PAGES_MAX, MapFlags, PAGE_SIZE, Timeout};
use libos::{Capability, FaultReport, IoPorts, Mapping, Message, Process, Received, Space, clock, println};

/// How long init sleeps when nothing is due.
const IDLE_NS: u64 = 60_000_000_000;

/// The reset control register of a PC's chipset, and "reset the whole machine".
const RESET_PORT: u16 = 0xcf9;
const RESET: u32 = 0x06;

impl System {
    /// For ever.
    pub(crate) fn run(&mut self) -> ! {
        loop {
            let rung = Bell::from_bits_truncate(core::mem::take(&mut self.rung));
            if rung.contains(Bell::DEVICES) {
                self.devices_rung();
            }
            if rung.contains(Bell::EPOCHS) {
                self.epochs_rung();
            }
            self.do_what_is_due();
            if self.rung == 0 {
                let wait_ns = self.until_due_ns();
                self.pump(Timeout::from_ns(wait_ns));
            }
        }
    }

    /// Receives one thing: a bell is noted, a fault dealt with. False when nothing came in time.
    pub(crate) fn pump(&mut self, timeout: Timeout) -> bool {
        match self.faults.receive(timeout) {
            Ok(Received::Notification(bits)) => self.rung |= bits,
            Ok(Received::Fault(fault)) => self.fault(&fault),
            // Nobody holds a capability to send here; and an answer to nothing is no error.
            Ok(Received::Call { .. } | Received::Message { .. }) => drop_reply(),
            Err(_) => return false,
        }
        true
    }

    /// A server has touched what is not there yet, or must not be touched.
    fn fault(&mut self, fault: &FaultReport) {
        let place = (fault.badge as usize).wrapping_sub(1);
        if self.map_lazily(place, fault) {
            // The thread may be gone meanwhile; then there is nobody to let go on.
            let _ = libos::reply(&Message::default());
            return;
        }
        drop_reply();
        let cause = match fault.kind {
            Fault::Page => Cause::of_page(fault.address, fault.access),
            Fault::Exception => Cause::Exception { vector: fault.vector, error_code: fault.error_code },
        };
        self.died(place, cause, fault.instruction);
    }

    /// Maps the surroundings of the address, if they are a window that is mapped on touch.
    fn map_lazily(&self, place: usize, fault: &FaultReport) -> bool {
        let Some(server) = self.servers.get(place) else { return false };
        let (Some(lazy), Some(process)) = (server.lazy_at(fault.address), server.process) else { return false };
        let write = fault.access.contains(libos::abi::fault::Access::WRITE);
        let execute = fault.access.contains(libos::abi::fault::Access::EXECUTE);
        if fault.kind != Fault::Page || execute || write && !lazy.flags.contains(MapFlags::WRITE) {
            return false;
        }
        let page = (fault.address - lazy.address) / PAGE_SIZE as u64;
        let first_page = page - page % MAP_PAGES_MAX;
        let at = Mapping {
            address: lazy.address + first_page * PAGE_SIZE as u64,
            memory: lazy.memory,
            first_page,
            pages: MAP_PAGES_MAX.min(lazy.range.count - first_page),
            flags: lazy.flags,
            epoch: Epoch::NONE,
        };
        match Space::Own(process).map_all(at) {
            Ok(()) => true,
            Err(why) => {
                println!("init: no mapping for {}: {why:?}", server.name());
                false
            }
        }
    }

    /// A server has died: says so and clears up.
    fn died(&mut self, place: usize, cause: Cause, instruction: u64) {
        let Some(server) = self.servers.get(place) else {
            println!("init: a fault of nobody's");
            return;
        };
        let symbols = self.bundle.program(server.planned.service.program());
        let symbols = symbols.and_then(|program| program.symbols().ok());
        println!("init: {}", Obituary { service: server.name(), cause, instruction, symbols });
        self.bury(place);
    }

    /// Destroys what is left of a server and decides what follows.
    pub(crate) fn bury(&mut self, place: usize) {
        let Some(mut server) = self.servers.get(place) else { return };
        if let Some(process) = server.process.take() {
            destroy(process);
        }
        let decision = server.watch.died(self.now_ns());
        self.servers.set(place, server);
        match decision {
            Decision::RestartAt(_) => {}
            Decision::GiveUp => println!("init: {} stays dead", server.name()),
            Decision::RestoreWorld => self.restore_world(),
        }
        if self.wants_device(place) {
            self.silence_device();
        }
    }

    /// The world comes back from its last epoch: by way of a reset of the machine, which silences every device. Before
    /// there is a world that would only end in the same place again, and again.
    fn restore_world(&self) {
        if self.incarnation == 0 {
            println!("init: no world runs, and without this server none will; the machine waits to be switched off");
            return;
        }
        println!("init: the machine starts anew, so that the world comes back from its last epoch");
        let _ = IoPorts(handle::PORTS).write(RESET_PORT, 1, RESET);
    }

    /// Restarts whose time has come, accidents that were ordered.
    fn do_what_is_due(&mut self) {
        let now_ns = self.now_ns();
        for place in 0..self.servers.len() {
            let Some(watch) = self.servers.get(place).map(|server| server.watch) else { continue };
            if !self.wants_device(place) {
                if watch.is_due(now_ns) {
                    self.start(place);
                }
            } else if watch.life() == Life::Planned || watch.is_due(now_ns) {
                // A driver waits until its device is silent and on.
                if let Some(found) = self.ready_device() {
                    self.start_with(place, Some(found));
                }
            }
        }
        for index in 0..self.accidents.len() {
            let Some(accident) = self.accidents.get(index).filter(|accident| accident.at_ns <= now_ns) else {
                continue;
            };
            self.accidents.set(index, init::Accident { at_ns: u64::MAX, ..accident });
            let named = |server: &super::server::Server| server.name() == accident.service;
            let place = self.servers.iter().position(|server| named(&server) && server.process.is_some());
            if let Some(place) = place {
                println!("init: {} is killed, as ordered", accident.service);
                self.bury(place);
            }
        }
    }

    /// Time until something is due.
    fn until_due_ns(&mut self) -> u64 {
        let now_ns = self.now_ns();
        let restarts = self.servers.iter().enumerate().filter_map(|(place, server)| match server.watch.life() {
            Life::Waiting { until_ns } if !self.wants_device(place) || self.ready_device().is_some() => Some(until_ns),
            _ => None,
        });
        let accidents = self.accidents.iter().map(|accident| accident.at_ns);
        let next_ns = restarts.chain(accidents).min().unwrap_or(u64::MAX);
        next_ns.saturating_sub(now_ns).clamp(1, IDLE_NS)
    }
}

impl System {
    /// Time since the boot. World time leaps when a world is restored; restarts must not.
    pub(crate) fn now_ns(&mut self) -> u64 {
        self.time.advance(clock().world_ns, IDLE_NS)
    }
}

/// Drops the Reply that init holds: the thread that waits for it stops.
fn drop_reply() {
    if let Ok(saved) = libos::save_reply() {
        let _ = Capability(saved.0).drop();
    }
}

/// Destroys a process and init's capability to it.
fn destroy(process: Process) {
    if let Err(why) = Capability(process.0).destroy() {
        println!("init: a process was not destroyed: {why:?}");
    }
    let _ = Capability(process.0).drop();
}
