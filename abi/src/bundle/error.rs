//! Why a bundle was refused. All of these blame the file: whoever packed, stored or loaded it.

use core::fmt;

/// Which payload of a program an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A segment, by its index in the bundle's table.
    Segment(u32),
    /// The symbols of a program, by its index in the bundle's table.
    Symbols(u32),
}

/// Why [`super::Bundle::open`] or [`super::Program::symbols`] refused a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// Fewer bytes than the header needs or announces: the file was cut short.
    Truncated {
        /// Bytes that should be there.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// More bytes than the header announces.
    Overlong {
        /// Bytes that should be there.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// It does not begin with [`super::MAGIC`].
    NotABundle,
    /// It was packed for another version of this layout.
    Version {
        /// The version it names.
        found: u32,
    },
    /// The header's checksum is wrong.
    HeaderChecksum,
    /// A reserved byte of the header or of an entry is not zero.
    Reserved,
    /// The header asks for more entries than the limits allow, or its table does not fit.
    TableLayout,
    /// The table's checksum is wrong.
    TableChecksum,
    /// A name is empty, not printable ASCII, not zero-filled, or not unique.
    Name,
    /// A program's entries break an invariant: alignment, order, range, rights or entry point.
    Program {
        /// Its index in the table.
        index: u32,
    },
    /// A payload lies outside the file, overlaps another or is out of order.
    PayloadLayout(Payload),
    /// A payload's checksum or zero padding is wrong.
    PayloadChecksum(Payload),
    /// A service names an unknown program or policy, or its grants are malformed.
    Service {
        /// Its index in the table.
        index: u32,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, found } => {
                write!(f, "the boot bundle is cut short: {found} of {needed} bytes are there")
            }
            Self::Overlong { needed, found } => {
                write!(f, "the boot bundle has {found} bytes where its header says {needed}")
            }
            Self::NotABundle => write!(f, "this file is not a boot bundle"),
            Self::Version { found } => {
                write!(f, "the boot bundle has layout version {found}, this kernel reads version {}", super::VERSION)
            }
            Self::HeaderChecksum => write!(f, "the boot bundle's header has a wrong checksum"),
            Self::Reserved => write!(f, "the boot bundle sets bytes that must be zero"),
            Self::TableLayout => write!(f, "the boot bundle's table does not fit its limits"),
            Self::TableChecksum => write!(f, "the boot bundle's table has a wrong checksum"),
            Self::Name => write!(f, "a name in the boot bundle is malformed or not unique"),
            Self::Program { index } => write!(f, "program {index} of the boot bundle is malformed"),
            Self::PayloadLayout(Payload::Segment(index)) => {
                write!(f, "segment {index} of the boot bundle is out of place")
            }
            Self::PayloadLayout(Payload::Symbols(index)) => {
                write!(f, "the symbols of program {index} in the boot bundle are out of place")
            }
            Self::PayloadChecksum(Payload::Segment(index)) => {
                write!(f, "segment {index} of the boot bundle has a wrong checksum")
            }
            Self::PayloadChecksum(Payload::Symbols(index)) => {
                write!(f, "the symbols of program {index} in the boot bundle have a wrong checksum")
            }
            Self::Service { index } => write!(f, "service {index} of the boot bundle is malformed"),
        }
    }
}

impl core::error::Error for BundleError {}
