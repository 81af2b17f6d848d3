//! What the first process is given, and where its handles end.

use super::*;
use abi::boot_info::handle::{INTERRUPTS, PORTS};

#[test]
fn the_first_thread_begins_as_it_was_told() {
    let mut kernel = Kernel::new(&mut HostArena, &CAPACITIES);
    let mut m = HostMachine::default();
    let boot = kernel.boot_process(&mut m, 64, 0x40_0010, 0x7000_0020, 77).expect("boots");
    kernel.boot_start(&mut m, 0, boot);
    assert_eq!(kernel.current(0), Some(boot.thread));
    let Registers { rip, rsp, rdi, rflags, .. } = kernel.cpus[0].frame;
    assert_eq!((rip, rsp, rdi, rflags), (0x40_0010, 0x7000_0020, 77, 0x202));
    assert_eq!(kernel.threads.get(boot.thread).priority, u8::MAX);
    assert_eq!(m.loaded[&0], Some(kernel.processes.beside(boot.process).root));
}

#[test]
fn memory_is_given_to_be_written_only_if_it_may_be() {
    let (mut rig, boot) = Rig::new();
    let mut handle = Handle(20);
    let mut rights = |kind, write| {
        handle.0 += 1;
        assert_eq!(rig.kernel.boot_range(boot.process, handle, kind, 300..302, write), Ok(()));
        assert_eq!(rig.call(Call::Identify, handle, |_| {}), Status::Ok);
        let Registers { rdi, words, .. } = rig.kernel.cpus[0].frame;
        assert_eq!((rdi, words[1], words[3], words[4]), (kind as u64, 0, 300, 2));
        Rights::from_bits_retain(words[0] as u32)
    };
    assert_eq!(rights(Kind::Memory, true), Kind::Memory.rights());
    assert_eq!(rights(Kind::Memory, false), Kind::Memory.rights() - Rights::MEMORY_WRITE);
    for kind in [Kind::Interrupt, Kind::IoPorts] {
        assert_eq!((rights(kind, true), rights(kind, false)), (kind.rights(), kind.rights()));
    }
    for (handle, kind) in [(INTERRUPTS, Kind::Interrupt), (PORTS, Kind::IoPorts)] {
        assert_eq!(rig.call(Call::Identify, handle, |_| {}), Status::Ok);
        assert_eq!(rig.kernel.cpus[0].frame.words[0], u64::from(kind.rights().bits()));
    }
}

/// Each kind of object, until the budget of its world has none left: then it says so, and not that a table is full.
#[test]
fn budgets_run_out_when_all_is_made() {
    for (budget, counts) in [(WORLD, CAPACITIES.world.0), (BUDGET, CAPACITIES.volatile.0)] {
        for (kind, count) in [(Kind::Endpoint, 2), (Kind::Notification, 3), (Kind::Budget, 4)] {
            let (mut rig, _) = Rig::new();
            // The root budget is one itself.
            for _ in u32::from(kind == Kind::Budget)..counts[count] {
                rig.create(budget, kind, [0; 4], Handle::NULL);
            }
            let one_more = rig.call(Call::Create, budget, |r| (r.rdi, r.words) = (kind as u64, [0; 8]));
            assert_eq!(one_more, Status::BudgetExhausted, "{kind:?}");
        }
    }
}

