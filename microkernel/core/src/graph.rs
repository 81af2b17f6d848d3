//! The references of one record, judged with all that it refers to: by the kernel when a world is restored, and by
//! whoever keeps records, before an epoch commits. What needs all records at once (that slots are not shared, that a
//! call has one Reply) the kernel judges at `resume`, and whoever keeps records has ways of his own.

use crate::kernel::TICKET_MIDDLE;
use crate::object::NONE;
use crate::{Budget, Capability, Endpoint, Notification, Process, RecordError, State, Thread, VectorState, World};
use abi::Kind;
use abi::record::Table;

// Numbers of tables, to match by.
pub(crate) const WORLD: u16 = Table::World as u16;
pub(crate) const PROCESS: u16 = Table::Process as u16;
pub(crate) const THREAD: u16 = Table::Thread as u16;
pub(crate) const VECTOR: u16 = Table::Vector as u16;
pub(crate) const ENDPOINT: u16 = Table::Endpoint as u16;
pub(crate) const NOTIFICATION: u16 = Table::Notification as u16;
pub(crate) const BUDGET: u16 = Table::Budget as u16;
pub(crate) const CAPABILITY: u16 = Table::Capability as u16;

/// The tables that [`World::capacities`](crate::World::capacities) counts, in its order.
pub(crate) const COUNTED: [u16; 6] = [PROCESS, THREAD, ENDPOINT, NOTIFICATION, BUDGET, CAPABILITY];

/// Where records are found. Of one that was never written the value is that of a free one.
pub trait Graph {
    /// Why a record cannot be had now.
    type Error;

    /// Sizes of the world's tables, as in [`World::capacities`](crate::World::capacities).
    fn capacities(&self) -> [u32; 6];
    /// Tickets drawn, as in [`World::ticket`](crate::World::ticket).
    fn ticket(&self) -> u64;
    /// A process.
    fn process(&mut self, index: u32) -> Result<Process, Self::Error>;
    /// A thread.
    fn thread(&mut self, index: u32) -> Result<Thread, Self::Error>;
    /// An endpoint.
    fn endpoint(&mut self, index: u32) -> Result<Endpoint, Self::Error>;
    /// A notification.
    fn notification(&mut self, index: u32) -> Result<Notification, Self::Error>;
    /// A budget.
    fn budget(&mut self, index: u32) -> Result<Budget, Self::Error>;
    /// A capability, by slot.
    fn capability(&mut self, slot: u32) -> Result<Capability, Self::Error>;
}

/// Judges a record of the kernel by itself, as a restore does. Records of tables behind the kernel's are others' to judge.
///
/// # Errors
/// What is wrong with it; [`RecordError::Field`] for one of no table.
pub fn read_alone(table: u16, bytes: &[u8]) -> Result<(), RecordError> {
    match table {
        WORLD => World::read(bytes).map(drop_it),
        PROCESS => Process::read(bytes).map(drop_it),
        THREAD => Thread::read(bytes).map(drop_it),
        VECTOR => VectorState::read(bytes).map(drop_it),
        ENDPOINT => Endpoint::read(bytes).map(drop_it),
        NOTIFICATION => Notification::read(bytes).map(drop_it),
        BUDGET => Budget::read(bytes).map(drop_it),
        CAPABILITY => Capability::read(bytes).map(drop_it),
        others if others >= Table::MemoryObject as u16 => Ok(()),
        _ => Err(RecordError::Field),
    }
}

fn drop_it<T>(_: T) {}

/// Whether a world whose tables have these sizes has a place for this record of the kernel.
pub fn is_within(table: u16, index: u32, capacities: &[u32; 6]) -> bool {
    let counted = if table == VECTOR { THREAD } else { table };
    match COUNTED.iter().position(|&other| other == counted) {
        Some(place) => index < capacities[place],
        None => table == WORLD && index == 0 || table >= Table::MemoryObject as u16,
    }
}

/// Whether a record of the kernel and what it refers to fit together. Of tables whose records refer to nothing, and of
/// those that are not the kernel's, every record does.
///
/// # Errors
/// What the graph answers for a record that cannot be had.
pub fn is_sound<G: Graph>(graph: &mut G, table: u16, index: u32) -> Result<bool, G::Error> {
    match table {
        PROCESS => process(graph, index),
        THREAD => thread(graph, index),
        ENDPOINT => {
            let record = graph.endpoint(index)?;
            Ok(record.life == 0 || pays(graph, record.budget)?)
        }
        NOTIFICATION => notification(graph, index),
        BUDGET => {
            let Budget { life, budget, .. } = graph.budget(index)?;
            Ok(life == 0 || budget == NONE || pays(graph, budget)?)
        }
        CAPABILITY => capability(graph, index),
        _ => Ok(true),
    }
}

