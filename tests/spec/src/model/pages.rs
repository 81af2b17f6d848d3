//! Pages: which frame a process sees where, what an epoch keeps of each frame, and what the first write after a cut
//! does.
//!
//! A process of the world writes through a mapping only while it is *open*: mapped for writing in an epoch in which the
//! frame may be written without more ado. A cut closes all of them. The first write to a frame of an older epoch
//! leaves what the frame held then in a frame that was donated for it, if it is not durable yet, and one entry in the
//! log; the page keeps its frame, so whoever shares it sees the same.

use super::{Called, End, Model, Name, Object};
use crate::event::Frame;
use abi::registers::unpack_caps;
use abi::{
    FRAMES_BATCH_MAX, FrameState, Handle, Kind, MAP_PAGES_MAX, MapFlags, PAGE_SIZE, Rights, Status, USER_START, WORDS,
};
use std::collections::{BTreeMap, VecDeque};

const PAGE: u64 = PAGE_SIZE as u64;

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// To which frame.
    pub frame: u32,
    /// Whether it may be written, when the first write has been settled.
    pub may_write: bool,
    /// Whether it may be executed.
    pub executable: bool,
    /// Whether it is uncached.
    pub device: bool,
    /// Whether it can be written now.
    pub open: bool,
    /// Whether it has been accessed since somebody asked.
    pub accessed: bool,
}

/// Address spaces, frames, and the log of first writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// The running epoch.
    pub epoch: u64,
    /// Whether everything of the epoch before has been exported.
    pub exported: bool,
    /// Mapped pages, by process and address.
    pub maps: BTreeMap<(u32, u64), Mapping>,
    /// Frames that are in some epoch, and whether they were written in the running one.
    pub frames: BTreeMap<u32, (FrameState, bool)>,
    /// Frames of memory there are.
    pub memory: u32,
    /// First writes that the pager has not released yet: frame, and copy or 0.
    pub log: VecDeque<(u32, u32)>,
    /// First writes there have been.
    pub log_head: u64,
    /// How many there may be in all: the pager has asked for the room that they need on the disk.
    pub log_limit: u64,
    /// Entries that the log, and frames that the ring of donations has room for.
    pub room: (usize, usize),
    /// Frames donated for copies, the next first.
    pub donated: VecDeque<u32>,
    /// What frames hold that hold other than 0.
    pub contents: BTreeMap<u32, u8>,
}

impl Pages {
    fn state(&self, frame: u32) -> FrameState {
        self.frames.get(&frame).map_or(FrameState::Untracked, |&(state, _)| state)
    }

    /// Whether a frame may be written in the running epoch without more ado.
    pub fn is_writable_now(&self, frame: u32) -> bool {
        matches!(self.frames.get(&frame), None | Some((_, true)))
    }

    fn content(&self, frame: u32) -> u8 {
        self.contents.get(&frame).copied().unwrap_or_default()
    }

    fn set_content(&mut self, frame: u32, content: u8) {
        match content {
            0 => self.contents.remove(&frame),
            content => self.contents.insert(frame, content),
        };
    }

    /// A batch of records lies in a frame now: what was written there is seen.
    pub(super) fn write_batch(&mut self, frame: u32, seen: &Self) {
        self.set_content(frame, seen.content(frame));
    }

    /// The first write of the epoch to a frame: false if a device has it, or the pager has left no room.
    fn first_write(&mut self, frame: u32) -> bool {
        if self.is_writable_now(frame) {
            return true;
        }
        let state = self.state(frame);
        if state == FrameState::Claimed || self.log.len() >= self.room.0 || self.log_head >= self.log_limit {
            return false;
        }
        let mut copy = 0;
        if state == FrameState::Dirty {
            let Some(donated) = self.donated.pop_front() else { return false };
            self.set_content(donated, self.content(frame));
            copy = donated;
        }
        self.log.push_back((frame, copy));
        self.log_head += 1;
        self.frames.insert(frame, (FrameState::Dirty, true));
        true
    }

