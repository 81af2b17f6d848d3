//! The fast path beside the slow one, guard by guard: what it takes comes to the same, what it declines has changed
//! nothing.

use super::*;
use crate::canonical::{Canonical, Listener, Part};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Parts of a state, each as a hash: what would make another future.
#[derive(Default, PartialEq, Eq, Debug)]
struct Parts(BTreeMap<(Part, u32), u64>);

impl Listener for Parts {
    fn part(&mut self, part: Part, index: u32, value: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.0.insert((part, index), hasher.finish());
    }
}

fn parts(rig: &Rig) -> Parts {
    let mut parts = Parts::default();
    rig.kernel.tell(Canonical { now_ns: rig.m.now_ns, again_rip: 1, changed: true, vectors: true }, &mut parts);
    parts
}

fn copy_of(rig: &Rig) -> Rig {
    Rig { kernel: rig.kernel.clone(), m: rig.m.clone() }
}

/// Makes a call both ways, as one that is made for the first time and as one of which all has been looked up before:
/// whether the fast path takes it, and what the slow one comes to.
fn both_ways(rig: &Rig, asked: &dyn Fn(&mut Registers)) -> (bool, Rig) {
    let mut seen = copy_of(rig);
    asked(&mut seen.kernel.cpus[0].frame);
    let control = seen.kernel.cpus[0].frame.rax;
    seen.kernel.admit(&seen.m, 0, control);
    assert!(!seen.kernel.admit(&seen.m, 0, control), "it has been looked up");
    let (first, again) = (on_copies(rig, asked), on_copies(&seen, asked));
    assert_eq!(first.0, again.0);
    first
}

/// Makes a call both ways, each on a copy.
fn on_copies(rig: &Rig, asked: &dyn Fn(&mut Registers)) -> (bool, Rig) {
    let (mut quick, mut slow) = (copy_of(rig), copy_of(rig));
    asked(&mut quick.kernel.cpus[0].frame);
    asked(&mut slow.kernel.cpus[0].frame);
    let untouched = (parts(&quick), quick.m.clone());
    slow.kernel.syscall(&mut slow.m, 0);
    slow.sound();
    let taken = quick.kernel.fast(&mut quick.m, 0);
    quick.sound();
    if taken {
        let found = |rig: &Rig| (rig.kernel.current(0), rig.kernel.cpus[0].frame.rax, rig.kernel.cpus[0].frame.rdi);
        assert_eq!(found(&quick), found(&slow));
        assert_eq!(parts(&quick), parts(&slow));
        assert!(quick.m == slow.m, "the machine: timers, spaces, tables, frames");
    } else {
        assert_eq!((parts(&quick), quick.m), untouched, "it declines, and changes nothing");
    }
    (taken, slow)
}

/// A page of a leaf table that is there, far from its beginning.
const AT: u64 = 0x1_0000_0000 + 100 * 4096;

/// A `Map` of one page.
fn map(process: Handle, memory: Handle, at: u64, words: [u64; 4]) -> impl Fn(&mut Registers) {
    move |r| {
        (r.rax, r.rdi, r.caps) = (Control::new(Call::Map, process).0, at, u64::from(memory.0));
        r.words = [words[0], words[1], words[2], words[3], 0, 0, 0, 0];
    }
}

