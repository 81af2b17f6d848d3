//! Two CPUs: who runs where, kicks, time slices, threads stopped and destroyed while another CPU runs them.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, WORLD};
use abi::{Call, Rights, Timeout};

const MEET: u16 = 1;
const BELL: u16 = 2;
/// Handles of the first two threads for the thread of the other.
const OTHER: u16 = 3;

/// In each size beyond the first there is a CPU more.
pub(super) fn universe(size: u32) -> Universe {
    let mut genesis = Genesis::new([3, 3, 1, 1, 1, 48], [0; 6], 1 + size);
    let (meet, bell) = (genesis.endpoint(WORLD, 0), genesis.notification(WORLD));
    let processes = [genesis.process(WORLD), genesis.process(WORLD), genesis.process(WORLD)];
    let mut threads = Vec::new();
    for (number, &process) in processes.iter().enumerate() {
        genesis.grant(process, meet.handle, Rights::SEND | Rights::RECEIVE, 1 << number);
        genesis.grant(process, bell.handle, Rights::SIGNAL | Rights::WAIT, 1 << number);
        threads.push(genesis.thread(WORLD, process, if number == 2 { 11 } else { 10 }));
    }
    for number in 0..2 {
        let rights = Rights::THREAD_CONTROL | Rights::DESTROY;
        genesis.grant(processes[number], threads[1 - number].handle, rights, 0);
    }
    genesis.resume();
    let about = "two CPUs, three threads: kicks, slices, stop, start and destroy of who runs elsewhere";
    Universe::new("two-cpus", about, genesis.sleep())
        .may(
            threads[0].index,
            [
                Op::new(Call::Call, MEET).with(1, &[1]),
                Op::new(Call::ReplyReceive, MEET).with(1, &[4]),
                Op::new(Call::Signal, BELL),
                Op::new(Call::Stop, OTHER),
                Op::new(Call::Start, OTHER),
                Op::new(Call::Destroy, OTHER),
            ],
        )
        .may(
            threads[1].index,
            [
                Op::new(Call::ReplyReceive, MEET).with(2, &[2]),
                Op::new(Call::Signal, BELL),
                Op::new(Call::Stop, OTHER),
                Op::new(Call::Start, OTHER),
                Op::new(Call::SetPriority, OTHER).with(9, &[]),
            ],
        )
        // The one that comes before the others whenever it is woken.
        .may(
            threads[2].index,
            [
                Op::new(Call::Wait, BELL),
                Op::new(Call::Wait, BELL).within(Timeout::from_ms(10)),
                Op::new(Call::Call, MEET).with(3, &[3]),
            ],
        )
}
