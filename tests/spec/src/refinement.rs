//! Core and specification side by side: after a step both have come to the same.

use crate::abstraction::{abstraction, abstraction_after};
use crate::event::{Event, Frame};
use crate::model::{Doing, Model};
use crate::property;
use crate::sim::Sim;
use kernel_core::State;

/// Whether the step from `before` (whose abstraction is `model`) by `event` to `after` is one that the specification
/// allows. The abstraction of `after`, or where the two differ.
pub fn refines(before: &Sim, model: &Model, event: Event, after: &Sim) -> Result<Model, String> {
    let seen = abstraction_after(after, before, model);
    let mut expected = model.clone();
    match expected.step(event, after.m.now_ns, &seen) {
        Ok(()) => agree(&expected, &seen).map(|()| seen),
        // Nothing is said about this call.
        Err(crate::model::Unspecified) => Ok(seen),
    }
}

/// Whether two abstract states are the same; if not, where they differ.
pub fn agree(expected: &Model, seen: &Model) -> Result<(), String> {
    if expected == seen {
        return Ok(());
    }
    let mut lines = vec!["the core differs from the specification:".to_owned()];
    macro_rules! map {
        ($($field:ident),*) => {$(
            let keys: std::collections::BTreeSet<_> = expected.$field.keys().chain(seen.$field.keys()).collect();
            for key in keys {
                let (wanted, found) = (expected.$field.get(key), seen.$field.get(key));
                if wanted != found {
                    lines.push(format!("  {} {key:?}: specified {wanted:?}", stringify!($field)));
                    lines.push(format!("  {} {key:?}: core      {found:?}", stringify!($field)));
                }
            }
        )*};
    }
    map!(threads, processes, endpoints, notifications, budgets, caps, ready, interrupts);
    macro_rules! value {
        ($($field:ident),*) => {$(
            if expected.$field != seen.$field {
                lines.push(format!(
                    "  {}: specified {:?}, core {:?}", stringify!($field), expected.$field, seen.$field
                ));
            }
        )*};
    }
    value!(now, started, tickets, cpus, pages, devices, committed, world_ahead, world, sizes);
    Err(lines.join("\n"))
}

/// Leaves of the tickets only who comes before whom. A thread that runs is given a new one when it leaves its CPU, so
/// the fast path draws none for it.
fn rank_tickets(model: &mut Model) {
    let runs = |number: u32| model.cpus.iter().any(|cpu| cpu.runs == Some(number));
    let mut order: Vec<(i64, u32)> = model
        .threads
        .iter()
        .filter(|(number, _)| !runs(**number))
        .map(|(&number, thread)| (thread.ticket, number))
        .collect();
    order.sort_unstable();
    model.threads.values_mut().for_each(|thread| thread.ticket = 0);
    for (rank, (_, number)) in (1..).zip(order) {
        model.threads.get_mut(&number).expect("listed above").ticket = rank;
    }
    model.tickets = 0;
}

/// Whether all threads have the same in their registers, but for those whose registers nobody will look at again; those
/// who wait to receive have the same digest, and so the same handle, already.
fn same_registers(one: &Sim, other: &Sim) -> bool {
    one.kernel.each_thread().all(|(number, record)| {
        matches!(record.state, State::AwaitReply | State::Receiving)
            || Frame::of(one.kernel.registers_of(number)) == Frame::of(other.kernel.registers_of(number))
    })
}

/// Whether the fast path, where it takes a call or fault at all, comes to the same as the slow path did: `after`, whose
/// digest is given and whose abstraction is `seen`. Whether it takes it.
pub fn fast_agrees(before: &Sim, event: Event, (after, digest): (&Sim, u128), seen: &Model) -> Result<bool, String> {
    if !after.kernel.still_stands(&before.kernel) {
        return Err("what the fast path remembers is out of date, and it would not notice".to_owned());
    }
    let mut fast = before.clone();
    if !fast.fast(event) {
        return Ok(false);
    }
    fast.kernel.check(&fast.m).map_err(|violation| format!("fast path: {violation:?}"))?;
    // The usual case, quickly: the same future, and the same in all registers that somebody will look at.
    let same = fast.digest() == digest;
    if fast.kernel.cpus.count() == 1 && same && same_registers(&fast, after) {
        return Ok(true);
    }
    let (mut quick, mut slow) = (abstraction(&fast), seen.clone());
    for model in [&mut quick, &mut slow] {
        for thread in model.threads.values_mut() {
            // What a thread that waits had in its registers is not kept where nobody will look at it again: nobody looks
            // but at the handle it waits through.
            match thread.doing {
                Doing::AwaitReply => thread.frame = Frame::default(),
                Doing::Receiving(_) | Doing::Waiting(_) => {
                    thread.frame = Frame { rax: u64::from(thread.frame.control().handle().0), ..Frame::default() };
                }
                _ => {}
            }
            // Nor through what a call came that is never made again.
            let again = |flags| flags & abi::FLAG_REPEATABLE != 0;
            thread.sent = thread.sent.filter(|&(_, flags)| thread.doing != Doing::AwaitReply || again(flags));
        }
        rank_tickets(model);
    }
    agree(&slow, &quick).map_err(|difference| format!("fast path beside slow path: {difference}"))?;
    property::state(&quick, &fast)?;
    // With several CPUs the slow path sets a timer here too that another CPU has set already, and kicks once more.
    if same || fast.kernel.cpus.count() > 1 {
        Ok(true)
    } else {
        Err("fast path: another future than the slow path".to_owned())
    }
}
