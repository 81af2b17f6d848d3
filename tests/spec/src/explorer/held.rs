//! What an exploration holds in memory: digests of all states, the ways to them, and the states that wait.
//!
//! Digests and ways are counted. What a waiting state takes, most of which it shares with others, is measured: by what
//! the whole program takes whenever more states wait than ever before, because then nothing that it has lies fallow.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

/// Parts of the set of states that were seen, each behind a lock of its own.
const SHARDS: usize = 64;
/// Bytes that a waiting state takes, about, where that cannot be measured.
const STATE_BYTES: usize = 12 << 10;
/// States that wait, below which they cannot be told from all else that a program holds.
const MEASURED_MIN: usize = 4_096;
/// Growth of the number of those that wait, in states, after which their size is measured again.
const MEASURED_STEP: usize = 1_024;
/// Bytes of a page, as the system counts them.
const PAGE_BYTES: usize = 4_096;

/// Digests of all states that were found.
pub(super) struct Seen([Mutex<HashSet<u128, BuildHasherDefault<Identity>>>; SHARDS]);

impl Seen {
    pub(super) fn new() -> Self {
        Self(core::array::from_fn(|_| Mutex::default()))
    }

    /// Adds a state; false if it was there.
    pub(super) fn add(&self, digest: u128) -> bool {
        let shard = (digest >> 64) as usize % SHARDS;
        self.0[shard].lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(digest)
    }

    /// Memory that it takes: of eight places seven can be taken, and each has a byte of its own.
    fn bytes(&self) -> usize {
        let capacity = |shard: &Mutex<HashSet<u128, _>>| shard.lock().map_or(0, |shard| shard.capacity());
        self.0.iter().map(capacity).sum::<usize>() / 7 * 8 * (size_of::<u128>() + 1)
    }
}

/// Digests are as good as hashes.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}

/// Memory that is held, in bytes.
#[derive(Debug)]
pub(super) struct Held {
    /// What the program had before.
    before: usize,
    /// Digests and ways, when they were last counted.
    lasting: usize,
    waiting: usize,
    /// The most states that waited when their size was measured.
    measured_at: usize,
    state_bytes: usize,
    most: usize,
}

impl Default for Held {
    fn default() -> Self {
        let before = resident_bytes().unwrap_or_default();
        Self { before, lasting: 0, waiting: 0, measured_at: MEASURED_MIN, state_bytes: STATE_BYTES, most: 0 }
    }
}

impl Held {
    /// All of it.
    pub(super) fn bytes(&self) -> usize {
        self.lasting + self.waiting * self.state_bytes
    }

    /// What is never given back.
    pub(super) fn lasting(&self) -> usize {
        self.lasting
    }

    /// The most that it ever was.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Notes what there is now.
    pub(super) fn weigh(&mut self, seen: &Seen, ways: usize, waiting: usize) {
        self.lasting = seen.bytes() + ways;
        self.waiting = waiting;
        if waiting >= self.measured_at
            && let Some(resident) = resident_bytes()
        {
            self.measured_at = waiting + MEASURED_STEP;
            self.state_bytes = (resident.saturating_sub(self.before + self.lasting) / waiting).max(1);
        }
        self.most = self.most.max(self.bytes());
    }
}

/// Memory that this program has, where the system says so.
fn resident_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse::<usize>().ok().map(|pages| pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted() {
        let seen = Seen::new();
        let mut held = Held::default();
        held.weigh(&seen, 100, 0);
        assert_eq!((held.bytes(), held.lasting()), (100, 100));
        let digests = (0..10_000_u128).map(|number| number << 64 | number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let found = digests.clone().filter(|&digest| seen.add(digest)).count();
        assert_eq!((found, digests.filter(|&digest| seen.add(digest)).count()), (10_000, 0));
        held.weigh(&seen, 100, 10);
        // At least what the digests are, at most what sets that have just grown take.
        assert!((160_000..800_000).contains(&held.lasting()), "{}", held.lasting());
        assert_eq!(held.bytes(), held.lasting() + 10 * STATE_BYTES);
        held.weigh(&seen, 0, 0);
        assert!(held.most() > held.bytes());
    }

    #[test]
    fn the_size_of_states_is_measured() {
        let seen = Seen::new();
        let mut held = Held::default();
        let states: Vec<Vec<u8>> = (0..MEASURED_MIN).map(|_| vec![1; 50_000]).collect();
        held.weigh(&seen, 0, states.len());
        if resident_bytes().is_some() {
            assert!((30_000..100_000).contains(&held.state_bytes), "{}", held.state_bytes);
        }
    }
}
