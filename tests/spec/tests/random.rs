//! Random sequences, which shrink: walks through the universes, and arbitrary calls in a wild one.

use abi::{Call, Timeout};
use proptest::prelude::*;
use spec::property::{self, Islands};
use spec::{Event, Op, Sim, Universe, abstraction, fast_agrees, refines, universe};
use std::sync::OnceLock;

/// Takes one step and checks everything about it.
fn checked(universe: &Universe, before: &Sim, event: Event) -> Result<Sim, String> {
    let model = abstraction(before);
    let after = universe.step(before, &model, &Islands::of(&model), event)?.after;
    universe.check(&after, &abstraction(&after))?;
    Ok(after)
}

fn universes() -> &'static [Universe] {
    static ALL: OnceLock<Vec<Universe>> = OnceLock::new();
    ALL.get_or_init(|| universe::names().map(|name| universe::named(name).expect("it is named")).collect())
}

fn wild() -> &'static Universe {
    static WILD: OnceLock<Universe> = OnceLock::new();
    WILD.get_or_init(|| universe::named("wild").expect("it is named"))
}

/// Any call, those that meet others most often, with arguments that mean something more often than not.
fn op() -> impl Strategy<Value = Op> {
    use Call as C;
    let every = (0..abi::CALLS).prop_map(|call| C::from_bits(call).expect("a call"));
    // Whoever says what a frame holds must be a pager that can be trusted: that is `pages`.
    let every = every.prop_filter("only a pager's", |call| *call != C::SetFrames);
    let meets = prop::sample::select(vec![C::Call, C::ReplyReceive, C::Send, C::Receive, C::Reply]);
    let call = prop_oneof![2 => every, 1 => meets];
    let handle = prop_oneof![8 => 0_u16..12, 1 => any::<u16>()];
    let rdi = prop_oneof![
        4 => 0_u64..12,
        3 => Just(u64::from(u32::MAX)),
        1 => prop::sample::select(vec![spec::EPOCH_BEFORE, spec::EPOCH_NOW, 7]),
        2 => any::<u32>().prop_map(u64::from),
        1 => any::<u64>()
    ];
    let words = prop::array::uniform4(prop_oneof![3 => 0_u64..12, 1 => Just(0), 1 => any::<u64>()]);
    let caps = prop::collection::vec(0_u16..12, 0..=4);
    // Within a time slice, and at its end.
    let soon = prop::sample::select(vec![Timeout::from_ms(3), Timeout::from_ms(10)]);
    let timeout = prop_oneof![4 => Just(Timeout::FOREVER), 2 => Just(Timeout::POLL), 2 => soon];
    (call, handle, rdi, words, caps, prop::bits::u8::masked(0b1_1000), timeout).prop_map(
        |(call, handle, rdi, words, caps, flags, timeout)| {
            let op = Op::new(call, handle).with(rdi, &words).flags(flags).within(timeout);
            let messages = matches!(call, C::Call | C::Send | C::Reply | C::ReplyReceive);
            if messages { op.caps(&caps) } else { op.objects(&caps) }
        },
    )
}

/// What happens in a wild universe: mostly calls, on one CPU or the other.
fn wild_event() -> impl Strategy<Value = (u8, usize, Op)> {
    (0_u8..20, 0_usize..2, op())
}

fn happens(sim: &Sim, (what, cpu, op): (u8, usize, Op)) -> Option<Event> {
    match what {
        0 => sim.m.timers.contains_key(&cpu).then_some(Event::Timer(cpu)),
        1 | 2 => sim.m.kicked.contains(&cpu).then_some(Event::Reschedule(cpu)),
        3 if sim.kernel.current(cpu).is_some() => Some(Event::Fault(cpu)),
        _ if sim.kernel.current(cpu).is_none() => None,
        _ if sim.is_again(cpu) => Some(Event::Again(cpu)),
        4 => Some(Event::Interrupt(cpu, op.frame.words[0] as u32 % 5)),
        _ => Some(Event::Call(cpu, op.at(&sim.kernel))),
    }
}

