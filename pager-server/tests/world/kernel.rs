//! A kernel made of maps: frames with real states and stamps, page tables, first writes, the log, donations. Threads of
//! other CPUs run between (and within) the pager's calls. It is also an oracle: what must never be done to a frame that
//! somebody maps, or that the store reads, stops the test.

use super::model::Model;
use super::random::Random;
use abi::fault::Access;
use abi::protocol::lent::LentName;
use abi::{Epoch, FrameState, Handle, MapFlags, Status};
use pager_server::{Answer, CutPoint, FirstWrite, Mapping, ProcessName, ReplyTo};
use std::collections::{BTreeMap, VecDeque};

/// A page in miniature.
pub type Bytes = [u16; 4];

#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Bytes,
    pub state: FrameState,
    pub stamp: u64,
    /// The snapshot server reads or writes it.
    pub lent: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    frame: u32,
    may_write: bool,
    /// Epoch for which the write bit holds.
    writable: u64,
    accessed: bool,
}

#[derive(Clone, Debug)]
pub struct Process {
    pub space: u32,
    pub badge: u64,
    table: BTreeMap<u64, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Read,
    Write { at: usize, value: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Ready,
    /// Its fault waits for the pager to receive it.
    Queued(Access),
    /// The pager has just received its fault.
    Current,
    /// The pager keeps its Reply.
    Held(Handle),
}

#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub process: u64,
    pub page: u64,
    pub op: Op,
    pub state: Where,
}

/// A change of the model that a request's answer makes true.
pub type Effect = Box<dyn FnOnce(&mut Model, &Answered)>;

#[derive(Clone, Copy, Debug, Default)]
pub struct Answered {
    pub tag: u64,
    pub words: [u64; 3],
    pub badge: Option<u64>,
}

pub struct Kernel {
    pub frames: Vec<Frame>,
    pub processes: BTreeMap<u64, Process>,
    pub process_next: u64,
    pub threads: Vec<Thread>,
    log: VecDeque<(u32, Option<u32>)>,
    log_tail: u64,
    /// Where first writes stop.
    log_limit: u64,
    log_max: usize,
    donated: VecDeque<u32>,
    donated_max: usize,
    pub epoch: Epoch,
    pub exported: bool,
    /// No record of the kernel changes.
    pub quiet: bool,
    pub handles: BTreeMap<u16, Option<u64>>,
    handle_next: u16,
    /// Pages that may be mapped at once.
    pub pool_max: usize,
    pub random: Random,
    /// One in so many calls is met by a thread of another CPU; 0: none.
    pub interleave: usize,
    /// What the borrower sees, and whose it was told that is.
    pub window: BTreeMap<usize, u32>,
    pub names: BTreeMap<usize, LentName>,
    pub model: Model,
    pub snapshots: BTreeMap<u64, Model>,
    pub effect: Option<Effect>,
    pub answered: Option<Answered>,
    /// Makes the next answer undeliverable.
    pub lose_answer: bool,
    /// The current Reply is a caller's, not a thread's that faulted.
    pub serving_request: bool,
    pub figures: Figures,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub reads: u64,
    pub writes: u64,
    pub stopped: u64,
    pub copies: u64,
    pub frozen: u64,
    pub failed_claims: u64,
    pub pool_empty: u64,
    pub lost_answers: u64,
    pub cuts: u64,
}

impl Kernel {
    pub fn new(frames: usize, epoch: Epoch, random: Random) -> Self {
        let mut random = random;
        let garbage = |random: &mut Random| [random.next() as u16 | 1; 4];
        let frames = (0..frames)
            .map(|_| Frame { bytes: garbage(&mut random), state: FrameState::Untracked, stamp: 0, lent: false })
            .collect();
        Self {
            frames,
            processes: BTreeMap::new(),
            process_next: 100,
            threads: Vec::new(),
            log: VecDeque::new(),
            log_tail: 0,
            log_limit: u64::MAX,
            log_max: 12,
            donated: VecDeque::new(),
            donated_max: 5,
            epoch,
            exported: true,
            quiet: false,
            handles: BTreeMap::new(),
            handle_next: 1,
            pool_max: 24,
            random,
            interleave: 3,
            window: BTreeMap::new(),
            names: BTreeMap::new(),
            model: Model::default(),
            snapshots: BTreeMap::new(),
            effect: None,
            answered: None,
            lose_answer: false,
            serving_request: false,
            figures: Figures::default(),
        }
    }

    fn is_mapped(&self, frame: u32) -> bool {
        let mapped = |process: &Process| process.table.values().any(|entry| entry.frame == frame);
        self.processes.values().any(mapped) || self.window.values().any(|&shown| shown == frame)
    }

