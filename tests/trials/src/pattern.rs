//! What the registers hold: different in each register, each step and each thread.

use crate::random::mixed;

/// Registers of the vector unit, of the x87 stack, and the two control words.
pub const PARTS: usize = 16 + 8 + 2;

/// A content for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// ymm0 to ymm15.
    pub ymm: [[u64; 4]; 16],
    /// The x87 stack.
    pub x87: [i64; 8],
    /// MXCSR: rounding, flushing, flags that stick; all exceptions masked.
    pub mxcsr: u32,
    /// The x87 control word: rounding and precision; all exceptions masked.
    pub control: u16,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A vector register.
    Ymm(usize),
    /// An x87 register.
    X87(usize),
    /// MXCSR.
    Mxcsr,
    /// The x87 control word.
    Control,
}

const MXCSR_MASKS: u32 = 0x1f80;
const CONTROL_MASKS: u16 = 0x007f;

impl Pattern {
    /// The pattern of a thread's step.
    pub fn of(thread: u64, step: u64) -> Self {
        let start = mixed(thread) ^ step << 8;
        let number = |at: usize| mixed(start.wrapping_add(at as u64));
        let bits = number(72);
        // Precision 1 does not exist.
        let precision = [0, 2, 3][(bits >> 8) as usize % 3];
        Self {
            ymm: core::array::from_fn(|register| core::array::from_fn(|word| number(4 * register + word))),
            x87: core::array::from_fn(|register| number(64 + register) as i64),
            mxcsr: MXCSR_MASKS | (bits & 0x7f) as u32 | ((bits >> 16 & 7) as u32) << 13,
            control: CONTROL_MASKS | precision << 8 | ((bits >> 24 & 3) as u16) << 10,
        }
    }

    /// All parts.
    pub fn parts() -> impl Iterator<Item = Part> {
        let (ymm, x87) = ((0..16).map(Part::Ymm), (0..8).map(Part::X87));
        ymm.chain(x87).chain([Part::Mxcsr, Part::Control])
    }

    /// The first part that is not as in the other.
    pub fn first_difference(&self, other: &Self) -> Option<Part> {
        Self::parts().find(|part| match *part {
            Part::Ymm(register) => self.ymm[register] != other.ymm[register],
            Part::X87(register) => self.x87[register] != other.x87[register],
            Part::Mxcsr => self.mxcsr != other.mxcsr,
            Part::Control => self.control != other.control,
        })
    }

    /// With one bit of one part turned over.
    #[must_use]
    pub fn with_wrong(mut self, part: Part) -> Self {
        match part {
            Part::Ymm(register) => self.ymm[register][register % 4] ^= 1 << (register * 4),
            Part::X87(register) => self.x87[register] ^= 1 << (register * 8),
            // Rounding, in both.
            Part::Mxcsr => self.mxcsr ^= 1 << 13,
            Part::Control => self.control ^= 1 << 10,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_threads_have_patterns_of_their_own() {
        let patterns: Vec<Pattern> = (0..400).map(|number| Pattern::of(number / 100, number % 100)).collect();
        let mut words: Vec<u64> = patterns.iter().flat_map(|pattern| pattern.ymm.into_iter().flatten()).collect();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "a word twice");
        let kinds = |word: fn(&Pattern) -> u32| {
            let mut found: Vec<u32> = patterns.iter().map(word).collect();
            found.sort_unstable();
            found.dedup();
            found.len()
        };
        assert!(kinds(|pattern| pattern.mxcsr) > 200 && kinds(|pattern| pattern.control.into()) == 12);
    }

    #[test]
    fn all_exceptions_are_masked_and_no_reserved_bit_is_set() {
        for step in 0..1000 {
            let Pattern { mxcsr, control, .. } = Pattern::of(9, step);
            assert_eq!((mxcsr & 0x1f80, mxcsr >> 16), (0x1f80, 0));
            assert_eq!((control & 0x7f, control & 0xf080), (0x7f, 0));
        }
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let pattern = Pattern::of(3, 4);
        assert_eq!(pattern.first_difference(&pattern), None);
        let mut count = 0;
        for part in Pattern::parts() {
            assert_eq!(pattern.with_wrong(part).first_difference(&pattern), Some(part));
            count += 1;
        }
        assert_eq!(count, PARTS);
    }
}