    fn set_state(&mut self, frame: u32, to: FrameState) -> bool {
        let state = self.state(frame);
        let written_now = self.frames.get(&frame).is_some_and(|&(_, now)| now);
        let allowed = match to {
            FrameState::Dirty => return state == FrameState::Clean && self.first_write(frame),
            FrameState::Untracked => true,
            FrameState::Clean => !written_now,
            FrameState::Claimed => state == FrameState::Dirty && !written_now,
        };
        match to {
            _ if !allowed => {}
            FrameState::Untracked => {
                self.frames.remove(&frame);
            }
            to => {
                self.frames.insert(frame, (to, false));
            }
        }
        allowed
    }
}

impl Model {
    /// The process that a call on page tables is about: named by its own capability, or by whoever serves its memory.
    fn process_for(&self, name: Name, frame: Frame) -> Result<u32, Status> {
        self.allows(name, Rights::empty())?;
        match self.caps[&name].object {
            Object::Is(Kind::Process, process) => self.allows(name, Rights::PROCESS_MAP).map(|()| process),
            Object::Is(Kind::Endpoint, endpoint) => {
                self.allows(name, Rights::RECEIVE)?;
                let served = |&process: &u32| self.memory_port(process).is_some_and(|(port, _)| port == endpoint);
                self.process_named(frame.words[4]).filter(served).ok_or(Status::BadArgument)
            }
            _ => Err(Status::WrongKind),
        }
    }

    fn process_named(&self, name: u64) -> Option<u32> {
        self.processes.get(&(name as u32)).filter(|record| record.name == name).map(|_| name as u32)
    }

    /// `Map`. A mapping for writing was decided in the running epoch, or it is refused: what was writable then need
    /// not be so now. As much is mapped as page tables and first writes allow: nothing at all is an error.
    pub(super) fn map(&mut self, thread: u32, name: Name, frame: Frame, seen: &Self) -> Called {
        let process = self.process_for(name, frame)?;
        let [first, pages, flags, epoch, ..] = frame.words;
        let flags = MapFlags::from_bits(flags).ok_or(Status::BadArgument)?;
        if flags.contains(MapFlags::WRITE | MapFlags::EXECUTE) {
            return Err(Status::BadArgument);
        }
        range(frame.rdi, pages)?;
        let memory = (name.0, Handle(frame.caps as u16).0);
        let write = flags.contains(MapFlags::WRITE);
        self.allows(memory, Rights::MEMORY_MAP | if write { Rights::MEMORY_WRITE } else { Rights::empty() })?;
        let Object::Range(_, base, count) = self.caps[&memory].object else { return Err(Status::WrongKind) };
        if first.checked_add(pages).is_none_or(|end| end > u64::from(count)) {
            return Err(Status::BadRange);
        }
        let world = self.is_world_process(process);
        if write && world && self.started && epoch != self.pages.epoch {
            return Err(Status::StaleEpoch);
        }
        if self.processes[&process].dying {
            return Err(Status::PeerDied);
        }
        let refused = |frame: &Frame| frame.outcome().status() == Status::PoolExhausted;
        if seen.threads.get(&thread).is_some_and(|caller| refused(&caller.frame)) {
            // How many page tables there are is not described here.
            return Err(Status::PoolExhausted);
        }
        let mut mapped = 0;
        while mapped < pages {
            let (address, to) = (frame.rdi + mapped * PAGE, base + (first + mapped) as u32);
            if flags.contains(MapFlags::WRITE | MapFlags::NOW) && !self.pages.first_write(to) {
                if mapped == 0 {
                    return Err(Status::Busy);
                }
                break;
            }
            let open = write && (!world || self.pages.is_writable_now(to));
            let (executable, device) = (flags.contains(MapFlags::EXECUTE), flags.contains(MapFlags::DEVICE));
            let mapping = Mapping { frame: to, may_write: write, executable, device, open, accessed: false };
            self.pages.maps.insert((process, address), mapping);
            mapped += 1;
        }
        self.thread_mut(thread).frame.rdi = mapped;
        Ok(End::Done)
    }

