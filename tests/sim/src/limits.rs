//! Less of a story: what a failing one does not need is left out, as far as it goes.
//!
//! A story is decided by its seed alone; limits cut it short and take disturbances away, and are written so that a
//! person can give them to `cargo xtask sim --system --seed S --limits …` again.

use crate::life::Plan;
use storesim::Fault;

/// What is left out of a story. The default leaves out nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Times that the power goes, at most.
    pub power_cuts: Option<u32>,
    /// Steps of a life, at most.
    pub steps: Option<u64>,
    /// One CPU.
    pub one_cpu: bool,
    /// A disk without errors and lost commands.
    pub no_faults: bool,
    /// Drivers and servers of the console that do not die.
    pub no_deaths: bool,
    /// Programs that do not sleep.
    pub no_sleep: bool,
    /// A disk that completes commands in order.
    pub in_order: bool,
    /// A cut loses all that was not flushed.
    pub all_lost: bool,
}

impl Limits {
    fn switches(&mut self) -> [(&'static str, &mut bool); 6] {
        [
            ("no-faults", &mut self.no_faults),
            ("no-deaths", &mut self.no_deaths),
            ("no-sleep", &mut self.no_sleep),
            ("in-order", &mut self.in_order),
            ("all-lost", &mut self.all_lost),
            ("one-cpu", &mut self.one_cpu),
        ]
    }

    /// Takes it out of what the seed has decided.
    pub(crate) fn apply(&self, plan: &mut Plan, fault: &mut Fault, steps_max: &mut u64) {
        if self.one_cpu {
            plan.cpus = 1;
        }
        if self.no_faults {
            *fault = Fault::default();
        }
        if self.no_deaths {
            (plan.driver_dies, plan.console_dies) = (0, 0);
        }
        if self.no_sleep {
            plan.sleep_ns = 0;
        }
        if let Some(steps) = self.steps {
            *steps_max = (*steps_max).min(steps.max(1));
        }
    }
}

impl std::str::FromStr for Limits {
    type Err = String;

    /// From what [`Display`](std::fmt::Display) writes: words between commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let wrong = || format!("no limit: {word}");
            if let Some(count) = word.strip_prefix("cuts=") {
                limits.power_cuts = Some(count.parse().map_err(|_| wrong())?);
            } else if let Some(count) = word.strip_prefix("steps=") {
                limits.steps = Some(count.parse().map_err(|_| wrong())?);
            } else {
                let mut switches = limits.switches();
                let (_, switch) = switches.iter_mut().find(|(name, _)| *name == word).ok_or_else(wrong)?;
                **switch = true;
            }
        }
        Ok(limits)
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = Vec::new();
        words.extend(self.power_cuts.map(|count| format!("cuts={count}")));
        words.extend(self.steps.map(|count| format!("steps={count}")));
        let mut copy = self.clone();
        words.extend(copy.switches().into_iter().filter(|(_, is_on)| **is_on).map(|(name, _)| name.to_owned()));
        f.write_str(&words.join(","))
    }
}

/// Leaves out of a story what it does not need to fail. `fails` runs it with limits, and says whether it fails alike.
/// Returns the limits and how often a story was run.
pub fn shrink(fails: &mut dyn FnMut(&Limits) -> bool) -> (Limits, u64) {
    let mut best = Limits::default();
    let mut tries = 0;
    let mut accept = |best: &mut Limits, change: &dyn Fn(&mut Limits)| {
        let mut candidate = best.clone();
        change(&mut candidate);
        tries += 1;
        let better = candidate != *best && fails(&candidate);
        if better {
            *best = candidate;
        }
        better
    };
    // The story is cut short first: everything else then takes less time.
    let (mut low, mut high) = (0, crate::POWER_CUTS);
    while low < high {
        let middle = low.midpoint(high);
        let fits = accept(&mut best, &|limits| limits.power_cuts = Some(middle));
        (low, high) = if fits { (low, middle) } else { (middle + 1, high) };
    }
    for which in 0..best.switches().len() {
        accept(&mut best, &|limits| *limits.switches()[which].1 = true);
    }
    let mut steps = 25_000;
    while steps > 1 && accept(&mut best, &|limits| limits.steps = Some(steps / 2)) {
        steps /= 2;
    }
    (best, tries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written() {
        let all = Limits { power_cuts: Some(3), steps: Some(9), no_sleep: true, in_order: true, ..Limits::default() };
        for limits in [Limits::default(), all] {
            assert_eq!(limits.to_string().parse(), Ok(limits));
        }
        assert!("cuts=3,what".parse::<Limits>().is_err());
    }

    #[test]
    fn what_a_failure_does_not_need_is_left_out() {
        // Fails when the power has gone five times and drivers die; the rest is of no use to it.
        let mut fails = |limits: &Limits| limits.power_cuts.is_none_or(|cuts| cuts >= 5) && !limits.no_deaths;
        let (limits, tries) = shrink(&mut fails);
        assert_eq!(limits.power_cuts, Some(5));
        assert!(!limits.no_deaths && limits.no_faults && limits.no_sleep && limits.one_cpu && limits.all_lost);
        assert!(limits.steps.is_some_and(|steps| steps <= 1) && tries < 40, "{limits} after {tries}");
    }
}