fn process<G: Graph>(graph: &mut G, index: u32) -> Result<bool, G::Error> {
    let record = graph.process(index)?;
    let [_, _, endpoints, .., slots] = graph.capacities();
    let slots = record.slots.checked_add(record.slot_count).is_some_and(|end| end <= slots);
    let budget = !record.exists() || pays(graph, record.budget)?;
    // A process may have faults go to no port, or to one that has since died, but never to a volatile endpoint.
    let port = record.port == NONE || record.port < endpoints;
    Ok(slots && budget && port)
}

fn thread<G: Graph>(graph: &mut G, index: u32) -> Result<bool, G::Error> {
    let record = graph.thread(index)?;
    if record.state == State::Free {
        return Ok(true);
    }
    let [processes, threads, endpoints, notifications, ..] = graph.capacities();
    // With a ticket drawn by nobody, whoever comes later would not be behind it.
    let drawn = record.state == State::Stopped || record.ticket.abs_diff(TICKET_MIDDLE) <= graph.ticket();
    let process = record.process < processes && graph.process(record.process)?.exists();
    let object = match record.state {
        State::Calling | State::Sending | State::Faulting | State::Receiving => {
            record.object < endpoints && graph.endpoint(record.object)?.life != 0
        }
        // Nobody waits for bits that are there.
        State::Waiting => {
            let notification =
                (record.object < notifications).then(|| graph.notification(record.object)).transpose()?;
            notification.is_some_and(|notification| notification.life != 0 && notification.bits == 0)
        }
        _ => true,
    };
    let serving = record.serving == NONE || record.serving < threads && record.serving != index;
    let bound = record.bound == NONE
        || record.bound < notifications && {
            let notification = graph.notification(record.bound)?;
            let waits = record.state == State::Receiving;
            notification.bound == index && notification.life != 0 && !(waits && notification.bits != 0)
        };
    Ok(drawn && process && object && serving && bound && pays(graph, record.budget)?)
}

fn notification<G: Graph>(graph: &mut G, index: u32) -> Result<bool, G::Error> {
    let record = graph.notification(index)?;
    let bound = record.bound == NONE
        || record.bound < graph.capacities()[1] && {
            let thread = graph.thread(record.bound)?;
            thread.bound == index && thread.state != State::Free
        };
    Ok(bound && (record.life == 0 || pays(graph, record.budget)?))
}

/// Whether there is a budget that an object can have been made from, and that has its counts again when it goes.
fn pays<G: Graph>(graph: &mut G, budget: u32) -> Result<bool, G::Error> {
    Ok(budget < graph.capacities()[4] && graph.budget(budget)?.life == 1)
}

fn capability<G: Graph>(graph: &mut G, slot: u32) -> Result<bool, G::Error> {
    let record = graph.capability(slot)?;
    let Some(kind) = record.kind() else { return Ok(true) };
    let capacities = graph.capacities();
    let in_range = is_world_object(&record, &capacities);
    if !in_range || record.parent == NONE {
        return Ok(in_range && has_been_made(graph, &record)?);
    }
    // A Reply is linear: derived from nothing.
    if kind == Kind::Reply || record.parent >= capacities[5] {
        return Ok(false);
    }
    let parent = graph.capability(record.parent)?;
    let narrows = parent.kind() == Some(kind)
        && (parent.object, parent.generation) == (record.object, record.generation)
        && parent.rights().contains(record.rights())
        && parent.depth < record.depth
        && (parent.badge == 0 || parent.badge == record.badge);
    Ok(narrows)
}

/// Whether an object in range has come to the generation for which a capability was made.
fn has_been_made<G: Graph>(graph: &mut G, capability: &Capability) -> Result<bool, G::Error> {
    let index = capability.object;
    let now = match capability.kind() {
        Some(Kind::Process) => graph.process(index)?.generation,
        Some(Kind::Thread) => graph.thread(index)?.generation,
        // Calls are counted round and round: a Reply left behind far enough looks like one to a call to come.
        Some(Kind::Reply) => return Ok(true),
        Some(Kind::Endpoint) => graph.endpoint(index)?.generation,
        Some(Kind::Notification) => graph.notification(index)?.generation,
        _ => graph.budget(index)?.generation,
    };
    Ok(has_reached(now, capability.generation))
}

/// Whether the Reply to call number `sequence` of a thread still has somebody to go to.
pub fn stands(caller: &Thread, sequence: u32) -> bool {
    caller.call_sequence == sequence && matches!(caller.state, State::AwaitReply | State::AwaitFault)
}

/// Whether a counter that wraps around has come as far.
pub(crate) fn has_reached(now: u32, then: u32) -> bool {
    now.wrapping_sub(then) <= u32::MAX / 2
}

/// Whether a capability names an object of a world whose tables have these sizes.
pub(crate) fn is_world_object(capability: &Capability, capacities: &[u32; 6]) -> bool {
    let bound = match capability.kind() {
        Some(Kind::Process) => capacities[0],
        Some(Kind::Thread | Kind::Reply) => capacities[1],
        Some(Kind::Endpoint) => capacities[2],
        Some(Kind::Notification) => capacities[3],
        Some(Kind::Budget) => capacities[4],
        _ => 0,
    };
    capability.object < bound
}
