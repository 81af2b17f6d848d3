//! Properties that hold in every state or at every step of the abstract kernel, each a function that says what broke.
//! The specification already implies them; they are checked on what the real core did, so that a mistake that core and
//! specification share is still found.
//!
//! | property | here | in the core's own records |
//! | --- | --- | --- |
//! | P1 queues and what threads do agree, both ways | [`queues_match`] | I1 `check_queues`, I8 `check_free_sets` |
//! | P2 no endpoint has senders and receivers | [`one_side`] | I2 `check_endpoints` |
//! | P3 derivations end, and only narrow | [`derivations_narrow`] | I3 `check_derivations` |
//! | P4 revoke is complete, messages in flight included | [`revoke_complete`] | |
//! | P5 one Reply for a caller, and only while it waits | [`one_reply`] | I5 `check_replies` |
//! | P6 delivered exactly once; nothing of a send that ended | [`exactly_once`] | |
//! | P7 badges are unforgeable | [`badges_unforgeable`] | I3 |
//! | P8 first in, first out within a priority | [`first_in_first_out`] | I1: queues are in the order of tickets |
//! | P9 no lost wake-up | [`no_lost_wake_up`] | I2 |
//! | P10 the world is closed, both ways | [`world_closed`] | I4 `check_world_closed` |
//! | P11 budgets are conserved | [`budgets_conserved`] | I6 `check_budgets` |
//! | P12 authority is confined | [`authority_confined`] | |
//! | P13 integrity | [`integrity`] | I7 `check_cpus` |
//! | P14 what is written, is written in its epoch; what was frozen is kept | [`written_in_its_epoch`], [`frozen_is_kept`] | I9 `check_spaces` |
//! | P15 two runs differ only where they may | `tests/noninterference.rs` | |
//! | P16 restore is identity, whatever happens while an epoch is exported | universe `restore` | |
//! | P17 calls end as `Call::may_end_in` says | [`ends_as_said`] | |
//! | P18 nothing arrives by what was revoked | [`arrives_by_right`] | |
//!
//! `tests/properties_fail.rs` breaks each of P1 to P14, P17 and P18 by hand and sees it noticed; the tests of P15 and P16
//! are beside them.

mod ends;
mod pages;
mod structure;

pub use ends::{arrives_by_right, ends_as_said};
pub use pages::{frozen_is_kept, written_in_its_epoch};
pub use structure::{derivations_narrow, one_reply, one_side, queues_match, revoke_complete};

use crate::event::Event;
use crate::model::{Cap, Doing, Model, Name, Object, PORT_RIGHTS, Thread};
use crate::sim::Sim;
use abi::{Call, Event as Arrival, Kind, Rights, Status};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a property says: nothing, or what broke.
pub type Verdict = Result<(), String>;

