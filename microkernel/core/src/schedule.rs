//! Who runs: 256 priorities, first in first out within one, round robin by time slices, deadlines on every wait.

use crate::object::NONE;
use crate::queue::QUEUED;
use crate::{Cpu, Kernel, Machine, State, Thread};
use abi::{Status, Timeout};

/// Length of a time slice.
const SLICE_NS: u64 = 10_000_000;

/// Threads whose deadline passed that one timer interrupt wakes; more are left to the next.
const EXPIRED_MAX: usize = 64;

impl Cpu {
    fn fire_by(&mut self, m: &mut impl Machine, cpu: usize, at_ns: u64) {
        if at_ns < self.armed {
            self.armed = at_ns;
            m.set_timer(cpu, at_ns);
        }
    }
}

impl Kernel {
    /// Makes a waiting or stopped thread ready, behind the others of its priority. Its registers say what it finds.
    pub(crate) fn wake(&mut self, thread: u32) {
        self.make_ready(thread, false);
    }

    /// As [`Self::wake`], but next in line: the CPU is being handed to it.
    pub(crate) fn hand_over(&mut self, thread: u32) {
        self.make_ready(thread, true);
    }

    fn make_ready(&mut self, thread: u32, front: bool) {
        self.unqueue(thread);
        let ticket = if front { self.front_ticket() } else { self.ticket() };
        let record = self.threads.change(thread);
        record.state = State::Ready;
        record.object = NONE;
        record.ticket = ticket;
        let priority = record.priority;
        if self.started || !self.is_world_thread(thread) {
            self.run.push(&mut self.threads, priority, thread, front);
        }
    }

    /// Takes a thread off whatever it waits in.
    pub(crate) fn unqueue(&mut self, thread: u32) {
        let Thread { state, object, priority, deadline, .. } = **self.threads.get(thread);
        if self.threads.beside(thread).place == QUEUED {
            match state {
                State::Ready => self.run.remove(&mut self.threads, priority, thread),
                State::Waiting => self.notifications.beside_mut(object).remove(&mut self.threads, thread),
                _ => self.endpoints.beside_mut(object).remove(&mut self.threads, thread),
            }
        }
        self.deadlines.remove(thread);
        if deadline != u64::MAX {
            self.threads.change(thread).deadline = u64::MAX;
        }
    }

    /// Ends a wait with this status.
    pub(crate) fn wake_with(&mut self, thread: u32, status: Status) {
        self.finish(thread, status);
        self.wake(thread);
    }

    /// Saves the running thread of `cpu` into its record and takes it off the CPU. Its state is the caller's to set.
    pub(crate) fn park(&mut self, m: &mut impl Machine, cpu: usize) {
        let thread = self.cpus[cpu].current;
        if thread == NONE {
            return;
        }
        let state = &mut self.cpus[cpu];
        state.current = NONE;
        // One copy, not two by way of the stack.
        let task = self.threads.change(thread);
        task.thread.registers = state.frame;
        m.save_vector(&mut task.vector);
        let lost = state.frame.rip >= abi::USER_END;
        let link = self.threads.beside_mut(thread);
        link.place = NONE;
        if lost {
            link.passes.not_at_hand();
        }
    }

    /// Makes the running thread of `cpu` wait: state, object (an endpoint or notification) and deadline.
    pub(crate) fn wait(&mut self, m: &mut impl Machine, cpu: usize, state: State, object: u32, timeout: Timeout) {
        let thread = self.cpus[cpu].current;
        self.park(m, cpu);
        let ticket = self.ticket();
        let record = self.threads.change(thread);
        record.state = state;
        record.object = object;
        record.ticket = ticket;
        self.join_queue(thread, state, object);
        self.set_deadline(m, thread, timeout);
    }

    /// Puts a thread on the queue that its state names, if it names one.
    pub(crate) fn join_queue(&mut self, thread: u32, state: State, object: u32) {
        match state {
            State::Calling | State::Sending | State::Faulting | State::Receiving => {
                self.endpoints.beside_mut(object).push_back(&mut self.threads, thread);
            }
            State::Waiting => self.notifications.beside_mut(object).push_back(&mut self.threads, thread),
            _ => {}
        }
    }

    /// Gives a thread that waits a deadline.
    pub(crate) fn set_deadline(&mut self, m: &mut impl Machine, thread: u32, timeout: Timeout) {
        let Some(ns) = timeout.ns() else { return };
        let at = m.now_ns().saturating_add(ns);
        // Threads of the world keep world time, which survives; else it is time since boot.
        let recorded = if self.is_world_thread(thread) { at.wrapping_add(self.time_offset) } else { at };
        self.threads.change(thread).deadline = recorded;
        self.deadlines.insert(at, thread);
        self.threads.beside_mut(thread).passes.not_at_hand();
    }

