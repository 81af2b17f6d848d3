//! Each invariant, broken by hand: a state that breaks just that one is noticed, and the violation names it.

use super::*;
use crate::capability::CapabilityLink;
use crate::object::{NONE, Task};
use crate::queue::{Link, QUEUED, Queue};
use crate::space::{ADDRESS, MAY_WRITE};
use crate::{Capability, Machine, State, TableId};
use std::collections::BTreeSet;

/// A world in which every kind of wait goes on at once. All numbers are the objects'.
pub(super) struct Scene {
    pub(super) rig: Rig,
    boot: BootProcess,
    /// A call that was received is with `server`, which sleeps with a deadline.
    server: u32,
    caller: u32,
    /// They wait on endpoint `full` to send.
    senders: [u32; 2],
    /// Waits on notification `bell`.
    waiter: u32,
    /// Is bound to notification `bound`, and receives on an endpoint.
    receiver: u32,
    /// Is ready, and volatile.
    ready: u32,
    full: u32,
    bell: u32,
    bound: u32,
    /// A process of the world with a page that it may write, and its first slot.
    process: u32,
    slots: u32,
}

const PAGE: u64 = 0x60_0000;
const FRAME: u32 = 107;
/// Handle of the bell in init's table.
const BELL: Handle = Handle(9);

impl Scene {
    pub(super) fn new() -> Self {
        let (mut rig, boot) = Rig::new();
        let volatile = rig.create(BUDGET, Kind::Process, [16, 0, 0, 0], Handle::NULL);
        assert_eq!(rig.create(WORLD, Kind::Notification, [0; 4], Handle::NULL), BELL);
        let bound = rig.create(WORLD, Kind::Notification, [0; 4], Handle::NULL);
        let [meet, full, empty] = [0; 3].map(|_| rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL));
        let (process, first) = world_process(&mut rig, 20);
        let object = |rig: &mut Rig, handle| {
            assert_eq!(rig.call(Call::Identify, handle, |_| {}), Status::Ok);
            rig.kernel.cpus[0].frame.words[2] as u32
        };
        let mut threads = vec![object(&mut rig, first)];
        for _ in 0..5 {
            threads.push(thread(&mut rig, WORLD, process, 10));
        }
        let ready = thread(&mut rig, BUDGET, volatile, 5);
        let ends = [meet, full, empty].map(|end| rig.grant(process, end, Rights::SEND | Rights::RECEIVE, 0));
        let bells = [BELL, bound].map(|bell| rig.grant(process, bell, Rights::WAIT, 0));
        derive(&mut rig, full);
        rig.create(WORLD, Kind::Budget, [0, 0, 1, 0], Handle::NULL);
        let first = abi::Epoch::first_of(1).expect("fits");
        assert_eq!(rig.call(Call::Resume, EPOCH, |r| r.rdi = first.bits()), Status::Ok);
        let mapped = rig.call(Call::Map, process, |r| {
            r.rdi = PAGE;
            r.words = [7, 1, MapFlags::WRITE.bits(), first.bits(), 0, 0, 0, 0];
            r.caps = u64::from(MEMORY.0);
        });
        assert_eq!(mapped, Status::Ok);
        let [bell, bound, full, process] = [BELL, bound, full, process].map(|h| object(&mut rig, h));
        let [server, caller, a, b, waiter, receiver] = threads[..] else { panic!("six threads") };
        let slots = rig.kernel.processes.get(process).slots;
        let senders = [a, b];
        let mut scene =
            Self { rig, boot, server, caller, senders, waiter, receiver, ready, full, bell, bound, process, slots };
        scene.play(ends, bells);
        scene
    }

    /// Init sleeps; each thread of the world makes its calls, and then init is awake.
    fn play(&mut self, [meet, full, empty]: [Handle; 3], [bell, bound]: [Handle; 2]) {
        let sleep = |ns| {
            move |r: &mut Registers| r.rax = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(ns)).0
        };
        self.rig.call(Call::Wait, Handle::NULL, sleep(1_000_000));
        let mut served = false;
        while self.rig.running() != self.ready {
            let running = self.rig.running();
            if running == self.server && served {
                self.rig.call(Call::Wait, Handle::NULL, sleep(1_000_000_000));
            } else if running == self.server {
                self.rig.call(Call::Receive, meet, |_| {});
                served = true;
            } else if running == self.caller {
                self.rig.call(Call::Call, meet, |_| {});
            } else if self.senders.contains(&running) {
                self.rig.call(Call::Send, full, |_| {});
            } else if running == self.waiter {
                self.rig.call(Call::Wait, bell, |_| {});
            } else {
                assert_eq!(self.rig.call(Call::BindNotification, bound, |_| {}), Status::Ok);
                self.rig.call(Call::Receive, empty, |_| {});
            }
        }
        self.rig.m.now_ns = 2_000_000;
        self.rig.kernel.timer(&mut self.rig.m, 0);
        self.rig.sound();
        assert_eq!(self.rig.running(), self.boot.thread);
    }

    fn thread(&mut self, number: u32) -> &mut Task {
        self.rig.kernel.threads.live_mut(number)
    }

    fn link(&mut self, thread: u32) -> &mut Link {
        self.rig.kernel.threads.beside_mut(thread)
    }

    /// A thread is in no queue any more, whatever these hold.
    fn forget_place(&mut self, thread: u32) {
        *self.link(thread) = Link::UNLINKED;
    }

    fn capability(&mut self, slot: u32) -> &mut Capability {
        self.rig.kernel.capabilities.live_mut(slot)
    }

    /// The last slot of the process of the world, which nothing is in.
    fn empty_slot(&self) -> u32 {
        self.slots + 15
    }

    /// The leaf table of the page, and the entry in it.
    fn leaf(&self) -> (TableId, usize) {
        let mut table = self.rig.kernel.processes.beside(self.process).root;
        for level in (1..4).rev() {
            let entry = self.rig.m.table_entry(table, (PAGE >> (12 + 9 * level)) as usize & 511);
            table = self.rig.m.table_at(entry & ADDRESS);
        }
        (table, (PAGE >> 12) as usize & 511)
    }

    /// A slot of init's table.
    fn init_slot(&self, handle: Handle) -> u32 {
        self.rig.kernel.processes.get(self.boot.process).slots + u32::from(handle.0)
    }

    /// A capability of init that something of its kind was derived from, and what was.
    fn derived(&self, kind: Kind) -> (u32, u32) {
        let capabilities = &self.rig.kernel.capabilities;
        let is_child = |&slot: &u32| capabilities.get(slot).kind == kind as u8 && capabilities.get(slot).parent != NONE;
        let child = (capabilities.world()..capabilities.len()).rev().find(is_child).expect("one was derived");
        (capabilities.get(child).parent, child)
    }
}