fn require(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// Processes that can influence each other: islands; and what each of them may do.
pub struct Islands {
    /// For each process one of its island, itself for the first.
    joined: BTreeMap<u32, u32>,
    /// By island and object.
    authority: BTreeMap<(u32, Object), Rights>,
}

impl Islands {
    /// Islands of a state. Two processes are on one if a capability of one is to an object that the other has a
    /// capability to, to its process or to one of its threads; if a Reply joins them; if one serves the other's memory.
    pub fn of(model: &Model) -> Self {
        let joined = model.processes.keys().map(|&process| (process, process)).collect();
        let mut islands = Self { joined, authority: BTreeMap::new() };
        let mut holders: BTreeMap<Object, u32> = BTreeMap::new();
        for (&(process, _), cap) in model.caps.iter() {
            if matches!(cap.object, Object::Gone(_) | Object::Epoch) || cap.rights.is_empty() {
                continue;
            }
            match holders.get(&cap.object) {
                Some(&other) => islands.join(process, other),
                None => {
                    holders.insert(cap.object, process);
                }
            }
            match cap.object {
                Object::Is(Kind::Process, other) => islands.join(process, other),
                Object::Is(Kind::Thread, thread) | Object::Reply(thread) => {
                    islands.join(process, model.threads[&thread].process);
                }
                _ => {}
            }
        }
        for thread in model.threads.values() {
            if let Some(crate::model::Serves::Caller(caller)) = thread.serves {
                islands.join(thread.process, model.threads[&caller].process);
            }
            if let Some(holder) = thread.bound.and_then(|n| holders.get(&Object::Is(Kind::Notification, n))) {
                islands.join(thread.process, *holder);
            }
            // Who waits is met by whoever holds what it waits on, even if its own capability is gone by now.
            if let Doing::Calling(e) | Doing::Sending(e) | Doing::Faulting(e) | Doing::Receiving(e) = thread.doing
                && let Some(holder) = holders.get(&Object::Is(Kind::Endpoint, e))
            {
                islands.join(thread.process, *holder);
            }
        }
        for (&(process, _), cap) in model.caps.iter() {
            let island = islands.island(process);
            *islands.authority.entry((island, cap.object)).or_default() |= cap.rights;
            if cap.object == Object::Epoch && cap.rights.contains(Rights::EPOCH_PORTS) {
                // Who may bind ports has them already.
                for (&port, _) in model.endpoints.iter().filter(|(_, endpoint)| endpoint.service != 0) {
                    *islands.authority.entry((island, Object::Is(Kind::Endpoint, port))).or_default() |= PORT_RIGHTS;
                }
            }
        }
        islands
    }

    /// The island of a process.
    pub fn island(&self, process: u32) -> u32 {
        let mut at = process;
        while let Some(&next) = self.joined.get(&at).filter(|&&next| next != at) {
            at = next;
        }
        at
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.island(a), self.island(b));
        self.joined.insert(a.max(b), a.min(b));
    }
}

/// Places whose capability changed in a step, and the one that is there now.
fn changed_caps<'m>(before: &'m Model, after: &'m Model) -> Vec<(Name, Option<&'m Cap>)> {
    if before.caps.is(&after.caps) {
        return Vec::new();
    }
    let (mut old, mut new) = (before.caps.iter().peekable(), after.caps.iter().peekable());
    let mut changed = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changed,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.0.cmp(new.0),
        };
        let old = if order.is_le() { old.next() } else { None };
        let new = if order.is_ge() { new.next() } else { None };
        if old != new {
            changed.extend(new.or(old).map(|(&name, _)| (name, new.map(|(_, cap)| cap))));
        }
    }
}

/// Whoever makes a call in this event.
fn caller(before: &Model, event: Event) -> Option<u32> {
    match event {
        Event::Call(cpu, _) | Event::Again(cpu) => before.cpus[cpu].runs,
        _ => None,
    }
}

/// The message that a thread waits with, or makes its call with.
fn message(before: &Model, event: Event, thread: u32) -> Option<[u64; 8]> {
    let record = &before.threads[&thread];
    match (record.doing, event) {
        (Doing::Calling(_) | Doing::Sending(_), _) => Some(record.frame.words),
        (_, Event::Call(_, op))
            if caller(before, event) == Some(thread) && matches!(op.call, Call::Call | Call::Send) =>
        {
            Some(op.frame.words)
        }
        _ => None,
    }
}

