//! What ends while somebody waits for it, in steps, and on the CPU of another.

use super::*;
use crate::State;
use crate::object::NONE;

/// Some started threads of a new process of init's kind, all of one priority, each with its number and its handle.
fn threads(rig: &mut Rig, count: usize, priority: u64) -> (Handle, Vec<(u32, Handle)>) {
    let process = rig.create(BUDGET, Kind::Process, [16, 0, 0, 0], Handle::NULL);
    let made = (0..count).map(|_| {
        let thread = rig.create(BUDGET, Kind::Thread, [0x40_0000, 0x50_0000, 0, priority], process);
        assert_eq!(rig.call(Call::Identify, thread, |_| {}), Status::Ok);
        let number = rig.kernel.cpus[0].frame.words[2] as u32;
        assert_eq!(rig.call(Call::Start, thread, |_| {}), Status::Ok);
        (number, thread)
    });
    (process, made.collect())
}

#[test]
fn who_waits_for_a_bell_that_ends_is_told_in_steps() {
    let (mut rig, boot) = Rig::new();
    let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let (process, all) = threads(&mut rig, 4, 255);
    let there = rig.grant(process, bell, Rights::WAIT, 0);
    let end = rig.grant(process, meet, Rights::RECEIVE, 0);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    for (at, &(thread, _)) in all.iter().enumerate() {
        assert_eq!(rig.running(), thread);
        if at == 3 {
            assert_eq!(rig.call(Call::BindNotification, there, |_| {}), Status::Ok);
            rig.call(Call::Receive, end, |_| {});
        } else {
            rig.call(Call::Wait, there, |_| {});
        }
    }
    assert_eq!(rig.running(), boot.thread);
    rig.kernel.limit_steps(2);
    assert!(rig.is_to_be_made_again(Call::Destroy, bell));
    assert_eq!(all.iter().filter(|&&(thread, _)| rig.state(thread) == State::Waiting).count(), 1);
    // It is no more for anybody, though it is not gone yet.
    assert_eq!(rig.call(Call::Wait, bell, |_| {}), Status::PeerDied);
    assert!(!rig.is_to_be_made_again(Call::Destroy, bell));
    for &(thread, _) in &all[..3] {
        assert_eq!((rig.state(thread), rig.told(thread).status()), (State::Ready, Status::PeerDied));
    }
    let bound = all[3].0;
    assert_eq!((rig.state(bound), rig.kernel.threads.get(bound).bound), (State::Receiving, NONE));
    assert_eq!(rig.call(Call::Identify, bell, |_| {}), Status::PeerDied);
}

#[test]
fn who_waits_at_an_endpoint_that_ends_is_told_in_steps() {
    let (mut rig, _) = Rig::new();
    let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
    let (process, all) = threads(&mut rig, 3, 255);
    let end = rig.grant(process, meet, Rights::SEND, 0);
    for call in [Call::Send, Call::Call, Call::Send] {
        rig.call(Call::Yield, Handle::NULL, |_| {});
        rig.call(call, end, |_| {});
    }
    rig.kernel.limit_steps(2);
    assert!(rig.is_to_be_made_again(Call::Destroy, meet));
    assert_eq!(rig.call(Call::Receive, meet, |_| {}), Status::PeerDied);
    assert!(!rig.is_to_be_made_again(Call::Destroy, meet));
    for (thread, _) in all {
        assert_eq!((rig.state(thread), rig.told(thread).status()), (State::Ready, Status::PeerDied));
    }
}

/// Threads, then capabilities, then tables; and the budget has again what it gave.
#[test]
fn a_process_ends_in_steps_and_gives_everything_back() {
    let (mut rig, boot) = Rig::new();
    let budgets =
        |rig: &Rig| rig.kernel.each_budget().map(|(_, budget)| (budget.left, budget.used)).collect::<Vec<_>>();
    let (before, tables) = (budgets(&rig), rig.kernel.pool.free.clone());
    let (process, all) = threads(&mut rig, 4, 200);
    let number = rig.kernel.threads.get(all[0].0).process;
    let mapped = rig.call(Call::Map, process, |r| {
        (r.rdi, r.words, r.caps) = (0x60_0000, [7, 1, 0, 0, 0, 0, 0, 0], u64::from(MEMORY.0));
    });
    assert_eq!(mapped, Status::Ok);
    for _ in 0..4 {
        rig.grant(process, OWN, Rights::empty(), 0);
    }
    rig.kernel.limit_steps(3);
    let live = |rig: &Rig| all.iter().filter(|&&(thread, _)| rig.state(thread) != State::Free).count();
    let held = |rig: &Rig| rig.kernel.each_capability().filter(|held| held.process == number).count();
    assert_eq!((live(&rig), held(&rig)), (4, 4));
    assert!(rig.is_to_be_made_again(Call::Destroy, process));
    assert_eq!((live(&rig), held(&rig)), (1, 4));
    // Nothing is made in it any more, and none of its threads starts.
    let made = rig.call(Call::Create, BUDGET, |r| {
        (r.rdi, r.words, r.caps) =
            (Kind::Thread as u64, [0x40_0000, 0x50_0000, 0, 1, 0, 0, 0, 0], u64::from(process.0));
    });
    assert_eq!(made, Status::PeerDied);
    let granted = rig.call(Call::Grant, process, |r| (r.rdi, r.caps) = (0, u64::from(OWN.0)));
    assert_eq!(granted, Status::PeerDied);
    assert!(rig.is_to_be_made_again(Call::Destroy, process));
    assert_eq!((live(&rig), held(&rig)), (0, 1));
    // Four tables, of which the last is the root: as many as one step frees.
    assert!(!rig.is_to_be_made_again(Call::Destroy, process));
    assert_eq!((budgets(&rig), rig.kernel.pool.free == tables), (before, true));
    assert_eq!(rig.call(Call::Identify, process, |_| {}), Status::PeerDied);
    assert_eq!(rig.running(), boot.thread);
}

