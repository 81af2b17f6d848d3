//! What the conductor needs of the world around it. None of these may wait.

use abi::protocol::paging::{ToPager, ToStore};
use abi::protocol::snapshot::{Epochs, Error};
use abi::protocol::wiring::{EpochsPage, Failure as Why};
use abi::record::Table;
use abi::{Epoch, Handle, PAGE_SIZE};

use crate::{Conflict, Failure, OpenReport, Refusal};

/// A page of records.
pub type Batch = [u8; PAGE_SIZE];

/// The record that was refused: table and index.
pub type Refused = (u16, u32);

/// What is wrong with a record of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The world's own record, or the pager's counters, is not there.
    Missing,
    /// Its bytes are no record of its table: of another length, or with a field that nobody writes.
    Bytes,
    /// Its table has no such place.
    Outside,
    /// It refers to what does not exist, or to what does not refer back.
    References,
    /// It says of the world's tables what it did not say before.
    Shape,
    /// It contradicts another record.
    Conflict(Conflict),
}

impl core::fmt::Display for Flaw {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Missing => "it is not there, and others need it",
            Self::Bytes => "its length or a field is what nobody writes",
            Self::Outside => "its table has no such place",
            Self::References => "it refers to what does not exist, or to what does not refer back",
            Self::Shape => "it gives the world's tables other sizes than they have",
            Self::Conflict(conflict) => conflict.text(),
        })
    }
}

/// Implemented by `main.rs` on libos, by the simulator on the kernel core, and by the tests on a fake.
pub trait Environment {
    /// Nanoseconds of any clock that never goes back.
    fn now_ns(&mut self) -> u64;

    /// `Export`: the next batch of the ended epoch's kernel records; 0 when there is none left.
    fn export(&mut self, to: &mut Batch) -> usize;
    /// `Restore` of a batch of kernel records.
    fn restore(&mut self, batch: &Batch) -> Result<(), Refused>;
    /// `Resume`: the world runs, in this epoch.
    fn resume(&mut self, first: Epoch) -> Result<(), Refused>;
    /// The running epoch; [`Epoch::NONE`] before there is one.
    fn running(&mut self) -> Epoch;
    /// `Committed`.
    fn announce(&mut self, epoch: Epoch);

    /// The next message of the pager.
    fn receive(&mut self) -> Option<ToStore>;
    /// Messages that the pager could be sent now.
    fn room(&mut self) -> usize;
    /// Sends; only when there is room.
    fn send(&mut self, message: ToPager);
    /// Fills a batch page of ours.
    fn put_batch(&mut self, slot: u32, batch: &[u8]);
    /// Reads a batch page of the pager's.
    fn get_batch(&mut self, slot: u32, to: &mut [u8]);

    /// Tells everybody how the world stands.
    fn publish(&mut self, page: &EpochsPage);
    /// Answers a `sync`: the epoch that made it durable, or why none will.
    fn answer(&mut self, caller: Handle, result: Result<Epoch, Error>);
    /// Tells people.
    fn note(&mut self, note: Note);
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The store was opened.
    Opened(OpenReport),
    /// There is no store that can be opened.
    Refused(Refusal),
    /// The world came back: from this epoch, as this one, with so many records.
    Restored(Epoch, Epoch, u64),
    /// A new world begins in this epoch.
    Began(Epoch),
    /// This record does not belong into a world.
    BadRecord(Refused),
    /// This record, or what it refers to, is not what a kernel or pager writes: the epoch that changed it is refused, or, if it
    /// was found between epochs, everything from now on.
    Unsound(Refused, Flaw),
    /// The first epoch of this boot is durable.
    FirstCommit(Epoch),
    /// Space is short: so many pages can be made durable before the store is full, of so many. Said once, and again
    /// when it was better meanwhile.
    Short(u32, u32),
    /// The store holds no more, though all older epochs were retired: nothing is durable from now on, and a boot goes
    /// back to the last epoch, in which something can be dropped.
    Full,
    /// A new world does not fit on the disk: blocks that it needs, and blocks of the disk. Nothing of it is durable.
    TooSmall(u64, u64),
    /// The store has stopped.
    StoreFailed(Failure),
    /// A page could not be read: its content and index.
    Damaged(u64, u64),
    /// The pager said what no pager says.
    PagerBroken,
}

/// What the snapshot port answers to `Epochs`.
pub(super) fn epochs(running: Epoch, page: &EpochsPage, oldest: Epoch, kept: u64, room: (u32, u32)) -> Epochs {
    let (room, pages) = (room.0.into(), room.1.into());
    Epochs { running, committed: page.committed, restored: page.restored, oldest, kept, room, pages }
}

/// Why records make no world, by the table of the one that was refused. The two records that say with which layouts and
/// capacities a world was made are refused when this build has others.
pub(super) const fn why_no_world(table: u16) -> Why {
    if table == Table::World as u16 || table == Table::Pager as u16 { Why::Version } else { Why::BadRecords }
}
