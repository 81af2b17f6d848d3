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

/// Time since the last cut, and whether somebody waits for the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    last_ns: u64,
    hurry: bool,
}

impl Pace {
    /// Somebody waits.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// A cut has been asked for.
    pub(super) fn asked(&mut self, now_ns: u64) {
        *self = Self { last_ns: now_ns, hurry: false };
    }

    /// Nanoseconds until the next cut is due.
    pub(super) fn due_in(&self, policy: &Policy, now_ns: u64) -> u64 {
        let pause = if self.hurry { policy.hurry_ns } else { policy.interval_ns };
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
    }
}
