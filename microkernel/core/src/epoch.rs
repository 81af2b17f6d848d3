//! The cut, what is exported after it, and the frames and log around it.

use crate::decode::{Answer, Called, require};
use crate::kernel::{Caller, TICKET_MIDDLE};
use crate::object::NONE;
use crate::{Budget, Capability, Endpoint, Kernel, Machine, Notification, Process, Thread};
use abi::record::{BatchWriter, Table as Kept};
use abi::{Epoch, FRAMES_BATCH_MAX, FrameState, Rights, Status};
use records::Table;
use zerocopy::IntoBytes;

/// Records that one `Export` writes; more are left to the next.
const EXPORT_STEP_MAX: usize = 16;

/// Whether a method says so of each recorded table.
macro_rules! each_table {
    ($kernel:ident, $method:ident) => {
        $kernel.threads.$method()
            && $kernel.processes.$method()
            && $kernel.endpoints.$method()
            && $kernel.notifications.$method()
            && $kernel.budgets.$method()
            && $kernel.capabilities.$method()
    };
}

impl Kernel {
    /// System call `Cut`. Its steps depend on the number of CPUs and on nothing else.
    pub(crate) fn cut(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_CUT)?;
        require(self.started, Status::WrongState)?;
        require(self.is_exported(), Status::Busy)?;
        let next = self.epoch().next().ok_or(Status::WrongState)?;
        let stamp = self.stamp.checked_add(1).ok_or(Status::WrongState)?;
        // ---- point of no return ----
        if self.cpus.count() > 1 {
            m.stop_others(caller.cpu);
        }
        for cpu in 0..self.cpus.count() {
            self.save_running(m, caller.cpu, cpu);
        }
        self.world.time_ns = self.world_time(m);
        self.world.ticket = self.last_ticket - TICKET_MIDDLE;
        self.ended_world = Some(self.world);
        let quiet = each_table!(self, is_quiet);
        let cut = each_table!(self, cut);
        debug_assert!(cut, "everything was drained");
        self.world.epoch = next.bits();
        self.stamp = stamp;
        let mut flush = 0;
        for cpu in 0..self.cpus.count() {
            let loaded = self.cpus[cpu].loaded;
            if loaded != NONE && self.is_world_process(loaded) {
                self.freshen(m, self.processes.beside(loaded).root);
                flush |= 1 << cpu;
            }
        }
        if flush != 0 {
            m.flush(flush, None);
        }
        let words = &mut self.cpus[caller.cpu].frame.words;
        (words[0], words[1]) = (self.log.entries.head, u64::from(quiet));
        Ok(Answer::Value(next.bits()))
    }

    /// Copies the registers of a world thread that runs on `cpu` into its record.
    fn save_running(&mut self, m: &mut impl Machine, own: usize, cpu: usize) {
        let thread = self.cpus[cpu].current;
        if thread == NONE || !self.is_world_thread(thread) {
            return;
        }
        // Those who run come first when the world comes back.
        let ticket = self.front_ticket();
        let record = self.threads.change(thread);
        record.registers = self.cpus[cpu].frame;
        record.ticket = ticket;
        if cpu == own { m.save_vector(&mut record.vector) } else { m.save_vector_of(cpu, &mut record.vector) }
    }

    pub(crate) fn is_exported(&self) -> bool {
        self.ended_world.is_none() && each_table!(self, is_drained)
    }

    /// System call `Export`.
    pub(crate) fn export(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_RECORDS)?;
        let page = self.cpus[caller.cpu].frame.rdi;
        let frame = self.memory_frame(caller, Rights::MEMORY_WRITE, page)?;
        let mut left = self.steps(EXPORT_STEP_MAX);
        let mut batch = BatchWriter::new(m.frame(frame));
        macro_rules! export {
            ($table:ident, $kept:ident, $exists:expr) => {
                // A record that never existed, or an empty slot, is an entry without bytes. One whose object died stays: its
                // generation is what keeps old capabilities from meaning a new object.
                export_table(&mut batch, &mut left, &mut self.$table, |batch, index, record| {
                    push(batch, Kept::$kept, index, if $exists(record) { record.as_bytes() } else { &[] })
                })
            };
        }
        let more = export!(processes, Process, |p: &Process| p.generation != 0)
            || export_table(&mut batch, &mut left, &mut self.threads, |batch, index, task| {
                let (thread, vector) = (task.thread.as_bytes(), task.vector.as_bytes());
                batch.has_room(2, thread.len() + vector.len())
                    && push(batch, Kept::Thread, index, thread)
                    && push(batch, Kept::Vector, index, vector)
            })
            || export!(endpoints, Endpoint, |e: &Endpoint| e.generation != 0)
            || export!(notifications, Notification, |n: &Notification| n.generation != 0)
            || export!(budgets, Budget, |b: &Budget| b.generation != 0)
            || export!(capabilities, Capability, |c: &Capability| c.kind != 0);
        if !more
            && let Some(world) = self.ended_world
            && push(&mut batch, Kept::World, 0, world.as_bytes())
        {
            self.ended_world = None;
        }
        Ok(Answer::Value(batch.finish() as u64))
    }

    /// System call `ReadLog`.
    pub(crate) fn read_log(&mut self, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_CUT)?;
        let frame = &mut self.cpus[caller.cpu].frame;
        let position = frame.rdi;
        self.log.release(position);
        self.log.limit = frame.words[0];
        let mut read = 0;
        for place in &mut frame.words {
            let Some(entry) = self.log.entries.get(position.wrapping_add(read)) else { break };
            *place = entry;
            read += 1;
        }
        Ok(Answer::Value(read))
    }

    /// System call `Donate`.
    pub(crate) fn donate(&mut self, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_CUT)?;
        let (frames, count) = self.memory_frames(caller, self.cpus[caller.cpu].frame.rdi)?;
        let taken = frames[..count].iter().take_while(|&&frame| self.log.donate(frame)).count();
        Ok(Answer::Value(taken as u64))
    }

    /// System call `SetFrames`.
    pub(crate) fn set_frames(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_CUT)?;
        let asked = self.cpus[caller.cpu].frame.rdi;
        let state = FrameState::from_bits((asked >> 8) as u8);
        let state = state.filter(|_| asked < 1 << 16).ok_or(Status::BadArgument)?;
        let (frames, count) = self.memory_frames(caller, asked & 0xff)?;
        let mut changed = 0;
        for (at, &frame) in frames[..count].iter().enumerate() {
            changed |= u64::from(self.set_frame(m, frame, state)) << at;
        }
        Ok(Answer::Value(changed))
    }

    /// Frame number of page `page` of the Memory that cap 0 of the call refers to. Frames beyond the machine's memory
    /// are refused: the kernel itself writes only to memory.
    pub(crate) fn memory_frame(&self, caller: Caller, needed: Rights, page: u64) -> Result<u32, Status> {
        let (first, count) = self.given(caller, needed)?.range();
        require(page < u64::from(count), Status::BadRange)?;
        let frame = first + page as u32;
        if (frame as usize) < self.frames.len() { Ok(frame) } else { Err(Status::BadRange) }
    }

    /// The frames that a call names by their pages, and how many there are.
    fn memory_frames(&self, caller: Caller, count: u64) -> Result<([u32; FRAMES_BATCH_MAX], usize), Status> {
        require((1..=FRAMES_BATCH_MAX as u64).contains(&count), Status::BadArgument)?;
        let (mut frames, count) = ([0; FRAMES_BATCH_MAX], count as usize);
        for (frame, page) in frames[..count].iter_mut().zip(self.cpus[caller.cpu].frame.words) {
            *frame = self.memory_frame(caller, Rights::MEMORY_WRITE, page)?;
        }
        Ok((frames, count))
    }

    /// System call `Committed`.
    pub(crate) fn commit(&mut self, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_RECORDS)?;
        let epoch = Epoch::from_bits(self.cpus[caller.cpu].frame.rdi);
        if epoch < self.committed || epoch >= self.epoch() && self.started {
            return Err(Status::BadArgument);
        }
        self.committed = epoch;
        Ok(Answer::Done)
    }

    /// System call `Clock`.
    pub(crate) fn clock(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let now = self.world_time(m);
        let words = &mut self.cpus[caller.cpu].frame.words;
        (words[0], words[1]) = (self.committed.bits(), now);
        Ok(Answer::Value(self.world.epoch))
    }
}

/// Takes changed records of the ended epoch that `put` finds room for, one of `left` each; true when there is no more room,
/// or none is left, before the table is done.
fn export_table<T: Copy + 'static, D: Copy + 'static>(
    batch: &mut BatchWriter<'_>,
    left: &mut usize,
    table: &mut Table<T, D>,
    put: impl Fn(&mut BatchWriter<'_>, u32, &T) -> bool,
) -> bool {
    while let Some((index, record)) = table.peek() {
        if *left == 0 || !put(batch, index, record) {
            return true;
        }
        table.pop();
        *left -= 1;
    }
    false
}

/// Writes one record, if there is room.
fn push(batch: &mut BatchWriter<'_>, table: Kept, index: u32, bytes: &[u8]) -> bool {
    batch.push(table as u16, index, bytes.len(), |to| to.copy_from_slice(bytes))
}

const _: () = assert!(size_of::<Thread>() <= abi::record::RECORD_BYTES_MAX);
