//! Breadth-first exploration of a universe: every state once, every event of every state.
//!
//! States wait in a queue as whole kernels; of those that have been expanded only a digest and the way there are
//! kept. While all that is held takes more memory than it may, the youngest states are taken first: the set of reachable
//! states is the same, only its order is not. When digests and ways alone take as much, exploration ends.

mod held;

use self::held::{Held, Seen};
use crate::abstraction::abstraction;
use crate::event::Event;
use crate::parts::Parts;
use crate::property::Islands;
use crate::sim::Sim;
use crate::sometimes::Sometimes;
use crate::universe::Universe;
use abi::CALLS;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// States that a worker takes from the queue at a time.
const BATCH: usize = 32;

/// How to explore.
#[derive(Clone, Copy, Debug)]
pub struct Explorer {
    /// Stops, without closure, when this many states have been found.
    pub states_max: u64,
    /// Threads that explore.
    pub workers: usize,
    /// Memory for all that is held, above which exploration goes depth first, and then ends.
    pub bytes_max: usize,
    /// Whether to count the values that the parts of states take: slow.
    pub parts: bool,
}

impl Default for Explorer {
    fn default() -> Self {
        Self { states_max: u64::MAX, workers: 2, bytes_max: 3 << 30, parts: false }
    }
}

/// What has been found so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// States.
    pub states: u64,
    /// Transitions.
    pub transitions: u64,
    /// States that wait to be expanded.
    pub waiting: u64,
    /// Memory that all of it takes, in bytes.
    pub bytes: usize,
}

/// What an exploration saw.
#[derive(Clone, Debug)]
pub struct Report {
    /// States found.
    pub states: u64,
    /// Transitions taken.
    pub transitions: u64,
    /// Length of the longest way to a state.
    pub depth: u32,
    /// Whether every state was expanded.
    pub closed: bool,
    /// Whether it ended for want of memory.
    pub out_of_memory: bool,
    /// The most memory that it took, in bytes.
    pub bytes: usize,
    /// Transitions by call, then those that are no calls.
    pub by_call: Vec<(String, u64)>,
    /// How often something rare happened.
    pub sometimes: Sometimes,
    /// What the states differ in, if that was asked for.
    pub parts: Parts,
}

/// The first disagreement, and the events that lead to it from the universe's start.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What went wrong.
    pub what: String,
    /// The way there; the last event is the one that went wrong.
    pub trace: Vec<Event>,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        writeln!(f, "{}", self.what)?;
        for (step, event) in self.trace.iter().enumerate() {
            writeln!(f, "{:4}. {event}", step + 1)?;
        }
        Ok(())
    }
}

/// Where exploration has been.
#[derive(Default)]
struct Store {
    /// For each state by number: the state it was found from, by which event, at what distance.
    ways: Vec<(u32, u32)>,
    events: Vec<Event>,
    event_numbers: HashMap<Event, u32>,
    queue: VecDeque<(u32, Sim)>,
    active: usize,
    failure: Option<Failure>,
    transitions: u64,
    by_kind: Vec<u64>,
    sometimes: Sometimes,
    parts: Parts,
    held: Held,
    out_of_memory: bool,
}

/// Kinds of transitions that are no calls.
const OTHERS: [&str; 6] = ["(page fault)", "(timer)", "(reschedule)", "(interrupt)", "(crash)", "(write)"];

fn kind_of(event: Event, sim: &Sim) -> usize {
    let others = usize::from(CALLS);
    match event {
        Event::Call(_, op) => op.call as usize,
        Event::Again(cpu) => usize::from(sim.kernel.cpus[cpu].frame.rax as u8).min(others),
        Event::Fault(_) => others,
        Event::Timer(_) => others + 1,
        Event::Reschedule(_) => others + 2,
        Event::Interrupt(..) => others + 3,
        Event::Crash => others + 4,
        Event::Write(_) => others + 5,
    }
}

impl Store {
    fn trace(&self, mut state: u32, last: Option<Event>) -> Vec<Event> {
        let mut trace: Vec<Event> = last.into_iter().collect();
        while state != 0 {
            let (from, event) = self.ways[state as usize];
            trace.push(self.events[event as usize]);
            state = from;
        }
        trace.reverse();
        trace
    }

    fn number_of(&mut self, event: Event) -> u32 {
        let next = self.events.len() as u32;
        *self.event_numbers.entry(event).or_insert_with(|| {
            self.events.push(event);
            next
        })
    }
}

/// What a worker found on its own, before it is put together.
#[derive(Default)]
struct Found {
    /// States that nobody had found before: from which, by what.
    successors: Vec<(u32, Event, Sim)>,
    by_kind: Vec<u64>,
    sometimes: Sometimes,
    transitions: u64,
    /// State, the event in it (none: the state itself), and what is wrong.
    failure: Option<(u32, Option<Event>, String)>,
}

