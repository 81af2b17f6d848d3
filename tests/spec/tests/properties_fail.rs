//! Each property and the comparison itself, shown to fail on a state or step that breaks it.

use abi::{Call, Kind, MapFlags, Outcome, Rights, Status};
use spec::model::{Cap, Doing, Model, Object, Serves};
use spec::property::{self, Islands};
use spec::{Event, Op, Sim, Universe, abstraction, agree, refines, universe};

fn start(name: &str) -> (Universe, Model) {
    let universe = universe::named(name).expect("it is named");
    let model = abstraction(&universe.start);
    (universe, model)
}

/// A step of the real core and its abstraction.
fn step(before: &Sim, event: Event) -> (Sim, Model) {
    let mut after = before.clone();
    after.apply(event);
    let model = abstraction(&after);
    (after, model)
}

/// Who runs meets who is next: the second receives, the first calls.
fn meeting() -> (Sim, Event) {
    let (universe, _) = start("ipc");
    let mut sim = universe.start.clone();
    // The thread that runs first yields to a server.
    let receive = Event::Call(0, Op::new(Call::Receive, 1));
    let (waiting, _) = step(&sim, receive);
    sim = waiting;
    (sim, Event::Call(0, Op::new(Call::Call, 1).with(1, &[77])))
}

#[test]
fn the_comparison_fails_on_any_difference() {
    let (sim, event) = meeting();
    let before = abstraction(&sim);
    let (after, seen) = step(&sim, event);
    assert_eq!(refines(&sim, &before, event, &after), Ok(seen.clone()));
    let mut lost = seen.clone();
    lost.threads.values_mut().for_each(|thread| thread.frame.words[0] = 0);
    assert!(agree(&lost, &seen).is_err());
    // Another step than the one that was taken.
    assert!(refines(&sim, &before, Event::Call(0, Op::new(Call::Yield, 0)), &after).is_err());
}

#[test]
fn a_message_delivered_twice_or_never_is_found() {
    let (sim, event) = meeting();
    let before = abstraction(&sim);
    let (_, after) = step(&sim, event);
    assert_eq!(property::exactly_once(&before, event, &after), Ok(()));
    let receiver = after.cpus[0].runs.expect("the receiver runs");
    let mut never = after.clone();
    never.threads.get_mut(&receiver).expect("it is there").frame.words[0] = 0;
    assert!(property::exactly_once(&before, event, &never).is_err());
    let mut twice = after.clone();
    let frame = after.threads[&receiver].frame;
    let third = twice.threads.keys().copied().find(|t| *t != receiver && twice.threads[t].doing == Doing::Ready);
    let third = third.expect("a third thread");
    twice.threads.get_mut(&third).expect("it is there").frame = frame;
    let mut waited = before.clone();
    waited.threads.get_mut(&third).expect("it is there").doing = Doing::Receiving(1);
    assert!(property::exactly_once(&waited, event, &twice).is_err());
}

#[test]
fn an_overtaken_sender_is_found() {
    let (_, mut before) = start("ipc");
    let endpoint = *before.endpoints.keys().next().expect("there is one");
    before.endpoints.get_mut(&endpoint).expect("it is there").queue = [0, 1, 2].into();
    let mut after = before.clone();
    after.endpoints.get_mut(&endpoint).expect("it is there").queue = [1, 2].into();
    assert_eq!(property::first_in_first_out(&before, &after), Ok(()));
    after.endpoints.get_mut(&endpoint).expect("it is there").queue = [2, 1].into();
    assert!(property::first_in_first_out(&before, &after).is_err());
    after.endpoints.get_mut(&endpoint).expect("it is there").queue = [0, 2].into();
    after.threads.get_mut(&1).expect("it is there").doing = Doing::AwaitReply;
    assert!(property::first_in_first_out(&before, &after).is_err());
}

