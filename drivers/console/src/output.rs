//! What waits to be shown: chunks in the order in which they came, each with the epoch in which it was read. Invariants
//! (checked by [`Output::check`]):
//!
//! 1. Epochs never decrease from front to back: the oldest chunk is the first that may be shown.
//! 2. A chunk is shown only while its epoch has committed ([`Output::sendable`] is the only way to its bytes).
//! 3. A caller is answered only after the last byte of its chunk, and so of all before, has been sent.

use abi::Epoch;
use abi::protocol::console::{CHUNK_BYTES_MAX, Chunk};

/// Chunks that wait, at most.
pub(crate) const CHUNKS_MAX: usize = 128;
/// So many of them are kept for callers that wait for an answer, who could not go on otherwise.
const RESERVED: usize = 32;

const _: () = assert!(CHUNK_BYTES_MAX <= u8::MAX as usize);

#[derive(Debug)]
struct Held<T> {
    chunk: Chunk,
    sent: u8,
    epoch: Epoch,
    caller: Option<T>,
}

/// The queue. `T` names a caller that waits for an answer.
#[derive(Debug)]
pub(crate) struct Output<T> {
    held: [Option<Held<T>>; CHUNKS_MAX],
    front: usize,
    count: usize,
}

/// There is no room for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputFull<T>(pub(crate) T);

impl<T> Output<T> {
    pub(crate) const fn new() -> Self {
        Self { held: [const { None }; CHUNKS_MAX], front: 0, count: 0 }
    }

    /// Whether a chunk of nobody who waits has room.
    pub(crate) fn has_room_to_put(&self) -> bool {
        self.count < CHUNKS_MAX - RESERVED
    }

    /// Whether so much waits that a cut is due although nobody waits for an answer.
    pub(crate) fn is_filling(&self) -> bool {
        self.count > CHUNKS_MAX / 2
    }

    /// Queues a chunk that was read in `epoch`, for a caller that waits.
    pub(crate) fn push_for(&mut self, chunk: Chunk, epoch: Epoch, caller: T) -> Result<(), OutputFull<T>> {
        if self.count == CHUNKS_MAX {
            return Err(OutputFull(caller));
        }
        self.push(Held { chunk, sent: 0, epoch, caller: Some(caller) });
        Ok(())
    }

    /// Queues a chunk that was read in `epoch`, for nobody. Only if [`has_room_to_put`](Self::has_room_to_put).
    pub(crate) fn push_alone(&mut self, chunk: Chunk, epoch: Epoch) {
        assert!(self.has_room_to_put(), "nobody asked whether there is room");
        self.push(Held { chunk, sent: 0, epoch, caller: None });
    }

    fn push(&mut self, mut held: Held<T>) {
        // The clock does not go back within an incarnation; if it ever did, later output would only wait longer.
        if let Some(last) = self.count.checked_sub(1).and_then(|last| self.at(last)) {
            held.epoch = held.epoch.max(last.epoch);
        }
        self.held[(self.front + self.count) % CHUNKS_MAX] = Some(held);
        self.count += 1;
    }

    fn at(&self, index: usize) -> Option<&Held<T>> {
        self.held[(self.front + index) % CHUNKS_MAX].as_ref()
    }

    /// The bytes that may be shown now, given the last epoch that has committed: of the first chunk.
    pub(crate) fn sendable(&self, committed: Epoch) -> Option<&[u8]> {
        let first = self.at(0).filter(|first| self.count > 0 && first.epoch <= committed)?;
        Some(&first.chunk.bytes()[usize::from(first.sent)..])
    }

    /// So many of those bytes have been sent. Gives who is to be answered, and takes the chunk away, when that was its end;
    /// whether it was is the second value.
    pub(crate) fn sent(&mut self, bytes: usize) -> (Option<T>, bool) {
        let front = self.front;
        let Some(first) = &mut self.held[front] else { return (None, false) };
        let left = first.chunk.bytes().len() - usize::from(first.sent);
        assert!(bytes <= left, "more was sent than there was");
        first.sent += bytes as u8;
        if bytes < left {
            return (None, false);
        }
        let caller = first.caller.take();
        self.held[front] = None;
        self.front = (front + 1) % CHUNKS_MAX;
        self.count -= 1;
        (caller, true)
    }

    /// Whether somebody waits for an epoch that has not committed.
    pub(crate) fn somebody_waits_beyond(&self, committed: Epoch) -> bool {
        (0..self.count).filter_map(|index| self.at(index)).any(|held| held.caller.is_some() && held.epoch > committed)
    }

    /// Forgets everything, also who waits.
    pub(crate) fn clear(&mut self) {
        // In place: a whole new queue would need as much stack.
        self.held.fill_with(|| None);
        (self.front, self.count) = (0, 0);
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> bool {
        let held: Vec<_> = (0..CHUNKS_MAX).map(|index| self.at(index)).collect();
        let (used, free) = held.split_at(self.count);
        let epochs: Vec<Epoch> = used.iter().flatten().map(|held| held.epoch).collect();
        epochs.len() == self.count && epochs.is_sorted() && free.iter().all(Option::is_none)
    }
}
