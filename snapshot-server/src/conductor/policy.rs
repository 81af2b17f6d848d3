//! When to cut: when somebody waits for it, else at an interval; never while the last epoch is still being gathered.

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Nanoseconds between cuts when nobody waits.
    pub interval_ns: u64,
    /// Nanoseconds between cuts when output, a `sync` or a shortage of memory waits: others may join meanwhile.
    pub hurry_ns: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { interval_ns: 250_000_000, hurry_ns: 5_000_000 }
    }
}

/// How much sooner cuts come when space is short. Small epochs fit where a large one does not: what each replaces is
/// won back before the next, which the store does not begin until then, so it is the writers who wait.
const SHORT_FACTOR: u64 = 4;

/// Time since the last cut, and whether somebody waits for the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    last_ns: u64,
    hurry: bool,
    short: bool,
}

impl Pace {
    /// Somebody waits.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// A cut has been asked for.
    pub(super) fn asked(&mut self, now_ns: u64) {
        (self.last_ns, self.hurry) = (now_ns, false);
    }

    /// Whether space is short: then epochs are kept small.
    pub(super) fn set_short(&mut self, short: bool) {
        self.short = short;
    }

    /// Whether space is short.
    pub(super) fn is_short(&self) -> bool {
        self.short
    }

    /// Nanoseconds until the next cut is due.
    pub(super) fn due_in(&self, policy: &Policy, now_ns: u64) -> u64 {
        let calm = policy.interval_ns / if self.short { SHORT_FACTOR } else { 1 };
        let pause = if self.hurry { policy.hurry_ns } else { calm };
        self.last_ns.saturating_add(pause).saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_makes_it_sooner_once() {
        let policy = Policy { interval_ns: 100, hurry_ns: 10 };
        let mut pace = Pace::default();
        pace.asked(1000);
        assert_eq!(pace.due_in(&policy, 1005), 95);
        pace.hurry();
        assert_eq!(pace.due_in(&policy, 1005), 5);
        assert_eq!(pace.due_in(&policy, 2000), 0);
        pace.asked(2000);
        assert_eq!(pace.due_in(&policy, 2000), 100);
        pace.set_short(true);
        assert_eq!(pace.due_in(&policy, 2000), 25);
        pace.hurry();
        assert_eq!(pace.due_in(&policy, 2000), 10);
    }
}
