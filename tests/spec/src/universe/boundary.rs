//! The world and volatile servers that die: a client is told once, or asks again; faults happen again.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, HANDLES, VOLATILE, WORLD};
use abi::{Call, FLAG_MOVE, FLAG_REPEATABLE, Kind, Rights, Timeout};

/// Clients: the port, and something to hand over.
const PORT: u16 = 1;
const GIFT: u16 = 2;
/// The server: the port, where a Reply is saved or a gift lies, and a notification of the world.
const SERVED: u16 = 1;
const EXTRA: u16 = HANDLES - 2;
/// Init's deputy: the server's process, its thread, a budget for another.
const SERVER: u16 = 1;
const SERVER_THREAD: u16 = 2;
const BUDGET: u16 = 3;

/// In each size beyond the first there is a client more.
pub(super) fn universe(size: u32) -> Universe {
    let count = 1 + size;
    let mut genesis = Genesis::new([count, count, 1, 0, 1, 16 * count], [2, 2, 0, 0, 1, 32], 1);
    let port = genesis.endpoint(WORLD, 7);
    let (deputy, server) = (genesis.process(VOLATILE), genesis.process(VOLATILE));
    let mut clients = Vec::new();
    for badge in 1..=u64::from(count) {
        let process = genesis.process(WORLD);
        genesis.grant(process, port.handle, Rights::SEND | Rights::COPY, badge);
        genesis.grant(process, port.handle, Rights::empty(), 0);
        genesis.call(Op::new(Call::SetMemoryPort, process.handle).with(badge, &[]).objects(&[port.handle]));
        genesis.leave_free(process, port.handle, 1);
        clients.push(genesis.thread(WORLD, process, 10).index);
    }
    genesis.grant(server, port.handle, Rights::RECEIVE | Rights::SEND, 0);
    genesis.leave_free(server, port.handle, 2);
    let reaper = genesis.thread(VOLATILE, deputy, 10);
    let served = genesis.thread(VOLATILE, server, 10);
    genesis.grant(deputy, server.handle, Rights::PROCESS_THREADS | Rights::DESTROY, 0);
    genesis.grant(deputy, served.handle, Rights::DESTROY | Rights::THREAD_CONTROL, 0);
    genesis.grant(deputy, VOLATILE, Rights::BUDGET_SPEND, 0);
    genesis.leave_free(deputy, port.handle, 1);
    genesis.resume();
    let about = "clients of the world and a volatile server that dies and comes back";
    let create = Op::new(Call::Create, BUDGET).with(Kind::Thread as u64, &[0x40_0000, 0x50_0000, 0, 10]);
    let mut universe = Universe::new("boundary", about, genesis.sleep())
        .may(
            clients[0],
            [
                Op::new(Call::Call, PORT).with(1, &[11]),
                Op::new(Call::Call, PORT).with(1, &[12]).flags(FLAG_REPEATABLE),
                Op::new(Call::Call, PORT).with(1, &[13]).flags(FLAG_REPEATABLE).within(Timeout::from_ms(10)),
            ],
        )
        .may(
            clients[1],
            [
                Op::new(Call::Call, PORT).with(2, &[21]).flags(FLAG_REPEATABLE),
                Op::new(Call::Call, PORT).with(2, &[22]).caps(&[GIFT]).flags(FLAG_MOVE),
            ],
        )
        .may(
            served.index,
            [
                Op::new(Call::Receive, SERVED),
                Op::new(Call::ReplyReceive, SERVED).with(3, &[31]),
                Op::new(Call::SaveReply, 0),
                Op::new(Call::Reply, EXTRA).with(3, &[32]),
                // Law 3: this never waits.
                Op::new(Call::Call, SERVED).with(3, &[33]),
                Op::new(Call::Reply, 0).with(3, &[34]).caps(&[EXTRA]).flags(FLAG_MOVE),
            ],
        )
        .may(
            reaper.index,
            [
                Op::new(Call::Destroy, SERVER_THREAD),
                Op::new(Call::Drop, SERVER_THREAD),
                create.objects(&[SERVER]),
                Op::new(Call::Start, SERVER_THREAD),
                Op::new(Call::Destroy, SERVER),
            ],
        );
    for (number, &client) in (3..).zip(&clients[2..]) {
        let call = |word| Op::new(Call::Call, PORT).with(number, &[100 * number + word]);
        universe = universe.may(client, [call(1), call(2).flags(FLAG_REPEATABLE)]);
    }
    universe.faults = vec![clients[1]];
    universe
}
