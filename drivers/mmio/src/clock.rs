//! A clock for deadlines of devices.

/// Nanoseconds that only grow, and never by more than the driver could have waited.
///
/// World time is monotonic but may leap: a restore gives the world its own time back, and a driver that has been running
/// since before would take each of its commands for late. So a leap counts as one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteadyClock {
    seen_ns: Option<u64>,
    now_ns: u64,
}

impl SteadyClock {
    /// A clock at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen_ns: None, now_ns: 0 }
    }

    /// The time, given what the other clock says and the longest that may have passed since the last look.
    pub fn advance(&mut self, other_ns: u64, step_ns_max: u64) -> u64 {
        let passed = self.seen_ns.map_or(0, |seen| other_ns.saturating_sub(seen));
        self.seen_ns = Some(other_ns);
        self.now_ns = self.now_ns.saturating_add(passed.min(step_ns_max));
        self.now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_but_does_not_leap_or_go_back() {
        let mut clock = SteadyClock::new();
        assert_eq!(clock.advance(5_000, 100), 0, "where the other clock starts does not matter");
        assert_eq!(clock.advance(5_050, 100), 50);
        assert_eq!(clock.advance(9_000_000, 100), 150, "a leap");
        assert_eq!(clock.advance(1_000, 100), 150, "back");
        assert_eq!(clock.advance(1_010, 100), 160);
    }
}