    /// What nobody may be able to see or change while this is done to it.
    fn assert_private(&self, frame: u32) {
        assert!(!self.is_mapped(frame), "frame {frame} is mapped");
        assert!(!self.frames[frame as usize].lent, "frame {frame} is lent to the store");
    }

    pub fn add_handle(&mut self, badge: Option<u64>) -> Option<Handle> {
        let handle = self.handle_next;
        self.handle_next += 1;
        self.handles.insert(handle, badge);
        Some(Handle(handle))
    }

    // ---- threads ---------------------------------------------------------------------------------------------

    /// Perhaps a thread of another CPU gets some steps in.
    pub fn others_run(&mut self) {
        if self.interleave > 0 && self.random.one_in(self.interleave) {
            for _ in 0..=self.random.below(2) {
                self.run_any();
            }
        }
    }

    /// Lets one thread that is ready make its access.
    pub fn run_any(&mut self) {
        let ready: Vec<usize> = (0..self.threads.len()).filter(|&at| self.threads[at].state == Where::Ready).collect();
        if !ready.is_empty() {
            let at = ready[self.random.below(ready.len())];
            self.run(at);
        }
    }

    fn first_write(&mut self, frame: u32) -> bool {
        let now = self.epoch.bits();
        let old = self.frames[frame as usize].clone();
        if old.state == FrameState::Untracked || old.state == FrameState::Dirty && old.stamp == now {
            return true;
        }
        let full = self.log.len() == self.log_max || self.log_tail + self.log.len() as u64 >= self.log_limit;
        if old.state == FrameState::Claimed || full {
            return false;
        }
        let mut copy = None;
        if old.state == FrameState::Dirty {
            let Some(taken) = self.donated.pop_front() else { return false };
            self.assert_private(taken);
            self.frames[taken as usize].bytes = old.bytes;
            self.figures.copies += 1;
            copy = Some(taken);
        }
        assert!(!old.lent, "a lent frame is claimed");
        self.log.push_back((frame, copy));
        self.frames[frame as usize].state = FrameState::Dirty;
        self.frames[frame as usize].stamp = now;
        true
    }

    fn run(&mut self, at: usize) {
        let Thread { process, page, op, .. } = self.threads[at];
        let Some(space) = self.processes.get(&process).map(|process| process.space) else {
            self.threads.swap_remove(at);
            return;
        };
        let entry = self.processes[&process].table.get(&page).cloned();
        let mut access = Access::empty();
        if matches!(op, Op::Write { .. }) {
            access |= Access::WRITE;
        }
        let now = self.epoch.bits();
        match (entry, op) {
            (None, _) => {}
            (Some(entry), Op::Read) => {
                let (object, index, _) = self.model.find(space, page).expect("mapped, so there is a region");
                let expected = self.model.objects[&object].pages[index];
                let seen = self.frames[entry.frame as usize].bytes;
                assert_eq!(seen, expected, "process {process} page {page:#x}: object {object} page {index}");
                return self.done(at);
            }
            (Some(entry), Op::Write { at: offset, value }) => {
                access |= Access::PRESENT;
                let untracked = self.frames[entry.frame as usize].state == FrameState::Untracked;
                let free = entry.writable == now || untracked && entry.may_write;
                if entry.may_write && (free || self.first_write(entry.frame)) {
                    let held = self.processes.get_mut(&process).expect("it runs");
                    held.table.get_mut(&page).expect("it is mapped").writable = now;
                    let (object, index, write) = self.model.find(space, page).expect("mapped, so there is a region");
                    assert!(write, "mapped writable, so it may be written");
                    assert!(!self.frames[entry.frame as usize].lent, "nothing writes a lent frame");
                    self.frames[entry.frame as usize].bytes[offset] = value;
                    self.model.objects.get_mut(&object).expect("found").pages[index][offset] = value;
                    self.check_borrowed();
                    return self.done(at);
                }
                if entry.may_write {
                    access |= Access::FROZEN;
                    self.figures.frozen += 1;
                }
            }
        }
        self.threads[at].state = Where::Queued(access);
    }

    fn done(&mut self, at: usize) {
        let Thread { process, page, .. } = self.threads[at];
        let table = self.processes.get_mut(&process).map(|process| &mut process.table);
        if let Some(entry) = table.and_then(|table| table.get_mut(&page)) {
            entry.accessed = true;
        }
        match self.threads[at].op {
            Op::Read => self.figures.reads += 1,
            Op::Write { .. } => self.figures.writes += 1,
        }
        self.threads.swap_remove(at);
    }

