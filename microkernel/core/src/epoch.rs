//! The cut, what is exported after it, and the frames and log around it.

use crate::decode::Answer;
use crate::kernel::Caller;
use crate::object::NONE;
use crate::queue::Threads;
use crate::{Kernel, Machine, Thread};
use abi::record::{BatchWriter, Table as Kept};
use abi::{Epoch, FRAMES_BATCH_MAX, FrameState, Handle, Rights, Status};
use records::Table;
use zerocopy::IntoBytes;

impl Kernel {
    /// System call `Cut`. Its steps depend on the number of CPUs and on nothing else.
    pub(crate) fn cut(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        self.look_up(caller.process, handle, Rights::EPOCH_CUT)?;
        if !self.started {
            return Err(Status::WrongState);
        }
        if !self.is_exported() {
            return Err(Status::Busy);
        }
        let next = self.epoch().next().ok_or(Status::WrongState)?;
        let stamp = self.stamp.checked_add(1).ok_or(Status::WrongState)?;
        // ---- point of no return ----
        if self.cpus.len() > 1 {
            m.stop_others(caller.cpu);
        }
        for cpu in 0..self.cpus.len() {
            self.save_running(m, caller.cpu, cpu);
        }
        self.world.time_ns = self.world_time(m);
        self.ended_world = Some(self.world);
        let quiet = self.is_quiet();
        self.cut_tables();
        self.world.epoch = next.bits();
        self.stamp = stamp;
        let mut flush = 0;
        for cpu in 0..self.cpus.len() {
            let loaded = self.cpus[cpu].loaded;
            if loaded != NONE && self.is_world_process(loaded) {
                self.freshen(m, self.spaces[loaded as usize].root);
                flush |= 1 << cpu;
            }
        }
        m.flush(flush, None);
        let frame = &mut self.cpus[caller.cpu].frame;
        frame.rdi = next.bits();
        frame.words[0] = self.log.head;
        frame.words[1] = u64::from(quiet);
        Ok(Answer::Done)
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
        self.ended_world.is_none()
            && self.threads.is_drained()
            && self.processes.is_drained()
            && self.endpoints.is_drained()
            && self.notifications.is_drained()
            && self.budgets.is_drained()
            && self.capabilities.is_drained()
    }

    fn is_quiet(&self) -> bool {
        self.threads.is_quiet()
            && self.processes.is_quiet()
            && self.endpoints.is_quiet()
            && self.notifications.is_quiet()
            && self.budgets.is_quiet()
            && self.capabilities.is_quiet()
    }

    fn cut_tables(&mut self) {
        let cut = [
            self.threads.cut(),
            self.processes.cut(),
            self.endpoints.cut(),
            self.notifications.cut(),
            self.budgets.cut(),
            self.capabilities.cut(),
        ];
        debug_assert!(cut.iter().all(Result::is_ok), "everything was drained");
    }

    /// System call `Export`.
    pub(crate) fn export(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        self.look_up(caller.process, handle, Rights::EPOCH_RECORDS)?;
        let page = self.cpus[caller.cpu].frame.rdi;
        let frame = self.memory_frame(caller, Rights::MEMORY_WRITE, page)?;
        let mut batch = BatchWriter::new(m.frame(frame));
        let more = export_table(&mut batch, &mut self.processes, Kept::Process, |p| p.generation != 0)
            || export_threads(&mut batch, &mut self.threads)
            || export_table(&mut batch, &mut self.endpoints, Kept::Endpoint, |e| e.generation != 0)
            || export_table(&mut batch, &mut self.notifications, Kept::Notification, |n| n.generation != 0)
            || export_table(&mut batch, &mut self.budgets, Kept::Budget, |b| b.generation != 0)
            || export_table(&mut batch, &mut self.capabilities, Kept::Capability, |c| c.kind != 0);
        if !more
            && let Some(world) = self.ended_world
            && batch.push(Kept::World as u16, 0, size_of_val(&world), |to| to.copy_from_slice(world.as_bytes()))
        {
            self.ended_world = None;
        }
        self.cpus[caller.cpu].frame.rdi = batch.finish() as u64;
        Ok(Answer::Done)
    }

    /// System call `ReadLog`.
    pub(crate) fn read_log(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        self.look_up(caller.process, handle, Rights::EPOCH_CUT)?;
        let frame = &mut self.cpus[caller.cpu].frame;
        let position = frame.rdi;
        self.log.release(position);
        self.log.stop_at(frame.words[0]);
        let mut read = 0;
        for (place, at) in frame.words.iter_mut().zip(position..) {
            let Some(entry) = self.log.read(at) else { break };
            *place = entry;
            read += 1;
        }
        frame.rdi = read;
        Ok(Answer::Done)
    }

