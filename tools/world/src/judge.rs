//! The records of an epoch judged as kernel and pager judge them when they take a world back: each alone, then with all
//! that it refers to.

use std::collections::BTreeMap;
use std::convert::Infallible;

use abi::record::Table;
use kernel_core::graph::{Graph as Records, is_sound, is_within, read_alone};
use kernel_core::{Budget, Capability, Endpoint, Notification, Process, RecordError, Thread, World};
use pager_records::{ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord, SpaceRecord};
use snapshot_server::Whole;
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

/// Goes through all records of kernel and pager; what is wrong, by table and index. A world without any is sound.
pub fn judge(contents: &Contents) -> Vec<Unsound> {
    let mut found = Vec::new();
    let holds =
        |tables: core::ops::RangeInclusive<u16>| contents.records.keys().any(|(table, _)| tables.contains(table));
    if holds(KERNEL) {
        kernels(contents, &mut found);
    }
    if holds(PAGER) {
        pagers(contents, &mut found);
    }
    found
}

/// Tables of the kernel; numbers among them that mean nothing are refused at a restore.
const KERNEL: core::ops::RangeInclusive<u16> = 0..=Table::MemoryObject as u16 - 1;
/// Tables of the pager.
const PAGER: core::ops::RangeInclusive<u16> = Table::MemoryObject as u16..=Table::Pager as u16;

fn kernels(contents: &Contents, found: &mut Vec<Unsound>) {
    let at = (Table::World as u16, 0);
    let world = contents.records.get(&at).and_then(|bytes| World::read(bytes).ok());
    let Some(world) = world else {
        found.push(Unsound { table: at.0, index: at.1, what: "the record of the world itself is missing or is none" });
        return;
    };
    let mut graph = Judge { records: &contents.records, capacities: world.capacities, ticket: world.ticket };
    for ((table, index), bytes) in contents.records.iter().filter(|((table, _), _)| KERNEL.contains(table)) {
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
    together(&mut graph, found);
}

fn pagers(contents: &Contents, found: &mut Vec<Unsound>) {
    let at = (Table::Pager as u16, 0);
    let counters = contents.records.get(&at).and_then(|bytes| pager_records::read(bytes, |_| true).ok());
    if counters.is_none_or(|counters: PagerRecord| counters.version != PAGER_VERSION) {
        let what = "the record of the pager's counters is missing, is none, or is of another version";
        found.push(Unsound { table: at.0, index: at.1, what });
        return;
    }
    let mut graph = Judge { records: &contents.records, capacities: [0; 6], ticket: 0 };
    for ((table, index), bytes) in contents.records.iter().filter(|((table, _), _)| PAGER.contains(table)) {
        let (table, index) = (*table, *index);
        let what = if !is_pagers(table, bytes) {
            "its bytes are no record of the pager"
        } else {
            match pager_records::is_sound(&mut graph, table, index) {
                Ok(true) => continue,
                Ok(false) => "no pager writes it: it has no place in its table, or refers to what does not exist",
                Err(never) => match never {},
            }
        };
        found.push(Unsound { table, index, what });
    }
}

/// Whether bytes are a record of that table of the pager.
fn is_pagers(table: u16, bytes: &[u8]) -> bool {
    const OBJECTS: u16 = Table::MemoryObject as u16;
    const REGIONS: u16 = Table::Region as u16;
    const SPACES: u16 = Table::Space as u16;
    match table {
        OBJECTS => pager_records::read(bytes, ObjectRecord::is_valid).is_ok(),
        REGIONS => pager_records::read(bytes, RegionRecord::is_valid).is_ok(),
        SPACES => pager_records::read(bytes, SpaceRecord::is_valid).is_ok(),
        _ => PagerRecord::read_from_bytes(bytes).is_ok(),
    }
}

fn why(error: RecordError) -> &'static str {
    match error {
        RecordError::Length => "it has the wrong length",
        _ => "its fields contradict each other",
    }
}

/// More slots than the largest tables of any kernel have.
const SLOTS_MAX: u32 = 1 << 22;