fn pages() -> &'static Universe {
    static PAGES: OnceLock<Universe> = OnceLock::new();
    PAGES.get_or_init(|| universe::named("pages").expect("it is named"))
}

/// Calls about pages and frames, with arguments that mean something more often than not.
fn page_op() -> impl Strategy<Value = Op> {
    use Call as C;
    let call = prop::sample::select(vec![
        C::Map,
        C::Map,
        C::Map,
        C::Unmap,
        C::Protect,
        C::Accessed,
        C::Cut,
        C::ReadLog,
        C::Donate,
        C::SetFrames,
        C::Receive,
        C::Reply,
    ]);
    let handle = prop_oneof![12 => 1_u16..6, 1 => any::<u16>()];
    // Around the page that programs write to, around the end of its leaf table, and anywhere.
    let address = prop_oneof![
        8 => (0_u64..4).prop_map(|page| 0x70_0000 - 0x1000 + page * 0x1000),
        2 => (0_u64..4).prop_map(|page| 0x80_0000 - 0x2000 + page * 0x1000),
        1 => any::<u64>()
    ];
    let count = prop_oneof![8 => 1_u64..4, 1 => 0_u64..1024, 1 => any::<u64>()];
    let page = prop_oneof![12 => 0_u64..8, 1 => 28_u64..40, 1 => any::<u64>()];
    let flags = prop_oneof![8 => prop::sample::select(vec![0_u64, 1, 1, 9, 2, 4]), 1 => 0_u64..32];
    let epoch = prop_oneof![6 => Just(spec::EPOCH_NOW), 1 => Just(spec::EPOCH_BEFORE), 1 => any::<u64>()];
    let state = 0_u64..5;
    let frames = prop::array::uniform4(0_u64..8);
    (call, handle, address, count, page, (flags, epoch, state, frames)).prop_map(
        |(call, handle, address, count, page, (flags, epoch, state, frames))| {
            let op =
                Op::new(call, if matches!(call, C::Cut | C::ReadLog | C::Donate | C::SetFrames) { 5 } else { handle });
            let few = count.min(4);
            match call {
                C::Map => op.with(address, &[page, count, flags, epoch]).objects(&[4]),
                C::Unmap | C::Protect | C::Accessed => op.with(address, &[count, flags]),
                C::ReadLog => op.with(if page < 4 { page } else { spec::LOG_END }, &[]),
                C::Donate => op.with(few, &frames).objects(&[4]),
                C::SetFrames => op.with(few | state << 8, &frames).objects(&[4]),
                C::Receive => Op::new(call, 1).within(Timeout::from_ms(10)),
                _ => Op::new(call, 0),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn walks_through_universes_refine(which in any::<prop::sample::Index>(), steps in prop::collection::vec(any::<prop::sample::Index>(), 1..120)) {
        let universe = which.get(universes());
        let mut sim = universe.start.clone();
        for step in steps {
            let events = universe.events(&sim);
            if events.is_empty() { break; }
            let event = *step.get(&events);
            sim = checked(universe, &sim, event).map_err(|what| TestCaseError::fail(format!("{}: {event}: {what}", universe.name)))?;
        }
    }

    #[test]
    fn arbitrary_calls_refine(events in prop::collection::vec(wild_event(), 1..200)) {
        let universe = wild();
        let mut sim = universe.start.clone();
        for event in events.into_iter() {
            let Some(event) = happens(&sim, event) else { continue };
            let model = abstraction(&sim);
            let islands = Islands::of(&model);
            let mut after = sim.clone();
            after.apply(event);
            let seen = refines(&sim, &model, event, &after).map_err(|what| TestCaseError::fail(format!("{event}: {what}")))?;
            fast_agrees(&sim, event, (&after, after.digest()), &seen).map_err(|what| TestCaseError::fail(format!("{event}: {what}")))?;
            // Words are not told apart here, so deliveries cannot be counted.
            property::first_in_first_out(&model, &seen).map_err(TestCaseError::fail)?;
            property::budgets_conserved(&model, &seen).map_err(TestCaseError::fail)?;
            property::authority_confined(&model, &islands, &seen).map_err(TestCaseError::fail)?;
            property::integrity(&model, &islands, event, &seen).map_err(TestCaseError::fail)?;
            universe.check(&after, &seen).map_err(TestCaseError::fail)?;
            sim = after;
        }
    }

    #[test]
    fn calls_about_pages_refine(events in prop::collection::vec((0_u8..12, page_op()), 1..200)) {
        let universe = pages();
        let mut sim = universe.start.clone();
        for (what, op) in events {
            let op = op.at(&sim.kernel);
            let event = match what {
                0 if sim.m.timers.contains_key(&0) => Event::Timer(0),
                _ if sim.kernel.current(0).is_none() => continue,
                1..=4 => Event::Write(0),
                _ if (universe.sensible)(&sim, &op) => Event::Call(0, op),
                _ => continue,
            };
            sim = checked(universe, &sim, event).map_err(|what| TestCaseError::fail(format!("{event}: {what}")))?;
        }
    }
}

/// Each call of those who keep the epochs and of drivers ends well once, beside what random calls make of them.
#[test]
fn calls_of_servers_refine() {
    let universe = wild();
    let mut sim = universe.start.clone();
    let volatile = sim.kernel.world_bounds()[1];
    let step = |sim: &mut Sim, event: Event| {
        *sim = checked(universe, sim, event).unwrap_or_else(|what| panic!("{event}: {what}"));
    };
    let sleep = Op::new(Call::Wait, 0);
    while sim.kernel.current(0).is_some_and(|thread| thread < volatile) {
        step(&mut sim, Event::Call(0, sleep));
    }
    let (bell, epochs, memory, interrupts, ports) = (2, 8, 9, 10, 11);
    let well = [
        Op::new(Call::Clock, 0),
        Op::new(Call::Identify, epochs),
        Op::new(Call::Identify, memory),
        Op::new(Call::Identify, bell),
        Op::new(Call::BindPort, epochs).with(7, &[]),
        Op::new(Call::Committed, epochs).with(spec::EPOCH_BEFORE, &[]),
        Op::new(Call::Cut, epochs),
        Op::new(Call::Committed, epochs).with(spec::EPOCH_BEFORE, &[]),
        Op::new(Call::Export, epochs).with(1, &[]).objects(&[memory]),
        Op::new(Call::BindInterrupt, interrupts).objects(&[bell]),
        Op::new(Call::AckInterrupt, interrupts),
        Op::new(Call::PortWrite, ports).with(0x80, &[2, 0x1234]),
        Op::new(Call::PortRead, ports).with(0x80, &[2]),
        Op::new(Call::DebugWrite, ports).with(5, &[0x6f_6c6c_6568]),
    ];
    for op in well {
        let thread = sim.kernel.current(0).expect("it runs");
        let op = op.at(&sim.kernel);
        step(&mut sim, Event::Call(0, op));
        let status = spec::Frame::of(sim.kernel.registers_of(thread)).outcome().status();
        assert_eq!(status, abi::Status::Ok, "{op}");
        step(&mut sim, Event::Interrupt(0, 0));
    }
    let ill = [
        Op::new(Call::Resume, epochs).with(1 << 41, &[]),
        Op::new(Call::Restore, epochs).objects(&[memory]),
        Op::new(Call::BindPort, epochs).with(8, &[]),
        Op::new(Call::Committed, epochs).with(spec::EPOCH_NOW, &[]),
        Op::new(Call::Export, epochs).with(1 << 40, &[]).objects(&[memory]),
        Op::new(Call::PortRead, ports).with(0xffff, &[2]),
        Op::new(Call::PortWrite, ports).with(0x80, &[3]),
        Op::new(Call::DebugWrite, ports).with(65, &[]),
        Op::new(Call::AckInterrupt, bell),
    ];
    for op in ill {
        let thread = sim.kernel.current(0).expect("it runs");
        let op = op.at(&sim.kernel);
        step(&mut sim, Event::Call(0, op));
        let status = spec::Frame::of(sim.kernel.registers_of(thread)).outcome().status();
        assert_ne!(status, abi::Status::Ok, "{op}");
    }
}
