//! How long a call may wait, in the 32 bits that the control register has for it.

/// A relative time-out: for ever, not at all, or a number of nanoseconds rounded up to 27 significant bits.
///
/// The kernel turns it into a deadline in world time when the wait begins. World time stands still while the machine
/// is off, so a wait that was half over at a cut is half over after the restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Timeout(u32);

const MANTISSA_BITS: u32 = 27;

impl Timeout {
    /// Wait as long as it takes.
    pub const FOREVER: Self = Self(0);
    /// Do not wait: succeed at once or return `WouldBlock`.
    pub const POLL: Self = Self(u32::MAX);

    /// At least `ns` nanoseconds (1 ..= about 2^57; larger values are cut to that, 0 becomes 1).
    pub const fn from_ns(ns: u64) -> Self {
        let ns = if ns == 0 { 1 } else { ns };
        let mut exponent = 0;
        let mut mantissa = ns;
        while mantissa >= 1 << MANTISSA_BITS {
            // Rounded up: a wait never ends early.
            mantissa = mantissa.div_ceil(2);
            exponent += 1;
        }
        if exponent >= 31 {
            return Self(30 << MANTISSA_BITS | ((1 << MANTISSA_BITS) - 1));
        }
        Self(exponent << MANTISSA_BITS | mantissa as u32)
    }

    /// At least `ms` milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self::from_ns(ms.saturating_mul(1_000_000))
    }

    /// From the upper half of the control register.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As passed in the upper half of the control register.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The nanoseconds to wait; `None` for [`Self::FOREVER`]. [`Self::POLL`] is zero.
    pub const fn ns(self) -> Option<u64> {
        match self {
            Self::FOREVER => None,
            Self::POLL => Some(0),
            Self(bits) => Some(((bits & ((1 << MANTISSA_BITS) - 1)) as u64) << (bits >> MANTISSA_BITS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_shorter_and_hardly_longer(ns in 1_u64..1 << 57) {
            let back = Timeout::from_ns(ns).ns().expect("bounded");
            prop_assert!(back >= ns);
            prop_assert!(back - ns <= ns >> 25);
        }
    }

    #[test]
    fn the_special_values() {
        assert_eq!(Timeout::FOREVER.ns(), None);
        assert_eq!(Timeout::POLL.ns(), Some(0));
        assert_ne!(Timeout::from_ns(u64::MAX), Timeout::POLL);
        assert_eq!(Timeout::from_ns(0).ns(), Some(1));
    }
}