    /// `Unmap`, and `Protect`, which narrows. Whoever may end epochs takes pages from any process of the world.
    pub(super) fn change_pages(&mut self, thread: u32, name: Name, frame: Frame, protect: bool) -> Called {
        let process = if !protect && self.allows(name, Rights::EPOCH_CUT).is_ok() {
            self.process_named(frame.words[4])
                .filter(|&process| self.is_world_process(process))
                .ok_or(Status::BadArgument)?
        } else {
            self.process_for(name, frame)?
        };
        let flags = MapFlags::from_bits(if protect { frame.words[1] } else { 0 }).ok_or(Status::BadArgument)?;
        range(frame.rdi, frame.words[0])?;
        let pages: Vec<_> = (0..frame.words[0]).map(|page| (process, frame.rdi + page * PAGE)).collect();
        let mut changed = 0;
        for page in pages {
            let Some(mapping) = self.pages.maps.get_mut(&page) else { continue };
            changed += 1;
            if !protect {
                self.pages.maps.remove(&page);
                continue;
            }
            mapping.may_write &= flags.contains(MapFlags::WRITE);
            mapping.open &= mapping.may_write;
            mapping.executable &= flags.contains(MapFlags::EXECUTE);
        }
        self.thread_mut(thread).frame.rdi = changed;
        Ok(End::Done)
    }

    /// `Accessed`: which pages of a range have been, which is then forgotten.
    pub(super) fn accessed(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        let process = self.process_for(name, frame)?;
        range(frame.rdi, frame.words[0])?;
        let (mut mapped, mut words) = (0, [0; WORDS]);
        for page in 0..frame.words[0] {
            let Some(mapping) = self.pages.maps.get_mut(&(process, frame.rdi + page * PAGE)) else { continue };
            mapped += 1;
            if core::mem::take(&mut mapping.accessed) {
                words[page as usize / 64] |= 1 << (page % 64);
            }
        }
        let frame = &mut self.thread_mut(thread).frame;
        (frame.rdi, frame.words) = (mapped, words);
        Ok(End::Done)
    }

    /// The running thread of `cpu` writes to a page: it does, or it can now, or it is a fault (true).
    pub(super) fn write(&mut self, cpu: usize, address: u64) -> bool {
        let Some(thread) = self.cpus[cpu].runs else { return false };
        let process = self.thread(thread).process;
        let world = self.is_world_process(process);
        let page = (process, address & !(PAGE - 1));
        let Some(mapping) = self.pages.maps.get(&page).copied() else { return true };
        if mapping.open {
            self.pages.set_content(mapping.frame, written(self.pages.content(mapping.frame)));
            self.pages.maps.insert(page, Mapping { accessed: true, ..mapping });
            return false;
        }
        let settled = world && mapping.may_write && self.pages.first_write(mapping.frame);
        if settled {
            self.pages.maps.insert(page, Mapping { open: true, ..mapping });
        }
        !settled
    }

    /// Whether a write to a page that may be written found no room for its first write.
    pub(super) fn is_frozen(&self, process: u32, address: u64) -> bool {
        let mapping = self.pages.maps.get(&(process, address & !(PAGE - 1)));
        self.is_world_process(process) && mapping.is_some_and(|mapping| mapping.may_write)
    }

    /// `Cut`: every page of the world is closed, and what was written belongs to the epoch that ended. Whether nothing
    /// had changed at all is seen, not judged.
    pub(super) fn cut(&mut self, thread: u32, name: Name, seen: &Self) -> Called {
        self.allows(name, Rights::EPOCH_CUT)?;
        if !self.started {
            return Err(Status::WrongState);
        }
        if !self.pages.exported {
            return Err(Status::Busy);
        }
        for cpu in 0..self.cpus.len() {
            if let Some(runs) = self.cpus[cpu].runs.filter(|&runs| self.is_world_thread(runs)) {
                // Those who run come first when the world comes back.
                let ticket = self.draw_ticket();
                self.thread_mut(runs).ticket = -ticket;
            }
        }
        let world = self.world[0];
        self.pages.maps.iter_mut().filter(|((process, _), _)| *process < world).for_each(|(_, map)| map.open = false);
        self.pages.frames.values_mut().for_each(|(_, now)| *now = false);
        self.pages.epoch += 1;
        self.pages.exported = seen.pages.exported;
        let (epoch, head) = (self.pages.epoch, self.pages.log_head);
        let quiet = seen.threads.get(&thread).map_or(0, |caller| caller.frame.words[1] & 1);
        let frame = &mut self.thread_mut(thread).frame;
        (frame.rdi, frame.words[0], frame.words[1]) = (epoch, head, quiet);
        Ok(End::Done)
    }

