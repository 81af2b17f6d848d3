//! A ring between exactly one producer and one consumer in memory that both map, each possibly hostile or dead.
//!
//! Layout, in 64-bit words; line = 8 words = 64 bytes, so that the two sides never write to one line:
//!
//! | words | written by | holds |
//! | --- | --- | --- |
//! | 0 | producer | write index: entries ever pushed |
//! | 8 | consumer | read index: entries ever taken |
//! | 16 + 8 (i mod slots) … | producer | entry i, [`ENTRY_WORDS`] words |
//!
//! Indices only grow; 2^64 entries are never reached. Invariants:
//!
//! 1. `read <= write <= read + slots` (checked by each side at each look: a peer that breaks it is [`PeerBroken`]).
//! 2. The peer's index never goes back (checked likewise).
//! 3. A side believes only its own copy of its own index; what lies in shared memory is for the peer.
//! 4. Entry i belongs to the consumer while `read <= i < write`, else to the producer.
//!
//! Nothing here blocks, allocates or survives a restart: both sides start again at 0 in zeroed memory, or agree
//! otherwise to begin anew (see [`super::block`]).

use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of an entry.
pub const ENTRY_WORDS: usize = 8;
/// Most slots in a ring.
pub const SLOTS_MAX: u32 = 1 << 16;

const WRITE_INDEX: usize = 0;
const READ_INDEX: usize = 8;
const ENTRIES: usize = 16;

/// One entry, to be interpreted by the protocol that uses the ring.
pub type Entry = [u64; ENTRY_WORDS];

/// The peer's index is one that no correct peer writes; the ring is useless until both begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerBroken;

/// Why an entry was not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// All slots are taken; room comes when the consumer takes an entry.
    Full,
    /// The consumer's fault: see [`PeerBroken`].
    PeerBroken,
}

/// The shape of a ring: how many slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: u32,
}

impl Layout {
    /// A ring of `slots` entries, a power of two up to [`SLOTS_MAX`]; `None` otherwise.
    #[must_use]
    pub const fn new(slots: u32) -> Option<Self> {
        if slots.is_power_of_two() && slots <= SLOTS_MAX { Some(Self { slots }) } else { None }
    }

    /// How many entries fit.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// Words of shared memory that the ring takes.
    #[must_use]
    pub const fn words(self) -> usize {
        ENTRIES + self.slots as usize * ENTRY_WORDS
    }

    /// Which slot holds entry `index`.
    #[must_use]
    pub const fn slot(self, index: u64) -> usize {
        (index & (self.slots as u64 - 1)) as usize
    }

    const fn entry(self, index: u64) -> usize {
        ENTRIES + self.slot(index) * ENTRY_WORDS
    }

    fn of(self, memory: &[AtomicU64]) -> Option<&[AtomicU64]> {
        memory.get(..self.words())
    }

    /// Zeroes both indices, so that both sides can start again. Only while neither side uses the ring.
    pub fn reset(self, memory: &[AtomicU64]) {
        for at in [WRITE_INDEX, READ_INDEX] {
            if let Some(word) = memory.get(at) {
                word.store(0, Ordering::Release);
            }
        }
    }
}

/// Reads a word that the peer publishes, and everything it wrote before. A relaxed load and a fence, because an
/// acquiring load must not be made to memory that is mapped read-only.
#[must_use]
pub fn observe(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// The side that fills.
#[derive(Debug)]
pub struct Producer<'m> {
    memory: &'m [AtomicU64],
    layout: Layout,
    write: u64,
    read_seen: u64,
}

impl<'m> Producer<'m> {
    /// The producer of a fresh ring at the front of `memory`; `None` when that is too small.
    #[must_use]
    pub fn new(memory: &'m [AtomicU64], layout: Layout) -> Option<Self> {
        Some(Self { memory: layout.of(memory)?, layout, write: 0, read_seen: 0 })
    }

    /// Entries that could be pushed now.
    ///
    /// # Errors
    /// [`PeerBroken`] when the consumer's index breaks an invariant.
    pub fn room(&mut self) -> Result<u32, PeerBroken> {
        let read = observe(&self.memory[READ_INDEX]);
        if read < self.read_seen || read > self.write {
            return Err(PeerBroken);
        }
        self.read_seen = read;
        Ok(self.layout.slots - (self.write - read) as u32)
    }

