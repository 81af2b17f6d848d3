//! The console for programs of the world: text out, bytes in.

use crate::endpoint::{CallError, CallOptions, Endpoint};
use crate::message::Message;
use crate::space::{Object, OwnSpace, SpaceError};
use abi::protocol::console::{Answer, CHUNK_BYTES_MAX, Port, Printer, RING_BYTES, Reader, Request};
use abi::protocol::memory::ObjectFlags;
use abi::protocol::service::Service;
use abi::{MapFlags, Timeout};
use core::fmt;

/// Before the server is asked again when nobody answers, or it does not see the ring yet: it is being restarted.
const PAUSE_NS: u64 = 20_000_000;

/// The console port. What is written lies in a ring in a memory object of the program's, which it lends to the console's
/// server; it comes out when it is durable. [`fmt::Write`] collects, [`Console::flush`] lets it out and does not wait,
/// [`Console::wait_shown`] waits. Nothing is ever lost (law 5), whatever dies; after a restart a part may come out twice.
/// A line feed goes out as carriage return and line feed.
#[derive(Debug)]
pub struct Console {
    port: ConsolePort,
    reader: Reader,
    printer: Printer<'static>,
    after_return: bool,
}

/// Why no bytes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The console was restarted, with or without the machine: what it showed may be gone. Draw again, and read again.
    Restarted,
    /// Nobody answers.
    NoAnswer,
}

impl Console {
    /// Over a capability to the port. Makes the ring, one page charged to `space`, and lends it; a space lends one page, so
    /// a program has one console. Once made, it needs nothing more after a restore.
    ///
    /// # Errors
    /// The pager's. [`abi::protocol::memory::Error::TablesExhausted`]: as many programs print as can.
    pub fn new(port: Endpoint, space: &mut OwnSpace) -> Result<Self, SpaceError> {
        let object = space.create(1, ObjectFlags::empty())?;
        let memory = space.map(object, 1, MapFlags::WRITE)?.atomics().map_err(|_| SpaceError::NoAddress)?;
        let printer = Printer::new(memory).ok_or(SpaceError::NoAddress)?;
        let ring = object.read_only()?;
        space.lend(ring, Service::Console)?;
        Ok(Self {
            port: ConsolePort { port, ring, restarted: false },
            reader: Reader::new(),
            printer,
            after_return: false,
        })
    }

    /// Lets out what has been written. Waits for nobody but for a console server that is being restarted; the text comes
    /// out when the epoch that it was written in has committed.
    pub fn flush(&mut self) {
        // Nothing that the server could say changes what lies in the ring: only that it looks matters.
        while self.printer.let_out(&mut self.port).is_err() {
            crate::sleep(PAUSE_NS);
        }
    }

    /// Lets out what has been written, and waits until it has been shown: then it is durable. Blocks without end, if need
    /// be.
    pub fn wait_shown(&mut self) {
        self.wait_until(self.printer.end());
    }

    fn wait_until(&mut self, index: u64) {
        while self.printer.wait_until(&mut self.port, index).is_err() {
            crate::sleep(PAUSE_NS);
        }
    }

    /// Waits for bytes; how many of `to` are new (may be 0). Blocks without end.
    pub fn read(&mut self, to: &mut [u8; CHUNK_BYTES_MAX]) -> Result<usize, ReadError> {
        self.port.restarted = false;
        self.reader.read(&mut self.port, to).map_err(|_| match self.port.restarted {
            true => ReadError::Restarted,
            false => ReadError::NoAnswer,
        })
    }

    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            rest = &rest[self.printer.put(rest)..];
            if rest.is_empty() {
                return;
            }
            // The ring is full: half of it is to come out.
            self.wait_until(self.printer.end() - RING_BYTES as u64 / 2);
        }
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.as_bytes().split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', before)) => {
                    self.push(before);
                    let after_return = before.last().map_or(self.after_return, |last| *last == b'\r');
                    self.push(if after_return { b"\n" } else { b"\r\n" });
                }
                _ => self.push(line),
            }
            self.after_return = line.last() == Some(&b'\r');
        }
        Ok(())
    }
}

/// The calls themselves. Output is repeatable; a read is not, so that the program learns of a restart.
#[derive(Debug)]
struct ConsolePort {
    port: Endpoint,
    /// The ring, read-only: proof that it is this program's.
    ring: Object,
    restarted: bool,
}

impl Port for ConsolePort {
    fn call(&mut self, request: &Request) -> Option<Answer> {
        let (tag, words) = request.carry();
        let message = Message { tag, words, ..Message::default() };
        let (message, repeatable) = match request {
            Request::Show { .. } => (message.cap(0, self.ring.0.0), true),
            Request::Read => (message, false),
        };
        let options = CallOptions { timeout: Timeout::FOREVER, repeatable, moves: false };
        match self.port.call_with(&message, options) {
            Ok(answer) => Answer::from_carried(&(answer.tag, answer.words)),
            Err(why) => {
                self.restarted = matches!(why, CallError::Restarted | CallError::Abandoned);
                None
            }
        }
    }
}
