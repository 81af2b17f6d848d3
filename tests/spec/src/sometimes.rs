//! Counters of what should happen sometimes: an exploration that never saw a queue of three has shown nothing about
//! queues of three.

use crate::event::Frame;
use crate::sim::{AGAIN_RIP, Sim};
use abi::{Kind, Status};
use kernel_core::State;
use std::collections::BTreeMap;

/// How often each thing was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sometimes(BTreeMap<String, u64>);

impl Sometimes {
    /// Counts what a state shows.
    pub fn state(&mut self, sim: &Sim) {
        let kernel = &sim.kernel;
        for (endpoint, _) in kernel.each_endpoint() {
            let waiting = kernel.waiting_on_endpoint(endpoint).len();
            self.when(waiting >= 2, "queue of two");
            self.when(waiting >= 3, "queue of three");
        }
        let depth = kernel.each_capability().map(|held| held.capability.depth).max().unwrap_or_default();
        self.when(depth >= 3, "derivation depth of three");
        let dying = kernel.each_capability().any(|held| held.capability.dying != 0);
        self.when(dying, "revoke in steps");
        let saved = kernel.each_capability().any(|held| held.capability.kind() == Some(Kind::Reply));
        self.when(saved, "a saved Reply");
        let mut void = false;
        for (thread, record) in kernel.each_thread() {
            let serves = record.serving != u32::MAX;
            void |= serves && !kernel.stands(record.serving, record.serving_sequence);
            self.when(serves && record.state == State::AwaitReply, "a server that calls another");
            self.when(record.state == State::AwaitFault, "a fault being served");
            self.when(
                record.state == State::Stopped && kernel.runs_on(thread).is_some(),
                "stopped while it runs elsewhere",
            );
        }
        self.when(void, "a void Reply held");
        self.pages(sim);
        self.when(kernel.each_endpoint().any(|(_, endpoint)| endpoint.life == 2), "endpoint destroyed in steps");
        self.when(kernel.each_process().any(|(_, process)| process.dying != 0), "process destroyed in steps");
        self.when((0..kernel.cpus.count()).all(|cpu| kernel.is_idle(cpu)), "all idle");
        self.when(kernel.cpus.count() > 1 && !(0..kernel.cpus.count()).any(|cpu| kernel.is_idle(cpu)), "all CPUs busy");
    }

    fn pages(&mut self, sim: &Sim) {
        let (kernel, (_, log)) = (&sim.kernel, sim.kernel.first_writes());
        self.when(log.iter().any(|entry| entry >> 32 != 0), "a copy in the log");
        self.when(log.len() == kernel.log_sizes().0, "a log that is full");
        let mut open: Vec<u32> = kernel
            .each_process()
            .flat_map(|(process, _)| kernel.mappings(&sim.m, process))
            .filter_map(|page| page.open.then_some(page.frame))
            .collect();
        open.sort_unstable();
        self.when(open.windows(2).any(|pair| pair[0] == pair[1]), "a page shared and open");
    }

    /// Counts how the calls ended that ended in a step.
    pub fn step(&mut self, before: &Sim, after: &Sim) {
        for (thread, record) in after.kernel.each_thread() {
            let frame = Frame::of(after.kernel.registers_of(thread));
            let again = after.kernel.registers_of(thread).rip == AGAIN_RIP;
            let ended =
                record.state == State::Ready && !again && frame != Frame::of(before.kernel.registers_of(thread));
            if ended && frame.outcome().status() != Status::Ok {
                self.count(format!("{:?}", frame.outcome().status()));
            }
        }
    }

    /// Counts something that holds.
    pub fn when(&mut self, holds: bool, name: &str) {
        if holds {
            self.count(name.to_owned());
        }
    }

    fn count(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// How often something was seen.
    pub fn seen(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All counters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, &count)| (name.as_str(), count))
    }
}
