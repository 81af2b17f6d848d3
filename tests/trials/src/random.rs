//! Numbers that look like chance, the same from the same seed.

/// SplitMix64: every step another number, none for two steps.
pub(crate) fn mixed(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// A source of them.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed, and whose numbers they are.
    pub fn new(seed: u64, who: u64) -> Self {
        Self(mixed(seed) ^ mixed(!who))
    }

    /// The next.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mixed(self.0)
    }

    /// The next below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// Whether one of `of` lots is drawn.
    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy, const N: usize>(&mut self, things: [T; N]) -> T {
        things[self.below(N as u64) as usize]
    }
}