#[test]
fn who_ends_or_stops_itself_runs_no_longer() {
    let (mut rig, boot) = Rig::new();
    let own = abi::boot_info::handle::THREAD;
    let (_, all) = threads(&mut rig, 1, 100);
    rig.call(Call::Stop, own, |_| {});
    assert_eq!((rig.running(), rig.state(boot.thread)), (all[0].0, State::Stopped));
    assert_eq!(rig.told(boot.thread).status(), Status::Ok);
    let (mut rig, boot) = Rig::new();
    rig.call(Call::Destroy, own, |_| {});
    assert!(rig.kernel.is_idle(0));
    assert_eq!((rig.state(boot.thread), rig.m.loaded[&0]), (State::Free, None));
}

#[test]
fn who_is_stopped_in_a_wait_is_told_when_it_is_started() {
    let (mut rig, _) = Rig::new();
    let bell = rig.create(BUDGET, Kind::Notification, [0; 4], Handle::NULL);
    let (process, all) = threads(&mut rig, 2, 255);
    let there = rig.grant(process, bell, Rights::WAIT, 0);
    rig.call(Call::Yield, Handle::NULL, |_| {});
    rig.call(Call::Wait, there, |_| {});
    rig.call(Call::Yield, Handle::NULL, |_| {});
    // The one has its result, the other was ready and keeps all that it had.
    rig.kernel.threads.change(all[1].0).registers.rax = 0x77;
    for (thread, handle) in &all {
        assert_eq!(rig.call(Call::Stop, *handle, |_| {}), Status::Ok);
        assert_eq!(rig.state(*thread), State::Stopped);
        assert_eq!(rig.call(Call::Stop, *handle, |_| {}), Status::Ok);
    }
    assert_eq!((rig.told(all[0].0).status(), rig.kernel.registers_of(all[1].0).rax), (Status::Cancelled, 0x77));
    assert_eq!(rig.call(Call::Start, all[0].1, |_| {}), Status::Ok);
    assert_eq!(rig.state(all[0].0), State::Ready);
    assert_eq!(rig.call(Call::Start, all[0].1, |_| {}), Status::WrongState);
}

/// The caller of a server that ends, of one that drops its Reply, and of one whose Reply goes with its process.
#[test]
fn a_caller_is_told_what_became_of_its_reply() {
    for (how, wanted) in [("ends", Status::Restarted), ("drops", Status::Abandoned), ("process", Status::Restarted)] {
        let (mut rig, boot) = Rig::new();
        let meet = rig.create(BUDGET, Kind::Endpoint, [0; 4], Handle::NULL);
        let (process, all) = threads(&mut rig, 1, 255);
        let (server, handle) = all[0];
        let end = rig.grant(process, meet, Rights::RECEIVE, 0);
        rig.call(Call::Yield, Handle::NULL, |_| {});
        rig.call(Call::Receive, end, |_| {});
        let (reaper, other) = threads(&mut rig, 1, 254);
        let what = if how == "ends" { handle } else { process };
        assert_eq!(rig.grant(reaper, what, Rights::DESTROY, 0), Handle(1));
        rig.call(Call::Call, meet, |_| {});
        assert_eq!((rig.running(), rig.state(boot.thread)), (server, State::AwaitReply));
        if how != "ends" {
            assert_eq!(rig.call(Call::SaveReply, Handle::NULL, |_| {}), Status::Ok);
            assert_eq!(rig.call(Call::SaveReply, Handle::NULL, |_| {}), Status::NoReply);
        }
        if how == "drops" {
            assert_eq!(rig.call(Call::Drop, Handle(2), |_| {}), Status::Ok);
            rig.call(Call::Yield, Handle::NULL, |_| {});
        } else {
            rig.call(Call::Wait, Handle::NULL, |_| {});
            assert_eq!(rig.running(), other[0].0);
            rig.call(Call::Destroy, Handle(1), |_| {});
        }
        assert_eq!((rig.running(), rig.outcome().status()), (boot.thread, wanted), "{how}");
    }
}