#[test]
fn a_lost_wake_up_is_found() {
    let (universe, model) = start("notifications");
    assert_eq!(property::no_lost_wake_up(&model, &universe.start), Ok(()));
    let mut bits = model.clone();
    let bell = bits.notifications.values_mut().next().expect("there is one");
    bell.bits = 1;
    bell.queue.push_back(0);
    assert!(property::no_lost_wake_up(&bits, &universe.start).is_err());
    let mut idle = model.clone();
    idle.cpus[0].runs = None;
    assert!(property::no_lost_wake_up(&idle, &universe.start).is_err());
    let mut late = model;
    late.threads.values_mut().next().expect("there is one").deadline = Some(1);
    let mut sim = universe.start.clone();
    sim.m.timers.clear();
    assert!(property::no_lost_wake_up(&late, &sim).is_err());
}

#[test]
fn a_forged_badge_is_found() {
    let (_, before) = start("ipc");
    let mut after = before.clone();
    after.caps.values_mut().find(|cap| cap.badge == 1).expect("a badged one").badge = 99;
    // Init still holds the endpoint without a badge, and may mint; take that away.
    let mut before = before;
    before.caps.retain(|_, cap| cap.badge != 0);
    assert!(property::badges_unforgeable(&before, &after).is_err());
    assert_eq!(property::badges_unforgeable(&before, &before), Ok(()));
}

#[test]
fn an_opened_world_is_found() {
    let (_, model) = start("boundary");
    assert_eq!(property::world_closed(&model), Ok(()));
    let object = Object::Range(Kind::Memory, 0, 1);
    let memory = Cap { object, of_world: false, rights: Rights::MEMORY_MAP, badge: 0, parent: None, dying: false };
    let mut opened = model.clone();
    opened.caps.insert((0, 15), memory);
    assert!(property::world_closed(&opened).is_err());
    let mut inside = model;
    let volatile = inside.world[1] + 1;
    inside.threads.get_mut(&volatile).expect("it is there").doing = Doing::Calling(0);
    assert!(property::world_closed(&inside).is_err());
}

#[test]
fn a_leaking_budget_is_found() {
    let (_, model) = start("death");
    assert_eq!(property::budgets_conserved(&model, &model), Ok(()));
    let mut richer = model.clone();
    richer.budgets.values_mut().next().expect("there is one").left[1] += 1;
    assert!(property::budgets_conserved(&model, &richer).is_err());
    let mut unpaid = model.clone();
    unpaid.threads.values_mut().for_each(|thread| thread.budget = None);
    assert!(property::budgets_conserved(&unpaid, &unpaid).is_err());
}

#[test]
fn authority_from_nowhere_is_found() {
    let (_, before) = start("wild");
    // The islands are joined by init, which made them; without it they are apart.
    let init = before.world[0];
    let mut apart = before.clone();
    apart.caps.retain(|name, _| name.0 != init);
    let islands_apart = Islands::of(&apart);
    assert_eq!(property::authority_confined(&apart, &islands_apart, &apart), Ok(()));
    let stolen = *apart.caps.iter().find(|(name, _)| name.0 > init).expect("of the other island").1;
    let mut after = apart.clone();
    after.caps.insert((0, 15), stolen);
    assert!(property::authority_confined(&apart, &islands_apart, &after).is_err());
    let mut wider = before.clone();
    wider.caps.retain(|name, _| name.0 == 0);
    let narrow = wider.clone();
    wider.caps.values_mut().for_each(|cap| cap.rights = Rights::all());
    assert!(property::authority_confined(&narrow, &Islands::of(&narrow), &wider).is_err());
}

#[test]
fn a_change_without_authority_is_found() {
    let (_, mut before) = start("wild");
    let init = before.world[0];
    before.caps.retain(|name, _| name.0 != init);
    let islands = Islands::of(&before);
    let runner = before.cpus[0].runs.expect("somebody runs");
    let home = islands.island(before.threads[&runner].process);
    let foreign = before.threads.iter().find(|(_, thread)| islands.island(thread.process) != home);
    let foreign = *foreign.expect("another island").0;
    let event = Event::Call(0, Op::new(Call::Null, 0));
    assert_eq!(property::integrity(&before, &islands, event, &before), Ok(()));
    let mut after = before.clone();
    after.threads.get_mut(&foreign).expect("it is there").frame.words[0] ^= 1;
    assert!(property::integrity(&before, &islands, event, &after).is_err());
}

