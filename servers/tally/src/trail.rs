//! Printed numbers, written into memory objects and checked when their page's turn comes again.
//!
//! Invariants, checked by [`Trail::step`]:
//! 1. Slot i of the persistent object holds the last number written there, whatever happened to the machine since.
//! 2. Slot i of the transient object holds that number if it was written in the running incarnation, else 0.
//! 3. Slot i of a copy of the persistent object holds what that held when the copy was made ([`Keepsake::check`]).

use core::fmt;

/// Slots, each on a page of its own: so many pages are dirtied and come back one by one.
pub const SLOTS: usize = 16;

/// A memory object: a word on each of [`SLOTS`] pages.
pub trait Slots {
    /// Reads a word; `slot` is below [`SLOTS`].
    fn load(&self, slot: usize) -> u64;
    /// Writes a word.
    fn store(&self, slot: usize, value: u64);
}

/// Which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The persistent one.
    Persistent,
    /// The transient one.
    Transient,
    /// The copy of the persistent one.
    Copy,
}

/// What was found is not what should be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// In which slot.
    pub slot: usize,
    /// Of which object.
    pub which: Which,
    /// What should be there.
    pub expected: u64,
    /// What is there.
    pub found: u64,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.which {
            Which::Persistent => "persistent",
            Which::Transient => "transient",
            Which::Copy => "copied",
        };
        write!(f, "{kind} page {} holds {}, expected {}", self.slot, self.found, self.expected)
    }
}

/// What the trail remembers, in ordinary memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// Of each slot: the number written, and the incarnation it was written in.
    written: [(u64, u32); SLOTS],
    next: usize,
}

impl Default for Trail {
    fn default() -> Self {
        Self::new()
    }
}

impl Trail {
    /// Over objects that are all zero.
    pub const fn new() -> Self {
        Self { written: [(0, 0); SLOTS], next: 0 }
    }

    /// Checks the slot whose turn it is, and writes `number` there. `incarnation` says which one of the world runs.
    pub fn step(
        &mut self,
        number: u64,
        incarnation: impl Fn() -> u32,
        persistent: &impl Slots,
        transient: &impl Slots,
    ) -> Result<(), Doubt> {
        let slot = self.next;
        let (last, then) = self.written[slot];
        let kept = Some((persistent.load(slot), last, Which::Persistent));
        persistent.store(slot, number);
        let (now, fleeting) = turn_transient(slot, number, incarnation, transient);
        let fleeting = fleeting.map(|found| (found, if then == now { last } else { 0 }, Which::Transient));
        self.written[slot] = (number, now);
        self.next = (slot + 1) % SLOTS;
        let checks = [kept, fleeting].into_iter().flatten();
        let bad = checks.into_iter().find(|(found, expected, _)| found != expected);
        bad.map_or(Ok(()), |(found, expected, which)| Err(Doubt { slot, which, expected, found }))
    }

    /// What the persistent object holds now, to check a copy that is made now against: between two steps.
    pub fn keepsake(&self) -> Keepsake {
        Keepsake { numbers: self.written.map(|(number, _)| number), next: 0 }
    }
}

/// What a copy of the persistent object holds for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepsake {
    numbers: [u64; SLOTS],
    next: usize,
}

impl Keepsake {
    /// Checks the slot of the copy whose turn it is.
    pub fn check(&mut self, copy: &impl Slots) -> Result<(), Doubt> {
        let slot = self.next;
        self.next = (slot + 1) % SLOTS;
        let (expected, found) = (self.numbers[slot], copy.load(slot));
        if found == expected { Ok(()) } else { Err(Doubt { slot, which: Which::Copy, expected, found }) }
    }
}

