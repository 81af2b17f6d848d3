//! Handing an ended epoch to the snapshot server: records, drops, dirty pages; and taking frames back.
//!
//! A *lane* is what is dirty in one epoch: the running one, or one of at most two that ended. The frames of a lane are
//! on its list until they are handed over. A live frame is claimed first, so that no writer changes it while it is
//! read; a claim that comes too late fails, and the log then names the copy that belongs to the lane in its place.

use crate::Pager;
use crate::environment::Environment;
use crate::frame::{LANES, NONE, Use};
use crate::pager::Broken;
use abi::protocol::paging::{BATCHES, PageName, ToStore, UNDRAINED_EPOCHS_MAX};
use abi::record::{BatchWriter, Table as Kept};
use abi::{Epoch, FRAMES_BATCH_MAX, FrameState};
use records::Table;
use zerocopy::{Immutable, IntoBytes};

/// Room in the ring that gathering leaves to everything else.
const GATHERING_LEAVES_ROOM: usize = 96;

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    epoch: Epoch,
    /// Frames the snapshot server has not released.
    in_flight: u32,
    /// What was said about it.
    pages: u64,
    batches: u64,
    drops: u64,
    gathered: bool,
}

/// The running epoch's lane, and those of ended epochs that are not drained.
pub(crate) struct Lanes {
    lanes: [Lane; LANES],
    running: usize,
    /// Oldest first.
    ended: [usize; UNDRAINED_EPOCHS_MAX],
    ended_count: usize,
    /// Batch pages that are ours, a bit each.
    batches_free: u32,
}

const _: () = assert!(LANES == UNDRAINED_EPOCHS_MAX + 1 && BATCHES <= 32);

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            lanes: [Lane::default(); LANES],
            running: 0,
            ended: [0; UNDRAINED_EPOCHS_MAX],
            ended_count: 0,
            batches_free: (1 << BATCHES) - 1,
        }
    }

    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.lanes[self.running].epoch = epoch;
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn can_rotate(&self) -> bool {
        self.ended_count < UNDRAINED_EPOCHS_MAX
    }

    /// The running lane has ended; another one runs, in `epoch`.
    pub(crate) fn rotate(&mut self, epoch: Epoch) {
        let ended = &self.ended[..self.ended_count];
        let next = (0..LANES).find(|lane| *lane != self.running && !ended.contains(lane)).expect("can_rotate");
        self.ended[self.ended_count] = self.running;
        self.ended_count += 1;
        self.running = next;
        self.lanes[next] = Lane { epoch, ..Lane::default() };
    }

    /// The oldest lane that has not been handed over.
    fn gathering(&self) -> Option<usize> {
        self.ended[..self.ended_count].iter().copied().find(|&lane| !self.lanes[lane].gathered)
    }

    /// Forgets lanes that are drained, oldest first.
    fn retire(&mut self) {
        while self.ended_count > 0 {
            let lane = &self.lanes[self.ended[0]];
            if !lane.gathered || lane.in_flight > 0 {
                break;
            }
            self.ended.copy_within(1.., 0);
            self.ended_count -= 1;
        }
    }

    /// Whether each lane counts the frames that are handed for it.
    pub(crate) fn check(&self, handed: impl Fn(usize) -> u32) -> Result<(), &'static str> {
        let counted = |lane: usize| self.lanes[lane].in_flight == handed(lane);
        if (0..LANES).all(counted) { Ok(()) } else { Err("4: frames in flight") }
    }

    fn take_batch(&mut self) -> Option<u32> {
        let slot = self.batches_free.trailing_zeros();
        if slot >= BATCHES {
            return None;
        }
        self.batches_free &= !(1 << slot);
        Some(slot)
    }

    /// The snapshot server has read a batch page.
    pub(crate) fn batch_taken(&mut self, slot: u32) -> Result<(), Broken> {
        if slot >= BATCHES || self.batches_free >> slot & 1 == 1 {
            return Err(Broken::Batch { slot });
        }
        self.batches_free |= 1 << slot;
        Ok(())
    }
}

impl Pager {
    /// Hands over as much of the ended epochs as there is room for.
    pub(crate) fn gather(&mut self, env: &mut impl Environment) {
        while let Some(lane) = self.lanes.gathering() {
            if !self.gather_records(env, lane) || !self.gather_drops(env, lane) || !self.gather_pages(env, lane) {
                return;
            }
            if env.room() <= GATHERING_LEAVES_ROOM {
                return;
            }
            let Lane { epoch, pages, batches, drops, .. } = self.lanes.lanes[lane];
            self.lanes.lanes[lane].gathered = true;
            env.send(ToStore::Gathered { epoch, pages, batches, drops });
            self.lanes.retire();
        }
    }

    /// Records come first: until they are out the next cut must wait. True when all are.
    fn gather_records(&mut self, env: &mut impl Environment, lane: usize) -> bool {
        // Only the epoch cut last can have records left.
        if lane != self.lanes.ended[self.lanes.ended_count - 1] {
            return true;
        }
        loop {
            if env.room() <= GATHERING_LEAVES_ROOM {
                return false;
            }
            let Some((slot, bytes)) = self.fill_batch() else { return self.all_drained() };
            env.put_batch(slot, &self.scratch[..bytes]);
            let epoch = self.lanes.lanes[lane].epoch;
            env.send(ToStore::Records { epoch, slot, bytes: bytes as u32 });
            self.lanes.lanes[lane].batches += 1;
        }
    }

