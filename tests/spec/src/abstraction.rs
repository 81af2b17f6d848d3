//! From the real core to the abstract kernel.

use crate::event::Frame;
use crate::model::{
    Budget, Cap, Cpu, Devices, Doing, Endpoint, Mapping, Model, Name, Notification, Object, Pages, Process, Serves,
    Thread,
};
use crate::shared::Shared;
use crate::sim::Sim;
use abi::Kind;
use kernel_core::{Kernel, Mapped, State};
use std::collections::BTreeMap;

/// Tickets count up from here for those who queue behind, down for those who are put in front.
const TICKET_MIDDLE: u64 = 1 << 63;

/// An index, unless it is none.
fn index(index: u32) -> Option<u32> {
    (index != u32::MAX).then_some(index)
}

/// The abstract state of a real kernel.
pub fn abstraction(sim: &Sim) -> Model {
    abstraction_with(sim, caps(&sim.kernel).into())
}

/// The same, after a step from `before`, whose abstraction is known: most steps change no capability.
pub(crate) fn abstraction_after(sim: &Sim, before: &Sim, known: &Model) -> Model {
    let same = sim.kernel.has_capabilities_of(&before.kernel);
    abstraction_with(sim, if same { known.caps.clone() } else { caps(&sim.kernel).into() })
}

fn abstraction_with(sim: &Sim, caps: Shared<BTreeMap<Name, Cap>>) -> Model {
    let kernel = &sim.kernel;
    let [processes, threads, endpoints, notifications, budgets, _] = kernel.world_bounds();
    let sizes = kernel.table_sizes();
    let cpus = kernel.cpus.count();
    Model {
        now: sim.m.now_ns,
        started: kernel.has_started(),
        tickets: kernel.tickets_drawn() as i64,
        threads: kernel.each_thread().map(|(number, record)| (number, thread(kernel, number, record))).collect(),
        processes: kernel.each_process().map(|(number, record)| (number, process(number, record))).collect(),
        endpoints: kernel
            .each_endpoint()
            .map(|(number, record)| {
                let queue = kernel.waiting_on_endpoint(number).into();
                let (service, dying, budget) = (record.service, record.life == 2, index(record.budget));
                (number, Endpoint { service, queue, dying, budget })
            })
            .collect(),
        notifications: kernel
            .each_notification()
            .map(|(number, record)| {
                let queue = kernel.waiting_on_notification(number).into();
                let (bits, bound, dying) = (record.bits, index(record.bound), record.life == 2);
                (number, Notification { bits, queue, bound, dying, budget: index(record.budget) })
            })
            .collect(),
        budgets: kernel
            .each_budget()
            .map(|(number, record)| {
                let parent = index(record.budget);
                (number, Budget { left: record.left.0, used: record.used.0, parent })
            })
            .collect(),
        caps,
        ready: kernel.ready_priorities().map(|priority| (priority, kernel.ready(priority).into())).collect(),
        cpus: (0..cpus)
            .map(|cpu| {
                let runs = kernel.current(cpu);
                Cpu { runs, slice: kernel.slice_end(cpu) }
            })
            .collect(),
        pages: pages(sim),
        interrupts: kernel
            .interrupt_bindings()
            .map(|(line, (process, interrupt, bell))| (line, (process, interrupt.0, bell.0)))
            .collect(),
        devices: Devices {
            interrupts: kernel.interrupts_known(),
            masked: sim.m.masked.clone(),
            ports: sim.m.ports.clone(),
            debug: sim.m.debug.clone(),
        },
        committed: kernel.committed().bits(),
        world_ahead: kernel.world_ahead(),
        world: [processes, threads, endpoints, notifications, budgets],
        sizes: [sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]],
    }
}

fn pages(sim: &Sim) -> Pages {
    let kernel = &sim.kernel;
    let mut maps = BTreeMap::new();
    for (process, _) in kernel.each_process() {
        for Mapped { address, frame, may_write, executable, device, open, accessed } in kernel.mappings(&sim.m, process)
        {
            maps.insert((process, address), Mapping { frame, may_write, executable, device, open, accessed });
        }
    }
    let (log_head, log) = kernel.first_writes();
    Pages {
        epoch: kernel.epoch().bits(),
        exported: kernel.has_exported(),
        maps,
        frames: kernel.tracked_frames().map(|(frame, state, now)| (frame, (state, now))).collect(),
        memory: kernel.frames_known(),
        log: log.into_iter().map(|entry| (entry as u32, (entry >> 32) as u32)).collect(),
        log_head,
        log_limit: kernel.first_writes_stop(),
        room: kernel.log_sizes(),
        donated: kernel.donated_frames().into(),
        contents: sim.m.first_bytes().collect(),
    }
}

