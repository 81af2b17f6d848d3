//! A short name as it stands in the bundle.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::NAME_BYTES_MAX;

/// 1 to [`NAME_BYTES_MAX`] bytes of printable ASCII without spaces, filled up with zeros.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Name([u8; NAME_BYTES_MAX]);

impl Name {
    /// A field that holds no name.
    pub const EMPTY: Self = Self([0; NAME_BYTES_MAX]);

    /// The name `text`, or `None` if it is empty, too long, or holds anything but printable ASCII without spaces.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(bytes)).filter(Self::is_valid)
    }

    /// The name as text; the empty string for anything that is not a valid name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let (used, _) = self.0.split_at(self.used_bytes());
        if self.is_valid() { core::str::from_utf8(used).unwrap_or("") } else { "" }
    }

    /// Whether this is a name at all.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let (used, rest) = self.0.split_at(self.used_bytes());
        !used.is_empty() && used.iter().all(u8::is_ascii_graphic) && rest.iter().all(|&byte| byte == 0)
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; NAME_BYTES_MAX]
    }

    fn used_bytes(&self) -> usize {
        self.0.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES_MAX)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
