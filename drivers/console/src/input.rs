//! What was typed: a window onto a stream of numbered bytes.
//!
//! ```text
//!    settled            taken: handed to a reader, in epochs that grow        fresh: nobody has them
//!  ──(gone)──┤ first … ────────────────────────────────┤ next ──────────────────┤ end
//! ```
//! Invariants (checked by [`Input::check`]):
//!
//! 1. `first <= next <= end <= first + BYTES_MAX`.
//! 2. A byte leaves the window only when the epoch in which it was taken has committed.
//! 3. The marks cover first … next exactly, in order, and their epochs never decrease.

use abi::Epoch;
use abi::protocol::console::{CHUNK_BYTES_MAX, Chunk};

/// Bytes that are kept, at most.
const BYTES_MAX: usize = 4096;
/// Epochs that are told apart among taken bytes; the last of them takes in all later ones.
const MARKS_MAX: usize = 64;

/// Bytes up to `end` were taken in `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    end: u64,
    epoch: Epoch,
}

#[derive(Debug)]
pub(crate) struct Input {
    bytes: [u8; BYTES_MAX],
    /// The number that would lie in place 0.
    base: u64,
    first: u64,
    next: u64,
    end: u64,
    marks: [Mark; MARKS_MAX],
    mark_count: usize,
    dropped: u64,
}

impl Input {
    /// An empty window; the first byte will get number `first`.
    pub(crate) const fn new(first: u64) -> Self {
        let mark = Mark { end: 0, epoch: Epoch::NONE };
        Self {
            bytes: [0; BYTES_MAX],
            base: first,
            first,
            next: first,
            end: first,
            marks: [mark; MARKS_MAX],
            mark_count: 0,
            dropped: 0,
        }
    }

    fn place(&self, number: u64) -> usize {
        (number.wrapping_sub(self.base) % BYTES_MAX as u64) as usize
    }

    /// A byte was typed. With no room it is dropped: the oldest ones are not ours to drop.
    pub(crate) fn typed(&mut self, byte: u8) {
        if self.end - self.first == BYTES_MAX as u64 {
            self.dropped += 1;
            return;
        }
        self.bytes[self.place(self.end)] = byte;
        self.end += 1;
    }

    /// Bytes that were dropped, ever.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next fresh bytes with the number of the first; `None` when there are none.
    pub(crate) fn fresh(&self) -> Option<(u64, Chunk)> {
        let mut bytes = [0; CHUNK_BYTES_MAX];
        let count = (self.end - self.next).min(CHUNK_BYTES_MAX as u64) as usize;
        for (byte, number) in bytes[..count].iter_mut().zip(self.next..) {
            *byte = self.bytes[self.place(number)];
        }
        (count > 0).then(|| (self.next, Chunk::of(&bytes[..count])))
    }

    /// A reader has taken `count` fresh bytes, in `epoch` or an earlier one.
    pub(crate) fn taken(&mut self, count: usize, epoch: Epoch) {
        self.next = (self.next + count as u64).min(self.end);
        let mark = Mark { end: self.next, epoch };
        match self.marks[..self.mark_count].last_mut() {
            Some(last) if last.epoch >= epoch => last.end = mark.end,
            // Too many to tell apart: all of them wait for the latest.
            Some(last) if self.mark_count == MARKS_MAX => *last = mark,
            _ => {
                self.marks[self.mark_count] = mark;
                self.mark_count += 1;
            }
        }
    }

    /// All epochs up to `committed` are durable: what was taken in them is settled.
    pub(crate) fn settle(&mut self, committed: Epoch) {
        let settled = self.marks[..self.mark_count].iter().take_while(|mark| mark.epoch <= committed).count();
        if let Some(last) = settled.checked_sub(1).map(|last| self.marks[last]) {
            self.first = last.end;
            self.marks.copy_within(settled..self.mark_count, 0);
            self.mark_count -= settled;
        }
    }

    /// Bytes that nobody has taken yet get numbers from `first` on. Only while none has been taken.
    pub(crate) fn number_from(&mut self, first: u64) {
        assert!(self.first == self.next, "numbers that were given out stay");
        let count = self.end - self.first;
        self.base = self.base.wrapping_add(first).wrapping_sub(self.first);
        (self.first, self.next, self.end) = (first, first, first + count);
    }

