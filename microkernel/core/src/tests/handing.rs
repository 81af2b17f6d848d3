//! Capabilities handed on, moved, dropped and revoked: who holds what afterwards, in however many steps.

use super::*;
use crate::object::NONE;

/// A copy with all rights and this badge.
fn copy(rig: &mut Rig, of: Handle, badge: u64) -> Result<Handle, Status> {
    match rig.call(Call::Copy, of, |r| (r.rdi, r.words) = (u64::MAX, [badge, 0, 0, 0, 0, 0, 0, 0])) {
        Status::Ok => Ok(rig.made()),
        status => Err(status),
    }
}

/// What init finds at a handle.
fn found(rig: &mut Rig, handle: Handle) -> Status {
    rig.call(Call::Identify, handle, |_| {})
}

/// The slot behind a handle of init.
fn slot(rig: &Rig, boot: BootProcess, handle: Handle) -> u32 {
    rig.kernel.processes.get(boot.process).slots + u32::from(handle.0)
}

#[test]
fn a_revoke_goes_in_steps_and_concerns_nobody_else() {
    let (mut rig, _) = Rig::new();
    let [root, other] = [0; 2].map(|_| rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL));
    let copies: Vec<Handle> = (1..=10).map(|badge| copy(&mut rig, root, badge).expect("there is room")).collect();
    let below = copy(&mut rig, other, 7).expect("there is room");
    assert!(rig.is_to_be_made_again(Call::Revoke, root));
    // Eight are gone; the others, and the root, can be used no more.
    let states = copies.iter().map(|&copy| found(&mut rig, copy));
    let states: Vec<Status> = states.collect();
    assert_eq!(states.iter().filter(|&&status| status == Status::BadHandle).count(), 8);
    assert_eq!(states.iter().filter(|&&status| status == Status::Revoked).count(), 2);
    let left = copies[states.iter().position(|&status| status == Status::Revoked).expect("two are")];
    assert_eq!(found(&mut rig, root), Status::Revoked);
    assert_eq!(rig.call(Call::Revoke, left, |_| {}), Status::Revoked);
    // What does not hang below it can be used, and revoked.
    assert_eq!((found(&mut rig, other), found(&mut rig, below)), (Status::Ok, Status::Ok));
    assert!(!rig.is_to_be_made_again(Call::Revoke, other));
    assert_eq!((found(&mut rig, other), found(&mut rig, below)), (Status::Ok, Status::BadHandle));
    assert_eq!(rig.kernel.revoking, 1);
    assert!(!rig.is_to_be_made_again(Call::Revoke, root));
    assert_eq!((found(&mut rig, root), found(&mut rig, left)), (Status::Ok, Status::BadHandle));
    assert_eq!(rig.kernel.revoking, 0);
}

#[test]
fn who_may_not_revoke_does_not() {
    let (mut rig, _) = Rig::new();
    let root = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let rights = u64::from((Rights::all() - Rights::REVOKE).bits());
    assert_eq!(rig.call(Call::Copy, root, |r| (r.rdi, r.words) = (rights, [0; 8])), Status::Ok);
    let copied = rig.made();
    let below = copy(&mut rig, copied, 0).expect("there is room");
    assert_eq!(rig.call(Call::Revoke, copied, |_| {}), Status::MissingRight);
    assert_eq!(found(&mut rig, below), Status::Ok);
}

/// Whoever drops a capability that is being revoked takes with it what is left below.
#[test]
fn a_root_that_is_dropped_while_it_dies_leaves_nothing() {
    let (mut rig, boot) = Rig::new();
    let root = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let top = copy(&mut rig, root, 0).expect("there is room");
    let copies: Vec<Handle> = (0..20).map(|_| copy(&mut rig, top, 0).expect("there is room")).collect();
    assert!(rig.is_to_be_made_again(Call::Revoke, top));
    assert!(rig.is_to_be_made_again(Call::Drop, top));
    assert_eq!(found(&mut rig, top), Status::Revoked);
    assert!(!rig.is_to_be_made_again(Call::Drop, top));
    for handle in copies.into_iter().chain([top]) {
        assert_eq!(found(&mut rig, handle), Status::BadHandle);
    }
    assert_eq!((rig.kernel.revoking, found(&mut rig, root)), (0, Status::Ok));
    assert_eq!(rig.kernel.capabilities.beside(slot(&rig, boot, root)).child, NONE);
}

