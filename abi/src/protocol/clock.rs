//! The clock port: what time it is outside. Served by the clock driver.
//!
//! The tag of a request is the [`Request`]; the tag of a reply is 0 or an [`Error`]. World time, which stands still while the
//! machine is off and never leaps, is not asked for here but of the kernel. Calls may be marked repeatable: asked again
//! after a restore, the answer is the time then. A program that keeps an answer keeps what was true in its epoch.

use crate::WORDS;

/// What a client asks, in the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Request {
    /// Answered at once with [`WallTime`].
    Now = 1,
}

impl Request {
    /// From a tag.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::Now),
            _ => None,
        }
    }
}

/// Why there is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// Caller: the request is unknown.
    BadRequest = 1,
    /// Environment: there is no clock, it does not hold still, or says what no clock says.
    NoTime = 2,
}

impl Error {
    /// From the tag of a reply; `None` for 0 and for what no clock driver answers.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::BadRequest,
            2 => Self::NoTime,
            _ => return None,
        })
    }
}

/// A time outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// Seconds since 1970-01-01 00:00 UTC, leap seconds not counted.
    pub seconds: u64,
    /// Nanoseconds within the second; 0 from a clock that knows none.
    pub nanoseconds: u32,
}

impl WallTime {
    /// As the words of a reply.
    #[must_use]
    pub const fn words(self) -> [u64; WORDS] {
        [self.seconds, self.nanoseconds as u64, 0, 0, 0, 0, 0, 0]
    }

    /// From the words of a reply; `None` for what no clock driver answers.
    #[must_use]
    pub const fn from_words(words: [u64; WORDS]) -> Option<Self> {
        if words[1] >= 1_000_000_000 {
            return None;
        }
        Some(Self { seconds: words[0], nanoseconds: words[1] as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_comes_back() {
        let time = WallTime { seconds: 1_800_000_000, nanoseconds: 999_999_999 };
        assert_eq!(WallTime::from_words(time.words()), Some(time));
        assert_eq!(WallTime::from_words([0, 1_000_000_000, 0, 0, 0, 0, 0, 0]), None);
        for bits in 0..4 {
            assert!(Request::from_bits(bits).is_none_or(|request| request as u64 == bits));
            assert!(Error::from_bits(bits).is_none_or(|error| error as u64 == bits));
        }
        assert_eq!((Request::from_bits(1), Error::from_bits(2)), (Some(Request::Now), Some(Error::NoTime)));
    }
}
