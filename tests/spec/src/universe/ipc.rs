//! Three threads, two endpoints: every way to meet, wait, answer and be late.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, WORLD};
use abi::{Call, Rights, Timeout};

/// Handles of every process: the endpoints with a badge of its own.
const FIRST: u16 = 1;
const SECOND: u16 = 2;

/// Each in a process of its own, all of one priority.
pub(super) fn universe() -> Universe {
    let mut genesis = Genesis::new([3, 3, 2, 0, 1, 48], [0; 6], 1);
    let endpoints = [genesis.endpoint(WORLD, 0), genesis.endpoint(WORLD, 0)];
    let mut threads = Vec::new();
    for badge in 1..=3 {
        let process = genesis.process(WORLD);
        for endpoint in endpoints {
            genesis.grant(process, endpoint.handle, Rights::SEND | Rights::RECEIVE, badge);
        }
        threads.push(genesis.thread(WORLD, process, 10));
    }
    genesis.resume();
    let mut universe = Universe::new("ipc", "three threads, two endpoints, calls, replies and sends", genesis.sleep());
    for (number, thread) in threads.iter().enumerate() {
        let word = number as u64 + 1;
        universe = universe.may(
            thread.index,
            [
                Op::new(Call::Call, FIRST).with(word, &[word]),
                Op::new(Call::Call, SECOND).with(word, &[word]),
                Op::new(Call::Send, FIRST).with(word, &[word]),
                Op::new(Call::Receive, FIRST),
                Op::new(Call::Receive, SECOND),
                Op::new(Call::ReplyReceive, FIRST).with(word + 8, &[word + 8]),
                Op::new(Call::Reply, 0).with(word + 16, &[word + 16]),
                Op::new(Call::SaveReply, 0),
                Op::new(Call::Reply, 3).with(word + 24, &[word + 24]),
                Op::new(Call::Yield, 0),
            ],
        );
        if number == 0 {
            let ms = Timeout::from_ms(10);
            universe = universe.may(thread.index, [Op::new(Call::Call, FIRST).with(word, &[word]).within(ms)]);
        }
    }
    universe
}
