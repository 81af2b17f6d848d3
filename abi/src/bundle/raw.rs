//! The bytes of a bundle as they lie in the file: little-endian, without padding, any alignment.
//!
//! Nothing here has been checked; only `view.rs` (reading) and the packer (writing) touch these.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{GRANTS_MAX, Name};

/// The first 64 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    /// [`super::MAGIC`].
    pub magic: [u8; 8],
    /// [`super::VERSION`].
    pub version: U32,
    /// Entries of the program table.
    pub program_count: U32,
    /// Entries of the segment table.
    pub segment_count: U32,
    /// Entries of the service table.
    pub service_count: U32,
    /// Length of the whole file.
    pub total_bytes: U64,
    /// Checksum of the three tables, which follow the header without a gap.
    pub table_checksum: U32,
    /// Zero.
    pub reserved: [u8; 24],
    /// Checksum of the bytes of this header before this field.
    pub header_checksum: U32,
}

/// One program.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawProgram {
    /// Its name.
    pub name: Name,
    /// Address of its first instruction; zero if it has no segments.
    pub entry: U64,
    /// Where its symbols begin in the file: `symbol_count` [`RawSymbol`]s, then their names.
    pub symbols_offset: U64,
    /// First of its entries in the segment table. Programs own consecutive runs, in order.
    pub segment_first: U32,
    /// Number of its segments; zero for the kernel, which the boot loader loads.
    pub segment_count: U32,
    /// Number of its symbols.
    pub symbol_count: U32,
    /// Length of the names behind the symbols.
    pub symbol_names_bytes: U32,
    /// Checksum over symbols and names.
    pub symbols_checksum: U32,
    /// Zero.
    pub reserved: U32,
}

/// One segment of a program.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSegment {
    /// Where it lies in the program's address space.
    pub address: U64,
    /// Where its bytes begin in the file.
    pub offset: U64,
    /// How many of its bytes the file holds; whole pages are there, zero behind this.
    pub file_bytes: U64,
    /// How long it is in memory; what the file does not hold is zero.
    pub memory_bytes: U64,
    /// Bits of [`super::SegmentRights`].
    pub rights: U32,
    /// Checksum over its whole pages in the file.
    pub checksum: U32,
}

/// One service of the manifest.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawService {
    /// Its name.
    pub name: Name,
    /// The program it runs.
    pub program: Name,
    /// Number of pages of its first thread's stack.
    pub stack_pages: U32,
    /// 0 to 255; higher runs first.
    pub priority: u8,
    /// A [`super::Restart`] as a number.
    pub restart: u8,
    /// A [`super::Lifetime`] as a number.
    pub lifetime: u8,
    /// How many of `grants` are used.
    pub grant_count: u8,
    /// Names of the capabilities it is given, in this order.
    pub grants: [Name; GRANTS_MAX],
}

/// One symbol.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSymbol {
    /// Its first address.
    pub address: U64,
    /// Its length in memory.
    pub bytes: U32,
    /// Where its name begins among the names of its program.
    pub name_offset: U32,
    /// How long its name is.
    pub name_bytes: U32,
}

const _: () = {
    assert!(size_of::<RawHeader>() == 64);
    assert!(core::mem::offset_of!(RawHeader, header_checksum) == 60);
    assert!(size_of::<RawProgram>() == 72);
    assert!(size_of::<RawSegment>() == 40);
    assert!(size_of::<RawService>() == 72 + 32 * GRANTS_MAX);
    assert!(size_of::<RawSymbol>() == 20);
};
