//! What the pager is told about room: enough that it never dirties what the store could not take, and not more often
//! than it needs to know.

use abi::protocol::paging::{Room, ToPager};

use super::environment::Environment;
use super::score::{Conductor, ROOM_KEPT};
use crate::{Host, Store};

/// What the pager was told, and what has come since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    /// `Dirty` messages dealt with in this boot.
    handled: u64,
    said: Option<Room>,
    /// Writers wait for room.
    pub(super) waits: bool,
}

impl Credit {
    pub(super) const NONE: Self = Self { handled: 0, said: None, waits: false };

    /// A page was put.
    pub(super) fn handled(&mut self) {
        self.handled += 1;
    }

    /// Whether the pager should hear of this much room: what it knows of has changed by much, or is more than there is.
    /// A fold takes some of the writes for a while; that alone is no news.
    fn is_news(&self, room: &Room) -> bool {
        let Some(said) = self.said else { return true };
        let since = room.handled - said.handled;
        let (writes, growth) = (said.writes.saturating_sub(since), said.growth.saturating_sub(since));
        let less = growth > room.growth || writes > room.writes + room.writes / 8;
        let more = |known: u64, now: u64| now > if self.waits { known } else { 2 * known };
        less || more(writes, room.writes) || more(growth, room.growth)
    }
}

impl<'m, H: Host> Conductor<'m, H> {
    /// Tells the pager how much room there is, if that is news. True when it did.
    pub(super) fn tell_room(&mut self, store: &Store<'m, H>, env: &mut impl Environment) -> bool {
        let room = store.room();
        let room = Room { handled: self.credit.handled, writes: room.writes.into(), growth: room.growth.into() };
        let tells = env.room() > ROOM_KEPT && self.credit.is_news(&room);
        if tells {
            env.send(ToPager::Room(room));
            self.credit.said = Some(room);
        }
        tells
    }

    /// Writers wait, or none does any more.
    pub(super) fn writers_wait(&mut self, waits: bool) {
        self.credit.waits = waits;
        if waits {
            self.pace.hurry();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_told() {
        let room = |handled, writes, growth| Room { handled, writes, growth };
        let mut credit = Credit { said: None, ..Credit::NONE };
        assert!(credit.is_news(&room(0, 0, 0)));
        credit.said = Some(room(10, 100, 100));
        assert!(!credit.is_news(&room(20, 90, 90)), "it has counted that itself");
        assert!(credit.is_news(&room(20, 79, 90)) && credit.is_news(&room(20, 90, 89)), "less than it believes");
        assert!(!credit.is_news(&room(20, 80, 90)), "a little fewer for a while");
        assert!(!credit.is_news(&room(20, 180, 180)) && credit.is_news(&room(20, 181, 90)), "far more");
        credit.waits = true;
        assert!(credit.is_news(&room(20, 91, 90)), "somebody waits for it");
    }
}