    /// Lets `cpu` run the best thread there is; called at the end of every entry.
    pub(crate) fn dispatch(&mut self, m: &mut impl Machine, cpu: usize) {
        let state = &mut self.cpus[cpu];
        // Too early does no harm and is far cheaper than to set the timer anew each time nobody waits any more.
        state.fire_by(m, cpu, self.deadlines.first().0);
        let current = state.current;
        if current == NONE || self.run.reaches(self.threads.get(current).priority) {
            self.choose(m, cpu, current);
        }
        if self.cpus.count() > 1 {
            self.kick_another(m, cpu);
        }
    }

    /// Who goes on where nobody runs, or somebody as important as who runs is ready.
    fn choose(&mut self, m: &mut impl Machine, cpu: usize, mut current: u32) {
        if current != NONE {
            let priority = self.threads.get(current).priority;
            if self.run.highest().is_some_and(|best| best > priority) {
                self.park(m, cpu);
                let ticket = self.front_ticket();
                self.threads.change(current).ticket = ticket;
                self.run.push(&mut self.threads, priority, current, true);
                current = NONE;
            }
        }
        if current == NONE {
            match self.run.next {
                NONE => return self.load_space(m, cpu, NONE),
                thread => self.run_on(m, cpu, thread),
            }
        }
        let state = &mut self.cpus[cpu];
        if state.slice_end == 0 && self.run.reaches(self.threads.get(state.current).priority) {
            // Somebody as important waits for a slice's end. One that has begun goes on, whoever began it, so that threads
            // which take turns by themselves never need the clock.
            state.slice_end = m.now_ns() + SLICE_NS;
            state.fire_by(m, cpu, state.slice_end);
        }
    }

    fn run_on(&mut self, m: &mut impl Machine, cpu: usize, thread: u32) {
        self.run.take_next(&mut self.threads);
        self.threads.beside_mut(thread).place = cpu as u32;
        let record = self.threads.get(thread);
        let process = record.process;
        m.load_vector(&record.vector);
        let state = &mut self.cpus[cpu];
        state.frame = record.registers;
        state.current = thread;
        self.load_space(m, cpu, process);
    }

    /// If somebody still waits for a CPU and another one does something less important, makes that one look.
    fn kick_another(&mut self, m: &mut impl Machine, cpu: usize) {
        let Some(best) = self.run.highest() else { return };
        let idle_or_lower = |other: usize| {
            let current = self.cpus[other].current;
            if current == NONE { -1 } else { i32::from(self.threads.get(current).priority) }
        };
        let lowest = (0..self.cpus.count()).filter(|&other| other != cpu).min_by_key(|&other| idle_or_lower(other));
        if let Some(other) = lowest.filter(|&other| idle_or_lower(other) < i32::from(best)) {
            m.kick(other);
        }
    }

    /// The one-shot timer of `cpu` fired.
    pub fn timer(&mut self, m: &mut impl Machine, cpu: usize) {
        self.cpus[cpu].armed = u64::MAX;
        self.settle(m, cpu);
        let now = m.now_ns();
        for _ in 0..EXPIRED_MAX {
            let (at, thread) = self.deadlines.first();
            if at > now {
                break;
            }
            let status = if self.threads.get(thread).state == State::Sleeping { Status::Ok } else { Status::TimedOut };
            self.wake_with(thread, status);
        }
        let Cpu { current, slice_end, .. } = self.cpus[cpu];
        let awaited = current != NONE && self.run.reaches(self.threads.get(current).priority);
        if slice_end <= now || !awaited {
            self.cpus[cpu].slice_end = 0;
        } else {
            // It fired for something else, and whoever goes on need not look at the clock again.
            self.cpus[cpu].fire_by(m, cpu, slice_end);
        }
        if slice_end != 0 && slice_end <= now && awaited {
            self.yield_now(m, cpu);
        }
        self.dispatch(m, cpu);
    }

    /// Another CPU asked this one to look again.
    pub fn reschedule(&mut self, m: &mut impl Machine, cpu: usize) {
        self.settle(m, cpu);
        self.dispatch(m, cpu);
    }

    /// A thread that another CPU stopped while it ran here leaves this CPU as soon as that enters the kernel, whatever
    /// it entered for. True if there was one, or if nobody ran here.
    pub(crate) fn settle(&mut self, m: &mut impl Machine, cpu: usize) -> bool {
        let ready = self.current(cpu).is_some_and(|current| self.threads.get(current).state == State::Ready);
        if !ready {
            self.park(m, cpu);
        }
        !ready
    }

    /// Puts the running thread of `cpu` behind the others of its priority.
    pub(crate) fn yield_now(&mut self, m: &mut impl Machine, cpu: usize) {
        let thread = self.cpus[cpu].current;
        if thread != NONE {
            self.park(m, cpu);
            self.wake(thread);
        }
    }
}
