//! A few bytes in the words of a message.

use crate::WORDS;

/// Bytes in one message.
pub const CHUNK_BYTES_MAX: usize = (WORDS - 1) * 8;

/// A few bytes, as they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    bytes: [u8; CHUNK_BYTES_MAX],
    pub(super) count: u8,
}

impl Chunk {
    /// None.
    pub const EMPTY: Self = Self { bytes: [0; CHUNK_BYTES_MAX], count: 0 };

    /// As many of `bytes` as fit; what follows goes into the next one.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut chunk = Self::EMPTY;
        let count = bytes.len().min(CHUNK_BYTES_MAX);
        chunk.bytes[..count].copy_from_slice(&bytes[..count]);
        chunk.count = count as u8;
        chunk
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.count)]
    }

    pub(super) fn words(&self, first: u64) -> [u64; WORDS] {
        let mut words = [first; WORDS];
        for (word, bytes) in words[1..].iter_mut().zip(self.bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    pub(super) fn from_words(count: u64, words: &[u64; WORDS]) -> Option<Self> {
        let mut chunk = Self::EMPTY;
        chunk.count = u8::try_from(count).ok().filter(|count| usize::from(*count) <= CHUNK_BYTES_MAX)?;
        for (bytes, word) in chunk.bytes.as_chunks_mut().0.iter_mut().zip(&words[1..]) {
            *bytes = word.to_le_bytes();
        }
        // Nothing may hide behind the end.
        chunk.bytes[usize::from(chunk.count)..].fill(0);
        Some(chunk)
    }
}