    /// System call `Donate`.
    pub(crate) fn donate(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        self.look_up(caller.process, handle, Rights::EPOCH_CUT)?;
        let arguments = self.cpus[caller.cpu].frame;
        let count = arguments.rdi as usize;
        if count == 0 || count > FRAMES_BATCH_MAX || arguments.rdi > FRAMES_BATCH_MAX as u64 {
            return Err(Status::BadArgument);
        }
        let mut frames = [0; FRAMES_BATCH_MAX];
        for (frame, page) in frames[..count].iter_mut().zip(arguments.words) {
            *frame = self.memory_frame(caller, Rights::MEMORY_WRITE, page)?;
        }
        let taken = frames[..count].iter().take_while(|&&frame| self.log.donate(frame)).count();
        self.cpus[caller.cpu].frame.rdi = taken as u64;
        Ok(Answer::Done)
    }

    /// System call `SetFrames`.
    pub(crate) fn set_frames(
        &mut self,
        m: &mut impl Machine,
        caller: Caller,
        handle: Handle,
    ) -> Result<Answer, Status> {
        self.look_up(caller.process, handle, Rights::EPOCH_CUT)?;
        let arguments = self.cpus[caller.cpu].frame;
        let count = usize::from(arguments.rdi as u8);
        let state = FrameState::from_bits((arguments.rdi >> 8) as u8);
        let state = state.filter(|_| arguments.rdi < 1 << 16).ok_or(Status::BadArgument)?;
        if count == 0 || count > FRAMES_BATCH_MAX {
            return Err(Status::BadArgument);
        }
        let mut frames = [0; FRAMES_BATCH_MAX];
        for (frame, page) in frames[..count].iter_mut().zip(arguments.words) {
            *frame = self.memory_frame(caller, Rights::MEMORY_WRITE, page)?;
        }
        let mut changed = 0;
        for (at, &frame) in frames[..count].iter().enumerate() {
            changed |= u64::from(self.set_frame(m, frame, state)) << at;
        }
        self.cpus[caller.cpu].frame.rdi = changed;
        Ok(Answer::Done)
    }

    /// Frame number of page `page` of the Memory that cap 0 of the call refers to. Frames beyond the machine's memory
    /// are refused: the kernel itself writes only to memory.
    pub(crate) fn memory_frame(&self, caller: Caller, needed: Rights, page: u64) -> Result<u32, Status> {
        let slot = self.look_up(caller.process, Handle(self.cpus[caller.cpu].frame.caps as u16), needed)?;
        let (first, count) = self.capabilities.get(slot).range();
        if page >= u64::from(count) {
            return Err(Status::BadRange);
        }
        let frame = first + page as u32;
        if (frame as usize) < self.frames.len() { Ok(frame) } else { Err(Status::BadRange) }
    }

    /// System call `Committed`.
    pub(crate) fn commit(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        self.look_up(caller.process, handle, Rights::EPOCH_RECORDS)?;
        let epoch = Epoch::from_bits(self.cpus[caller.cpu].frame.rdi);
        if epoch < self.committed || epoch >= self.epoch() && self.started {
            return Err(Status::BadArgument);
        }
        self.committed = epoch;
        Ok(Answer::Done)
    }

    /// System call `Clock`.
    pub(crate) fn clock(&mut self, m: &mut impl Machine, caller: Caller) -> Result<Answer, Status> {
        let now = self.world_time(m);
        let frame = &mut self.cpus[caller.cpu].frame;
        frame.rdi = self.world.epoch;
        frame.words[0] = self.committed.bits();
        frame.words[1] = now;
        Ok(Answer::Done)
    }
}

/// Writes changed records of the ended epoch into a batch; true when the batch is full before the table is done.
fn export_table<T: Copy + IntoBytes + zerocopy::Immutable + 'static, D: Copy + 'static>(
    batch: &mut BatchWriter<'_>,
    table: &mut Table<T, D>,
    kept: Kept,
    exists: impl Fn(&T) -> bool,
) -> bool {
    while let Some((index, record)) = table.peek() {
        // A record that never existed, or an empty slot, is an entry without bytes. One whose object died stays: its
        // generation is what keeps old capabilities from meaning a new object.
        let bytes = if exists(record) { record.as_bytes() } else { &[] };
        if !batch.push(kept as u16, index, bytes.len(), |to| to.copy_from_slice(bytes)) {
            return true;
        }
        table.pop();
    }
    false
}

/// The same for threads, of two records each.
fn export_threads(batch: &mut BatchWriter<'_>, threads: &mut Threads) -> bool {
    while let Some((index, task)) = threads.peek() {
        let (thread, vector) = (task.thread.as_bytes(), task.vector.as_bytes());
        if !batch.has_room(2, thread.len() + vector.len()) {
            return true;
        }
        batch.push(Kept::Thread as u16, index, thread.len(), |to| to.copy_from_slice(thread));
        batch.push(Kept::Vector as u16, index, vector.len(), |to| to.copy_from_slice(vector));
        threads.pop();
    }
    false
}

const _: () = assert!(size_of::<Thread>() <= abi::record::RECORD_BYTES_MAX);
