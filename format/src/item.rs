//! Items: what the log says has changed, and what a leaf of the page map says is so.
//!
//! An item is a header of 24 bytes and a body: of a page its checksum, of an extent its length, of a record its bytes,
//! padded with zeroes to 8.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Block, Place};
use crate::checksum::{Checksum, RawChecksum};

/// Most bytes of a record.
pub const RECORD_BYTES_MAX: usize = 1024;
/// Fewest bytes that a record takes when stored, with its head and padding.
pub const RECORD_STORED_MIN: usize = record_stored(1);
/// Most bytes that any item takes when stored: the largest record's.
pub const RECORD_STORED_MAX: usize = record_stored(RECORD_BYTES_MAX);
/// Bytes that a page takes when stored.
pub const PAGE_STORED: usize = HEAD + 16;
/// Bytes that an extent takes when stored.
pub const EXTENT_STORED: usize = HEAD + 8;
/// Indices of pages end here, so that no sum of an index and a count overflows.
pub const EXTENT_MAX: u64 = 1 << 52;
/// Objects with this bit are not memory but tables of records; their low 16 bits are the table.
pub const TABLE_BIT: u64 = 1 << 63;

/// What an item speaks of: a page of an object, or a record of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The memory object, below [`TABLE_BIT`], or [`TABLE_BIT`] and a table's number.
    pub object: u64,
    /// Page of the object, below [`EXTENT_MAX`], or index in the table.
    pub index: u64,
}

impl Key {
    /// The record `index` of `table`.
    pub const fn record(table: u16, index: u32) -> Self {
        Self { object: TABLE_BIT | table as u64, index: index as u64 }
    }

    /// Table and index, when this names a record.
    pub const fn as_record(self) -> Option<(u16, u32)> {
        let table = self.object ^ TABLE_BIT;
        if table > u16::MAX as u64 || self.index > u32::MAX as u64 {
            return None;
        }
        Some((table as u16, self.index as u32))
    }

    /// Whether this names a page that an object can have.
    pub const fn is_page(self) -> bool {
        self.object < TABLE_BIT && self.index < EXTENT_MAX
    }
}

/// One entry of log or map.
///
/// Invariants: (I1) pages and extents of zeroes have page keys, records have record keys, what is absent may be either;
/// (I2) an extent has at least one page and ends at or before [`EXTENT_MAX`]; (I3) a record has 1 ..=
/// [`RECORD_BYTES_MAX`] bytes; (I4) a page has a place that is not nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A page and where it lies.
    Page {
        /// Which.
        key: Key,
        /// Where.
        place: Place,
        /// What it hashes to there.
        sum: Checksum,
    },
    /// Pages that are zero.
    Zero {
        /// The first.
        key: Key,
        /// How many.
        count: u64,
    },
    /// Pages or records that are no more. Never in a leaf.
    Absent {
        /// The first.
        key: Key,
        /// How many.
        count: u64,
    },
    /// A record.
    Record {
        /// Which.
        key: Key,
        /// Its contents.
        bytes: &'a [u8],
    },
}

const KIND_PAGE: u8 = 1;
const KIND_ZERO: u8 = 2;
const KIND_ABSENT: u8 = 3;
const KIND_RECORD: u8 = 4;

/// The header of an item as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawItem {
    /// 1 page, 2 zero, 3 absent, 4 record.
    pub kind: u8,
    /// Of a page the incarnation that wrote it, else zero.
    pub incarnation: [u8; 3],
    /// Of a page its block, of a record its length in bytes, else zero.
    pub low: U32,
    /// [`Key::object`].
    pub object: U64,
    /// [`Key::index`].
    pub index: U64,
}

const HEAD: usize = size_of::<RawItem>();
const _: () = assert!(HEAD == 24);

/// Why bytes are no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemError {
    /// Ends before it is whole.
    Short,
    /// A kind that does not exist, or fields that its kind does not use.
    Kind(u8),
    /// A key that its kind cannot have (I1).
    Key(Key),
    /// An extent that is empty or too long (I2).
    Extent(Key, u64),
    /// A record of no bytes or too many (I3).
    RecordBytes(u32),
    /// A page that lies nowhere (I4).
    Place(Key),
}

