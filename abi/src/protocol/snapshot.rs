//! The snapshot port: what programs of the world may ask about epochs. Served by the snapshot server.
//!
//! The tag of a request is the [`Request`]; the tag of a reply is 0 or an [`Error`]. Both requests may be marked
//! repeatable: asked again after a restore they answer for the world as it is then.

use crate::Epoch;

/// What a client asks, in the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Request {
    /// Answered when everything that happened in the world before the call is durable: a cut is made soon, and the
    /// answer comes with its commit. Reply word 0: that epoch. Blocks until then.
    Sync = 1,
    /// Answered at once with [`Epochs`].
    Epochs = 2,
}

impl Request {
    /// From a tag.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::Sync,
            2 => Self::Epochs,
            _ => return None,
        })
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// Caller: the request is unknown.
    BadRequest = 1,
    /// Environment: nothing can be made durable any more (the disk is full or dead).
    Undurable = 2,
    /// Environment: too many callers wait already.
    Busy = 3,
}

impl Error {
    /// From the tag of a reply; `None` for 0 and for what no snapshot server answers.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::BadRequest,
            2 => Self::Undurable,
            3 => Self::Busy,
            _ => return None,
        })
    }
}

/// How the world stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The running epoch.
    pub running: Epoch,
    /// The last that is durable.
    pub committed: Epoch,
    /// The one from which this incarnation came back; [`Epoch::NONE`] if the world is new.
    pub restored: Epoch,
    /// The oldest that is kept.
    pub oldest: Epoch,
    /// How many are kept.
    pub kept: u64,
    /// Pages that can be made durable before the store is full, at least.
    pub room: u64,
    /// Pages that the store holds in all.
    pub pages: u64,
}

impl Epochs {
    /// As the words of a reply.
    #[must_use]
    pub const fn words(self) -> [u64; 8] {
        [
            self.running.bits(),
            self.committed.bits(),
            self.restored.bits(),
            self.oldest.bits(),
            self.kept,
            self.room,
            self.pages,
            0,
        ]
    }

    /// From the words of a reply.
    #[must_use]
    pub const fn from_words(words: [u64; 8]) -> Self {
        Self {
            running: Epoch::from_bits(words[0]),
            committed: Epoch::from_bits(words[1]),
            restored: Epoch::from_bits(words[2]),
            oldest: Epoch::from_bits(words[3]),
            kept: words[4],
            room: words[5],
            pages: words[6],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_comes_back() {
        let epochs = Epochs {
            running: Epoch::from_bits(9),
            committed: Epoch::from_bits(8),
            kept: 3,
            room: 5,
            pages: 7,
            ..Epochs::default()
        };
        assert_eq!(Epochs::from_words(epochs.words()), epochs);
        for bits in 0..5 {
            assert!(Request::from_bits(bits).is_none_or(|request| request as u64 == bits));
            assert!(Error::from_bits(bits).is_none_or(|error| error as u64 == bits));
        }
        assert_eq!(Request::from_bits(2), Some(Request::Epochs));
        assert_eq!(Error::from_bits(3), Some(Error::Busy));
    }
}
