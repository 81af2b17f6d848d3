//! What makes a universe large: how many values each part of its states takes.
//!
//! Parts are those by which states are told apart. One with thousands of values, where a person would say that a handful
//! are different, is a counter that should be abstracted or an alphabet that fills tables with what nobody can use.

use crate::digest;
use crate::sim::Sim;
use kernel_core::{Listener, Part};
use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

/// Distinct values of each part over some states; without a part, those of the machine.
#[derive(Clone, Debug, Default)]
pub struct Parts(BTreeMap<Option<(Part, u32)>, HashSet<u128>>);

impl Parts {
    /// Counts what a state shows.
    pub fn add(&mut self, sim: &Sim) {
        sim.tell(self);
        self.0.entry(None).or_default().insert(digest(&sim.machine()));
    }

    /// Parts that take more than one value, and how many they take, the most first.
    pub fn iter(&self) -> impl Iterator<Item = (String, usize)> {
        let name = |part: &Option<(Part, u32)>| {
            part.map_or("machine".to_owned(), |(part, index)| format!("{part:?} {index}").to_lowercase())
        };
        let mut parts: Vec<(String, usize)> =
            self.0.iter().map(|(part, values)| (name(part), values.len())).filter(|&(_, count)| count > 1).collect();
        parts.sort_unstable_by_key(|(part, count)| (std::cmp::Reverse(*count), part.clone()));
        parts.into_iter()
    }
}

impl Listener for Parts {
    fn part(&mut self, part: Part, index: u32, value: &impl Hash) {
        self.0.entry(Some((part, index))).or_default().insert(digest(value));
    }
}