#[test]
fn a_queue_that_lies_is_found() {
    let (_, model) = start("ipc");
    assert_eq!(property::queues_match(&model), Ok(()));
    let thread = *model.ready.values().next().expect("somebody is ready").front().expect("somebody");
    let broken = |spoil: &dyn Fn(&mut Model)| {
        let mut other = model.clone();
        spoil(&mut other);
        property::queues_match(&other).is_err()
    };
    assert!(broken(&|model| model.ready.values_mut().for_each(|queue| queue.push_back(thread))), "twice on a queue");
    assert!(broken(&|model| model.ready.clear()), "on none");
    assert!(broken(&|model| model.threads.get_mut(&thread).expect("there").doing = Doing::Calling(0)), "on another");
    assert!(broken(&|model| model.endpoints.values_mut().for_each(|e| e.queue.push_back(thread))), "on two");
    assert!(broken(&|model| model.threads.get_mut(&thread).expect("there").doing = Doing::Waiting(0)), "on no bell");
}

#[test]
fn senders_beside_receivers_are_found() {
    let (sim, _) = meeting();
    let mut model = abstraction(&sim);
    assert_eq!(property::one_side(&model), Ok(()));
    let sender = model.cpus[0].runs.expect("somebody runs");
    let endpoint = model.endpoints.iter_mut().find(|(_, endpoint)| !endpoint.queue.is_empty()).expect("a receiver");
    endpoint.1.queue.push_back(sender);
    model.threads.get_mut(&sender).expect("there").doing = Doing::Calling(*endpoint.0);
    assert!(property::one_side(&model).is_err());
}

#[test]
fn a_derivation_that_widens_or_turns_back_is_found() {
    let (universe, _) = start("capabilities");
    let copy = universe.alphabets.iter().flatten().find(|op| op.call == Call::Copy).expect("a copy");
    let holder = (0..).zip(&universe.alphabets).find(|(_, ops)| ops.contains(copy)).expect("its thread").0;
    let mut sim = universe.start.clone();
    while sim.kernel.current(0) != Some(holder) {
        sim.apply(Event::Call(0, Op::new(Call::Yield, 0)));
    }
    sim.apply(Event::Call(0, *copy));
    let model = abstraction(&sim);
    assert_eq!(property::derivations_narrow(&model), Ok(()));
    let (&child, parent) = model.caps.iter().find_map(|(name, cap)| Some((name, cap.parent?))).expect("a child");
    let broken = |spoil: &dyn Fn(&mut Model)| {
        let mut other = model.clone();
        spoil(&mut other);
        property::derivations_narrow(&other).is_err()
    };
    assert!(broken(&|model| model.caps.get_mut(&parent).expect("there").rights = Rights::empty()), "wider");
    assert!(broken(&|model| model.caps.get_mut(&parent).expect("there").badge = 1 << 20), "another badge");
    assert!(broken(&|model| model.caps.get_mut(&parent).expect("there").object = Object::Epoch), "another object");
    assert!(broken(&|model| model.caps.get_mut(&child).expect("there").parent = Some(child)), "below itself");
    assert!(broken(&|model| model.caps.retain(|name, _| *name != parent)), "below nothing");

    // A revoke that says it has ended, and has not.
    let mut after = model.clone();
    let number = model.cpus[0].runs.expect("it runs");
    let revoke = Event::Call(0, Op::new(Call::Revoke, parent.1));
    after.threads.get_mut(&number).expect("there").frame.rax = abi::Outcome::of(abi::Status::Ok).0;
    assert!(property::revoke_complete(&model, revoke, &after).is_err());
    after.caps.remove(&child);
    assert_eq!(property::revoke_complete(&model, revoke, &after), Ok(()));
}

#[test]
fn a_message_through_what_was_revoked_is_found() {
    let (universe, _) = start("ipc");
    let (sim, _) = step(&universe.start, Event::Call(0, Op::new(Call::Send, 1).with(1, &[77])));
    let before = abstraction(&sim);
    let receive = Event::Call(0, Op::new(Call::Receive, 1));
    let (_, after) = step(&sim, receive);
    assert_eq!(property::revoke_complete(&before, receive, &after), Ok(()));
    let sender = before.threads.iter().find(|(_, thread)| matches!(thread.doing, Doing::Sending(_)));
    let process = sender.expect("it waits").1.process;
    let spoils: [fn(&mut Cap); 3] =
        [|cap| cap.dying = true, |cap| cap.rights = Rights::RECEIVE, |cap| cap.object = Object::Epoch];
    for spoil in spoils {
        let mut revoked = before.clone();
        spoil(revoked.caps.get_mut(&(process, 1)).expect("it is there"));
        let mut later = after.clone();
        spoil(later.caps.get_mut(&(process, 1)).expect("it is there"));
        assert!(property::revoke_complete(&revoked, receive, &later).is_err());
    }
}

