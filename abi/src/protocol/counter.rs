//! A counter: the smallest object of the world. Served by the counter, called by the tally and the prompt.
//!
//! The tag of a request is the [`Request`]; the tag of a reply is 0, or 1 when the request was not understood.

/// The tag of a reply to a request that is none.
pub const BAD_REQUEST: u64 = 1;

/// What a client asks, in the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Request {
    /// Add word 0 (wrapping). Reply word 0: the new value. Not to be marked repeatable.
    Increment = 1,
    /// Reply word 0: the value.
    Value = 2,
}

impl Request {
    /// From a tag.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::Increment,
            2 => Self::Value,
            _ => return None,
        })
    }
}
