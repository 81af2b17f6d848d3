//! Objects: made from budgets, started and stopped, destroyed.

use super::{Budget, Called, Cap, Doing, End, Endpoint, Model, Name, Notification, Object, Process, Serves, Thread};
use crate::event::Frame;
use abi::{Handle, Kind, Rights, Status, WORLD_PRIORITY_MAX};
use std::collections::VecDeque;

/// Which count of a budget a kind of object takes from; its numbers are found likewise.
fn count_of(kind: Kind) -> Option<usize> {
    [Kind::Process, Kind::Thread, Kind::Endpoint, Kind::Notification, Kind::Budget]
        .iter()
        .position(|&other| other == kind)
}

impl Model {
    fn object(&self, name: Name) -> u32 {
        match self.caps[&name].object {
            Object::Is(_, object) => object,
            _ => unreachable!("rights are disjoint by kind"),
        }
    }

    /// Takes counts from a budget.
    fn charge(&mut self, budget: u32, counts: [u32; 6]) -> Result<(), Status> {
        let record = self.budgets.get_mut(&budget).expect("it is there");
        if record.left.iter().zip(counts).any(|(&left, count)| left < count) {
            return Err(Status::BudgetExhausted);
        }
        for ((left, used), count) in record.left.iter_mut().zip(&mut record.used).zip(counts) {
            (*left, *used) = (*left - count, *used + count);
        }
        Ok(())
    }

    fn refund(&mut self, budget: Option<u32>, counts: [u32; 6]) {
        let Some(budget) = budget else { return };
        let record = self.budgets.get_mut(&budget).expect("a budget outlives what was made from it");
        for ((left, used), count) in record.left.iter_mut().zip(&mut record.used).zip(counts) {
            (*left, *used) = (*left + count, *used - count);
        }
    }

    /// The lowest free number of a kind, on the budget's side of the world.
    fn free_number(&self, kind: Kind, of_world: bool) -> Result<u32, Status> {
        let at = count_of(kind).expect("it is counted");
        let (from, to) = if of_world { (0, self.world[at]) } else { (self.world[at], self.sizes[at]) };
        let taken = |number: &u32| match kind {
            Kind::Process => self.processes.contains_key(number),
            Kind::Thread => self.threads.contains_key(number),
            Kind::Endpoint => self.endpoints.contains_key(number),
            Kind::Notification => self.notifications.contains_key(number),
            _ => self.budgets.contains_key(number),
        };
        (from..to).find(|number| !taken(number)).ok_or(Status::TablesExhausted)
    }

    /// `Create`.
    pub(super) fn create(&mut self, thread: u32, name: Name, frame: Frame, seen: &Self) -> Called {
        self.allows(name, Rights::BUDGET_SPEND)?;
        let budget = self.object(name);
        let of_world = budget < self.world[4];
        let kind = u8::try_from(frame.rdi).ok().and_then(Kind::from_bits).ok_or(Status::BadArgument)?;
        self.free_handles(name.0).next().ok_or(Status::TableFull)?;
        let number = match kind {
            Kind::Process => self.create_process(budget, of_world, frame, seen)?,
            Kind::Thread => self.create_thread(thread, budget, of_world, name.0, frame)?,
            Kind::Endpoint => self.create_endpoint(budget, of_world, frame)?,
            Kind::Notification => {
                self.can_charge(budget, [0, 0, 0, 1, 0, 0])?;
                let number = self.free_number(kind, of_world)?;
                self.charge(budget, [0, 0, 0, 1, 0, 0])?;
                let made =
                    Notification { bits: 0, queue: VecDeque::new(), bound: None, dying: false, budget: Some(budget) };
                self.notifications.insert(number, made);
                number
            }
            Kind::Budget => self.split(budget, of_world, frame)?,
            _ => return Err(Status::BadArgument),
        };
        let object = Object::Is(kind, number);
        let cap = Cap { object, of_world, rights: kind.rights(), badge: 0, parent: None, dying: false };
        let handle = self.place(name.0, cap).expect("room was checked");
        self.thread_mut(thread).frame.rdi = u64::from(handle);
        Ok(End::Done)
    }

    fn can_charge(&self, budget: u32, counts: [u32; 6]) -> Result<(), Status> {
        let enough = self.budgets[&budget].left.iter().zip(counts).all(|(&left, count)| left >= count);
        if enough { Ok(()) } else { Err(Status::BudgetExhausted) }
    }

