//! Between the pager and the snapshot server: messages through two rings in one shared area, no calls. Neither side
//! waits in a call to the other; each signals the other's notification after it has pushed.
//!
//! A *page* is named by the content it belongs to and its index there. Content numbers are given out by the pager,
//! are never used twice in the life of a world, and are what the store's map is keyed by. A *frame* is a physical
//! frame number.
//!
//! ```text
//!   snapshot server                               pager
//!   Begin, or Restore … RestoreEnd          ──▶   checks its records
//!                                           ◀──   Ready, or RestoreRefused
//!   Cut                                     ──▶   cuts the kernel's epoch and its own between two requests
//!                                           ◀──   CutDone, or CutRefused
//!                                           ◀──   Dirty …, Dropped …, Records …, then Gathered, all of the ended epoch
//!   Released (each Dirty frame, once read)  ──▶   the frame may be written again, or reused
//!   Room                                    ──▶   bounds what is dirtied from now on
//!                                           ◀──   Waits, when somebody needs more than that
//!                                           ◀──   PageIn
//!   Paged                                   ──▶   maps it, or goes on to where the content was copied from
//! ```
//!
//! Rules:
//! 1. From `Dirty` to `Released` the frame's contents do not change and belong to the snapshot server, for reading.
//! 2. `Released` says: a `PageIn` of this page finds these contents (or newer ones) from now on. It need not be
//!    committed: what is lost by a power cut is lost together with the frame.
//! 3. From `PageIn` to `Paged` the frame belongs to the snapshot server and its device, for writing.
//! 4. `Dropped` ends a content in its epoch: no page of it is in that epoch or a later one. Its number never returns.
//! 5. Messages of one epoch all come before those of the next, except that `CutDone` of the next may come between.
//! 6. A batch page belongs to the side that filled it again after `BatchTaken`.
//! 7. Nothing is dirtied that the store could not take: [`Room`]. Before the first there is none.
//! 8. Either side that finds the other's message impossible stops: both are trusted, and a broken invariant of one of
//!    them must not reach the disk. Init then restores the world in place.

use super::ring::{ENTRY_WORDS, Entry, Layout};
use crate::{Epoch, PAGE_SIZE};
use core::sync::atomic::{AtomicU64, Ordering};

/// Shape of both rings.
pub const RING: Layout = Layout::new(256).expect("a power of two");
/// Pages for batches of records, in each direction.
pub const BATCHES: u32 = 4;
/// Epochs that have ended and whose frames have not all been released, at most; then `Cut` is refused.
pub const UNDRAINED_EPOCHS_MAX: usize = 2;

const WORDS_OF_PAGE: usize = PAGE_SIZE / 8;

/// Places in the area, in words.
mod place {
    use super::{BATCHES, RING, WORDS_OF_PAGE};

    pub(super) const TO_STORE: usize = 0;
    pub(super) const TO_PAGER: usize = RING.words();
    pub(super) const BATCHES_TO_STORE: usize = (2 * RING.words()).next_multiple_of(WORDS_OF_PAGE);
    pub(super) const BATCHES_TO_PAGER: usize = BATCHES_TO_STORE + BATCHES as usize * WORDS_OF_PAGE;
    pub(super) const END: usize = BATCHES_TO_PAGER + BATCHES as usize * WORDS_OF_PAGE;
}

/// Bytes of shared memory that the link takes, in whole pages.
pub const AREA_BYTES: usize = place::END * 8;

/// Which way a message or a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the pager to the snapshot server.
    ToStore,
    /// From the snapshot server to the pager.
    ToPager,
}

/// The memory of the ring in this direction; `None` when `area` is too small.
#[must_use]
pub fn ring_memory(area: &[AtomicU64], direction: Direction) -> Option<&[AtomicU64]> {
    let start = match direction {
        Direction::ToStore => place::TO_STORE,
        Direction::ToPager => place::TO_PAGER,
    };
    area.get(start..start + RING.words())
}

fn batch(area: &[AtomicU64], direction: Direction, slot: u32) -> Option<&[AtomicU64]> {
    let base = match direction {
        Direction::ToStore => place::BATCHES_TO_STORE,
        Direction::ToPager => place::BATCHES_TO_PAGER,
    };
    let start = base + slot as usize * WORDS_OF_PAGE;
    if slot < BATCHES { area.get(start..start + WORDS_OF_PAGE) } else { None }
}

/// Copies a batch into page `slot` of the area. False when there is no such page or the batch is longer than one.
pub fn put_batch(area: &[AtomicU64], direction: Direction, slot: u32, bytes: &[u8]) -> bool {
    let Some(words) = batch(area, direction, slot) else { return false };
    if bytes.len() > PAGE_SIZE {
        return false;
    }
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(value), Ordering::Relaxed);
    }
    true
}

