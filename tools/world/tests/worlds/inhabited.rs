//! A world with processes in it: records such as a kernel writes.

use std::collections::BTreeMap;

use abi::protocol::memory::Badge;
use abi::protocol::startup::{STARTUP_ADDRESS, StartupBuilder};
use abi::record::Table;
use abi::{Epoch, Kind, Rights};
use format::World as Identity;
use kernel_core::{Budget, Capability, Counts, Endpoint, Notification, Process, State, Thread, World};
use pager_records::{ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord, SpaceRecord};
use snapshot_server::FormatOptions;
use world::{HostMemory, Session, Sizes};
use zerocopy::IntoBytes;

use crate::image::{Image, page};

/// Slots of a process.
pub(crate) const SLOTS: u32 = 32;
const NONE: u32 = u32::MAX;

pub(crate) type Records = BTreeMap<(u16, u32), Vec<u8>>;

fn put(records: &mut Records, table: Table, index: u32, record: &(impl IntoBytes + zerocopy::Immutable)) {
    records.insert((table as u16, index), record.as_bytes().to_vec());
}

fn capability(kind: Kind, object: u32, rights: Rights, parent: Option<u32>, badge: u64) -> Capability {
    let (parent, depth) = parent.map_or((NONE, 0), |parent| (parent, 1));
    Capability {
        badge,
        object,
        generation: 1,
        parent,
        rights: rights.bits(),
        kind: kind as u8,
        depth,
        ..Capability::EMPTY
    }
}

/// So many processes: each holds itself, its thread, an endpoint, a notification, the console's and the pager's ports;
/// the right to call its neighbour, to ring another, and to an endpoint that five share.
pub(crate) fn records(processes: u32) -> Records {
    let mut records = Records::new();
    let capacities = [processes, processes, 200, processes, 4, processes * SLOTS];
    let world = World {
        version: 1,
        components: 3,
        epoch: Epoch::first_of(1).expect("one").bits(),
        ticket: 9,
        time_ns: 7,
        capacities,
    };
    put(&mut records, Table::World, 0, &world);
    let left = Counts([1; 6]);
    put(&mut records, Table::Budget, 0, &Budget { left, generation: 1, life: 1, ..Budget::FREE });
    let endpoint = |service| Endpoint { generation: 1, service, budget: 0, life: 1 };
    for service in 0..4 {
        put(&mut records, Table::Endpoint, service, &endpoint(service + 1));
    }
    for group in 0..processes.div_ceil(5) {
        put(&mut records, Table::Endpoint, 100 + group, &endpoint(0));
    }
    for index in 0..processes {
        let slots = index * SLOTS;
        let process = Process {
            generation: 1,
            slots,
            slot_count: SLOTS,
            port: 0,
            port_generation: 1,
            budget: 0,
            ..Process::FREE
        };
        put(&mut records, Table::Process, index, &process);
        let state = if index % 3 == 0 { State::Ready } else { State::Receiving };
        let object = if state == State::Receiving { 10 + index } else { NONE };
        let ticket = 1 << 63;
        let thread =
            Thread { ticket, generation: 1, process: index, object, budget: 0, state, priority: 10, ..Thread::FREE };
        put(&mut records, Table::Thread, index, &thread);
        put(&mut records, Table::Endpoint, 10 + index, &endpoint(0));
        put(
            &mut records,
            Table::Notification,
            index,
            &Notification { generation: 1, budget: 0, life: 1, ..Notification::FREE },
        );
        let neighbour = (index + processes - 1) % processes;
        let other = (index * 7 + 3) % processes;
        let held = [
            capability(Kind::Process, index, Kind::Process.rights(), None, 0),
            capability(Kind::Thread, index, Kind::Thread.rights(), None, 0),
            capability(Kind::Endpoint, 10 + index, Kind::Endpoint.rights(), None, 0),
            capability(Kind::Endpoint, 1, Rights::SEND, None, u64::from(index)),
            capability(Kind::Endpoint, 0, Rights::SEND, None, 0x2000_0000_0000 + u64::from(index)),
            capability(Kind::Notification, index, Kind::Notification.rights(), None, 0),
            capability(Kind::Endpoint, 10 + neighbour, Rights::SEND, Some(neighbour * SLOTS + 3), u64::from(index) + 1),
            capability(Kind::Notification, other, Rights::SIGNAL, Some(other * SLOTS + 6), 0),
            capability(Kind::Endpoint, 100 + index / 5, Rights::SEND | Rights::COPY, None, 0),
        ];
        for (position, capability) in held.iter().enumerate() {
            // The first slot is the null handle's.
            put(&mut records, Table::Capability, slots + 1 + position as u32, capability);
        }
    }
    records
}

/// The records of an image, put into one epoch behind `changed` ones.
pub(crate) struct Made<'m> {
    pub(crate) session: Session<'m>,
    next: Epoch,
}