#[test]
fn a_reply_too_many_or_too_few_is_found() {
    let (sim, event) = meeting();
    let (_, model) = step(&sim, event);
    assert_eq!(property::one_reply(&model), Ok(()));
    let caller = *model.threads.iter().find(|(_, thread)| thread.doing == Doing::AwaitReply).expect("it waits").0;
    let reply = Cap {
        object: Object::Reply(caller),
        of_world: true,
        rights: Rights::REPLY,
        badge: 0,
        parent: None,
        dying: false,
    };
    let mut twice = model.clone();
    twice.caps.insert((0, 15), reply);
    assert!(property::one_reply(&twice).is_err());
    let mut never = model.clone();
    never.threads.values_mut().for_each(|thread| thread.serves = None);
    assert!(property::one_reply(&never).is_err());
    let mut late = model;
    late.threads.get_mut(&caller).expect("there").doing = Doing::Ready;
    assert!(property::one_reply(&late).is_err());
    assert!(late.threads.values().any(|thread| thread.serves == Some(Serves::Caller(caller))));
}

/// A page that was written, cut, and written again: the state after, and what its pages are.
fn written_twice() -> (Sim, Model) {
    let (universe, _) = start("pages");
    let mut sim = universe.start.clone();
    let pager = sim.kernel.current(0).expect("the pager runs first");
    let its = |call, now: bool| {
        let flags = (MapFlags::WRITE | MapFlags::NOW).bits();
        let fits = |op: &&Op| op.call == call && (op.frame.words[2] == flags) == now;
        Event::Call(0, *universe.alphabets[pager as usize].iter().find(fits).expect("one of its calls"))
    };
    let first = universe.writers[0];
    let writes = |sim: &mut Sim| {
        while sim.kernel.current(0) != Some(first) {
            sim.apply(Event::Call(0, Op::new(Call::Yield, 0)));
        }
        sim.apply(Event::Write(0));
    };
    let its = |sim: &mut Sim, call, now| match its(call, now) {
        Event::Call(cpu, op) => sim.apply(Event::Call(cpu, op.at(&sim.kernel))),
        event => sim.apply(event),
    };
    its(&mut sim, Call::Receive, false);
    writes(&mut sim);
    for (call, now) in [(Call::Map, true), (Call::Donate, false), (Call::Reply, false), (Call::Receive, false)] {
        its(&mut sim, call, now);
    }
    writes(&mut sim);
    sim.apply(Event::Timer(0));
    its(&mut sim, Call::Cut, false);
    its(&mut sim, Call::Receive, false);
    // The first is only a fault that is settled at once.
    writes(&mut sim);
    writes(&mut sim);
    let model = abstraction(&sim);
    (sim, model)
}

#[test]
fn a_page_open_in_an_older_epoch_is_found() {
    let (sim, model) = written_twice();
    assert_eq!(property::written_in_its_epoch(&model, &sim), Ok(()));
    let broken = |spoil: &dyn Fn(&mut Model)| {
        let mut other = model.clone();
        spoil(&mut other);
        property::written_in_its_epoch(&other, &sim).is_err()
    };
    let (&place, &mapping) = model.pages.maps.iter().find(|(_, mapping)| mapping.open).expect("an open page");
    assert!(
        broken(&|model| model.pages.maps.get_mut(&place).expect("there").open = false),
        "the hardware lets it pass"
    );
    assert!(broken(&|model| model.pages.maps.get_mut(&place).expect("there").frame += 1), "another frame");
    assert!(broken(&|model| model.pages.maps.get_mut(&place).expect("there").may_write = false), "nobody allowed it");
    let stale = |model: &mut Model| model.pages.frames.get_mut(&mapping.frame).expect("tracked").1 = false;
    assert!(broken(&stale), "written in an older epoch");
    // A leaf that the hardware finds closed, which is open.
    let mut closed = sim.clone();
    closed.m.loaded.insert(0, None);
    assert!(property::written_in_its_epoch(&model, &closed).is_err());
}

