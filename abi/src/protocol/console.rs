//! The console port: characters in and out. Served by the console driver; this is where law 5 meets a person.
//!
//! **Output** waits in the caller's own memory until it is durable and shown. A caller hands over any number of chunks with
//! [`Request::Put`], answered at once, and the last one with [`Request::Write`], answered when it, and with it every
//! chunk before it, has been shown. The server reads a chunk, then the epoch, and shows the chunk when that epoch has
//! committed: never early. What it keeps meanwhile is a copy in volatile memory; the original goes on living in the
//! world until the answer comes, so nothing is lost when the server or the machine dies: the *session* tells the
//! caller that its copies are gone, and it hands them over again. So output may be repeated across a restart.
//! [`print`] does all this.
//!
//! **Input** comes with [`Request::Read`], each byte numbered. Bytes that a reader took in an epoch that did not commit are
//! handed out again after the world is restored, under the same numbers, as long as the server has survived: a
//! serial line cannot be asked to send again. When the server or the machine dies, bytes that were typed and not yet
//! taken, or taken in an epoch that did not commit, are lost.
//!
//! | | tag | words in | reply tag | reply words |
//! | --- | --- | --- | --- | --- |
//! | Put | 1, bytes << 8 | 0: session of the Puts before it, or 0; 1 … 7: the bytes | 0 | 0: session |
//! | Write | 2, bytes << 8 | likewise | 0 | 0: session |
//! | Read | 3 | – | bytes << 8 | 0: number of the first byte; 1 … 7: the bytes |
//! | any, refused | | | [`Error`] | 0: session |
//!
//! All calls are to be marked repeatable. Across a restore they are made again; a Put or Write that others went before is
//! then answered with [`Error::Forgotten`], so that nothing is shown out of order. A Read waits on.

use crate::WORDS;

/// Bytes in one message.
pub const CHUNK_BYTES_MAX: usize = (WORDS - 1) * 8;

/// A few bytes, as they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    bytes: [u8; CHUNK_BYTES_MAX],
    count: u8,
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

    fn words(&self, first: u64) -> [u64; WORDS] {
        let mut words = [first; WORDS];
        for (word, bytes) in words[1..].iter_mut().zip(self.bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    fn from_words(count: u64, words: &[u64; WORDS]) -> Option<Self> {
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

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Keep this, to be shown when its time comes. Answered at once. Errors: [`Error::Full`], [`Error::Forgotten`].
    Put {
        /// What to show.
        chunk: Chunk,
        /// As for [`Request::Write`].
        session: u64,
    },
    /// Show this, after everything that was put before. Answered when it has been shown; blocks for as long as a commit
    /// takes. Errors: [`Error::Full`], [`Error::Forgotten`].
    Write {
        /// What to show; may be empty.
        chunk: Chunk,
        /// The session that each Put of this output was answered with; 0: there was none.
        session: u64,
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
    /// Environment: so much output waits, or so many callers, that there is no room. For a Put: Write first, that waits.
    Full = 2,
    /// Environment: the server was restarted, or the world restored, since the Puts before: they must be made again.
    Forgotten = 3,
}

impl Error {
    /// From the tag of a reply; `None` for a success, or what no server answers.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::BadRequest,
            2 => Self::Full,
            3 => Self::Forgotten,
            _ => return None,
        })
    }
}

/// A tag and words: what a message carries here.
pub type Carried = (u64, [u64; WORDS]);

impl Request {
    /// As a message carries it.
    #[must_use]
    pub fn carry(&self) -> Carried {
        match self {
            Self::Put { chunk, session } => (1 | u64::from(chunk.count) << 8, chunk.words(*session)),
            Self::Write { chunk, session } => (2 | u64::from(chunk.count) << 8, chunk.words(*session)),
            Self::Read => (3, [0; WORDS]),
        }
    }

    /// From a message; trusts nothing in it.
    ///
    /// # Errors
    /// [`Error::BadRequest`].
    pub fn from_carried((tag, words): &Carried) -> Result<Self, Error> {
        let chunk = Chunk::from_words(tag >> 8, words);
        match (tag & 0xff, chunk) {
            (1, Some(chunk)) => Ok(Self::Put { chunk, session: words[0] }),
            (2, Some(chunk)) => Ok(Self::Write { chunk, session: words[0] }),
            (3, Some(Chunk::EMPTY)) => Ok(Self::Read),
            _ => Err(Error::BadRequest),
        }
    }
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a Put or a Write: done, in this session.
    Done {
        /// The session.
        session: u64,
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
    Refused {
        /// Why.
        error: Error,
        /// The session that now is.
        session: u64,
    },
}

impl Answer {
    /// As a message carries it.
    #[must_use]
    pub fn carry(&self) -> Carried {
        match self {
            Self::Done { session } => (0, Chunk::EMPTY.words(*session)),
            Self::Typed { number, chunk } => (u64::from(chunk.count) << 8, chunk.words(*number)),
            Self::Refused { error, session } => (*error as u64, Chunk::EMPTY.words(*session)),
        }
    }

