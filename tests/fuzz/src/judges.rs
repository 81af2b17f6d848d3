//! Who judges records, held against each other: the kernel, when it takes a world back, and those who keep its records,
//! before an epoch commits and in `world fsck`. What one of them accepts and the other refuses is a finding.

use std::collections::BTreeMap;

use abi::record::{BatchWriter, Table};
use abi::{Call, Epoch, Kind, Status};
use kernel_core::{Capability, State, Thread};
use spec::{Frame, Op, Sim};
use world::{Contents, judge};
use zerocopy::IntoBytes;

use crate::Source;
use crate::restore::{self, FRAME, MEMORY};

/// A record that was refused.
type Refused = (u16, u32);

/// What no record is to blame for: another machine would take it.
fn is_machines(refused: Refused) -> bool {
    // Tables of other sizes than this machine's, and page tables for fewer processes.
    refused == (Table::World as u16, 0) || refused == (Table::Process as u16, u32::MAX)
}

/// Makes a call of the kernel about records; what it refuses.
fn ask(sim: &mut Sim, op: Op) -> Result<Option<Refused>, String> {
    match restore::attempt(sim, op) {
        Status::Ok => Ok(None),
        Status::BadRecord => {
            let Frame { words, .. } = Frame::of(&sim.kernel.cpus[0].frame);
            Ok(Some((words[0] as u16, words[1] as u32)))
        }
        status => Err(format!("the kernel answers {status:?}")),
    }
}

/// What the kernel refuses of these records, if anything.
fn kernel(records: &BTreeMap<(u16, u32), Vec<u8>>) -> Result<Option<Refused>, String> {
    let mut sim = restore::machine();
    let mut left = records.iter().peekable();
    while left.peek().is_some() {
        let mut batch = BatchWriter::new(sim.m.bytes(FRAME));
        while let Some(((table, index), bytes)) = left.peek() {
            if !batch.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                break;
            }
            left.next();
        }
        batch.finish();
        let take = Op::new(Call::Restore, abi::boot_info::handle::EPOCH.0).objects(&[MEMORY]);
        if let Some(refused) = ask(&mut sim, take)? {
            return Ok(Some(refused));
        }
    }
    let epoch = Epoch::first_of(1000).ok_or("no such incarnation")?;
    ask(&mut sim, Op::new(Call::Resume, abi::boot_info::handle::EPOCH.0).with(epoch.bits(), &[0]))
}

/// Gives a record what another of its table says: all of it, or a run of fields. So two come to claim the same.
fn take_after(records: &mut [restore::Record], source: &mut Source<'_>) {
    let (which, from) = (source.below(records.len()), source.byte());
    let (table, _) = records[which].0;
    let others: Vec<usize> = (0..records.len()).filter(|&other| records[other].0.0 == table).collect();
    let said = records[others[usize::from(from) % others.len()]].1.clone();
    let length = said.len().min(records[which].1.len());
    let (first, words) = (source.below(length.max(1)) / 4 * 4, usize::from(source.byte() % 8));
    let run = if words == 0 { 0..length } else { first.min(length)..(first + 4 * words).min(length) };
    records[which].1[run.clone()].copy_from_slice(&said[run]);
}

/// Has a thread wait for another, or hold another's Reply, or has a slot hold it, so that two may do what only one can.
fn entangle(records: &mut [restore::Record], source: &mut Source<'_>) {
    let threads: Vec<(usize, u32, Thread)> = records
        .iter()
        .enumerate()
        .filter(|(_, ((table, _), _))| *table == Table::Thread as u16)
        .filter_map(|(place, ((_, index), bytes))| Some((place, *index, Thread::read(bytes).ok()?)))
        .filter(|(.., thread)| thread.state != State::Free)
        .collect();
    if threads.is_empty() {
        return;
    }
    let (place, _, mut thread) = threads[source.below(threads.len())];
    let (_, other, caller) = threads[source.below(threads.len())];
    let waits = |state, object| Thread { state, object, ..thread };
    thread = match source.byte() % 8 {
        0 => waits(State::Sending, u32::from(source.byte() % 2)),
        1 => waits(State::Calling, u32::from(source.byte() % 2)),
        2 => Thread { serving: u32::MAX, ..waits(State::Receiving, u32::from(source.byte() % 2)) },
        3 => waits(State::AwaitReply, u32::MAX),
        4 => {
            let of = Table::Capability as u16;
            let slots: Vec<usize> = (0..records.len()).filter(|&slot| records[slot].0.0 == of).collect();
            if let Some(slot) = slots.get(usize::from(source.byte()) % slots.len().max(1)) {
                let (kind, rights) = (Kind::Reply as u8, Kind::Reply.rights().bits());
                let generation = caller.call_sequence;
                let reply = Capability { kind, rights, object: other, generation, ..Capability::EMPTY };
                records[*slot].1 = reply.as_bytes().to_vec();
            }
            thread
        }
        _ => Thread { serving: other, serving_sequence: caller.call_sequence, ..thread },
    };
    records[place].1 = thread.as_bytes().to_vec();
}

/// Whether the kernel took a set of records that these bytes stand for, and what others find in it.
fn judged(bytes: &[u8]) -> Result<(bool, Option<&'static str>), String> {
    let mut source = Source::new(bytes);
    let exports = restore::exports();
    let mut records: Vec<restore::Record> =
        exports[source.below(exports.len())].iter().map(|(key, bytes)| (*key, bytes.clone())).collect();
    let spoilt = source.byte() % 6;
    for _ in 0..spoilt {
        match source.byte() % 8 {
            0 => restore::spoil(&mut records, &mut source),
            1 | 2 => take_after(&mut records, &mut source),
            _ => entangle(&mut records, &mut source),
        }
    }
    let records: BTreeMap<_, _> = records.into_iter().collect();
    let contents = Contents { records, ..Contents::default() };
    let (told, found) = (kernel(&contents.records)?, judge(&contents));
    match (told, found.first()) {
        (Some(refused), None) if !is_machines(refused) => Err(format!("only the kernel refuses {refused:?}")),
        (None, Some(unsound)) => Err(format!("the kernel accepts what is refused: {unsound:?}")),
        (Some(_), _) if spoilt == 0 => Err("a sound export is refused".to_owned()),
        (told, found) => Ok((told.is_none(), found.map(|unsound| unsound.what))),
    }
}

pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    judged(bytes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Campaign, named};
    use snapshot_server::Conflict;

    /// Both see each of the rules broken that need more than one record, and worlds that are taken although spoilt.
    #[test]
    fn every_rule_is_broken_before_both() {
        let target = named("judges").expect("a target of this name");
        let (mut taken, mut broken) = (0, BTreeMap::new());
        for seed in 1..=40_000 {
            let (took, found) = judged(&Campaign::input(&target, seed))
                .unwrap_or_else(|what| panic!("{what}\nagain: cargo xtask fuzz judges --seed {seed}"));
            taken += u32::from(took);
            *broken.entry(found.unwrap_or("sound")).or_insert(0) += 1;
        }
        println!("judges: {taken} taken of 40,000; what others found first: {broken:#?}");
        use Conflict::{NullHandle, Ports, Replies, Slots, Waiting};
        for rule in [Slots, NullHandle, Replies, Ports, Waiting] {
            assert!(broken.contains_key(rule.text()), "none breaks this one: {rule:?}");
        }
        assert!(taken > 10_000, "{taken}");
    }
}
