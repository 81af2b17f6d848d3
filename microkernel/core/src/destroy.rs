//! Making, starting, stopping and destroying objects. Destruction goes in bounded steps.

use crate::decode::{Answer, Called, require};
use crate::kernel::Caller;
use crate::object::{DEPTH_MAX, HANDLES_MAX, HANDLES_MIN, NONE, Task};
use crate::queue::{Link, QUEUED};
use crate::{Budget, Capability, Counts, Endpoint, Kernel, Machine, Notification, Process, State, Thread};
use abi::{Kind, Registers, Rights, Status, WORLD_PRIORITY_MAX};

/// Waiting threads that one step of a destruction wakes, threads it ends, slots it empties.
const STEP_MAX: usize = 8;

/// Threads that one step of a destruction looks at, and words of the set of free ones.
const LOOK_MAX: u32 = 256;

/// Chunks of slots, as [`Kernel::holders`] counts them.
pub(crate) fn chunks_of(slots: u32, slot_count: u32) -> core::ops::Range<usize> {
    (slots / HANDLES_MIN) as usize..((slots + slot_count) / HANDLES_MIN) as usize
}

/// Whether nothing is made at an index any more: who still holds a capability to what was there first would have it to
/// what is there next.
pub(crate) const fn is_worn(generation: u32) -> bool {
    generation == u32::MAX
}