/// P6: a message arrives once, or its sender is told why not and it does not arrive at all. Messages are told apart by
/// their words, so those of zeros are not looked at.
pub fn exactly_once(before: &Model, event: Event, after: &Model) -> Verdict {
    for &sender in before.threads.keys() {
        let Some(words) = message(before, event, sender).filter(|words| *words != [0; 8]) else { continue };
        let Some(now) = after.threads.get(&sender) else { continue };
        let arrived = |(number, thread): &(&u32, &Thread)| {
            let waited = before.threads.get(number).is_some_and(|old| matches!(old.doing, Doing::Receiving(_)));
            let fresh = caller(before, event) == Some(**number) || waited && thread.doing == Doing::Ready;
            let kind = thread.frame.outcome().kind();
            let told = matches!(kind, Arrival::Message | Arrival::Call) && thread.doing == Doing::Ready;
            **number != sender && fresh && told && thread.frame.words == words
        };
        let arrivals = after.threads.iter().filter(arrived).count();
        let ended = now.doing == Doing::Ready && before.threads[&sender].frame.rax != now.frame.rax;
        let wanted = match now.doing {
            Doing::AwaitReply if before.threads[&sender].doing != Doing::AwaitReply => Some(1),
            Doing::Calling(_) | Doing::Sending(_) => Some(0),
            // A call that was received and answered in one step does not exist: a server has to run for it.
            Doing::Ready if ended => Some(usize::from(now.frame.outcome().status() == Status::Ok)),
            _ => None,
        };
        let calls_only = !matches!(event, Event::Crash);
        require(!calls_only || wanted.is_none_or(|wanted| arrivals == wanted), || {
            format!("exactly once: the message of thread {sender} arrived {arrivals} times, not {wanted:?}")
        })?;
    }
    Ok(())
}

/// P8: those who stay in a queue keep their order, and nobody is received before one who waited longer and still waits.
pub fn first_in_first_out(before: &Model, after: &Model) -> Verdict {
    for (endpoint, queue) in before.endpoints.iter().map(|(endpoint, record)| (endpoint, &record.queue)) {
        let Some(now) = after.endpoints.get(endpoint).map(|record| &record.queue) else { continue };
        let kept: Vec<u32> = queue.iter().copied().filter(|thread| now.contains(thread)).collect();
        let still: Vec<u32> = now.iter().copied().filter(|thread| queue.contains(thread)).collect();
        require(kept == still, || format!("FIFO: endpoint {endpoint} had {queue:?}, has {now:?}"))?;
        let received = |thread: &u32| {
            matches!(after.threads.get(thread).map(|t| t.doing), Some(Doing::AwaitReply | Doing::AwaitFault))
        };
        let last = queue.iter().rposition(received);
        let skipped = queue.iter().take(last.unwrap_or(0)).find(|thread| now.contains(thread));
        require(skipped.is_none(), || format!("FIFO: endpoint {endpoint} passed over thread {skipped:?}"))?;
    }
    for (priority, queue) in &before.ready {
        let Some(now) = after.ready.get(priority) else { continue };
        let place = |thread: &u32| now.iter().position(|other| other == thread);
        let moved =
            |thread: &&u32| after.threads.get(thread).map(|t| t.ticket) != before.threads.get(thread).map(|t| t.ticket);
        let places: Vec<usize> = queue.iter().filter(|thread| !moved(thread)).filter_map(place).collect();
        require(places.is_sorted(), || format!("FIFO: priority {priority} had {queue:?}, has {now:?}"))?;
    }
    Ok(())
}

/// P9: nobody waits for what is there: bits, a CPU that is about to look, a deadline for which no timer is set.
pub fn no_lost_wake_up(model: &Model, sim: &Sim) -> Verdict {
    for (number, notification) in &model.notifications {
        let receives = |thread: u32| matches!(model.threads.get(&thread).map(|t| t.doing), Some(Doing::Receiving(_)));
        let waited = !notification.queue.is_empty() || notification.bound.is_some_and(receives);
        require(notification.bits == 0 || !waited, || format!("lost wake-up: notification {number}"))?;
    }
    if let Some((&best, _)) = model.ready.last_key_value() {
        let runs = |cpu: usize| model.cpus[cpu].runs.map_or(-1, |thread| i32::from(model.threads[&thread].priority));
        let waits = (0..model.cpus.len()).any(|cpu| runs(cpu) < i32::from(best));
        let told = (0..model.cpus.len()).any(|cpu| runs(cpu) < i32::from(best) && sim.m.kicked.contains(&cpu));
        require(!waits || told, || format!("lost wake-up: priority {best} is ready and no CPU was told"))?;
    }
    let earliest = model.threads.values().filter_map(|thread| thread.deadline).min();
    let armed = sim.m.timers.values().min().copied();
    require(earliest.is_none_or(|at| armed.is_some_and(|armed| armed <= at)), || {
        format!("lost wake-up: a deadline at {earliest:?}, timers at {armed:?}")
    })
}

