//! What client and server say.

use super::Chunk;
use crate::WORDS;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// There may be something in the ring that comes with this. Answered when all below `until` has been shown: at once if
    /// it has, else it blocks for as long as commits take. A ring has one caller that waits: another one's call makes the
    /// server answer the first. Errors: [`Error::NotLent`], [`Error::BadRing`].
    Show {
        /// Index of a byte of the ring; 0 never waits.
        until: u64,
    },
    /// Bytes that were typed. Answered when there is one at least. Errors: [`Error::Full`].
    Read,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// Caller: the request makes no sense.
    BadRequest = 1,
    /// Environment: so many readers wait that there is no room.
    Full = 2,
    /// Caller: what came with the call is not a memory object that is lent to this server. Environment: its page is not
    /// there yet; ask again soon.
    NotLent = 3,
    /// Caller: the ring's indices are none that [`super::RingWriter`] writes.
    BadRing = 4,
}

impl Error {
    /// From the tag of a reply; `None` for a success, or what no server answers.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::BadRequest,
            2 => Self::Full,
            3 => Self::NotLent,
            4 => Self::BadRing,
            _ => return None,
        })
    }
}

/// A tag and words: what a message carries here.
pub type Carried = (u64, [u64; WORDS]);

fn words_of(first: u64) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = first;
    words
}

impl Request {
    /// As a message carries it.
    #[must_use]
    pub fn carry(&self) -> Carried {
        match self {
            Self::Show { until } => (1, words_of(*until)),
            Self::Read => (2, [0; WORDS]),
        }
    }

    /// From a message; trusts nothing in it.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub const fn from_carried((tag, words): &Carried) -> Result<Self, Error> {
        match tag {
            1 => Ok(Self::Show { until: words[0] }),
            2 => Ok(Self::Read),
            _ => Err(Error::BadRequest),
        }
    }
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a Show.
    Shown {
        /// All below this index of the ring has been shown.
        below: u64,
    },
    /// To a Read: at least one byte.
    Typed {
        /// Number of the first byte. Numbers only grow; one that is smaller than a reader expects is a byte that it has
        /// seen.
        number: u64,
        /// The bytes.
        chunk: Chunk,
    },
    /// Refused.
    Refused(Error),
}

impl Answer {
    /// As a message carries it.
    #[must_use]
    pub fn carry(&self) -> Carried {
        match self {
            Self::Shown { below } => (0, words_of(*below)),
            Self::Typed { number, chunk } => (u64::from(chunk.count) << 8, chunk.words(*number)),
            Self::Refused(error) => (*error as u64, [0; WORDS]),
        }
    }

    /// From a message; `None` for what no server answers.
    #[must_use]
    pub fn from_carried((tag, words): &Carried) -> Option<Self> {
        if let Some(error) = Error::from_bits(*tag) {
            return Some(Self::Refused(error));
        }
        match (tag & 0xff, Chunk::from_words(tag >> 8, words)?) {
            (0, Chunk::EMPTY) => Some(Self::Shown { below: words[0] }),
            (0, chunk) => Some(Self::Typed { number: words[0], chunk }),
            _ => None,
        }
    }
}

/// A way to call the port. A Show carries the capability of the caller's ring and is marked repeatable.
pub trait Port {
    /// Calls and waits for the answer. `None`: there is none and will be none (the port is void, or its server gave up the
    /// call); asking again is up to the caller.
    fn call(&mut self, request: &Request) -> Option<Answer>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::console::CHUNK_BYTES_MAX;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_and_answers_come_back(bytes in prop::collection::vec(any::<u8>(), 0..80), number: u64) {
            let chunk = Chunk::of(&bytes);
            prop_assert_eq!(chunk.bytes(), &bytes[..bytes.len().min(CHUNK_BYTES_MAX)]);
            for request in [Request::Show { until: number }, Request::Read] {
                prop_assert_eq!(Request::from_carried(&request.carry()), Ok(request));
            }
            let errors = [Error::BadRequest, Error::Full, Error::NotLent, Error::BadRing];
            let mut answers = vec![Answer::Shown { below: number }];
            answers.extend(errors.map(Answer::Refused));
            if !bytes.is_empty() {
                answers.push(Answer::Typed { number, chunk });
            }
            for answer in answers {
                prop_assert_eq!(Answer::from_carried(&answer.carry()), Some(answer));
            }
        }

        #[test]
        fn anything_is_read_or_refused(kind in 0u64..6, count in 0u64..300, words: [u64; WORDS]) {
            let carried = (kind | count << 8, words);
            prop_assert_eq!(Request::from_carried(&carried).is_ok(), count == 0 && (1..3).contains(&kind));
            if let Some(Answer::Typed { chunk, .. }) = Answer::from_carried(&carried) {
                prop_assert!(!chunk.bytes().is_empty());
            }
        }
    }
}
