//! What makes a universe large: how many values each part of its states takes.
//!
//! A part is a field of the kernel, or of one of its threads or CPUs, as the digest sees it. A part with thousands of
//! values, where a person would say that a handful are different, is a counter that should be abstracted or an
//! alphabet that fills tables with what nobody can use.

use crate::digest;
use crate::sim::Sim;
use std::collections::{BTreeMap, HashSet};

/// Fields whose elements are looked at one by one.
const SPLIT: &[&str] = &["threads", "capabilities", "cpus"];

/// Distinct values of each part over some states.
#[derive(Clone, Debug, Default)]
pub struct Parts(BTreeMap<String, HashSet<u128>>);

impl Parts {
    /// Counts what a state shows. Slow: the state is written out as text.
    pub fn add(&mut self, sim: &Sim) {
        let text = format!("{:#?}", sim.canonical());
        let (mut field, mut part) = (String::new(), String::new());
        let mut lines: BTreeMap<String, String> = BTreeMap::new();
        let mut element = 0;
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            let word = line.trim_start().split([':', ' ']).next().unwrap_or_default();
            if indent == 4 && line.contains(':') {
                (field, part, element) = (word.to_owned(), word.to_owned(), 0);
            } else if SPLIT.contains(&field.as_str()) && line.contains(" {") {
                part = format!("{field} {element}");
                element += usize::from(line.trim_start().starts_with("live") || line.trim_start().starts_with("Cpu"));
            }
            let said = lines.entry(part.clone()).or_default();
            said.push_str(line);
        }
        for (part, said) in lines {
            self.0.entry(part).or_default().insert(digest(&said));
        }
        self.0.entry("(machine)".to_owned()).or_default().insert(digest(&(sim.timers(), &sim.m.kicked, &sim.m.masked)));
    }

    /// Parts that take more than one value, and how many they take, the most first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        let mut parts: Vec<(&str, usize)> =
            self.0.iter().map(|(part, values)| (part.as_str(), values.len())).filter(|&(_, count)| count > 1).collect();
        parts.sort_unstable_by_key(|&(part, count)| (std::cmp::Reverse(count), part));
        parts.into_iter()
    }
}
