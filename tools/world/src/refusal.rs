//! Why a store cannot be opened, as a sentence: which block, and what is wrong with it.

use format::{GeometryError, HeaderError};
use snapshot_server::{Damage, Failure, ReadError, Refusal};

/// A refusal as a sentence.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Header(error) => header(error),
        Refusal::Memory => "this disk or its log is larger than a store can be".into(),
        Refusal::Unreadable(block) => format!("{block} cannot be read"),
        Refusal::NotKept(epoch) => format!("epoch {epoch} is not kept here; world epochs lists those that are"),
        Refusal::Geometry(error) => geometry(error),
        Refusal::Damaged { damage, offer } => match offer {
            Some(epoch) => format!("{}; epoch {epoch} is not touched: --epoch {epoch}", self::damage(damage)),
            None => format!("{}; no older epoch is whole", self::damage(damage)),
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

fn damage(damage: &Damage) -> String {
    match damage {
        Damage::Roots => "no root is left: every slot of both rings is damaged".into(),
        Damage::Space(block) => format!("{block}, of the table of used blocks, is damaged"),
        Damage::Map(block) => format!("{block}, the top of the map, is damaged"),
        Damage::Log(block) => format!("{block}, of the log, is damaged: later ones prove that it went on"),
        Damage::Contradiction(block) => {
            format!("the log and the table of used blocks contradict each other at {block}")
        }
        Damage::LaterIncarnation(block) => format!("{block}, of the log, belongs to an incarnation that no root knows"),
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
