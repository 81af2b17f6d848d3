//! Power fails at any moment: the epoch just cut, exported and committed comes back on a fresh machine. Between the cut
//! and the end of its export the machine runs on ([`gap`]).

mod gap;

use super::Universe;
use crate::abstraction::abstraction;
use crate::event::{Frame, Op};
use crate::genesis::{EPOCH, Genesis, INTERRUPTS, MEMORY, Made, VOLATILE, WORLD};
use crate::model::Model;
use crate::refinement::agree;
use crate::sim::{Records, Sim};
use crate::sometimes::Sometimes;
use abi::record::{BatchReader, BatchWriter};
use abi::{Call, Epoch, FLAG_REPEATABLE, Kind, Rights, Status, Timeout};
use std::sync::Arc;

const PORT: u16 = 1;
const MEET: u16 = 2;
const SERVED: u16 = 1;
const SAVED: u16 = 10;
const SERVICE: u64 = 7;
/// Handles of the second process for what it may do between two batches.
const OTHER_PROCESS: u16 = 3;
const OTHER_THREAD: u16 = 4;
const MEET_ROOT: u16 = 5;
const BUDGET: u16 = 6;
/// Things that one step of a long job takes on, and records in a batch.
const STEPS_MAX: usize = 2;
/// The interrupt that wakes init, and the bits it wakes it with.
const LINE: u32 = 0;
/// Frame of init's memory that batches pass through, and its offset there.
const FRAME: u32 = 32;

/// A machine for a world with so many processes, each with a thread.
fn machine(count: u32) -> Genesis {
    Genesis::new([count, count, 2, 0, 1, 16 * count], [1, 1, 0, 1, 0, 16], 1)
}

/// The volatile part: a server of the port, and the interrupt for which init sleeps. The same after every boot.
fn boot_volatile(genesis: &mut Genesis, port: u16) -> Made {
    let server = genesis.process(VOLATILE);
    genesis.grant(server, port, Rights::RECEIVE, 0);
    let thread = genesis.thread(VOLATILE, server, 10);
    let bell = genesis.notification(VOLATILE);
    let signal = genesis.call(Op::copy(bell.handle, Rights::SIGNAL, 1)).rdi as u16;
    genesis.call(Op::new(Call::BindInterrupt, INTERRUPTS).objects(&[signal]));
    genesis.sim.call(0, Op::new(Call::Wait, bell.handle).frame);
    thread
}

/// The port as `BindPort` gives it, and nothing else of the world in init's hands.
fn bind_port(genesis: &mut Genesis) -> u16 {
    genesis.call(Op::new(Call::BindPort, EPOCH).with(SERVICE, &[])).rdi as u16
}

/// In each size beyond the first there is a client more.
pub(super) fn universe(size: u32) -> Universe {
    let count = 2 + size;
    let mut genesis = machine(count);
    let (port, meet) = (genesis.endpoint(WORLD, SERVICE), genesis.endpoint(WORLD, 0));
    let (mut processes, mut made) = (Vec::new(), Vec::new());
    for badge in 1..=u64::from(count) {
        let process = genesis.process(WORLD);
        genesis.grant(process, port.handle, Rights::SEND | Rights::COPY, badge);
        genesis.grant(process, meet.handle, Rights::SEND | Rights::RECEIVE, badge);
        genesis.call(Op::new(Call::SetMemoryPort, process.handle).with(badge, &[]).objects(&[port.handle]));
        made.push(genesis.thread(WORLD, process, 10));
        processes.push(process);
    }
    let threads: Vec<u32> = made.iter().map(|thread| thread.index).collect();
    // What the server may do between the batches of an export, and only then.
    genesis.grant(processes[1], processes[2].handle, Rights::DESTROY, 0);
    genesis.grant(processes[1], made[2].handle, Rights::DESTROY | Rights::THREAD_CONTROL, 0);
    genesis.grant(processes[1], meet.handle, Rights::all(), 0);
    genesis.grant(processes[1], WORLD, Rights::BUDGET_SPEND, 0);
    genesis.resume();
    genesis.sim.kernel.limit_steps(STEPS_MAX);
    boot_volatile(&mut genesis, port.handle);
    hand_on(&mut genesis.sim, threads[1]);
    let start = import_into_fresh(&genesis.sim).expect("the first restore");
    let soon = Timeout::from_ms(10);
    let about = "cut, export and restore at any moment, with a volatile server";
    let mut universe = Universe::new("restore", about, start)
        .may(
            threads[0],
            [
                Op::new(Call::Call, PORT).with(1, &[11]),
                Op::new(Call::Call, PORT).with(1, &[12]).flags(FLAG_REPEATABLE),
                Op::new(Call::Call, MEET).with(1, &[13]).within(soon),
            ],
        )
        .may(
            threads[1],
            [
                Op::new(Call::Receive, MEET),
                Op::new(Call::ReplyReceive, MEET).with(2, &[21]),
                Op::new(Call::SaveReply, 0),
                Op::new(Call::Reply, SAVED).with(2, &[22]),
            ],
        )
        .may(
            threads[2],
            [
                Op::new(Call::Call, PORT).with(3, &[31]).flags(FLAG_REPEATABLE).within(soon),
                Op::new(Call::Send, MEET).with(3, &[32]),
                Op::new(Call::Wait, 0).within(soon),
            ],
        );
    let server = universe.start.kernel.world_bounds()[1] + 1;
    universe =
        universe.may(server, [Op::new(Call::Receive, SERVED), Op::new(Call::ReplyReceive, SERVED).with(4, &[41])]);
    universe.between[threads[1] as usize] = between();
    for (number, &thread) in (4..).zip(&threads[3..]) {
        let call = |endpoint, word| Op::new(Call::Call, endpoint).with(number, &[10 * number + word]);
        universe = universe.may(thread, [call(PORT, 1).flags(FLAG_REPEATABLE), call(MEET, 2)]);
    }
    universe.faults = vec![threads[2]];
    universe.crash = Some(crash);
    universe
}