/// Copies the batch in page `slot` of the area out. False when there is no such page or `to` is longer than one.
pub fn get_batch(area: &[AtomicU64], direction: Direction, slot: u32, to: &mut [u8]) -> bool {
    let Some(words) = batch(area, direction, slot) else { return false };
    if to.len() > PAGE_SIZE {
        return false;
    }
    for (word, chunk) in words.iter().zip(to.chunks_mut(8)) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes()[..chunk.len()]);
    }
    true
}

/// A page by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageName {
    /// Number of the content.
    pub content: u64,
    /// Which of its pages.
    pub index: u64,
}

/// Why the pager does not cut now. All of them pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Refusal {
    /// The kernel's records of the epoch before have not all been exported.
    KernelBusy = 1,
    /// The pager's own messages of the epoch before have not all been sent.
    PagerBusy = 2,
    /// [`UNDRAINED_EPOCHS_MAX`] epochs wait for the disk.
    Undrained = 3,
    /// The world has not begun, or not been restored.
    NotReady = 4,
}

impl Refusal {
    const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::KernelBusy,
            2 => Self::PagerBusy,
            3 => Self::Undrained,
            4 => Self::NotReady,
            _ => return None,
        })
    }
}

/// What became of a [`ToStore::PageIn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum PagedAs {
    /// The frame holds the page, verified.
    Filled = 1,
    /// The store has no such page: it was never written. The frame is untouched.
    Absent = 2,
    /// What the store holds fails its checksum, or cannot be read. The frame holds nothing to be used.
    Damaged = 3,
}

impl PagedAs {
    const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::Filled,
            2 => Self::Absent,
            3 => Self::Damaged,
            _ => return None,
        })
    }
}

/// What the store can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// [`ToStore::Dirty`] messages of this boot that were dealt with when this was said. What came later, and what is
    /// still to come, goes off the other two.
    pub handled: u64,
    /// Pages that can be put before anything is won back by a commit or a fold.
    pub writes: u64,
    /// How many of them, and of all that follow, may be pages that the store has not had: until something is dropped.
    pub growth: u64,
}

/// What the pager says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToStore {
    /// The world's memory has begun or come back; faults and cuts can be served.
    Ready,
    /// A record that was given back is not one the pager could have written.
    RestoreRefused {
        /// Its table.
        table: u16,
        /// Its index.
        index: u32,
    },
    /// The epoch `ended` was cut; `running` began.
    CutDone {
        /// What follows describes this epoch.
        ended: Epoch,
        /// The epoch that now runs.
        running: Epoch,
        /// Nothing of the world changed in `ended`, neither in the kernel nor here: it need not be written.
        quiet: bool,
    },
    /// Nothing was cut.
    CutRefused(Refusal),
    /// A page as it was at the end of `epoch`, in which it was written.
    Dirty {
        /// Epoch it belongs to.
        epoch: Epoch,
        /// The page.
        page: PageName,
        /// Where its contents lie.
        frame: u32,
    },
    /// A content ended in `epoch`: its memory object was destroyed.
    Dropped {
        /// Epoch it belongs to.
        epoch: Epoch,
        /// The content.
        content: u64,
    },
    /// Changed records of the pager, [`crate::record`] layout, in a batch page.
    Records {
        /// Epoch they belong to.
        epoch: Epoch,
        /// Which batch page.
        slot: u32,
        /// Bytes used there.
        bytes: u32,
    },
    /// All of `epoch` has been said.
    Gathered {
        /// The epoch.
        epoch: Epoch,
        /// How many [`Self::Dirty`] it has.
        pages: u64,
        /// How many [`Self::Records`] it has.
        batches: u64,
        /// How many [`Self::Dropped`] it has.
        drops: u64,
    },
    /// Fill `frame` with the newest version of a page; answered by [`ToPager::Paged`].
    PageIn {
        /// The page.
        page: PageName,
        /// Where to put it.
        frame: u32,
    },
    /// Memory is short of clean pages: a cut soon would help.
    Short,
    /// Batch page `slot` has been read.
    BatchTaken {
        /// Which batch page.
        slot: u32,
    },
    /// Writers have begun to wait for [`Room`], or none does any more.
    Waits {
        /// Whether any does.
        writers: bool,
    },
}

