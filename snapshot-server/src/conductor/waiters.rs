//! Callers of `sync`, each waiting for an epoch.

use abi::{Epoch, Handle};

/// Callers that can wait at once.
pub(super) const WAITERS_MAX: usize = 64;

/// A fixed set of callers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiters {
    callers: [Option<(Handle, Epoch)>; WAITERS_MAX],
}

impl Waiters {
    pub(super) const NONE: Self = Self { callers: [None; WAITERS_MAX] };

    /// Whether one more can wait.
    pub(super) fn has_room(&self) -> bool {
        self.callers.iter().any(Option::is_none)
    }

    /// `caller` waits for `epoch`; false when nobody more can wait.
    pub(super) fn add(&mut self, caller: Handle, epoch: Epoch) -> bool {
        match self.callers.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some((caller, epoch));
                true
            }
            None => false,
        }
    }

    /// Takes one whose epoch is at most `committed`.
    pub(super) fn take(&mut self, committed: Epoch) -> Option<Handle> {
        let due = |place: &&mut Option<(Handle, Epoch)>| place.is_some_and(|(_, epoch)| epoch <= committed);
        self.callers.iter_mut().find(due)?.take().map(|(caller, _)| caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_when_its_epoch_is_there() {
        let mut waiters = Waiters::NONE;
        for n in 0..WAITERS_MAX as u16 {
            assert!(waiters.has_room() && waiters.add(Handle(n), Epoch::from_bits(u64::from(n % 2))));
        }
        assert!(!waiters.has_room() && !waiters.add(Handle(99), Epoch::NONE));
        let early: Vec<_> = core::iter::from_fn(|| waiters.take(Epoch::NONE)).collect();
        assert_eq!(early.len(), WAITERS_MAX / 2);
        assert!(early.iter().all(|handle| handle.0 % 2 == 0));
        let late = core::iter::from_fn(|| waiters.take(Epoch::from_bits(1))).count();
        assert_eq!(late, WAITERS_MAX / 2);
    }
}
