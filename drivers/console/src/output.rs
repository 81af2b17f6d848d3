//! What waits to be shown: for each ring that is lent, what has been taken from it, and the epoch that ran after that.
//! Invariants (checked by [`Output::check`]):
//!
//! 1. What was taken is a copy: nothing that a program does to its ring afterwards changes what is shown, so nothing is
//!    shown that a later epoch brought.
//! 2. It is shown only while the epoch has committed ([`Output::sendable`] is the only way to the bytes), and the epoch is
//!    asked for after the last byte was taken ([`Source::fill`]).
//! 3. A caller is answered only after the last byte that it waits for, and so every byte before it, has been sent.
//!
//! Everything that a ring holds is read once and believed by nobody ([`abi::protocol::console::take`]).

use crate::server::World;
use abi::Epoch;
use abi::protocol::console::{Answer, Error, shown_before, take};
use abi::protocol::lent::{LentName, PLACES};

/// Bytes taken from one ring at once, at most. More than a serial line sends between two commits.
pub(crate) const TAKEN_MAX: usize = 1024;

/// One place of the window: a ring, or nothing yet.
#[derive(Debug)]
struct Source<T> {
    name: Option<LentName>,
    /// Everything below this index of the ring has been sent.
    shown: u64,
    taken: [u8; TAKEN_MAX],
    /// How many have been taken, and sent.
    count: usize,
    sent: usize,
    /// The epoch that ran after they were taken.
    epoch: Epoch,
    /// The ring's indices make no sense, when last looked at.
    is_bad: bool,
    /// Who is to be answered when everything below an index has been sent.
    waiter: Option<(T, u64)>,
}

impl<T> Source<T> {
    const EMPTY: Self = Self {
        name: None,
        shown: 0,
        taken: [0; TAKEN_MAX],
        count: 0,
        sent: 0,
        epoch: Epoch::NONE,
        is_bad: false,
        waiter: None,
    };

    const fn is_empty(&self) -> bool {
        self.sent == self.count
    }

    fn clear(&mut self) {
        // Not the bytes: a whole new source would need as much stack.
        (self.name, self.shown, self.is_bad, self.waiter) = (None, 0, false, None);
        (self.count, self.sent, self.epoch) = (0, 0, Epoch::NONE);
    }

    /// Looks at the ring in place `at`, unless bytes of it still wait. True: more has been taken.
    fn look<W: World<Caller = T>>(&mut self, world: &mut W, at: usize) -> bool {
        if !self.is_empty() {
            return false;
        }
        let lent = world.lent(at);
        if lent != self.name {
            if let Some((caller, _)) = self.waiter.take() {
                refuse(world, caller, Error::NotLent);
            }
            let shown = shown_before(|index| world.word(at, index));
            self.clear();
            (self.name, self.shown) = (lent, shown);
        }
        self.name.is_some() && self.fill(world, at)
    }

    fn fill<W: World<Caller = T>>(&mut self, world: &mut W, at: usize) -> bool {
        let taken = take(|index| world.word(at, index), self.shown, &mut self.taken);
        // Was it this object all the time?
        if world.lent(at) != self.name {
            return false;
        }
        self.is_bad = taken.is_err();
        let count = taken.unwrap_or(0);
        if count > 0 {
            // Asked after the last byte was read: not earlier than any of them.
            (self.count, self.sent, self.epoch) = (count, 0, world.running());
        }
        if self.is_bad
            && let Some((caller, _)) = self.waiter.take()
        {
            refuse(world, caller, Error::BadRing);
        }
        count > 0
    }

    /// Answers who waits, if all of it has been sent.
    fn answer<W: World<Caller = T>>(&mut self, world: &mut W) {
        if let Some((caller, _)) = self.waiter.take_if(|(_, until)| self.shown >= *until) {
            // One that no longer waits has been shown all the same.
            let _ = world.answer(caller, &Answer::Shown { below: self.shown });
        }
    }
}

fn refuse<W: World>(world: &mut W, caller: W::Caller, error: Error) {
    // One that no longer waits needs no answer.
    let _ = world.answer(caller, &Answer::Refused(error));
}

/// All rings. `T` names a caller that waits for an answer.
#[derive(Debug)]
pub(crate) struct Output<T> {
    sources: [Source<T>; PLACES],
    /// Whose bytes are being sent: until all that was taken of one ring is out the others wait.
    turn: usize,
}

impl<T> Output<T> {
    pub(crate) const fn new() -> Self {
        Self { sources: [const { Source::EMPTY }; PLACES], turn: 0 }
    }

    /// Looks at every ring that may have more. True: more has been taken.
    pub(crate) fn look<W: World<Caller = T>>(&mut self, world: &mut W) -> bool {
        let mut more = false;
        for (at, source) in self.sources.iter_mut().enumerate() {
            more |= source.look(world, at);
        }
        more
    }

    /// A caller wants to hear when everything below `until` of a ring has been shown.
    pub(crate) fn wait<W: World<Caller = T>>(&mut self, world: &mut W, caller: T, ring: Option<LentName>, until: u64) {
        let Some(source) = self.sources.iter_mut().find(|source| ring.is_some() && source.name == ring) else {
            return refuse(world, caller, Error::NotLent);
        };
        if source.is_bad {
            return refuse(world, caller, Error::BadRing);
        }
        if let Some((earlier, _)) = source.waiter.replace((caller, until)) {
            let _ = world.answer(earlier, &Answer::Shown { below: source.shown });
        }
        source.answer(world);
    }

    /// The bytes that may be sent now, given the last epoch that has committed: of one ring.
    pub(crate) fn sendable(&mut self, committed: Epoch) -> Option<&[u8]> {
        let turn = self.turn;
        let may = |source: &Source<T>| !source.is_empty() && source.epoch <= committed;
        let next = (0..PLACES).map(|step| (turn + step) % PLACES).find(|&at| may(&self.sources[at]))?;
        self.turn = next;
        let source = &self.sources[next];
        Some(&source.taken[source.sent..source.count])
    }

    /// So many of those bytes have been sent.
    pub(crate) fn sent<W: World<Caller = T>>(&mut self, world: &mut W, bytes: usize) {
        let source = &mut self.sources[self.turn];
        assert!(bytes <= source.count - source.sent, "more was sent than there was");
        source.sent += bytes;
        source.shown += bytes as u64;
        source.answer(world);
    }

    /// Whether something waits for an epoch that has not committed.
    pub(crate) fn waits_beyond(&self, committed: Epoch) -> bool {
        self.sources.iter().any(|source| !source.is_empty() && source.epoch > committed)
    }

    /// Forgets everything, also who waits.
    pub(crate) fn clear(&mut self) {
        self.sources.iter_mut().for_each(Source::clear);
        self.turn = 0;
    }

    #[cfg(test)]
    pub(crate) fn check(&self) -> bool {
        self.sources.iter().all(|source| {
            let counts = source.sent <= source.count && source.count <= TAKEN_MAX;
            let named = source.name.is_some() || source.is_empty() && source.waiter.is_none();
            let waits = source.waiter.as_ref().is_none_or(|(_, until)| source.shown < *until);
            counts && named && waits
        })
    }
}
