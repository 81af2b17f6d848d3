//! A batch of records on its way into the store, record by record: the store may say "not now" after any of them.

use abi::PAGE_SIZE;
use abi::record::BatchReader;

use super::environment::Batch;
use crate::room::Demand;
use crate::{Host, PutError, Store};

/// How putting a batch ended, for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// All of it is in the store (or there was none).
    Done,
    /// The store cannot take more now.
    Later,
    /// The store is full.
    Full,
    /// It is no batch, or names what no store holds: whoever wrote it is to blame.
    Broken,
}

/// A batch and how far it has been put.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    batch: Batch,
    waiting: bool,
    put: usize,
}

impl Arrival {
    pub(super) const NONE: Self = Self { batch: [0; PAGE_SIZE], waiting: false, put: 0 };

    /// Whether a batch is still on its way.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The page for the next batch; [`Self::arrived`] says that one is there.
    pub(super) fn page(&mut self) -> &mut Batch {
        &mut self.batch
    }

    pub(super) fn arrived(&mut self) {
        (self.waiting, self.put) = (true, 0);
    }

    /// Puts what the store takes now; `taken` hears of each record.
    pub(super) fn put<H: Host>(&mut self, store: &mut Store<'_, H>, mut taken: impl FnMut(u16, u32)) -> Put {
        if !self.waiting {
            return Put::Done;
        }
        let Ok(reader) = BatchReader::new(&self.batch) else { return Put::Broken };
        for entry in reader.skip(self.put) {
            let Ok((table, index, bytes)) = entry else { return Put::Broken };
            let result = if bytes.is_empty() {
                store.remove_record(table, index)
            } else {
                store.put_record(table, index, bytes)
            };
            match put_result(result) {
                Put::Done => {
                    self.put += 1;
                    taken(table, index);
                }
                other => return other,
            }
        }
        self.waiting = false;
        Put::Done
    }
}

impl Arrival {
    /// Counts what has not been put, in place of putting it.
    pub(super) fn count(&mut self, demand: &mut Demand) -> Put {
        let Ok(reader) = BatchReader::new(&self.batch) else { return Put::Broken };
        for entry in reader.skip(self.put) {
            let Ok((.., bytes)) = entry else { return Put::Broken };
            demand.record(bytes.len());
        }
        self.waiting = false;
        Put::Done
    }
}

/// What a refusal of the store means here.
pub(super) fn put_result(result: Result<(), PutError>) -> Put {
    match result {
        Ok(()) => Put::Done,
        Err(PutError::Busy) => Put::Later,
        Err(PutError::Full) => Put::Full,
        Err(_) => Put::Broken,
    }
}
