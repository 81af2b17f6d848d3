//! A program's output: the ring, and the calls that it needs.

use super::{Answer, Error, Port, Request, RingWriter};
use core::sync::atomic::AtomicU64;

/// Why nobody said that something was shown. What was put lies in the ring all the same, and nothing is lost: asking again
/// later is all there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintError {
    /// The call was not answered.
    NoAnswer,
    /// The server does not see the ring, or not yet.
    NotLent,
    /// The server answered what no server answers, or refuses.
    Refused,
}

/// How often [`Printer::wait_until`] asks a server that answers too early.
pub const ATTEMPTS_MAX: u32 = 100;

/// Output of one program, over a ring that is lent to the console's server. One for each ring.
#[derive(Debug)]
pub struct Printer<'m> {
    ring: RingWriter<'m>,
    /// The server has been told of everything below this index.
    told: u64,
}

impl<'m> Printer<'m> {
    /// Over a page of zeros; `None` when `memory` is smaller than that.
    #[must_use]
    pub fn new(memory: &'m [AtomicU64]) -> Option<Self> {
        RingWriter::new(memory).map(|ring| Self { ring, told: 0 })
    }

    /// Puts as many of `bytes` behind what was put before as there is room for; how many. Makes no call, and nobody sees
    /// them before the next one that does.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        self.ring.append(bytes)
    }

    /// Lets out what was put; without a call if there is nothing new. Does not wait for a commit: from here on it comes out
    /// by itself, whatever dies.
    ///
    /// # Errors
    /// See [`PrintError`].
    pub fn let_out(&mut self, port: &mut impl Port) -> Result<(), PrintError> {
        self.ring.publish();
        if self.told < self.ring.end() { self.ask(port, 0) } else { Ok(()) }
    }

    /// Index behind the last byte that was put.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.ring.end()
    }

    /// Lets out what was put, and waits until everything below `index` has been shown; so there is room again, and what was
    /// shown is durable. Blocks for as long as commits take.
    ///
    /// # Errors
    /// See [`PrintError`].
    pub fn wait_until(&mut self, port: &mut impl Port, index: u64) -> Result<(), PrintError> {
        self.ring.publish();
        for _ in 0..ATTEMPTS_MAX {
            if self.ring.shown() >= index {
                return Ok(());
            }
            self.ask(port, index)?;
        }
        Err(PrintError::Refused)
    }

    fn ask(&mut self, port: &mut impl Port, until: u64) -> Result<(), PrintError> {
        match port.call(&Request::Show { until }).ok_or(PrintError::NoAnswer)? {
            Answer::Shown { below } => {
                self.told = self.ring.end();
                self.ring.learn(below);
                Ok(())
            }
            Answer::Refused(Error::NotLent) => Err(PrintError::NotLent),
            _ => Err(PrintError::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::console::RING_BYTES;

    /// Answers from a list and remembers what was asked.
    struct Script {
        answers: Vec<Answer>,
        asked: Vec<Request>,
    }

    impl Script {
        fn new(answers: &[Answer]) -> Self {
            Self { answers: answers.to_vec(), asked: Vec::new() }
        }
    }

    impl Port for Script {
        fn call(&mut self, request: &Request) -> Option<Answer> {
            self.asked.push(*request);
            (!self.answers.is_empty()).then(|| self.answers.remove(0))
        }
    }

    fn page() -> Vec<AtomicU64> {
        (0..512).map(|_| AtomicU64::new(0)).collect()
    }

    const fn shown(below: u64) -> Answer {
        Answer::Shown { below }
    }

    #[test]
    fn letting_out_does_not_wait() {
        let memory = page();
        let mut printer = Printer::new(&memory).expect("a page");
        let mut port = Script::new(&[shown(0), shown(5)]);
        assert_eq!(printer.put(b"hello"), 5);
        assert_eq!(printer.let_out(&mut port), Ok(()));
        assert_eq!(printer.let_out(&mut port), Ok(()));
        assert_eq!(port.asked, [Request::Show { until: 0 }], "nothing new: no call");
        printer.put(b"!");
        assert_eq!(printer.let_out(&mut port), Ok(()));
        assert_eq!(port.asked, [Request::Show { until: 0 }; 2]);
        assert_eq!(printer.wait_until(&mut port, 5), Ok(()), "known by now, so it is not asked");
        assert_eq!(port.asked.len(), 2);
    }

    #[test]
    fn waiting_makes_room() {
        let memory = page();
        let mut printer = Printer::new(&memory).expect("a page");
        let text = [b'x'; RING_BYTES + 1];
        assert_eq!((printer.put(&text), printer.put(b"y")), (RING_BYTES, 0));
        let mut port = Script::new(&[shown(10), shown(100)]);
        assert_eq!(printer.wait_until(&mut port, 60), Ok(()));
        assert_eq!(port.asked, [Request::Show { until: 60 }; 2], "an answer that comes too early is no answer");
        assert_eq!(printer.put(&text), 100);
    }

    #[test]
    fn giving_up_is_said() {
        let memory = page();
        let mut printer = Printer::new(&memory).expect("a page");
        printer.put(b"x");
        let refused = |error| [Answer::Refused(error)];
        assert_eq!(printer.let_out(&mut Script::new(&[])), Err(PrintError::NoAnswer), "to be tried again:");
        assert_eq!(printer.let_out(&mut Script::new(&refused(Error::NotLent))), Err(PrintError::NotLent));
        assert_eq!(printer.let_out(&mut Script::new(&refused(Error::BadRing))), Err(PrintError::Refused));
        assert_eq!(printer.wait_until(&mut Script::new(&[shown(0); 200]), 1), Err(PrintError::Refused));
    }
}
