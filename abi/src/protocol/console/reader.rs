//! The side of a program that reads what is typed.

use super::{Answer, CHUNK_BYTES_MAX, Port, Request};

/// There was no answer, or one that no server gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRefused;

/// What a reader keeps, in its own memory: which byte comes next, so that one that is handed out twice is taken once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    next: u64,
}

impl Reader {
    /// A reader that takes whatever comes.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// Waits for bytes and puts them into `to`; how many are new.
    ///
    /// # Errors
    /// See [`ReadRefused`].
    pub fn read(&mut self, port: &mut impl Port, to: &mut [u8; CHUNK_BYTES_MAX]) -> Result<usize, ReadRefused> {
        let Answer::Typed { number, chunk } = port.call(&Request::Read).ok_or(ReadRefused)? else {
            return Err(ReadRefused);
        };
        let seen = usize::try_from(self.next.saturating_sub(number)).unwrap_or(usize::MAX);
        let new = chunk.bytes().get(seen..).unwrap_or(&[]);
        to[..new.len()].copy_from_slice(new);
        self.next = self.next.max(number.saturating_add(chunk.bytes().len() as u64));
        Ok(new.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::console::Chunk;

    /// Answers from a list.
    struct Script(Vec<Answer>);

    impl Port for Script {
        fn call(&mut self, request: &Request) -> Option<Answer> {
            assert_eq!(*request, Request::Read);
            (!self.0.is_empty()).then(|| self.0.remove(0))
        }
    }

    #[test]
    fn a_reader_takes_each_byte_once() {
        let typed = |number, bytes: &[u8]| Answer::Typed { number, chunk: Chunk::of(bytes) };
        let answers =
            vec![typed(100, b"abc"), typed(101, b"bcde"), typed(100, b"ab"), typed(105, b"f"), typed(900, b"g")];
        let mut script = Script(answers);
        let mut reader = Reader::new();
        let mut all: Vec<u8> = Vec::new();
        let mut bytes = [0; CHUNK_BYTES_MAX];
        while let Ok(count) = reader.read(&mut script, &mut bytes) {
            all.extend(&bytes[..count]);
        }
        assert_eq!(all, b"abcdefg");
    }
}