fn thread(kernel: &Kernel, number: u32, record: &kernel_core::Thread) -> Thread {
    let doing = match record.state {
        State::Free | State::Stopped => Doing::Stopped,
        State::Ready => Doing::Ready,
        State::Calling => Doing::Calling(record.object),
        State::Sending => Doing::Sending(record.object),
        State::Faulting => Doing::Faulting(record.object),
        State::AwaitReply => Doing::AwaitReply,
        State::AwaitFault => Doing::AwaitFault,
        State::Receiving => Doing::Receiving(record.object),
        State::Waiting => Doing::Waiting(record.object),
        State::Sleeping => Doing::Sleeping,
    };
    let sends = matches!(record.state, State::Calling | State::Sending | State::AwaitReply);
    let serves = index(record.serving).map(|caller| {
        let stands = kernel.stands(caller, record.serving_sequence);
        if stands { Serves::Caller(caller) } else { Serves::Void(caller < kernel.world_bounds()[1]) }
    });
    let registers = kernel.registers_of(number);
    Thread {
        process: record.process,
        priority: record.priority,
        doing,
        frame: Frame::of(registers),
        rip: registers.rip,
        sent: sends.then_some((record.badge, record.flags)),
        fault: (record.state == State::Faulting).then_some(record.fault),
        serves,
        bound: index(record.bound),
        deadline: kernel.deadline_of(number),
        ticket: if record.ticket == 0 { 0 } else { record.ticket.wrapping_sub(TICKET_MIDDLE) as i64 },
        budget: index(record.budget),
    }
}

fn process(number: u32, record: &kernel_core::Process) -> Process {
    Process {
        name: u64::from(number) | u64::from(record.generation) << 32,
        handles: record.slot_count,
        dying: record.dying != 0,
        budget: index(record.budget),
    }
}

fn caps(kernel: &Kernel) -> BTreeMap<(u32, u16), Cap> {
    let bounds = kernel.world_bounds();
    let mut names = vec![None; kernel.table_sizes()[5] as usize];
    for held in kernel.each_capability() {
        names[held.slot as usize] = Some((held.process, held.handle));
    }
    let cap = |capability: &kernel_core::Capability| {
        let kind = capability.kind().unwrap_or(Kind::Reply);
        let (first, count) = capability.range();
        let (object, at) = match kind {
            Kind::Reply if kernel.stands(capability.object, capability.generation) => {
                (Object::Reply(capability.object), Some(1))
            }
            Kind::Reply => (Object::Gone(kind), Some(1)),
            Kind::Memory | Kind::Interrupt | Kind::IoPorts => (Object::Range(kind, first, count), None),
            Kind::Epoch => (Object::Epoch, None),
            _ if !kernel.is_live(capability) => (Object::Gone(kind), bound_of(kind)),
            _ => (Object::Is(kind, capability.object), bound_of(kind)),
        };
        let ranged = matches!(object, Object::Range(..));
        Cap {
            object,
            of_world: at.is_some_and(|at| capability.object < bounds[at]),
            rights: capability.rights(),
            badge: if ranged { 0 } else { capability.badge },
            parent: names.get(capability.parent as usize).copied().flatten(),
            dying: capability.dying != 0,
        }
    };
    let mut held = Vec::with_capacity(names.len());
    held.extend(kernel.each_capability().map(|held| ((held.process, held.handle), cap(held.capability))));
    held.into_iter().collect()
}

/// Which bound tells whether an object of a kind is of the world.
fn bound_of(kind: Kind) -> Option<usize> {
    Some(match kind {
        Kind::Process => 0,
        Kind::Thread => 1,
        Kind::Endpoint => 2,
        Kind::Notification => 3,
        Kind::Budget => 4,
        _ => return None,
    })
}
