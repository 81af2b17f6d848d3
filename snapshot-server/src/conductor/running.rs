//! The world while it runs: when it is cut, and how an epoch goes from complete to sealed.

use abi::protocol::paging::ToPager;
use abi::protocol::wiring::Failure as Why;

use super::arrival::Put;
use super::check::Checked;
use super::environment::{Environment, Note};
use super::gathering::{Gathering, Stage};
use super::score::{Conductor, ROOM_KEPT};
use crate::{Host, SealError, Store};

/// Space is short when less than this part of it can be written.
const SHORT_PART: u32 = 16;

impl<'m, H: Host> Conductor<'m, H> {
    pub(super) fn run(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        match self.gathering.stage {
            Stage::Idle => self.between(store, env),
            Stage::Asked => false,
            Stage::Cut => match store.begin(self.gathering.epoch, env.now_ns()) {
                Ok(()) => {
                    self.gathering.stage = Stage::Filling;
                    self.check.begin();
                    true
                }
                Err(SealError::Busy) => false,
                Err(_) => {
                    self.fail(env, Why::BadRecords, Note::PagerBroken);
                    true
                }
            },
            Stage::Filling => self.export(store, env),
            Stage::Full if self.overfull.is_some() => self.too_large(store, env),
            Stage::Full => self.check_and_seal(store, env),
        }
    }

    /// No epoch gathers.
    fn between(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        let wins = self.credit.waits && store.win_back();
        wins || self.tell_room(store, env) || self.ask_for_cut(store, env) || self.check_whole(store, env)
    }

    /// Some records of the whole, if a fold has asked for them.
    fn check_whole(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        let checked = self.check.background(store);
        self.judge(env, checked);
        checked == Checked::More
    }

    /// The epoch is complete: nothing that is unsound is sealed.
    fn check_and_seal(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        if self.gathering.quiet {
            return self.seal(store, env);
        }
        let checked = self.check.epoch(store);
        self.judge(env, checked);
        match checked {
            Checked::Sound => self.seal(store, env),
            Checked::Waiting => false,
            Checked::More | Checked::Unsound(..) | Checked::Unreadable(_) => true,
        }
    }

    fn judge(&mut self, env: &mut impl Environment, checked: Checked) {
        match checked {
            Checked::Unsound(record, flaw) => self.fail(env, Why::BadRecords, Note::Unsound(record, flaw)),
            Checked::Unreadable(block) => {
                self.fail(env, Why::Damaged, Note::StoreFailed(crate::Failure::Map(block)));
            }
            Checked::More | Checked::Waiting | Checked::Sound => {}
        }
    }

    fn ask_for_cut(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        self.look_at_room(store, env);
        let now = env.now_ns();
        if self.pace.due_in(&self.policy, now) > 0 || env.room() <= ROOM_KEPT {
            return false;
        }
        self.pace.asked(now);
        self.gathering.stage = Stage::Asked;
        env.send(ToPager::Cut);
        true
    }

    /// Says when space gets short; then epochs are kept small. Better it is only when there is twice as much.
    fn look_at_room(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) {
        let status = store.status();
        let (room, short) = (store.room().growth, status.data_blocks / SHORT_PART);
        // Between folds what was written again counts twice.
        if !self.pace.is_short() && (room == 0 || room + status.entries_used < short) {
            self.pace.set_short(true);
            env.note(Note::Short(room, status.data_blocks));
        } else if room > 2 * short {
            self.pace.set_short(false);
        }
    }

    /// Takes the kernel's records of the ended epoch, batch by batch.
    fn export(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        if self.gathering.exported {
            let whole = self.gathering.is_whole();
            if whole {
                self.gathering.stage = Stage::Full;
            }
            return whole;
        }
        if !self.kernel.is_waiting() {
            let bytes = env.export(self.kernel.page());
            if bytes == 0 {
                self.gathering.exported = true;
            } else if !self.gathering.quiet {
                self.kernel.arrived();
            }
            // Of a quiet epoch only the world's own record comes, and only its clock has changed.
            return true;
        }
        let check = &mut self.check;
        let put = match &mut self.overfull {
            Some(demand) => self.kernel.count(demand),
            None => self.kernel.put(store, |table, index| check.changed(table, index)),
        };
        match put {
            Put::Done => true,
            Put::Later => false,
            Put::Full => self.full(store, env),
            Put::Broken => {
                self.fail(env, Why::BadRecords, Note::BadRecord((u16::MAX, 0)));
                true
            }
        }
    }

    fn seal(&mut self, store: &mut Store<'m, H>, env: &mut impl Environment) -> bool {
        let Gathering { epoch, quiet, .. } = self.gathering;
        if quiet {
            self.gathering = Gathering::IDLE;
            self.quiet = epoch;
            if self.page.committed >= self.sealed {
                self.reached(env, epoch);
            }
            return true;
        }
        match store.seal(env.now_ns()) {
            Ok(()) => {
                self.sealed = epoch;
                self.gathering = Gathering::IDLE;
                true
            }
            Err(SealError::Busy) => false,
            Err(_) => {
                self.fail(env, Why::BadRecords, Note::PagerBroken);
                true
            }
        }
    }
}