/// The slots of four processes lie side by side, and those of the last end where the table does.
#[test]
fn handles_end_with_the_table_of_their_process() {
    let (mut rig, boot) = Rig::new();
    let endpoint = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let processes = [0; 3].map(|_| rig.create(BUDGET, Kind::Process, [64, 0, 0, 0], Handle::NULL));
    for process in processes {
        assert_eq!(rig.grant(process, endpoint, Rights::SEND, 0), Handle(1));
    }
    let beyond = |rig: &mut Rig| {
        for handle in [64, 65, 127, 128, 129, u16::MAX] {
            assert_eq!(rig.call(Call::Identify, Handle(handle), |_| {}), Status::BadHandle, "{handle}");
            assert_eq!(rig.call(Call::Drop, Handle(handle), |_| {}), Status::BadHandle, "{handle}");
        }
    };
    beyond(&mut rig);
    for process in processes {
        let thread = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, 255], process);
        assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
        rig.call(Call::Yield, Handle::NULL, |_| {});
        assert_ne!(rig.running(), boot.thread);
        beyond(&mut rig);
        assert_eq!(rig.call(Call::Identify, Handle(1), |_| {}), Status::Ok);
        rig.call(Call::Wait, Handle::NULL, |_| {});
    }
    let last = rig.kernel.processes.get(rig.kernel.processes.len() - 1);
    assert_eq!(last.slots + last.slot_count, rig.kernel.capabilities.len());
}

#[test]
fn a_page_of_the_first_process_lies_where_it_was_put() {
    let (mut rig, boot) = Rig::new();
    let root = rig.kernel.processes.beside(boot.process).root;
    let mut map = |address, frame, flags| rig.kernel.boot_map(&mut rig.m, boot.process, address, frame, flags);
    assert_eq!(map(0x70_0000, 40, MapFlags::WRITE), Ok(()));
    assert_eq!(map(0x70_1000, 41, MapFlags::EXECUTE), Ok(()));
    assert_eq!(map(0x70_1001, 41, MapFlags::EXECUTE), Err(Status::BadAddress));
    rig.sound();
    let found = |address| rig.m.translate(root, address);
    assert_eq!([0x70_0000, 0x70_1fff, 0x70_2000].map(found), [Some((40, true)), Some((41, false)), None]);
    // Nobody runs: the kernel's own space is loaded.
    rig.call(Call::Wait, Handle::NULL, |_| {});
    assert!(rig.kernel.is_idle(0));
    assert_eq!(rig.m.loaded[&0], None);
}

/// Slots of the world that lie apart make no run, even where there are others behind the world's.
#[test]
fn a_process_of_the_world_has_slots_of_the_world() {
    let (mut rig, _) = Rig::new();
    let make = |rig: &mut Rig, slots: u64| {
        rig.call(Call::Create, WORLD, |r| (r.rdi, r.words[0]) = (Kind::Process as u64, slots))
    };
    let few = [16; 4].map(|slots| {
        assert_eq!(make(&mut rig, slots), Status::Ok);
        rig.made()
    });
    for process in [few[0], few[2]] {
        while rig.call(Call::Destroy, process, |_| {}) != Status::Ok {}
    }
    assert_eq!(make(&mut rig, 64), Status::Ok);
    assert_eq!(make(&mut rig, 32), Status::TablesExhausted);
    assert_eq!(make(&mut rig, 16), Status::Ok);
}

#[test]
fn ranges_have_no_badges() {
    let (mut rig, _) = Rig::new();
    let mut copy = |badge, offset, length| {
        rig.call(Call::Copy, INTERRUPTS, |r| {
            (r.rdi, r.words) = (u64::MAX, [badge, offset, length, 0, 0, 0, 0, 0]);
        })
    };
    assert_eq!(copy(0, 2, 3), Status::Ok);
    assert_eq!(copy(5, 2, 3), Status::BadArgument);
    assert_eq!(copy(5, 0, 0), Status::BadArgument);
    assert_eq!(copy(0, 2, 0), Status::BadRange);
    assert_eq!(copy(0, 62, 3), Status::BadRange);
    assert_eq!(copy(0, u64::MAX, 3), Status::BadRange);
}

/// Records come into a world in which nothing has been made, whatever it is.
#[test]
fn nothing_is_restored_into_a_world_that_was_begun() {
    for kind in [None, Some(Kind::Process), Some(Kind::Endpoint), Some(Kind::Notification), Some(Kind::Budget)] {
        let (mut rig, _) = Rig::new();
        if let Some(kind) = kind {
            rig.create(WORLD, kind, [0; 4], Handle::NULL);
        }
        abi::record::BatchWriter::new(rig.m.bytes(105)).finish();
        let status = rig.call(Call::Restore, EPOCH, |r| (r.rdi, r.caps) = (5, u64::from(MEMORY.0)));
        // An empty batch is none.
        assert_eq!(status, if kind.is_some() { Status::WrongState } else { Status::BadRecord }, "{kind:?}");
    }
}