#[test]
fn what_hung_below_what_is_dropped_hangs_above_it() {
    let (mut rig, boot) = Rig::new();
    let root = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let middle = copy(&mut rig, root, 0).expect("there is room");
    let below: Vec<Handle> = (0..9).map(|_| copy(&mut rig, middle, 0).expect("there is room")).collect();
    assert!(rig.is_to_be_made_again(Call::Drop, middle));
    assert!(!rig.is_to_be_made_again(Call::Drop, middle));
    assert_eq!(found(&mut rig, middle), Status::BadHandle);
    let above = slot(&rig, boot, root);
    for &handle in &below {
        assert_eq!(rig.kernel.capabilities.get(slot(&rig, boot, handle)).parent, above);
    }
    while rig.is_to_be_made_again(Call::Revoke, root) {}
    assert!(below.iter().all(|&handle| found(&mut rig, handle) == Status::BadHandle));
}

#[test]
fn a_copy_has_what_it_was_given() {
    let (mut rig, _) = Rig::new();
    let root = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let badged = copy(&mut rig, root, abi::BADGE_MAX).expect("the highest badge");
    for (of, badge) in [(root, abi::BADGE_MAX + 1), (root, u64::MAX), (badged, 1), (badged, abi::BADGE_MAX)] {
        assert_eq!(copy(&mut rig, of, badge), Err(Status::BadArgument), "{badge:x}");
    }
    for part in [[0, 0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [5, 0, 1, 0, 0, 0, 0, 0]] {
        let status = rig.call(Call::Copy, root, |r| (r.rdi, r.words) = (u64::MAX, part));
        assert_eq!(status, Status::BadArgument, "an endpoint has no parts: {part:?}");
    }
    let rights = Rights::SEND | Rights::COPY;
    assert_eq!(rig.call(Call::Copy, badged, |r| (r.rdi, r.words) = (u64::from(rights.bits()), [0; 8])), Status::Ok);
    let narrow = rig.made();
    for (of, rights) in [(narrow, rights), (root, Kind::Endpoint.rights())] {
        assert_eq!(found(&mut rig, of), Status::Ok);
        let badge = if of == root { 0 } else { abi::BADGE_MAX };
        assert_eq!(rig.kernel.cpus[0].frame.words[..2], [u64::from(rights.bits()), badge]);
    }
    assert_eq!(rig.call(Call::Receive, narrow, |_| {}), Status::MissingRight);
}

/// Init and a thread of another process of its world, which receives at the endpoint given; init runs.
fn receiver(rig: &mut Rig, endpoint: Handle, budget: Handle) -> (Handle, u32) {
    let process = rig.create(budget, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    let end = rig.grant(process, endpoint, Rights::RECEIVE, 0);
    let thread = rig.create(budget, Kind::Thread, [0x40_0000, 0x50_0000, 0, 255], process);
    assert_eq!(found(rig, thread), Status::Ok);
    let number = rig.kernel.cpus[0].frame.words[2] as u32;
    assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!(rig.running(), number);
    rig.call(Call::Receive, end, |_| {});
    (process, number)
}

/// A message of init with these capabilities.
fn send(rig: &mut Rig, endpoint: Handle, caps: &[Handle], flags: u8) -> Status {
    let mut four = [Handle::NULL; 4];
    four.iter_mut().zip(caps).for_each(|(place, cap)| *place = *cap);
    rig.call(Call::Send, endpoint, |r| {
        let flags = flags | caps.len() as u8;
        r.rax = Control::new(Call::Send, endpoint).with_flags(flags).with_timeout(Timeout::POLL).0;
        r.caps = abi::registers::pack_caps(four);
    })
}

/// Slots of the capabilities that a thread was last given.
fn given(rig: &Rig, thread: u32) -> [u32; 4] {
    let slots = rig.kernel.processes.get(rig.kernel.threads.get(thread).process).slots;
    abi::registers::unpack_caps(rig.kernel.registers_of(thread).caps).map(|handle| slots + u32::from(handle.0))
}

#[test]
fn what_is_moved_is_gone_and_takes_along_what_hangs_below() {
    let (mut rig, boot) = Rig::new();
    let [meet, root] = [0; 2].map(|_| rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL));
    let top = copy(&mut rig, root, 7).expect("there is room");
    let below = [0; 3].map(|_| copy(&mut rig, top, 0).expect("there is room"));
    let (_, thread) = receiver(&mut rig, meet, BUDGET);
    let before = *rig.kernel.capabilities.get(slot(&rig, boot, top));
    assert_eq!(send(&mut rig, meet, &[top, top], FLAG_MOVE), Status::BadArgument, "it can be moved only once");
    assert_eq!(send(&mut rig, meet, &[top], FLAG_MOVE), Status::Ok);
    assert_eq!(found(&mut rig, top), Status::BadHandle);
    let there = given(&rig, thread)[0];
    assert_eq!((*rig.kernel.capabilities.get(there), rig.kernel.holder(there)), (before, 1 + boot.process));
    for handle in below {
        assert_eq!(rig.kernel.capabilities.get(slot(&rig, boot, handle)).parent, there);
    }
    // Init may still take it back: it hangs below what init holds.
    while rig.is_to_be_made_again(Call::Revoke, root) {}
    assert_eq!(rig.kernel.capabilities.get(there).kind, 0);
    assert_eq!(found(&mut rig, below[0]), Status::BadHandle);
}

/// All in one step, so there is an end to how many.
#[test]
fn a_move_takes_along_so_many_and_no_more() {
    let (mut rig, boot) = Rig::new();
    let [meet, root] = [0; 2].map(|_| rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL));
    let top = copy(&mut rig, root, 7).expect("there is room");
    let (_, thread) = receiver(&mut rig, meet, BUDGET);
    let below = [0; 1 + abi::MOVED_CHILDREN_MAX].map(|_| copy(&mut rig, top, 0).expect("there is room"));
    assert_eq!(send(&mut rig, meet, &[top], FLAG_MOVE), Status::TablesExhausted);
    assert_eq!(found(&mut rig, top), Status::Ok, "it is still there");
    assert_eq!(rig.call(Call::Drop, below[0], |_| {}), Status::Ok);
    assert_eq!(send(&mut rig, meet, &[top], FLAG_MOVE), Status::Ok);
    let there = given(&rig, thread)[0];
    assert!(below[1..].iter().all(|&handle| rig.kernel.capabilities.get(slot(&rig, boot, handle)).parent == there));
}