#[test]
fn a_page_is_mapped_the_same_either_way() {
    let (mut rig, _) = Rig::new();
    let (inside, _) = world_process(&mut rig, 1);
    let rights = (Kind::Memory.rights() - Rights::MEMORY_WRITE).bits();
    assert_eq!(rig.call(Call::Copy, MEMORY, |r| (r.rdi, r.words) = (u64::from(rights), [0; 8])), Status::Ok);
    let read_only = rig.made();
    let status = rig.call(Call::SetFrames, EPOCH, |r| {
        (r.rdi, r.words[0], r.words[1]) = (2 | (FrameState::Clean as u64) << 8, 8, 9);
        r.caps = u64::from(MEMORY.0);
    });
    assert_eq!(status, Status::Ok);
    // Somebody as important as init is ready: on one CPU that is no reason not to go on quickly.
    let equal = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, 255], OWN);
    assert_eq!(rig.call(Call::Start, equal, |_| {}), Status::Ok);
    let first = abi::Epoch::first_of(1).expect("fits");
    assert_eq!(rig.call(Call::Resume, EPOCH, |r| r.rdi = first.bits()), Status::Ok);
    let (now, late) = (first.bits(), first.bits() + 1);
    let [read, write, at_once, execute, device] = [0, 1, 9, MapFlags::EXECUTE.bits(), MapFlags::DEVICE.bits()];
    assert_eq!((write, at_once), (MapFlags::WRITE.bits(), (MapFlags::WRITE | MapFlags::NOW).bits()));
    for process in [OWN, inside] {
        // The leaf table is there, with another page in it.
        let mut rig = copy_of(&rig);
        map(process, MEMORY, AT + 4096, [7, 1, write, now])(&mut rig.kernel.cpus[0].frame);
        rig.kernel.syscall(&mut rig.m, 0);
        rig.sound();
        let world = process == inside;
        let rows: [(bool, Handle, u64, [u64; 4]); 25] = [
            (true, MEMORY, AT, [7, 1, read, 0]),
            (true, MEMORY, AT, [7, 1, read, late]),
            (true, MEMORY, AT, [7, 1, write, now]),
            (!world, MEMORY, AT, [7, 1, write, late]),
            (!world, MEMORY, AT, [7, 1, at_once, late]),
            (true, MEMORY, AT, [8, 1, write, now]),
            (true, MEMORY, AT, [8, 1, read, now]),
            (true, MEMORY, AT, [8, 1, at_once, now]),
            (true, MEMORY, AT, [7, 1, at_once, now]),
            (true, MEMORY, AT, [8, 1, MapFlags::NOW.bits(), now]),
            // In place of another.
            (true, MEMORY, AT + 4096, [9, 1, read, now]),
            (true, MEMORY, AT + 4096, [9, 1, write, now]),
            (true, MEMORY, AT + 4096, [7, 1, at_once, now]),
            (false, MEMORY, AT, [7, 2, read, now]),
            (false, MEMORY, AT, [7, 0, read, now]),
            (true, MEMORY, AT, [199, 1, read, now]),
            (false, MEMORY, AT, [200, 1, read, now]),
            (false, MEMORY, AT, [u64::MAX, 1, read, now]),
            (false, MEMORY, AT, [7, 1, execute, now]),
            (false, MEMORY, AT, [7, 1, device, now]),
            (false, MEMORY, AT, [7, 1, 1 << 20, now]),
            (false, MEMORY, AT + 0x800, [7, 1, read, now]),
            // Another leaf table, which is not there.
            (false, MEMORY, AT + 0x20_0000, [7, 1, read, now]),
            (true, read_only, AT, [7, 1, read, now]),
            (false, read_only, AT, [7, 1, write, now]),
        ];
        for (row, (wanted, memory, at, words)) in rows.into_iter().enumerate() {
            let call = map(process, memory, at, words);
            assert_eq!(both_ways(&rig, &call).0, wanted, "row {row}, of the world: {world}");
            // The same, where what it needs had been looked up for others.
            let mut seen = copy_of(&rig);
            map(process, MEMORY, AT, [7, 1, read, now])(&mut seen.kernel.cpus[0].frame);
            let control = seen.kernel.cpus[0].frame.rax;
            assert!(seen.kernel.admit(&seen.m, 0, control));
            assert!(!seen.kernel.admit(&seen.m, 0, control));
            assert_eq!(both_ways(&seen, &call).0, wanted, "row {row}, seen before");
        }
    }
    // A first write for which the log has no room goes the slow way, which says so.
    let mut full = copy_of(&rig);
    assert_eq!(full.call(Call::ReadLog, EPOCH, |r| (r.rdi, r.words[0]) = (0, 0)), Status::Ok);
    map(inside, MEMORY, AT + 4096, [7, 1, write, now])(&mut full.kernel.cpus[0].frame);
    full.kernel.syscall(&mut full.m, 0);
    let (taken, slow) = both_ways(&full, &map(inside, MEMORY, AT, [8, 1, at_once, now]));
    assert_eq!((taken, slow.outcome().status()), (false, Status::Busy));
}

/// With several CPUs too, as long as no other has stopped who asks, and nobody as important waits.
#[test]
fn a_page_is_mapped_quickly_on_one_of_several_cpus() {
    let mut kernel = Kernel::new(&mut HostArena, &Capacities { cpus: 2, ..CAPACITIES });
    let mut m = HostMachine::default();
    let boot = kernel.boot_process(&mut m, 64, 0x40_0000, 0x7000_0000, 0).expect("boots");
    kernel.boot_range(boot.process, MEMORY, Kind::Memory, 100..300, true).expect("a free handle");
    kernel.boot_start(&mut m, 0, boot);
    let mut rig = Rig { kernel, m };
    map(OWN, MEMORY, AT + 4096, [7, 1, 0, 0])(&mut rig.kernel.cpus[0].frame);
    rig.kernel.syscall(&mut rig.m, 0);
    let ask = map(OWN, MEMORY, AT, [8, 1, 0, 0]);
    ask(&mut rig.kernel.cpus[0].frame);
    let control = rig.kernel.cpus[0].frame.rax;
    rig.kernel.admit(&rig.m, 0, control);
    let mut stopped = copy_of(&rig);
    assert!(rig.kernel.fast(&mut rig.m, 0));
    rig.sound();
    let root = rig.m.loaded[&0].expect("it runs in a space");
    assert_eq!(rig.m.translate(root, AT), Some((108, false)));
    stopped.kernel.threads.change(boot.thread).state = crate::State::Stopped;
    assert!(!stopped.kernel.fast(&mut stopped.m, 0), "who was stopped goes no further");
    assert_eq!(stopped.m.translate(root, AT), None);
}