    /// The world went back to `restored`: what was taken later is fresh again.
    pub(crate) fn take_back(&mut self, restored: Epoch) {
        self.settle(restored);
        self.next = self.first;
        self.mark_count = 0;
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> bool {
        let marks = &self.marks[..self.mark_count];
        let ends: Vec<u64> = marks.iter().map(|mark| mark.end).collect();
        self.first <= self.next
            && self.next <= self.end
            && self.end - self.first <= BYTES_MAX as u64
            && marks.is_sorted_by_key(|mark| mark.epoch)
            && ends.is_sorted()
            && ends.first().is_none_or(|end| *end >= self.first)
            && ends.last().copied().unwrap_or(self.first) == self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epoch(bits: u64) -> Epoch {
        Epoch::from_bits(bits)
    }

    fn input(text: &[u8]) -> Input {
        let mut input = Input::new(100);
        text.iter().for_each(|byte| input.typed(*byte));
        input
    }

    #[test]
    fn taken_bytes_come_back_unless_they_are_settled() {
        let mut input = input(b"abcdef");
        assert_eq!(input.fresh(), Some((100, Chunk::of(b"abcdef"))));
        input.taken(2, epoch(5));
        input.taken(2, epoch(6));
        assert_eq!(input.fresh(), Some((104, Chunk::of(b"ef"))));
        input.settle(epoch(5));
        input.take_back(epoch(5));
        assert_eq!(input.fresh(), Some((102, Chunk::of(b"cdef"))), "taken in 6, which did not commit");
        input.taken(4, epoch(7));
        assert_eq!(input.fresh(), None);
        input.take_back(epoch(7));
        assert_eq!(input.fresh(), None, "7 was what came back");
    }

    #[test]
    fn what_was_typed_before_there_was_a_world_is_renumbered() {
        let mut input = input(b"abc");
        input.number_from(7000);
        assert_eq!(input.fresh(), Some((7000, Chunk::of(b"abc"))));
        assert!(input.check());
    }

    #[test]
    fn a_full_window_drops_the_newest_and_says_so() {
        let mut input = input(&[1; BYTES_MAX]);
        input.typed(2);
        assert_eq!(input.dropped(), 1);
        input.taken(10, epoch(1));
        input.typed(2);
        assert_eq!(input.dropped(), 2, "taken is not settled");
        input.settle(epoch(1));
        input.typed(3);
        assert_eq!(input.dropped(), 2);
        assert!(input.check());
    }

    #[test]
    fn many_epochs_are_folded_into_the_last() {
        let mut input = input(&[7; 200]);
        for number in 1..=200 {
            input.taken(1, epoch(number));
            assert!(input.check());
        }
        input.settle(epoch(199));
        assert_eq!(input.first, 100 + MARKS_MAX as u64 - 1, "the rest waits for the latest");
        input.settle(epoch(200));
        assert_eq!(input.first, 300);
    }

    proptest! {
        /// Against a model that remembers, for each byte, in which epoch it was taken.
        #[test]
        fn nothing_unsettled_is_lost(moves in prop::collection::vec((0u8..5, any::<u8>()), 0..400)) {
            let mut input = Input::new(0);
            let mut stream: Vec<(u8, Option<u64>)> = Vec::new();
            let (mut now, mut committed) = (1u64, 0u64);
            for (kind, value) in moves {
                match kind {
                    0 => {
                        input.typed(value);
                        stream.push((value, None));
                    }
                    1 => {
                        let next = stream.iter().position(|(_, taken)| taken.is_none()).unwrap_or(stream.len());
                        let expected: Vec<u8> = stream[next..].iter().take(CHUNK_BYTES_MAX).map(|(byte, _)| *byte).collect();
                        match input.fresh() {
                            None => prop_assert!(expected.is_empty()),
                            Some((number, chunk)) => {
                                prop_assert_eq!((number, chunk.bytes()), (next as u64, &expected[..]));
                                let count = 1 + usize::from(value) % expected.len();
                                input.taken(count, epoch(now));
                                stream[next..next + count].iter_mut().for_each(|(_, taken)| *taken = Some(now));
                            }
                        }
                    }
                    2 => now += 1,
                    3 => {
                        committed = committed.max(now - u64::from(value % 3).min(now));
                        input.settle(epoch(committed));
                    }
                    _ => {
                        // At most what has committed comes back.
                        input.take_back(epoch(committed));
                        for (_, taken) in &mut stream {
                            *taken = taken.filter(|epoch| *epoch <= committed);
                        }
                        now = now.max(committed) + 1;
                    }
                }
                prop_assert!(input.check());
            }
        }
    }
}
