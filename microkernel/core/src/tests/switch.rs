//! What goes with a thread from CPU to record and back, whichever way it leaves.

use super::*;
use crate::State;
use std::sync::Arc;

/// A thread's vector registers while it runs.
fn vector(tag: u64) -> Option<Arc<[u64; 104]>> {
    Some(Arc::new([tag; 104]))
}

/// Two threads of the world in processes of their own, of which the first receives and the second calls, both of one
/// priority. They have what is needed to meet; init sleeps. Their handles are the endpoint's and the bell's.
fn pair() -> (Rig, [u32; 2], [Handle; 2]) {
    let (mut rig, _) = Rig::new();
    let endpoint = rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL);
    let bell = rig.create(WORLD, Kind::Notification, [0; 4], Handle::NULL);
    let mut handles = [Handle::NULL; 2];
    for _ in 0..2 {
        let (process, _) = world_process(&mut rig, 10);
        let end = rig.grant(process, endpoint, Rights::SEND | Rights::RECEIVE, 0);
        handles = [end, rig.grant(process, bell, Rights::SIGNAL | Rights::WAIT, 4)];
    }
    assert_eq!(rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits()), Status::Ok);
    rig.call(Call::Wait, Handle::NULL, |_| {});
    let first = rig.running();
    rig.m.vector = vector(1);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    let second = rig.running();
    assert_ne!(first, second);
    rig.m.vector = vector(2);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!((rig.running(), &rig.m.vector), (first, &vector(1)));
    (rig, [first, second], handles)
}

/// The same call, by the fast path, which must take it.
fn fast(rig: &mut Rig, call: Call, handle: Handle) {
    let frame = &mut rig.kernel.cpus[0].frame;
    (frame.rax, frame.rip, frame.rflags) = (Control::new(call, handle).0, 0x40_0100 + u64::from(handle.0), 0x246);
    assert!(rig.kernel.fast(&mut rig.m, 0), "{call:?}");
    rig.sound();
}

#[test]
fn vector_registers_go_with_their_thread() {
    for quick in [false, true] {
        let (mut rig, [first, second], [end, bell]) = pair();
        let make = |rig: &mut Rig, call, handle| {
            if quick {
                fast(rig, call, handle);
            } else {
                rig.call(call, handle, |_| {});
            }
        };
        let runs =
            |rig: &Rig, thread, tag| assert_eq!((rig.running(), &rig.m.vector), (thread, &vector(tag)), "{quick}");
        rig.call(Call::Receive, end, |_| {});
        runs(&rig, second, 2);
        rig.m.vector = vector(3);
        make(&mut rig, Call::Call, end);
        runs(&rig, first, 1);
        rig.m.vector = vector(4);
        make(&mut rig, Call::ReplyReceive, end);
        runs(&rig, second, 3);
        make(&mut rig, Call::Call, end);
        runs(&rig, first, 4);
        rig.call(Call::Reply, Handle::NULL, |_| {});
        make(&mut rig, Call::Wait, bell);
        runs(&rig, second, 3);
        make(&mut rig, Call::Signal, bell);
        rig.call(Call::Yield, Handle::NULL, |_| {});
        runs(&rig, first, 4);
        assert_eq!(rig.outcome().badge(), 4);
        assert_eq!(rig.kernel.threads.get(second).state, State::Ready);
    }
}

/// A thread that gives way by the fast path goes on as if by `sysret`: its rcx and r11 say where, and with which flags.
#[test]
fn who_gives_way_can_go_on() {
    let (mut rig, [first, _], [_, bell]) = pair();
    fast(&mut rig, Call::Wait, bell);
    let Registers { rip, rflags, rcx, r11, .. } = rig.kernel.threads.get(first).registers;
    assert_eq!((rip, rflags), (0x40_0100 + u64::from(bell.0), 0x246));
    assert_eq!((rcx, r11), (rip, rflags));
}

/// Every page of a range leaves what a CPU may remember of it, however many leaf tables it lies in, and whatever was
/// there before.
#[test]
fn nothing_is_remembered_of_what_was_replaced() {
    let (mut rig, _) = Rig::new();
    let map = |rig: &mut Rig, address: u64, first: u64, pages: u64| {
        let status = rig.call(Call::Map, OWN, |r| {
            r.rdi = address;
            r.words = [first, pages, MapFlags::WRITE.bits(), 0, 0, 0, 0, 0];
            r.caps = u64::from(MEMORY.0);
        });
        assert_eq!((status, rig.kernel.cpus[0].frame.rdi), (Status::Ok, pages));
    };
    let end = 0x1_0020_0000;
    for (pages_before, pages_behind) in [(1, 1), (1, 0), (0, 1), (2, 3)] {
        let start = end - pages_before * 4096;
        map(&mut rig, start, 0, pages_before + pages_behind);
        // Other frames over both tables, over one of them, and around.
        map(&mut rig, start, 10, pages_before + pages_behind);
        map(&mut rig, end - 3 * 4096, 20, 6);
        let status = rig.call(Call::Protect, OWN, |r| (r.rdi, r.words[0]) = (end - 4096, 2));
        assert_eq!(status, Status::Ok);
        let status = rig.call(Call::Unmap, OWN, |r| (r.rdi, r.words[0]) = (end - 3 * 4096, 6));
        assert_eq!((status, rig.kernel.cpus[0].frame.rdi), (Status::Ok, 6));
    }
}

