//! Signals and waits by the fast path, see [`super`]: calls that carry nothing.

use super::{Short, Switch};
use crate::kernel::TICKET_MIDDLE;
use crate::object::NONE;
use crate::{Kernel, Machine, State};
use abi::{Event, Outcome, Status};

impl Kernel {
    /// Makes a signal, if nothing stands against it.
    #[inline(always)]
    pub fn fast_signal(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Outcome> {
        let version = self.version();
        let alone = self.cpus.len() == 1;
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let pass = self.threads.try_beside(from)?.passes.signal;
        let record = self.threads.get(from);
        let priority = record.priority;
        // Whoever is as important has been seen to when the slice began.
        if !pass.admits(control, version)
            || record.state != State::Ready
            || self.run.reaches(priority) && (state.slice_end == 0 || self.run.exceeds(priority))
        {
            return None;
        }
        let (notification, queue) = self.notifications.fresh(pass.object)?;
        let to = queue.head;
        if to == NONE {
            let bound = notification.bound;
            if bound != NONE && self.threads.get(bound).state == State::Receiving {
                return None;
            }
            notification.bits |= pass.badge;
            return Some(Outcome::of(Status::Ok));
        }
        // A thread of the world waits for the world's start, too.
        if !self.started && to < self.threads.world() {
            return None;
        }
        let (waiter, link) = self.threads.fresh(to)?;
        let its_priority = waiter.priority;
        // One that is more important would go on at once. Another CPU might have nothing better to do.
        if !alone
            || notification.bits != 0
            || waiter.deadline != u64::MAX
            || its_priority > priority
            || !queue.take_only(link)
        {
            return None;
        }
        // ---- point of no return ----
        self.world.ticket += 1;
        waiter.ticket = TICKET_MIDDLE | self.world.ticket;
        waiter.state = State::Ready;
        waiter.object = NONE;
        waiter.registers.rax = Outcome::event(Event::Notification, pass.badge).0;
        self.run.push(&mut self.threads, its_priority, to, false);
        if its_priority == priority {
            state.begin_slice(m, cpu);
        }
        Some(Outcome::of(Status::Ok))
    }

    /// Makes a wait that polls, likewise.
    #[inline(always)]
    pub fn fast_poll(&mut self, cpu: usize, control: u64) -> Option<Outcome> {
        let state = self.cpus.get(cpu)?;
        let pass = &self.threads.try_beside(state.current)?.passes.poll;
        let record = self.threads.get(state.current);
        if !pass.admits(control, self.version())
            || record.state != State::Ready
            || self.run.reaches(record.priority) && (state.slice_end == 0 || self.run.exceeds(record.priority))
        {
            return None;
        }
        let object = pass.object;
        if self.notifications.try_get(object)?.bits == 0 {
            return Some(Outcome::of(Status::WouldBlock));
        }
        let bits = core::mem::take(&mut self.notifications.fresh(object)?.0.bits);
        Some(Outcome::event(Event::Notification, bits))
    }

    /// Makes a wait without a deadline, likewise: takes the bits of the notification, or gives way.
    #[inline(always)]
    pub fn fast_wait(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Short<'_>> {
        let version = self.version();
        let alone = self.cpus.len() == 1;
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.wait;
        let record = self.threads.get(from);
        if !pass.admits(control, version)
            || record.state != State::Ready
            || self.run.reaches(record.priority) && (state.slice_end == 0 || self.run.exceeds(record.priority))
        {
            return None;
        }
        let object = pass.object;
        if self.notifications.try_get(object)?.bits != 0 {
            let bits = core::mem::take(&mut self.notifications.fresh(object)?.0.bits);
            return Some(Short::Same(Outcome::event(Event::Notification, bits)));
        }
        let to = self.run.next()?;
        let next = self.threads.get(to);
        let (priority, link) = (next.priority, self.threads.beside(to));
        if !alone || link.passes.at_hand != version || next.registers.rip >= abi::USER_END {
            return None;
        }
        // ---- point of no return: who runs is no queue's, so they are two ----
        self.run.take_next(&mut self.threads, priority, to);
        self.notifications.beside_mut(object).push_back(&mut self.threads, from);
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        m.exchange_vector(&mut from_task.vector, &to_task.vector);
        let (waiter, next) = (&mut from_task.thread, &mut to_task.thread);
        (from_link.cpu, to_link.cpu) = (NONE, cpu as u32);
        self.world.ticket += 1;
        waiter.ticket = TICKET_MIDDLE | self.world.ticket;
        waiter.state = State::Waiting;
        waiter.object = object;
        state.switch_to(m, cpu, (to, next.process), to_link.root);
        if self.run.reaches(priority) {
            state.begin_slice(m, cpu);
        }
        Some(Short::Other(Switch::Depart { from: waiter, to: next }))
    }
}
