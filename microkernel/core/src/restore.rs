//! From records back to a world: each record is validated alone, then all of them as a graph; what is derived is
//! rebuilt; law 4 is applied; then threads run.

use crate::decode::{Answer, Called, require};
use crate::destroy::{chunks_of, is_worn};
use crate::graph::{
    BUDGET, CAPABILITY, COUNTED, ENDPOINT, Graph, NOTIFICATION, PROCESS, THREAD, VECTOR, WORLD, has_reached, is_sound,
    is_within, stands,
};
use crate::kernel::{Caller, TICKET_MIDDLE, TIME_MAX_NS};
use crate::object::{HANDLES_MIN, NONE, Task};
use crate::queue::{QUEUED, Queue};
use crate::{
    Budget, Capability, Counts, Endpoint, Kernel, Machine, Notification, Process, RecordError, State, Thread,
    VectorState, World,
};
use abi::protocol::service::PORTS_MAX;
use abi::record::BatchReader;
use abi::{Epoch, Kind, PAGE_SIZE, Registers, Rights, Status};
use core::convert::Infallible;
use records::Table;

/// Records that one step takes.
const RESTORE_STEP_MAX: usize = 16;

/// The record that was refused: its table and index.
type Refused = (u16, u32);

/// Takes those of the world's indices that nothing is made at out of those that are free.
fn take_used<T: Copy, D: Copy>(table: &mut Table<T, D>, is_used: impl Fn(&T) -> bool) {
    for index in 0..table.world() {
        if is_used(table.get(index)) {
            table.free.remove(index);
        }
    }
}

macro_rules! record {
    ($name:ident, $record:ty, $table:ident) => {
        fn $name(&mut self, index: u32) -> Result<$record, Infallible> {
            Ok(*self.$table.get(index))
        }
    };
}

impl Graph for &Kernel {
    type Error = Infallible;

    fn capacities(&self) -> [u32; 6] {
        self.world.capacities
    }

    fn ticket(&self) -> u64 {
        self.last_ticket - TICKET_MIDDLE
    }

    fn thread(&mut self, index: u32) -> Result<Thread, Infallible> {
        Ok(**self.threads.get(index))
    }

    record!(process, Process, processes);
    record!(endpoint, Endpoint, endpoints);
    record!(notification, Notification, notifications);
    record!(budget, Budget, budgets);
    record!(capability, Capability, capabilities);
}