    /// `ReadLog`: releases what lies before a position, reads from there, and says where first writes stop.
    pub(super) fn read_log(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::EPOCH_CUT)?;
        let pages = &mut self.pages;
        let tail = pages.log_head - pages.log.len() as u64;
        let released = frame.rdi.clamp(tail, pages.log_head) - tail;
        pages.log.drain(..released as usize);
        pages.log_limit = frame.words[0];
        let at = frame.rdi == tail + released;
        let read: Vec<(u32, u32)> = pages.log.iter().copied().take(if at { 8 } else { 0 }).collect();
        let frame = &mut self.thread_mut(thread).frame;
        frame.rdi = read.len() as u64;
        for (word, (frame, copy)) in frame.words.iter_mut().zip(read) {
            *word = u64::from(frame) | u64::from(copy) << 32;
        }
        Ok(End::Done)
    }

    /// The frames that a call on the Memory in its first capability names.
    fn frames(&self, name: Name, frame: Frame, count: usize) -> Result<Vec<u32>, Status> {
        let memory = (name.0, unpack_caps(frame.caps)[0].0);
        let mut frames = Vec::new();
        for &page in &frame.words[..count] {
            self.allows(memory, Rights::MEMORY_WRITE)?;
            let Object::Range(_, first, length) = self.caps[&memory].object else { return Err(Status::WrongKind) };
            if page >= u64::from(length) || first + page as u32 >= self.pages.memory {
                return Err(Status::BadRange);
            }
            frames.push(first + page as u32);
        }
        Ok(frames)
    }

    /// `Donate`: as many as the ring has room for.
    pub(super) fn donate(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::EPOCH_CUT)?;
        let count = usize::try_from(frame.rdi).ok().filter(|count| (1..=FRAMES_BATCH_MAX).contains(count));
        let frames = self.frames(name, frame, count.ok_or(Status::BadArgument)?)?;
        let room = self.pages.room.1 - self.pages.donated.len();
        self.thread_mut(thread).frame.rdi = frames.len().min(room) as u64;
        self.pages.donated.extend(frames.into_iter().take(room));
        Ok(End::Done)
    }

    /// `SetFrames`.
    pub(super) fn set_frames(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::EPOCH_CUT)?;
        let (count, state) = (usize::from(frame.rdi as u8), FrameState::from_bits((frame.rdi >> 8) as u8));
        let state = state.filter(|_| frame.rdi < 1 << 16).ok_or(Status::BadArgument)?;
        if !(1..=FRAMES_BATCH_MAX).contains(&count) {
            return Err(Status::BadArgument);
        }
        let frames = self.frames(name, frame, count)?;
        let changed =
            (0..).zip(frames).fold(0, |mask, (at, frame)| mask | u64::from(self.pages.set_state(frame, state)) << at);
        self.thread_mut(thread).frame.rdi = changed;
        Ok(End::Done)
    }
}

/// What a write makes of a frame's contents.
pub(crate) fn written(content: u8) -> u8 {
    content ^ 1
}

/// Whether a range of pages is one that a program may have.
fn range(address: u64, pages: u64) -> Result<(), Status> {
    if !address.is_multiple_of(PAGE) || address < USER_START {
        return Err(Status::BadAddress);
    }
    if pages == 0 || pages > MAP_PAGES_MAX {
        return Err(Status::BadArgument);
    }
    let end = address.checked_add(pages * PAGE);
    if end.is_some_and(|end| end < abi::USER_END) { Ok(()) } else { Err(Status::BadAddress) }
}