#[test]
fn an_exception_that_nobody_serves_stops_its_thread_and_is_told() {
    let (mut rig, boot) = Rig::new();
    assert_eq!(rig.kernel.orphan.take(), None);
    rig.kernel.exception(&mut rig.m, 0, 13, 5);
    rig.sound();
    assert!(rig.kernel.is_idle(0) && rig.kernel.orphan.is_some());
    let orphan = rig.kernel.orphan.take().expect("it is told");
    assert_eq!((orphan.thread, orphan.process, orphan.address), (boot.thread, boot.process, 13));
    assert_eq!((orphan.access, rig.kernel.orphan.is_some()), (u64::MAX, false));
    assert_eq!(rig.kernel.threads.get(boot.thread).state, crate::State::Stopped);
}

/// Copies of copies end at the same depth, made by a call or handed on in a message.
#[test]
fn derivations_are_as_deep_as_they_may_be_and_no_deeper() {
    let (mut rig, boot) = Rig::new();
    let endpoint = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let process = rig.create(BUDGET, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    let end = rig.grant(process, endpoint, Rights::RECEIVE, 0);
    let thread = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, 255], process);
    assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
    let mut last = [endpoint; 2];
    for _ in 0..crate::object::DEPTH_MAX {
        assert_eq!(rig.call(Call::Copy, last[1], |r| (r.rdi, r.words) = (u64::MAX, [0; 8])), Status::Ok);
        let made = rig.made();
        // The one before is kept, those above are dropped: what hangs below stays as deep.
        if last[0] != last[1] && last[0] != endpoint {
            assert_eq!(rig.call(Call::Drop, last[0], |_| {}), Status::Ok);
        }
        last = [last[1], made];
    }
    assert_eq!(rig.call(Call::Copy, last[1], |r| (r.rdi, r.words) = (u64::MAX, [0; 8])), Status::TablesExhausted);
    for (cap, status) in [(last[0], Status::Ok), (last[1], Status::TablesExhausted)] {
        rig.call(Call::Yield, Handle::NULL, |_| {});
        assert_ne!(rig.running(), boot.thread);
        rig.call(Call::Receive, end, |_| {});
        assert_eq!(rig.running(), boot.thread);
        let sent = rig.call(Call::Send, endpoint, |r| {
            r.rax = Control::new(Call::Send, endpoint).with_flags(1).with_timeout(Timeout::POLL).0;
            r.caps = u64::from(cap.0);
        });
        assert_eq!(sent, status);
    }
}

/// With two CPUs, another one is asked to look when it does something less important than what waits, and only then.
#[test]
fn another_cpu_is_asked_when_it_does_less() {
    for (other, asked) in [(200, true), (254, true), (255, false)] {
        let mut kernel = Kernel::new(&mut HostArena, &Capacities { cpus: 2, ..CAPACITIES });
        let mut m = HostMachine::default();
        let boot = kernel.boot_process(&mut m, 64, 0x40_0000, 0x7000_0000, 0).expect("boots");
        kernel.boot_start(&mut m, 0, boot);
        let mut rig = Rig { kernel, m };
        let start = |rig: &mut Rig, priority| {
            let thread = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, priority], OWN);
            assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
        };
        start(&mut rig, other);
        assert!(rig.m.kicked.remove(&1), "it is idle");
        rig.kernel.reschedule(&mut rig.m, 1);
        assert!(!rig.kernel.is_idle(1) && rig.m.kicked.is_empty());
        start(&mut rig, 255);
        assert_eq!(rig.m.kicked.contains(&1), asked, "255 waits, and {other} runs there");
    }
}