/// What the server may do between two batches of an export.
fn between() -> Vec<Op> {
    vec![
        Op::new(Call::Destroy, OTHER_PROCESS),
        Op::new(Call::Destroy, OTHER_THREAD),
        Op::new(Call::Stop, OTHER_THREAD),
        Op::new(Call::Revoke, MEET_ROOT),
        Op::copy(MEET_ROOT, Rights::all(), 9),
        Op::new(Call::Drop, SAVED),
        Op::new(Call::Create, BUDGET).with(Kind::Notification as u64, &[]),
    ]
}

/// The second thread makes copies enough for a revoke that takes several steps.
fn hand_on(sim: &mut Sim, thread: u32) {
    while sim.kernel.current(0) != Some(thread) {
        sim.call(0, Op::new(Call::Yield, 0).frame);
    }
    for _ in 0..=STEPS_MAX {
        call(sim, Op::copy(MEET_ROOT, Rights::all(), 0)).expect("there is room");
    }
}

fn call(sim: &mut Sim, op: Op) -> Result<Frame, String> {
    sim.call_to_its_end(0, op.frame);
    let after = Frame::of(&sim.kernel.cpus[0].frame);
    match after.outcome().status() {
        Status::Ok => Ok(after),
        status => Err(format!("{op}: {status:?}")),
    }
}

/// Exports a batch into what the store holds; whether there was anything left.
fn export_batch(sim: &mut Sim, records: &mut Records) -> Result<bool, String> {
    let written = call(sim, Op::new(Call::Export, EPOCH).objects(&[MEMORY]))?.rdi;
    if written == 0 {
        return Ok(false);
    }
    for entry in BatchReader::new(sim.m.bytes(FRAME)).map_err(|error| format!("{error:?}"))? {
        let (table, index, bytes) = entry.map_err(|error| format!("{error:?}"))?;
        match bytes {
            [] => records.remove(&(table, index)),
            bytes => records.insert((table, index), bytes.to_vec()),
        };
    }
    Ok(true)
}

/// Exports all that is left.
fn export(sim: &mut Sim, records: &mut Records) -> Result<(), String> {
    while export_batch(sim, records)? {}
    Ok(())
}

/// Gives records back to a fresh machine.
fn import(genesis: &mut Genesis, records: &Records, epoch: Epoch, world_time: u64) -> Result<(), String> {
    let mut left: Vec<_> = records.iter().collect();
    left.reverse();
    while !left.is_empty() {
        let mut batch = BatchWriter::new(genesis.sim.m.bytes(FRAME));
        while let Some(&(&(table, index), bytes)) = left.last() {
            if !batch.push(table, index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                break;
            }
            left.pop();
        }
        batch.finish();
        call(&mut genesis.sim, Op::new(Call::Restore, EPOCH).objects(&[MEMORY]))?;
    }
    call(&mut genesis.sim, Op::new(Call::Resume, EPOCH).with(epoch.bits(), &[world_time]))?;
    Ok(())
}

