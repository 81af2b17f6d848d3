//! Calls, signals and switches, between two address spaces unless the name says otherwise.

use super::peer::Workshop;
use super::{Longest, Step, Stopped, measure, measure_part};
use core::sync::atomic::AtomicU64;
use libos::abi::boot_info::handle;
use libos::abi::{Epoch, Handle, MOVED_CHILDREN_MAX, Rights, Timeout};
use libos::{
    Budget, CallOptions, Capability, Endpoint, Message, Notification, Process, RangePart, Received, ThreadStart,
    null_call, yield_now,
};

/// Words of the stack of a second thread of init's own.
const STACK_WORDS: usize = 4096;
static STACK: [AtomicU64; STACK_WORDS] = [const { AtomicU64::new(0) }; STACK_WORDS];

pub(super) fn run(workshop: &mut Workshop, longest: &mut Longest) -> Result<(), Stopped> {
    let budget = Budget(handle::BUDGET);
    measure("null_syscall", null_call);
    notifications(workshop, budget)?;
    let endpoint = budget.endpoint(None).step("making an endpoint")?;
    let peer = workshop.peer(budget, Epoch::NONE)?;
    let there = peer.give(endpoint.0, Rights::RECEIVE, 0)?;
    let thread = peer.start(serve, there.0.into())?;
    yield_now();
    let message = Message { tag: 1, words: [1, 2, 3, 4, 5, 6, 7, 8], ..Message::default() };
    let mut wrong = 0_u64;
    measure("ipc_round_trip", || wrong |= endpoint.call(&message).map_or(1, |answer| answer.words[7] ^ 8));
    let short = Message { tag: 1, words: [1, 2, 3, 4, 0, 0, 0, 0], ..Message::default() };
    measure("ipc_round_trip_4", || wrong |= endpoint.call(&short).map_or(1, |answer| answer.words[3] ^ 4));
    let carried = budget.notification().step("making a notification")?;
    let mut message = message.cap(0, carried.0);
    let moving = CallOptions { moves: true, ..CallOptions::default() };
    measure("ipc_round_trip_cap", || match endpoint.call_with(&message, moving) {
        Ok(answer) => message.caps = answer.caps,
        Err(_) => wrong = 1,
    });
    Capability(thread.0).destroy().step("ending the server")?;
    one_space(budget, endpoint)?;
    let peer = workshop.peer(budget, Epoch::NONE)?;
    let thread = peer.start(give_way, 0)?;
    yield_now();
    measure_part("context_switch", 2, super::ROUNDS, yield_now);
    Capability(thread.0).destroy().step("ending a thread")?;
    much_moved(workshop, budget, longest)?;
    if wrong == 0 { Ok(()) } else { Err(Stopped("calling", "a wrong answer")) }
}

/// The most that one message can take along.
fn much_moved(workshop: &mut Workshop, budget: Budget, longest: &mut Longest) -> Result<(), Stopped> {
    let endpoint = budget.endpoint(None).step("making an endpoint")?;
    let peer = workshop.peer(budget, Epoch::NONE)?;
    let there = peer.give(endpoint.0, Rights::RECEIVE, 0)?;
    let thread = peer.start(take, there.0.into())?;
    let carried = Capability(budget.notification().step("making a notification")?.0);
    for _ in 0..MOVED_CHILDREN_MAX {
        carried.copy(Rights::SIGNAL, 1, RangePart::default()).step("copying")?;
    }
    yield_now();
    let (message, moving) =
        (Message::default().cap(0, carried.0), CallOptions { moves: true, ..CallOptions::default() });
    longest.time("Send_that_moves_32_derived", || endpoint.send(&message, moving)).step("sending")?;
    Capability(thread.0).destroy().step("ending a thread")
}

/// Takes all that is sent.
extern "C" fn take(endpoint: u64) -> ! {
    loop {
        let _ = Endpoint(Handle(endpoint as u16)).receive(Timeout::FOREVER);
    }
}

fn notifications(workshop: &mut Workshop, budget: Budget) -> Result<(), Stopped> {
    let make = || budget.notification().step("making a notification");
    let badged = |what: Notification| {
        let copy = Capability(what.0).copy(Rights::SIGNAL, 1, RangePart::default()).step("copying")?;
        Ok::<_, Stopped>(Notification(copy.0))
    };
    let (ping, pong) = (make()?, make()?);
    let ring = badged(ping)?;
    measure("poll_empty", || {
        let _ = ping.poll();
    });
    measure("signal_no_waiter", || {
        let _ = ring.signal();
    });
    let _ = ping.poll();
    let peer = workshop.peer(budget, Epoch::NONE)?;
    let waits = peer.give(ping.0, Rights::WAIT, 0)?;
    let signals = peer.give(pong.0, Rights::SIGNAL, 1)?;
    let thread = peer.start(echo, u64::from(waits.0) | u64::from(signals.0) << 16)?;
    yield_now();
    measure("notification_round_trip", || {
        let _ = ring.signal();
        let _ = pong.wait(Timeout::FOREVER);
    });
    Capability(thread.0).destroy().step("ending a thread")
}

fn one_space(budget: Budget, endpoint: Endpoint) -> Result<(), Stopped> {
    let stack = STACK.as_ptr_range().end as u64 / 16 * 16 - 8;
    let start =
        ThreadStart { entry: serve as *const () as u64, stack, argument: endpoint.0.0.into(), priority: u8::MAX };
    let thread = budget.thread(Process(handle::PROCESS), start).step("making a thread")?;
    thread.start().step("starting a thread")?;
    yield_now();
    let message = Message { tag: 1, words: [1, 2, 3, 4, 5, 6, 7, 8], ..Message::default() };
    measure("ipc_round_trip_one_space", || {
        let _ = endpoint.call(&message);
    });
    Capability(thread.0).destroy().step("ending a thread")
}

/// Answers every call with what it said, and moves back what came with it.
extern "C" fn serve(endpoint: u64) -> ! {
    let endpoint = Endpoint(Handle(endpoint as u16));
    let mut answer = Message::default();
    loop {
        answer = match endpoint.reply_receive_moving(&answer, Timeout::FOREVER) {
            Ok(Received::Call { message, .. }) => message,
            _ => Message::default(),
        };
    }
}

/// Answers every signal with one.
extern "C" fn echo(handles: u64) -> ! {
    let (ping, pong) = (Notification(Handle(handles as u16)), Notification(Handle((handles >> 16) as u16)));
    loop {
        let _ = ping.wait(Timeout::FOREVER);
        let _ = pong.signal();
    }
}

extern "C" fn give_way(_: u64) -> ! {
    loop {
        yield_now();
    }
}
