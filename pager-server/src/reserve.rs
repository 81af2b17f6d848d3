//! Room in the store: nothing is dirtied that the store could not take.
//!
//! The snapshot server says how many pages more it can take before it has won anything back (*writes*), and how many of
//! those may be pages that it has never had (*growth*): [`Room`]. What is dirty here or on its way there goes off both.
//! A program that needs more waits, and the snapshot server is told so; one that only writes again what the store has
//! goes on as long as there are writes, so that something can always be dropped.
//!
//! ```text
//!   fault ─▶ may_write, may_grow ─▶ map            first write by the kernel ─▶ its log, up to `log_limit`
//! ```
//!
//! Invariants: (1) what is dirty and not handed over is within the writes that are left, but for what an earlier `Room`
//! allowed; (2) `FrameTable::fresh` counts the pages that the store will have more of, each until it is handed over.

use crate::Pager;
use crate::environment::{Environment, Note};
use crate::frame::{LANES, NONE};
use abi::protocol::paging::{Room, ToStore};

/// What the snapshot server said, and what has gone to it since.
pub(crate) struct Reserve {
    said: Room,
    /// Pages handed over since this pager began.
    handed: u64,
    /// The position in its log that the kernel was told last.
    told: u64,
    /// What was left when faults that wait for room were last tried.
    tried: Left,
    /// The snapshot server believes that somebody waits for room.
    told_waits: bool,
    /// A new world has begun, and no epoch of it has ended.
    begins: bool,
}

/// Pages that may still be dirtied, and how many of them may be new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) writes: u64,
    pub(crate) growth: u64,
}

impl Reserve {
    pub(crate) fn new() -> Self {
        let said = Room { handled: 0, writes: 0, growth: 0 };
        Self { said, handed: 0, told: u64::MAX, tried: Left::default(), told_waits: false, begins: false }
    }

    /// A page was handed over.
    pub(crate) fn handed(&mut self) {
        self.handed += 1;
    }

    /// A new world begins.
    pub(crate) fn begin(&mut self) {
        self.begins = true;
    }

    /// An epoch has ended.
    pub(crate) fn cut(&mut self) {
        self.begins = false;
    }

    /// The kernel was told how far first writes may go.
    pub(crate) fn told(&mut self, limit: u64) {
        self.told = limit;
    }
}

impl Pager {
    /// The snapshot server says how much room there is; false when it counts what it was never given.
    pub(crate) fn room(&mut self, room: Room) -> bool {
        self.reserve.said = room;
        room.handled <= self.reserve.handed
    }

    /// What may still be dirtied.
    pub(crate) fn left(&self) -> Left {
        let Room { handled, writes, growth } = self.reserve.said;
        let under_way = self.reserve.handed - handled;
        let dirty: u32 = (0..LANES).map(|lane| self.frames.list_count(lane as u8)).sum();
        let fresh = u64::from(self.frames.fresh_count());
        Left {
            writes: writes.saturating_sub(under_way + u64::from(dirty)),
            growth: growth.saturating_sub(under_way + fresh),
        }
    }

    /// Where in the kernel's log first writes must stop, given that it was read up to `position`.
    pub(crate) fn log_limit(&self, position: u64) -> u64 {
        position.saturating_add(self.left().writes)
    }

    /// Whether nothing new can be kept.
    fn is_full(&self) -> bool {
        self.left().growth == 0
    }

    /// Whether new objects are refused for want of room. In the first epoch of a world none is: what does not fit is
    /// found when it should commit, all of it is counted, and people are told how large a disk it needs.
    pub(crate) fn refuses_objects(&self) -> bool {
        !self.reserve.begins && self.is_full()
    }

    /// Tells the kernel how far it may go, if that has changed; tries what waits for room, if there is more; tells the
    /// snapshot server when somebody begins to wait, or nobody does any more.
    pub(crate) fn keep_reserve(&mut self, env: &mut impl Environment) {
        if self.log_limit(self.log.position()) != self.reserve.told {
            self.read_log(env, None);
        }
        let (left, tried) = (self.left(), self.reserve.tried);
        if left.writes > tried.writes || left.growth > tried.growth {
            self.retry_room(env);
        }
        self.reserve.tried = self.left();
        let waits = self.held.waits_for_room();
        if waits != self.reserve.told_waits && env.room() > 0 {
            env.send(ToStore::Waits { writers: waits });
            self.reserve.told_waits = waits;
            if waits && self.is_full() {
                env.note(Note::StoreFull);
            }
        }
    }

    /// Makes a page that the store has not had yet count as one that it will have more of.
    pub(crate) fn grow(&mut self, place: u32) {
        self.frames.get_mut(place).owed = false;
        self.frames.set_fresh(place, true);
    }

    /// Whether a page of this frame is dirty in the running epoch already: writing it again needs no room.
    pub(crate) fn is_dirty_now(&self, place: u32) -> bool {
        place != NONE && self.frames.get(place).list == self.lanes.running() as u8
    }
}