/// Takes the lowest free index of a table's world part, or of its volatile part, and its counts from the budget that
/// pays; with the generation that the object there will have. 0 is nobody's: it says that there never was such an object.
macro_rules! take {
    ($kernel:ident, $table:ident, $budget:ident, $counts:expr) => {{
        let counts = $counts;
        $kernel.budgets.get($budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let world = $budget < $kernel.budgets.world();
        let index = $kernel.$table.take_free(world).ok_or(Status::TablesExhausted)?;
        $kernel.charge($budget, counts);
        (index, $kernel.$table.get(index).generation + 1)
    }};
}

/// The other way: an object is no more, and its budget has its counts again.
macro_rules! give_back {
    ($kernel:ident, $table:ident, $index:expr, $record:ident, $counts:expr) => {{
        let $record { generation, budget, .. } = *$kernel.$table.get($index);
        *$kernel.$table.change($index) = $record { generation, ..$record::FREE };
        if !is_worn(generation) {
            $kernel.$table.free.insert($index);
        }
        $kernel.refund(budget, $counts);
    }};
}

impl Kernel {
    /// System call `Create`.
    pub(crate) fn create(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let budget = self.named(caller, Rights::BUDGET_SPEND)?.object;
        let world = budget < self.budgets.world();
        if world && self.restored && !self.started {
            // Records are there, but not yet what says which numbers are free.
            return Err(Status::WrongState);
        }
        let frame = self.cpus[caller.cpu].frame;
        let kind = u8::try_from(frame.rdi).ok().and_then(Kind::from_bits).ok_or(Status::BadArgument)?;
        // The result needs a slot; checked before anything is made.
        require(self.has_room(caller.process, 1), Status::TableFull)?;
        let (object, generation) = match kind {
            Kind::Process => self.create_process(m, budget, frame.words[0])?,
            Kind::Thread => {
                let process = self.given(caller, Rights::PROCESS_THREADS)?.object;
                let [entry, stack, argument, priority, ..] = frame.words;
                let priority = self.allowed_priority(caller, priority, self.is_world_process(process))?;
                self.create_thread(budget, process, [entry, stack, argument], priority)?
            }
            Kind::Endpoint => self.create_endpoint(budget, frame.words[0])?,
            Kind::Notification => self.create_notification(budget)?,
            Kind::Budget => self.split_budget(budget, &frame.words)?,
            _ => return Err(Status::BadArgument),
        };
        let made = self.place(caller.process, Capability::root(kind, object, generation))?;
        Ok(Answer::Value(made.0.into()))
    }

    /// Takes counts from a budget, which has them.
    fn charge(&mut self, budget: u32, counts: Counts) {
        let record = self.budgets.change(budget);
        record.left = record.left.minus(counts).unwrap_or(record.left);
        record.used = record.used.plus(counts);
    }

    /// Gives counts back to the budget they were taken from.
    fn refund(&mut self, budget: u32, counts: Counts) {
        if budget == NONE {
            return;
        }
        let record = self.budgets.change(budget);
        record.left = record.left.plus(counts);
        record.used = record.used.minus(counts).unwrap_or(record.used);
    }

    pub(crate) fn create_process(
        &mut self,
        m: &mut impl Machine,
        budget: u32,
        handles: u64,
    ) -> Result<(u32, u32), Status> {
        require(handles <= u64::from(HANDLES_MAX), Status::BadArgument)?;
        let slot_count = (handles as u32).next_power_of_two().max(HANDLES_MIN);
        let counts = Counts::one(Kind::Process, slot_count);
        let ((from, to), unit) = (self.capabilities.part(budget < self.budgets.world()), HANDLES_MIN);
        self.budgets.get(budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let run = self.free_chunks.find_run(from / unit, to / unit, slot_count / unit);
        let run = run.ok_or(Status::TablesExhausted)?;
        self.pool.free.first_from(0).ok_or(Status::PoolExhausted)?;
        let (process, generation) = take!(self, processes, budget, counts);
        self.create_space(m, process)?;
        self.free_chunks.remove_range(run, run + slot_count / unit);
        let slots = run * unit;
        self.own_slots(process, slots, slot_count);
        *self.processes.change(process) = Process { generation, slots, slot_count, budget, ..Process::FREE };
        Ok((process, generation))
    }

    /// Makes empty slots a process's own.
    pub(crate) fn own_slots(&mut self, process: u32, slots: u32, slot_count: u32) {
        self.holders[chunks_of(slots, slot_count)].fill(process);
        self.capabilities.free.insert_range(slots, slots + slot_count);
    }

    pub(crate) fn create_thread(
        &mut self,
        budget: u32,
        process: u32,
        [entry, stack, argument]: [u64; 3],
        priority: u8,
    ) -> Result<(u32, u32), Status> {
        require((budget < self.budgets.world()) == self.is_world_process(process), Status::WorldClosed)?;
        require(self.processes.get(process).dying == 0, Status::PeerDied)?;
        require(entry < abi::USER_END && stack < abi::USER_END, Status::BadAddress)?;
        let (thread, generation) = take!(self, threads, budget, Counts::one(Kind::Thread, 0));
        let call_sequence = self.threads.get(thread).call_sequence;
        let registers = Registers { rip: entry, rsp: stack, rdi: argument, rflags: 0x202, ..Registers::default() };
        let state = State::Stopped;
        let thread_made =
            Thread { generation, call_sequence, process, budget, state, priority, registers, ..Thread::FREE };
        *self.threads.change(thread) = Task { thread: thread_made, ..Task::FREE };
        Ok((thread, generation))
    }

    fn create_endpoint(&mut self, budget: u32, service: u64) -> Result<(u32, u32), Status> {
        let service = u32::try_from(service).map_err(|_| Status::BadArgument)?;
        // Only the world has ports, and a service has one.
        let place = self.ports.iter().position(|&port| port == NONE);
        let place = if service == 0 { None } else { Some(place.ok_or(Status::TablesExhausted)?) };
        if service != 0 && (budget >= self.budgets.world() || self.port_of(service).is_some()) {
            return Err(Status::BadArgument);
        }
        let (endpoint, generation) = take!(self, endpoints, budget, Counts::one(Kind::Endpoint, 0));
        if let Some(place) = place {
            self.ports[place] = endpoint;
        }
        *self.endpoints.change(endpoint) = Endpoint { generation, service, budget, life: 1 };
        Ok((endpoint, generation))
    }

    /// The port with this service id.
    pub(crate) fn port_of(&self, service: u32) -> Option<u32> {
        self.ports.iter().copied().find(|&port| port != NONE && self.endpoints.get(port).service == service)
    }

    fn create_notification(&mut self, budget: u32) -> Result<(u32, u32), Status> {
        let counts = Counts::one(Kind::Notification, 0);
        let (notification, generation) = take!(self, notifications, budget, counts);
        *self.notifications.change(notification) = Notification { generation, budget, life: 1, ..Notification::FREE };
        Ok((notification, generation))
    }

    fn split_budget(&mut self, parent: u32, arguments: &[u64; 8]) -> Result<(u32, u32), Status> {
        let mut given = Counts::default();
        for (count, &argument) in given.0.iter_mut().zip(arguments) {
            *count = u32::try_from(argument).map_err(|_| Status::BadArgument)?;
        }
        let mut counts = given;
        counts.0[4] = counts.0[4].checked_add(1).ok_or(Status::BadArgument)?;
        let (budget, generation) = take!(self, budgets, parent, counts);
        *self.budgets.change(budget) = Budget { left: given, generation, budget: parent, life: 1, ..Budget::FREE };
        Ok((budget, generation))
    }

    /// System call `Start`.
    pub(crate) fn start(&mut self, caller: Caller) -> Called {
        let thread = self.controlled(caller)?;
        let record = self.threads.get(thread);
        require(record.state == State::Stopped && self.processes.get(record.process).dying == 0, Status::WrongState)?;
        if self.threads.beside(thread).cpu().is_none() {
            self.wake(thread);
        } else {
            // The CPU that runs it has not looked yet: it never stopped.
            self.threads.change(thread).state = State::Ready;
        }
        Ok(Answer::Done)
    }

    /// System call `Stop`.
    pub(crate) fn stop(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let thread = self.controlled(caller)?;
        if matches!(self.threads.get(thread).state, State::Stopped | State::Free) {
            return Ok(Answer::Done);
        }
        let waits = !matches!(self.threads.get(thread).state, State::Ready | State::Faulting | State::AwaitFault);
        self.halt(thread);
        if waits {
            self.finish(thread, Status::Cancelled);
        }
        if thread == caller.thread {
            self.finish(thread, Status::Ok);
        }
        self.take_off_cpu(m, caller.cpu, thread);
        Ok(Answer::Done)
    }

    /// Takes a thread off whatever it waits in, to be started again or not.
    fn halt(&mut self, thread: u32) {
        self.unqueue(thread);
        let record = self.threads.change(thread);
        (record.state, record.object) = (State::Stopped, NONE);
        if self.threads.beside(thread).cpu().is_some() {
            self.capabilities.outdate();
        }
    }

    /// Takes a thread whose state is no longer `Ready` off the CPU that runs it. False: that is another one, and has been
    /// told.
    fn take_off_cpu(&mut self, m: &mut impl Machine, cpu: usize, thread: u32) -> bool {
        match self.threads.beside(thread).cpu() {
            None => {}
            Some(own) if own == cpu => self.park(m, cpu),
            Some(other) => {
                m.kick(other);
                return false;
            }
        }
        true
    }

    /// A priority that the caller may give to a thread of the world or a volatile one.
    fn allowed_priority(&self, caller: Caller, asked: u64, world: bool) -> Result<u8, Status> {
        let own = self.threads.get(caller.thread).priority;
        let highest = if world { own.min(WORLD_PRIORITY_MAX) } else { own };
        u8::try_from(asked).ok().filter(|&asked| asked <= highest).ok_or(Status::BadArgument)
    }

    /// System call `SetPriority`.
    pub(crate) fn set_priority(&mut self, caller: Caller) -> Called {
        let thread = self.controlled(caller)?;
        let asked = self.cpus[caller.cpu].frame.rdi;
        let priority = self.allowed_priority(caller, asked, self.is_world_thread(thread))?;
        let queued = self.threads.beside(thread).place == QUEUED && self.threads.get(thread).state == State::Ready;
        if queued {
            self.unqueue(thread);
        }
        self.threads.change(thread).priority = priority;
        if queued {
            self.wake(thread);
        }
        Ok(Answer::Done)
    }

    fn controlled(&self, caller: Caller) -> Result<u32, Status> {
        self.named(caller, Rights::THREAD_CONTROL).map(|capability| capability.object)
    }

    /// System call `SetMemoryPort`. The port is a capability like others, but in the place of the null handle, where
    /// nobody can name it: it goes when the one that it is derived from is revoked.
    pub(crate) fn set_memory_port(&mut self, caller: Caller) -> Called {
        let process = self.named(caller, Rights::PROCESS_GRANT)?.object;
        let badge = self.cpus[caller.cpu].frame.rdi;
        let slot = self.look_up(caller.process, caller.given, Rights::SEND)?;
        let given = *self.capabilities.get(slot);
        // Badges are unforgeable: who holds a badged capability can speak with that badge only.
        if badge > abi::BADGE_MAX || given.badge != 0 && given.badge != badge {
            return Err(Status::BadArgument);
        }
        // Law 3, both ways: a volatile thread must not wait inside the world with its fault either.
        require(self.is_world_process(process) == self.is_world_object(&given), Status::WorldClosed)?;
        let Process { slots: place, dying, .. } = *self.processes.get(process);
        require(dying == 0, Status::PeerDied)?;
        let (parent, depth) = self.parent_for(process, slot);
        require(depth <= DEPTH_MAX, Status::TablesExhausted)?;
        if !self.empty_slot(place, Status::Abandoned) {
            return Ok(self.restart_call(caller));
        }
        self.capabilities.free.remove(place);
        self.fill(place, Capability { rights: Rights::SEND.bits(), badge, parent, depth, dying: 0, ..given });
        Ok(Answer::Done)
    }

    /// System call `Destroy`.
    pub(crate) fn destroy(&mut self, m: &mut impl Machine, caller: Caller) -> Called {
        let capability = self.named(caller, Rights::DESTROY)?;
        let object = capability.object;
        let done = match capability.kind() {
            Some(Kind::Endpoint) => self.destroy_endpoint(object),
            Some(Kind::Notification) => self.destroy_notification(object),
            Some(Kind::Thread) => self.end_thread(m, caller.cpu, object),
            // A process cannot take the steps of its own end: whoever started it does.
            Some(Kind::Process) if object == caller.process => return Err(Status::WrongState),
            Some(Kind::Process) => self.destroy_process(m, caller.cpu, object),
            Some(Kind::Budget) => self.destroy_budget(object)?,
            _ => return Err(Status::WrongKind),
        };
        if done { Ok(Answer::Done) } else { Ok(self.restart_call(caller)) }
    }

    fn destroy_endpoint(&mut self, endpoint: u32) -> bool {
        self.endpoints.change(endpoint).life = 2;
        self.capabilities.outdate();
        let done = self.send_away(|kernel| kernel.endpoints.beside(endpoint).first());
        if done {
            if let Some(place) = self.ports.iter().position(|&port| port == endpoint) {
                self.ports[place] = NONE;
            }
            give_back!(self, endpoints, endpoint, Endpoint, Counts::one(Kind::Endpoint, 0));
        }
        done
    }

    /// Wakes some of those who wait for what is being destroyed; true when none is left.
    fn send_away(&mut self, next: impl Fn(&Self) -> Option<u32>) -> bool {
        for _ in 0..self.steps(STEP_MAX) {
            let Some(thread) = next(self) else { return true };
            if self.threads.get(thread).state == State::Faulting {
                // Nobody serves its memory any more: it cannot go on.
                self.halt(thread);
            } else {
                self.wake_with(thread, Status::PeerDied);
            }
        }
        false
    }

    fn destroy_notification(&mut self, notification: u32) -> bool {
        self.notifications.change(notification).life = 2;
        self.capabilities.outdate();
        let done = self.send_away(|kernel| kernel.notifications.beside(notification).first());
        if done {
            let bound = self.notifications.get(notification).bound;
            if bound != NONE {
                self.unbind(bound);
            }
            let counts = Counts::one(Kind::Notification, 0);
            give_back!(self, notifications, notification, Notification, counts);
        }
        done
    }

    fn destroy_budget(&mut self, budget: u32) -> Result<bool, Status> {
        let record = *self.budgets.get(budget);
        require(record.used == Counts::default() && record.budget != NONE, Status::WrongState)?;
        // Records from a hostile store say anything about counts.
        let counts = record.left.plus(Counts::one(Kind::Budget, 0));
        give_back!(self, budgets, budget, Budget, counts);
        Ok(true)
    }

    /// Ends a thread. False when another CPU still runs it: that CPU has been told, call again.
    pub(crate) fn end_thread(&mut self, m: &mut impl Machine, cpu: usize, thread: u32) -> bool {
        let record = **self.threads.get(thread);
        if record.state == State::Free {
            return true;
        }
        self.halt(thread);
        if !self.take_off_cpu(m, cpu, thread) {
            return false;
        }
        if record.serving != NONE {
            self.threads.change(thread).serving = NONE;
            self.void_reply(record.serving, record.serving_sequence, self.death_status(thread));
        }
        self.unbind(thread);
        let Thread { generation, call_sequence, .. } = record;
        let call_sequence = call_sequence.wrapping_add(1);
        *self.threads.change(thread) =
            Task { thread: Thread { generation, call_sequence, ..Thread::FREE }, ..Task::FREE };
        *self.threads.beside_mut(thread) = Link::UNLINKED;
        if !is_worn(generation) {
            self.threads.free.insert(thread);
        }
        self.refund(record.budget, Counts::one(Kind::Thread, 0));
        true
    }

    /// One step of destroying a process: its threads, then its capabilities, then its page tables. True when done.
    fn destroy_process(&mut self, m: &mut impl Machine, cpu: usize, process: u32) -> bool {
        if self.processes.get(process).dying == 0 {
            self.processes.change(process).dying = 1;
            self.capabilities.outdate();
        }
        if !self.end_threads(m, cpu, process) {
            return false;
        }
        let Process { slots, slot_count, .. } = *self.processes.get(process);
        let status = if self.is_world_process(process) { Status::PeerDied } else { Status::Restarted };
        let mut emptied = 0;
        while let Some(slot) = self.capabilities.free.first_absent(slots, slots + slot_count) {
            if emptied == self.steps(STEP_MAX) || !self.empty_slot(slot, status) {
                return false;
            }
            emptied += 1;
        }
        for other in 0..self.cpus.count() {
            if self.cpus[other].loaded == process {
                if other != cpu {
                    m.kick(other);
                    return false;
                }
                self.load_space(m, cpu, NONE);
            }
        }
        if !self.tear_down(m, process) {
            return false;
        }
        self.capabilities.free.remove_range(slots, slots + slot_count);
        self.holders[chunks_of(slots, slot_count)].fill(NONE);
        self.free_chunks.insert_range(slots / HANDLES_MIN, (slots + slot_count) / HANDLES_MIN);
        self.capabilities.outdate();
        give_back!(self, processes, process, Process, Counts::one(Kind::Process, slot_count));
        true
    }

    /// Ends some threads of a process that is dying; true when none is left.
    fn end_threads(&mut self, m: &mut impl Machine, cpu: usize, process: u32) -> bool {
        let (from, to) = self.threads.part(self.is_world_process(process));
        // No thread is made for a dying process, so there is none before the place where the last step stopped.
        let mut at = from.max(self.processes.beside(process).looked_at);
        let end = to.min(at + 64 * LOOK_MAX);
        let (mut ended, mut stuck) = (0, false);
        for _ in 0..LOOK_MAX {
            at = self.threads.free.first_absent(at, end).unwrap_or(end);
            if at == end {
                break;
            }
            if self.threads.get(at).process == process {
                stuck = ended == self.steps(STEP_MAX) || !self.end_thread(m, cpu, at);
                if stuck {
                    break;
                }
                ended += 1;
            }
            at += 1;
        }
        self.processes.beside_mut(process).looked_at = at;
        at == to && !stuck
    }
}
