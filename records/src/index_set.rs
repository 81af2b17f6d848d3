//! A set of indices that finds its lowest member at or after a point in a bounded number of steps.
//!
//! Invariants:
//! 1. A bit of `filled` is set exactly when the word that it stands for is not clear ([`IndexSet::is_sound`]).

use crate::{Arena, Slab};

/// Makes bits `from .. to` of some words all ones, or zeros, in as many steps as there are words of them.
pub fn set_bits(words: &mut [u64], from: usize, to: usize, ones: bool) {
    let mut at = from;
    while at < to {
        let end = to.min((at / 64 + 1) * 64);
        let mask = u64::MAX << (at % 64) & u64::MAX >> (63 - (end - 1) % 64);
        let word = &mut words[at / 64];
        *word = if ones { *word | mask } else { *word & !mask };
        at = end;
    }
}

/// A set of indices below a bound.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub struct IndexSet {
    words: Slab<u64>,
    filled: Slab<u64>,
    bound: u32,
}

impl IndexSet {
    /// An empty set of indices below `bound`.
    pub fn new(arena: &mut impl Arena, bound: u32) -> Self {
        let words = bound.div_ceil(64) as usize;
        Self { words: arena.slab(words, 0), filled: arena.slab(words.div_ceil(64), 0), bound }
    }

    /// The set of all indices below `bound`.
    pub fn full(arena: &mut impl Arena, bound: u32) -> Self {
        let mut set = Self::new(arena, bound);
        set.insert_range(0, bound);
        set
    }

    /// Words that a set of this bound takes.
    pub const fn words_needed(bound: u32) -> usize {
        (bound.div_ceil(64) + bound.div_ceil(64 * 64)) as usize
    }

    fn word(&self, word: u32) -> u64 {
        self.words[word as usize]
    }

    /// One past the largest index that it may hold.
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// Whether it holds `index`.
    pub fn contains(&self, index: u32) -> bool {
        index < self.bound && self.word(index / 64) >> (index % 64) & 1 == 1
    }

    /// Adds `index`, which must be below the bound.
    pub fn insert(&mut self, index: u32) {
        self.set_range(index, index + 1, true);
    }

    /// Adds every index of `from .. to`, in (to − from) / 64 steps or a few more.
    pub fn insert_range(&mut self, from: u32, to: u32) {
        self.set_range(from, to, true);
    }

    /// Removes `index`; false when it was not there.
    pub fn remove(&mut self, index: u32) -> bool {
        let there = self.contains(index);
        if there {
            self.set_range(index, index + 1, false);
        }
        there
    }

    /// Removes every index of `from .. to`, in as many steps.
    pub fn remove_range(&mut self, from: u32, to: u32) {
        self.set_range(from, to, false);
    }

    fn set_range(&mut self, from: u32, to: u32, member: bool) {
        assert!(to <= self.bound, "index beyond the set's bound");
        let (from, to) = (from as usize, to as usize);
        set_bits(&mut self.words[..], from, to, member);
        for word in from / 64..to.div_ceil(64) {
            set_bits(&mut self.filled[..], word, word + 1, self.words[word] != 0);
        }
    }

