//! Small universes: a start, what each thread may do, what may come from outside.

mod ipc;

use crate::event::{Event, Op};
use crate::model::Model;
use crate::refinement::refines;
use crate::sim::Sim;

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
    /// Interrupts that may arrive.
    pub interrupts: Vec<u32>,
}

/// Names of all universes.
pub const NAMES: &[&str] = &["ipc"];

/// A universe by name.
pub fn named(name: &str) -> Option<Universe> {
    Some(match name {
        "ipc" => ipc::universe(),
        _ => return None,
    })
}

impl Universe {
    /// A universe of a started world.
    pub fn new(name: &'static str, about: &'static str, start: Sim) -> Self {
        let threads = start.kernel.table_sizes()[1] as usize;
        Self { name, about, start, alphabets: vec![Vec::new(); threads], faults: Vec::new(), interrupts: Vec::new() }
    }

    /// Lets a thread make these calls.
    pub fn may(mut self, thread: u32, ops: impl IntoIterator<Item = Op>) -> Self {
        self.alphabets[thread as usize].extend(ops);
        self
    }

    /// What can happen next.
    pub fn events(&self, sim: &Sim) -> Vec<Event> {
        let mut events = Vec::new();
        for cpu in 0..sim.kernel.cpus.len() {
            if let Some(thread) = sim.kernel.current(cpu) {
                if sim.is_again(cpu) {
                    events.push(Event::Again(cpu));
                } else {
                    events.extend(self.alphabets[thread as usize].iter().map(|&op| Event::Call(cpu, op)));
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
            events.extend(self.interrupts.iter().map(|&line| Event::Interrupt(cpu, line)));
        }
        events
    }

    /// Everything that must hold in a state.
    pub fn check(&self, sim: &Sim) -> Result<(), String> {
        sim.kernel.check(&sim.m).map_err(|violation| format!("{violation:?}"))
    }

    /// One step, with everything about it checked but what [`Self::check`] does.
    pub fn step(&self, before: &Sim, model: &Model, event: Event) -> Result<Sim, String> {
        let mut after = before.clone();
        after.apply(event);
        refines(model, event, &after)?;
        Ok(after)
    }
}