    fn create_process(&mut self, budget: u32, of_world: bool, frame: Frame, seen: &Self) -> Result<u32, Status> {
        if frame.words[0] > 32_768 {
            return Err(Status::BadArgument);
        }
        let handles = (frame.words[0] as u32).next_power_of_two().max(16);
        let counts = [1, 0, 0, 0, 0, handles];
        self.can_charge(budget, counts)?;
        let number = self.free_number(Kind::Process, of_world)?;
        // Slots in a row and page tables may run out, which is not described here: the kernel may refuse.
        let Some(made) = seen.processes.get(&number) else {
            let runner = seen.cpus.iter().find_map(|cpu| cpu.runs).map(|thread| seen.thread(thread).frame.outcome());
            return Err(runner.map_or(Status::TablesExhausted, |outcome| outcome.status()));
        };
        self.charge(budget, counts)?;
        let process = Process { name: made.name, handles, dying: false, budget: Some(budget) };
        self.processes.insert(number, process);
        Ok(number)
    }

    fn create_thread(
        &mut self,
        creator: u32,
        budget: u32,
        of_world: bool,
        holder: u32,
        frame: Frame,
    ) -> Result<u32, Status> {
        let through = (holder, Handle(frame.caps as u16).0);
        self.allows(through, Rights::PROCESS_THREADS)?;
        let process = self.object(through);
        let [entry, stack, argument, priority, ..] = frame.words;
        let priority = self.allowed_priority(creator, priority, self.is_world_process(process))?;
        if of_world != self.is_world_process(process) {
            return Err(Status::WorldClosed);
        }
        if self.processes[&process].dying {
            return Err(Status::PeerDied);
        }
        if entry >= abi::USER_END || stack >= abi::USER_END {
            return Err(Status::BadAddress);
        }
        self.can_charge(budget, [0, 1, 0, 0, 0, 0])?;
        let number = self.free_number(Kind::Thread, of_world)?;
        self.charge(budget, [0, 1, 0, 0, 0, 0])?;
        let made = Thread {
            process,
            priority,
            doing: Doing::Stopped,
            frame: Frame { rdi: argument, ..Frame::default() },
            rip: entry,
            sent: None,
            fault: None,
            serves: None,
            bound: None,
            deadline: None,
            ticket: 0,
            budget: Some(budget),
        };
        self.threads.insert(number, made);
        Ok(number)
    }

    fn create_endpoint(&mut self, budget: u32, of_world: bool, frame: Frame) -> Result<u32, Status> {
        let service = u32::try_from(frame.words[0]).map_err(|_| Status::BadArgument)?;
        if service != 0 && (!of_world || self.endpoints.values().any(|other| other.service == service)) {
            return Err(Status::BadArgument);
        }
        self.can_charge(budget, [0, 0, 1, 0, 0, 0])?;
        let number = self.free_number(Kind::Endpoint, of_world)?;
        self.charge(budget, [0, 0, 1, 0, 0, 0])?;
        self.endpoints.insert(number, Endpoint { service, queue: VecDeque::new(), dying: false, budget: Some(budget) });
        Ok(number)
    }

    fn split(&mut self, budget: u32, of_world: bool, frame: Frame) -> Result<u32, Status> {
        let mut left = [0; 6];
        for (count, &word) in left.iter_mut().zip(&frame.words) {
            *count = u32::try_from(word).map_err(|_| Status::BadArgument)?;
        }
        let mut counts = left;
        counts[4] = counts[4].checked_add(1).ok_or(Status::BadArgument)?;
        self.can_charge(budget, counts)?;
        let number = self.free_number(Kind::Budget, of_world)?;
        self.charge(budget, counts)?;
        self.budgets.insert(number, Budget { left, used: [0; 6], parent: Some(budget) });
        Ok(number)
    }

    /// `Start`. One that was stopped on another CPU and has not left it goes on there.
    pub(super) fn start(&mut self, name: Name) -> Called {
        self.allows(name, Rights::THREAD_CONTROL)?;
        let thread = self.object(name);
        let record = self.thread(thread);
        if record.doing != Doing::Stopped || self.processes[&record.process].dying {
            return Err(Status::WrongState);
        }
        if self.cpus.iter().any(|cpu| cpu.runs == Some(thread)) {
            self.thread_mut(thread).doing = Doing::Ready;
        } else {
            self.wake(thread);
        }
        Ok(End::Done)
    }

