//! Records, each alone: what the kernel could have written is taken, and nothing else; field by field, at the bounds.

use crate::graph::{is_within, read_alone};
use crate::object::NONE;
use crate::{Budget, Capability, Endpoint, Notification, Process, RecordError, State, Thread, VectorState, World};
use abi::record::Table;
use abi::{BADGE_MAX, Kind, Rights};
use zerocopy::IntoBytes;

/// Changes of a good record, and whether the result is still one.
type Row<T> = (bool, fn(&mut T));

fn judge<T: Copy + IntoBytes + zerocopy::Immutable, E: core::fmt::Debug>(
    good: T,
    read: fn(&[u8]) -> Result<T, E>,
    rows: &[Row<T>],
) {
    assert!(read(good.as_bytes()).is_ok());
    assert!(read(&good.as_bytes()[1..]).is_err(), "too short");
    for (row, (is_good, change)) in rows.iter().enumerate() {
        let mut other = good;
        change(&mut other);
        let taken = read(other.as_bytes());
        assert_eq!(taken.is_ok(), *is_good, "row {row}: {taken:?}", taken = taken.map(|_| ()));
    }
}

#[test]
fn processes() {
    assert!(Process::read(Process::FREE.as_bytes()).is_ok());
    let good = Process { slots: 64, slot_count: 32, generation: 1, budget: 0, ..Process::FREE };
    judge(
        good,
        Process::read,
        &[
            (true, |p| p.slot_count = 16),
            (true, |p| p.slot_count = 64),
            (true, |p| (p.slots, p.slot_count) = (0, 32_768)),
            (true, |p| (p.slots, p.slot_count) = (7, 0)),
            (true, |p| p.dying = 1),
            (true, |p| (p.port, p.port_badge) = (0, BADGE_MAX)),
            (true, |p| (p.port, p.port_generation) = (0, 1)),
            (false, |p| p.slot_count = 8),
            (false, |p| p.slot_count = 48),
            (false, |p| (p.slots, p.slot_count) = (0, 65_536)),
            (false, |p| p.slots = 48),
            (false, |p| p.dying = 2),
            (false, |p| p.reserved = 1),
            (false, |p| (p.port, p.port_badge) = (0, BADGE_MAX + 1)),
            (false, |p| p.port_badge = 1),
            (false, |p| p.port_generation = 1),
        ],
    );
}

#[test]
fn threads() {
    assert!(Thread::read(Thread::FREE.as_bytes()).is_ok());
    let good = Thread { process: 3, state: State::Ready, generation: 1, budget: 0, ..Thread::FREE };
    judge(
        good,
        Thread::read,
        &[
            (true, |t| t.state = State::Stopped),
            (true, |t| t.state = State::AwaitReply),
            (true, |t| t.state = State::AwaitFault),
            (true, |t| t.state = State::Sleeping),
            (true, |t| (t.state, t.object) = (State::Calling, 0)),
            (true, |t| (t.state, t.object) = (State::Sending, 0)),
            (true, |t| (t.state, t.object) = (State::Faulting, 0)),
            (true, |t| (t.state, t.object) = (State::Receiving, 0)),
            (true, |t| (t.state, t.object) = (State::Waiting, 0)),
            (true, |t| t.serving = 1),
            (true, |t| t.badge = BADGE_MAX),
            (true, |t| (t.state, t.process) = (State::Free, NONE)),
            (false, |t| t.process = NONE),
            (false, |t| t.badge = BADGE_MAX + 1),
            (false, |t| t.reserved[4] = 1),
            (false, |t| t.object = 0),
            (false, |t| (t.state, t.object) = (State::Stopped, 0)),
            (false, |t| (t.state, t.object) = (State::Sleeping, 0)),
            (false, |t| (t.state, t.object) = (State::AwaitReply, 0)),
            (false, |t| t.state = State::Calling),
            (false, |t| t.state = State::Sending),
            (false, |t| t.state = State::Faulting),
            (false, |t| t.state = State::Receiving),
            (false, |t| t.state = State::Waiting),
            (false, |t| (t.state, t.object, t.serving) = (State::Receiving, 0, 1)),
        ],
    );
}

