//! Counting and comparing.

use crate::trail::Doubt;
use core::fmt;

/// Steps from one printed line to the next.
pub const LINE_EVERY: u64 = 1000;

/// The counter did not answer: it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// The counter, as the tally sees it.
pub trait Counting {
    /// Adds one and returns the new value.
    fn increment(&mut self) -> Result<u64, Lost>;
}

/// What the tally remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The counter's last answer; `None` before the first.
    last: Option<u64>,
    /// The last number that was printed.
    printed: u64,
    /// Disagreements so far.
    alarms: u64,
}

impl Tally {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { last: None, printed: 0, alarms: 0 }
    }

    /// The last number printed.
    pub const fn printed(&self) -> u64 {
        self.printed
    }

    /// Disagreements so far.
    pub const fn alarms(&self) -> u64 {
        self.alarms
    }

    /// The memory objects do not hold what they should.
    pub fn doubt(&mut self, doubt: Doubt, out: &mut impl fmt::Write) {
        self.alarms += 1;
        let _ = writeln!(out, "tally: ALARM {}: {doubt}", self.alarms);
    }

    /// One step: counts, compares, prints what there is to print. The number, if it was printed.
    pub fn step(&mut self, counter: &mut impl Counting, out: &mut impl fmt::Write) -> Result<Option<u64>, Lost> {
        let value = counter.increment()?;
        let expected = self.last.map_or(1, |last| last.wrapping_add(1));
        if value != expected {
            self.alarms += 1;
            // What cannot be printed is lost; the count of alarms is not.
            let _ = writeln!(out, "tally: ALARM {}: the counter says {value}, expected {expected}", self.alarms);
        }
        self.last = Some(value);
        let line = value.is_multiple_of(LINE_EVERY);
        if line {
            if value <= self.printed {
                self.alarms += 1;
                let _ = writeln!(out, "tally: ALARM {}: {value} again after {}", self.alarms, self.printed);
            }
            self.printed = value;
            let _ = writeln!(out, "tally: {value}");
        }
        Ok(line.then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::Which;

    #[derive(Default)]
    struct Fake {
        value: u64,
        gone: bool,
    }

    impl Counting for Fake {
        fn increment(&mut self) -> Result<u64, Lost> {
            if self.gone {
                return Err(Lost);
            }
            self.value += 1;
            Ok(self.value)
        }
    }

    fn run(tally: &mut Tally, counter: &mut Fake, steps: u32) -> String {
        let mut out = String::new();
        for _ in 0..steps {
            tally.step(counter, &mut out).expect("the counter answers");
        }
        out
    }

    #[test]
    fn each_thousandth_is_printed_and_nothing_else() {
        let (mut tally, mut counter) = (Tally::new(), Fake::default());
        assert_eq!(run(&mut tally, &mut counter, 2999), "tally: 1000\ntally: 2000\n");
        assert_eq!((tally.printed(), tally.alarms()), (2000, 0));
    }

    #[test]
    fn a_gap_a_repeat_and_a_step_back_raise_the_alarm() {
        for change in [5_i64, -1, -700] {
            let (mut tally, mut counter) = (Tally::new(), Fake::default());
            run(&mut tally, &mut counter, 1500);
            counter.value = counter.value.wrapping_add_signed(change);
            let out = run(&mut tally, &mut counter, 1);
            assert!(out.contains("ALARM 1: the counter says"), "{change}: {out:?}");
            assert!(!run(&mut tally, &mut counter, 100).contains("the counter says"), "one event, one alarm");
        }
    }

    #[test]
    fn a_number_is_never_printed_twice_unnoticed() {
        let (mut tally, mut counter) = (Tally::new(), Fake::default());
        run(&mut tally, &mut counter, 1500);
        counter.value = 900;
        let out = run(&mut tally, &mut counter, 100);
        assert!(out.contains("1000 again after 1000"), "{out:?}");
        assert_eq!(tally.alarms(), 2);
    }

    #[test]
    fn a_doubt_is_an_alarm() {
        let (mut tally, mut out) = (Tally::new(), String::new());
        tally.doubt(Doubt { slot: 3, which: Which::Transient, expected: 0, found: 5 }, &mut out);
        assert_eq!(out, "tally: ALARM 1: transient page 3 holds 5, expected 0\n");
        assert_eq!(tally.alarms(), 1);
    }

    #[test]
    fn a_lost_counter_is_said() {
        let mut counter = Fake { gone: true, ..Fake::default() };
        assert_eq!(Tally::new().step(&mut counter, &mut String::new()), Err(Lost));
    }
}