    /// From a message; `None` for what no server answers.
    #[must_use]
    pub fn from_carried((tag, words): &Carried) -> Option<Self> {
        if let Some(error) = Error::from_bits(*tag) {
            return Some(Self::Refused { error, session: words[0] });
        }
        match (tag & 0xff, Chunk::from_words(tag >> 8, words)?) {
            (0, Chunk::EMPTY) => Some(Self::Done { session: words[0] }),
            (0, chunk) => Some(Self::Typed { number: words[0], chunk }),
            _ => None,
        }
    }
}

/// A way to call the port, marked repeatable.
pub trait Port {
    /// Calls and waits for the answer. `None`: there is none and will be none (the port is void, or its server gave up the
    /// call); asking again is up to the caller.
    fn call(&mut self, request: &Request) -> Option<Answer>;
}

/// Why something was not printed, or perhaps only a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintError {
    /// The call was not answered.
    NoAnswer,
    /// The server answered what no server answers, or refuses every time ([`ATTEMPTS_MAX`]).
    Refused,
}

/// How often [`print`] hands everything over again before it gives up.
pub const ATTEMPTS_MAX: u32 = 100;

/// Prints `text`, which stays in the caller's memory until it has been shown. Blocks for as long as a commit takes. Across a
/// restore it begins again with what was not certainly shown.
///
/// # Errors
/// See [`PrintError`].
pub fn print(port: &mut impl Port, text: &[u8]) -> Result<(), PrintError> {
    let mut rest = text;
    for _ in 0..ATTEMPTS_MAX {
        match print_some(port, rest)? {
            Printed::Shown(count) if count >= rest.len() => return Ok(()),
            Printed::Shown(count) => rest = &rest[count..],
            Printed::Forgotten => {}
        }
    }
    Err(PrintError::Refused)
}

enum Printed {
    /// So many bytes, certainly.
    Shown(usize),
    /// The server has lost what it had; nothing is certain.
    Forgotten,
}

/// Puts as much as there is room for, and waits until it is shown.
fn print_some(port: &mut impl Port, text: &[u8]) -> Result<Printed, PrintError> {
    let mut session = 0;
    let mut chunks = text.chunks(CHUNK_BYTES_MAX).peekable();
    let mut put = 0;
    while let Some(bytes) = chunks.next_if(|bytes| put + bytes.len() < text.len()) {
        match port.call(&Request::Put { chunk: Chunk::of(bytes), session }).ok_or(PrintError::NoAnswer)? {
            Answer::Done { session: now } => session = now,
            Answer::Refused { error: Error::Forgotten, .. } => return Ok(Printed::Forgotten),
            // No room: an empty Write waits for some.
            Answer::Refused { error: Error::Full, .. } if put > 0 => return write(port, Chunk::EMPTY, session, put),
            Answer::Refused { error: Error::Full, .. } => return write(port, Chunk::of(bytes), 0, bytes.len()),
            _ => return Err(PrintError::Refused),
        }
        put += bytes.len();
    }
    write(port, Chunk::of(&text[put..]), session, text.len())
}

