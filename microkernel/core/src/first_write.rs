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

/// A ring over fixed places. Positions only grow; a place is a position modulo their number.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub(crate) struct Ring<T: 'static> {
    places: Slab<T>,
    /// The position behind the last.
    pub(crate) head: u64,
    tail: u64,
}

impl<T: Copy + Default + 'static> Ring<T> {
    fn new(arena: &mut impl Arena, places: u32) -> Self {
        Self { places: arena.slab(places as usize, T::default()), head: 0, tail: 0 }
    }

    /// What is at a position that is still there.
    pub(crate) fn get(&self, position: u64) -> Option<T> {
        let place = (position % self.places.len() as u64) as usize;
        (self.tail..self.head).contains(&position).then(|| self.places[place])
    }

    fn has_room(&self) -> bool {
        self.head - self.tail < self.places.len() as u64
    }

    /// Appends what there is room for.
    fn push(&mut self, value: T) {
        let place = (self.head % self.places.len() as u64) as usize;
        self.places[place] = value;
        self.head += 1;
    }
}

/// The log of first writes, and the ring of donated frames.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub(crate) struct WriteLog {
    pub(crate) entries: Ring<u64>,
    /// The position at which first writes stop.
    pub(crate) limit: u64,
    donated: Ring<u32>,
}

impl WriteLog {
    pub(crate) fn new(arena: &mut impl Arena, entries: u32, donated: u32) -> Self {
        Self { entries: Ring::new(arena, entries), limit: u64::MAX, donated: Ring::new(arena, donated) }
    }

    fn has_room(&self) -> bool {
        self.entries.has_room() && self.entries.head < self.limit
    }

    /// Releases everything before a position.
    pub(crate) fn release(&mut self, position: u64) {
        self.entries.tail = position.clamp(self.entries.tail, self.entries.head);
    }

    /// Adds a frame for copies; false when the ring is full.
    pub(crate) fn donate(&mut self, frame: u32) -> bool {
        let room = self.donated.has_room();
        if room {
            self.donated.push(frame);
        }
        room
    }

    fn take_donated(&mut self) -> Option<u32> {
        let frame = self.donated.get(self.donated.tail)?;
        self.donated.tail += 1;
        Some(frame)
    }
}

#[cfg(any(test, feature = "host"))]
impl<T: Copy + Default + 'static> Ring<T> {
    /// What is there, the oldest first.
    fn all(&self) -> Vec<T> {
        (self.tail..self.head).filter_map(|at| self.get(at)).collect()
    }
}

#[cfg(any(test, feature = "host"))]
impl WriteLog {
    /// The position behind the last entry, and the entries that are there.
    pub(crate) fn parts(&self) -> (u64, Vec<u64>) {
        (self.entries.head, self.entries.all())
    }

    /// What is in the ring, the next first.
    pub(crate) fn donations(&self) -> Vec<u32> {
        self.donated.all()
    }

    /// Room of log and ring.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.entries.places.len(), self.donated.places.len())
    }

    /// What is in the log and the ring, in order, and how far from its beginning first writes stop.
    pub(crate) fn canonical(&self) -> (Vec<u64>, Vec<u32>, Option<u64>) {
        let stop = (self.limit < u64::MAX).then(|| self.limit.saturating_sub(self.entries.tail));
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
        let state = FrameState::from_bits((word & 3) as u8).unwrap_or(FrameState::Untracked);
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
        let (state, stamp) = self.frame_state(frame);
        if state == FrameState::Untracked || state == FrameState::Dirty && stamp == self.stamp {
            return true;
        }
        if state == FrameState::Claimed || !self.log.has_room() {
            return false;
        }
        let mut entry = u64::from(frame);
        if state == FrameState::Dirty {
            let Some(copy) = self.log.take_donated() else { return false };
            m.copy_frame(frame, copy);
            entry |= u64::from(copy) << 32;
        }
        self.log.entries.push(entry);
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
        let place = self.frames.get_mut(frame as usize).filter(|_| allowed);
        place.map(|place| *place = word(to, stamp)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::HostArena;

    #[test]
    fn the_log_stops_at_the_position_it_is_told() {
        let mut log = WriteLog::new(&mut HostArena, 4, 1);
        log.limit = 2;
        for entry in 0..2 {
            assert!(log.has_room());
            log.entries.push(entry);
        }
        assert!(!log.has_room());
        log.release(2);
        assert!(!log.has_room(), "a position is not a length");
        log.limit = u64::MAX;
        assert!(log.has_room());
    }
}
