//! A first epoch that does not fit: what is still to come of it is counted, not put, so that people can be told how large
//! a disk it takes. Of a later epoch that is no help: what is on the disk can be dropped.

use abi::Epoch;
use abi::protocol::paging::ToPager;
use abi::protocol::wiring::Failure as Why;

use super::arrival::Put;
use super::environment::{Environment, Note};
use super::score::{Conductor, ROOM_KEPT};
use crate::{Host, Store};

impl<'m, H: Host> Conductor<'m, H> {
    /// The store takes no more of this epoch. True: something has moved on.
    pub(super) fn full(&mut self, store: &Store<'m, H>, env: &mut impl Environment) -> bool {
        let first = [self.page.restored, self.page.committed, self.sealed] == [Epoch::NONE; 3];
        if first {
            // What was refused comes again, and is counted.
            self.overfull = Some(store.demand());
        } else {
            self.pending = None;
            self.fail(env, Why::Full, Note::Full);
        }
        true
    }

    /// A page in place of which nothing is put.
    pub(super) fn count_page(&mut self, env: &mut impl Environment, epoch: Epoch, frame: u32, zero: bool) -> Put {
        if env.room() <= ROOM_KEPT {
            return Put::Later;
        }
        if let Some(demand) = &mut self.overfull {
            demand.keys += 1;
            demand.pages += u64::from(!zero);
        }
        env.send(ToPager::Released { epoch, frame });
        Put::Done
    }

    /// All of it was counted.
    pub(super) fn too_large(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        let demand = self.overfull.take().unwrap_or_default();
        let (needed, blocks) = (store.blocks_for(demand), store.host_mut().blocks());
        // Else it is this server's memory that does not suffice.
        let note = if needed > blocks { Note::TooSmall(needed, blocks) } else { Note::Full };
        self.fail(env, Why::Full, note);
        true
    }
}
