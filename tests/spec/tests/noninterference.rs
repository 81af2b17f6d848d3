//! Two runs that differ only in what one island does look the same from the other island.

use abi::{Call, Rights, Timeout};
use proptest::prelude::*;
use spec::{Event, Frame, Genesis, Op, Sim};

const ENDPOINT: u16 = 1;
const BELL: u16 = 2;
const WORLD: u16 = abi::boot_info::handle::WORLD_BUDGET.0;

/// Two islands: a server and, at a lower priority, its client, so that who of an island runs next is the island's own
/// business. The islands share a CPU and nothing else.
fn islands() -> (Sim, [[u32; 2]; 2]) {
    islands_with(false)
}

/// The same, or with one bell for both.
fn islands_with(shared: bool) -> (Sim, [[u32; 2]; 2]) {
    let mut genesis = Genesis::new([4, 4, 2, 2, 1, 64], [0; 6], 1);
    let one = genesis.notification(WORLD);
    let threads = [0, 1].map(|island| {
        let endpoint = genesis.endpoint(WORLD, 0);
        let bell = if island == 0 || shared { one } else { genesis.notification(WORLD) };
        [12, 10].map(|priority| {
            let process = genesis.process(WORLD);
            genesis.grant(process, endpoint.handle, Rights::SEND | Rights::RECEIVE | Rights::COPY, 3);
            genesis.grant(process, bell.handle, Rights::SIGNAL | Rights::WAIT | Rights::COPY, 1);
            genesis.thread(WORLD, process, priority).index
        })
    });
    genesis.resume();
    (genesis.sleep(), threads)
}

fn op() -> impl Strategy<Value = Op> {
    let word = 0_u64..4;
    (0_u8..10, word).prop_map(|(which, word)| match which {
        0 => Op::new(Call::Call, ENDPOINT).with(word, &[word]),
        1 | 2 => Op::new(Call::ReplyReceive, ENDPOINT).with(word, &[word]).poll(),
        3 => Op::new(Call::Send, ENDPOINT).with(word, &[word]).caps(&[BELL]).poll(),
        4 => Op::new(Call::Signal, BELL),
        5 => Op::new(Call::Wait, BELL).poll(),
        6 => Op::copy(ENDPOINT, Rights::all(), 0),
        7 => Op::new(Call::Drop, word as u16 + 3),
        8 => Op::new(Call::Revoke, word as u16 + 1),
        _ => Op::new(Call::Receive, ENDPOINT).within(Timeout::POLL),
    })
}

/// What an island's threads have in their registers and tables, at each of its own calls.
fn view(sim: &Sim, island: [u32; 2]) -> Vec<(Frame, Vec<(u16, u64)>)> {
    let of_thread = |thread: u32| {
        let process = sim.kernel.each_thread().find(|&(number, _)| number == thread).map(|(_, record)| record.process);
        let held = sim.kernel.each_capability().filter(|held| Some(held.process) == process);
        let caps = held.map(|held| (held.handle, held.capability.badge)).collect();
        (Frame::of(sim.kernel.registers_of(thread)), caps)
    };
    island.into_iter().map(of_thread).collect()
}

/// What a process can see: its registers, and what its handles are.
type Observed = (Frame, Vec<(u16, u64)>);

/// Runs both islands; the observed one makes `seen` calls, one each time it has the CPU, the other `unseen` ones.
fn observe(seen: &[Op], unseen: &[Op]) -> Vec<Vec<Observed>> {
    observe_in(islands(), seen, unseen)
}

fn observe_in((mut sim, threads): (Sim, [[u32; 2]; 2]), seen: &[Op], unseen: &[Op]) -> Vec<Vec<Observed>> {
    let (mut views, mut seen, mut unseen) = (Vec::new(), seen.iter(), unseen.iter());
    for _ in 0..2_000 {
        let Some(thread) = sim.kernel.current(0) else { break };
        let observed = threads[0].contains(&thread);
        if sim.is_again(0) {
            sim.apply(Event::Again(0));
        } else {
            // Whoever has no calls left lets the others run, for good.
            let next = if observed { seen.next() } else { unseen.next() };
            let rest = Op::new(Call::Wait, 0);
            sim.apply(Event::Call(0, *next.unwrap_or(&rest)));
        }
        if observed {
            views.push(view(&sim, threads[0]));
        }
    }
    views
}

proptest! {
    #[test]
    fn an_island_sees_nothing_of_another(
        seen in prop::collection::vec(op(), 1..40),
        one in prop::collection::vec(op(), 0..40),
        other in prop::collection::vec(op(), 0..40),
    ) {
        prop_assert_eq!(observe(&seen, &one), observe(&seen, &other));
    }
}

/// The comparison can fail: a different call of the observed island is seen.
#[test]
fn an_island_sees_itself() {
    let op = Op::copy(ENDPOINT, Rights::all(), 0);
    assert_ne!(observe(&[op], &[]), observe(&[op, op], &[]));
}

/// And a bell that both islands hold is heard, however it rings: islands that are joined do not pass for two.
#[test]
fn an_island_that_is_joined_is_seen() {
    let polls = [Op::new(Call::Yield, 0), Op::new(Call::Wait, BELL).poll()].repeat(4);
    let rings = [Op::new(Call::Signal, BELL)].repeat(4);
    assert_ne!(observe_in(islands_with(true), &polls, &rings), observe_in(islands_with(true), &polls, &[]));
    assert_eq!(observe(&polls, &rings), observe(&polls, &[]));
}
