//! The number and what is done with it.

use abi::protocol::counter::{BAD_REQUEST, Request};

/// A number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    value: u64,
}

/// The reply: tag and word 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0 or [`BAD_REQUEST`].
    pub tag: u64,
    /// The value.
    pub word: u64,
}

impl Counter {
    /// Nought.
    pub const fn new() -> Self {
        Self { value: 0 }
    }

    /// Answers a request with this tag and word 0.
    pub fn answer(&mut self, tag: u64, word: u64) -> Answer {
        match Request::from_bits(tag) {
            Some(Request::Increment) => self.value = self.value.wrapping_add(word),
            Some(Request::Value) => {}
            None => return Answer { tag: BAD_REQUEST, word: 0 },
        }
        Answer { tag: 0, word: self.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_sum_of_what_was_added(steps in prop::collection::vec(any::<u64>(), 0..50)) {
            let mut counter = Counter::new();
            let mut sum = 0_u64;
            for step in steps {
                sum = sum.wrapping_add(step);
                let expected = Answer { tag: 0, word: sum };
                prop_assert_eq!(counter.answer(Request::Increment as u64, step), expected);
                prop_assert_eq!(counter.answer(Request::Value as u64, step), expected);
            }
        }

        #[test]
        fn nonsense_changes_nothing(tag in 3_u64.., word: u64) {
            let mut counter = Counter::new();
            prop_assert_eq!(counter.answer(tag, word), Answer { tag: BAD_REQUEST, word: 0 });
            prop_assert_eq!(counter, Counter::new());
        }
    }
}
