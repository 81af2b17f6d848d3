//! The epoch that is being led into the store: what has arrived of it, and what is still to come.

use abi::Epoch;
use abi::protocol::paging::ToStore;

/// How far the ended epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// None: the next may be cut.
    Idle,
    /// The pager was asked for a cut.
    Asked,
    /// Cut; the store has not begun it yet.
    Cut,
    /// The store takes its parts.
    Filling,
    /// Everything is there; to be sealed.
    Full,
}

/// Counts of one epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    pub(super) stage: Stage,
    pub(super) epoch: Epoch,
    pub(super) quiet: bool,
    pub(super) exported: bool,
    pages: u64,
    batches: u64,
    drops: u64,
    said: Option<(u64, u64, u64)>,
}

impl Gathering {
    pub(super) const IDLE: Self = Self {
        stage: Stage::Idle,
        epoch: Epoch::NONE,
        quiet: false,
        exported: false,
        pages: 0,
        batches: 0,
        drops: 0,
        said: None,
    };

    /// The epoch was cut.
    pub(super) fn cut(ended: Epoch, quiet: bool) -> Self {
        Self { stage: Stage::Cut, epoch: ended, quiet, ..Self::IDLE }
    }

    /// Counts a message that has been dealt with. False: it does not belong to this epoch, or the counts disagree.
    pub(super) fn count(&mut self, message: &ToStore) -> bool {
        let epoch = match *message {
            ToStore::Dirty { epoch, .. } => {
                self.pages += 1;
                epoch
            }
            ToStore::Records { epoch, .. } => {
                self.batches += 1;
                epoch
            }
            ToStore::Dropped { epoch, .. } => {
                self.drops += 1;
                epoch
            }
            ToStore::Gathered { epoch, pages, batches, drops } => {
                self.said = Some((pages, batches, drops));
                epoch
            }
            _ => return true,
        };
        let counted = (self.pages, self.batches, self.drops);
        epoch == self.epoch && self.said.is_none_or(|said| said == counted)
    }

    /// Whether all of it has arrived (invariant 1).
    pub(super) fn is_whole(&self) -> bool {
        self.said.is_some() && self.exported
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::protocol::paging::PageName;

    #[test]
    fn an_epoch_is_whole_when_both_have_said_all() {
        let epoch = Epoch::from_bits(7);
        let mut gathering = Gathering::cut(epoch, false);
        let page = PageName { content: 1, index: 2 };
        assert!(gathering.count(&ToStore::Dirty { epoch, page, frame: 3 }));
        assert!(gathering.count(&ToStore::Gathered { epoch, pages: 1, batches: 0, drops: 0 }));
        assert!(!gathering.is_whole());
        gathering.exported = true;
        assert!(gathering.is_whole());
        assert!(!gathering.count(&ToStore::Dropped { epoch, content: 1 }), "more than was said");
    }

    #[test]
    fn what_is_missing_or_of_another_epoch_is_noticed() {
        let epoch = Epoch::from_bits(7);
        let mut gathering = Gathering::cut(epoch, false);
        assert!(!gathering.count(&ToStore::Gathered { epoch, pages: 1, batches: 0, drops: 0 }));
        let mut gathering = Gathering::cut(epoch, false);
        assert!(!gathering.count(&ToStore::Dropped { epoch: Epoch::from_bits(8), content: 1 }));
    }
}