/// Reads and writes a transient slot within one incarnation, which it returns, and what was read. Nothing is known of what
/// was read if the world was restored in the middle of it: then the write is made again.
fn turn_transient(
    slot: usize,
    number: u64,
    incarnation: impl Fn() -> u32,
    transient: &impl Slots,
) -> (u32, Option<u64>) {
    let before = incarnation();
    let found = transient.load(slot);
    transient.store(slot, number);
    let mut now = incarnation();
    if now == before {
        return (now, Some(found));
    }
    loop {
        let before = now;
        transient.store(slot, number);
        now = incarnation();
        if now == before {
            return (now, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    #[derive(Clone)]
    struct Fake(Vec<Cell<u64>>);

    impl Fake {
        fn new() -> Self {
            Self(vec![Cell::new(0); SLOTS])
        }
    }

    impl Slots for Fake {
        fn load(&self, slot: usize) -> u64 {
            self.0[slot].get()
        }
        fn store(&self, slot: usize, value: u64) {
            self.0[slot].set(value);
        }
    }

    proptest! {
        #[test]
        fn a_world_that_keeps_its_word_raises_no_doubt(lives in prop::collection::vec(1_u64..300, 1..6)) {
            let (mut trail, persistent) = (Trail::new(), Fake::new());
            let mut number = 0;
            for (incarnation, steps) in (1..).zip(lives) {
                let transient = Fake::new();
                for _ in 0..steps {
                    number += 1000;
                    prop_assert_eq!(trail.step(number, || incarnation, &persistent, &transient), Ok(()));
                }
            }
        }
    }

    #[test]
    fn a_restore_in_the_middle_of_a_step_raises_no_doubt() {
        // The world is restored just before the restore_at-th look at the incarnation.
        for restore_at in 1..=3 {
            let (mut trail, persistent, transient) = (Trail::new(), Fake::new(), Fake::new());
            for number in 1..=SLOTS as u64 {
                trail.step(number, || 1, &persistent, &transient).expect("all is well");
            }
            let looks = Cell::new(0);
            let incarnation = || {
                looks.set(looks.get() + 1);
                if looks.get() == restore_at {
                    transient.0.iter().for_each(|word| word.set(0));
                }
                if looks.get() >= restore_at { 2 } else { 1 }
            };
            for number in 0..2 * SLOTS as u64 {
                assert_eq!(trail.step(1000 + number, incarnation, &persistent, &transient), Ok(()), "{restore_at}");
            }
        }
    }

    #[test]
    fn a_keepsake_is_checked_against_what_was_there_when_it_was_taken() {
        let (mut trail, persistent, transient) = (Trail::new(), Fake::new(), Fake::new());
        for number in 1..=20 {
            trail.step(number, || 1, &persistent, &transient).expect("all is well");
        }
        let (mut keepsake, copy) = (trail.keepsake(), persistent.clone());
        for number in 21..=60 {
            trail.step(number, || 1, &persistent, &transient).expect("all is well");
            assert_eq!(keepsake.check(&copy), Ok(()));
        }
        let expected = Err(Doubt { slot: 8, which: Which::Copy, expected: 9, found: 57 });
        assert_eq!(keepsake.check(&persistent), expected, "not a copy");
    }

    #[test]
    fn a_lost_page_a_stale_page_and_a_transient_that_stayed_are_found() {
        let run = |spoil: fn(&Fake, &Fake), incarnation| {
            let (mut trail, persistent, transient) = (Trail::new(), Fake::new(), Fake::new());
            for number in 1..=SLOTS as u64 {
                trail.step(number, || 1, &persistent, &transient).expect("all is well");
            }
            spoil(&persistent, &transient);
            trail.step(1000, || incarnation, &persistent, &transient)
        };
        let doubt = |which, expected, found| Err(Doubt { slot: 0, which, expected, found });
        assert_eq!(run(|_, _| {}, 1), Ok(()));
        assert_eq!(run(|persistent, _| persistent.store(0, 0), 1), doubt(Which::Persistent, 1, 0));
        assert_eq!(run(|persistent, _| persistent.store(0, 9), 1), doubt(Which::Persistent, 1, 9));
        assert_eq!(run(|_, transient| transient.store(0, 0), 1), doubt(Which::Transient, 1, 0));
        assert_eq!(run(|_, _| {}, 2), doubt(Which::Transient, 0, 1), "it survived a restore");
    }
}
