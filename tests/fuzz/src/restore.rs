//! What a store may hold after anything happened to it: exports of real worlds, spoilt, given to `Restore` and `Resume`.
//! They are refused, or what comes of them keeps every invariant but one: hostile records need not conserve budgets.

use std::sync::OnceLock;

use abi::record::BatchWriter;
use abi::{Call, Epoch, Status};
use spec::property::Islands;
use spec::{Event, Frame, Genesis, Op, Records, Sim, abstraction, universe};
use storesim::Random;

use crate::{Source, call};

/// Handle of init's memory and the frame behind its first page, as [`Genesis`] gives them.
pub(crate) const MEMORY: u16 = 16;
pub(crate) const FRAME: u32 = 32;

/// Worlds of the universe `restore` at different moments, as a store would hold them.
pub(crate) fn exports() -> &'static [Records] {
    static EXPORTS: OnceLock<Vec<Records>> = OnceLock::new();
    EXPORTS.get_or_init(|| {
        let universe = universe::named("restore").expect("there is one");
        let walk = |seed| {
            let mut random = Random::new(seed);
            let mut sim = universe.start.clone();
            for _ in 0..seed * 6 {
                let events: Vec<Event> =
                    universe.events(&sim).into_iter().filter(|event| *event != Event::Crash).collect();
                if events.is_empty() {
                    break;
                }
                sim.apply(events[random.below(events.len() as u64) as usize]);
            }
            let model = abstraction(&sim);
            let crashed = universe.step(&sim, &model, &Islands::of(&model), Event::Crash).expect("a restore");
            Records::clone(&crashed.after.store)
        };
        (0..12).map(walk).collect()
    })
}

pub(crate) type Record = ((u16, u32), Vec<u8>);

/// Spoils one record, or the list of them.
pub(crate) fn spoil(records: &mut Vec<Record>, source: &mut Source<'_>) {
    if records.is_empty() {
        return;
    }
    let which = source.below(records.len());
    let other = source.below(records.len());
    let kind = source.byte() % 16;
    let ((_, index), bytes) = &mut records[which];
    match kind {
        0 => *index = source.number() as u32,
        1 => bytes.truncate(source.below(80)),
        2 => bytes.push(source.byte()),
        3 => {
            records.remove(which);
        }
        4 => {
            let mut again = records[which].clone();
            again.0.1 = u32::from(source.byte() % 8);
            records.push(again);
        }
        5 => {
            // Two of a table, the same contents.
            let contents = records[other].1.clone();
            records[which].1 = contents;
        }
        _ if bytes.is_empty() => {}
        6..=11 => {
            // A field of 32 bits: a number, a reference.
            let field = source.below(bytes.len()) / 4 * 4;
            let value = (source.number() as u32).to_le_bytes();
            bytes.iter_mut().skip(field).zip(value).for_each(|(byte, new)| *byte = new);
        }
        _ => {
            let at = source.below(bytes.len());
            bytes[at] = source.number() as u8;
        }
    }
}

pub(crate) fn attempt(sim: &mut Sim, op: Op) -> Status {
    sim.call_to_its_end(0, op.frame);
    Frame::of(&sim.kernel.cpus[0].frame).outcome().status()
}

/// Gives the records to a fresh machine; whether it took them.
fn import(sim: &mut Sim, records: &[Record], source: &mut Source<'_>) -> bool {
    let mut left = records;
    while !left.is_empty() {
        let mut batch = BatchWriter::new(sim.m.bytes(FRAME));
        while let Some((((table, index), bytes), rest)) = left.split_first() {
            if !batch.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                break;
            }
            left = rest;
        }
        batch.finish();
        if source.byte() % 32 == 1 {
            let at = source.below(4096);
            sim.m.bytes(FRAME)[at] = source.byte();
        }
        if attempt(sim, Op::new(Call::Restore, abi::boot_info::handle::EPOCH.0).objects(&[MEMORY])) != Status::Ok {
            return false;
        }
    }
    true
}

/// A fresh machine of the universe `restore`.
pub(crate) fn machine() -> Sim {
    Genesis::new([3, 3, 2, 0, 1, 48], [1, 1, 0, 1, 0, 16], 1).sim
}

/// Every invariant but I6, which counts budgets: records say what was spent.
fn is_sound(sim: &Sim) -> Result<(), String> {
    match sim.kernel.check(&sim.m) {
        Err(violation) if !violation.invariant.starts_with("I6") => Err(format!("{violation:?}")),
        _ => Ok(()),
    }
}

pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let mut source = Source::new(bytes);
    let exports = exports();
    let mut records: Vec<Record> =
        exports[source.below(exports.len())].iter().map(|(key, bytes)| (*key, bytes.clone())).collect();
    let spoilt = source.byte() % 5;
    (0..spoilt).for_each(|_| spoil(&mut records, &mut source));
    let mut sim = machine();
    let taken = import(&mut sim, &records, &mut source);
    is_sound(&sim)?;
    if spoilt == 0 && source.is_empty() && !taken {
        return Err("a sound export is refused".to_owned());
    }
    let epoch = Epoch::first_of(1000).ok_or("no such incarnation")?;
    let resume = Op::new(Call::Resume, abi::boot_info::handle::EPOCH.0).with(epoch.bits(), &[source.number()]);
    if taken && attempt(&mut sim, resume) == Status::Ok {
        is_sound(&sim).map_err(|what| format!("resumed: {what}"))?;
        call::go_on(&mut sim, &mut source, is_sound)?;
    }
    Ok(())
}
