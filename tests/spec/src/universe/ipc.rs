//! Three threads, two endpoints: every way to meet, wait, answer and be late.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, WORLD};
use abi::{Call, Rights, Timeout};

/// Handles of every process: the endpoints with a badge of its own; and where a Reply is saved.
const FIRST: u16 = 1;
const SECOND: u16 = 2;
const SAVED: u16 = 3;

/// Each in a process of its own, all of one priority; in each size beyond the first a client more.
pub(super) fn universe(size: u32) -> Universe {
    let count = 2 + size;
    let mut genesis = Genesis::new([count, count, 2, 0, 1, 16 * count], [0; 6], 1);
    let endpoints = [genesis.endpoint(WORLD, 0), genesis.endpoint(WORLD, 0)];
    let mut threads = Vec::new();
    for badge in 1..=u64::from(count) {
        let process = genesis.process(WORLD);
        for endpoint in endpoints {
            genesis.grant(process, endpoint.handle, Rights::SEND | Rights::RECEIVE, badge);
        }
        threads.push(genesis.thread(WORLD, process, 10).index);
    }
    genesis.resume();
    let about = "three threads, two endpoints: calls, sends, replies held, saved, void and late";
    let late = Timeout::from_ms(10);
    let mut universe = Universe::new("ipc", about, genesis.sleep())
        // A client that is in a hurry, and serves the second endpoint now and then.
        .may(
            threads[0],
            [
                Op::new(Call::Call, FIRST).with(1, &[11]),
                Op::new(Call::Call, FIRST).with(1, &[12]).within(late),
                Op::new(Call::Send, FIRST).with(1, &[13]),
                Op::new(Call::Call, SECOND).with(1, &[15]),
                Op::new(Call::Receive, SECOND),
                Op::new(Call::Reply, 0).with(1, &[14]),
            ],
        )
        // A client of the first, a server of the second.
        .may(
            threads[1],
            [
                Op::new(Call::Call, FIRST).with(2, &[21]),
                Op::new(Call::Call, SECOND).with(2, &[22]).poll(),
                Op::new(Call::Send, SECOND).with(2, &[23]),
                Op::new(Call::ReplyReceive, SECOND).with(2, &[24]),
                Op::new(Call::Receive, FIRST),
                Op::new(Call::Reply, 0).with(2, &[25]),
                Op::new(Call::Yield, 0),
            ],
        )
        // A server of the first that may keep its callers waiting.
        .may(
            threads[2],
            [
                Op::new(Call::Receive, FIRST).poll(),
                Op::new(Call::Receive, FIRST),
                Op::new(Call::ReplyReceive, FIRST).with(3, &[31]),
                Op::new(Call::Reply, 0).with(3, &[32]),
                Op::new(Call::SaveReply, 0),
                Op::new(Call::Reply, SAVED).with(3, &[33]),
                Op::new(Call::Call, SECOND).with(3, &[34]),
                Op::new(Call::Drop, SAVED),
            ],
        );
    for (number, &thread) in (4..).zip(&threads[3..]) {
        let call = |endpoint, word| Op::new(Call::Call, endpoint).with(number, &[10 * number + word]);
        universe = universe.may(thread, [call(FIRST, 1), call(SECOND, 2), call(FIRST, 3).within(late)]);
    }
    universe
}