    /// `Stop`: a wait ends with `Cancelled`; a fault will happen again.
    pub(super) fn stop(&mut self, cpu: usize, caller: u32, name: Name) -> Called {
        self.allows(name, Rights::THREAD_CONTROL)?;
        let thread = self.object(name);
        let doing = self.thread(thread).doing;
        if doing == Doing::Stopped {
            return Ok(End::Done);
        }
        self.release(thread);
        if !matches!(doing, Doing::Ready | Doing::Faulting(_) | Doing::AwaitFault) {
            self.thread_mut(thread).frame.rax = abi::Outcome::of(Status::Cancelled).0;
        }
        self.thread_mut(thread).doing = Doing::Stopped;
        if thread == caller {
            self.thread_mut(thread).frame.rax = abi::Outcome::of(Status::Ok).0;
            self.leave(cpu);
            return Ok(End::Kept);
        }
        Ok(End::Done)
    }

    /// Nobody gives more than it has; and what serves the world always comes before the world.
    fn allowed_priority(&self, caller: u32, asked: u64, of_world: bool) -> Result<u8, Status> {
        let within =
            |&priority: &u8| priority <= self.thread(caller).priority && (!of_world || priority <= WORLD_PRIORITY_MAX);
        u8::try_from(asked).ok().filter(within).ok_or(Status::BadArgument)
    }