/// P7: a badge that was not there before was given by a holder of an unbadged capability; what a receiver is told as badge
/// is that of a capability to its endpoint.
pub fn badges_unforgeable(before: &Model, after: &Model) -> Verdict {
    for (name, cap) in changed_caps(before, after) {
        let Some(cap) = cap.filter(|cap| cap.badge != 0 && !matches!(cap.object, Object::Gone(_))) else { continue };
        let source = |old: &Cap| old.object == cap.object && (old.badge == cap.badge || old.badge == 0);
        require(before.caps.values().any(source), || format!("badge: {name:?} has {:#x} from nowhere", cap.badge))?;
    }
    for (number, thread) in &after.threads {
        let outcome = thread.frame.outcome();
        let came = before.threads.get(number).is_some_and(|old| old.frame != thread.frame && old.doing != thread.doing);
        if !came || thread.doing != Doing::Ready || !matches!(outcome.kind(), Arrival::Call | Arrival::Fault) {
            continue;
        }
        let to = match before.threads[number].doing {
            Doing::Receiving(endpoint) => Some(Object::Is(Kind::Endpoint, endpoint)),
            _ => None,
        };
        let badged = |cap: &Cap| {
            cap.rights.contains(Rights::SEND) && cap.badge == outcome.badge() && to.is_none_or(|to| cap.object == to)
        };
        require(before.caps.values().any(badged), || {
            format!("badge: thread {number} was told {:#x}", outcome.badge())
        })?;
    }
    Ok(())
}

/// P10: the world is closed, both ways.
pub fn world_closed(model: &Model) -> Verdict {
    for (name, cap) in model.caps.iter().filter(|(name, _)| model.is_world_process(name.0)) {
        require(cap.of_world && cap.kind().may_enter_world(), || format!("the world: {name:?} holds {cap:?}"))?;
        let below = cap.parent.is_some_and(|parent| !model.is_world_process(parent.0));
        require(!below, || format!("the world: {name:?} hangs below the volatile"))?;
    }
    for (number, thread) in model.threads.iter().filter(|(number, _)| !model.is_world_thread(**number)) {
        let inside = match thread.doing {
            Doing::Calling(e) | Doing::Sending(e) | Doing::Faulting(e) => e < model.world[2],
            _ => false,
        };
        require(!inside, || format!("the world: volatile thread {number} waits inside it"))?;
    }
    Ok(())
}

/// P11: what a root budget has left and has given out is the same for ever, and each budget gave what others hold.
pub fn budgets_conserved(before: &Model, after: &Model) -> Verdict {
    for (number, budget) in &before.budgets {
        let Some(now) = after.budgets.get(number) else { continue };
        let total = |budget: &crate::model::Budget| -> [u32; 6] {
            core::array::from_fn(|kind| budget.left[kind] + budget.used[kind])
        };
        require(total(budget) == total(now), || format!("budget {number}: {budget:?} became {now:?}"))?;
    }
    for (number, budget) in &after.budgets {
        let mut used = [0; 6];
        for other in after.budgets.values().filter(|other| other.parent == Some(*number)) {
            (0..6).for_each(|kind| used[kind] += other.left[kind] + other.used[kind]);
            used[4] += 1;
        }
        let made = Some(*number);
        used[0] += after.processes.values().filter(|p| p.budget == made).count() as u32;
        used[5] += after.processes.values().filter(|p| p.budget == made).map(|p| p.handles).sum::<u32>();
        used[1] += after.threads.values().filter(|t| t.budget == made).count() as u32;
        used[2] += after.endpoints.values().filter(|e| e.budget == made).count() as u32;
        used[3] += after.notifications.values().filter(|n| n.budget == made).count() as u32;
        require(used == budget.used, || format!("budget {number}: {used:?} live, {:?} used", budget.used))?;
    }
    Ok(())
}

