//! The programs of the simulated world: writers that run ahead of what is shown, and a reader.
//!
//! A program is a function over [`Port`], run again from its start each time with the answers that it has had so far, until it
//! makes a call that has none: that call is what it waits in. So its whole state, ring included, follows from the list of
//! its answers, and a cut is a copy of that list.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::protocol::console::{Answer, CHUNK_BYTES_MAX, Port, Printer, RING_BYTES, Reader, Request};

/// Writers there are.
pub(super) const WRITERS: usize = 2;
/// The reader's place among the programs.
pub(super) const READER: usize = WRITERS;
/// Lengths of the texts that a writer prints. The last three do not fit into the ring together.
pub(super) const TEXTS: [usize; 6] = [30, 150, 1, RING_BYTES - 100, 500, 700];

/// Each text consists of one byte value, so that what is on the line says where it comes from.
fn value(writer: usize, number: usize) -> u8 {
    (writer * 100 + number + 1) as u8
}

/// What happened to a program so far, as far as it knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) answers: Vec<Answer>,
    pub(super) dead: bool,
}

/// A program running over its answers.
struct Replay<'a> {
    answers: std::slice::Iter<'a, Answer>,
    made: Vec<Request>,
}

impl Port for Replay<'_> {
    fn call(&mut self, request: &Request) -> Option<Answer> {
        self.made.push(*request);
        self.answers.next().copied()
    }
}

pub(super) struct Run {
    /// The request that waits, unless the program has finished.
    pub(super) waits: Option<Request>,
    /// Texts of which it knows that they were shown.
    pub(super) printed: usize,
    pub(super) finished: bool,
    /// What has been published, and what of that it knows to be shown.
    pub(super) written: u64,
    pub(super) shown: u64,
    /// Its ring, as it lies in the world.
    pub(super) page: Vec<u64>,
    /// Bytes that a reader has taken.
    pub(super) taken: Vec<u8>,
}

/// Puts a text into the ring, waiting for room. False: a call has no answer yet.
fn put(printer: &mut Printer<'_>, port: &mut Replay<'_>, text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = &rest[printer.put(rest)..];
        if rest.is_empty() {
            return true;
        }
        if printer.wait_until(port, printer.end() - RING_BYTES as u64 / 2).is_err() {
            return false;
        }
    }
}

/// A writer: lets each text out, and runs ahead; waits for the last of each three.
fn write(who: usize, printer: &mut Printer<'_>, port: &mut Replay<'_>, run: &mut Run) {
    for (number, length) in TEXTS.into_iter().enumerate() {
        if !put(printer, port, &vec![value(who, number); length]) || printer.let_out(port).is_err() {
            return;
        }
        if number % 3 == 2 {
            if printer.wait_until(port, printer.end()).is_err() {
                return;
            }
            run.printed = number + 1;
        }
    }
    run.finished = true;
}

impl Program {
    pub(super) fn run(&self, who: usize) -> Run {
        let mut port = Replay { answers: self.answers.iter(), made: Vec::new() };
        let page: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
        let mut run =
            Run { waits: None, printed: 0, finished: false, written: 0, shown: 0, page: Vec::new(), taken: Vec::new() };
        if who == READER {
            let mut reader = Reader::new();
            let mut bytes = [0; CHUNK_BYTES_MAX];
            while let Ok(count) = reader.read(&mut port, &mut bytes) {
                run.taken.extend(&bytes[..count]);
            }
        } else {
            let mut printer = Printer::new(&page).expect("a page");
            write(who, &mut printer, &mut port, &mut run);
        }
        run.page = page.iter().map(|word| word.load(Ordering::Acquire)).collect();
        (run.written, run.shown) = (run.page[0], run.page[1]);
        run.waits = port.made.last().copied().filter(|_| !run.finished);
        run
    }
}

/// The byte that a writer puts at an index of its ring.
pub(super) fn byte_at(writer: usize, index: u64) -> u8 {
    let mut end = 0;
    let number = TEXTS.iter().position(|length| {
        end += *length as u64;
        index < end
    });
    value(writer, number.expect("no writer puts more"))
}

/// Index behind the last of a writer's first texts.
pub(super) fn end_of(texts: usize) -> u64 {
    TEXTS[..texts].iter().map(|length| *length as u64).sum()
}