/// What shows only when all records are seen. What is wrong by itself has been found.
fn together(graph: &mut Judge<'_>, found: &mut Vec<Unsound>) {
    let records = graph.records;
    // As many passes as there are records for, whatever sizes a hostile image speaks of.
    let last = |table: Table| {
        let table = table as u16;
        records.range((table, 0)..=(table, u32::MAX)).next_back().map_or(0, |((_, index), _)| index.saturating_add(1))
    };
    let mut sizes = graph.capacities;
    for (size, table) in sizes.iter_mut().zip([Table::Process, Table::Thread, Table::Endpoint]) {
        *size = (*size).min(last(table));
    }
    sizes[5] = sizes[5].min(last(Table::Capability).max(last_slot(graph))).min(SLOTS_MAX);
    let mut whole = Box::new(Whole::NEW);
    loop {
        for ((table, index), _) in records.range((*KERNEL.start(), 0)..=(*KERNEL.end(), u32::MAX)) {
            let (table, index) = (*table, *index);
            let Ok(conflict) = whole.see(graph, table, index);
            let known = |unsound: &Unsound| (unsound.table, unsound.index) == (table, index);
            if let Some(conflict) = conflict
                && !found.iter().any(known)
            {
                found.push(Unsound { table, index, what: conflict.text() });
            }
        }
        if !whole.next_pass(&sizes) {
            return;
        }
    }
}

/// The end of the last table of capabilities.
fn last_slot(graph: &Judge<'_>) -> u32 {
    let table = Table::Process as u16;
    let processes =
        graph.records.range((table, 0)..=(table, u32::MAX)).filter_map(|(_, bytes)| Process::read(bytes).ok());
    processes.map(|process| process.slots.saturating_add(process.slot_count)).max().unwrap_or(0)
}

/// Records as a graph. Those that are none are as good as free: they have been reported by themselves.
struct Judge<'c> {
    records: &'c BTreeMap<(u16, u32), Vec<u8>>,
    capacities: [u32; 6],
    ticket: u64,
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

    fn ticket(&self) -> u64 {
        self.ticket
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

impl Judge<'_> {
    /// A record of the pager, `empty` when it is none; `None`: its table has no such slot.
    fn pagers<R: FromBytes + Copy>(
        &mut self,
        (table, slot): (Table, u32),
        capacity: fn(&PagerRecord) -> u32,
        empty: R,
        is_valid: fn(&R) -> bool,
    ) -> Result<Option<R>, Infallible> {
        let Ok(counters) = pager_records::Graph::counters(self);
        let bytes = self.records.get(&(table as u16, slot));
        let record = bytes.and_then(|bytes| pager_records::read(bytes, is_valid).ok()).unwrap_or(empty);
        Ok((slot < capacity(&counters)).then_some(record))
    }
}

impl pager_records::Graph for Judge<'_> {
    type Error = Infallible;

    fn counters(&mut self) -> Result<PagerRecord, Infallible> {
        let none =
            PagerRecord { content_next: 0, objects_max: 0, regions_max: 0, spaces_max: 0, version: PAGER_VERSION };
        let bytes = self.records.get(&(Table::Pager as u16, 0));
        Ok(bytes.and_then(|bytes| PagerRecord::read_from_bytes(bytes).ok()).unwrap_or(none))
    }

    fn object(&mut self, slot: u32) -> Result<Option<ObjectRecord>, Infallible> {
        let at = (Table::MemoryObject, slot);
        self.pagers(at, |counters| counters.objects_max, ObjectRecord::EMPTY, ObjectRecord::is_valid)
    }

    fn region(&mut self, slot: u32) -> Result<Option<RegionRecord>, Infallible> {
        let at = (Table::Region, slot);
        self.pagers(at, |counters| counters.regions_max, RegionRecord::EMPTY, RegionRecord::is_valid)
    }

    fn space(&mut self, slot: u32) -> Result<Option<SpaceRecord>, Infallible> {
        let at = (Table::Space, slot);
        self.pagers(at, |counters| counters.spaces_max, SpaceRecord::EMPTY, SpaceRecord::is_valid)
    }
}