    /// The lowest index of `from .. to` that is not a member, in at most (to − from) / 64 + 1 steps.
    pub fn first_absent(&self, from: u32, to: u32) -> Option<u32> {
        let (mut at, to) = (from, to.min(self.bound));
        while at < to {
            let absent = !self.word(at / 64) & u64::MAX << (at % 64);
            if absent != 0 {
                return Some(at / 64 * 64 + absent.trailing_zeros()).filter(|&absent| absent < to);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// The lowest member that is at least `from`, in at most (bound − from) / 4096 + 2 steps.
    pub fn first_from(&self, from: u32) -> Option<u32> {
        let here = self.words.get(from as usize / 64)? & u64::MAX << (from % 64);
        if here != 0 {
            return Some(from / 64 * 64 + here.trailing_zeros());
        }
        let mut word = from / 64 + 1;
        loop {
            let marks = self.filled.get(word as usize / 64)? & u64::MAX << (word % 64);
            if marks != 0 {
                let word = word / 64 * 64 + marks.trailing_zeros();
                return Some(word * 64 + self.word(word).trailing_zeros());
            }
            word = (word / 64 + 1) * 64;
        }
    }

    /// How many members there are, in bound / 64 steps.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Removes and returns the lowest member of `from .. to`.
    pub fn take_first(&mut self, from: u32, to: u32) -> Option<u32> {
        let index = self.first_from(from).filter(|&index| index < to)?;
        self.remove(index);
        Some(index)
    }

    /// The lowest multiple of `length` in `from .. to` from which `length` (a power of two) members follow each other.
    /// Looks at every candidate once: at most (to − from) / 64 + (to − from) / length steps.
    pub fn find_run(&self, from: u32, to: u32, length: u32) -> Option<u32> {
        let mut start = from.next_multiple_of(length);
        while start + length <= to.min(self.bound) {
            let run = if length >= 64 {
                (0..length / 64).all(|word| self.word(start / 64 + word) == u64::MAX)
            } else {
                let mask = ((1 << length) - 1) << (start % 64);
                self.word(start / 64) & mask == mask
            };
            if run {
                return Some(start);
            }
            start += length;
        }
        None
    }

    /// Invariant 1.
    #[cfg(any(test, feature = "host"))]
    pub fn is_sound(&self) -> bool {
        (0..self.words.len()).all(|word| (self.filled[word / 64] >> (word % 64) & 1 == 1) == (self.words[word] != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostArena;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_tree_set(bound in 1_u32..20_000, steps in prop::collection::vec((0_u8..8, any::<u32>()), 0..300)) {
            let mut set = IndexSet::new(&mut HostArena, bound);
            let mut model = BTreeSet::new();
            for (step, value) in steps {
                let index = value % bound;
                match step {
                    0 => { set.insert(index); model.insert(index); }
                    1 => prop_assert_eq!(set.remove(index), model.remove(&index)),
                    4 | 5 => {
                        let to = (index + value % 300).min(bound);
                        if step == 4 { set.insert_range(index, to) } else { set.remove_range(index, to) }
                        (index..to).for_each(|index| if step == 4 { model.insert(index); } else { model.remove(&index); });
                    }
                    6 => {
                        let to = index.saturating_add(500);
                        let want = (index..to.min(bound)).find(|index| !model.contains(index));
                        prop_assert_eq!(set.first_absent(index, to), want);
                    }
                    2 => prop_assert_eq!(set.first_from(index), model.range(index..).next().copied()),
                    7 => prop_assert_eq!(set.count(), model.len() as u32),
                    _ => {
                        let to = index.saturating_add(500);
                        let want = model.range(index..to).next().copied();
                        prop_assert_eq!(set.take_first(index, to), want);
                        if let Some(taken) = want { model.remove(&taken); }
                    }
                }
                prop_assert_eq!(set.contains(index), model.contains(&index));
                prop_assert!(!set.contains(bound) && set.first_from(bound).is_none());
            }
            prop_assert!(set.is_sound());
            prop_assert_eq!((set.bound(), set.words.len() + set.filled.len()), (bound, IndexSet::words_needed(bound)));
        }

        #[test]
        fn runs_are_aligned_whole_and_lowest(members in prop::collection::btree_set(0_u32..600, 0..600), log in 0_u32..8) {
            let mut set = IndexSet::new(&mut HostArena, 600);
            for &member in &members { set.insert(member); }
            let length = 1 << log;
            let want = (0..600 / length).map(|n| n * length).find(|&at| (at..at + length).all(|index| members.contains(&index)));
            prop_assert_eq!(set.find_run(0, 600, length), want);
        }

        /// Runs of whole words, and those that begin behind `from` and end before `to`.
        #[test]
        fn runs_lie_between_their_bounds(gaps in prop::collection::btree_set(0_u32..2000, 0..6), from in 0_u32..2100, to in 0_u32..2100, log in 0_u32..11) {
            let mut set = IndexSet::new(&mut HostArena, 2000);
            set.insert_range(0, 2000);
            for &gap in &gaps { set.remove(gap); }
            let length = 1 << log;
            let fits = |at: u32| at >= from && at + length <= to.min(2000) && gaps.range(at..at + length).next().is_none();
            let want = (0..2000 / length).map(|n| n * length).find(|&at| fits(at));
            prop_assert_eq!(set.find_run(from, to, length), want);
        }
    }

    #[test]
    fn marks_that_lie_are_noticed() {
        let mut set = IndexSet::new(&mut HostArena, 20_000);
        set.insert(9_999);
        // A word that has a member may have more; all else is seen from the marks, or in them.
        for (word, bit, sound) in [(9_999 / 64, 40, true), (0, 40, false), (9_999 / 64, 15, false)] {
            let mut other = set.clone();
            other.words[word] ^= 1 << bit;
            assert_eq!(other.is_sound(), sound, "bit {bit} of word {word}");
        }
        for (word, bit) in [(9_999 / 4096, 9_999 / 64 % 64), (0, 1), (4, 50)] {
            let mut other = set.clone();
            other.filled[word] ^= 1 << bit;
            assert!(!other.is_sound(), "bit {bit} of marks {word}");
        }
        assert!(set.is_sound());
    }

    #[test]
    fn behind_the_last_word_there_is_nobody() {
        for bound in [64, 4096, 4096 * 64] {
            let mut set = IndexSet::new(&mut HostArena, bound);
            set.insert(0);
            assert!(!set.contains(bound) && !set.contains(bound + 64) && !set.contains(u32::MAX));
            assert_eq!((set.first_from(1), set.first_from(bound - 1), set.first_from(bound)), (None, None, None));
            set.insert(bound - 1);
            assert_eq!((set.first_from(1), set.first_from(bound)), (Some(bound - 1), None));
        }
    }

    #[test]
    #[should_panic(expected = "beyond the set's bound")]
    fn nothing_at_the_bound_is_a_member() {
        IndexSet::new(&mut HostArena, 100).insert(100);
    }
}
