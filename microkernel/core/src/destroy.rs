//! Making, starting, stopping and destroying objects. Destruction goes in bounded steps.

use crate::decode::Answer;
use crate::kernel::Caller;
use crate::object::{HANDLES_MAX, HANDLES_MIN, NONE, Task};
use crate::queue::Link;
use crate::{Budget, Capability, Counts, Endpoint, Kernel, Machine, Notification, Process, State, Thread};
use abi::{Handle, Kind, Registers, Rights, Status};

/// Waiting threads that one step of a destruction wakes, threads it ends, slots it empties.
const STEP_MAX: usize = 8;

/// Threads that one step of a destruction looks at, and words of the set of free ones.
const LOOK_MAX: u32 = 256;

/// Chunks of slots, as [`Kernel::holders`] counts them.
pub(crate) fn chunks_of(slots: u32, slot_count: u32) -> core::ops::Range<usize> {
    (slots / HANDLES_MIN) as usize..((slots + slot_count) / HANDLES_MIN) as usize
}

/// Makes the lowest free index of a table's world part, or of its volatile part, taken.
macro_rules! take_index {
    ($set:expr, $table:expr, $world:expr) => {{
        let (from, to) = if $world { (0, $table.world()) } else { ($table.world(), $table.len()) };
        $set.take_first(from, to).ok_or(Status::TablesExhausted)
    }};
}

