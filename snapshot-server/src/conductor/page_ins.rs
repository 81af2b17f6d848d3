//! Pages that the pager asked for and the store is still reading.

use abi::protocol::paging::{PageName, PagedAs, ToPager};

use super::arrival::Put;
use super::environment::{Environment, Note};
use super::score::Conductor;
use crate::{Answer, Host, PageRef, PageSource, ReadError, Store};

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

impl<'m, H: Host> Conductor<'m, H> {
    pub(super) fn page_in(
        &mut self,
        store: &mut Store<'m, H>,
        env: &mut impl Environment,
        page: PageName,
        frame: u32,
    ) -> Put {
        let Some(token) = self.page_ins.free() else { return Put::Later };
        if env.room() == 0 {
            return Put::Later;
        }
        match store.read_page(token as u64, page.content, page.index, PageRef(u64::from(frame))) {
            Ok(Answer::Later) => self.page_ins.begin(token, page, frame),
            Ok(Answer::Now(source)) => self.paged(store, env, page, frame, Ok(source)),
            Err(ReadError::Busy) => return Put::Later,
            Err(_) => self.paged(store, env, page, frame, Err(())),
        }
        Put::Done
    }

    pub(super) fn paged(
        &mut self,
        store: &mut Store<'m, H>,
        env: &mut impl Environment,
        page: PageName,
        frame: u32,
        source: Result<PageSource, ()>,
    ) {
        let outcome = match source {
            Ok(PageSource::Disk) => PagedAs::Filled,
            Ok(PageSource::Zero) => {
                store.host_mut().bytes_mut(PageRef(u64::from(frame))).fill(0);
                PagedAs::Filled
            }
            Ok(PageSource::Absent) => PagedAs::Absent,
            Err(()) => {
                env.note(Note::Damaged(page.content, page.index));
                PagedAs::Damaged
            }
        };
        env.send(ToPager::Paged { page, frame, outcome });
    }
}