#[test]
fn what_was_frozen_and_is_lost_is_found() {
    let (sim, model) = written_twice();
    assert_eq!(property::frozen_is_kept(&model, &sim), Ok(()));
    let (&frame, &kept) = sim.frozen.0.iter().next().expect("a frozen page");
    let &(of, copy) = model.pages.log.back().expect("its first write");
    assert_eq!((of, model.pages.contents.get(&copy).copied()), (frame, Some(kept)));
    assert_ne!(model.pages.contents.get(&frame), Some(&kept), "it was written again");
    let broken = |spoil: &dyn Fn(&mut Model)| {
        let mut other = model.clone();
        spoil(&mut other);
        property::frozen_is_kept(&other, &sim).is_err()
    };
    assert!(broken(&|model| *model.pages.contents.get_mut(&copy).expect("there") ^= 1), "the copy is spoilt");
    assert!(broken(&|model| model.pages.log.back_mut().expect("there").1 = 0), "it was not copied");
    assert!(broken(&|model| model.pages.log.back_mut().expect("there").0 += 1), "its first write is not logged");
    let again = |model: &mut Model| {
        model.pages.log.push_back((frame, copy));
        model.pages.log_head += 1;
    };
    assert!(broken(&again), "it is logged twice");
    let unwritten = |model: &mut Model| {
        model.pages.frames.get_mut(&frame).expect("tracked").1 = false;
        model.pages.log.clear();
        model.pages.log_head = sim.frozen.1;
    };
    assert!(broken(&unwritten), "written, and nobody has said so");
}

#[test]
fn a_call_that_ends_in_what_was_not_said_is_found() {
    let (sim, event) = meeting();
    let before = abstraction(&sim);
    let (_, after) = step(&sim, event);
    assert_eq!(property::ends_as_said(&before, event, &after), Ok(()));
    let receiver = after.cpus[0].runs.expect("the receiver runs");
    for (status, said) in [(Status::Revoked, true), (Status::TimedOut, true), (Status::Restarted, false)] {
        let mut other = after.clone();
        other.threads.get_mut(&receiver).expect("it is there").frame.rax = Outcome::of(status).0;
        assert_eq!(property::ends_as_said(&before, event, &other).is_ok(), said, "{status:?}");
    }
    // Who makes a call that ends at once.
    let event = Event::Call(0, Op::new(Call::Yield, 0));
    let (_, mut after) = step(&sim, event);
    assert_eq!(property::ends_as_said(&before, event, &after), Ok(()));
    let caller = before.cpus[0].runs.expect("one runs");
    after.threads.get_mut(&caller).expect("it is there").frame.rax = Outcome::of(Status::Busy).0;
    assert!(property::ends_as_said(&before, event, &after).is_err());
}

#[test]
fn a_message_by_a_right_that_is_gone_is_found() {
    let (sim, event) = meeting();
    let before = abstraction(&sim);
    let (_, after) = step(&sim, event);
    assert_eq!(property::arrives_by_right(&before, &after), Ok(()));
    let receiver = &before.threads[&after.cpus[0].runs.expect("the receiver runs")];
    let by = (receiver.process, receiver.frame.control().handle().0);
    let spoil: [fn(&mut Cap); 4] = [
        |cap| cap.rights -= Rights::RECEIVE,
        |cap| cap.dying = true,
        |cap| cap.object = Object::Gone(Kind::Endpoint),
        |cap| cap.parent = Some((u32::MAX, 1)),
    ];
    for (row, spoil) in spoil.into_iter().enumerate() {
        let mut lost = before.clone();
        spoil(lost.caps.get_mut(&by).expect("it is there"));
        assert!(property::arrives_by_right(&lost, &after).is_err(), "row {row}");
    }
    let mut dropped = before.clone();
    dropped.caps.remove(&by);
    assert!(property::arrives_by_right(&dropped, &after).is_err());
}