/// P12: what an island holds after a step it held before, or has made: authority comes from nowhere else (take and grant).
pub fn authority_confined(before: &Model, islands: &Islands, after: &Model) -> Verdict {
    for ((process, handle), cap) in changed_caps(before, after) {
        let void = |cap: &&Cap| matches!(cap.object, Object::Gone(_) | Object::Reply(_));
        let Some(cap) = cap.filter(|cap| !void(cap)) else { continue };
        let made = match cap.object {
            Object::Is(Kind::Process, number) => !before.processes.contains_key(&number),
            Object::Is(Kind::Thread, number) => !before.threads.contains_key(&number),
            Object::Is(Kind::Endpoint, number) => !before.endpoints.contains_key(&number),
            Object::Is(Kind::Notification, number) => !before.notifications.contains_key(&number),
            Object::Is(Kind::Budget, number) => !before.budgets.contains_key(&number),
            _ => false,
        };
        let island = islands.island(process);
        let inside = |object: &Object, wide: &Rights| covers(object, &cap.object) && wide.contains(cap.rights);
        let had = islands.authority.iter().any(|((of, object), rights)| *of == island && inside(object, rights));
        require(made || had, || format!("authority: {:?} came to hold {cap:?}", (process, handle)))?;
    }
    Ok(())
}

/// Whether `outer` is the same object as `inner`, or a range around it.
fn covers(outer: &Object, inner: &Object) -> bool {
    match (outer, inner) {
        (Object::Range(a, first, count), Object::Range(b, from, length)) => {
            a == b && from >= first && u64::from(*from) + u64::from(*length) <= u64::from(*first) + u64::from(*count)
        }
        _ => outer == inner,
    }
}

/// P13: a call changes threads and capabilities of its own island only. Whether a thread runs or is about to is the
/// scheduler's business, and deadlines are time's.
pub fn integrity(before: &Model, islands: &Islands, event: Event, after: &Model) -> Verdict {
    let Some(runner) = caller(before, event) else { return Ok(()) };
    let home = islands.island(before.threads[&runner].process);
    let foreign = |process: u32| islands.island(process) != home;
    for (number, thread) in before.threads.iter().filter(|(_, thread)| foreign(thread.process)) {
        // A preempted thread is the next of its priority: its ticket is the scheduler's.
        let now = after.threads.get(number).cloned().map(|now| Thread { ticket: thread.ticket, ..now });
        require(now.as_ref() == Some(thread), || format!("integrity: thread {number} changed by thread {runner}"))?;
    }
    let spoilt = changed_caps(before, after).into_iter().find(|(name, _)| foreign(name.0));
    require(spoilt.is_none(), || format!("integrity: {spoilt:?} was made so by thread {runner}"))
}

/// Every property of a state.
pub fn state(model: &Model, sim: &Sim) -> Verdict {
    queues_match(model)?;
    one_side(model)?;
    derivations_narrow(model)?;
    one_reply(model)?;
    no_lost_wake_up(model, sim)?;
    world_closed(model)?;
    written_in_its_epoch(model, sim)?;
    frozen_is_kept(model, sim)
}

/// Every property of a step.
pub fn step(before: &Model, islands: &Islands, event: Event, after: &Model) -> Verdict {
    exactly_once(before, event, after)?;
    revoke_complete(before, event, after)?;
    first_in_first_out(before, after)?;
    badges_unforgeable(before, after)?;
    budgets_conserved(before, after)?;
    ends_as_said(before, event, after)?;
    arrives_by_right(before, after)?;
    authority_confined(before, islands, after)?;
    integrity(before, islands, event, after)
}
