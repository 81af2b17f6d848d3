//! A thread that holds patterns.

use libos::{Meanwhile, Vectors, hold_vectors};
use trials::{Part, Pattern};

/// Which thread holds, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    thread: u64,
    steps: u64,
    /// Patterns that were found changed.
    pub(crate) wrong: u64,
    /// Steps in the middle of which the world was restored.
    pub(crate) restored: u64,
    /// What was wrong first.
    pub(crate) first_wrong: Option<Part>,
}

fn vectors(pattern: Pattern) -> Vectors {
    let Pattern { ymm, x87, mxcsr, control } = pattern;
    Vectors { ymm, x87, mxcsr, control }
}

fn pattern(vectors: Vectors) -> Pattern {
    let Vectors { ymm, x87, mxcsr, control } = vectors;
    Pattern { ymm, x87, mxcsr, control }
}

impl Holder {
    /// The threads of the world have numbers of their own, so no two ever hold the same.
    pub(crate) const fn new(thread: u64) -> Self {
        Self { thread, steps: 0, wrong: 0, restored: 0, first_wrong: None }
    }

    /// Holds the next pattern meanwhile; the registers after a call.
    pub(crate) fn hold(&mut self, meanwhile: Meanwhile<'_>) -> [u64; 11] {
        let held = Pattern::of(self.thread, self.steps);
        self.steps += 1;
        let before = incarnation();
        let (found, after) = hold_vectors(&vectors(held), meanwhile);
        if let Some(part) = pattern(found).first_difference(&held) {
            self.wrong += 1;
            self.first_wrong = self.first_wrong.or(Some(part));
        }
        self.restored += u64::from(incarnation() != before);
        after
    }

    /// Loses each register in turn, as a kernel would that forgot it: how many of these losses are noticed.
    pub(crate) fn notices(&mut self) -> usize {
        let held = Pattern::of(self.thread, u64::MAX);
        let is_noticed = |part: &Part| {
            let lost = vectors(held.with_wrong(*part));
            pattern(hold_vectors(&vectors(held), Meanwhile::Lose(&lost)).0).first_difference(&held) == Some(*part)
        };
        Pattern::parts().filter(is_noticed).count()
    }
}

fn incarnation() -> u32 {
    libos::clock().epoch.incarnation()
}