impl Made<'_> {
    /// Commits an epoch of records and pages.
    pub(crate) fn epoch(&mut self, records: &Records, pages: &[(u64, u64, u64)]) -> Epoch {
        let epoch = self.gather(records, pages);
        self.session.commit(epoch).expect("committed");
        epoch
    }

    /// Commits an epoch of records and whole pages.
    pub(crate) fn epoch_with(&mut self, records: &Records, pages: &[(u64, u64, [u8; 4096])]) -> Epoch {
        let epoch = self.gather(records, &[]);
        for (object, index, page) in pages {
            self.session.put_page(*object, *index, page).expect("put");
        }
        self.session.commit(epoch).expect("committed");
        epoch
    }

    /// The same, and a checkpoint of it.
    pub(crate) fn folded_epoch(&mut self, records: &Records, pages: &[(u64, u64, u64)]) -> Epoch {
        let epoch = self.gather(records, pages);
        self.session.commit_folded(epoch).expect("committed");
        epoch
    }

    fn gather(&mut self, records: &Records, pages: &[(u64, u64, u64)]) -> Epoch {
        let epoch = self.next;
        self.session.begin(epoch).expect("begun");
        for ((table, index), bytes) in records {
            self.session.put(|store| store.put_record(*table, *index, bytes)).expect("put");
        }
        for (object, index, content) in pages {
            self.session.put_page(*object, *index, &page(*content)).expect("put");
        }
        self.next = epoch.next().expect("an epoch");
        epoch
    }
}

/// A store in `image` and the memory for it.
pub(crate) fn memory(blocks: usize) -> HostMemory {
    let sizes = Sizes {
        blocks,
        segment_blocks: 8,
        entries: 1 << 14,
        cells: 1 << 14,
        deferred: 64,
        cache: 16,
        caller_pages: 64,
    };
    HostMemory::new(&sizes)
}

pub(crate) fn format<'m>(memory: &'m mut HostMemory, image: &Image) -> Made<'m> {
    let options =
        FormatOptions { world: Identity(77), root_slots: 4, segment_blocks: 16, formatted_ns: 7, programs: 0 };
    let mut session = Session::format(memory, &image.0, options).expect("a store");
    session.begin_incarnation().expect("an incarnation");
    Made { session, next: Epoch::first_of(1).expect("an epoch") }
}

/// An image of `processes` processes and some pages, in two epochs; in the second the last process has lost a
/// capability, and two pages are new. Returns both.
pub(crate) fn inhabited(image: &Image, blocks: usize, processes: u32) -> [Epoch; 2] {
    let mut memory = memory(blocks);
    let mut made = format(&mut memory, image);
    let pages: Vec<_> = (0..20).map(|index| (1, index, index + 1)).collect();
    let first = made.epoch(&records(processes), &pages);
    let mut changed = Records::new();
    put(&mut changed, Table::Capability, (processes - 1) * SLOTS + 9, &Capability::EMPTY);
    let second = made.epoch(&changed, &[(1, 3, 99), (2, 0, 98)]);
    [first, second]
}

/// The records of a pager that has given process `index` a space with a startup page in it, and what lies in that page:
/// it calls the process `name`. The space is named by the process's memory port, or, as in older worlds, by its record.
pub(crate) fn named(records: &mut Records, index: u32, name: &str, older: bool) -> [u8; 4096] {
    let counters =
        PagerRecord { content_next: 9, objects_max: 8, regions_max: 8, spaces_max: 8, version: PAGER_VERSION };
    put(records, Table::Pager, 0, &counters);
    put(records, Table::Space, 2, &SpaceRecord { pages_max: 9, life: 1, ..SpaceRecord::EMPTY });
    // It shows through an object that was copied.
    let below = ObjectRecord { content: 7, pages: 4, life: 2, ..ObjectRecord::EMPTY };
    put(records, Table::MemoryObject, 0, &below);
    let object = ObjectRecord { content: 8, pages: 4, parent: 0, space: 2, life: 1, ..ObjectRecord::EMPTY };
    put(records, Table::MemoryObject, 1, &object);
    let page = STARTUP_ADDRESS / 4096 - 1;
    let region = RegionRecord { page, pages: 2, object_page: 1, object: 1, space: 2, ..RegionRecord::EMPTY };
    put(records, Table::Region, 3, &region);
    let at = (Table::Process as u16, index);
    let process = Process::read(&records[&at]).expect("a process");
    let badge = Badge::Space(2).bits();
    if older {
        put(records, Table::Process, index, &Process { port_badge: badge, ..process });
    } else {
        let port = capability(Kind::Endpoint, 0, Rights::SEND, None, badge);
        put(records, Table::Process, index, &Process { port: NONE, port_generation: 0, ..process });
        put(records, Table::Capability, process.slots, &port);
    }
    let mut bytes = [0; 4096];
    let startup = StartupBuilder::new(name).expect("a name").finish();
    bytes[..startup.as_bytes().len()].copy_from_slice(startup.as_bytes());
    bytes
}
