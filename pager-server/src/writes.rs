//! The kernel's log of first writes, and the frames donated for the copies it makes.
//!
//! The log is how the pager learns what is dirty. An entry without a copy: the frame was clean. An entry with one: the
//! frame was dirty in an ended epoch, whose contents are now those of the copy; the copy takes the frame's place there.
//!
//! A frame changes its use only when nobody maps it and the log was read to its end after that: so every entry is about
//! a frame that still is what it was when it was written.

use crate::Pager;
use crate::environment::{Environment, FirstWrite};
use crate::frame::{CLEAN, Use};
use abi::FRAMES_BATCH_MAX;

/// Where reading stands.
pub(crate) struct WriteLog {
    position: u64,
    /// Frames in the kernel's ring, as far as the log was read.
    pub(crate) donated: u32,
    /// The ring had no room when last tried: not tried again before a copy was taken.
    is_full: bool,
}

impl WriteLog {
    pub(crate) fn new() -> Self {
        Self { position: 0, donated: 0, is_full: false }
    }

    /// How far it was read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

impl Pager {
    /// Reads the log to its end, or to `until`, where an epoch ends.
    pub(crate) fn read_log(&mut self, env: &mut impl Environment, until: Option<u64>) {
        let mut entries = [FirstWrite::default(); FRAMES_BATCH_MAX];
        loop {
            let left = until.map_or(u64::MAX, |until| until - self.log.position);
            let limit = self.log_limit(self.log.position);
            let read = (env.read_log(self.log.position, limit, &mut entries) as u64).min(left);
            self.reserve.told(limit);
            for entry in &entries[..read as usize] {
                self.first_write(entry);
            }
            self.log.position += read;
            if read < FRAMES_BATCH_MAX as u64 {
                break;
            }
        }
        assert!(until.is_none_or(|until| until == self.log.position), "the kernel's log ends before its cut");
    }

    fn first_write(&mut self, entry: &FirstWrite) {
        let place = self.frames.place(entry.frame).expect("the kernel logs frames that it was given");
        let running = self.lanes.running() as u8;
        let frame = *self.frames.get(place);
        assert!(frame.used_for == Use::Live && !frame.handed, "a logged frame is live and not claimed");
        match entry.copy {
            None => {
                let sealed = frame.sealed && frame.list == running;
                assert!(frame.list == CLEAN || sealed, "a frame that needed no copy was clean");
                self.frames.get_mut(place).sealed = false;
            }
            Some(copy) => {
                assert!(frame.list < CLEAN && frame.list != running, "a frame that was copied was dirty before");
                let copy = self.frames.place(copy).expect("a copy is a donated frame");
                self.take_donated(copy);
                let twin = self.frames.get_mut(copy);
                twin.content = frame.content;
                twin.index = frame.index;
                twin.used_for = Use::Detached;
                // What the older epoch brings the store needs not be counted for this one.
                self.frames.set_fresh(copy, frame.fresh);
                self.frames.set_fresh(place, false);
                self.frames.enlist(copy, frame.list);
                self.contents.get_mut(frame.content).pending += 1;
            }
        }
        self.frames.delist(place);
        self.frames.enlist(place, running);
    }

    fn take_donated(&mut self, place: u32) {
        assert!(self.frames.get(place).used_for == Use::Donated, "the kernel copies into donated frames");
        self.frames.get_mut(place).used_for = Use::Spare;
        self.log.donated -= 1;
        self.log.is_full = false;
    }

    /// Keeps the kernel's ring filled, from what is free and the reserve.
    pub(crate) fn refill(&mut self, env: &mut impl Environment) {
        if self.log.is_full {
            return;
        }
        while self.log.donated < self.config.donated_frames {
            let wanted = (self.config.donated_frames - self.log.donated) as usize;
            let (mut places, mut frames, mut count) = ([0; FRAMES_BATCH_MAX], [0; FRAMES_BATCH_MAX], 0);
            while count < wanted.min(FRAMES_BATCH_MAX) {
                let Some(place) = self.frames.take_free() else { break };
                (places[count], frames[count]) = (place, self.frames.physical(place));
                count += 1;
            }
            if count == 0 {
                return;
            }
            let taken = env.donate(&frames[..count]);
            for (at, &place) in places[..count].iter().enumerate() {
                if at < taken {
                    self.frames.get_mut(place).used_for = Use::Donated;
                    self.log.donated += 1;
                } else {
                    self.frames.give_free(place);
                }
            }
            if taken < count {
                self.log.is_full = true;
                return;
            }
        }
    }
}
