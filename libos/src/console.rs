//! The console for programs of the world: text out, bytes in.

use crate::endpoint::{CallError, CallOptions, Endpoint};
use crate::message::Message;
use abi::Timeout;
use abi::protocol::console::{Answer, CHUNK_BYTES_MAX, Port, PrintError, Reader, Request, print};
use core::fmt;

/// Bytes that are collected before they go out.
const BUFFER_BYTES: usize = 256;
/// Before printing is tried again when nobody answers or there is no room for long: the console driver is in trouble.
const PAUSE_NS: u64 = 100_000_000;

/// The console port. Printing blocks until the text is shown, which is when it is durable; what waits lies in the memory
/// of the program and survives with it. [`fmt::Write`] collects: [`Console::flush`] lets it out. A line feed goes out as
/// carriage return and line feed.
#[derive(Debug)]
pub struct Console {
    port: ConsolePort,
    reader: Reader,
    buffer: [u8; BUFFER_BYTES],
    used: usize,
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
    /// Over a capability to the port.
    pub const fn new(port: Endpoint) -> Self {
        Self {
            port: ConsolePort { port, restarted: false },
            reader: Reader::new(),
            buffer: [0; BUFFER_BYTES],
            used: 0,
            after_return: false,
        }
    }

    /// Prints what has been collected, and waits until it has been shown: without end, if need be, for output is never
    /// lost (law 5).
    pub fn flush(&mut self) {
        let used = core::mem::take(&mut self.used);
        // Nothing to print: an empty write would wait for a commit all the same.
        while used > 0 && print(&mut self.port, &self.buffer[..used]).is_err() {
            crate::sleep(PAUSE_NS);
        }
    }

    /// Waits for bytes; how many of `to` are new (may be 0). Blocks without end.
    pub fn read(&mut self, to: &mut [u8; CHUNK_BYTES_MAX]) -> Result<usize, ReadError> {
        self.port.restarted = false;
        self.reader.read(&mut self.port, to).map_err(|_: PrintError| match self.port.restarted {
            true => ReadError::Restarted,
            false => ReadError::NoAnswer,
        })
    }

    fn push(&mut self, byte: u8) {
        if self.used == BUFFER_BYTES {
            self.flush();
        }
        self.buffer[self.used] = byte;
        self.used += 1;
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' && !self.after_return {
                self.push(b'\r');
            }
            self.after_return = byte == b'\r';
            self.push(byte);
        }
        Ok(())
    }
}

/// The calls themselves. Output is repeatable; a read is not, so that the program learns of a restart.
#[derive(Debug)]
struct ConsolePort {
    port: Endpoint,
    restarted: bool,
}

impl Port for ConsolePort {
    fn call(&mut self, request: &Request) -> Option<Answer> {
        let (tag, words) = request.carry();
        let message = Message { tag, words, ..Message::default() };
        let repeatable = !matches!(request, Request::Read);
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
