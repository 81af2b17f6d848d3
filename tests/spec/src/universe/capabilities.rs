//! Two processes with six free handles between them: minting, handing on by copy and by move, dropping, revoking in steps.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, HANDLES, WORLD};
use abi::{Call, FLAG_MOVE, Rights};

/// Both processes: the endpoint over which they hand each other capabilities.
const CHANNEL: u16 = 1;
/// The first process: the capability from which all others are made.
const ROOT: u16 = 2;
/// Descendants that one call removes.
const STEPS_MAX: usize = 2;

/// Free handles are the last of each process: those before are filled with what can do nothing.
pub(super) fn universe(size: u32) -> Universe {
    // Six in the first size, and one more in each.
    let free = [3 + size as u16 / 2, 3 + (size as u16 - 1) / 2];
    let mut genesis = Genesis::new([2, 2, 2, 0, 1, 32], [0; 6], 1);
    let (channel, object) = (genesis.endpoint(WORLD, 0), genesis.endpoint(WORLD, 0));
    let processes = [genesis.process(WORLD), genesis.process(WORLD)];
    let mut threads = Vec::new();
    for process in processes {
        genesis.grant(process, channel.handle, Rights::SEND | Rights::RECEIVE, 0);
        threads.push(genesis.thread(WORLD, process, 10).index);
    }
    genesis.grant(processes[0], object.handle, Rights::all(), 0);
    genesis.leave_free(processes[0], channel.handle, free[0]);
    genesis.leave_free(processes[1], channel.handle, free[1]);
    genesis.resume();
    let mut start = genesis.sleep();
    start.kernel.limit_steps(STEPS_MAX);
    let keep = Rights::SEND | Rights::COPY | Rights::REVOKE;
    let about = "two processes with six free handles: mint, hand on, move, drop, revoke in steps";
    let (mine, theirs) = (HANDLES - free[0], HANDLES - free[1]);
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
