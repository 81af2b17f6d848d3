//! Threads, processes and endpoints that end while others wait for them, and numbers that are used again.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, HANDLES, WORLD};
use abi::{Call, Kind, Rights};

/// The reaper's handles.
const CLIENT_THREAD: u16 = 1;
const SERVER_THREAD: u16 = 2;
const SERVER: u16 = 3;
const ENDPOINT: u16 = 4;
const BUDGET: u16 = 5;
/// Client and server: the endpoint they meet on, where a Reply is saved, what is handed over.
const MEET: u16 = 1;
const EXTRA: u16 = HANDLES - 4;
/// Things that one step of a destruction takes on.
const STEPS_MAX: usize = 1;

/// In each size beyond the first the client's process has a thread more.
pub(super) fn universe(size: u32) -> Universe {
    let mut genesis = Genesis::new([3, 3 + size, 2, 0, 2, 48], [0; 6], 1);
    let meet = genesis.endpoint(WORLD, 0);
    let (reaper, server, client) = (genesis.process(WORLD), genesis.process(WORLD), genesis.process(WORLD));
    let mut threads = vec![genesis.thread(WORLD, reaper, 10)];
    threads.push(genesis.thread(WORLD, server, 10));
    threads.push(genesis.thread(WORLD, server, 10));
    for _ in 0..size {
        threads.push(genesis.thread(WORLD, client, 10));
    }
    let control = Rights::DESTROY | Rights::THREAD_CONTROL | Rights::PROCESS_THREADS;
    let budget = genesis.budget(WORLD, [0, 0, 1, 0, 0, 0]);
    for handle in [threads[3].handle, threads[1].handle, server.handle, meet.handle, budget.handle] {
        genesis.grant(reaper, handle, control | Rights::BUDGET_SPEND | Rights::SEND | Rights::RECEIVE, 0);
    }
    for process in [server, client] {
        genesis.grant(process, meet.handle, Rights::SEND | Rights::RECEIVE | Rights::COPY, 0);
        genesis.call(Op::new(Call::SetMemoryPort, process.handle).with(3, &[]).objects(&[meet.handle]));
        genesis.leave_free(process, meet.handle, 4);
    }
    genesis.resume();
    let mut start = genesis.sleep();
    start.kernel.limit_steps(STEPS_MAX);
    let about = "threads, processes and endpoints that end while others wait for them";
    let mut universe = Universe::new("death", about, start)
        .may(
            threads[0].index,
            [
                Op::new(Call::Destroy, CLIENT_THREAD),
                Op::new(Call::Destroy, SERVER_THREAD),
                Op::new(Call::Destroy, SERVER),
                Op::new(Call::Destroy, ENDPOINT),
                Op::new(Call::Stop, CLIENT_THREAD),
                Op::new(Call::Start, CLIENT_THREAD),
                Op::new(Call::Create, BUDGET).with(Kind::Endpoint as u64, &[]),
            ],
        )
        .may(
            threads[3].index,
            [
                Op::new(Call::Call, MEET).with(4, &[41]),
                Op::new(Call::Send, MEET).with(4, &[42]).caps(&[MEET]),
                Op::new(Call::Receive, MEET).poll(),
            ],
        );
    universe = universe
        .may(
            threads[1].index,
            [
                Op::new(Call::Receive, MEET),
                Op::new(Call::ReplyReceive, MEET).with(5, &[51]),
                Op::new(Call::SaveReply, 0),
                Op::new(Call::Reply, 0).with(5, &[53]),
                Op::new(Call::Reply, EXTRA).with(5, &[52]),
                Op::new(Call::Drop, EXTRA),
            ],
        )
        .may(threads[2].index, [Op::new(Call::ReplyReceive, MEET).with(6, &[61])]);
    for (number, thread) in (7..).zip(&threads[4..]) {
        let send = Op::new(Call::Send, MEET).with(number, &[10 * number]);
        universe = universe.may(thread.index, [send, Op::new(Call::Receive, MEET)]);
    }
    universe.faults = vec![threads[3].index];
    universe
}
