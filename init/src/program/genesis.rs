//! The genesis: the world's first processes, their memory asked of the pager, their capabilities given from the world's
//! Budget. Runs once in the life of a world.

use super::boot::System;
use super::chain::BuildError;
use super::spawn::ring;
use core::sync::atomic::{AtomicU64, Ordering};
use init::genesis::{GenesisError, Made, Pager, fill_space, make_space};
use init::{Grant, Link, List, Planned, WORLD_MAX, port_name};
use libos::abi::boot_info::handle;
use libos::abi::bundle::Name;
use libos::abi::protocol::genesis::{Answer, RING, Request, answer_ring, request_ring, staging_page};
use libos::abi::protocol::memory::Badge;
use libos::abi::protocol::ring::{Consumer, Producer};
use libos::abi::protocol::service::Service;
use libos::abi::protocol::startup::{STARTUP_ADDRESS, StartupBuilder};
use libos::abi::protocol::wiring::Bell;
use libos::abi::{Handle, Rights, Timeout};
use libos::{Budget, BudgetCounts, Capability, Endpoint, Process, Thread, ThreadStart, clock};
use zerocopy::IntoBytes;

/// Handles of a process of the world.
const HANDLES: u64 = 64;
/// Longest wait for one answer of the pager.
const ANSWER_NS_MAX: u64 = 10_000_000_000;
/// Ports that a world has.
const PORTS: [Service; 3] = [Service::Memory, Service::Console, Service::Snapshot];
/// What each first process may make by itself.
const OWN_BUDGET: BudgetCounts =
    BudgetCounts { processes: 1, threads: 8, endpoints: 4, notifications: 4, budgets: 2, slots: 64 };
/// What the kernel's command line tells all of them: the seed of a trial.
const TOLD: &str = "hostile=";

/// Why no world was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "read by people, through Debug")]
pub(crate) enum NoGenesis {
    /// The pager is not there.
    NoPager,
    /// The pager refused or was silent.
    Memory(GenesisError),
    /// The kernel refused.
    Build(BuildError),
}

impl<T: Into<BuildError>> From<T> for NoGenesis {
    fn from(error: T) -> Self {
        Self::Build(error.into())
    }
}

/// An object of the world that several processes get capabilities to.
#[derive(Clone, Copy)]
struct Object {
    name: Name,
    endpoint: Endpoint,
}

/// What the world's processes are made from.
struct Parts {
    objects: List<Object, WORLD_MAX>,
    /// Those that have been made.
    processes: List<(Name, Process), WORLD_MAX>,
    ports: [Option<Endpoint>; PORTS.len()],
}

impl Parts {
    fn object(&self, name: Name) -> Option<Endpoint> {
        self.objects.iter().find(|object| object.name == name).map(|object| object.endpoint)
    }

    fn process(&self, name: Name) -> Option<Process> {
        self.processes.iter().find(|(other, _)| *other == name).map(|(_, process)| process)
    }

    fn port(&self, service: Service) -> Option<Endpoint> {
        let place = PORTS.iter().position(|port| *port == service)?;
        self.ports.get(place).copied().flatten()
    }

    /// Init keeps nothing of the world.
    fn forget(self) {
        let ports = self.ports.into_iter().flatten();
        for endpoint in ports.chain(self.objects.iter().map(|object| object.endpoint)) {
            let _ = Capability(endpoint.0).drop();
        }
        for (_, process) in self.processes.iter() {
            let _ = Capability(process.0).drop();
        }
    }
}

impl System {
    /// Makes the world's first processes, ready to run.
    pub(crate) fn genesis(&mut self) -> Result<(), NoGenesis> {
        let pager = self.pager_place().ok_or(NoGenesis::NoPager)?;
        let mut parts = self.make_parts()?;
        let members = self.plan.world;
        let mut link = PagerLink::open(self, pager).ok_or(NoGenesis::NoPager)?;
        let mut threads: List<Thread, WORLD_MAX> = List::new();
        for (number, member) in (1..).zip(members.iter()) {
            let thread = make_process(&mut link, &mut parts, &member, number)?;
            threads.push(thread).map_err(|_| NoGenesis::NoPager)?;
        }
        link.ask(Request::Finish).map_err(NoGenesis::Memory)?;
        for thread in threads.iter() {
            thread.start()?;
            let _ = Capability(thread.0).drop();
        }
        parts.forget();
        Ok(())
    }

    fn make_parts(&self) -> Result<Parts, NoGenesis> {
        let budget = Budget(handle::WORLD_BUDGET);
        let mut parts = Parts { objects: List::new(), processes: List::new(), ports: [None; PORTS.len()] };
        for (place, service) in parts.ports.iter_mut().zip(PORTS) {
            if self.plan.holder(Grant::Port(service)).is_some() {
                *place = Some(budget.endpoint(Some(service))?);
            }
        }
        for member in self.plan.world.iter() {
            for grant in member.grants() {
                if let Grant::Serve(name) = grant {
                    let object = Object { name, endpoint: budget.endpoint(None)? };
                    parts.objects.push(object).map_err(|_| NoGenesis::NoPager)?;
                }
            }
        }
        Ok(parts)
    }
}

