//! Whether states that nothing tells apart have one future. The explorer expands only the first of them that it meets;
//! if another could do something else, what it finds would depend on who came first.

use crate::digest::digest;
use crate::event::Event;
use crate::sim::Sim;
use crate::sometimes::Sometimes;
use crate::universe::Universe;
use kernel_core::{Listener, Part};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

/// Twins of one state that are looked at, at most.
const TWINS_MAX: usize = 3;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// States that were expanded.
    pub states: usize,
    /// States that nothing tells apart from one of them, and that are another kernel all the same.
    pub twins: usize,
}

/// A state, and where each event leads from there.
struct Known {
    sim: Sim,
    leads_to: Option<Vec<u128>>,
    twins: usize,
}

/// Takes `states` states of a universe, breadth first, and compares the next states of all that are told to be the same.
///
/// # Errors
/// Two states that are not told apart and an event that takes them to states that are, with the parts that differ then.
pub fn congruent(universe: &Universe, states: usize) -> Result<Compared, String> {
    let mut compared = Compared::default();
    let mut known: HashMap<u128, Known> = HashMap::new();
    let start = universe.start.clone();
    let mut queue = VecDeque::from([start.digest()]);
    known.insert(start.digest(), Known { sim: start, leads_to: None, twins: 0 });
    while let Some(digest) = queue.pop_front().filter(|_| compared.states < states) {
        compared.states += 1;
        let before = known[&digest].sim.clone();
        let mut leads_to = Vec::new();
        for after in next(universe, &before)? {
            let to = after.digest();
            leads_to.push(to);
            match known.get_mut(&to) {
                None => {
                    queue.push_back(to);
                    known.insert(to, Known { sim: after, leads_to: None, twins: 0 });
                }
                Some(first) if first.twins < TWINS_MAX && first.sim.kernel != after.kernel => {
                    first.twins += 1;
                    compared.twins += 1;
                    compare(universe, first, &after)?;
                }
                Some(_) => {}
            }
        }
        known.entry(digest).and_modify(|known| known.leads_to = Some(leads_to));
    }
    Ok(compared)
}

/// The states that come next, by event.
fn next(universe: &Universe, before: &Sim) -> Result<Vec<Sim>, String> {
    universe.events(before).into_iter().map(|event| after(universe, before, event)).collect()
}

fn after(universe: &Universe, before: &Sim, event: Event) -> Result<Sim, String> {
    if let (Event::Crash, Some(crash)) = (event, universe.crash) {
        return crash(universe, before, &mut Sometimes::default());
    }
    let mut after = before.clone();
    after.apply(event);
    after.choose_anew();
    Ok(after)
}

fn compare(universe: &Universe, first: &mut Known, twin: &Sim) -> Result<(), String> {
    let futures = next(universe, twin)?;
    let firsts = match &first.leads_to {
        Some(firsts) => firsts.clone(),
        None => next(universe, &first.sim)?.iter().map(Sim::digest).collect(),
    };
    first.leads_to = Some(firsts.clone());
    if futures.len() != firsts.len() {
        return Err(format!("{} events in one, {} in the other", firsts.len(), futures.len()));
    }
    let Some(at) = (0..firsts.len()).find(|&at| futures[at].digest() != firsts[at]) else { return Ok(()) };
    let event = universe.events(&first.sim)[at];
    let one = after(universe, &first.sim, event)?;
    Err(format!("{event} leads to two states, which differ in {:?}", differences(&one, &futures[at])))
}

/// Parts that two states differ in.
fn differences(one: &Sim, other: &Sim) -> Vec<String> {
    let (mut parts, mut others) = (Digests::default(), Digests::default());
    one.tell(&mut parts);
    other.tell(&mut others);
    let mut differ: Vec<String> = parts
        .0
        .keys()
        .chain(others.0.keys().filter(|key| !parts.0.contains_key(key)))
        .filter(|key| parts.0.get(key) != others.0.get(key))
        .map(|(part, index)| format!("{part:?} {index}").to_lowercase())
        .collect();
    if digest(&one.machine()) != digest(&other.machine()) {
        differ.push("machine".to_owned());
    }
    differ
}

#[derive(Default)]
struct Digests(BTreeMap<(Part, u32), u128>);

impl Listener for Digests {
    fn part(&mut self, part: Part, index: u32, value: &impl Hash) {
        self.0.insert((part, index), digest(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Op;
    use crate::universe::named;
    use abi::Call;

    /// A kernel that would do something else, and that says nothing of it: a thread that waits to be stopped by another.
    #[test]
    fn another_future_is_found() {
        let universe = named("ipc").expect("it is named");
        let mut known = Known { sim: universe.start.clone(), leads_to: None, twins: 0 };
        assert_eq!(compare(&universe, &mut known, &universe.start), Ok(()));
        let mut other = universe.start.clone();
        other.apply(Event::Call(0, Op::new(Call::Yield, 0)));
        let found = compare(&universe, &mut known, &other);
        assert!(found.as_ref().is_err_and(|what| what.contains("cpu 0") || what.contains("events")), "{found:?}");
    }
}
