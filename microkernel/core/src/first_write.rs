//! The first write to a page after a cut: the page keeps its frame, the frozen contents go to a donated one.
//!
//! Invariants:
//! 1. A frame that is dirty with the running stamp has exactly one entry in the log of the running epoch.
//! 2. What a frame held at the cut is kept, in the frame itself or in the copy its log entry names, until the pager
//!    says that it is durable.
//! 3. A claimed frame is not written.
//! 4. The log does not grow beyond the position that the pager has named: what a first write makes dirty has a place on
//!    the disk.

use crate::{Kernel, Machine};
use abi::FrameState;
use records::{Arena, Slab};

/// The log of first writes, and the ring of donated frames.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub(crate) struct WriteLog {
    entries: Slab<u64>,
    /// Positions only grow; an entry's place is its position modulo the slab's length.
    pub(crate) head: u64,
    tail: u64,
    /// The position at which first writes stop.
    limit: u64,
    donated: Slab<u32>,
    donated_head: u64,
    donated_tail: u64,
}

impl WriteLog {
    pub(crate) fn new(arena: &mut impl Arena, entries: u32, donated: u32) -> Self {
        Self {
            entries: arena.slab(entries as usize, 0),
            head: 0,
            tail: 0,
            limit: u64::MAX,
            donated: arena.slab(donated as usize, 0),
            donated_head: 0,
            donated_tail: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.head - self.tail < self.entries.len() as u64 && self.head < self.limit
    }

    /// First writes stop at `position`.
    pub(crate) fn stop_at(&mut self, position: u64) {
        self.limit = position;
    }

    fn append(&mut self, entry: u64) {
        let place = (self.head % self.entries.len() as u64) as usize;
        self.entries[place] = entry;
        self.head += 1;
    }

    /// The entry at a position that is still there.
    pub(crate) fn read(&self, position: u64) -> Option<u64> {
        (self.tail..self.head)
            .contains(&position)
            .then(|| self.entries[(position % self.entries.len() as u64) as usize])
    }

    /// Releases everything before a position.
    pub(crate) fn release(&mut self, position: u64) {
        self.tail = position.clamp(self.tail, self.head);
    }

    /// Adds a frame for copies; false when the ring is full.
    pub(crate) fn donate(&mut self, frame: u32) -> bool {
        let room = self.donated_head - self.donated_tail < self.donated.len() as u64;
        if room {
            let place = (self.donated_head % self.donated.len() as u64) as usize;
            self.donated[place] = frame;
            self.donated_head += 1;
        }
        room
    }

    fn take_donated(&mut self) -> Option<u32> {
        if self.donated_tail == self.donated_head {
            return None;
        }
        let place = (self.donated_tail % self.donated.len() as u64) as usize;
        self.donated_tail += 1;
        Some(self.donated[place])
    }
}

#[cfg(any(test, feature = "host"))]
impl WriteLog {
    /// The position behind the last entry, and the entries that are there.
    pub(crate) fn parts(&self) -> (u64, Vec<u64>) {
        (self.head, (self.tail..self.head).filter_map(|at| self.read(at)).collect())
    }

    /// The position at which first writes stop.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// What is in the ring, the next first.
    pub(crate) fn donations(&self) -> Vec<u32> {
        let place = |at: u64| self.donated[(at % self.donated.len() as u64) as usize];
        (self.donated_tail..self.donated_head).map(place).collect()
    }

    /// Room of log and ring.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.donated.len())
    }

    /// What is in the log and the ring, in order, and how far from its beginning first writes stop.
    pub(crate) fn canonical(&self) -> (Vec<u64>, Vec<u32>, Option<u64>) {
        let stop = (self.limit < u64::MAX).then(|| self.limit.saturating_sub(self.tail));
        (self.parts().1, self.donations(), stop)
    }
}

/// A frame's word: state in two bits, stamp of its last write above.
fn word(state: FrameState, stamp: u32) -> u64 {
    state as u64 | u64::from(stamp) << 2
}

impl Kernel {
    /// State and stamp of a frame. What is no memory is untracked.
    pub(crate) fn frame_state(&self, frame: u32) -> (FrameState, u32) {
        let word = self.frames.get(frame as usize).copied().unwrap_or_default();
        let state = match word & 3 {
            1 => FrameState::Clean,
            2 => FrameState::Dirty,
            3 => FrameState::Claimed,
            _ => FrameState::Untracked,
        };
        (state, (word >> 2) as u32)
    }

    /// Whether a frame may be written without more ado in the running epoch.
    pub(crate) fn is_writable_now(&self, frame: u32) -> bool {
        match self.frame_state(frame) {
            (FrameState::Untracked, _) => true,
            (FrameState::Dirty, stamp) => stamp == self.stamp,
            _ => false,
        }
    }

    /// Makes a frame writable in the running epoch: logs it, and first copies contents that are not durable yet.
    /// False: claimed by a device, or no donated frame or log entry is left.
    pub(crate) fn first_write(&mut self, m: &mut impl Machine, frame: u32) -> bool {
        if self.is_writable_now(frame) {
            return true;
        }
        let (state, _) = self.frame_state(frame);
        if state == FrameState::Claimed || !self.log.has_room() {
            return false;
        }
        let mut entry = u64::from(frame);
        if state == FrameState::Dirty {
            let Some(copy) = self.log.take_donated() else { return false };
            m.copy_frame(frame, copy);
            entry |= u64::from(copy) << 32;
        }
        self.log.append(entry);
        self.frames[frame as usize] = word(FrameState::Dirty, self.stamp);
        true
    }

    /// Sets a frame's state on behalf of the pager; false when the frame was written in the running epoch, or is not
    /// in a state that allows it.
    pub(crate) fn set_frame(&mut self, m: &mut impl Machine, frame: u32, to: FrameState) -> bool {
        let (state, stamp) = self.frame_state(frame);
        let written_now = state == FrameState::Dirty && stamp == self.stamp;
        if to == FrameState::Dirty {
            // What the pager itself wrote counts as written by the world, log entry included.
            return state == FrameState::Clean && self.first_write(m, frame);
        }
        let allowed = match to {
            FrameState::Untracked => true,
            FrameState::Clean => !written_now,
            FrameState::Claimed => state == FrameState::Dirty && !written_now,
            FrameState::Dirty => false,
        };
        match self.frames.get_mut(frame as usize) {
            Some(place) if allowed => {
                *place = word(to, stamp);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::HostArena;

    #[test]
    fn the_log_stops_at_the_position_it_is_told() {
        let mut log = WriteLog::new(&mut HostArena, 4, 1);
        log.stop_at(2);
        for entry in 0..2 {
            assert!(log.has_room());
            log.append(entry);
        }
        assert!(!log.has_room());
        log.release(2);
        assert!(!log.has_room(), "a position is not a length");
        log.stop_at(u64::MAX);
        assert!(log.has_room());
    }
}
