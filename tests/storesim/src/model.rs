//! What an epoch should hold.

use std::collections::BTreeMap;

use format::BlockBytes;

/// Contents of a page: a number from which its bytes follow, 0 for zeroes.
pub(crate) type Content = u64;

/// Pages and records of a world at one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// By object and index; what is not here is absent.
    pub pages: BTreeMap<(u64, u64), Content>,
    /// By table and index.
    pub records: BTreeMap<(u16, u32), Vec<u8>>,
}

/// Fills a page so that each of its words tells which content it belongs to and where it should be: a torn or mixed
/// page is never equal to a whole one.
pub fn fill(content: Content, bytes: &mut BlockBytes) {
    for (position, word) in bytes.chunks_exact_mut(8).enumerate() {
        let value = content.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(position as u64);
        word.copy_from_slice(&value.to_le_bytes());
    }
}

impl Model {
    /// Drops `count` pages of `object` from `index`.
    pub fn drop_pages(&mut self, object: u64, index: u64, count: u64) {
        let gone: Vec<_> = self.pages.range((object, index)..(object, index + count)).map(|(key, _)| *key).collect();
        for key in gone {
            self.pages.remove(&key);
        }
    }
}
