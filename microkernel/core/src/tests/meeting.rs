//! Who meets whom, who waits and who is told at once, and when a wait ends.

use super::*;
use crate::State;

/// A started thread of a new process of init's kind, as important as init: its number, and its handles for `caps`, from 1.
fn peer(rig: &mut Rig, caps: &[(Handle, Rights, u64)]) -> u32 {
    let process = rig.create(BUDGET, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    for (at, &(cap, rights, badge)) in (1..).zip(caps) {
        assert_eq!(rig.grant(process, cap, rights, badge), Handle(at));
    }
    let thread = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, 255], process);
    assert_eq!(rig.call(Call::Identify, thread, |_| {}), Status::Ok);
    let number = rig.kernel.cpus[0].frame.words[2] as u32;
    assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
    number
}

fn with(call: Call, handle: Handle, timeout: Timeout) -> impl FnOnce(&mut Registers) {
    move |r| r.rax = Control::new(call, handle).with_timeout(timeout).0
}

#[test]
fn the_volatile_never_waits_inside_the_world() {
    let (mut rig, _) = Rig::new();
    let [inside, outside] = [WORLD, BUDGET].map(|budget| rig.create(budget, Kind::Endpoint, [0; 4], Handle::NULL));
    for call in [Call::Send, Call::Call] {
        assert_eq!(rig.call(call, inside, with(call, inside, Timeout::POLL)), Status::WorldClosed);
        assert_eq!(rig.call(call, outside, with(call, outside, Timeout::POLL)), Status::WouldBlock);
    }
    // To receive there is what it is for.
    assert_eq!(rig.call(Call::Receive, inside, with(Call::Receive, inside, Timeout::POLL)), Status::WouldBlock);
}

#[test]
fn bits_are_kept_for_who_asks_and_given_to_who_waits() {
    let (mut rig, boot) = Rig::new();
    let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    let other = peer(&mut rig, &[(bell, Rights::SIGNAL | Rights::WAIT, 4)]);
    let poll = |rig: &mut Rig| {
        let status = rig.call(Call::Wait, bell, with(Call::Wait, bell, Timeout::POLL));
        (status, rig.outcome().kind(), rig.outcome().badge())
    };
    assert_eq!(poll(&mut rig).0, Status::WouldBlock);
    // A signal through a capability without badge has no bits.
    assert_eq!(rig.call(Call::Signal, bell, |_| {}), Status::BadArgument);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!(rig.running(), other);
    assert_eq!(rig.call(Call::Signal, Handle(1), |_| {}), Status::Ok);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!(poll(&mut rig), (Status::Ok, Event::Notification, 4));
    assert_eq!(poll(&mut rig).0, Status::WouldBlock);
    rig.call(Call::Wait, bell, |_| {});
    assert_eq!((rig.running(), rig.state(boot.thread)), (other, State::Waiting));
    assert_eq!(rig.call(Call::Signal, Handle(1), |_| {}), Status::Ok);
    assert_eq!((rig.state(boot.thread), rig.told(boot.thread).badge()), (State::Ready, 4));
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!(poll(&mut rig).0, Status::WouldBlock);
}

/// Who is bound hears of it while it receives, and of what came before at its next receive.
#[test]
fn who_is_bound_hears_at_the_endpoint() {
    let (mut rig, boot) = Rig::new();
    let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let other = peer(&mut rig, &[(bell, Rights::SIGNAL | Rights::WAIT, 8)]);
    assert_eq!(rig.call(Call::BindNotification, bell, |_| {}), Status::Ok);
    assert_eq!(rig.call(Call::BindNotification, bell, |_| {}), Status::AlreadyBound);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    assert_eq!(rig.running(), other);
    assert_eq!(rig.call(Call::BindNotification, Handle(1), |_| {}), Status::AlreadyBound);
    assert_eq!(rig.call(Call::Signal, Handle(1), |_| {}), Status::Ok);
    assert_eq!(rig.state(boot.thread), State::Ready);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    rig.call(Call::Receive, meet, |_| {});
    assert_eq!((rig.running(), rig.outcome().kind(), rig.outcome().badge()), (boot.thread, Event::Notification, 8));
    rig.call(Call::Receive, meet, |_| {});
    assert_eq!((rig.running(), rig.state(boot.thread)), (other, State::Receiving));
    assert_eq!(rig.call(Call::Signal, Handle(1), |_| {}), Status::Ok);
    assert_eq!((rig.state(boot.thread), rig.told(boot.thread).badge()), (State::Ready, 8));
    rig.call(Call::Yield, Handle::NULL, |_| {});
    // Bound no longer, it hears of it no more.
    assert_eq!(rig.call(Call::BindNotification, Handle::NULL, |_| {}), Status::Ok);
    rig.call(Call::Receive, meet, |_| {});
    assert_eq!(rig.call(Call::Signal, Handle(1), |_| {}), Status::Ok);
    assert_eq!(rig.state(boot.thread), State::Receiving);
    // Each world has its own.
    let of_world = {
        rig.kernel.wake(boot.thread);
        rig.call(Call::Yield, Handle::NULL, |_| {});
        rig.create(WORLD, Kind::Notification, [0; 4], Handle::NULL)
    };
    assert_eq!(rig.call(Call::BindNotification, of_world, |_| {}), Status::WorldClosed);
}

