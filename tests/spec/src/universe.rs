//! Small universes: a start, what each thread may do, what may come from outside.

mod boundary;
mod capabilities;
mod death;
mod ipc;
mod notifications;
mod pages;
mod restore;
mod two_cpus;
mod wild;

pub use wild::islands;

use crate::event::{Event, Op};
use crate::model::Model;
use crate::property::{self, Islands};
use crate::refinement::{fast_agrees, refines};
use crate::sim::Sim;
use crate::sometimes::Sometimes;
use abi::Call;

/// What a power failure makes of a state, and what was seen of it on the way.
pub type Crash = fn(&Universe, &Sim, &mut Sometimes) -> Result<Sim, String>;

/// What a step came to.
pub struct Stepped {
    /// The state after it.
    pub after: Sim,
    /// Its digest.
    pub digest: u128,
    /// What was seen on the way.
    pub sometimes: Sometimes,
}

/// A universe.
pub struct Universe {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its first state.
    pub start: Sim,
    /// What each thread may do, by thread number.
    pub alphabets: Vec<Vec<Op>>,
    /// Threads that may fault.
    pub faults: Vec<u32>,
    /// Threads that may write to their page.
    pub writers: Vec<u32>,
    /// Whether a thread may make a call in this state: what a program that can be trusted would not do.
    pub sensible: fn(&Sim, &Op) -> bool,
    /// Interrupts that may arrive.
    pub interrupts: Vec<u32>,
    /// What else each thread may do between two batches of an export, by thread number.
    pub between: Vec<Vec<Op>>,
    /// What a power failure makes of a state, where there may be one; it checks that nothing else has changed.
    pub crash: Option<Crash>,
}

/// A universe of several sizes. The first is the one that all tests explore to closure.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What there is one more of in each size.
    pub grows: &'static str,
    /// The largest size.
    pub size_max: u32,
    make: fn(u32) -> Universe,
}

impl Family {
    const fn new(name: &'static str, grows: &'static str, size_max: u32, make: fn(u32) -> Universe) -> Self {
        Self { name, grows, size_max, make }
    }

    /// The universe of a size, from 1; `None` beyond the largest.
    pub fn of_size(&self, size: u32) -> Option<Universe> {
        (1..=self.size_max).contains(&size).then(|| (self.make)(size))
    }
}

/// Universes that are explored to closure. `wild` is there for random calls only.
pub static FAMILIES: [Family; 8] = [
    Family::new("ipc", "client of both endpoints", 3, ipc::universe),
    Family::new("capabilities", "free handle", 8, capabilities::universe),
    Family::new("notifications", "thread that waits and signals", 3, notifications::universe),
    Family::new("death", "thread of the client that dies", 3, death::universe),
    Family::new("two-cpus", "CPU", 3, two_cpus::universe),
    Family::new("restore", "client of port and server", 3, restore::universe),
    Family::new("boundary", "client of the volatile server", 3, boundary::universe),
    Family::new("pages", "process that shares the page", 3, pages::universe),
];

/// Their names.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

/// Universes of a name.
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// A universe by name, of the first size.
pub fn named(name: &str) -> Option<Universe> {
    if name == "wild" { Some(wild::universe()) } else { family(name)?.of_size(1) }
}

impl Universe {
    /// A universe of a started world.
    pub fn new(name: &'static str, about: &'static str, start: Sim) -> Self {
        let threads = start.kernel.table_sizes()[1] as usize;
        let (alphabets, between) = (vec![Vec::new(); threads], vec![Vec::new(); threads]);
        Self {
            name,
            about,
            start,
            alphabets,
            faults: Vec::new(),
            writers: Vec::new(),
            sensible: |_, _| true,
            interrupts: Vec::new(),
            between,
            crash: None,
        }
    }

    /// Lets a thread make these calls.
    pub fn may(mut self, thread: u32, ops: impl IntoIterator<Item = Op>) -> Self {
        self.alphabets[thread as usize].extend(ops);
        self
    }

    /// What can happen next.
    pub fn events(&self, sim: &Sim) -> Vec<Event> {
        let mut events = Vec::new();
        for cpu in 0..sim.kernel.cpus.count() {
            if let Some(thread) = sim.kernel.current(cpu) {
                if sim.is_again(cpu) {
                    events.push(Event::Again(cpu));
                } else {
                    let ops = self.alphabets[thread as usize].iter().filter(|op| (self.sensible)(sim, op));
                    events.extend(ops.map(|op| Event::Call(cpu, op.at(&sim.kernel))));
                    if self.writers.contains(&thread) {
                        events.push(Event::Write(cpu));
                    }
                    if self.faults.contains(&thread) {
                        events.push(Event::Fault(cpu));
                    }
                }
            }
            if sim.m.kicked.contains(&cpu) {
                events.push(Event::Reschedule(cpu));
            }
            let earliest = sim.m.timers.values().min();
            if earliest.is_some() && sim.m.timers.get(&cpu) == earliest {
                events.push(Event::Timer(cpu));
            }
            let unmasked = self.interrupts.iter().filter(|line| !sim.m.masked.contains(line));
            events.extend(unmasked.map(|&line| Event::Interrupt(cpu, line)));
        }
        events.extend(self.crash.map(|_| Event::Crash));
        events
    }

    /// Everything that must hold in a state whose abstraction is `model`.
    pub fn check(&self, sim: &Sim, model: &Model) -> Result<(), String> {
        sim.kernel.check(&sim.m).map_err(|violation| format!("{violation:?}"))?;
        property::state(model, sim)
    }

    /// One step, with everything about it checked but what [`Self::check`] does.
    pub fn step(&self, before: &Sim, model: &Model, islands: &Islands, event: Event) -> Result<Stepped, String> {
        let mut sometimes = Sometimes::default();
        if let (Event::Crash, Some(crash)) = (event, self.crash) {
            let after = crash(self, before, &mut sometimes)?;
            sometimes.step(before, &after);
            let digest = after.digest();
            return Ok(Stepped { after, digest, sometimes });
        }
        let mut after = before.clone();
        after.apply(event);
        let seen = refines(before, model, event, &after)?;
        property::step(model, islands, event, &seen)?;
        let digest = after.digest();
        let fast = fast_agrees(before, event, (&after, digest), &seen)?;
        sometimes
            .when(fast && matches!(event, Event::Call(_, op) if op.call == Call::Map), "a page mapped the fast way");
        let digest = if after.choose_anew() { after.digest() } else { digest };
        sometimes.step(before, &after);
        Ok(Stepped { after, digest, sometimes })
    }
}
