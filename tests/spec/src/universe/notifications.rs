//! Signals, waits, a bound notification, an interrupt, and a deadline on everything. Who owns it all sleeps for a while and
//! then takes some of it back, from whoever may be waiting.

use super::Universe;
use crate::event::Op;
use crate::genesis::{Genesis, INTERRUPTS, VOLATILE};
use abi::{Call, Rights, Timeout};

const ENDPOINT: u16 = 1;
const FIRST: u16 = 2;
const SECOND: u16 = 3;
/// The first thread's handle for the interrupt.
const LINE: u16 = 4;

/// Volatile threads, as drivers are; in each size beyond the first one more that waits and signals.
pub(super) fn universe(size: u32) -> Universe {
    let count = 2 + size;
    let mut genesis = Genesis::new([1, 1, 1, 1, 1, 16], [count, count, 1, 2, 0, 16 * count], 1);
    let endpoint = genesis.endpoint(VOLATILE, 0);
    let notifications = [genesis.notification(VOLATILE), genesis.notification(VOLATILE)];
    let mut threads = Vec::new();
    // What the third thread has of these can be taken back.
    let lent = [endpoint, notifications[0]].map(|of| genesis.call(Op::copy(of.handle, Rights::all(), 0)).rdi as u16);
    for bits in (0..count).map(|number| 1 << number) {
        let process = genesis.process(VOLATILE);
        let [channel, first] = if bits == 4 { lent } else { [endpoint.handle, notifications[0].handle] };
        genesis.grant(process, channel, Rights::SEND | Rights::RECEIVE, bits);
        for notification in [first, notifications[1].handle] {
            genesis.grant(process, notification, Rights::SIGNAL | Rights::WAIT, bits);
        }
        if bits == 1 {
            genesis.grant(process, INTERRUPTS, Rights::INTERRUPT_BIND, 0);
        }
        threads.push(genesis.thread(VOLATILE, process, 10 + u8::from(bits == 1)).index);
    }
    let signal = genesis.call(Op::copy(notifications[0].handle, Rights::SIGNAL, 8)).rdi as u16;
    genesis.call(Op::new(Call::BindInterrupt, INTERRUPTS).objects(&[signal]));
    genesis.resume();
    let (soon, later) = (Timeout::from_ms(10), Timeout::from_ms(20));
    let about = "signals, waits, a bound notification, an interrupt, deadlines; who owns them takes some back";
    let owner = genesis.sim.kernel.current(0).expect("init runs");
    let [channel, first] = lent;
    let mut universe = Universe::new("notifications", about, genesis.sleep_for(later))
        .may(
            owner,
            [
                Op::new(Call::Revoke, channel),
                Op::new(Call::Revoke, first),
                Op::new(Call::Drop, signal),
                Op::new(Call::Wait, 0),
            ],
        )
        .may(
            threads[0],
            [
                Op::new(Call::BindNotification, FIRST),
                Op::new(Call::BindNotification, 0),
                Op::new(Call::Receive, ENDPOINT),
                Op::new(Call::Receive, ENDPOINT).within(soon),
                Op::new(Call::Wait, SECOND).within(later),
                Op::new(Call::AckInterrupt, LINE),
            ],
        )
        .may(
            threads[1],
            [
                Op::new(Call::Wait, FIRST),
                Op::new(Call::Wait, FIRST).within(soon),
                Op::new(Call::Wait, SECOND).poll(),
                Op::new(Call::Signal, SECOND),
                Op::new(Call::Send, ENDPOINT).with(9, &[]).within(soon),
            ],
        )
        .may(
            threads[2],
            [
                Op::new(Call::Signal, FIRST),
                Op::new(Call::Signal, SECOND),
                Op::new(Call::Wait, SECOND),
                Op::new(Call::Wait, 0).within(later),
                Op::new(Call::Wait, FIRST).within(later),
                Op::new(Call::Receive, ENDPOINT).within(later),
                Op::new(Call::BindNotification, SECOND),
                Op::new(Call::Call, ENDPOINT).with(8, &[]).within(later),
            ],
        );
    for &thread in &threads[3..] {
        let wait = |bell| Op::new(Call::Wait, bell);
        universe = universe.may(thread, [wait(FIRST).within(soon), wait(SECOND), Op::new(Call::Signal, FIRST)]);
    }
    universe.interrupts = vec![0];
    universe
}
