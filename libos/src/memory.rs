//! Memory: a range of physical memory.

use crate::capability::{Capability, CopyError, RangePart};
use abi::{Handle, Rights};

/// A capability to a range of frames. Pages are counted from its own start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub Handle);

impl Memory {
    /// `pages` of it from `offset`, with at most `rights`.
    pub fn part(self, offset: u64, pages: u64, rights: Rights) -> Result<Self, CopyError> {
        let part = RangePart { offset, length: pages };
        Capability(self.0).copy(rights, 0, part).map(|capability| Self(capability.0))
    }
}
