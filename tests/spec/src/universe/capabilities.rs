//! Two processes with ten slots: minting, handing on by copy and by move, dropping, revoking in steps.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, HANDLES, WORLD};
use abi::{Call, FLAG_MOVE, Rights};

/// Both processes: the endpoint over which they hand each other capabilities.
const CHANNEL: u16 = 1;
/// The first process: the capability from which all others are made.
const ROOT: u16 = 2;
/// Free handles in each process, its last: those between are filled with what can do nothing.
const FREE: [u16; 2] = [4, 3];
/// Descendants that one call removes.
const STEPS_MAX: usize = 2;

pub(super) fn universe() -> Universe {
    let mut genesis = Genesis::new([2, 2, 2, 0, 1, 32], [0; 6], 1);
    let (channel, object) = (genesis.endpoint(WORLD, 0), genesis.endpoint(WORLD, 0));
    let processes = [genesis.process(WORLD), genesis.process(WORLD)];
    let mut threads = Vec::new();
    for process in processes {
        genesis.grant(process, channel.handle, Rights::SEND | Rights::RECEIVE, 0);
        threads.push(genesis.thread(WORLD, process, 10).index);
    }
    genesis.grant(processes[0], object.handle, Rights::all(), 0);
    genesis.leave_free(processes[0], channel.handle, FREE[0]);
    genesis.leave_free(processes[1], channel.handle, FREE[1]);
    genesis.resume();
    let mut start = genesis.sleep();
    start.kernel.limit_steps(STEPS_MAX);
    let keep = Rights::SEND | Rights::COPY | Rights::REVOKE;
    let about = "two processes with ten slots: mint, hand on, move, drop, revoke in steps";
    let (mine, theirs) = (HANDLES - FREE[0], HANDLES - FREE[1]);
    Universe::new("capabilities", about, start)
        .may(
            threads[0],
            [
                Op::copy(ROOT, keep, 5),
                Op::copy(mine, keep, 0),
                Op::new(Call::Send, CHANNEL).caps(&[mine]),
                Op::new(Call::Send, CHANNEL).caps(&[mine, mine + 1]).flags(FLAG_MOVE),
                Op::new(Call::Receive, CHANNEL),
                Op::new(Call::Revoke, ROOT),
                Op::new(Call::Revoke, mine),
                Op::new(Call::Drop, mine),
            ],
        )
        .may(
            threads[1],
            [
                Op::new(Call::Receive, CHANNEL),
                Op::copy(theirs, keep, 0),
                Op::new(Call::Send, CHANNEL).caps(&[theirs]).flags(FLAG_MOVE),
                Op::new(Call::Send, CHANNEL).caps(&[theirs + 1]),
                Op::new(Call::Revoke, theirs),
                Op::new(Call::Drop, theirs),
            ],
        )
}
