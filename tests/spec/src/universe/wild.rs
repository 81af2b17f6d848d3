//! A universe for random calls: two islands of two processes each, one of the world and one volatile, with every kind
//! of capability that a process may be given.

use super::Universe;
use crate::event::Op;
use crate::genesis::{EPOCH, Genesis, INTERRUPTS, MEMORY, PORTS, VOLATILE, WORLD};
use abi::{Call, Rights};

/// The islands, while init still runs and the world does not. Every process: 1 endpoint, 2 notification, 3 its own
/// process, 4 the other thread of its island, 5 a budget, 6 an endpoint without badge and with all rights; the volatile
/// ones also 7 a port of the world, 8 epochs, 9 memory, 10 interrupts, 11 I/O ports.
pub fn islands() -> Genesis {
    let mut genesis = Genesis::new([3, 5, 5, 4, 4, 64], [3, 5, 5, 4, 4, 64], 2);
    let port = genesis.endpoint(WORLD, 7);
    for budget in [WORLD, VOLATILE] {
        let (endpoint, spare, bell) =
            (genesis.endpoint(budget, 0), genesis.endpoint(budget, 0), genesis.notification(budget));
        let processes = [genesis.process(budget), genesis.process(budget)];
        let threads = [genesis.thread(budget, processes[0], 10), genesis.thread(budget, processes[1], 11)];
        let purse = genesis.budget(budget, [0, 1, 1, 1, 1, 0]);
        for (number, &process) in processes.iter().enumerate() {
            let badge = number as u64 + 1;
            genesis.grant(process, endpoint.handle, Rights::SEND | Rights::RECEIVE | Rights::COPY, badge);
            genesis.grant(process, bell.handle, Rights::all(), badge);
            genesis.grant(process, process.handle, Rights::all(), 0);
            genesis.grant(process, threads[1 - number].handle, Rights::all(), 0);
            genesis.grant(process, purse.handle, Rights::all(), 0);
            genesis.grant(process, spare.handle, Rights::all(), 0);
            if budget == VOLATILE {
                genesis.grant(process, port.handle, Rights::all(), 0);
                for given in [EPOCH, MEMORY, INTERRUPTS, PORTS] {
                    genesis.grant(process, given, Rights::all(), 0);
                }
            }
            genesis.call(Op::new(Call::SetMemoryPort, process.handle).with(badge, &[]).objects(&[endpoint.handle]));
        }
    }
    genesis
}

pub(super) fn universe() -> Universe {
    let mut genesis = islands();
    genesis.resume();
    let mut universe = Universe::new("wild", "two islands, for random calls", genesis.sleep());
    universe.faults = (0..universe.start.kernel.table_sizes()[1]).collect();
    universe
}
