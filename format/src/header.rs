//! The partition header: written once by format, in two copies, never again.

use abi::Epoch;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Block, BlockBytes, is_zero};
use crate::checksum::{RawChecksum, Seal, World};
use crate::geometry::{Geometry, GeometryError};

/// Version of every layout in this crate, as it is written. A store of another version is refused by name, but for
/// these, which are read and written on as they are: the map of version 1 has no second copies, neither 1 nor 2 says
/// which programs its world was made with, and roots of none of them say what the records take.
pub const VERSION: u32 = 4;
/// The version without second copies.
const SINGLE: u32 = 1;
/// The last version that does not say which programs.
const NAMELESS: u32 = 2;
/// The last version whose checkpoints do not say what their records take.
const UNCOUNTED: u32 = 3;

const MAGIC: [u8; 8] = *b"PERENNIA";

/// [`Header`] as stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    /// "PERENNIA".
    pub magic: [u8; 8],
    /// [`Header::version`].
    pub version: U32,
    /// 4,096.
    pub block_size: U32,
    /// Checksum of the whole block with this field zero.
    pub sum: RawChecksum,
    /// [`Header::world`].
    pub world: U64,
    /// Blocks of the disk.
    pub blocks: U64,
    /// Slots of each root ring.
    pub root_slots: U32,
    /// Blocks of a segment.
    pub segment_blocks: U32,
    /// When it was formatted, in ns since 1970 as the formatting host knew it; 0 when unknown.
    pub formatted_ns: U64,
    /// [`Header::programs`]; zero before version 3.
    pub programs: U64,
    /// Zero.
    pub reserved: [u8; 24],
    /// Zero.
    pub rest: [u8; 4000],
}

const _: () = assert!(size_of::<RawHeader>() == 4096);

/// Which store this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`VERSION`], or an older one that is still read.
    pub version: u32,
    /// Identity of the store.
    pub world: World,
    /// How the disk is divided.
    pub geometry: Geometry,
    /// When it was formatted (ns since 1970; 0 when unknown).
    pub formatted_ns: u64,
    /// Fingerprint of the programs and the manifest that the world was made with, as init counts it; 0 when unknown.
    /// A later build finds out by it that the world goes on with older programs than its own.
    pub programs: u64,
}

/// Why a block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Nothing but zeroes: never formatted.
    Blank,
    /// Something else, or damaged beyond its first bytes.
    Foreign,
    /// A store of another version.
    Version(u32),
    /// A header of ours with a wrong checksum.
    Damaged,
    /// Numbers that make no geometry.
    Geometry(GeometryError),
    /// Made for a larger disk: blocks it says.
    Truncated(u64),
}

impl Header {
    /// Whether nodes of the map are written twice.
    pub fn has_twins(&self) -> bool {
        self.version > SINGLE
    }

    /// Whether checkpoints say what their records take.
    pub fn counts_records(&self) -> bool {
        self.version > UNCOUNTED
    }

    /// Writes the copy that belongs at `at`.
    pub fn write(&self, at: Block, bytes: &mut BlockBytes) {
        let mut raw = RawHeader {
            magic: MAGIC,
            version: U32::new(self.version),
            block_size: U32::new(4096),
            sum: RawChecksum::default(),
            world: U64::new(self.world.0),
            blocks: U64::new(u64::from(self.geometry.blocks())),
            root_slots: U32::new(self.geometry.root_slots()),
            segment_blocks: U32::new(self.geometry.segment_blocks()),
            formatted_ns: U64::new(self.formatted_ns),
            programs: U64::new(if self.version > NAMELESS { self.programs } else { 0 }),
            reserved: [0; 24],
            rest: [0; 4000],
        };
        raw.sum = Seal::Header.checksum(self.world, at, Epoch::NONE, raw.as_bytes()).into();
        bytes.copy_from_slice(raw.as_bytes());
    }

    /// Checks the copy read from `at` of a disk of `disk_blocks` blocks.
    pub fn parse(at: Block, bytes: &BlockBytes, disk_blocks: u64) -> Result<Self, HeaderError> {
        let Ok(mut raw) = RawHeader::read_from_bytes(bytes.as_slice()) else {
            return Err(HeaderError::Foreign);
        };
        if raw.magic != MAGIC {
            return Err(if is_zero(bytes) { HeaderError::Blank } else { HeaderError::Foreign });
        }
        if !(SINGLE..=VERSION).contains(&raw.version.get()) {
            return Err(HeaderError::Version(raw.version.get()));
        }
        let sum = raw.sum;
        raw.sum = RawChecksum::default();
        let world = World(raw.world.get());
        let nameless = raw.version.get() <= NAMELESS;
        let zeroes = raw.reserved == [0; 24]
            && raw.rest == [0; 4000]
            && raw.block_size.get() == 4096
            && !(nameless && raw.programs.get() != 0);
        if sum != Seal::Header.checksum(world, at, Epoch::NONE, raw.as_bytes()).into() || !zeroes {
            return Err(HeaderError::Damaged);
        }
        if raw.blocks.get() > disk_blocks {
            return Err(HeaderError::Truncated(raw.blocks.get()));
        }
        let geometry = Geometry::new(raw.blocks.get(), raw.root_slots.get(), raw.segment_blocks.get())
            .map_err(HeaderError::Geometry)?;
        let (formatted_ns, programs) = (raw.formatted_ns.get(), raw.programs.get());
        Ok(Self { version: raw.version.get(), world, geometry, formatted_ns, programs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: VERSION,
            world: World(77),
            geometry: Geometry::new(4096, 8, 64).expect("fits"),
            formatted_ns: 5,
            programs: 0xfeed,
        }
    }

    #[test]
    fn what_is_written_is_read_only_where_it_belongs() {
        let mut bytes = [0u8; 4096];
        header().write(Block(0), &mut bytes);
        assert_eq!(Header::parse(Block(0), &bytes, 4096), Ok(header()));
        assert_eq!(Header::parse(Block(0), &bytes, 9999), Ok(header()));
        assert_eq!(Header::parse(Block(4095), &bytes, 4096), Err(HeaderError::Damaged));
        assert_eq!(Header::parse(Block(0), &bytes, 4095), Err(HeaderError::Truncated(4096)));
    }

    #[test]
    fn other_disks_are_told_apart() {
        let mut bytes = [0u8; 4096];
        assert_eq!(Header::parse(Block(0), &bytes, 4096), Err(HeaderError::Blank));
        bytes[510] = 0x55;
        assert_eq!(Header::parse(Block(0), &bytes, 4096), Err(HeaderError::Foreign));
        header().write(Block(0), &mut bytes);
        bytes[8] = VERSION as u8 + 1;
        assert_eq!(Header::parse(Block(0), &bytes, 4096), Err(HeaderError::Version(VERSION + 1)));
        for (version, twins, programs) in [(1, false, 0), (2, true, 0), (3, true, 7)] {
            let older = Header { version, programs, ..header() };
            older.write(Block(0), &mut bytes);
            assert_eq!(Header::parse(Block(0), &bytes, 4096), Ok(older));
            assert_eq!((older.has_twins(), older.counts_records()), (twins, false));
        }
        assert!(header().has_twins() && header().counts_records());
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut bytes = [0u8; 4096];
        header().write(Block(0), &mut bytes);
        for bit in 0..4096 * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(Block(0), &bytes, 4096).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
