//! Records, each alone: what the kernel could have written is taken, and nothing else; field by field, at the bounds.

use crate::object::NONE;
use crate::{Budget, Capability, Endpoint, Notification, Process, State, Thread};
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
