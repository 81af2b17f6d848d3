//! Properties of how calls end: with what was said, and with nothing by what is gone.

use super::{Verdict, require};
use crate::event::Event;
use crate::model::{Doing, Model, Name, Object, Thread};
use crate::sim::AGAIN_RIP;
use abi::{Call, Control, Event as Arrival, Kind, Rights};

/// The call that a thread is in, or makes in this step.
fn call_of(before: &Model, event: Event, number: u32, thread: &Thread) -> Option<Control> {
    use Doing::{AwaitReply, Calling, Receiving, Sending, Sleeping, Waiting};
    match event {
        Event::Call(cpu, op) if before.cpus[cpu].runs == Some(number) => Some(op.frame.control()),
        _ => matches!(thread.doing, AwaitReply | Calling(_) | Receiving(_) | Sending(_) | Sleeping | Waiting(_))
            .then(|| thread.frame.control()),
    }
}

/// P17: each call ends in a status that `Call::may_end_in` knows of.
pub fn ends_as_said(before: &Model, event: Event, after: &Model) -> Verdict {
    for (&number, thread) in &before.threads {
        let (Some(control), Some(now)) = (call_of(before, event, number, thread), after.threads.get(&number)) else {
            continue;
        };
        let ended = matches!(now.doing, Doing::Ready | Doing::Stopped) && now.rip != AGAIN_RIP;
        // A thread that was stopped while it ran has not made its call.
        if !ended || now.frame.rax == control.0 {
            continue;
        }
        let status = now.frame.outcome().status();
        let known = Call::from_bits(control.call()).is_none_or(|call| call.may_end_in(status));
        require(known, || format!("ends: the call {:?} of thread {number} in {status:?}", control.call()))?;
    }
    Ok(())
}

/// Whether a handle leads to an object with a right that nobody is taking back.
fn leads_to(model: &Model, name: Name, object: Object, right: Rights) -> bool {
    let mut at = model.caps.get(&name);
    let there = at.is_some_and(|cap| cap.object == object && cap.rights.contains(right));
    while let Some(cap) = at.filter(|cap| !cap.dying) {
        at = cap.parent.and_then(|parent| model.caps.get(&parent));
        if cap.parent.is_none() {
            return there;
        }
    }
    false
}

/// P18: what arrives for a thread that waits, arrives by a right that its process still has, at the handle by which it
/// began to wait.
pub fn arrives_by_right(before: &Model, after: &Model) -> Verdict {
    for (&number, thread) in &before.threads {
        let (object, right) = match thread.doing {
            Doing::Receiving(endpoint) => (Object::Is(Kind::Endpoint, endpoint), Rights::RECEIVE),
            Doing::Waiting(notification) => (Object::Is(Kind::Notification, notification), Rights::WAIT),
            _ => continue,
        };
        let Some(now) = after.threads.get(&number).filter(|now| now.doing == Doing::Ready) else { continue };
        let arrived = now.frame.outcome().kind();
        // A receiver hears of its bound notification by another right.
        let bound = right == Rights::RECEIVE && arrived == Arrival::Notification;
        if now.frame.rax == thread.frame.rax || arrived == Arrival::None || bound {
            continue;
        }
        let name = (thread.process, thread.frame.control().handle().0);
        let held = leads_to(before, name, object, right);
        require(held, || format!("rights: {arrived:?} arrives for thread {number} by {name:?}, which is gone"))?;
    }
    Ok(())
}