fn write(port: &mut impl Port, chunk: Chunk, session: u64, count: usize) -> Result<Printed, PrintError> {
    for _ in 0..ATTEMPTS_MAX {
        match port.call(&Request::Write { chunk, session }).ok_or(PrintError::NoAnswer)? {
            Answer::Done { .. } => return Ok(Printed::Shown(count)),
            Answer::Refused { error: Error::Forgotten, .. } => return Ok(Printed::Forgotten),
            // Too many callers wait. Only this is asked again: what was put is still there.
            Answer::Refused { error: Error::Full, .. } => {}
            _ => return Err(PrintError::Refused),
        }
    }
    Err(PrintError::Refused)
}

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
    /// See [`PrintError`].
    pub fn read(&mut self, port: &mut impl Port, to: &mut [u8; CHUNK_BYTES_MAX]) -> Result<usize, PrintError> {
        let Answer::Typed { number, chunk } = port.call(&Request::Read).ok_or(PrintError::NoAnswer)? else {
            return Err(PrintError::Refused);
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
    use proptest::prelude::*;

    /// Answers from a list and remembers what was asked.
    struct Script {
        answers: Vec<Answer>,
        asked: Vec<Request>,
    }

    impl Port for Script {
        fn call(&mut self, request: &Request) -> Option<Answer> {
            self.asked.push(*request);
            (!self.answers.is_empty()).then(|| self.answers.remove(0))
        }
    }

    fn printed(answers: &[Answer], text: &[u8]) -> (Result<(), PrintError>, Vec<Request>) {
        let mut script = Script { answers: answers.to_vec(), asked: Vec::new() };
        let result = print(&mut script, text);
        (result, script.asked)
    }

    const SEVEN: Answer = Answer::Done { session: 7 };
    const EIGHT: Answer = Answer::Done { session: 8 };

    fn refused(error: Error) -> Answer {
        Answer::Refused { error, session: 8 }
    }

    fn put(bytes: &[u8], session: u64) -> Request {
        Request::Put { chunk: Chunk::of(bytes), session }
    }

    fn write(bytes: &[u8], session: u64) -> Request {
        Request::Write { chunk: Chunk::of(bytes), session }
    }

    #[test]
    fn short_texts_are_one_write() {
        assert_eq!(printed(&[SEVEN], b"hello"), (Ok(()), vec![write(b"hello", 0)]));
        let full = [b'x'; CHUNK_BYTES_MAX];
        assert_eq!(printed(&[SEVEN], &full), (Ok(()), vec![write(&full, 0)]));
        assert_eq!(printed(&[SEVEN], b"").1, vec![write(b"", 0)]);
    }

    #[test]
    fn long_texts_are_put_and_the_end_is_written() {
        let text: Vec<u8> = (0..150).collect();
        let puts = [put(&text[..56], 0), put(&text[56..112], 7)];
        let (result, asked) = printed(&[SEVEN, SEVEN, SEVEN], &text);
        assert_eq!((result, asked), (Ok(()), vec![puts[0], puts[1], write(&text[112..], 7)]));
    }

    #[test]
    fn what_is_forgotten_is_handed_over_again() {
        let text = [1; 100];
        let all = [put(&text[..56], 0), write(&text[56..], 7)];
        let again = [put(&text[..56], 0), write(&text[56..], 8)];
        let (result, asked) = printed(&[SEVEN, refused(Error::Forgotten), EIGHT, EIGHT], &text);
        assert_eq!((result, asked), (Ok(()), [all, again].concat()));
        // The session changes between two Puts.
        let long = [1; 150];
        let (result, asked) = printed(&[SEVEN, refused(Error::Forgotten), EIGHT, EIGHT, EIGHT], &long);
        assert_eq!((result, asked.len()), (Ok(()), 5));
        assert_eq!(asked[2], put(&long[..56], 0), "from the beginning");
    }

    #[test]
    fn no_room_is_waited_for() {
        let text: Vec<u8> = (0..150).collect();
        let full = refused(Error::Full);
        let (result, asked) = printed(&[SEVEN, full, SEVEN, SEVEN, SEVEN], &text);
        assert_eq!(result, Ok(()));
        assert_eq!(asked[2..], [write(b"", 7), put(&text[56..112], 0), write(&text[112..], 7)]);
        let (result, asked) = printed(&[full, SEVEN, SEVEN, SEVEN], &text);
        assert_eq!((result, asked[1]), (Ok(()), write(&text[..56], 0)));
        let (result, asked) = printed(&[SEVEN, full, SEVEN], &text[..100]);
        assert_eq!((result, asked.len()), (Ok(()), 3));
        assert_eq!(asked[1], asked[2], "what was put is not put again");
    }

    #[test]
    fn giving_up_is_said() {
        assert_eq!(printed(&[], b"x").0, Err(PrintError::NoAnswer));
        assert_eq!(printed(&[refused(Error::BadRequest)], b"x").0, Err(PrintError::Refused));
        assert_eq!(printed(&[refused(Error::Full); 200], b"x").0, Err(PrintError::Refused));
    }

    #[test]
    fn a_reader_takes_each_byte_once() {
        let typed = |number, bytes: &[u8]| Answer::Typed { number, chunk: Chunk::of(bytes) };
        let answers =
            vec![typed(100, b"abc"), typed(101, b"bcde"), typed(100, b"ab"), typed(105, b"f"), typed(900, b"g")];
        let mut script = Script { answers, asked: Vec::new() };
        let mut reader = Reader::new();
        let mut all: Vec<u8> = Vec::new();
        let mut bytes = [0; CHUNK_BYTES_MAX];
        while let Ok(count) = reader.read(&mut script, &mut bytes) {
            all.extend(&bytes[..count]);
        }
        assert_eq!(all, b"abcdefg");
    }

    proptest! {
        #[test]
        fn requests_and_answers_come_back(bytes in prop::collection::vec(any::<u8>(), 0..80), session: u64) {
            let chunk = Chunk::of(&bytes);
            prop_assert_eq!(chunk.bytes(), &bytes[..bytes.len().min(CHUNK_BYTES_MAX)]);
            for request in [Request::Put { chunk, session }, Request::Write { chunk, session }, Request::Read] {
                prop_assert_eq!(Request::from_carried(&request.carry()), Ok(request));
            }
            let mut answers = vec![Answer::Done { session }];
            answers.extend([Error::BadRequest, Error::Full, Error::Forgotten].map(|error| Answer::Refused { error, session }));
            if !bytes.is_empty() {
                answers.push(Answer::Typed { number: session, chunk });
            }
            for answer in answers {
                prop_assert_eq!(Answer::from_carried(&answer.carry()), Some(answer));
            }
        }

        #[test]
        fn anything_is_read_or_refused(kind in 0u64..6, count in 0u64..300, words: [u64; WORDS]) {
            let carried = (kind | count << 8, words);
            if let Ok(Request::Put { chunk, .. } | Request::Write { chunk, .. }) = Request::from_carried(&carried) {
                prop_assert_eq!(chunk.bytes().len() as u64, count);
            }
            if let Some(Answer::Typed { chunk, .. }) = Answer::from_carried(&carried) {
                prop_assert!(!chunk.bytes().is_empty());
            }
        }
    }
}