    /// Receives a fault that waits: process, badge, page, access.
    pub fn receive_fault(&mut self) -> Option<(u64, u64, u64, Access)> {
        let queued = |thread: &Thread| matches!(thread.state, Where::Queued(_));
        let all: Vec<usize> = (0..self.threads.len()).filter(|&at| queued(&self.threads[at])).collect();
        let at = *all.get(self.random.below(all.len()))?;
        let Where::Queued(access) = self.threads[at].state else { return None };
        let thread = &mut self.threads[at];
        thread.state = Where::Current;
        let (process, page) = (thread.process, thread.page);
        let Some(badge) = self.processes.get(&process).map(|process| process.badge) else {
            self.threads.swap_remove(at);
            return None;
        };
        self.serving_request = false;
        Some((process, badge, page, access))
    }

    fn thread_of(&self, to: ReplyTo) -> Option<usize> {
        let state = match to {
            ReplyTo::Current => Where::Current,
            ReplyTo::Saved(handle) => Where::Held(handle),
        };
        self.threads.iter().position(|thread| thread.state == state)
    }

    fn forget_reply(&mut self, to: ReplyTo) {
        if let ReplyTo::Saved(handle) = to {
            assert_eq!(self.handles.remove(&handle.0), Some(None), "a Reply is used once");
        }
    }

    pub fn new_process(&mut self, space: u32, badge: u64) -> u64 {
        self.process_next += 1;
        self.processes.insert(self.process_next, Process { space, badge, table: BTreeMap::new() });
        self.process_next
    }

    pub fn kill_process(&mut self, process: u64) {
        self.processes.remove(&process);
        self.threads
            .retain(|thread| thread.process != process || !matches!(thread.state, Where::Ready | Where::Queued(_)));
    }

    // ---- calls -----------------------------------------------------------------------------------------------

    pub fn map(&mut self, mapping: &Mapping) -> Result<(), Status> {
        let Mapping { process, address, frame, flags, epoch } = *mapping;
        assert!(!self.donated.contains(&frame), "a donated frame is mapped");
        let mapped: usize = self.processes.values().map(|process| process.table.len()).sum();
        let page = address / 4096;
        let Some(known) = self.processes.get(&process.0) else { return Err(Status::BadArgument) };
        if !known.table.contains_key(&page) && mapped >= self.pool_max {
            self.figures.pool_empty += 1;
            return Err(Status::PoolExhausted);
        }
        let write = flags.contains(MapFlags::WRITE);
        if write && epoch != self.epoch {
            return Err(Status::StaleEpoch);
        }
        let mut writable = 0;
        if write && flags.contains(MapFlags::NOW) {
            if !self.first_write(frame) {
                return Err(Status::Busy);
            }
            writable = self.epoch.bits();
        }
        let table = &mut self.processes.get_mut(&process.0).expect("it is known").table;
        table.insert(page, Entry { frame, may_write: write, writable, accessed: false });
        Ok(())
    }

    pub fn unmap(&mut self, process: ProcessName, address: u64, pages: u64) -> Result<(), Status> {
        assert!((1..=512).contains(&pages));
        let known = self.processes.get_mut(&process.0).ok_or(Status::BadArgument)?;
        let first = address / 4096;
        known.table.retain(|page, _| !(first..first + pages).contains(page));
        Ok(())
    }

    pub fn was_accessed(&mut self, process: ProcessName, address: u64) -> bool {
        let entry = self.processes.get_mut(&process.0).and_then(|known| known.table.get_mut(&(address / 4096)));
        entry.is_some_and(|entry| core::mem::take(&mut entry.accessed))
    }

    pub fn cut(&mut self) -> Result<CutPoint, Status> {
        if !self.exported {
            return Err(Status::Busy);
        }
        self.exported = false;
        self.figures.cuts += 1;
        self.snapshots.insert(self.epoch.bits(), self.model.clone());
        self.epoch = self.epoch.next().expect("few cuts");
        let log_position = self.log_tail + self.log.len() as u64;
        Ok(CutPoint { running: self.epoch, log_position, quiet: self.quiet })
    }

    pub fn read_log(&mut self, position: u64, limit: u64, to: &mut [FirstWrite; 8]) -> usize {
        self.log_limit = limit;
        assert!(position >= self.log_tail && position <= self.log_tail + self.log.len() as u64);
        while self.log_tail < position {
            self.log.pop_front();
            self.log_tail += 1;
        }
        let mut read = 0;
        for (to, &(frame, copy)) in to.iter_mut().zip(&self.log) {
            *to = FirstWrite { frame, copy };
            read += 1;
        }
        read
    }

