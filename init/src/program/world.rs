//! What init does for the world: a genesis when there is none, ports for their servers whenever there is one.

use super::boot::System;
use super::chain::BuildError;
use super::server::Server;
use super::spawn::ring;
use core::sync::atomic::{Ordering, fence};
use init::{Grant, Link, NEWS_PAGE};
use libos::abi::boot_info::handle;
use libos::abi::protocol::service::Service;
use libos::abi::protocol::wiring::{Bell, Borrower, EpochsPage, Failure, News, Phase};
use libos::abi::{Epoch, Handle, Rights};
use libos::{Capability, EpochControl, println};

impl System {
    /// The snapshot server has changed the page of epochs.
    pub(crate) fn epochs_rung(&mut self) {
        let words = self.memory.words(self.epochs_page, 1);
        let load = |index: usize| {
            let value = words[index].load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            value
        };
        let Some(page) = EpochsPage::read(load) else { return };
        if page.phase == self.phase {
            return;
        }
        self.phase = page.phase;
        match page.phase {
            Phase::Opening | Phase::Restoring => {}
            Phase::Empty => self.begin_world(&page),
            Phase::Running => {
                if page.restored != libos::abi::Epoch::NONE {
                    println!("init: the world goes on from epoch {}", page.restored);
                }
                self.world_runs(page.first.incarnation());
            }
            Phase::Failed if page.failure == Some(Failure::Full) && page.committed == Epoch::NONE => {
                println!(
                    "init: no durable world: the disk is too small for a new one; see above how large it has to be"
                );
            }
            Phase::Failed => println!("init: no durable world: {}", reason(page.failure)),
        }
    }

    #[inline(never)]
    fn begin_world(&mut self, page: &EpochsPage) {
        println!("init: a new world begins");
        match self.genesis() {
            Ok(()) => match EpochControl(handle::EPOCH).resume(page.first, 0) {
                Ok(()) => self.world_runs(page.first.incarnation()),
                Err(why) => println!("init: the new world does not run: {why:?}"),
            },
            Err(why) => println!("init: no new world: {why:?}"),
        }
    }

    /// Hands all ports out, and rings the servers that answer them, and whoever waits for the world to run.
    fn world_runs(&mut self, incarnation: u32) {
        if self.incarnation == incarnation {
            return;
        }
        self.incarnation = incarnation;
        // From now on processes of the world are made by processes of the world.
        let _ = Capability(handle::WORLD_BUDGET).drop();
        for place in 0..self.servers.len() {
            self.tell_port(place);
        }
    }

    /// Writes the news of the server at `place`: its port, if it answers one and there is a world.
    pub(crate) fn tell_port(&mut self, place: usize) {
        if self.incarnation == 0 {
            return;
        }
        let Some(mut server) = self.servers.get(place) else { return };
        let port = server.planned.grants().find_map(|grant| match grant {
            Grant::Port(service) => Some(service),
            _ => None,
        });
        let bound = port.map_or(Ok(Handle::NULL), |service| self.bind_port(place, service));
        let port = bound.unwrap_or_else(|why| {
            println!("init: {} has no port: {why:?}", server.name());
            Handle::NULL
        });
        server.news = News { port, incarnation: self.incarnation, ..server.news };
        self.tell(place, server);
    }

    /// Tells the pager, at `place`, of another process that borrows.
    pub(crate) fn tell_lender(&mut self, place: usize, borrower: Borrower) {
        let Some(mut server) = self.servers.get(place) else { return };
        server.news.borrower = Some(borrower);
        self.tell(place, server);
    }

    /// Lets a server see its news.
    fn tell(&mut self, place: usize, mut server: Server) {
        server.news.changes += 1;
        self.servers.set(place, server);
        server.news.write(self.memory.words(server.own + NEWS_PAGE, 1));
        ring(server.wake, Bell::NEWS);
    }

    /// Puts a receiving capability for the port of `service` into the server's table.
    fn bind_port(&self, place: usize, service: Service) -> Result<Handle, BuildError> {
        let Some(process) = self.servers.get(place).and_then(|server| server.process) else { return Ok(Handle::NULL) };
        let Ok(port) = EpochControl(handle::EPOCH).bind_port(service) else {
            // A world that was made without this port: nobody in it can call it.
            return Ok(Handle::NULL);
        };
        // The pager mints capabilities of its port and maps through it; the others only receive.
        let rights = match service {
            Service::Memory => Rights::RECEIVE | Rights::SEND | Rights::COPY,
            _ => Rights::RECEIVE,
        };
        let there = process.grant(Capability(port.0), rights, 0);
        let _ = Capability(port.0).drop();
        Ok(there?)
    }

    /// Whether the pager is there to make a genesis with.
    pub(crate) fn pager_place(&self) -> Option<usize> {
        self.plan.holder(Grant::Link(Link::Genesis)).filter(|place| self.runs(*place))
    }
}

/// Why there is no durable world, and what can be done, for people.
const fn reason(failure: Option<Failure>) -> &'static str {
    match failure {
        Some(Failure::NoDisk) => "there is no disk, or its driver does not come up; look at the lines above",
        Some(Failure::Foreign) => "the disk holds something else and has not been touched: name another with --disk",
        Some(Failure::Version) => {
            "the disk holds a world of another build, made with other layouts; it has not been touched: boot it with the \
             build that made it, or begin a new one: --fresh, or another --disk"
        }
        Some(Failure::Damaged) => {
            "no epoch that was asked for can be read; `world fsck` says what is wrong, `world epochs` which others are \
             kept: --epoch boots one"
        }
        Some(Failure::BadRecords) => {
            "the records do not make a world; `world epochs` lists the older epochs that are kept: --epoch boots one"
        }
        Some(Failure::Full) => {
            "the disk is full; a boot goes back to the last epoch, in which something can be dropped"
        }
        Some(Failure::DiskDead) => "the disk fails; copy its image away before anything else",
        Some(Failure::Machine) => "this machine is too small for the world on the disk: give it more with --memory",
        None => "the snapshot server does not say why",
    }
}