/// What enters the world by a move hangs below its object, and what had been derived from it stays outside.
#[test]
fn what_is_moved_into_the_world_leaves_what_hangs_below() {
    let (mut rig, boot) = Rig::new();
    let [meet, root] = [0; 2].map(|_| rig.create(WORLD, Kind::Endpoint, [0; 4], Handle::NULL));
    let top = copy(&mut rig, root, 7).expect("there is room");
    let below = copy(&mut rig, top, 0).expect("there is room");
    let (process, _) = world_process(&mut rig, abi::WORLD_PRIORITY_MAX.into());
    let end = rig.grant(process, meet, Rights::RECEIVE | Rights::SEND, 0);
    assert_eq!(rig.call(Call::Resume, EPOCH, |r| r.rdi = abi::Epoch::first_of(1).expect("fits").bits()), Status::Ok);
    // Init hands it on with the answer to a call: it must not wait for the world.
    rig.call(Call::Receive, meet, |_| {});
    let caller = rig.running();
    assert_ne!(caller, boot.thread);
    rig.call(Call::Call, end, |_| {});
    assert_eq!(rig.running(), boot.thread);
    let status = rig.call(Call::Reply, Handle::NULL, |r| {
        r.rax = Control::new(Call::Reply, Handle::NULL).with_flags(1 | FLAG_MOVE).0;
        r.caps = abi::registers::pack_caps([top, Handle::NULL, Handle::NULL, Handle::NULL]);
    });
    assert_eq!(status, Status::Ok);
    let entered = *rig.kernel.capabilities.get(given(&rig, caller)[0]);
    assert_eq!((entered.parent, entered.depth, entered.badge), (NONE, 0, 7));
    assert_eq!(rig.kernel.capabilities.get(slot(&rig, boot, below)).parent, slot(&rig, boot, root));
    assert_eq!((found(&mut rig, top), found(&mut rig, below)), (Status::BadHandle, Status::Ok));
}