impl Kernel {
    /// System call `Restore`.
    pub(crate) fn restore(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_RECORDS)?;
        // Records come into a world that nobody has begun to make.
        let untouched = self.budgets.get(0).used == Counts::default();
        if self.started || !self.restored && !untouched {
            return Err(Status::WrongState);
        }
        let Registers { rdi: page, words: [taken, ..], .. } = self.cpus[caller.cpu].frame;
        let frame = self.memory_frame(caller, Rights::MEMORY_MAP, page)?;
        let bytes: [u8; PAGE_SIZE] = *m.frame(frame);
        match self.take_batch(m, &bytes, taken) {
            Ok((taken, true)) => Ok(Answer::Value(taken)),
            Ok((taken, false)) => {
                self.cpus[caller.cpu].frame.words[0] = taken;
                Ok(self.restart_call(caller))
            }
            Err(refused) => Err(self.tell_refused(caller, refused)),
        }
    }

    fn tell_refused(&mut self, caller: Caller, (table, index): Refused) -> Status {
        let words = &mut self.cpus[caller.cpu].frame.words;
        (words[0], words[1]) = (u64::from(table), u64::from(index));
        Status::BadRecord
    }

    /// Takes some records of a batch, each validated alone, from the one with this number on; the number of the next
    /// one, and whether these were all.
    fn take_batch(&mut self, m: &mut impl Machine, bytes: &[u8], from: u64) -> Result<(u64, bool), Refused> {
        let mut entries = BatchReader::new(bytes).map_err(|_| (u16::MAX, 0))?.skip(from as usize);
        let mut at = from;
        for entry in entries.by_ref().take(self.steps(RESTORE_STEP_MAX)) {
            let (table, index, record) = entry.map_err(|_| (u16::MAX, at as u32))?;
            self.take_record(m, table, index, record).map_err(|_| (table, index))?;
            at += 1;
        }
        Ok((at, entries.next().is_none()))
    }

    fn take_record(&mut self, m: &mut impl Machine, table: u16, index: u32, bytes: &[u8]) -> Result<(), RecordError> {
        require(is_within(table, index, &self.world.capacities), RecordError::Field)?;
        match table {
            WORLD => self.take_world(World::read(bytes)?)?,
            PROCESS => self.taken_into(|k| &mut k.processes, index, Process::read(bytes)?),
            THREAD => {
                let mut thread = Thread::read(bytes)?;
                m.sanitize(&mut thread.registers);
                self.taken_into(|k| &mut k.threads, index, Task { thread, ..*self.threads.get(index) });
            }
            VECTOR => {
                let vector = VectorState::read(bytes)?;
                self.taken_into(|k| &mut k.threads, index, Task { vector, ..*self.threads.get(index) });
            }
            ENDPOINT => self.taken_into(|k| &mut k.endpoints, index, Endpoint::read(bytes)?),
            NOTIFICATION => self.taken_into(|k| &mut k.notifications, index, Notification::read(bytes)?),
            BUDGET => self.taken_into(|k| &mut k.budgets, index, Budget::read(bytes)?),
            CAPABILITY => self.taken_into(|k| &mut k.capabilities, index, Capability::read(bytes)?),
            _ => return Err(RecordError::Field),
        }
        Ok(())
    }

    fn taken_into<T: Copy, D: Copy>(&mut self, table: fn(&mut Self) -> &mut Table<T, D>, index: u32, record: T) {
        self.begin_restore();
        table(self).load(index, record);
        self.capabilities.outdate();
    }

    /// With the first record goes what this boot would have begun a world with: its own record, and its root budget.
    fn begin_restore(&mut self) {
        if core::mem::replace(&mut self.restored, true) {
            return;
        }
        self.world.version = 0;
        if self.budgets.world() > 0 {
            self.budgets.load(0, Budget::FREE);
        }
    }

    fn take_world(&mut self, world: World) -> Result<(), RecordError> {
        require(world.is_shaped_like(&self.world), RecordError::Field)?;
        self.begin_restore();
        self.capabilities.outdate();
        // Volatile threads have drawn tickets since this boot began.
        self.last_ticket = self.last_ticket.max(TICKET_MIDDLE + world.ticket);
        self.world = world;
        Ok(())
    }

    /// System call `Resume`.
    pub(crate) fn resume(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_RECORDS)?;
        let arguments = self.cpus[caller.cpu].frame;
        let epoch = Epoch::from_bits(arguments.rdi);
        require(!self.started, Status::WrongState)?;
        if epoch.incarnation() == 0 || epoch.counter() == 0 || arguments.words[0] > TIME_MAX_NS {
            return Err(Status::BadArgument);
        }
        if self.restored {
            self.check_graph().map_err(|refused| self.tell_refused(caller, refused))?;
            self.void_volatile_claims();
            self.rebuild(m)?;
        }
        self.world.epoch = epoch.bits();
        // World time never goes back: not behind what the records remember.
        self.time_offset = arguments.words[0].max(self.world.time_ns).wrapping_sub(m.now_ns());
        self.started = true;
        self.capabilities.outdate();
        self.requeue(m);
        self.cross();
        Ok(Answer::Done)
    }

    /// The references of all records, as a graph. What passes can be rebuilt without a failure.
    pub(crate) fn check_graph(&mut self) -> Result<(), Refused> {
        if self.world.version == 0 {
            // Its own record never came.
            return Err((WORLD, 0));
        }
        for (table, count) in COUNTED.into_iter().zip(self.world.capacities) {
            for index in 0..count {
                let Ok(sound) = is_sound(&mut &*self, table, index);
                sound.then_some(()).ok_or((table, index))?;
            }
        }
        self.find_ports()?;
        self.check_slots()?;
        self.check_waiting()?;
        self.mark_replies()
    }

    /// Services have one port each, and no more than there is room for.
    fn find_ports(&mut self) -> Result<(), Refused> {
        self.ports = [NONE; PORTS_MAX];
        for endpoint in 0..self.endpoints.world() {
            let Endpoint { life, service, .. } = *self.endpoints.get(endpoint);
            if service == 0 {
                continue;
            }
            let refused = life == 0 || self.port_of(service).is_some();
            let place = self.ports.iter_mut().find(|port| **port == NONE).filter(|_| !refused);
            *place.ok_or((ENDPOINT, endpoint))? = endpoint;
        }
        Ok(())
    }

    /// No two processes share slots; a capability lies in a process's slot, and not in the null handle's.
    fn check_slots(&mut self) -> Result<(), Refused> {
        self.holders[..(self.capabilities.world() / HANDLES_MIN) as usize].fill(NONE);
        let mut spaces = 0;
        for process in 0..self.processes.world() {
            let Process { slots, slot_count, .. } = *self.processes.get(process);
            let refused = (PROCESS, process);
            for holder in &mut self.holders[chunks_of(slots, slot_count)] {
                require(*holder == NONE, refused)?;
                *holder = process;
            }
            spaces += u32::from(slot_count != 0);
            require(slot_count == 0 || self.capabilities.get(slots).is_memory_port(), refused)?;
        }
        if self.pool.free.count() < spaces {
            // A machine too small for its world: not the record's fault, but it cannot be rebuilt here.
            return Err((PROCESS, NONE));
        }
        for slot in 0..self.capabilities.world() {
            if self.capabilities.get(slot).kind != 0 && self.holder(slot) == NONE {
                return Err((CAPABILITY, slot));
            }
        }
        Ok(())
    }

    /// Those who wait on an endpoint all send or all receive, as the first of them does: it is noted in the endpoint's
    /// queue, which is empty before and after.
    fn check_waiting(&mut self) -> Result<(), Refused> {
        let checked = (0..self.threads.world()).try_for_each(|thread| {
            let Thread { state, object, .. } = **self.threads.get(thread);
            if !matches!(state, State::Calling | State::Sending | State::Faulting | State::Receiving) {
                return Ok(());
            }
            let first = self.endpoints.beside(object).first().unwrap_or(thread);
            self.endpoints.beside_mut(object).head = first;
            let agree = self.is_receiver(first) == (state == State::Receiving);
            if agree { Ok(()) } else { Err((THREAD, thread)) }
        });
        let world = self.endpoints.world() as usize;
        self.endpoints.all_beside_mut().take(world).for_each(|queue| *queue = Queue::EMPTY);
        checked
    }

    /// Marks callers whose Reply a process of the world holds, in the links. An error: a call that waits has one at most.
    ///
    /// A Reply to a call that is yet to come stands for none, and shall not: who wrote it lies, or it has been left behind
    /// by as many calls as can be counted.
    fn mark_replies(&mut self) -> Result<(), Refused> {
        self.threads.all_beside_mut().for_each(|link| link.reply_held = false);
        for thread in 0..self.threads.world() {
            if let Some(past) = self.mark_reply(self.held_reply(thread), (THREAD, thread))? {
                self.threads.change(thread).serving_sequence = past;
            }
        }
        for slot in 0..self.capabilities.world() {
            if let Some(past) = self.mark_reply(self.saved_reply(slot), (CAPABILITY, slot))? {
                self.capabilities.change(slot).generation = past;
            }
        }
        Ok(())
    }

    /// Of a Reply to a call that is yet to come: the number of one that is past.
    fn mark_reply(&mut self, reply: Option<(u32, u32)>, holder: Refused) -> Result<Option<u32>, Refused> {
        let Some((caller, sequence)) = reply else { return Ok(None) };
        let Task { thread: record, .. } = self.threads.get(caller);
        let now = record.call_sequence;
        if stands(record, sequence) && core::mem::replace(&mut self.threads.beside_mut(caller).reply_held, true) {
            return Err(holder);
        }
        Ok((!has_reached(now, sequence)).then(|| now.wrapping_sub(1)))
    }

    /// What volatile processes hold on the world belongs to the time before.
    fn void_volatile_claims(&mut self) {
        for slot in self.capabilities.world()..self.capabilities.len() {
            let capability = *self.capabilities.get(slot);
            if capability.kind != 0 && self.is_world_object(&capability) {
                while !self.empty_slot(slot, Status::Restarted) {}
            }
        }
    }

    /// Older worlds say in the record of a process what is now the capability in the first of its slots.
    fn take_old_port(&mut self, process: u32) {
        let Process { slots, port, port_generation, port_badge, .. } = *self.processes.get(process);
        if port == NONE {
            return;
        }
        let root = Capability::root(Kind::Endpoint, port, port_generation);
        let told = Capability { rights: Rights::SEND.bits(), badge: port_badge, ..root };
        if self.capabilities.get(slots).kind == 0 && self.life(&told) != 0 {
            *self.capabilities.change(slots) = told;
        }
        let record = self.processes.change(process);
        (record.port, record.port_generation, record.port_badge) = (NONE, 0, 0);
    }

    /// Derived state of the world part of all tables.
    fn rebuild(&mut self, m: &mut impl Machine) -> Result<(), Status> {
        for process in 0..self.processes.world() {
            let Process { slots, slot_count, .. } = *self.processes.get(process);
            if slot_count == 0 {
                continue;
            }
            self.take_old_port(process);
            self.free_chunks.remove_range(slots / HANDLES_MIN, (slots + slot_count) / HANDLES_MIN);
            self.own_slots(process, slots, slot_count);
            self.create_space(m, process)?;
        }
        for slot in 0..self.capabilities.world() {
            let capability = *self.capabilities.get(slot);
            if capability.kind == 0 {
                continue;
            }
            self.capabilities.free.remove(slot);
            self.revoking += u32::from(capability.dying);
            self.link_child(slot);
        }
        take_used(&mut self.processes, |p| p.exists() || is_worn(p.generation));
        take_used(&mut self.threads, |t| t.state != State::Free || is_worn(t.generation));
        take_used(&mut self.endpoints, |e| e.life != 0 || is_worn(e.generation));
        take_used(&mut self.notifications, |n| n.life != 0 || is_worn(n.generation));
        take_used(&mut self.budgets, |b| b.life != 0 || is_worn(b.generation));
        Ok(())
    }

    /// Law 4: what a thread waited for that is not of the world is as if its server had died. Who holds a Reply in the
    /// world has been marked.
    fn cross(&mut self) {
        for thread in 0..self.threads.world() {
            let held = core::mem::take(&mut self.threads.beside_mut(thread).reply_held);
            let Thread { state, call_sequence, .. } = **self.threads.get(thread);
            match state {
                // The access is made again.
                State::Faulting | State::AwaitFault => self.wake(thread),
                State::AwaitReply if !held => self.void_reply(thread, call_sequence, Status::Restarted),
                _ => {}
            }
        }
    }

    /// Queues and deadlines of the world's threads, in the order of their tickets: sorted by what keeps deadlines,
    /// which is emptied for it and filled again.
    fn requeue(&mut self, m: &mut impl Machine) {
        for thread in 0..self.threads.len() {
            self.deadlines.remove(thread);
        }
        for thread in 0..self.threads.len() {
            let Thread { state, ticket, priority, .. } = **self.threads.get(thread);
            let world = self.is_world_thread(thread);
            if !world && state == State::Ready && self.threads.beside(thread).place == QUEUED {
                // Volatile threads that are ready take their places among the world's.
                self.run.remove(&mut self.threads, priority, thread);
            } else if !world || matches!(state, State::Free | State::Stopped) {
                continue;
            }
            self.deadlines.insert(ticket, thread);
        }
        loop {
            let (_, thread) = self.deadlines.first();
            if thread == NONE {
                break;
            }
            self.deadlines.remove(thread);
            let Thread { state, object, priority, .. } = **self.threads.get(thread);
            match state {
                State::Ready => self.run.push(&mut self.threads, priority, thread, false),
                _ => self.join_queue(thread, state, object),
            }
        }
        for thread in 0..self.threads.len() {
            let Thread { state, deadline, .. } = **self.threads.get(thread);
            if deadline == u64::MAX || matches!(state, State::Ready | State::Stopped | State::Free) {
                continue;
            }
            // Threads of the world record world time; a deadline that passed while nobody looked is due now.
            let at = if self.is_world_thread(thread) {
                m.now_ns().saturating_add(deadline.saturating_sub(self.world_time(m)))
            } else {
                deadline
            };
            self.deadlines.insert(at, thread);
        }
    }

    /// System call `BindPort`.
    pub(crate) fn bind_port(&mut self, caller: Caller) -> Called {
        self.look_up(caller.process, caller.handle, Rights::EPOCH_PORTS)?;
        // What a refused `Resume` has found is not yet a world to wait in.
        require(self.started || !self.restored, Status::BadArgument)?;
        let service = u32::try_from(self.cpus[caller.cpu].frame.rdi).map_err(|_| Status::BadArgument)?;
        let port = self.port_of(service).filter(|_| service != 0).ok_or(Status::BadArgument)?;
        let rights = Rights::RECEIVE | Rights::SEND | Rights::COPY;
        let root = Capability::root(Kind::Endpoint, port, self.endpoints.get(port).generation);
        let handle = self.place(caller.process, Capability { rights: rights.bits(), ..root })?;
        Ok(Answer::Value(handle.0.into()))
    }
}
