//! Why a store cannot be opened, as a sentence: which block, and what is wrong with it.

use format::{GeometryError, HeaderError, ItemError, NodeError, RootError};
use snapshot_server::{Failure, ReadError, Refusal};

use crate::survey::RootFlaw;

/// A refusal as a sentence.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Header(error) => header(error),
        Refusal::Memory => "this disk or its log is larger than a store can be".into(),
        Refusal::Unreadable(block) => format!("{block} cannot be read"),
        Refusal::NotKept(epoch) => format!("epoch {epoch} is not kept here; world epochs lists those that are"),
        Refusal::Geometry(error) => geometry(error),
        Refusal::Damaged { damage, offer } => match offer {
            Some(epoch) => format!("{}; epoch {epoch} is not touched: --epoch {epoch}", damage),
            None => format!("{}; no older epoch is whole", damage),
        },
    }
}

fn header(error: &HeaderError) -> String {
    match error {
        HeaderError::Blank => "the header is blank: never formatted".into(),
        HeaderError::Foreign => "the header is not that of a store: something else, or damaged".into(),
        HeaderError::Version(version) => {
            format!("the header is of version {version}; this tool knows versions up to {}", format::VERSION)
        }
        HeaderError::Damaged => "the header is damaged: its checksum is wrong".into(),
        HeaderError::Geometry(error) => format!("the header makes no sense: {}", geometry(error)),
        HeaderError::Truncated(blocks) => format!("truncated: the header speaks of {blocks} blocks"),
    }
}

fn geometry(error: &GeometryError) -> String {
    match error {
        GeometryError::DiskTooLarge(blocks) => format!("{blocks} blocks are more than a store can have"),
        GeometryError::DiskTooSmall(blocks, needed) => format!("{blocks} blocks are too few, {needed} are needed"),
        GeometryError::RootSlots(slots) => format!("{slots} slots make no ring of roots"),
        GeometryError::SegmentBlocks(blocks) => format!("{blocks} blocks make no segment"),
    }
}

/// A failure as a sentence.
pub(crate) fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Disk { op, block, error } => format!("the disk failed to {op:?} {block}: {error:?}").to_lowercase(),
        Failure::Map(block) => format!("{block}, of the map, is damaged"),
    }
}

/// A failed read as the end of a sentence.
pub(crate) fn read(error: &ReadError) -> String {
    match error {
        ReadError::Invalid => "there can be no such page".into(),
        ReadError::Busy => "the store is busy".into(),
        ReadError::Unreadable(block) => format!("{block} cannot be read"),
        ReadError::Wrong(block) => format!("what lies in {block} is not what was written"),
        ReadError::Map(block) => format!("{block}, of the map on the way to it, is damaged"),
    }
}

/// What a node of the map breaks.
pub(crate) fn node(error: &NodeError) -> String {
    match error {
        NodeError::Damaged => "its contents do not hash to what its parent says".into(),
        NodeError::Head => "its head contradicts itself, or it is of another level than its parent says".into(),
        NodeError::Item(error) => format!("an item in it is none: {}", item(*error)),
        NodeError::Order(key) => {
            format!("what it says of index {} of object {:#x} is out of order", key.index, key.object)
        }
        NodeError::Place(block) => format!("it points to {block}, which is outside"),
    }
}

fn item(error: ItemError) -> String {
    let of = |key: format::Key| format!("index {} of object {:#x}", key.index, key.object);
    match error {
        ItemError::Short => "it ends before it is whole".into(),
        ItemError::Kind(kind) => format!("there is no kind {kind} that has such fields here"),
        ItemError::Key(key) => format!("its kind cannot have {}", of(key)),
        ItemError::Extent(key, count) => format!("{count} pages from {} are empty or too many", of(key)),
        ItemError::RecordBytes(bytes) => format!("a record has no {bytes} bytes"),
        ItemError::Place(key) => format!("{} lies nowhere", of(key)),
    }
}

/// What a copy of a root breaks.
pub fn root(flaw: RootFlaw) -> &'static str {
    match flaw {
        RootFlaw::Unreadable => "it cannot be read",
        RootFlaw::Wrong(RootError::Foreign) => "no root was written there",
        RootFlaw::Wrong(RootError::Damaged) => {
            "its checksum is wrong: torn by a power cut, rotten, misplaced, or of another world"
        }
        RootFlaw::Wrong(RootError::Invalid) => "it is whole, and what it says cannot be",
    }
}