#[test]
fn a_message_carries_up_to_four_and_only_what_may_be_given() {
    let (mut rig, boot) = Rig::new();
    let [meet, root] = [0; 2].map(|_| rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL));
    let gifts = [1, 2, 3, 4].map(|badge| copy(&mut rig, root, badge).expect("there is room"));
    assert_eq!(rig.call(Call::Copy, root, |r| (r.rdi, r.words) = (0, [0; 8])), Status::Ok);
    let kept = rig.made();
    // Nobody receives, but that it is not to be given is said first.
    assert_eq!(send(&mut rig, meet, &[Handle(63)], 0), Status::BadHandle);
    assert_eq!(send(&mut rig, meet, &[kept], 0), Status::MissingRight);
    assert_eq!(send(&mut rig, meet, &gifts, 0), Status::WouldBlock);
    assert_eq!(send(&mut rig, meet, &[gifts[0]; 5], 0), Status::BadArgument);
    let (_, thread) = receiver(&mut rig, meet, BUDGET);
    assert_eq!(send(&mut rig, meet, &gifts, 0), Status::Ok);
    let there = given(&rig, thread);
    assert_eq!(there.map(|slot| rig.kernel.capabilities.get(slot).badge), [1, 2, 3, 4]);
    for (slot_there, gift) in there.into_iter().zip(gifts) {
        assert_eq!(rig.kernel.capabilities.get(slot_there).parent, slot(&rig, boot, gift));
    }
    // Whoever has no room for all gets none.
    let full = rig.kernel.processes.get(1 + boot.process);
    let (first, count) = (full.slots, full.slot_count);
    let room = (first + 1..first + count).filter(|&slot| rig.kernel.capabilities.get(slot).kind == 0).count() as u32;
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!(rig.running(), thread);
    for _ in 0..room - 3 {
        assert_eq!(copy(&mut rig, Handle(2), 0).err(), None);
    }
    rig.call(Call::Receive, Handle(1), |_| {});
    assert_eq!(send(&mut rig, meet, &gifts, 0), Status::PeerTableFull);
    assert_eq!(send(&mut rig, meet, &gifts[..3], 0), Status::Ok);
}

/// A world has budgets of its own to hand on, and nothing of the volatile side.
#[test]
fn only_what_is_of_the_world_enters_it() {
    let (mut rig, _) = Rig::new();
    let process = rig.create(WORLD, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    let made = [Kind::Endpoint, Kind::Notification, Kind::Budget];
    for (budget, status) in [(WORLD, Status::Ok), (BUDGET, Status::WorldClosed)] {
        for kind in made {
            let handle = rig.create(budget, kind, [0; 4], Handle::NULL);
            let granted = rig.call(Call::Grant, process, |r| {
                (r.rdi, r.words, r.caps) = (u64::MAX, [0; 8], u64::from(handle.0));
            });
            assert_eq!(granted, status, "{kind:?}");
        }
    }
    for handle in [MEMORY, EPOCH, abi::boot_info::handle::PORTS, abi::boot_info::handle::INTERRUPTS, OWN] {
        let granted =
            rig.call(Call::Grant, process, |r| (r.rdi, r.words, r.caps) = (u64::MAX, [0; 8], u64::from(handle.0)));
        assert_eq!(granted, Status::WorldClosed, "{handle:?}");
    }
}
