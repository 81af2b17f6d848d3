//! Opening: the epochs at the log's end that nothing proves durable are verified before one of them is believed.
//!
//! An epoch is committed with one write and one flush, so after a cut its descriptors may be there and its pages not.
//! What counts is whether the *newest* such epoch is whole: the unproven part of the log is applied to a layer of its
//! own, on trial, and every page that is alive in it is read. Pages that a later unproven epoch has replaced are not:
//! once that later epoch was durable their blocks were free to be used again. When a page is wrong the newest epoch was
//! not durable, and the one before it is tried.

use abi::Epoch;
use format::{DESCRIPTOR_ITEM_BYTES, Descriptor, ItemIter, Key, LogStart, page_checksum};

use crate::cache::Cache;
use crate::disk::Host;
use crate::layer::Value;
use crate::recovery::{AHEAD, Case, Dropped, Recovery, Refusal, Stage, Step, Walk};
use crate::store::Store;

/// Commits at the log's end that are remembered: more than can be unproven at once.
pub(crate) const COMMITS_MAX: usize = 8;

impl Walk {
    /// A commit was met, and the walk stands behind it.
    pub(crate) fn committed(&mut self, epoch: Epoch) {
        if self.commits_len == COMMITS_MAX {
            self.commits.copy_within(1.., 0);
            self.commits_len -= 1;
        }
        self.commits[self.commits_len] = (epoch, self.at, self.floor);
        self.commits_len += 1;
    }

    /// The newest root says that `epoch` was whole. When that was found by an opening, as for the head of an older
    /// incarnation, it was found of this epoch alone: those before it that nothing proves are not kept.
    pub(crate) fn vouched(&mut self, epoch: Epoch, incarnation: u32) {
        if epoch.incarnation() < incarnation && self.unproven_len() > 0 {
            self.floor = epoch;
        }
        self.durable = self.durable.max(epoch);
    }

    /// Forgets the newest commit; the one before it, if remembered, is the head.
    fn drop_newest(&mut self, root: LogStart) {
        self.commits_len = self.commits_len.saturating_sub(1);
        // Its floor goes with it: what that would have released never was.
        (self.head, self.end, self.floor) = match self.commits_len.checked_sub(1) {
            Some(last) => self.commits[last],
            None => (Epoch::NONE, root, Epoch::NONE),
        };
    }

    /// How many of the last epochs nothing proves durable.
    pub(crate) fn unproven_len(&self) -> usize {
        self.commits[..self.commits_len].iter().filter(|(epoch, ..)| *epoch > self.durable).count()
    }

    /// Where the first epoch that nothing proves durable starts; `None` when there is none.
    fn unproven(&self, root: LogStart) -> Option<LogStart> {
        let commits = &self.commits[..self.commits_len];
        let first = commits.iter().position(|(epoch, ..)| *epoch > self.durable)?;
        Some(first.checked_sub(1).map_or(root, |before| commits[before].1))
    }
}

impl<'m, H: Host> Store<'m, H> {
    /// Begins to try what is unproven, or goes on when nothing is.
    pub(crate) fn start_trial(&mut self, recovery: &mut Recovery) -> Step {
        recovery.stage = match recovery.walk.unproven(self.root.log) {
            Some(start) => {
                recovery.walk.at = start;
                Stage::Trial
            }
            None => {
                recovery.walk.at = self.root.log;
                Stage::Replay
            }
        };
        Step::On
    }

    /// Applies the descriptor at the walk's place on trial.
    pub(crate) fn recover_trial(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let at = recovery.walk.at;
        if at.sequence == recovery.walk.end.sequence {
            recovery.stage = Stage::Verify(Key::default());
            return Ok(Step::On);
        }
        let Some(page) = self.fetch_raw(at.block)? else {
            return Ok(Step::Wait);
        };
        let geometry = *self.space.geometry();
        let Ok(found) = Descriptor::parse(self.world, &geometry, at.block, self.host.bytes(page)) else {
            return Err(Refusal::Unreadable(at.block));
        };
        let next = LogStart { block: found.head.next, sequence: at.sequence + 1, previous: found.sum };
        let mut copy = [0; DESCRIPTOR_ITEM_BYTES];
        let length = found.item_bytes().len();
        copy[..length].copy_from_slice(found.item_bytes());
        for item in ItemIter::new(&copy[..length]) {
            let held = self.hold(&item)?;
            let layer = &mut recovery.trial;
            while self.pool.cut_one(layer, held.key, held.count()).map_err(|_| Refusal::Memory)?.is_some() {}
            self.pool.put(layer, &held).map_err(|_| Refusal::Memory)?;
        }
        recovery.walk.at = next;
        Ok(Step::On)
    }

    /// Verifies the next page on trial at or after `from`.
    pub(crate) fn recover_verify(&mut self, recovery: &mut Recovery, from: Key) -> Result<Step, Refusal> {
        let Some(held) = self.pool.at_or_after(&recovery.trial, from) else {
            recovery.report.meet(Case::EpochVerified);
            while !self.pool.clear_some(&mut recovery.trial, u32::MAX) {}
            recovery.walk.at = self.root.log;
            recovery.stage = Stage::Replay;
            return Ok(Step::On);
        };
        recovery.stage = Stage::Verify(held.end());
        let Value::Page(place, expected) = held.value else {
            return Ok(Step::On);
        };
        let mut ahead = held;
        for _ in 1..AHEAD {
            let Some(next) = self.pool.at_or_after(&recovery.trial, ahead.end()) else {
                break;
            };
            if let Value::Page(place, _) = next.value {
                // Only to have it read: whatever is wrong with it is seen when it is its turn.
                let raw = Cache::raw(place.block, self.nonce);
                let _ = self.cache.fetch(&mut self.queue, &mut self.host, &raw);
            }
            ahead = next;
        }
        let sound = match self.fetch_raw(place.block) {
            Ok(None) => {
                recovery.stage = Stage::Verify(held.key);
                return Ok(Step::Wait);
            }
            Ok(Some(page)) => page_checksum(self.world, place, self.host.bytes(page)) == expected,
            Err(_) => false,
        };
        recovery.report.blocks_read += 1;
        if sound {
            return Ok(Step::On);
        }
        if let Some(target) = recovery.target {
            return Err(Refusal::NotKept(target));
        }
        let walk = &mut recovery.walk;
        recovery.report.meet(Case::EpochDropped);
        recovery.report.dropped.get_or_insert(Dropped { epoch: walk.head, key: held.key, block: place.block });
        walk.drop_newest(self.root.log);
        while !self.pool.clear_some(&mut recovery.trial, u32::MAX) {}
        Ok(self.start_trial(recovery))
    }
}
