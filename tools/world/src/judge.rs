//! The records of an epoch judged as the kernel judges them when it takes a world back: each alone, then with all that
//! it refers to.

use std::collections::BTreeMap;
use std::convert::Infallible;

use abi::record::Table;
use kernel_core::graph::{Graph as Records, is_sound};
use kernel_core::{Budget, Capability, Endpoint, Notification, Process, RecordError, Thread, World};
use zerocopy::FromBytes;

use crate::session::Contents;

/// A record that no kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsound {
    /// Its table.
    pub table: u16,
    /// Its index.
    pub index: u32,
    /// What is wrong.
    pub what: &'static str,
}

/// Goes through all records of the kernel; what is wrong, by table and index. A world without any is sound.
pub fn judge(contents: &Contents) -> Vec<Unsound> {
    let mut found = Vec::new();
    let kernel = |table: u16| table <= Table::Capability as u16;
    if !contents.records.keys().any(|(table, _)| kernel(*table)) {
        return found;
    }
    let at = (Table::World as u16, 0);
    let world = contents.records.get(&at).and_then(|bytes| World::read_from_bytes(bytes).ok());
    let Some(world) = world else {
        found.push(Unsound { table: at.0, index: at.1, what: "the record of the world itself is missing or is none" });
        return found;
    };
    let mut graph = Judge { records: &contents.records, capacities: world.capacities };
    for ((table, index), bytes) in contents.records.iter().filter(|((table, _), _)| kernel(*table)) {
        let (table, index) = (*table, *index);
        let what = match read_alone(table, bytes) {
            Err(error) => why(error),
            Ok(()) if !is_within(table, index, &world.capacities) => "it lies outside its table",
            Ok(()) => match is_sound(&mut graph, table, index) {
                Ok(true) => continue,
                Ok(false) if table == Table::Capability as u16 => graph.why_capability(index),
                Ok(false) => "it refers to what does not exist, or to what does not refer back",
                Err(never) => match never {},
            },
        };
        found.push(Unsound { table, index, what });
    }
    found.extend(shared_slots(&graph));
    found
}

fn why(error: RecordError) -> &'static str {
    match error {
        RecordError::Length => "it has the wrong length",
        _ => "its fields contradict each other",
    }
}

fn read_alone(table: u16, bytes: &[u8]) -> Result<(), RecordError> {
    const PROCESS: u16 = Table::Process as u16;
    const THREAD: u16 = Table::Thread as u16;
    const ENDPOINT: u16 = Table::Endpoint as u16;
    const NOTIFICATION: u16 = Table::Notification as u16;
    const BUDGET: u16 = Table::Budget as u16;
    const CAPABILITY: u16 = Table::Capability as u16;
    match table {
        PROCESS => Process::read(bytes).map(drop_it),
        THREAD => Thread::read(bytes).map(drop_it),
        ENDPOINT => Endpoint::read(bytes).map(drop_it),
        NOTIFICATION => Notification::read(bytes).map(drop_it),
        BUDGET => Budget::read(bytes).map(drop_it),
        CAPABILITY => Capability::read(bytes).map(drop_it),
        _ => Ok(()),
    }
}

fn drop_it<T>(_: T) {}

fn is_within(table: u16, index: u32, capacities: &[u32; 6]) -> bool {
    let bound = match table {
        table if table == Table::World as u16 => 1,
        table if table == Table::Process as u16 => capacities[0],
        table if table == Table::Thread as u16 || table == Table::Vector as u16 => capacities[1],
        table if table == Table::Endpoint as u16 => capacities[2],
        table if table == Table::Notification as u16 => capacities[3],
        table if table == Table::Budget as u16 => capacities[4],
        _ => capacities[5],
    };
    index < bound
}

/// Processes whose tables of capabilities overlap: then one would hold what the other was given.
fn shared_slots(graph: &Judge<'_>) -> Vec<Unsound> {
    let table = Table::Process as u16;
    let mut ranges: Vec<(u32, u32, u32)> = graph
        .records
        .range((table, 0)..=(table, u32::MAX))
        .filter_map(|((_, index), bytes)| Some((Process::read(bytes).ok()?, *index)))
        .filter(|(process, _)| process.exists())
        .map(|(process, index)| (process.slots, process.slots.saturating_add(process.slot_count), index))
        .collect();
    ranges.sort_unstable();
    let what = "its capabilities lie where another process has its own";
    ranges
        .windows(2)
        .filter(|pair| pair[1].0 < pair[0].1)
        .map(|pair| Unsound { table, index: pair[1].2, what })
        .collect()
}

/// Records as a graph. Those that are none are as good as free: they have been reported by themselves.
struct Judge<'c> {
    records: &'c BTreeMap<(u16, u32), Vec<u8>>,
    capacities: [u32; 6],
}

impl Judge<'_> {
    fn get<R>(&self, table: Table, index: u32, read: impl Fn(&[u8]) -> Result<R, RecordError>, free: R) -> R {
        self.records.get(&(table as u16, index)).and_then(|bytes| read(bytes).ok()).unwrap_or(free)
    }

    fn why_capability(&mut self, slot: u32) -> &'static str {
        let Ok(record) = self.capability(slot);
        let Ok(parent) = self.capability(record.parent);
        if record.parent == u32::MAX || record.parent >= self.capacities[5] {
            "a capability to what the world has no place for"
        } else if parent.kind().is_none() {
            "a capability whose parent does not exist"
        } else if (parent.kind, parent.object, parent.generation) != (record.kind, record.object, record.generation) {
            "a capability to another object than its parent's"
        } else if !parent.rights().contains(record.rights()) {
            "a capability with rights that its parent has not"
        } else if parent.depth >= record.depth {
            "a capability that does not lie below its parent: a circle"
        } else if parent.badge != 0 && parent.badge != record.badge {
            "a capability with another badge than its parent's"
        } else {
            "a capability to what the world has no place for"
        }
    }
}

impl Records for Judge<'_> {
    type Error = Infallible;

    fn capacities(&self) -> [u32; 6] {
        self.capacities
    }

    fn process(&mut self, index: u32) -> Result<Process, Infallible> {
        Ok(self.get(Table::Process, index, Process::read, Process::FREE))
    }

    fn thread(&mut self, index: u32) -> Result<Thread, Infallible> {
        Ok(self.get(Table::Thread, index, Thread::read, Thread::FREE))
    }

    fn endpoint(&mut self, index: u32) -> Result<Endpoint, Infallible> {
        Ok(self.get(Table::Endpoint, index, Endpoint::read, Endpoint::FREE))
    }

    fn notification(&mut self, index: u32) -> Result<Notification, Infallible> {
        Ok(self.get(Table::Notification, index, Notification::read, Notification::FREE))
    }

    fn budget(&mut self, index: u32) -> Result<Budget, Infallible> {
        Ok(self.get(Table::Budget, index, Budget::read, Budget::FREE))
    }

    fn capability(&mut self, slot: u32) -> Result<Capability, Infallible> {
        Ok(self.get(Table::Capability, slot, Capability::read, Capability::EMPTY))
    }
}