/// A pager and two processes whose faults it serves, with the port's handle; init sleeps, the pager receives, and a thread
/// of the first process runs.
fn served() -> (Rig, Handle) {
    let (mut rig, _) = Rig::new();
    let port = rig.create(WORLD, Kind::Endpoint, [1, 0, 0, 0], Handle::NULL);
    let (pager, _) = world_process(&mut rig, 20);
    let end = rig.grant(pager, port, Rights::RECEIVE, 0);
    for badge in [5, 6] {
        let (process, _) = world_process(&mut rig, 15 - badge);
        let status = rig.call(Call::SetMemoryPort, process, |r| (r.rdi, r.caps) = (badge, u64::from(port.0)));
        assert_eq!(status, Status::Ok);
    }
    assert_eq!(rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits()), Status::Ok);
    rig.call(Call::Wait, Handle::NULL, |_| {});
    rig.call(Call::Receive, end, |_| {});
    (rig, end)
}

#[test]
fn plain_faults_and_their_answers_go_the_fast_way() {
    let (mut rig, end) = served();
    let [first, second] = [0, 1].map(|_| {
        let thread = rig.running();
        assert!(rig.kernel.fast_page_fault(&mut rig.m, 0, (0x60_0000, Access::WRITE, 6)), "{thread}");
        rig.sound();
        assert_eq!(rig.outcome().kind(), Event::Fault);
        let badge = rig.outcome().badge();
        rig.kernel.cpus[0].frame.rip = 0x40_0200;
        fast(&mut rig, Call::ReplyReceive, end);
        assert_eq!(rig.running(), thread);
        if badge == 5 {
            rig.call(Call::Wait, Handle::NULL, |_| {});
        }
        badge
    });
    assert_eq!((first, second), (5, 6));
    // A write to what is there may be a first write, which is settled without the pager.
    assert!(!rig.kernel.fast_page_fault(&mut rig.m, 0, (0x60_0000, Access::WRITE | Access::PRESENT, 7)));
    assert!(rig.kernel.fast_page_fault(&mut rig.m, 0, (0x60_0000, Access::PRESENT, 5)));
}

/// Who would go on at an address that `sysret` must not see goes the slow way, where it is made safe.
#[test]
fn nobody_goes_on_fast_where_no_program_is() {
    for (rip, quick) in [(abi::USER_END - 1, true), (abi::USER_END, false)] {
        let (mut rig, _) = served();
        rig.kernel.cpus[0].frame.rip = rip;
        assert_eq!(rig.kernel.fast_page_fault(&mut rig.m, 0, (0x60_0000, Access::empty(), 4)), quick, "{rip:x}");
    }
}

#[test]
fn what_has_been_looked_up_is_not_new() {
    let (mut rig, _, [end, bell]) = pair();
    rig.call(Call::Receive, end, |_| {});
    for call in [Control::new(Call::Call, end), Control::new(Call::Signal, bell)] {
        assert!(rig.kernel.admit(&rig.m, 0, call.0), "{call:?}");
        assert!(!rig.kernel.admit(&rig.m, 0, call.0), "{call:?}");
    }
    let (mut rig, _) = served();
    assert!(rig.kernel.admit_fault(&rig.m, 0));
    assert!(!rig.kernel.admit_fault(&rig.m, 0));
}

#[test]
fn nobody_goes_fast_to_an_endpoint_that_ends() {
    let (mut rig, _) = served();
    let process = rig.kernel.threads.get(rig.running()).process;
    let port = rig.kernel.memory_port(process).expect("a pager").object;
    assert!(rig.kernel.admit_fault(&rig.m, 0));
    for (life, generation, serves) in [(2, 0, false), (1, 1, false), (1, 0, true)] {
        let endpoint = rig.kernel.endpoints.change(port);
        (endpoint.life, endpoint.generation) = (life, endpoint.generation + generation);
        rig.kernel.capabilities.outdate();
        assert_eq!(rig.kernel.admit_fault(&rig.m, 0), serves, "{life} {generation}");
        rig.kernel.endpoints.change(port).generation -= generation;
    }
}

/// What is revoked elsewhere concerns nobody's memory port; what it hangs below does.
#[test]
fn a_memory_port_stands_until_it_is_revoked() {
    let (mut rig, _) = served();
    let process = rig.kernel.threads.get(rig.running()).process;
    let port = rig.kernel.memory_port(process).expect("a pager");
    let own = rig.kernel.processes.get(process).slots;
    let other = rig.kernel.each_capability().find(|held| held.capability.object != port.object).expect("of init").slot;
    for (slot, stands) in [(other, true), (own, false)] {
        rig.kernel.capabilities.change(slot).dying = 1;
        rig.kernel.revoking = 1;
        assert_eq!(rig.kernel.memory_port(process).is_some(), stands);
        rig.kernel.capabilities.change(slot).dying = 0;
        rig.kernel.revoking = 0;
    }
}