impl Explorer {
    /// Explores a universe; `watch` is told of the progress now and then.
    pub fn run(&self, universe: &Universe, watch: &(dyn Fn(Progress) + Sync)) -> Result<Report, Box<Failure>> {
        let kinds = usize::from(CALLS) + OTHERS.len();
        let mut store = Store { by_kind: vec![0; kinds], ..Store::default() };
        let seen = Seen::new();
        seen.add(universe.start.digest());
        store.ways.push((0, 0));
        store.queue.push_back((0, universe.start.clone()));
        let (store, stop) = (Mutex::new(store), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| self.work(universe, &seen, &store, &stop, watch));
            }
        });
        let mut store = store.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(failure) = store.failure.take() {
            return Err(Box::new(failure));
        }
        let names = (0..CALLS)
            .map(|n| abi::Call::from_bits(n).map_or(String::new(), |call| format!("{call:?}")))
            .chain(OTHERS.map(str::to_owned));
        Ok(Report {
            states: store.ways.len() as u64,
            transitions: store.transitions,
            depth: Self::depth(&store),
            closed: store.queue.is_empty(),
            out_of_memory: store.out_of_memory,
            bytes: store.held.most(),
            by_call: names.zip(store.by_kind.iter().copied()).filter(|&(_, count)| count > 0).collect(),
            sometimes: store.sometimes,
            parts: store.parts,
        })
    }

    fn depth(store: &Store) -> u32 {
        let mut depths = vec![0_u32; store.ways.len()];
        for state in 1..store.ways.len() {
            // A state is numbered after the one it was found from.
            depths[state] = depths[store.ways[state].0 as usize] + 1;
        }
        depths.into_iter().max().unwrap_or_default()
    }

    fn work(
        &self,
        universe: &Universe,
        seen: &Seen,
        store: &Mutex<Store>,
        stop: &AtomicBool,
        watch: &(dyn Fn(Progress) + Sync),
    ) {
        let lock = || store.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            let batch = {
                let mut store = lock();
                if stop.load(Ordering::Relaxed) || store.queue.is_empty() && store.active == 0 {
                    return;
                }
                let deep = store.held.bytes() > self.bytes_max;
                let mut batch = Vec::with_capacity(BATCH);
                while batch.len() < BATCH {
                    let next = if deep { store.queue.pop_back() } else { store.queue.pop_front() };
                    let Some(next) = next else { break };
                    batch.push(next);
                }
                store.active += usize::from(!batch.is_empty());
                batch
            };
            if batch.is_empty() {
                // The other worker may still find something.
                std::thread::yield_now();
                continue;
            }
            let found = Self::expand(universe, seen, batch);
            let mut store = lock();
            store.active -= 1;
            self.put_together(&mut store, found, stop);
            self.weigh(&mut store, seen, stop);
            let progress = Progress {
                states: store.ways.len() as u64,
                transitions: store.transitions,
                waiting: store.queue.len() as u64,
                bytes: store.held.bytes(),
            };
            drop(store);
            watch(progress);
        }
    }

    fn put_together(&self, store: &mut Store, found: Found, stop: &AtomicBool) {
        store.transitions += found.transitions;
        for (total, count) in store.by_kind.iter_mut().zip(&found.by_kind) {
            *total += count;
        }
        store.sometimes.add(&found.sometimes);
        if let Some((from, event, what)) = found.failure
            && store.failure.is_none()
        {
            let trace = store.trace(from, event);
            store.failure = Some(Failure { what, trace });
            stop.store(true, Ordering::Relaxed);
        }
        for (from, event, sim) in found.successors {
            let event = store.number_of(event);
            let number = store.ways.len() as u32;
            store.ways.push((from, event));
            if self.parts {
                store.parts.add(&sim);
            }
            store.queue.push_back((number, sim));
        }
        if store.ways.len() as u64 >= self.states_max {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Notes what is held by now. What only grows must leave room for states that wait.
    fn weigh(&self, store: &mut Store, seen: &Seen, stop: &AtomicBool) {
        let ways = store.ways.capacity() * size_of::<(u32, u32)>();
        store.held.weigh(seen, ways, store.queue.len());
        if store.held.lasting() > self.bytes_max {
            store.out_of_memory = true;
            stop.store(true, Ordering::Relaxed);
        }
    }

    fn expand(universe: &Universe, seen: &Seen, batch: Vec<(u32, Sim)>) -> Found {
        let mut found = Found { by_kind: vec![0; usize::from(CALLS) + OTHERS.len()], ..Found::default() };
        for (number, before) in batch {
            found.sometimes.state(&before);
            let model = abstraction(&before);
            let islands = Islands::of(&model);
            if let Err(what) = guarded(|| universe.check(&before, &model)) {
                found.failure = Some((number, None, what));
                return found;
            }
            for event in universe.events(&before) {
                found.transitions += 1;
                found.by_kind[kind_of(event, &before)] += 1;
                match guarded(|| universe.step(&before, &model, &islands, event)) {
                    Ok(step) => {
                        found.sometimes.add(&step.sometimes);
                        if seen.add(step.digest) {
                            found.successors.push((number, event, step.after));
                        }
                    }
                    Err(what) => {
                        found.failure = Some((number, Some(event), what));
                        return found;
                    }
                }
            }
        }
        found
    }
}

/// A panic is a finding like any other.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
        Err(format!("panic: {}", said.unwrap_or_default()))
    })
}
