//! Who lives, who has died, and when the dead are started again.
//!
//! ```text
//!              died, policy "always"            its time has come
//!   Running ─────────────────────────▶ Waiting ─────────────────▶ Running
//!      │ died, "never", or too often in too short a time
//!      └──────────────▶ GivenUp
//! ```
//! A first death is mended at once; each further one within [`CALM_NS`] waits twice as long as the last, and after
//! [`DEATHS_MAX`] of them the service stays dead: a program that dies at once must not take the machine with it.

use abi::bundle::Restart;

/// Deaths that are mended, each sooner than [`CALM_NS`] after the last.
pub const DEATHS_MAX: u32 = 8;
/// A service that has run for so long is forgiven all that was before.
pub const CALM_NS: u64 = 10_000_000_000;
/// The first wait before a restart; the second death in a row is the first that waits.
const WAIT_NS: u64 = 10_000_000;

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not started yet.
    Planned,
    /// It runs since this time.
    Running {
        /// In ns.
        since_ns: u64,
    },
    /// It is to be started at this time.
    Waiting {
        /// In ns.
        until_ns: u64,
    },
    /// It stays dead.
    GivenUp,
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it again at this time.
    RestartAt(u64),
    /// Leave it dead.
    GiveUp,
    /// The world must come back from its last epoch.
    RestoreWorld,
}

/// The life of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    policy: Restart,
    life: Life,
    deaths: u32,
}

impl Watch {
    /// A service that has not been started.
    pub const fn new(policy: Restart) -> Self {
        Self { policy, life: Life::Planned, deaths: 0 }
    }

    /// How it is.
    pub const fn life(&self) -> Life {
        self.life
    }

    /// Deaths in a row.
    pub const fn deaths(&self) -> u32 {
        self.deaths
    }

    /// It has been started.
    pub fn started(&mut self, now_ns: u64) {
        self.life = Life::Running { since_ns: now_ns };
    }

    /// It has died, or could not be started.
    pub fn died(&mut self, now_ns: u64) -> Decision {
        if let Life::Running { since_ns } = self.life
            && now_ns.saturating_sub(since_ns) >= CALM_NS
        {
            self.deaths = 0;
        }
        self.deaths += 1;
        match self.policy {
            Restart::RestoreWorld => {
                self.life = Life::GivenUp;
                Decision::RestoreWorld
            }
            Restart::Always if self.deaths <= DEATHS_MAX => {
                let wait_ns = match self.deaths {
                    1 => 0,
                    deaths => WAIT_NS << (deaths - 2),
                };
                let until_ns = now_ns.saturating_add(wait_ns);
                self.life = Life::Waiting { until_ns };
                Decision::RestartAt(until_ns)
            }
            Restart::Always | Restart::Never => {
                self.life = Life::GivenUp;
                Decision::GiveUp
            }
        }
    }

    /// Whether it is to be started now.
    pub const fn is_due(&self, now_ns: u64) -> bool {
        match self.life {
            Life::Waiting { until_ns } => now_ns >= until_ns,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_first_death_is_mended_at_once_and_a_series_is_not() {
        let mut watch = Watch::new(Restart::Always);
        let mut now = 0;
        let mut waits = Vec::new();
        loop {
            watch.started(now);
            now += 1000;
            match watch.died(now) {
                Decision::RestartAt(at) => {
                    waits.push(at - now);
                    assert!(watch.is_due(at) && (at == now || !watch.is_due(at - 1)));
                    now = at;
                }
                other => {
                    assert_eq!(other, Decision::GiveUp);
                    break;
                }
            }
        }
        assert_eq!(waits.len() as u32, DEATHS_MAX);
        assert_eq!(waits[..3], [0, WAIT_NS, 2 * WAIT_NS]);
        assert_eq!(watch.life(), Life::GivenUp);
    }

    #[test]
    fn a_calm_life_is_forgiven() {
        let mut watch = Watch::new(Restart::Always);
        for round in 0..100 {
            let now = round * 2 * CALM_NS;
            watch.started(now);
            assert_eq!(watch.died(now + CALM_NS), Decision::RestartAt(now + CALM_NS));
        }
    }

    #[test]
    fn other_policies() {
        assert_eq!(Watch::new(Restart::Never).died(5), Decision::GiveUp);
        assert_eq!(Watch::new(Restart::RestoreWorld).died(5), Decision::RestoreWorld);
    }

    proptest! {
        #[test]
        fn never_more_than_so_many_restarts_in_a_calm_time(gaps in prop::collection::vec(0_u64..CALM_NS / 10, 1..60)) {
            let mut watch = Watch::new(Restart::Always);
            let mut now = 0;
            let mut restarts = 0;
            for gap in gaps {
                watch.started(now);
                now += gap;
                match watch.died(now) {
                    Decision::RestartAt(at) => { restarts += 1; now = at; }
                    _ => break,
                }
            }
            prop_assert!(restarts <= DEATHS_MAX);
        }
    }
}