    /// `SetPriority`.
    pub(super) fn set_priority(&mut self, caller: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::THREAD_CONTROL)?;
        let thread = self.object(name);
        let priority = self.allowed_priority(caller, frame.rdi, self.is_world_thread(thread))?;
        let queued = self.ready.values().any(|queue| queue.contains(&thread));
        if queued {
            self.release(thread);
        }
        self.thread_mut(thread).priority = priority;
        if queued {
            self.wake(thread);
        }
        Ok(End::Done)
    }

    /// `SetMemoryPort`: faults of a process of the world go to an endpoint of the world, others to a volatile one.
    pub(super) fn set_memory_port(&mut self, holder: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::PROCESS_GRANT)?;
        let process = self.object(name);
        let given = (holder, Handle(frame.caps as u16).0);
        self.allows(given, Rights::SEND)?;
        if frame.rdi > abi::BADGE_MAX {
            return Err(Status::BadArgument);
        }
        let port = self.caps[&given];
        if port.badge != 0 && port.badge != frame.rdi {
            // Badges are unforgeable: whoever holds a badged capability speaks with that badge only.
            return Err(Status::BadArgument);
        }
        if self.is_world_process(process) != port.of_world {
            return Err(Status::WorldClosed);
        }
        if self.processes[&process].dying {
            return Err(Status::PeerDied);
        }
        let parent = self.parent_for(process, given);
        self.caps.insert((process, 0), Cap { rights: Rights::SEND, badge: frame.rdi, parent, dying: false, ..port });
        Ok(End::Done)
    }

    /// `Destroy`: in steps, if there is much of it.
    pub(super) fn destroy(&mut self, cpu: usize, caller: u32, name: Name, seen: &Self) -> Called {
        self.allows(name, Rights::DESTROY)?;
        let Object::Is(kind, object) = self.caps[&name].object else { return Err(Status::WrongKind) };
        let done = match kind {
            Kind::Endpoint => self.destroy_endpoint(object, seen),
            Kind::Notification => self.destroy_notification(object, seen),
            Kind::Thread => {
                let itself = object == caller;
                let done = self.end_thread(cpu, object);
                if itself {
                    return Ok(End::Kept);
                }
                done
            }
            Kind::Process if object == self.thread(caller).process => return Err(Status::WrongState),
            Kind::Process => self.destroy_process(cpu, object, seen),
            _ => {
                let Budget { left, used, parent } = self.budgets[&object].clone();
                if used != [0; 6] || parent.is_none() {
                    return Err(Status::WrongState);
                }
                self.budgets.remove(&object);
                let mut counts = left;
                counts[4] += 1;
                self.refund(parent, counts);
                self.bury(kind, object);
                true
            }
        };
        Ok(if done { End::Done } else { End::Again })
    }

    /// All capabilities to an object are void from now on.
    fn bury(&mut self, kind: Kind, object: u32) {
        self.caps_become(Object::Is(kind, object), Object::Gone(kind));
        if kind == Kind::Process {
            self.interrupts.retain(|_, &mut (process, ..)| process != object);
        }
    }

    fn destroy_endpoint(&mut self, endpoint: u32, seen: &Self) -> bool {
        self.endpoints.get_mut(&endpoint).expect("it lives").dying = true;
        let left = seen.endpoints.get(&endpoint).map(|seen| seen.queue.len());
        while self.endpoints[&endpoint].queue.len() > left.unwrap_or(0) {
            let thread = self.endpoints[&endpoint].queue[0];
            if matches!(self.thread(thread).doing, Doing::Faulting(_)) {
                // Nobody serves its memory any more: it cannot go on.
                self.release(thread);
                self.thread_mut(thread).doing = Doing::Stopped;
            } else {
                self.wake_with(thread, Status::PeerDied);
            }
        }
        if left.is_none() {
            let budget = self.endpoints.remove(&endpoint).and_then(|endpoint| endpoint.budget);
            self.bury(Kind::Endpoint, endpoint);
            self.refund(budget, [0, 0, 1, 0, 0, 0]);
        }
        left.is_none()
    }

    fn destroy_notification(&mut self, notification: u32, seen: &Self) -> bool {
        self.notifications.get_mut(&notification).expect("it lives").dying = true;
        let left = seen.notifications.get(&notification).map(|seen| seen.queue.len());
        while self.notifications[&notification].queue.len() > left.unwrap_or(0) {
            self.wake_with(self.notifications[&notification].queue[0], Status::PeerDied);
        }
        if left.is_none() {
            if let Some(thread) = self.notifications[&notification].bound {
                self.unbind(thread);
            }
            let budget = self.notifications.remove(&notification).and_then(|notification| notification.budget);
            self.bury(Kind::Notification, notification);
            self.refund(budget, [0, 0, 0, 1, 0, 0]);
        }
        left.is_none()
    }

    /// A thread that another CPU runs is stopped first; asked again, once it has left that CPU, it ends.
    fn end_thread(&mut self, cpu: usize, thread: u32) -> bool {
        match self.cpus.iter().position(|cpu| cpu.runs == Some(thread)) {
            Some(other) if other != cpu => {
                self.release(thread);
                self.thread_mut(thread).doing = Doing::Stopped;
                return false;
            }
            Some(_) => self.leave(cpu),
            None => {}
        }
        self.release(thread);
        let status = if self.is_world_thread(thread) { Status::PeerDied } else { Status::Restarted };
        if let Some(Serves::Caller(caller)) = self.thread_mut(thread).serves.take() {
            self.lose_reply(caller, status);
        }
        self.unbind(thread);
        let budget = self.threads.remove(&thread).and_then(|thread| thread.budget);
        self.bury(Kind::Thread, thread);
        self.refund(budget, [0, 1, 0, 0, 0, 0]);
        true
    }

    /// First all threads, then all capabilities, then the process: as much of it as the kernel chose to do.
    fn destroy_process(&mut self, cpu: usize, process: u32, seen: &Self) -> bool {
        self.processes.get_mut(&process).expect("it lives").dying = true;
        let threads: Vec<u32> =
            self.threads.iter().filter(|(_, thread)| thread.process == process).map(|(&number, _)| number).collect();
        for thread in threads {
            let left = seen.threads.get(&thread).is_some_and(|thread| thread.process == process);
            if left && seen.thread(thread).doing == self.thread(thread).doing {
                return false;
            }
            if !self.end_thread(cpu, thread) {
                return false;
            }
        }
        let status = if self.is_world_process(process) { Status::PeerDied } else { Status::Restarted };
        let names: Vec<Name> = self.caps.keys().copied().filter(|name| name.0 == process).collect();
        for name in names {
            // Not in its turn: only what is seen to be gone or taken apart was reached.
            if seen.caps.get(&name) == self.caps.get(&name) && seen.processes.contains_key(&process) {
                return false;
            }
            if self.caps.contains_key(&name) && !self.empty(name, status, seen) {
                return false;
            }
        }
        if seen.processes.contains_key(&process) {
            return false;
        }
        let Some(gone) = self.processes.remove(&process) else { return true };
        self.bury(Kind::Process, process);
        self.refund(gone.budget, [1, 0, 0, 0, 0, gone.handles]);
        true
    }
}