/// What the snapshot server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToPager {
    /// A new world begins, in this epoch.
    Begin {
        /// The epoch.
        epoch: Epoch,
    },
    /// Records of the pager that the store kept, in a batch page.
    Restore {
        /// Which batch page.
        slot: u32,
        /// Bytes used there.
        bytes: u32,
    },
    /// All records have been given back; the world goes on in this epoch.
    RestoreEnd {
        /// The epoch that begins.
        epoch: Epoch,
    },
    /// End the running epoch.
    Cut,
    /// The frame of a [`ToStore::Dirty`] of this epoch has been read.
    Released {
        /// The epoch it was sent for.
        epoch: Epoch,
        /// The frame.
        frame: u32,
    },
    /// Answers a [`ToStore::PageIn`].
    Paged {
        /// The page.
        page: PageName,
        /// The frame.
        frame: u32,
        /// How it went.
        outcome: PagedAs,
    },
    /// How much the store can take.
    Room(Room),
    /// Batch page `slot` has been read.
    BatchTaken {
        /// Which batch page.
        slot: u32,
    },
}

/// A message of five words, padded to an entry.
const fn entry(words: [u64; 5]) -> Entry {
    let mut entry = [0; ENTRY_WORDS];
    let mut at = 0;
    while at < words.len() {
        entry[at] = words[at];
        at += 1;
    }
    entry
}

fn small(word: u64) -> Option<u32> {
    u32::try_from(word).ok()
}

impl ToStore {
    /// As it lies in the ring.
    #[must_use]
    pub const fn entry(self) -> Entry {
        entry(match self {
            Self::Ready => [1, 0, 0, 0, 0],
            Self::RestoreRefused { table, index } => [2, table as u64, index as u64, 0, 0],
            Self::CutDone { ended, running, quiet } => [3, ended.bits(), running.bits(), quiet as u64, 0],
            Self::CutRefused(why) => [4, why as u64, 0, 0, 0],
            Self::Dirty { epoch, page, frame } => [5, epoch.bits(), page.content, page.index, frame as u64],
            Self::Dropped { epoch, content } => [6, epoch.bits(), content, 0, 0],
            Self::Records { epoch, slot, bytes } => [7, epoch.bits(), slot as u64, bytes as u64, 0],
            Self::Gathered { epoch, pages, batches, drops } => [8, epoch.bits(), pages, batches, drops],
            Self::PageIn { page, frame } => [9, page.content, page.index, frame as u64, 0],
            Self::Short => [10, 0, 0, 0, 0],
            Self::BatchTaken { slot } => [11, slot as u64, 0, 0, 0],
            Self::Waits { writers } => [12, writers as u64, 0, 0, 0],
        })
    }

    /// What an entry says; `None` for one that no pager writes.
    #[must_use]
    pub fn from_entry(words: &Entry) -> Option<Self> {
        let [kind, a, b, c, d, ..] = *words;
        let message = match kind {
            1 => Self::Ready,
            2 => Self::RestoreRefused { table: u16::try_from(a).ok()?, index: small(b)? },
            3 => Self::CutDone { ended: Epoch::from_bits(a), running: Epoch::from_bits(b), quiet: c == 1 },
            4 => Self::CutRefused(Refusal::from_bits(a)?),
            5 => Self::Dirty { epoch: Epoch::from_bits(a), page: PageName { content: b, index: c }, frame: small(d)? },
            6 => Self::Dropped { epoch: Epoch::from_bits(a), content: b },
            7 => Self::Records { epoch: Epoch::from_bits(a), slot: slot(b)?, bytes: bytes(c)? },
            8 => Self::Gathered { epoch: Epoch::from_bits(a), pages: b, batches: c, drops: d },
            9 => Self::PageIn { page: PageName { content: a, index: b }, frame: small(c)? },
            10 => Self::Short,
            11 => Self::BatchTaken { slot: slot(a)? },
            12 => Self::Waits { writers: a == 1 },
            _ => return None,
        };
        // What a correct peer leaves zero must be zero.
        (message.entry() == *words).then_some(message)
    }
}

impl ToPager {
    /// As it lies in the ring.
    #[must_use]
    pub const fn entry(self) -> Entry {
        entry(match self {
            Self::Begin { epoch } => [33, epoch.bits(), 0, 0, 0],
            Self::Restore { slot, bytes } => [34, slot as u64, bytes as u64, 0, 0],
            Self::RestoreEnd { epoch } => [35, epoch.bits(), 0, 0, 0],
            Self::Cut => [36, 0, 0, 0, 0],
            Self::Released { epoch, frame } => [37, epoch.bits(), frame as u64, 0, 0],
            Self::Paged { page, frame, outcome } => [38, page.content, page.index, frame as u64, outcome as u64],
            Self::BatchTaken { slot } => [39, slot as u64, 0, 0, 0],
            Self::Room(Room { handled, writes, growth }) => [40, handled, writes, growth, 0],
        })
    }

