//! Properties of what refers to what: queues, Replies, derivations, and what a revoke leaves.

use super::{Verdict, covers, require};
use crate::event::Event;
use crate::model::{Doing, Model, Name, Object, Serves};
use crate::sim::AGAIN_RIP;
use abi::{Call, Rights, Status};
use std::collections::BTreeMap;

/// P1: a thread is on the queue that what it does names, once, and on no other; whoever is ready and has no CPU is on
/// that of its priority, unless its world has not begun.
pub fn queues_match(model: &Model) -> Verdict {
    let mut places: BTreeMap<u32, Vec<Doing>> = BTreeMap::new();
    for (&number, endpoint) in &model.endpoints {
        for &thread in &endpoint.queue {
            let doing = model.threads.get(&thread).map(|thread| thread.doing);
            let named = doing.filter(|doing| on_endpoint(*doing) == Some(number));
            require(named.is_some(), || format!("queues: thread {thread} is on endpoint {number}, and is {doing:?}"))?;
            places.entry(thread).or_default().extend(named);
        }
    }
    for (&number, notification) in &model.notifications {
        for &thread in &notification.queue {
            let named = model.threads.get(&thread).is_some_and(|thread| thread.doing == Doing::Waiting(number));
            require(named, || format!("queues: thread {thread} is on notification {number}"))?;
            places.entry(thread).or_default().push(Doing::Waiting(number));
        }
    }
    for (&priority, queue) in &model.ready {
        for &thread in queue {
            let record = model.threads.get(&thread);
            let named = record.is_some_and(|thread| thread.doing == Doing::Ready && thread.priority == priority);
            require(named, || format!("queues: thread {thread} is ready at priority {priority}"))?;
            places.entry(thread).or_default().push(Doing::Ready);
        }
    }
    for (&number, thread) in &model.threads {
        let runs = model.cpus.iter().filter(|cpu| cpu.runs == Some(number)).count();
        let held_back = !model.started && model.is_world_thread(number);
        let queued = match thread.doing {
            Doing::Ready => runs == 0 && !held_back,
            Doing::Waiting(_) => true,
            doing => on_endpoint(doing).is_some(),
        };
        let found = places.get(&number).map_or(0, Vec::len);
        require(found == usize::from(queued) && runs <= 1, || {
            format!("queues: thread {number}, which is {:?}, is on {found} queues and {runs} CPUs", thread.doing)
        })?;
    }
    Ok(())
}

fn on_endpoint(doing: Doing) -> Option<u32> {
    match doing {
        Doing::Calling(e) | Doing::Sending(e) | Doing::Faulting(e) | Doing::Receiving(e) => Some(e),
        _ => None,
    }
}

/// P2: nobody waits to send where somebody waits to receive.
pub fn one_side(model: &Model) -> Verdict {
    for (number, endpoint) in &model.endpoints {
        let receives = |thread: &&u32| matches!(model.threads[*thread].doing, Doing::Receiving(_));
        let receivers = endpoint.queue.iter().filter(receives).count();
        require(receivers == 0 || receivers == endpoint.queue.len(), || {
            format!("endpoint {number} has senders and receivers: {:?}", endpoint.queue)
        })?;
    }
    Ok(())
}

/// P3: what a capability was derived from is there, is to the same object or a range around it, allows no less, and has
/// the same badge or none; and nothing is derived from itself.
pub fn derivations_narrow(model: &Model) -> Verdict {
    for (name, cap) in model.caps.iter() {
        let Some(parent) = cap.parent else { continue };
        let above = model.caps.get(&parent);
        let narrows = above.is_some_and(|above| {
            covers(&above.object, &cap.object)
                && above.rights.contains(cap.rights)
                && (above.badge == 0 || above.badge == cap.badge)
        });
        require(narrows, || format!("derivation: {name:?} is {cap:?}, below {parent:?}, which is {above:?}"))?;
        let (mut at, mut steps) = (Some(parent), 0);
        while let Some(above) = at {
            steps += 1;
            require(above != *name && steps <= model.caps.len(), || format!("derivation: {name:?} is below itself"))?;
            at = model.caps.get(&above).and_then(|cap| cap.parent);
        }
    }
    Ok(())
}

/// P5: a caller whose call or fault was received has one Reply, which a thread holds or a capability is; nobody else has
/// any.
pub fn one_reply(model: &Model) -> Verdict {
    let held = |caller: u32| {
        model.threads.values().filter(|thread| thread.serves == Some(Serves::Caller(caller))).count()
            + model.caps.values().filter(|cap| cap.object == Object::Reply(caller)).count()
    };
    for (&number, thread) in &model.threads {
        let waits = matches!(thread.doing, Doing::AwaitReply | Doing::AwaitFault);
        let replies = held(number);
        require(replies == usize::from(waits), || {
            format!("replies: thread {number}, which is {:?}, has {replies}", thread.doing)
        })?;
    }
    Ok(())
}

/// P4: a revoke that has ended left nothing that was derived from its root, and a message that was received came through a
/// capability that still allowed it: not through one that is gone or being revoked.
pub fn revoke_complete(before: &Model, event: Event, after: &Model) -> Verdict {
    if let Some(root) = revoked(before, event, after) {
        let left: Vec<Name> =
            before.descendants(root).into_iter().filter(|name| after.caps.get(name) == before.caps.get(name)).collect();
        let below = after.descendants(root);
        require(left.is_empty() && below.is_empty(), || {
            format!("revoke of {root:?} has ended and left {left:?} and {below:?}")
        })?;
    }
    for (number, sender) in &before.threads {
        let (Doing::Calling(endpoint) | Doing::Sending(endpoint)) = sender.doing else { continue };
        let Some(now) = after.threads.get(number) else { continue };
        let received = match now.doing {
            Doing::AwaitReply => true,
            Doing::Ready => now.frame.outcome().status() == Status::Ok && now.frame.rax != sender.frame.rax,
            _ => false,
        };
        let through = (sender.process, sender.frame.control().handle().0);
        // An answer that came first may have brought the capability.
        let allowed = may_send(before, through, endpoint) || may_send(after, through, endpoint);
        require(!received || allowed, || {
            format!("the message of thread {number} was received through {through:?}, which did not allow it")
        })?;
    }
    Ok(())
}

/// The root of a revoke that this event ended.
fn revoked(before: &Model, event: Event, after: &Model) -> Option<Name> {
    let (Event::Call(cpu, _) | Event::Again(cpu)) = event else { return None };
    let number = before.cpus[cpu].runs?;
    let (old, new) = (before.threads.get(&number)?, after.threads.get(&number)?);
    let frame = match event {
        Event::Call(_, op) => op.frame,
        _ => old.frame,
    };
    let made = old.doing == Doing::Ready && Call::from_bits(frame.control().call()) == Some(Call::Revoke);
    let ended = new.rip != AGAIN_RIP && new.frame.outcome().status() == Status::Ok && new.frame.rax != frame.rax;
    (made && ended).then_some((old.process, frame.control().handle().0))
}

fn may_send(model: &Model, through: Name, endpoint: u32) -> bool {
    let allows = model.caps.get(&through).is_some_and(|cap| {
        cap.rights.contains(Rights::SEND) && cap.object == Object::Is(abi::Kind::Endpoint, endpoint)
    });
    let (mut at, mut dying) = (Some(through), false);
    while let Some(cap) = at.and_then(|name| model.caps.get(&name)) {
        dying |= cap.dying;
        at = cap.parent;
    }
    allows && !dying
}
