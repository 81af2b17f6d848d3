//! Pages that the pager asked for and the store is still reading.

use abi::protocol::paging::PageName;

/// Reads under way at once; more stay in the ring.
pub(super) const PAGE_INS_MAX: usize = 32;

/// A fixed table, by token.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageIns {
    entries: [Option<(PageName, u32)>; PAGE_INS_MAX],
}

impl PageIns {
    pub(super) const NONE: Self = Self { entries: [None; PAGE_INS_MAX] };

    /// A free token.
    pub(super) fn free(&self) -> Option<usize> {
        self.entries.iter().position(Option::is_none)
    }

    pub(super) fn begin(&mut self, token: usize, page: PageName, frame: u32) {
        self.entries[token] = Some((page, frame));
    }

    /// What was asked for under this token.
    pub(super) fn end(&mut self, token: u64) -> Option<(PageName, u32)> {
        self.entries.get_mut(usize::try_from(token).ok()?)?.take()
    }
}