/// Wakes init, which then runs.
fn wake_init(sim: &mut Sim) {
    if sim.kernel.current(0) != Some(sim.kernel.world_bounds()[1]) {
        sim.kernel.interrupt(&mut sim.m, 0, LINE);
    }
}

/// Restore is identity but for law 4: at any moment a cut, exported and restored into a fresh core, is the same
/// abstract world; and what comes after is explored from there. What happens between cut and export changes nothing of
/// what is exported.
fn crash(universe: &Universe, before: &Sim, sometimes: &mut Sometimes) -> Result<Sim, String> {
    gap::check(universe, before, sometimes)?;
    import_into_fresh(before)
}

fn import_into_fresh(before: &Sim) -> Result<Sim, String> {
    Kept::of(before)?.come_back()
}

/// What is left of a machine: an epoch in the store, and what it must be when it comes back.
struct Kept {
    /// Processes of its world.
    count: u32,
    expected: Model,
    records: Records,
    /// That it comes back to.
    epoch: Epoch,
    world_time: u64,
}

impl Kept {
    /// Cuts at once, and exports everything.
    fn of(before: &Sim) -> Result<Self, String> {
        let mut sim = before.clone();
        wake_init(&mut sim);
        let expected = abstraction(&sim).crossed();
        let world_time = call(&mut sim, Op::new(Call::Clock, 0))?.words[1];
        let mut records = Records::clone(&sim.store);
        call(&mut sim, Op::new(Call::Cut, EPOCH))?;
        export(&mut sim, &mut records)?;
        let epoch = Epoch::first_of(sim.kernel.epoch().incarnation() + 1).ok_or("no incarnation left")?;
        Ok(Self { count: sim.kernel.world_bounds()[0], expected, records, epoch, world_time })
    }

    fn come_back(self) -> Result<Sim, String> {
        let mut genesis = machine(self.count);
        import(&mut genesis, &self.records, self.epoch, self.world_time)?;
        let mut seen = abstraction(&genesis.sim);
        seen.keep_world();
        agree(&self.expected, &seen).map_err(|difference| format!("restore is not identity: {difference}"))?;
        genesis.sim.kernel.check(&genesis.sim.m).map_err(|violation| format!("after a restore: {violation:?}"))?;
        let port = bind_port(&mut genesis);
        boot_volatile(&mut genesis, port);
        genesis.sim.kernel.limit_steps(STEPS_MAX);
        genesis.sim.store = Arc::new(self.records);
        Ok(genesis.sim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::record::Table;

    /// Bytes of a record that say nothing where nobody waits for anything: from and to.
    fn says_nothing(table: u16) -> &'static [(usize, usize)] {
        const WORLD: u16 = Table::World as u16;
        const PROCESS: u16 = Table::Process as u16;
        const THREAD: u16 = Table::Thread as u16;
        const CAPABILITY: u16 = Table::Capability as u16;
        match table {
            // Epoch and time: `Resume` is told.
            WORLD => &[(8, 16), (24, 32)],
            // Generation: nobody in the world holds it.
            PROCESS => &[(8, 12)],
            // Deadline, badge, fault, generation; sequences; flags; registers that no call reads, or that are made safe.
            THREAD => &[(8, 52), (60, 64), (68, 72), (82, 83), (176, 200), (206, 240)],
            // Depth: of a root.
            CAPABILITY => &[(25, 26)],
            _ => &[],
        }
    }

    /// P16, broken by hand: a world of which any record is lost or another is refused, or is not the same; but for
    /// vector registers, which this machine has none of.
    #[test]
    fn a_restore_of_something_else_is_found() {
        let universe = crate::universe::named("restore").expect("it is named");
        let with = |spoil: &dyn Fn(&mut Records)| {
            let mut kept = Kept::of(&universe.start).expect("it is kept");
            spoil(&mut kept.records);
            kept.come_back().map(|_| ())
        };
        assert_eq!(with(&|_| {}), Ok(()));
        let records = Kept::of(&universe.start).expect("it is kept").records;
        let mut noticed = 0;
        for (key, bytes) in records.iter().filter(|(key, _)| key.0 != Table::Vector as u16) {
            let lost = with(&|records| drop(records.remove(key)));
            assert!(lost.is_err(), "{key:?} is lost");
            for at in
                (0..bytes.len()).filter(|at| !says_nothing(key.0).iter().any(|(from, to)| (from..to).contains(&at)))
            {
                let other = with(&|records| records.get_mut(key).expect("there")[at] ^= 1);
                assert!(other.is_err(), "byte {at} of {key:?} is another");
                noticed += 1;
            }
        }
        assert!(noticed > 1000, "{noticed} bytes");
    }
}
