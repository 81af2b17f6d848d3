//! Inputs from seeds, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use storesim::Random;

use crate::Target;

/// What an input found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Target.
    pub target: &'static str,
    /// The seed that makes the input.
    pub seed: u64,
    /// What went wrong.
    pub what: String,
}

impl core::fmt::Display for Found {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { target, seed, what } = self;
        write!(f, "{target}: {what}\nagain: cargo xtask fuzz {target} --seed {seed}")
    }
}

/// Inputs for a target.
pub struct Campaign {
    target: Target,
    seed: u64,
}

impl Campaign {
    /// From this seed on.
    pub fn new(target: Target, seed: u64) -> Self {
        Self { target, seed }
    }

    /// The input of a seed: short more often than long.
    pub fn input(target: &Target, seed: u64) -> Vec<u8> {
        let mut random = Random::new(seed);
        let most = random.within(1, target.bytes_max as u64);
        let length = random.within(0, most);
        (0..length).map(|_| random.bits() as u8).collect()
    }

    fn one(&self, seed: u64) -> Result<(), Found> {
        let input = Self::input(&self.target, seed);
        let result = catch_unwind(AssertUnwindSafe(|| (self.target.run)(&input))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
            Err(format!("panic: {}", said.unwrap_or_default()))
        });
        result.map_err(|what| Found { target: self.target.name, seed, what })
    }

    /// So many inputs.
    ///
    /// # Errors
    /// The first that finds something.
    pub fn inputs(&self, count: u64) -> Result<(), Found> {
        (self.seed..self.seed.saturating_add(count)).try_for_each(|seed| self.one(seed))
    }

    /// Inputs for so long; how many there were.
    ///
    /// # Errors
    /// The first that finds something.
    pub fn time(&self, time: Duration, mut watch: impl FnMut(u64)) -> Result<u64, Found> {
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < time {
            self.one(self.seed.wrapping_add(count))?;
            count += 1;
            watch(count);
        }
        Ok(count)
    }
}