/// Bytes that a record of `length` bytes takes when stored: its head, and padding to a multiple of 8.
pub const fn record_stored(length: usize) -> usize {
    HEAD + length.next_multiple_of(8)
}

impl<'a> Item<'a> {
    /// What it speaks of; of an extent the first.
    pub fn key(&self) -> Key {
        match *self {
            Self::Page { key, .. } | Self::Zero { key, .. } | Self::Absent { key, .. } | Self::Record { key, .. } => {
                key
            }
        }
    }

    /// How many pages or records it speaks of.
    pub fn count(&self) -> u64 {
        match *self {
            Self::Page { .. } | Self::Record { .. } => 1,
            Self::Zero { count, .. } | Self::Absent { count, .. } => count,
        }
    }

    /// Bytes that it takes when stored, a multiple of 8.
    pub fn stored_bytes(&self) -> usize {
        match self {
            Self::Page { .. } => PAGE_STORED,
            Self::Zero { .. } | Self::Absent { .. } => EXTENT_STORED,
            Self::Record { bytes, .. } => record_stored(bytes.len()),
        }
    }

    /// I1 to I4.
    pub fn check(&self) -> Result<(), ItemError> {
        let key = self.key();
        let extent = |count: u64, end: u64| {
            let valid = count > 0 && key.index.checked_add(count).is_some_and(|past| past <= end);
            if valid { Ok(()) } else { Err(ItemError::Extent(key, count)) }
        };
        match *self {
            Self::Page { place, .. } => {
                let valid = place.block.is_some() && (1..=abi::INCARNATION_MAX).contains(&place.incarnation);
                let wrong = if key.is_page() { ItemError::Place(key) } else { ItemError::Key(key) };
                if key.is_page() && valid { Ok(()) } else { Err(wrong) }
            }
            Self::Zero { .. } if !key.is_page() => Err(ItemError::Key(key)),
            Self::Zero { count, .. } => extent(count, EXTENT_MAX),
            Self::Absent { .. } if !key.is_page() && key.as_record().is_none() => Err(ItemError::Key(key)),
            Self::Absent { count, .. } if key.is_page() => extent(count, EXTENT_MAX),
            Self::Absent { count, .. } => extent(count, 1 << 32),
            Self::Record { .. } if key.as_record().is_none() => Err(ItemError::Key(key)),
            Self::Record { bytes, .. } if bytes.is_empty() || bytes.len() > RECORD_BYTES_MAX => {
                Err(ItemError::RecordBytes(bytes.len() as u32))
            }
            Self::Record { .. } => Ok(()),
        }
    }

    /// Writes it to the front of `out`; false, and nothing written, when it does not fit.
    pub fn write(&self, out: &mut [u8]) -> bool {
        let total = self.stored_bytes();
        let Some(out) = out.get_mut(..total) else {
            return false;
        };
        let key = self.key();
        let (kind, incarnation, low) = match *self {
            Self::Page { place, .. } => (KIND_PAGE, place.incarnation, place.block.0),
            Self::Zero { .. } => (KIND_ZERO, 0, 0),
            Self::Absent { .. } => (KIND_ABSENT, 0, 0),
            Self::Record { bytes, .. } => (KIND_RECORD, 0, bytes.len() as u32),
        };
        let [a, b, c, _] = incarnation.to_le_bytes();
        let raw = RawItem {
            kind,
            incarnation: [a, b, c],
            low: U32::new(low),
            object: U64::new(key.object),
            index: U64::new(key.index),
        };
        out[..HEAD].copy_from_slice(raw.as_bytes());
        match *self {
            Self::Page { sum, .. } => out[HEAD..].copy_from_slice(RawChecksum::from(sum).as_bytes()),
            Self::Zero { count, .. } | Self::Absent { count, .. } => {
                out[HEAD..].copy_from_slice(&count.to_le_bytes());
            }
            Self::Record { bytes, .. } => {
                out[HEAD..HEAD + bytes.len()].copy_from_slice(bytes);
                out[HEAD + bytes.len()..].fill(0);
            }
        }
        true
    }

