//! Batches of records: what `Export` writes into a page, what `Restore` takes back, what the store keeps.
//!
//! A page starts with a [`RawBatch`], then come `records` entries, each a [`RawEntry`] followed by `bytes` bytes,
//! padded to 8. All little-endian.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian::U16, little_endian::U32};

/// Table numbers. Those below 16 are the kernel's, 16 … 31 the pager's, 32 … the snapshot server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Table {
    /// One record: capacities, counters, vector components, versions.
    World = 0,
    /// Processes.
    Process = 1,
    /// Threads without their vector state.
    Thread = 2,
    /// Vector state of threads (XSAVE, standard layout).
    Vector = 3,
    /// Endpoints.
    Endpoint = 4,
    /// Notifications.
    Notification = 5,
    /// Budgets.
    Budget = 6,
    /// Capabilities, by slot.
    Capability = 7,
    /// The pager's memory objects.
    MemoryObject = 16,
    /// The pager's regions.
    Region = 17,
    /// The pager's address spaces.
    Space = 18,
    /// The pager's counters: one record.
    Pager = 19,
}

/// Largest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 1024;

/// Head of a batch.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawBatch {
    /// [`BATCH_MAGIC`].
    pub magic: U32,
    /// Entries that follow.
    pub records: U16,
    /// Bytes used in the page, this head included.
    pub bytes: U16,
}

/// "PrBt".
pub const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"PrBt");

/// Head of one record. No bytes: the record was removed.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawEntry {
    /// [`Table`].
    pub table: U16,
    /// Length of the record, without padding.
    pub bytes: U16,
    /// Index within the table.
    pub index: U32,
}

const _: () = assert!(size_of::<RawBatch>() == 8 && size_of::<RawEntry>() == 8);

/// Why a page is not a batch of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The head is missing or foreign.
    NotABatch,
    /// An entry leaves the page or is longer than a record may be.
    Entry,
}

/// Writes records into a page.
pub struct BatchWriter<'a> {
    page: &'a mut [u8],
    used: usize,
    records: u16,
}

impl<'a> BatchWriter<'a> {
    /// Starts a batch at the front of `page` (at most 65,535 bytes).
    pub fn new(page: &'a mut [u8]) -> Self {
        Self { page, used: size_of::<RawBatch>(), records: 0 }
    }

    /// Whether `records` records of `bytes` bytes in all, a multiple of 8 each, still fit.
    pub fn has_room(&self, records: usize, bytes: usize) -> bool {
        self.used + records * size_of::<RawEntry>() + bytes <= self.page.len()
    }

    /// Appends a record, all of whose `bytes` bytes `fill` writes; false when it does not fit.
    pub fn push(&mut self, table: u16, index: u32, bytes: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let start = self.used + size_of::<RawEntry>();
        let end = start + bytes.next_multiple_of(8);
        if bytes > RECORD_BYTES_MAX || end > self.page.len() {
            return false;
        }
        let entry = RawEntry { table: table.into(), bytes: (bytes as u16).into(), index: index.into() };
        self.page[self.used..start].copy_from_slice(entry.as_bytes());
        fill(&mut self.page[start..start + bytes]);
        self.page[start + bytes..end].fill(0);
        self.used = end;
        self.records += 1;
        true
    }

    /// Completes the head; returns the bytes used, 0 when no record was written.
    pub fn finish(self) -> usize {
        if self.records == 0 {
            return 0;
        }
        let head =
            RawBatch { magic: BATCH_MAGIC.into(), records: self.records.into(), bytes: (self.used as u16).into() };
        self.page[..size_of::<RawBatch>()].copy_from_slice(head.as_bytes());
        self.used
    }
}

/// Reads a batch: an iterator over (table, index, bytes), ended by the first error.
pub struct BatchReader<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> BatchReader<'a> {
    /// Opens the batch at the front of `page`.
    pub fn new(page: &'a [u8]) -> Result<Self, BatchError> {
        let (head, _) = RawBatch::read_from_prefix(page).map_err(|_| BatchError::NotABatch)?;
        let bytes = head.bytes.get() as usize;
        if head.magic.get() != BATCH_MAGIC || bytes > page.len() || bytes < size_of::<RawBatch>() {
            return Err(BatchError::NotABatch);
        }
        Ok(Self { rest: &page[size_of::<RawBatch>()..bytes], left: head.records.get() })
    }
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = Result<(u16, u32, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let parsed = RawEntry::read_from_prefix(self.rest).ok().and_then(|(entry, body)| {
            let bytes = entry.bytes.get() as usize;
            let padded = bytes.next_multiple_of(8);
            (bytes <= RECORD_BYTES_MAX && padded <= body.len()).then(|| {
                self.rest = &body[padded..];
                (entry.table.get(), entry.index.get(), &body[..bytes])
            })
        });
        if parsed.is_none() {
            self.left = 0;
        }
        Some(parsed.ok_or(BatchError::Entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec((any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..64)), 0..80)) {
            let mut page = [0xaa; 4096];
            let mut writer = BatchWriter::new(&mut page);
            let mut kept = Vec::new();
            for (table, index, bytes) in &records {
                if !writer.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) { break; }
                kept.push((*table, *index, bytes.as_slice()));
            }
            let used = writer.finish();
            prop_assert_eq!(used == 0, kept.is_empty());
            if used > 0 {
                let read: Result<Vec<_>, _> = BatchReader::new(&page).expect("batch").collect();
                prop_assert_eq!(read.expect("entries"), kept);
            }
        }

        #[test]
        fn any_bytes_are_survived(mut page in prop::collection::vec(any::<u8>(), 0..600), magic: bool) {
            if magic && page.len() >= 8 { page[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes()); }
            if let Ok(reader) = BatchReader::new(&page) {
                prop_assert!(reader.count() <= u16::MAX as usize);
            }
        }
    }
}