/// One process: its memory, its capabilities, its stopped thread.
fn make_process(
    link: &mut PagerLink<'_>,
    parts: &mut Parts,
    member: &Planned<'_>,
    number: u64,
) -> Result<Thread, NoGenesis> {
    let budget = Budget(handle::WORLD_BUDGET);
    let service = member.service;
    let program = link.system.bundle.program(service.program()).ok_or(BuildError::NoProgram)?;
    let stack_pages = u64::from(service.stack_pages());
    let space = make_space(link, &program, stack_pages).map_err(NoGenesis::Memory)?;
    let process = budget.process(HANDLES)?;
    let badge = Badge::Space(space).bits();
    let memory_port = parts.port(Service::Memory).ok_or(NoGenesis::NoPager)?;
    process.set_memory_port(memory_port, badge)?;
    let mut page = StartupBuilder::new(service.name())?;
    give_first(process, memory_port, badge, &mut page)?;
    for grant in member.grants() {
        give(process, parts, grant, number, &mut page)?;
    }
    if let Some(word) = link.system.info.command_line().split_ascii_whitespace().find(|word| word.starts_with(TOLD)) {
        page.option(word)?;
    }
    let startup = page.finish();
    let Made { entry, stack, .. } =
        fill_space(link, space, &program, stack_pages, startup.as_bytes()).map_err(NoGenesis::Memory)?;
    let start = ThreadStart { entry, stack, argument: STARTUP_ADDRESS, priority: service.priority() };
    let thread = budget.thread(process, start)?;
    let name = Name::new(service.name()).ok_or(BuildError::NoProgram)?;
    parts.processes.push((name, process)).map_err(|_| BuildError::NoProgram)?;
    Ok(thread)
}

/// The three capabilities that every process of the world has at fixed handles.
fn give_first(process: Process, memory_port: Endpoint, badge: u64, page: &mut StartupBuilder) -> Result<(), NoGenesis> {
    let own = Budget(handle::WORLD_BUDGET).split(OWN_BUDGET)?;
    let first = [
        ("process", Capability(process.0), Rights::PROCESS_THREADS | Rights::COPY, 0, Handle::PROCESS),
        ("space", Capability(memory_port.0), Rights::SEND | Rights::COPY, badge, Handle::SPACE),
        ("budget", Capability(own.0), Rights::BUDGET_SPEND | Rights::COPY, 0, Handle::BUDGET),
    ];
    for (name, what, rights, badge, expected) in first {
        let there = process.grant(what, rights, badge)?;
        assert_eq!(there, expected, "the first empty slots of a new table");
        page.handle(name, there)?;
    }
    let _ = Capability(own.0).drop();
    Ok(())
}

/// What the manifest grants, badged with the process's number, so that servers can tell their clients apart.
fn give(
    process: Process,
    parts: &Parts,
    grant: Grant,
    number: u64,
    page: &mut StartupBuilder,
) -> Result<(), NoGenesis> {
    let send = Rights::SEND | Rights::COPY;
    match grant {
        Grant::Serve(name) => {
            let Some(endpoint) = parts.object(name) else { return Ok(()) };
            let there = process.grant(Capability(endpoint.0), Rights::RECEIVE, 0)?;
            page.handle(name.as_str(), there)?;
        }
        Grant::Call(name) => {
            let Some(endpoint) = parts.object(name) else { return Ok(()) };
            let there = process.grant(Capability(endpoint.0), send, number)?;
            page.handle(name.as_str(), there)?;
        }
        Grant::Use(service) => {
            let Some(port) = parts.port(service) else { return Ok(()) };
            let there = process.grant(Capability(port.0), send, number)?;
            page.handle(port_name(service), there)?;
        }
        Grant::Tend(name) => {
            let Some(tended) = parts.process(name) else { return Ok(()) };
            let rights = Rights::PROCESS_THREADS | Rights::PROCESS_GRANT | Rights::COPY;
            let there = process.grant(Capability(tended.0), rights, 0)?;
            page.handle(name.as_str(), there)?;
        }
        _ => {}
    }
    Ok(())
}

/// Init's end of the link to the pager.
struct PagerLink<'s> {
    system: &'s mut System,
    area: &'static [AtomicU64],
    requests: Producer<'static>,
    answers: Consumer<'static>,
    pager: usize,
}

impl<'s> PagerLink<'s> {
    fn open(system: &'s mut System, pager: usize) -> Option<Self> {
        let area = system.area(Link::Genesis);
        let area = system.memory.words(area.first, area.pages);
        let requests = Producer::new(request_ring(area)?, RING)?;
        let answers = Consumer::new(answer_ring(area)?, RING)?;
        Some(Self { system, area, requests, answers, pager })
    }
}

impl Pager for PagerLink<'_> {
    fn ask(&mut self, request: Request) -> Result<u32, GenesisError> {
        self.requests.push(&request.entry()).map_err(|_| GenesisError::PagerSilent)?;
        let wake = self.system.servers.get(self.pager).ok_or(GenesisError::PagerSilent)?.wake;
        ring(wake, Bell::GENESIS);
        let deadline_ns = clock().world_ns.saturating_add(ANSWER_NS_MAX);
        loop {
            if let Some(entry) = self.answers.pop().map_err(|_| GenesisError::PagerSilent)? {
                return match Answer::from_entry(&entry) {
                    Some(Answer::Done(number)) => Ok(number),
                    Some(Answer::Refused(error)) => Err(GenesisError::Refused(error)),
                    None => Err(GenesisError::PagerSilent),
                };
            }
            let now_ns = clock().world_ns;
            if now_ns >= deadline_ns || !self.system.runs(self.pager) {
                return Err(GenesisError::PagerSilent);
            }
            // Faults of the pager itself are served meanwhile.
            self.system.pump(Timeout::from_ns(deadline_ns - now_ns));
        }
    }

    fn stage(&mut self, slot: u32, bytes: &[u8]) {
        let Some(page) = staging_page(self.area, slot) else { panic!("staging page {slot}") };
        let mut chunks = bytes.chunks(8);
        for word in page {
            let mut value = [0; 8];
            if let Some(chunk) = chunks.next() {
                value[..chunk.len()].copy_from_slice(chunk);
            }
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
    }
}