/// A started thread; its number.
fn thread(rig: &mut Rig, budget: Handle, process: Handle, priority: u64) -> u32 {
    let thread = rig.create(budget, Kind::Thread, [0x40_0000, 0x50_0000, 0, priority], process);
    assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
    assert_eq!(rig.call(Call::Identify, thread, |_| {}), Status::Ok);
    let number = rig.kernel.cpus[0].frame.words[2] as u32;
    assert_eq!(rig.call(Call::Drop, thread, |_| {}), Status::Ok);
    number
}

/// Init derives a badged endpoint and a copy of that, and a part of its memory.
fn derive(rig: &mut Rig, endpoint: Handle) {
    let mut copy = |of, badge: u64, offset: u64, length: u64| {
        let set = |r: &mut Registers| (r.rdi, r.words) = (u64::MAX, [badge, offset, length, 0, 0, 0, 0, 0]);
        assert_eq!(rig.call(Call::Copy, of, set), Status::Ok);
        rig.made()
    };
    copy(MEMORY, 0, 10, 5);
    let badged = copy(endpoint, 7, 0, 0);
    copy(badged, 0, 0, 0);
}

/// What to break, and under which name that must be noticed.
type Row = (&'static str, fn(&mut Scene));

const QUEUES: &[Row] = &[
    ("I1: queues are in the order of tickets", |s| {
        let later = s.rig.kernel.threads.get(s.senders[1]).ticket + 1;
        s.thread(s.senders[0]).ticket = later;
    }),
    ("I1: endpoint queue", |s| s.thread(s.receiver).object = s.full),
    ("I1: endpoint queue", |s| s.thread(s.receiver).state = State::Waiting),
    ("I1: notification queue", |s| s.thread(s.waiter).state = State::Sleeping),
    ("I1: notification queue", |s| s.thread(s.waiter).object = s.bound),
    ("I1: run queue", |s| s.thread(s.ready).priority += 1),
    ("I1: run queue", |s| s.thread(s.ready).state = State::Stopped),
    ("I1: marks of the run queues", |s| {
        // Who is put there by hand leaves no mark behind.
        let mut queue = Queue::EMPTY;
        assert!(queue.push_only(s.ready));
        s.rig.kernel.run.spoil(5, queue);
    }),
    ("I1: links of a queue", |s| {
        let second = s.senders[1];
        s.forget_place(second);
        s.link(second).place = QUEUED;
    }),
    ("I1: queued as its state says", |s| s.thread(s.caller).state = State::Waiting),
    ("I1: queued as its state says", |s| s.thread(s.server).state = State::Ready),
    ("I1: every queued thread is a member", |s| s.link(s.ready).place = 0),
    ("I1: every queued thread is a member", |s| *s.rig.kernel.notifications.beside_mut(s.bell) = Queue::EMPTY),
    ("I1: deadlines", |s| s.rig.kernel.deadlines.spoil(s.server)),
];

const ENDPOINTS: &[Row] = &[
    ("I2: senders or receivers", |s| s.thread(s.senders[0]).state = State::Receiving),
    ("I2: senders or receivers", |s| s.thread(s.senders[1]).state = State::Receiving),
    ("I2: a dead endpoint", |s| s.rig.kernel.endpoints.live_mut(s.full).life = 0),
    ("I2: lost wake-up", |s| s.rig.kernel.notifications.live_mut(s.bell).bits = 1),
    ("I2: bindings are mutual", |s| s.rig.kernel.notifications.live_mut(s.bound).bound = s.waiter),
    ("I2: lost wake-up of a bound thread", |s| s.rig.kernel.notifications.live_mut(s.bound).bits = 1),
];

const DERIVATIONS: &[Row] = &[
    ("I3: an empty slot has no children", |s| {
        let empty = s.empty_slot();
        s.rig.kernel.capabilities.beside_mut(empty).child = s.derived(Kind::Memory).1;
    }),
    ("I3: child link", |s| s.capability(s.derived(Kind::Memory).1).parent = NONE),
    ("I3: parent of the same object, less deep", |s| s.capability(s.derived(Kind::Endpoint).1).object += 1),
    ("I3: parent of the same object, less deep", |s| s.capability(s.derived(Kind::Endpoint).1).generation += 1),
    ("I3: parent of the same object, less deep", |s| {
        s.capability(s.derived(Kind::Memory).1).kind = Kind::IoPorts as u8
    }),
    ("I3: parent of the same object, less deep", |s| s.capability(s.derived(Kind::Memory).1).depth = 0),
    ("I3: rights only narrow", |s| s.capability(s.derived(Kind::Memory).0).rights = 0),
    ("I3: ranges only narrow", |s| s.capability(s.derived(Kind::Memory).1).badge -= 11),
    ("I3: ranges only narrow", |s| s.capability(s.derived(Kind::Memory).1).badge += 196 << 32),
    ("I3: badges are unforgeable", |s| s.capability(s.derived(Kind::Endpoint).1).badge = 8),
    ("I3: badges are unforgeable", |s| s.capability(s.derived(Kind::Endpoint).1).badge = 0),
    ("I3: every child is linked once", |s| {
        let parent = s.derived(Kind::Memory).0;
        *s.rig.kernel.capabilities.beside_mut(parent) = CapabilityLink::UNLINKED;
    }),
    ("I3: dying slots are counted", |s| s.rig.kernel.revoking += 1),
    ("I3: dying slots are counted", |s| s.capability(s.derived(Kind::Memory).1).dying = 1),
];

const WORLD_CLOSED: &[Row] = &[
    ("I4: a capability has a holder", |s| {
        let last = s.rig.kernel.capabilities.world() - 1;
        *s.capability(last) = Capability::root(Kind::Process, s.process, 1);
    }),
    ("I4: slots of the world are its processes'", |s| {
        let process = s.boot.process;
        s.rig.kernel.holders[(s.slots / 16) as usize] = process;
    }),
    ("I4: the world holds the world", |s| *s.capability(s.empty_slot()) = Capability::root(Kind::Memory, 0, 0)),
    ("I4: the world holds the world", |s| {
        let process = s.boot.process;
        *s.capability(s.empty_slot()) = Capability::root(Kind::Process, process, 1);
    }),
    ("I4: nothing of the world hangs below the volatile", |s| {
        let (above, slot) = (s.init_slot(BELL), s.empty_slot());
        let bell = Capability { parent: above, depth: 1, ..*s.rig.kernel.capabilities.get(above) };
        *s.capability(slot) = bell;
        s.rig.kernel.link_child(slot);
    }),
    ("I4: a thread is its process's kind", |s| s.thread(s.waiter).process = s.boot.process),
    ("I4: the volatile never waits inside the world", |s| {
        let (ready, full, ticket) = (s.ready, s.full, s.rig.kernel.ticket());
        s.rig.kernel.unqueue(ready);
        let thread = s.thread(ready);
        (thread.state, thread.object, thread.ticket) = (State::Sending, full, ticket);
        s.rig.kernel.join_queue(ready, State::Sending, full);
    }),
    ("I4: the world serves the world", |s| s.thread(s.waiter).serving = s.ready),
];

const REPLIES_AND_BUDGETS: &[Row] = &[
    ("I5: exactly one Reply for a call that waits for it", |s| s.thread(s.server).serving = NONE),
    ("I5: exactly one Reply for a call that waits for it", |s| s.thread(s.server).serving_sequence += 1),
    ("I5: exactly one Reply for a call that waits for it", |s| {
        let sequence = s.rig.kernel.threads.get(s.caller).call_sequence;
        *s.capability(s.empty_slot()) = Capability::root(Kind::Reply, s.caller, sequence);
    }),
    ("I6: budget conservation", |s| s.rig.kernel.budgets.live_mut(0).used.0[0] += 1),
    ("I6: budget conservation", |s| s.rig.kernel.processes.live_mut(s.process).budget = NONE),
    ("I6: budget conservation", |s| s.thread(s.waiter).budget = NONE),
    ("I6: budget conservation", |s| s.rig.kernel.endpoints.live_mut(s.full).budget = NONE),
    ("I6: budget conservation", |s| s.rig.kernel.notifications.live_mut(s.bell).budget = NONE),
    ("I6: budget conservation", |s| s.rig.kernel.budgets.live_mut(1).left.0[2] += 1),
    ("I6: budget conservation", |s| s.rig.kernel.budgets.live_mut(1).used.0[2] += 1),
];

const CPUS: &[Row] = &[
    ("I7: the timer fires by the end of a slice", |s| {
        let cpu = &mut s.rig.kernel.cpus[0];
        (cpu.slice_end, cpu.armed) = (5_000_000, 5_000_001);
    }),
    ("I7: current thread", |s| s.rig.kernel.cpus[0].current = s.waiter),
    ("I7: loaded space", |s| s.rig.kernel.cpus[0].loaded = s.process),
    ("I7: a running thread is current", |s| s.link(s.caller).place = 0),
    ("I7: who runs is as important as any that is ready", |s| s.thread(s.boot.thread).priority = 4),
    ("I7: who runs is as important as any that is ready", |s| {
        s.thread(s.boot.thread).priority = 5;
        s.rig.kernel.cpus[0].slice_end = 0;
    }),
];

const FREE_SETS: &[Row] = &[
    ("I8: free threads", |s| s.rig.kernel.threads.free.insert(s.caller)),
    ("I8: free processes", |s| s.rig.kernel.processes.free.insert(s.process)),
    ("I8: free endpoints", |s| s.rig.kernel.endpoints.free.insert(s.full)),
    ("I8: free notifications", |s| s.rig.kernel.notifications.free.insert(s.bell)),
    ("I8: free budgets", |s| s.rig.kernel.budgets.free.insert(0)),
    ("I8: free slots", |s| assert!(s.rig.kernel.capabilities.free.remove(s.empty_slot()))),
    ("I8: free slots", |s| s.rig.kernel.capabilities.free.insert(s.slots + 1)),
    ("I8: only a memory port lies at a null handle", |s| {
        assert!(s.rig.kernel.capabilities.free.remove(s.slots));
        *s.capability(s.slots) = Capability::root(Kind::Notification, s.bell, 1);
    }),
    ("I8: free chunks of slots", |s| s.rig.kernel.free_chunks.insert(s.slots / 16)),
];

const SPACES: &[Row] = &[
    ("I9: present entries are noted", |s| {
        let root = s.rig.kernel.processes.beside(s.process).root;
        s.rig.m.set_table_entry(root, 0, 0);
    }),
    // A page that is clean, and one that nobody said may be written.
    ("I9: writable leaf", |s| s.rig.kernel.frames[FRAME as usize] = abi::FrameState::Clean as u64),
    ("I9: writable leaf", |s| {
        let (table, index) = s.leaf();
        let entry = s.rig.m.table_entry(table, index);
        s.rig.m.set_table_entry(table, index, entry & !MAY_WRITE);
    }),
    ("I10: passes say what a look-up finds", |s| {
        let poll = Control::new(Call::Wait, BELL).with_timeout(Timeout::POLL).0;
        assert!(s.rig.kernel.admit(&s.rig.m, 0, poll));
        s.rig.sound();
        s.capability(s.init_slot(BELL)).rights = 0;
    }),
    ("I10: a Map's pass says what a look-up finds", |s| {
        let is_process = |handle: &u16| {
            let capability = s.rig.kernel.capabilities.get(s.init_slot(Handle(*handle)));
            (capability.kind(), capability.object) == (Some(Kind::Process), s.process)
        };
        let process = Handle((1..64).find(is_process).expect("init made it"));
        let frame = &mut s.rig.kernel.cpus[0].frame;
        (frame.rdi, frame.words, frame.caps) = (PAGE, [7, 1, 0, 0, 0, 0, 0, 0], u64::from(MEMORY.0));
        assert!(s.rig.kernel.admit(&s.rig.m, 0, Control::new(Call::Map, process).0));
        s.rig.sound();
        s.rig.kernel.processes.live_mut(s.process).dying = 1;
    }),
];

/// What the fast path remembers stands on these: when one of them changes, and the version does not, that is noticed.
#[test]
fn what_passes_stand_on_is_noticed_when_it_changes_unsaid() {
    let before = Scene::new();
    assert!(before.rig.kernel.still_stands(&before.rig.kernel));
    let rows: [fn(&mut Scene); 10] = [
        |s| s.rig.kernel.revoking += 1,
        |s| s.capability(s.init_slot(BELL)).rights = 0,
        |s| s.rig.kernel.processes.live_mut(s.process).generation += 1,
        |s| s.rig.kernel.endpoints.live_mut(s.full).generation += 1,
        |s| s.rig.kernel.endpoints.live_mut(s.full).life = 2,
        |s| s.rig.kernel.notifications.live_mut(s.bell).generation += 1,
        |s| s.rig.kernel.notifications.live_mut(s.bell).life = 2,
        |s| s.rig.kernel.processes.live_mut(s.process).slots += 16,
        |s| s.rig.kernel.processes.beside_mut(s.process).root += 1,
        |s| s.rig.kernel.stamp += 1,
    ];
    for (row, spoil) in rows.into_iter().enumerate() {
        let mut after = Scene::new();
        assert!(after.rig.kernel.still_stands(&before.rig.kernel), "scenes are the same");
        spoil(&mut after);
        assert!(!after.rig.kernel.still_stands(&before.rig.kernel), "row {row}");
        after.rig.kernel.capabilities.outdate();
        assert!(after.rig.kernel.still_stands(&before.rig.kernel), "row {row}, and it was said");
    }
    // Who is made or gone has no passes.
    let mut after = Scene::new();
    let ready = after.ready;
    *after.thread(ready) = Task::FREE;
    assert!(after.rig.kernel.still_stands(&before.rig.kernel));
    assert!(before.rig.kernel.still_stands(&after.rig.kernel));
}

#[test]
fn each_invariant_is_noticed_by_its_name_when_it_is_broken() {
    let tables = [QUEUES, ENDPOINTS, DERIVATIONS, WORLD_CLOSED, REPLIES_AND_BUDGETS, CPUS, FREE_SETS, SPACES];
    let (mut shown, mut otherwise) = (BTreeSet::new(), Vec::new());
    for (at, &(name, spoil)) in tables.iter().copied().flatten().enumerate() {
        let mut scene = Scene::new();
        spoil(&mut scene);
        let violation = scene.rig.kernel.check(&scene.rig.m).map_err(|violation| violation.invariant);
        if violation != Err(name) {
            otherwise.push((at, name, violation));
        }
        shown.insert(name);
    }
    assert_eq!(otherwise, [], "row, what is broken, what is found");
    let asked = include_str!("../invariant.rs").split('"').filter(|text| text.starts_with('I') && text.contains(": "));
    assert_eq!(asked.collect::<BTreeSet<_>>(), shown, "each that is checked is broken here");
}