/// The generation after this one. 0 is nobody's: it says that there never was such an object.
fn next(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

impl Kernel {
    /// System call `Create`.
    pub(crate) fn create(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let slot = self.look_up(caller.process, handle, Rights::BUDGET_SPEND)?;
        let budget = self.capabilities.get(slot).object;
        let world = budget < self.budgets.world();
        if world && self.restored && !self.started {
            // Records are there, but not yet what says which numbers are free.
            return Err(Status::WrongState);
        }
        let frame = self.cpus[caller.cpu].frame;
        let kind = u8::try_from(frame.rdi).ok().and_then(Kind::from_bits).ok_or(Status::BadArgument)?;
        // The result needs a slot; checked before anything is made.
        if !self.has_room(caller.process, 1) {
            return Err(Status::TableFull);
        }
        let (object, generation) = match kind {
            Kind::Process => self.create_process(m, budget, world, frame.words[0])?,
            Kind::Thread => {
                let slot = self.look_up(caller.process, Handle(frame.caps as u16), Rights::PROCESS_THREADS)?;
                let process = self.capabilities.get(slot).object;
                let highest = self.threads.get(caller.thread).priority;
                self.create_thread(budget, world, process, &frame.words, highest)?
            }
            Kind::Endpoint => self.create_endpoint(budget, world, frame.words[0])?,
            Kind::Notification => self.create_notification(budget, world)?,
            Kind::Budget => self.split_budget(budget, world, &frame.words)?,
            _ => return Err(Status::BadArgument),
        };
        let rights = kind.rights().bits();
        let root = Capability { kind: kind as u8, rights, object, generation, ..Capability::EMPTY };
        let made = self.place(caller.process, root)?;
        self.cpus[caller.cpu].frame.rdi = u64::from(made.0);
        Ok(Answer::Done)
    }

    /// Takes counts from a budget.
    fn charge(&mut self, budget: u32, counts: Counts) -> Result<(), Status> {
        let left = self.budgets.get(budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let record = self.budgets.change(budget);
        record.left = left;
        record.used = record.used.plus(counts);
        Ok(())
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
        world: bool,
        handles: u64,
    ) -> Result<(u32, u32), Status> {
        if handles > u64::from(HANDLES_MAX) {
            return Err(Status::BadArgument);
        }
        let slot_count = (handles as u32).next_power_of_two().max(HANDLES_MIN);
        let counts = Counts::one(Kind::Process, slot_count);
        self.budgets.get(budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let (from, to) =
            if world { (0, self.capabilities.world()) } else { (self.capabilities.world(), self.capabilities.len()) };
        let unit = HANDLES_MIN;
        let run =
            self.free_chunks.find_run(from / unit, to / unit, slot_count / unit).ok_or(Status::TablesExhausted)?;
        let process = take_index!(self.free_processes, self.processes, world)?;
        if let Err(status) = self.create_space(m, process) {
            self.free_processes.insert(process);
            return Err(status);
        }
        self.charge(budget, counts)?;
        self.free_chunks.remove_range(run, run + slot_count / unit);
        let slots = run * unit;
        self.own_slots(process, slots, slot_count);
        let generation = next(self.processes.get(process).generation);
        *self.processes.change(process) = Process { generation, slots, slot_count, budget, ..Process::FREE };
        Ok((process, generation))
    }

    /// Makes empty slots a process's own. The first is the null handle's and stays out of the free set.
    pub(crate) fn own_slots(&mut self, process: u32, slots: u32, slot_count: u32) {
        self.holders[chunks_of(slots, slot_count)].fill(process);
        self.free_slots.insert_range(slots + 1, slots + slot_count);
    }

    fn create_thread(
        &mut self,
        budget: u32,
        world: bool,
        process: u32,
        arguments: &[u64; 8],
        highest: u8,
    ) -> Result<(u32, u32), Status> {
        let [entry, stack, argument, priority, ..] = *arguments;
        let priority =
            u8::try_from(priority).ok().filter(|&priority| priority <= highest).ok_or(Status::BadArgument)?;
        if world != self.is_world_process(process) {
            return Err(Status::WorldClosed);
        }
        if self.processes.get(process).dying != 0 {
            return Err(Status::PeerDied);
        }
        if entry >= abi::USER_END || stack >= abi::USER_END {
            return Err(Status::BadAddress);
        }
        let counts = Counts::one(Kind::Thread, 0);
        self.budgets.get(budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let thread = take_index!(self.free_threads, self.threads, world)?;
        self.charge(budget, counts)?;
        let Thread { generation, call_sequence, .. } = **self.threads.get(thread);
        let generation = next(generation);
        let registers = Registers { rip: entry, rsp: stack, rdi: argument, rflags: 0x202, ..Registers::default() };
        let state = State::Stopped;
        let thread_made =
            Thread { generation, call_sequence, process, budget, state, priority, registers, ..Thread::FREE };
        *self.threads.change(thread) = Task { thread: thread_made, ..Task::FREE };
        self.link_process(thread);
        Ok((thread, generation))
    }

    /// Derives what a message needs to know of a thread's process; none of it changes while the thread lives.
    pub(crate) fn link_process(&mut self, thread: u32) {
        let process = self.threads.get(thread).process;
        let Process { slots, slot_count, .. } = *self.processes.get(process);
        let link = self.threads.beside_mut(thread);
        (link.slots, link.slot_count, link.root) = (slots, slot_count, self.spaces[process as usize].root);
    }

    fn create_endpoint(&mut self, budget: u32, world: bool, service: u64) -> Result<(u32, u32), Status> {
        let service = u32::try_from(service).map_err(|_| Status::BadArgument)?;
        // Only the world has ports, and a service has one.
        let place = self.ports.iter().position(|&port| port == NONE);
        let place = if service == 0 { None } else { Some(place.ok_or(Status::TablesExhausted)?) };
        if service != 0 && (!world || self.port_of(service).is_some()) {
            return Err(Status::BadArgument);
        }
        let counts = Counts::one(Kind::Endpoint, 0);
        self.budgets.get(budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let endpoint = take_index!(self.free_endpoints, self.endpoints, world)?;
        self.charge(budget, counts)?;
        if let Some(place) = place {
            self.ports[place] = endpoint;
        }
        let generation = next(self.endpoints.get(endpoint).generation);
        *self.endpoints.change(endpoint) = Endpoint { generation, service, budget, life: 1 };
        Ok((endpoint, generation))
    }

    /// The port with this service id.
    pub(crate) fn port_of(&self, service: u32) -> Option<u32> {
        self.ports.iter().copied().find(|&port| port != NONE && self.endpoints.get(port).service == service)
    }

    fn create_notification(&mut self, budget: u32, world: bool) -> Result<(u32, u32), Status> {
        let counts = Counts::one(Kind::Notification, 0);
        self.budgets.get(budget).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let notification = take_index!(self.free_notifications, self.notifications, world)?;
        self.charge(budget, counts)?;
        let generation = next(self.notifications.get(notification).generation);
        *self.notifications.change(notification) = Notification { generation, budget, life: 1, ..Notification::FREE };
        Ok((notification, generation))
    }

    fn split_budget(&mut self, parent: u32, world: bool, arguments: &[u64; 8]) -> Result<(u32, u32), Status> {
        let mut given = Counts::default();
        for (count, &argument) in given.0.iter_mut().zip(arguments) {
            *count = u32::try_from(argument).map_err(|_| Status::BadArgument)?;
        }
        let mut counts = given;
        counts.0[4] = counts.0[4].checked_add(1).ok_or(Status::BadArgument)?;
        self.budgets.get(parent).left.minus(counts).ok_or(Status::BudgetExhausted)?;
        let budget = take_index!(self.free_budgets, self.budgets, world)?;
        self.charge(parent, counts)?;
        let generation = next(self.budgets.get(budget).generation);
        *self.budgets.change(budget) = Budget { left: given, generation, budget: parent, life: 1, ..Budget::FREE };
        Ok((budget, generation))
    }

    /// System call `Start`.
    pub(crate) fn start(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let thread = self.controlled(caller, handle)?;
        let record = self.threads.get(thread);
        if record.state != State::Stopped || self.processes.get(record.process).dying != 0 {
            return Err(Status::WrongState);
        }
        if self.threads.beside(thread).cpu == NONE {
            self.wake(thread);
        } else {
            // The CPU that runs it has not looked yet: it never stopped.
            self.threads.change(thread).state = State::Ready;
        }
        Ok(Answer::Done)
    }

    /// System call `Stop`.
    pub(crate) fn stop(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let thread = self.controlled(caller, handle)?;
        if matches!(self.threads.get(thread).state, State::Stopped | State::Free) {
            return Ok(Answer::Done);
        }
        let waits = !matches!(self.threads.get(thread).state, State::Ready | State::Faulting | State::AwaitFault);
        self.unqueue(thread);
        if waits {
            self.finish(thread, Status::Cancelled);
        }
        let record = self.threads.change(thread);
        record.state = State::Stopped;
        record.object = NONE;
        self.take_off_cpu(m, caller, thread)
    }

    /// Takes a thread whose state is no longer `Ready` off the CPU that runs it.
    fn take_off_cpu(&mut self, m: &mut impl Machine, caller: Caller, thread: u32) -> Result<Answer, Status> {
        match self.threads.beside(thread).cpu {
            NONE => Ok(Answer::Done),
            cpu if cpu as usize == caller.cpu => {
                self.finish(thread, Status::Ok);
                self.park(m, caller.cpu);
                Ok(Answer::Keep)
            }
            cpu => {
                m.kick(cpu as usize);
                Ok(Answer::Done)
            }
        }
    }

    /// System call `SetPriority`.
    pub(crate) fn set_priority(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let thread = self.controlled(caller, handle)?;
        let highest = self.threads.get(caller.thread).priority;
        let asked = self.cpus[caller.cpu].frame.rdi;
        let priority = u8::try_from(asked).ok().filter(|&priority| priority <= highest).ok_or(Status::BadArgument)?;
        let queued = self.threads.beside(thread).queued && self.threads.get(thread).state == State::Ready;
        if queued {
            self.unqueue(thread);
        }
        self.threads.change(thread).priority = priority;
        if queued {
            self.wake(thread);
        }
        Ok(Answer::Done)
    }

    fn controlled(&self, caller: Caller, handle: Handle) -> Result<u32, Status> {
        let slot = self.look_up(caller.process, handle, Rights::THREAD_CONTROL)?;
        Ok(self.capabilities.get(slot).object)
    }

    /// System call `SetMemoryPort`.
    pub(crate) fn set_memory_port(&mut self, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let slot = self.look_up(caller.process, handle, Rights::PROCESS_GRANT)?;
        let process = self.capabilities.get(slot).object;
        let frame = self.cpus[caller.cpu].frame;
        let slot = self.look_up(caller.process, Handle(frame.caps as u16), Rights::SEND)?;
        let port = *self.capabilities.get(slot);
        // Badges are unforgeable: who holds a badged capability can speak with that badge only.
        if frame.rdi > abi::BADGE_MAX || port.badge != 0 && port.badge != frame.rdi {
            return Err(Status::BadArgument);
        }
        // Law 3, both ways: a volatile thread must not wait inside the world with its fault either.
        if self.is_world_process(process) != self.is_world_object(&port) {
            return Err(Status::WorldClosed);
        }
        self.capabilities.outdate();
        let record = self.processes.change(process);
        record.port = port.object;
        record.port_generation = port.generation;
        record.port_badge = frame.rdi;
        Ok(Answer::Done)
    }

    /// System call `Destroy`.
    pub(crate) fn destroy(&mut self, m: &mut impl Machine, caller: Caller, handle: Handle) -> Result<Answer, Status> {
        let slot = self.look_up(caller.process, handle, Rights::DESTROY)?;
        let Capability { object, .. } = *self.capabilities.get(slot);
        let done = match self.capabilities.get(slot).kind() {
            Some(Kind::Endpoint) => self.destroy_endpoint(object),
            Some(Kind::Notification) => self.destroy_notification(object),
            Some(Kind::Thread) => self.end_thread(m, caller.cpu, object),
            // A process cannot take the steps of its own end: whoever started it does.
            Some(Kind::Process) if object == caller.process => return Err(Status::WrongState),
            Some(Kind::Process) => self.destroy_process(m, caller.cpu, object),
            Some(Kind::Budget) => self.destroy_budget(object)?,
            _ => return Err(Status::WrongKind),
        };
        if self.cpus[caller.cpu].current == NONE {
            // It destroyed itself: nobody is left to be told.
            return Ok(Answer::Keep);
        }
        if done { Ok(Answer::Done) } else { Ok(self.restart_call(caller)) }
    }

    fn destroy_endpoint(&mut self, endpoint: u32) -> bool {
        self.endpoints.change(endpoint).life = 2;
        self.capabilities.outdate();
        for _ in 0..self.steps(STEP_MAX) {
            let Some(thread) = self.endpoints.beside(endpoint).first() else {
                let Endpoint { generation, budget, .. } = *self.endpoints.get(endpoint);
                *self.endpoints.change(endpoint) = Endpoint { generation, ..Endpoint::FREE };
                if let Some(place) = self.ports.iter().position(|&port| port == endpoint) {
                    self.ports[place] = NONE;
                }
                self.free_endpoints.insert(endpoint);
                self.refund(budget, Counts::one(Kind::Endpoint, 0));
                return true;
            };
            if self.threads.get(thread).state == State::Faulting {
                // Nobody serves its memory any more: it cannot go on.
                self.unqueue(thread);
                let record = self.threads.change(thread);
                record.state = State::Stopped;
                record.object = NONE;
            } else {
                self.wake_with(thread, Status::PeerDied);
            }
        }
        false
    }

    fn destroy_notification(&mut self, notification: u32) -> bool {
        self.notifications.change(notification).life = 2;
        self.capabilities.outdate();
        for _ in 0..self.steps(STEP_MAX) {
            let Some(thread) = self.notifications.beside(notification).first() else {
                let bound = self.notifications.get(notification).bound;
                if bound != NONE {
                    self.unbind(bound);
                }
                let Notification { generation, budget, .. } = *self.notifications.get(notification);
                *self.notifications.change(notification) = Notification { generation, ..Notification::FREE };
                self.free_notifications.insert(notification);
                self.refund(budget, Counts::one(Kind::Notification, 0));
                return true;
            };
            self.wake_with(thread, Status::PeerDied);
        }
        false
    }

    fn destroy_budget(&mut self, budget: u32) -> Result<bool, Status> {
        let record = *self.budgets.get(budget);
        if record.used != Counts::default() || record.budget == NONE {
            return Err(Status::WrongState);
        }
        // Records from a hostile store say anything about counts.
        let counts = record.left.plus(Counts::one(Kind::Budget, 0));
        *self.budgets.change(budget) = Budget { generation: record.generation, ..Budget::FREE };
        self.free_budgets.insert(budget);
        self.refund(record.budget, counts);
        Ok(true)
    }

    /// Ends a thread. False when another CPU still runs it: that CPU has been told, call again.
    pub(crate) fn end_thread(&mut self, m: &mut impl Machine, cpu: usize, thread: u32) -> bool {
        let record = **self.threads.get(thread);
        if record.state == State::Free {
            return true;
        }
        self.unqueue(thread);
        let runs_on = self.threads.beside(thread).cpu;
        if runs_on != NONE && runs_on as usize != cpu {
            let record = self.threads.change(thread);
            (record.state, record.object) = (State::Stopped, NONE);
            m.kick(runs_on as usize);
            return false;
        }
        if runs_on != NONE {
            self.park(m, cpu);
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
        self.free_threads.insert(thread);
        self.refund(record.budget, Counts::one(Kind::Thread, 0));
        true
    }

    /// One step of destroying a process: its threads, then its capabilities, then its page tables. True when done.
    fn destroy_process(&mut self, m: &mut impl Machine, cpu: usize, process: u32) -> bool {
        if self.processes.get(process).dying == 0 {
            self.processes.change(process).dying = 1;
        }
        if !self.end_threads(m, cpu, process) {
            return false;
        }
        let Process { slots, slot_count, generation, budget, .. } = *self.processes.get(process);
        let status = if self.is_world_process(process) { Status::PeerDied } else { Status::Restarted };
        let mut emptied = 0;
        while let Some(slot) = self.free_slots.first_absent(slots + 1, slots + slot_count) {
            if emptied == self.steps(STEP_MAX) || !self.empty_slot(slot, status) {
                return false;
            }
            emptied += 1;
        }
        for other in 0..self.cpus.len() {
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
        self.free_slots.remove_range(slots + 1, slots + slot_count);
        self.holders[chunks_of(slots, slot_count)].fill(NONE);
        self.free_chunks.insert_range(slots / HANDLES_MIN, (slots + slot_count) / HANDLES_MIN);
        *self.processes.change(process) = Process { generation, ..Process::FREE };
        self.capabilities.outdate();
        self.free_processes.insert(process);
        self.refund(budget, Counts::one(Kind::Process, slot_count));
        true
    }

    /// Ends some threads of a process that is dying; true when none is left.
    fn end_threads(&mut self, m: &mut impl Machine, cpu: usize, process: u32) -> bool {
        let (from, to) = if self.is_world_process(process) {
            (0, self.threads.world())
        } else {
            (self.threads.world(), self.threads.len())
        };
        // No thread is made for a dying process, so there is none before the place where the last step stopped.
        let mut at = from.max(self.spaces[process as usize].looked_at);
        let end = to.min(at + 64 * LOOK_MAX);
        let (mut ended, mut stuck) = (0, false);
        for _ in 0..LOOK_MAX {
            at = self.free_threads.first_absent(at, end).unwrap_or(end);
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
        self.spaces[process as usize].looked_at = at;
        at == to && !stuck
    }
}