    pub fn donate(&mut self, frames: &[u32]) -> usize {
        let mut taken = 0;
        for &frame in frames {
            self.assert_private(frame);
            assert_eq!(self.frames[frame as usize].state, FrameState::Untracked);
            if self.donated.len() == self.donated_max {
                break;
            }
            self.donated.push_back(frame);
            taken += 1;
        }
        taken
    }

    pub fn set_frames(&mut self, frames: &[u32], state: FrameState) -> u8 {
        assert!((1..=8).contains(&frames.len()));
        let now = self.epoch.bits();
        let mut changed = 0;
        for (at, &number) in frames.iter().enumerate() {
            let old = self.frames[number as usize].clone();
            let written_now = old.state == FrameState::Dirty && old.stamp == now;
            let allowed = match state {
                FrameState::Untracked => {
                    self.assert_private(number);
                    true
                }
                FrameState::Clean => !written_now,
                FrameState::Claimed => old.state == FrameState::Dirty && !written_now,
                FrameState::Dirty => panic!("nobody but a writer makes a frame dirty"),
            };
            if allowed {
                self.frames[number as usize].state = state;
                changed |= 1 << at;
            } else if state == FrameState::Claimed {
                self.figures.failed_claims += 1;
            }
        }
        changed
    }

    pub fn reply(&mut self, to: ReplyTo, answer: &Answer) -> Result<(), Status> {
        let cap = answer.cap.map(|cap| self.handles.remove(&cap.0).expect("a capability of the pager's"));
        if to == ReplyTo::Current && self.serving_request {
            self.serving_request = false;
            if std::mem::take(&mut self.lose_answer) {
                self.figures.lost_answers += 1;
                return Err(Status::PeerTableFull);
            }
            let answered =
                Answered { tag: answer.tag, words: answer.words, badge: cap.map(|badge| badge.expect("minted")) };
            if let Some(effect) = self.effect.take() {
                effect(&mut self.model, &answered);
            }
            self.answered = Some(answered);
            return Ok(());
        }
        self.forget_reply(to);
        if let Some(at) = self.thread_of(to) {
            self.threads[at].state = Where::Ready;
        }
        Ok(())
    }

    pub fn save_reply(&mut self) -> Option<Handle> {
        let at = self.thread_of(ReplyTo::Current)?;
        let handle = self.add_handle(None)?;
        self.threads[at].state = Where::Held(handle);
        Some(handle)
    }

    pub fn drop_reply(&mut self, to: ReplyTo) {
        self.forget_reply(to);
        let Some(at) = self.thread_of(to) else { return };
        let Thread { process, page, op, .. } = self.threads.swap_remove(at);
        self.figures.stopped += 1;
        let Some(process) = self.processes.get(&process) else { return };
        let allowed = self.model.find(process.space, page);
        let allowed = allowed.is_some_and(|(_, _, write)| write || op == Op::Read);
        assert!(!allowed, "a thread was stopped for an access that it may make: page {page:#x}, {op:?}");
    }

    pub fn badge_of(&mut self, handle: Handle) -> Option<u64> {
        self.handles.get(&handle.0).copied().flatten()
    }

    pub fn drop_handle(&mut self, handle: Handle) {
        assert!(self.handles.remove(&handle.0).is_some(), "a handle is dropped once");
    }

    // ---- bytes of frames ---------------------------------------------------------------------------------------

    pub fn zero(&mut self, frame: u32) {
        self.assert_private(frame);
        self.frames[frame as usize].bytes = [0; 4];
    }

    pub fn copy(&mut self, from: u32, to: u32) {
        self.assert_private(to);
        self.frames[to as usize].bytes = self.frames[from as usize].bytes;
    }

    pub fn write(&mut self, frame: u32, bytes: &[u8]) {
        self.assert_private(frame);
        for (at, chunk) in bytes.chunks_exact(2).take(4).enumerate() {
            self.frames[frame as usize].bytes[at] = u16::from_le_bytes([chunk[0], chunk[1]]);
        }
    }

    /// The store takes a frame, or gives it back.
    pub fn lend(&mut self, frame: u32, lent: bool) {
        assert_ne!(self.frames[frame as usize].lent, lent);
        self.frames[frame as usize].lent = lent;
    }

    /// Nobody maps a frame that a device writes.
    pub fn assert_unmapped(&self, frame: u32) {
        assert!(!self.is_mapped(frame), "a device writes frame {frame}, which is mapped");
    }
}