/// A rig with two CPUs, on the second of which the only thread of another process runs.
fn two_cpus() -> (Rig, BootProcess, (u32, Handle)) {
    let mut kernel = Kernel::new(&mut HostArena, &Capacities { cpus: 2, ..CAPACITIES });
    let mut m = HostMachine::default();
    m.remember_translations();
    let boot = kernel.boot_process(&mut m, 64, 0x40_0000, 0x7000_0000, 0).expect("boots");
    kernel.boot_start(&mut m, 0, boot);
    let mut rig = Rig { kernel, m };
    let (_, all) = threads(&mut rig, 1, 100);
    assert!(rig.m.kicked.remove(&1));
    rig.kernel.reschedule(&mut rig.m, 1);
    rig.sound();
    assert_eq!(rig.kernel.current(1), Some(all[0].0));
    (rig, boot, all[0])
}

#[test]
fn who_runs_elsewhere_leaves_when_that_cpu_looks() {
    let (mut rig, boot, (thread, handle)) = two_cpus();
    rig.kernel.cpus[1].frame.rip = 0x40_0802;
    assert_eq!(rig.call(Call::Stop, handle, |_| {}), Status::Ok);
    assert_eq!((rig.kernel.current(0), rig.kernel.current(1)), (Some(boot.thread), Some(thread)));
    assert_eq!(rig.m.kicked.iter().copied().collect::<Vec<_>>(), [1]);
    // Started before that CPU has looked, it has never stopped.
    assert_eq!(rig.call(Call::Start, handle, |_| {}), Status::Ok);
    rig.m.kicked.clear();
    rig.kernel.reschedule(&mut rig.m, 1);
    rig.sound();
    assert_eq!(rig.kernel.current(1), Some(thread));
    // Else it leaves at the next entry, whatever that is for, and makes its call when it is started.
    assert_eq!(rig.call(Call::Stop, handle, |_| {}), Status::Ok);
    rig.kernel.cpus[1].frame.rax = Control::new(Call::Yield, Handle::NULL).0;
    rig.kernel.syscall(&mut rig.m, 1);
    rig.sound();
    assert!(rig.kernel.is_idle(1));
    assert_eq!(rig.kernel.registers_of(thread).rip, 0x40_0800);
}

#[test]
fn who_runs_elsewhere_ends_when_that_cpu_has_looked() {
    let (mut rig, _, (thread, handle)) = two_cpus();
    assert!(rig.is_to_be_made_again(Call::Destroy, handle));
    assert_eq!(rig.m.kicked.iter().copied().collect::<Vec<_>>(), [1]);
    assert!(rig.is_to_be_made_again(Call::Destroy, handle));
    rig.kernel.reschedule(&mut rig.m, 1);
    rig.sound();
    assert!(rig.kernel.is_idle(1));
    assert!(!rig.is_to_be_made_again(Call::Destroy, handle));
    assert_eq!(rig.state(thread), State::Free);
}

/// Among so many threads that one step does not look at all of them, the last one is ended before its process is.
#[test]
fn a_thread_far_behind_others_ends_with_its_process() {
    let many = Counts([4, 300, 4, 3, 3, 256]);
    let mut kernel = Kernel::new(&mut HostArena, &Capacities { volatile: many, ..CAPACITIES });
    let mut m = HostMachine::default();
    let boot = kernel.boot_process(&mut m, 64, 0x40_0000, 0x7000_0000, 0).expect("boots");
    kernel.boot_start(&mut m, 0, boot);
    let mut rig = Rig { kernel, m };
    for _ in 0..270 {
        let made = rig.just_call(Call::Create, BUDGET, |r| {
            (r.rdi, r.caps) = (Kind::Thread as u64, u64::from(OWN.0));
            r.words = [0x40_0000, 0x50_0000, 0, 1, 0, 0, 0, 0];
        });
        assert_eq!(made, Status::Ok);
        let thread = rig.made();
        assert_eq!(rig.just_call(Call::Drop, thread, |_| {}), Status::Ok);
    }
    let (process, all) = threads(&mut rig, 1, 100);
    assert!(rig.is_to_be_made_again(Call::Destroy, process));
    assert_ne!(rig.state(all[0].0), State::Free);
    assert!(!rig.is_to_be_made_again(Call::Destroy, process));
    assert_eq!(rig.state(all[0].0), State::Free);
}