/// The timer fires for the earliest deadline, and who waited for it is told; not a moment before.
#[test]
fn waits_end_when_they_were_to_end() {
    let (mut rig, boot) = Rig::new();
    let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let (early, late) = (Timeout::from_ms(10), Timeout::from_ms(30));
    let all = [0; 3].map(|_| peer(&mut rig, &[(bell, Rights::WAIT, 0), (meet, Rights::SEND, 0)]));
    rig.call(Call::Wait, Handle::NULL, with(Call::Wait, Handle::NULL, late));
    let at = |timeout: Timeout| timeout.ns().expect("it ends");
    assert_eq!(rig.m.timers.get(&0).copied().map(|time| time <= at(late)), Some(true));
    rig.call(Call::Wait, Handle(1), with(Call::Wait, Handle(1), early));
    rig.call(Call::Call, Handle(2), with(Call::Call, Handle(2), late));
    rig.call(Call::Wait, Handle(1), |_| {});
    assert!(rig.kernel.is_idle(0));
    assert_eq!(rig.kernel.deadlines.entries().count(), 3);
    assert!(rig.kernel.deadlines.entries().any(|entry| entry == (at(early), all[0])));
    rig.m.now_ns = at(early) - 1;
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert!(rig.kernel.is_idle(0));
    assert_eq!(rig.m.timers.get(&0), Some(&at(early)));
    rig.m.now_ns = at(early);
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert_eq!((rig.running(), rig.outcome().status()), (all[0], Status::TimedOut));
    rig.call(Call::Wait, Handle::NULL, |_| {});
    assert_eq!(rig.m.timers.get(&0), Some(&at(late)));
    rig.m.now_ns = at(late);
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    let mut ready = [all[1], boot.thread].map(|thread| (rig.state(thread), rig.told(thread).status()));
    ready.sort_by_key(|(_, status)| *status as u8);
    let mut wanted = [(State::Ready, Status::Ok), (State::Ready, Status::TimedOut)];
    wanted.sort_by_key(|(_, status)| *status as u8);
    assert_eq!(ready, wanted, "who slept has slept, who called has had no answer");
    assert_eq!(rig.state(all[2]), State::Waiting);
}

/// Whoever waits as long as another of its priority runs has its turn when the slice ends.
#[test]
fn slices_end() {
    let (mut rig, boot) = Rig::new();
    let other = peer(&mut rig, &[]);
    let end = rig.m.timers[&0];
    assert!(end > 0);
    rig.m.now_ns = end - 1;
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert_eq!(rig.running(), boot.thread);
    rig.m.now_ns = end;
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert_eq!(rig.running(), other);
    // And then that one's ends.
    rig.m.now_ns = rig.m.timers[&0];
    assert!(rig.m.now_ns > end);
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert_eq!(rig.running(), boot.thread);
}

/// A slice that has begun ends, also when somebody more important had the CPU meanwhile: the timer, which fired for
/// that one, is set again.
#[test]
fn slices_end_whoever_came_between() {
    let (mut rig, boot) = Rig::new();
    let own = abi::boot_info::handle::THREAD;
    let [first, second] = [0; 2].map(|_| peer(&mut rig, &[]));
    for thread in [first, second] {
        let is_its = |held: &crate::Held<'_>| {
            held.process == boot.process
                && held.capability.kind() == Some(Kind::Thread)
                && held.capability.object == thread
        };
        let handle = rig.kernel.each_capability().find(is_its).map(|held| Handle(held.handle)).expect("init made it");
        assert_eq!(rig.call(Call::SetPriority, handle, |r| r.rdi = 50), Status::Ok);
    }
    assert_eq!(rig.call(Call::SetPriority, own, |r| r.rdi = 100), Status::Ok);
    // Init sleeps for a part of the slice of the first of the two, and then for ever.
    rig.call(Call::Wait, Handle::NULL, with(Call::Wait, Handle::NULL, Timeout::from_ms(3)));
    assert_eq!(rig.running(), first);
    let end = rig.kernel.cpus[0].slice_end;
    rig.m.now_ns = rig.m.timers.remove(&0).expect("a deadline");
    assert!(rig.m.now_ns < end);
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert_eq!(rig.running(), boot.thread);
    assert_eq!(rig.m.timers.get(&0), Some(&end));
    rig.call(Call::Wait, Handle::NULL, |_| {});
    assert_eq!(rig.running(), first);
    rig.m.now_ns = end;
    rig.kernel.timer(&mut rig.m, 0);
    rig.sound();
    assert_eq!(rig.running(), second);
}

/// A receive passes over what can no longer be delivered, whose senders are told.
#[test]
fn what_was_revoked_meanwhile_is_not_delivered() {
    let (mut rig, boot) = Rig::new();
    let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let revoked = {
        assert_eq!(rig.call(Call::Copy, meet, |r| (r.rdi, r.words) = (u64::MAX, [0; 8])), Status::Ok);
        rig.made()
    };
    let first = peer(&mut rig, &[(revoked, Rights::SEND, 3)]);
    let second = peer(&mut rig, &[(meet, Rights::SEND, 5)]);
    for thread in [first, second] {
        rig.call(Call::Yield, Handle::NULL, |_| {});
        assert_eq!(rig.running(), thread);
        rig.call(Call::Send, Handle(1), |r| r.words = [u64::from(thread); 8]);
        if rig.running() != boot.thread {
            rig.call(Call::Yield, Handle::NULL, |_| {});
        }
    }
    while rig.running() != boot.thread {
        rig.call(Call::Send, Handle(1), |r| r.words = [5; 8]);
    }
    assert_eq!([first, second].map(|thread| rig.state(thread)), [State::Sending; 2]);
    assert_eq!(rig.call(Call::Revoke, revoked, |_| {}), Status::Ok);
    rig.call(Call::Receive, meet, |_| {});
    assert_eq!((rig.running(), rig.outcome().kind(), rig.outcome().badge()), (boot.thread, Event::Message, 5));
    assert_eq!(rig.told(first).status(), Status::Revoked);
    assert_eq!(rig.told(second).status(), Status::Ok);
}
