//! Epoch numbers: an incarnation and a counter in one 64-bit word.

/// One consistent cut of the world.
///
/// The upper 24 bits are the *incarnation*, which counts restores and is made durable before its first block is
/// written; the lower 40 count cuts within it. Numbers are therefore never reused, and a later epoch always compares
/// greater than an earlier one of the same history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Epoch(u64);

/// Bits of an epoch number that count cuts.
pub const COUNTER_BITS: u32 = 40;
/// Largest incarnation.
pub const INCARNATION_MAX: u32 = (1 << 24) - 1;

impl Epoch {
    /// No epoch: nothing has been committed, or the world has not started.
    pub const NONE: Self = Self(0);

    /// The first epoch of `incarnation` (1 ..= [`INCARNATION_MAX`]); `None` when the incarnation does not fit.
    pub const fn first_of(incarnation: u32) -> Option<Self> {
        if incarnation == 0 || incarnation > INCARNATION_MAX {
            return None;
        }
        Some(Self((incarnation as u64) << COUNTER_BITS | 1))
    }

    /// From its number as stored or passed in a register.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Which restore of the world it belongs to.
    pub const fn incarnation(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32
    }

    /// Which cut of its incarnation ends it, from 1.
    pub const fn counter(self) -> u64 {
        self.0 & ((1 << COUNTER_BITS) - 1)
    }

    /// The epoch that begins when this one is cut; `None` after 2^40 − 1 cuts of one incarnation.
    pub const fn next(self) -> Option<Self> {
        if self.counter() == (1 << COUNTER_BITS) - 1 {
            return None;
        }
        Some(Self(self.0 + 1))
    }
}

impl core::fmt::Display for Epoch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.incarnation(), self.counter())
    }
}

/// The text is not an epoch's: incarnation and counter, decimal, with a point between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnEpoch;

impl core::str::FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, NotAnEpoch> {
        let (incarnation, counter) = text.split_once('.').ok_or(NotAnEpoch)?;
        let first = incarnation.parse().ok().and_then(Self::first_of).ok_or(NotAnEpoch)?;
        let counter: u64 = counter.parse().map_err(|_| NotAnEpoch)?;
        if counter == 0 || counter >= 1 << COUNTER_BITS {
            return Err(NotAnEpoch);
        }
        Ok(Self(first.0 - 1 + counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnation_and_counter_stay_apart() {
        let first = Epoch::first_of(7).expect("fits");
        assert_eq!((first.incarnation(), first.counter()), (7, 1));
        let second = first.next().expect("fits");
        assert_eq!((second.incarnation(), second.counter()), (7, 2));
        assert!(second > first && Epoch::first_of(8).expect("fits") > second);
    }

    #[test]
    fn an_epoch_is_read_as_it_is_shown() {
        let epoch = Epoch::from_bits((3 << 40) | 17);
        assert_eq!((std::format!("{epoch}").parse(), "3.17".parse()), (Ok(epoch), Ok(epoch)));
        for text in ["", "3", "3.", ".3", "0.1", "1.0", "1.1099511627776", "16777216.1", "-1.2", "1.2.3"] {
            assert_eq!(text.parse::<Epoch>(), Err(NotAnEpoch), "{text}");
        }
    }

    #[test]
    fn the_counter_never_spills_into_the_incarnation() {
        assert_eq!(Epoch::from_bits((3 << 40) | ((1 << 40) - 1)).next(), None);
        assert_eq!(Epoch::first_of(0), None);
        assert_eq!(Epoch::first_of(INCARNATION_MAX + 1), None);
    }
}
