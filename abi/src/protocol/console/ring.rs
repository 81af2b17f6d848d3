//! The ring of bytes in a page of the world: its writer is a program, its reader the console's server, which sees the page
//! read-only and believes nothing in it.
//!
//! | words | hold |
//! | --- | --- |
//! | 0 | write index: bytes ever published |
//! | 1 | bytes that the writer knows to be shown: where a server that has just started begins |
//! | 8 … 511 | the bytes, byte i at i modulo [`RING_BYTES`] |
//!
//! Invariants of a writer that is a [`RingWriter`]:
//! 1. shown <= written <= appended <= shown + [`RING_BYTES`]; none of them goes back.
//! 2. A byte that is published does not change before it is known to be shown.
//!
//! The reader breaks neither, whatever lies in the page: it reads each word once, and what it has taken is its own copy.
//! Nothing here blocks. The page and the writer come back together after a restore.

use crate::PAGE_SIZE;
use core::sync::atomic::{AtomicU64, Ordering};

const WRITTEN: usize = 0;
const SHOWN: usize = 1;
const BYTES: usize = 8;
const WORDS: usize = PAGE_SIZE / 8;

/// Bytes that can wait.
pub const RING_BYTES: usize = (WORDS - BYTES) * 8;

/// The word and the shift of a byte.
const fn place(index: u64) -> (usize, u32) {
    let at = (index % RING_BYTES as u64) as usize;
    (BYTES + at / 8, at as u32 % 8 * 8)
}

/// The side that fills. Its state lies in the program's own memory.
#[derive(Debug)]
pub struct RingWriter<'m> {
    memory: &'m [AtomicU64],
    shown: u64,
    written: u64,
    appended: u64,
}

impl<'m> RingWriter<'m> {
    /// The writer of a page of zeros; `None` when `memory` is smaller than a page. One writer only.
    #[must_use]
    pub fn new(memory: &'m [AtomicU64]) -> Option<Self> {
        Some(Self { memory: memory.get(..WORDS)?, shown: 0, written: 0, appended: 0 })
    }

    /// Puts as many of `bytes` behind the others as there is room for; how many. They are not published yet.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let room = RING_BYTES - (self.appended - self.shown) as usize;
        let count = bytes.len().min(room);
        for &byte in &bytes[..count] {
            let (at, shift) = place(self.appended);
            let others = self.memory[at].load(Ordering::Relaxed) & !(0xff << shift);
            self.memory[at].store(others | u64::from(byte) << shift, Ordering::Relaxed);
            self.appended += 1;
        }
        count
    }

    /// Publishes what was appended. True: there was something.
    pub fn publish(&mut self) -> bool {
        let more = self.appended > self.written;
        self.written = self.appended;
        self.memory[WRITTEN].store(self.written, Ordering::Release);
        more
    }

    /// Index behind the last byte that was appended.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.appended
    }

    /// Everything below this index is known to be shown.
    #[must_use]
    pub const fn shown(&self) -> u64 {
        self.shown
    }

    /// The server says that everything below an index is shown. What cannot be is not believed.
    pub fn learn(&mut self, below: u64) {
        if below > self.shown && below <= self.written {
            self.shown = below;
            self.memory[SHOWN].store(below, Ordering::Relaxed);
        }
    }
}

/// The indices are none that a [`RingWriter`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRing;

/// Where a server that has just started begins to read, by `load` (acquiring, once for each word). Checked by [`take`].
pub fn shown_before(load: impl Fn(usize) -> u64) -> u64 {
    load(SHOWN)
}

/// Copies what is published from index `from` on, as much as fits into `to`; how much. The page may change meanwhile; what
/// was copied is then whatever was there.
///
/// # Errors
/// [`BadRing`]: `from` is not among the bytes that wait there.
pub fn take(load: impl Fn(usize) -> u64, from: u64, to: &mut [u8]) -> Result<usize, BadRing> {
    let waiting = load(WRITTEN).checked_sub(from).filter(|waiting| *waiting <= RING_BYTES as u64).ok_or(BadRing)?;
    let count = to.len().min(waiting as usize);
    let mut word = 0;
    for (index, byte) in (from..).zip(&mut to[..count]) {
        let (at, shift) = place(index);
        if index == from || shift == 0 {
            word = load(at);
        }
        *byte = (word >> shift) as u8;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    fn page() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Publish,
        Take(usize),
        Learn,
        /// A server that has forgotten everything.
        NewServer,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3000usize).prop_map(Step::Append),
            Just(Step::Publish),
            (0..1500usize).prop_map(Step::Take),
            Just(Step::Learn),
            Just(Step::NewServer),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Byte i of all that was ever appended is what the reader finds at index i.
        #[test]
        fn what_is_appended_is_taken(steps in prop::collection::vec(step(), 0..60)) {
            let memory = page();
            let mut writer = RingWriter::new(&memory).expect("a page");
            let (mut all, mut published): (Vec<u8>, usize) = (Vec::new(), 0);
            let mut read = 0;
            for step in steps {
                let load = |index: usize| memory[index].load(Ordering::Acquire);
                match step {
                    Step::Append(count) => {
                        let bytes: Vec<u8> = (0..count).map(|at| ((all.len() + at) * 7 % 251) as u8).collect();
                        let count = writer.append(&bytes);
                        prop_assert_eq!(count, bytes.len().min(RING_BYTES - (all.len() - writer.shown() as usize)));
                        all.extend(&bytes[..count]);
                    }
                    Step::Publish => {
                        prop_assert_eq!(writer.publish(), all.len() > published);
                        published = all.len();
                    }
                    Step::Take(max) => {
                        let mut to = vec![0; max];
                        let count = take(load, read as u64, &mut to).expect("a sound writer");
                        prop_assert_eq!(count, max.min(published - read));
                        prop_assert_eq!(&to[..count], &all[read..read + count]);
                        read += count;
                    }
                    Step::Learn => writer.learn(read as u64),
                    Step::NewServer => {
                        read = shown_before(load) as usize;
                        prop_assert_eq!(read as u64, writer.shown());
                    }
                }
            }
        }

        /// Whatever lies in the page, and however it changes, no more is taken than there is room for, and each word that
        /// is looked at is one of the page, looked at once for each byte that needs it.
        #[test]
        fn a_page_that_lies_harms_nobody(words: Vec<u64>, from: u64, near in any::<Option<u16>>(), max in 0..5000usize) {
            let words = RefCell::new(words.into_iter().cycle());
            let looked = RefCell::new(Vec::new());
            let load = |index: usize| {
                assert!(index < WORDS);
                looked.borrow_mut().push(index);
                let random = words.borrow_mut().next().unwrap_or(3);
                near.filter(|_| index == WRITTEN).map_or(random, |near| from.wrapping_add(near.into()))
            };
            let mut to = vec![0; max];
            let taken = take(load, from, &mut to);
            prop_assert_eq!(looked.borrow().iter().filter(|index| **index == WRITTEN).count(), 1);
            if let Ok(count) = taken {
                prop_assert!(count <= max && count <= RING_BYTES);
                prop_assert!(looked.borrow().len() <= 2 + count.div_ceil(8));
            }
        }
    }

    #[test]
    fn what_cannot_be_is_not_learnt() {
        let memory = page();
        let mut writer = RingWriter::new(&memory).expect("a page");
        writer.append(b"abc");
        writer.learn(1);
        assert_eq!(writer.shown(), 0, "not published");
        writer.publish();
        writer.learn(2);
        writer.learn(1);
        writer.learn(4);
        assert_eq!((writer.shown(), memory[SHOWN].load(Ordering::Relaxed)), (2, 2));
    }
}