    /// What an entry says; `None` for one that no snapshot server writes.
    #[must_use]
    pub fn from_entry(words: &Entry) -> Option<Self> {
        let [kind, a, b, c, d, ..] = *words;
        let message = match kind {
            33 => Self::Begin { epoch: Epoch::from_bits(a) },
            34 => Self::Restore { slot: slot(a)?, bytes: bytes(b)? },
            35 => Self::RestoreEnd { epoch: Epoch::from_bits(a) },
            36 => Self::Cut,
            37 => Self::Released { epoch: Epoch::from_bits(a), frame: small(b)? },
            38 => Self::Paged {
                page: PageName { content: a, index: b },
                frame: small(c)?,
                outcome: PagedAs::from_bits(d)?,
            },
            39 => Self::BatchTaken { slot: slot(a)? },
            40 => Self::Room(Room { handled: a, writes: b, growth: c }),
            _ => return None,
        };
        (message.entry() == *words).then_some(message)
    }
}

fn slot(word: u64) -> Option<u32> {
    small(word).filter(|&slot| slot < BATCHES)
}

fn bytes(word: u64) -> Option<u32> {
    small(word).filter(|&bytes| bytes as usize <= PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(a: u64, b: u64, frame: u32, slot: u32) -> (Vec<ToStore>, Vec<ToPager>) {
        let (epoch, page) = (Epoch::from_bits(a), PageName { content: a, index: b });
        let to_store = vec![
            ToStore::Ready,
            ToStore::RestoreRefused { table: frame as u16, index: frame },
            ToStore::CutDone { ended: epoch, running: Epoch::from_bits(b), quiet: b & 1 == 0 },
            ToStore::CutRefused(Refusal::Undrained),
            ToStore::Dirty { epoch, page, frame },
            ToStore::Dropped { epoch, content: b },
            ToStore::Records { epoch, slot, bytes: 4096 },
            ToStore::Gathered { epoch, pages: b, batches: 3, drops: a },
            ToStore::PageIn { page, frame },
            ToStore::Short,
            ToStore::BatchTaken { slot },
            ToStore::Waits { writers: b & 1 == 0 },
        ];
        let to_pager = vec![
            ToPager::Begin { epoch },
            ToPager::Restore { slot, bytes: 12 },
            ToPager::RestoreEnd { epoch },
            ToPager::Cut,
            ToPager::Released { epoch, frame },
            ToPager::Paged { page, frame, outcome: PagedAs::Damaged },
            ToPager::BatchTaken { slot },
            ToPager::Room(Room { handled: a, writes: b, growth: frame.into() }),
        ];
        (to_store, to_pager)
    }

    proptest! {
        #[test]
        fn messages_come_back(a: u64, b: u64, frame: u32, slot in 0..BATCHES) {
            let (to_store, to_pager) = samples(a, b, frame, slot);
            for message in to_store {
                prop_assert_eq!(ToStore::from_entry(&message.entry()), Some(message));
                prop_assert_eq!(ToPager::from_entry(&message.entry()), None);
            }
            for message in to_pager {
                prop_assert_eq!(ToPager::from_entry(&message.entry()), Some(message));
                prop_assert_eq!(ToStore::from_entry(&message.entry()), None);
            }
        }

        #[test]
        fn only_written_entries_parse(kind in 0_u64..48, words: [u64; 7], small in 0_usize..8) {
            let mut raw = [0; ENTRY_WORDS];
            raw[0] = kind;
            for (to, from) in raw[1..].iter_mut().zip(&words[..small.min(7)]) { *to = from % 5000; }
            if let Some(message) = ToStore::from_entry(&raw) { prop_assert_eq!(message.entry(), raw); }
            if let Some(message) = ToPager::from_entry(&raw) { prop_assert_eq!(message.entry(), raw); }
        }

        #[test]
        fn batches_do_not_touch_each_other(lengths in prop::collection::vec(0_usize..=PAGE_SIZE, 8)) {
            let area: Vec<AtomicU64> = (0..place::END).map(|_| AtomicU64::new(0)).collect();
            let of = |n: usize| if n < 4 { (Direction::ToStore, n as u32) } else { (Direction::ToPager, n as u32 - 4) };
            for (n, &length) in lengths.iter().enumerate() {
                let (direction, slot) = of(n);
                prop_assert!(put_batch(&area, direction, slot, &vec![n as u8 + 1; length]));
            }
            for (n, &length) in lengths.iter().enumerate() {
                let (direction, slot) = of(n);
                let mut read = vec![0; length];
                prop_assert!(get_batch(&area, direction, slot, &mut read));
                prop_assert!(read.iter().all(|&byte| byte == n as u8 + 1));
            }
            for direction in [Direction::ToStore, Direction::ToPager] {
                let ring = ring_memory(&area, direction).expect("large enough");
                prop_assert!(ring.iter().all(|word| word.load(Ordering::Relaxed) == 0));
            }
            prop_assert!(!put_batch(&area, Direction::ToStore, BATCHES, &[]));
        }
    }
}