    /// The index that the next entry will get: its slot may be filled beside the ring before it is pushed.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.write
    }

    /// Pushes one entry; the consumer sees all of it or nothing. The caller wakes the consumer.
    ///
    /// # Errors
    /// See [`PushError`]; then nothing has changed.
    pub fn push(&mut self, entry: &Entry) -> Result<(), PushError> {
        match self.room() {
            Err(PeerBroken) => return Err(PushError::PeerBroken),
            Ok(0) => return Err(PushError::Full),
            Ok(_) => {}
        }
        let at = self.layout.entry(self.write);
        for (word, value) in self.memory[at..at + ENTRY_WORDS].iter().zip(entry) {
            word.store(*value, Ordering::Relaxed);
        }
        self.write += 1;
        self.memory[WRITE_INDEX].store(self.write, Ordering::Release);
        Ok(())
    }
}

/// The side that drains.
#[derive(Debug)]
pub struct Consumer<'m> {
    memory: &'m [AtomicU64],
    layout: Layout,
    read: u64,
    write_seen: u64,
}

impl<'m> Consumer<'m> {
    /// The consumer of a fresh ring at the front of `memory`; `None` when that is too small.
    #[must_use]
    pub fn new(memory: &'m [AtomicU64], layout: Layout) -> Option<Self> {
        Some(Self { memory: layout.of(memory)?, layout, read: 0, write_seen: 0 })
    }

    /// Entries that wait.
    ///
    /// # Errors
    /// [`PeerBroken`] when the producer's index breaks an invariant.
    pub fn waiting(&mut self) -> Result<u32, PeerBroken> {
        let write = observe(&self.memory[WRITE_INDEX]);
        if write < self.write_seen || write - self.read > u64::from(self.layout.slots) {
            return Err(PeerBroken);
        }
        self.write_seen = write;
        Ok((write - self.read) as u32)
    }