    fn all_drained(&self) -> bool {
        self.counters.is_drained()
            && self.spaces.table.is_drained()
            && self.objects.table.is_drained()
            && self.regions.table.is_drained()
    }

    /// Fills a batch with records of the ended epoch; `None` when there are none, or no page for them.
    fn fill_batch(&mut self) -> Option<(u32, usize)> {
        if self.all_drained() {
            return None;
        }
        let slot = self.lanes.take_batch()?;
        let mut batch = BatchWriter::new(&mut self.scratch);
        let _ = drain(&mut batch, &mut self.counters, Kept::Pager)
            && drain(&mut batch, &mut self.spaces.table, Kept::Space)
            && drain(&mut batch, &mut self.objects.table, Kept::MemoryObject)
            && drain(&mut batch, &mut self.regions.table, Kept::Region);
        Some((slot, batch.finish()))
    }

    fn gather_drops(&mut self, env: &mut impl Environment, lane: usize) -> bool {
        while env.room() > GATHERING_LEAVES_ROOM {
            let Some(at) = self.contents.pop_drop(lane) else { return true };
            let epoch = self.lanes.lanes[lane].epoch;
            env.send(ToStore::Dropped { epoch, content: self.contents.get(at).number });
            self.lanes.lanes[lane].drops += 1;
            self.reap_content(at);
        }
        self.contents.drops_are_empty(lane)
    }

    /// Hands over dirty frames, claiming those that are live. True when all are handed.
    fn gather_pages(&mut self, env: &mut impl Environment, lane: usize) -> bool {
        while self.frames.list_count(lane as u8) > 0 {
            let room = env.room().saturating_sub(GATHERING_LEAVES_ROOM).min(FRAMES_BATCH_MAX);
            if room == 0 {
                return false;
            }
            let (mut places, mut frames, mut count) = ([NONE; FRAMES_BATCH_MAX], [0; FRAMES_BATCH_MAX], 0);
            let mut at = self.frames.list_head(lane as u8);
            for _ in 0..room {
                let Some(place) = at else { break };
                at = self.frames.list_next(place);
                let frame = self.frames.get(place);
                if frame.used_for == Use::Live && !frame.sealed {
                    (places[count], frames[count]) = (place, self.frames.physical(place));
                    count += 1;
                } else {
                    // Nobody maps it writable: it needs no claim.
                    self.hand_over(env, lane, place);
                }
            }
            if count == 0 {
                continue;
            }
            let claimed = env.set_frames(&frames[..count], FrameState::Claimed);
            for (at, &place) in places[..count].iter().enumerate() {
                if claimed >> at & 1 == 1 {
                    self.hand_over(env, lane, place);
                }
            }
            if claimed.count_ones() as usize != count {
                // A writer was first: the log puts the copies in their place.
                self.read_log(env, None);
                let left = places[..count].iter().enumerate().filter(|(at, _)| claimed >> at & 1 == 0);
                assert!(left.clone().all(|(_, &place)| self.frames.get(place).list as usize != lane));
            }
        }
        true
    }

    fn hand_over(&mut self, env: &mut impl Environment, lane: usize, place: u32) {
        self.frames.hand(place);
        let frame = *self.frames.get(place);
        let page = PageName { content: self.contents.get(frame.content).number, index: u64::from(frame.index) };
        self.reserve.handed();
        let state = &mut self.lanes.lanes[lane];
        state.in_flight += 1;
        state.pages += 1;
        env.send(ToStore::Dirty { epoch: state.epoch, page, frame: self.frames.physical(place) });
    }

    /// The snapshot server has read a frame.
    pub(crate) fn released(&mut self, env: &mut impl Environment, epoch: Epoch, frame: u32) -> Result<(), Broken> {
        let broken = Broken::Released { frame };
        let place = self.frames.place(frame).ok_or(broken)?;
        let held = *self.frames.get(place);
        if !held.handed || self.lanes.lanes[held.list as usize].epoch != epoch {
            return Err(broken);
        }
        self.frames.unhand(place);
        self.lanes.lanes[held.list as usize].in_flight -= 1;
        self.lanes.retire();
        if held.used_for == Use::Live {
            self.set_state(env, place, FrameState::Clean);
            let frame = self.frames.get_mut(place);
            frame.stored = true;
            frame.sealed = false;
            self.enlist_clean(place, false);
        } else {
            self.frames.get_mut(place).used_for = Use::Spare;
            self.free_frame(env, place);
            self.contents.get_mut(held.content).pending -= 1;
            self.reap_content(held.content);
        }
        Ok(())
    }
}

/// Moves records of the ended epoch into a batch; false when it is full.
fn drain<T: Copy + IntoBytes + Immutable + 'static>(
    batch: &mut BatchWriter<'_>,
    table: &mut Table<T>,
    kept: Kept,
) -> bool {
    while let Some((index, record)) = table.peek() {
        let bytes = record.as_bytes();
        if !batch.push(kept as u16, index, bytes.len(), |to| to.copy_from_slice(bytes)) {
            return false;
        }
        table.pop();
    }
    true
}