    /// The item at the front of `bytes`, checked.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ItemError> {
        let (raw, body) = RawItem::ref_from_prefix(bytes).map_err(|_| ItemError::Short)?;
        let key = Key { object: raw.object.get(), index: raw.index.get() };
        let [a, b, c] = raw.incarnation;
        let incarnation = u32::from_le_bytes([a, b, c, 0]);
        let low = raw.low.get();
        let plain = incarnation == 0 && low == 0;
        let item = match raw.kind {
            KIND_PAGE => {
                let (sum, _) = RawChecksum::ref_from_prefix(body).map_err(|_| ItemError::Short)?;
                Self::Page { key, place: Place { block: Block(low), incarnation }, sum: (*sum).into() }
            }
            KIND_ZERO | KIND_ABSENT if plain => {
                let (count, _) = U64::ref_from_prefix(body).map_err(|_| ItemError::Short)?;
                let count = count.get();
                if raw.kind == KIND_ZERO { Self::Zero { key, count } } else { Self::Absent { key, count } }
            }
            KIND_RECORD if incarnation == 0 => {
                let length = low as usize;
                if length > RECORD_BYTES_MAX {
                    return Err(ItemError::RecordBytes(low));
                }
                let padded = body.get(..length.next_multiple_of(8)).ok_or(ItemError::Short)?;
                if padded[length..].iter().any(|byte| *byte != 0) {
                    return Err(ItemError::Kind(KIND_RECORD));
                }
                Self::Record { key, bytes: &padded[..length] }
            }
            kind => return Err(ItemError::Kind(kind)),
        };
        item.check()?;
        Ok(item)
    }
}

/// The items that lie one after another in a slice.
///
/// Over bytes that a parse has checked it yields them all; over others it stops at the first that is none.
#[derive(Clone, Debug)]
pub struct ItemIter<'a> {
    bytes: &'a [u8],
}

impl<'a> ItemIter<'a> {
    /// Over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not yet consumed.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Checks that all of it is items, and counts them.
    pub fn check_all(mut self) -> Result<u32, ItemError> {
        let mut count = 0;
        while !self.bytes.is_empty() {
            let item = Item::parse(self.bytes)?;
            self.bytes = &self.bytes[item.stored_bytes()..];
            count += 1;
        }
        Ok(count)
    }
}

impl<'a> Iterator for ItemIter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let item = Item::parse(self.bytes).ok()?;
        self.bytes = &self.bytes[item.stored_bytes()..];
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_item(record: &[u8], pick: u8, object: u64, index: u64, n: u64) -> Item<'_> {
        let key = Key { object: object & !TABLE_BIT, index: index % EXTENT_MAX };
        let count = 1 + n % (EXTENT_MAX - key.index);
        match pick % 4 {
            0 => Item::Page {
                key,
                place: Place { block: Block(1 + n as u32 % 1000), incarnation: 1 + (n as u32 % 77) },
                sum: Checksum(u128::from(object) << 64 | u128::from(index)),
            },
            1 => Item::Zero { key, count },
            2 => Item::Absent { key, count },
            _ => Item::Record { key: Key::record(object as u16, index as u32), bytes: record },
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_parsed(pick: u8, object: u64, index: u64, n: u64,
                                     record in prop::collection::vec(any::<u8>(), 1..=RECORD_BYTES_MAX)) {
            let item = any_item(&record, pick, object, index, n);
            let mut out = [0xffu8; 2048];
            prop_assert!(item.write(&mut out));
            prop_assert_eq!(Item::parse(&out), Ok(item));
            let exact = item.stored_bytes();
            prop_assert!(!item.write(&mut out[..exact - 1]));
            prop_assert!(Item::parse(&out[..exact - 1]).is_err());
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..6) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() { *first = kind; }
            for item in ItemIter::new(&bytes) {
                prop_assert_eq!(item.check(), Ok(()));
            }
        }
    }
}