/// A thread of a priority, and what it does when it first runs, with its handles for the bell and for an endpoint.
type Other = (u64, fn(&mut Rig, Handle, Handle));

/// A bell, and threads of other priorities than init's or the same, which wait for it, receive, or are ready.
struct Tower {
    rig: Rig,
    bell: Handle,
}

impl Tower {
    /// Threads in their order of creation, each with its priority and what it does when it first runs; init then runs with
    /// a priority of 100.
    fn new(others: &[Other]) -> Self {
        let (mut rig, boot) = Rig::new();
        let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
        let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
        assert_eq!(rig.call(Call::Copy, bell, |r| (r.rdi, r.words) = (u64::MAX, [4, 0, 0, 0, 0, 0, 0, 0])), Status::Ok);
        let badged = rig.made();
        for &(priority, does) in others {
            let process = rig.create(BUDGET, Kind::Process, [16, 0, 0, 0], Handle::NULL);
            let bell = rig.grant(process, bell, Rights::WAIT, 0);
            let meet = rig.grant(process, meet, Rights::RECEIVE, 0);
            let thread = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, priority], process);
            assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
            // It runs while init sleeps for a moment.
            rig.call(Call::Wait, Handle::NULL, |r| {
                r.rax = Control::new(Call::Wait, Handle::NULL).with_timeout(Timeout::from_ns(1_000)).0;
            });
            does(&mut rig, bell, meet);
            rig.m.now_ns += 2_000_000;
            rig.kernel.timer(&mut rig.m, 0);
            assert_eq!(rig.running(), boot.thread);
        }
        let own = abi::boot_info::handle::THREAD;
        assert_eq!(rig.call(Call::SetPriority, own, |r| r.rdi = 100), Status::Ok);
        Self { rig, bell: badged }
    }

    fn signals(&self) -> (bool, Rig) {
        let control = Control::new(Call::Signal, self.bell).0;
        both_ways(&self.rig, &|r| r.rax = control)
    }

    fn waits(&self, timeout: Timeout) -> (bool, Rig) {
        let control = Control::new(Call::Wait, self.bell).with_timeout(timeout).0;
        both_ways(&self.rig, &|r| r.rax = control)
    }
}

fn waits(rig: &mut Rig, bell: Handle, _: Handle) {
    rig.call(Call::Wait, bell, |_| {});
}

fn receives_bound(rig: &mut Rig, bell: Handle, meet: Handle) {
    assert_eq!(rig.call(Call::BindNotification, bell, |_| {}), Status::Ok);
    rig.call(Call::Receive, meet, |_| {});
}

fn is_ready(_: &mut Rig, _: Handle, _: Handle) {}

#[test]
fn a_signal_does_the_same_either_way() {
    let rows: [(bool, &[Other]); 10] = [
        (true, &[]),
        (true, &[(50, waits)]),
        // Its turn is to begin.
        (false, &[(100, waits)]),
        // One that is more important goes on at once; of two the first is woken; who is bound receives.
        (false, &[(101, waits)]),
        (false, &[(50, waits), (50, waits)]),
        (false, &[(50, receives_bound)]),
        // Somebody else is ready.
        (false, &[(50, waits), (50, is_ready)]),
        (false, &[(50, waits), (60, is_ready)]),
        (false, &[(60, waits), (50, is_ready), (40, is_ready)]),
        (false, &[(100, waits), (50, is_ready)]),
    ];
    for (row, (wanted, others)) in rows.into_iter().enumerate() {
        let tower = Tower::new(others);
        let (taken, slow) = tower.signals();
        assert_eq!((taken, slow.outcome().status()), (wanted, Status::Ok), "row {row}");
        // Twice: the second finds nobody, or the next.
        let again = Tower { rig: slow, bell: tower.bell };
        if again.rig.running() == tower.rig.running() {
            again.signals();
        }
    }
}

#[test]
fn a_wait_does_the_same_either_way() {
    for (timeout, wanted) in [(Timeout::POLL, true), (Timeout::FOREVER, true), (Timeout::from_ms(5), false)] {
        let with = |others: &[Other]| Tower::new(others);
        // Bits are there, or not, and somebody is ready, or waits already.
        let empty = with(&[(50, is_ready)]);
        assert_eq!(empty.waits(timeout).0, wanted, "{timeout:?}");
        let full = Tower { rig: empty.signals().1, bell: empty.bell };
        let (taken, slow) = full.waits(timeout);
        assert_eq!((taken, slow.outcome().badge()), (wanted, 4));
        let (waiting, ready): (Other, Other) = ((50, waits), (50, is_ready));
        for others in [[waiting, ready], [ready, ready]] {
            assert_eq!(with(&others).waits(timeout).0, timeout == Timeout::POLL, "{timeout:?}");
        }
        // Nobody is there to go on: only a poll goes fast.
        assert_eq!(with(&[]).waits(timeout).0, timeout == Timeout::POLL);
    }
}