    /// Index and copy of the oldest entry, which stays until [`release`](Self::release). The copy is made once: a
    /// producer that changes an entry afterwards changes nothing here.
    ///
    /// # Errors
    /// [`PeerBroken`], as [`waiting`](Self::waiting).
    pub fn peek(&mut self) -> Result<Option<(u64, Entry)>, PeerBroken> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let at = self.layout.entry(self.read);
        let mut entry = [0; ENTRY_WORDS];
        for (value, word) in entry.iter_mut().zip(&self.memory[at..at + ENTRY_WORDS]) {
            *value = word.load(Ordering::Relaxed);
        }
        Ok(Some((self.read, entry)))
    }

    /// Gives the oldest entry's slot back to the producer. Does nothing when none has been seen waiting.
    pub fn release(&mut self) {
        if self.read < self.write_seen {
            self.read += 1;
            self.memory[READ_INDEX].store(self.read, Ordering::Release);
        }
    }

    /// [`peek`](Self::peek) and [`release`](Self::release) in one.
    ///
    /// # Errors
    /// [`PeerBroken`], as [`waiting`](Self::waiting).
    pub fn pop(&mut self) -> Result<Option<Entry>, PeerBroken> {
        let found = self.peek()?;
        if found.is_some() {
            self.release();
        }
        Ok(found.map(|(_, entry)| entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const FOUR: Layout = Layout::new(4).expect("a power of two");

    fn memory(words: usize) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn layouts_are_powers_of_two() {
        assert_eq!(FOUR.words(), 16 + 32);
        assert!(Layout::new(0).is_none() && Layout::new(3).is_none() && Layout::new(SLOTS_MAX * 2).is_none());
        let short = memory(FOUR.words() - 1);
        assert!(Producer::new(&short, FOUR).is_none() && Consumer::new(&short, FOUR).is_none());
    }

    #[test]
    fn a_full_ring_refuses_and_room_comes_back() {
        let memory = memory(FOUR.words());
        let mut producer = Producer::new(&memory, FOUR).expect("large enough");
        let mut consumer = Consumer::new(&memory, FOUR).expect("large enough");
        for value in 0..4 {
            producer.push(&[value; 8]).expect("room");
        }
        assert_eq!(producer.push(&[9; 8]), Err(PushError::Full));
        assert_eq!(consumer.peek(), Ok(Some((0, [0; 8]))));
        assert_eq!(producer.push(&[9; 8]), Err(PushError::Full), "peeking frees nothing");
        consumer.release();
        producer.push(&[4; 8]).expect("room");
        for value in 1..5 {
            assert_eq!(consumer.pop(), Ok(Some([value; 8])));
        }
        assert_eq!(consumer.pop(), Ok(None));
        consumer.release();
        assert_eq!(producer.room(), Ok(4), "an idle release frees nothing");
    }

    #[test]
    fn impossible_indices_are_the_peers_fault() {
        for (word, value) in [(READ_INDEX, 2), (READ_INDEX, u64::MAX)] {
            let memory = memory(FOUR.words());
            let mut producer = Producer::new(&memory, FOUR).expect("large enough");
            producer.push(&[1; 8]).expect("room");
            memory[word].store(value, Ordering::Relaxed);
            assert_eq!(producer.room(), Err(PeerBroken));
            assert_eq!(producer.push(&[2; 8]), Err(PushError::PeerBroken));
        }
        for value in [5, u64::MAX] {
            let memory = memory(FOUR.words());
            let mut consumer = Consumer::new(&memory, FOUR).expect("large enough");
            memory[WRITE_INDEX].store(value, Ordering::Relaxed);
            assert_eq!(consumer.pop(), Err(PeerBroken));
        }
    }

    #[test]
    fn indices_that_go_back_are_the_peers_fault() {
        let memory = memory(FOUR.words());
        let mut producer = Producer::new(&memory, FOUR).expect("large enough");
        let mut consumer = Consumer::new(&memory, FOUR).expect("large enough");
        producer.push(&[1; 8]).expect("room");
        producer.push(&[2; 8]).expect("room");
        assert_eq!(consumer.pop(), Ok(Some([1; 8])));
        assert_eq!(producer.room(), Ok(3));
        memory[READ_INDEX].store(0, Ordering::Relaxed);
        assert_eq!(producer.room(), Err(PeerBroken));
        memory[WRITE_INDEX].store(1, Ordering::Relaxed);
        assert_eq!(consumer.waiting(), Err(PeerBroken));
    }

    #[test]
    fn own_index_is_not_read_back() {
        let memory = memory(FOUR.words());
        let mut producer = Producer::new(&memory, FOUR).expect("large enough");
        memory[WRITE_INDEX].store(77, Ordering::Relaxed);
        producer.push(&[5; 8]).expect("room");
        let mut consumer = Consumer::new(&memory, FOUR).expect("large enough");
        assert_eq!(consumer.pop(), Ok(Some([5; 8])));
    }

    #[test]
    fn two_threads_agree() {
        const ENTRIES_SENT: u64 = 20_000;
        let memory = memory(FOUR.words());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut producer = Producer::new(&memory, FOUR).expect("large enough");
                for value in 0..ENTRIES_SENT {
                    while producer.push(&[value; 8]) == Err(PushError::Full) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut consumer = Consumer::new(&memory, FOUR).expect("large enough");
            let mut expected = 0;
            while expected < ENTRIES_SENT {
                match consumer.pop().expect("a correct peer") {
                    Some(entry) => {
                        assert_eq!(entry, [expected; 8]);
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }

    proptest! {
        #[test]
        fn behaves_as_a_bounded_queue(pushes in prop::collection::vec(any::<Option<u64>>(), 0..200)) {
            let memory = memory(FOUR.words());
            let mut producer = Producer::new(&memory, FOUR).expect("large enough");
            let mut consumer = Consumer::new(&memory, FOUR).expect("large enough");
            let mut model = VecDeque::new();
            for push in pushes {
                if let Some(value) = push {
                    let pushed = producer.push(&[value; 8]);
                    prop_assert_eq!(pushed.is_ok(), model.len() < 4);
                    if pushed.is_ok() {
                        model.push_back([value; 8]);
                    }
                } else {
                    prop_assert_eq!(consumer.pop(), Ok(model.pop_front()));
                }
                prop_assert_eq!(consumer.waiting(), Ok(model.len() as u32));
                prop_assert_eq!(producer.room(), Ok(4 - model.len() as u32));
            }
        }
    }
}
