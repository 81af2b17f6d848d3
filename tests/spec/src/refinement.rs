//! Core and specification side by side: after a step both have come to the same.

use crate::abstraction::abstraction;
use crate::event::Event;
use crate::model::Model;
use crate::sim::Sim;

/// Whether the step from `before` (whose abstraction is `model`) by `event` to `after` is one that the specification
/// allows. The abstraction of `after`, or where the two differ.
pub fn refines(model: &Model, event: Event, after: &Sim) -> Result<Model, String> {
    let seen = abstraction(after);
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
    value!(now, started, tickets, cpus, world, sizes);
    Err(lines.join("\n"))
}
