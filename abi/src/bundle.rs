//! The boot bundle: everything that a machine needs besides the kernel, in one checksummed file.
//!
//! `cargo xtask` packs it and the boot loader puts it into memory; kernel and init read it through [`Bundle`]. It
//! holds the programs (already flattened into page-aligned segments, so that nobody needs an ELF parser and pages
//! can be mapped where they lie), symbol tables for readable crash reports, and the system manifest: which server
//! runs which program, with which capabilities.
//!
//! The bytes are *untrusted*: [`Bundle::open`] checks all of them but the symbols before it gives out anything,
//! and [`Program::symbols`] checks those when they are wanted (a boot that goes well never needs them). A damaged,
//! shortened or hostile bundle is an error, never a panic.
//!
//! ```text
//! RawHeader │ RawProgram… │ RawSegment… │ RawService… │ pad │ segments and symbols, in the order of the programs
//!           └──────────── table, one checksum ────────┘     each segment page-aligned, padded with zeros
//! ```
//!
//! Invariants of an open bundle, checked by `check` in `view.rs` in this order:
//! 1. Header: magic, version, checksum; the file is exactly as long as the header says; reserved bytes are zero.
//! 2. Table: within the file, no more entries than the limits below, its checksum right.
//! 3. Names: not empty, printable ASCII, zero-filled; no two programs and no two services share one.
//! 4. Segments: in the user half, page-aligned, ascending and disjoint within their program, at most
//!    [`SEGMENTS_PER_PROGRAM_MAX`], never writable and executable, `0 < file_bytes.max(1) <= memory_bytes`.
//! 5. Entry: in an executable segment, within the bytes of the file. The kernel's own entry has no segments.
//! 6. Payloads: behind the table, ascending and disjoint in the order of the table; each segment's checksum holds
//!    and the bytes behind `file_bytes` in its last page are zero.
//! 7. Services: program known and runnable; policies known; grants counted, named, none twice.

mod error;
mod name;
mod raw;
mod service;
mod symbols;
#[cfg(test)]
mod tests;
mod view;

pub use error::{BundleError, Payload};
pub use name::Name;
pub use raw::{RawHeader, RawProgram, RawSegment, RawService, RawSymbol};
pub use service::{Grants, Lifetime, Restart, Service};
pub use symbols::{Symbol, Symbols};
pub use view::{Bundle, Program, Segment, SegmentRights};

/// First eight bytes of a bundle.
pub const MAGIC: [u8; 8] = *b"PERENBDL";
/// Layout described here; any other is refused.
pub const VERSION: u32 = 1;
/// Alignment of segments in memory and in the bundle.
pub const PAGE_BYTES: u64 = 4096;
/// Longest bundle, in bytes.
pub const BUNDLE_BYTES_MAX: u64 = 256 << 20;
/// Most programs in a bundle.
pub const PROGRAMS_MAX: u32 = 64;
/// Most segments of one program.
pub const SEGMENTS_PER_PROGRAM_MAX: u32 = 8;
/// Most services in the manifest.
pub const SERVICES_MAX: u32 = 64;
/// Most grants of one service.
pub const GRANTS_MAX: usize = 16;
/// Longest name of a program, a service or a grant, in bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// Most symbols of one program.
pub const SYMBOLS_MAX: u32 = 1 << 17;
/// Longest name of a symbol, in bytes; longer ones are cut by the packer.
pub const SYMBOL_NAME_BYTES_MAX: u32 = 200;
/// Addresses from here on are not a program's.
pub const USER_ADDRESS_END: u64 = 0x0000_8000_0000_0000;
/// Most pages that a service may ask for as its stack.
pub const STACK_PAGES_MAX: u32 = 4096;

/// The checksum used throughout: CRC-32 (IEEE 802.3 polynomial).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(0);
    hasher.update(bytes);
    hasher.finalize()
}