#[test]
fn capabilities() {
    assert!(Capability::read(Capability::EMPTY.as_bytes()).is_ok());
    judge(
        Capability::root(Kind::Endpoint, 2, 1),
        Capability::read,
        &[
            (true, |c| (c.parent, c.depth) = (5, 64)),
            (true, |c| c.badge = BADGE_MAX),
            (true, |c| c.dying = 1),
            (true, |c| c.rights = 0),
            (true, |c| *c = Capability::root(Kind::Reply, 2, 1)),
            (false, |c| c.depth = 65),
            (false, |c| c.badge = BADGE_MAX + 1),
            (false, |c| c.dying = 2),
            (false, |c| c.reserved = 1),
            (false, |c| c.reserved2 = 1),
            (false, |c| c.rights |= Rights::BUDGET_SPEND.bits()),
            (false, |c| c.kind = 0),
            (false, |c| c.kind = 200),
            (false, |c| *c = Capability::root(Kind::Memory, 0, 0)),
            (false, |c| *c = Capability::root(Kind::Interrupt, 0, 0)),
            (false, |c| *c = Capability::root(Kind::IoPorts, 0, 0)),
            (false, |c| *c = Capability::root(Kind::Epoch, 0, 0)),
        ],
    );
}

#[test]
fn what_is_waited_on_and_paid_from() {
    let endpoint = Endpoint { generation: 1, service: 7, budget: 0, life: 1 };
    judge(endpoint, Endpoint::read, &[(true, |e| e.life = 2), (true, |e| e.life = 0), (false, |e| e.life = 3)]);
    let notification = Notification { generation: 1, budget: 0, life: 1, ..Notification::FREE };
    judge(
        notification,
        Notification::read,
        &[
            (true, |n| n.life = 2),
            (true, |n| n.bits = BADGE_MAX),
            (false, |n| n.life = 3),
            (false, |n| n.bits = BADGE_MAX + 1),
        ],
    );
    let budget = Budget { generation: 1, life: 1, ..Budget::FREE };
    judge(
        budget,
        Budget::read,
        &[(true, |b| b.life = 0), (false, |b| b.life = 2), (false, |b| b.reserved = 1), (true, |b| b.left.0[3] = 9)],
    );
}

/// Where a record is judged by its table's number: each goes to its own table's reader, and who is not the kernel's is
/// nobody's business.
#[test]
fn records_are_of_the_tables_they_say() {
    let vector = VectorState::INITIAL;
    let records: [(Table, &[u8]); 7] = [
        (Table::Process, Process::FREE.as_bytes()),
        (Table::Thread, Thread::FREE.as_bytes()),
        (Table::Vector, vector.as_bytes()),
        (Table::Endpoint, Endpoint::FREE.as_bytes()),
        (Table::Notification, Notification::FREE.as_bytes()),
        (Table::Budget, Budget::FREE.as_bytes()),
        (Table::Capability, Capability::EMPTY.as_bytes()),
    ];
    for (table, record) in records {
        assert_eq!(read_alone(table as u16, record), Ok(()), "{table:?}");
        assert_eq!(read_alone(table as u16, &record[1..]), Err(RecordError::Length), "{table:?}");
        assert_eq!(read_alone(table as u16, &vec![0xff; record.len()]), Err(RecordError::Field), "{table:?}");
    }
    for table in [8, 15] {
        assert_eq!(read_alone(table, &[]), Err(RecordError::Field), "{table}");
    }
    for table in [Table::MemoryObject as u16, Table::Pager as u16, u16::MAX] {
        assert_eq!(read_alone(table, &[0xff; 3]), Ok(()), "{table}");
    }
    let capacities = [3, 5, 7, 11, 13, 17];
    let bounds = [1, 3, 5, 5, 7, 11, 13, 17];
    for (table, bound) in (0..).zip(bounds) {
        let within = [0, bound - 1, bound, u32::MAX].map(|index| is_within(table, index, &capacities));
        assert_eq!(within, [true, true, false, false], "{table}");
    }
    for (table, within) in [(8, false), (15, false), (16, true), (19, true)] {
        assert_eq!([0, u32::MAX].map(|index| is_within(table, index, &capacities)), [within; 2], "{table}");
    }
}

#[test]
fn worlds_of_one_shape_have_the_same_tables_and_components() {
    let one = World { version: 1, components: 3, epoch: 1, ticket: 2, time_ns: 3, capacities: [4; 6] };
    assert!(one.is_shaped_like(&World { epoch: 9, ticket: 9, time_ns: 9, ..one }));
    assert!(!one.is_shaped_like(&World { components: 7, ..one }));
    for kind in 0..6 {
        let mut other = one;
        other.capacities[kind] += 1;
        assert!(!one.is_shaped_like(&other) && !other.is_shaped_like(&one), "{kind}");
    }
}
