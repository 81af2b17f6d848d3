//! Signals and waits by the fast path, see [`super`]: calls that carry nothing. `ALONE`: this machine has one CPU. There
//! nobody more important is ever ready while a thread runs, and if somebody as important is, a slice has begun (I7).
//! Only the usual goes this way, for which no function is called: nobody else is ready or waits, a slice has begun.

use super::{Bring, Short, Switch};
use crate::object::NONE;
use crate::queue::{QUEUED, Queue};
use crate::{Kernel, Machine, State};
use abi::{Event, Outcome, Status};

impl Kernel {
    /// Makes a signal, if nothing stands against it.
    #[inline(always)]
    pub fn fast_signal<const ALONE: bool>(&mut self, cpu: usize, control: u64) -> Option<Outcome> {
        let version = self.version();
        let state = self.cpus.find::<ALONE>(cpu);
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.signal;
        if !pass.admits(control, version) {
            return None;
        }
        let (object, badge, outcome) = (pass.object, pass.badge, pass.outcome);
        let priority = self.threads.get(from).priority;
        if !ALONE && self.run.reaches(priority) {
            return None;
        }
        let queue = self.notifications.try_beside_mut(object)?;
        let to = queue.head;
        let Some(its_link) = self.threads.try_beside(to) else {
            // NONE: nobody waits.
            let (notification, _) = self.notifications.fresh(object)?;
            let bound = notification.bound;
            if self.threads.try_get(bound).is_some_and(|bound| bound.state == State::Receiving) {
                return None;
            }
            notification.bits |= badge;
            return Some(Outcome::of(Status::Ok));
        };
        // Another CPU might have nothing better to do than to run the waiter.
        if !ALONE || its_link.passes.at_hand != version {
            return None;
        }
        let (waiter, _) = self.threads.one(to)?;
        // One that is more important would go on at once; with one as important a slice begins.
        let its_priority = waiter.priority;
        let too_much = u16::from(its_priority) + u16::from(state.slice_end == 0) > u16::from(priority);
        if too_much || !queue.is_short() || !self.run.push_only(its_priority, to) {
            return None;
        }
        // ---- point of no return; nobody waits on a notification that has bits (I2) ----
        *queue = Queue::EMPTY;
        self.last_ticket += 1;
        waiter.ticket = self.last_ticket;
        waiter.state = State::Ready;
        waiter.object = NONE;
        waiter.registers.rax = outcome.0;
        Some(Outcome::of(Status::Ok))
    }

    /// Makes a wait that polls, likewise.
    #[inline(always)]
    pub fn fast_poll<const ALONE: bool>(&mut self, cpu: usize, control: u64) -> Option<Outcome> {
        let from = self.cpus.find::<ALONE>(cpu).current;
        let pass = &self.threads.try_beside(from)?.passes.poll;
        if !pass.admits(control, self.version()) || !ALONE && self.run.reaches(self.threads.get(from).priority) {
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
    pub fn fast_wait<const ALONE: bool>(
        &mut self,
        m: &mut impl Machine,
        cpu: usize,
        control: u64,
    ) -> Option<Short<'_>> {
        let version = self.version();
        let state = self.cpus.find::<ALONE>(cpu);
        let from = state.current;
        let pass = &self.threads.try_beside(from)?.passes.wait;
        if !pass.admits(control, version) || !ALONE && self.run.reaches(self.threads.get(from).priority) {
            return None;
        }
        let object = pass.object;
        let (notification, queue) = self.notifications.try_both(object)?;
        if notification.bits != 0 {
            let bits = core::mem::take(&mut self.notifications.fresh(object)?.0.bits);
            return Some(Short::Same(Outcome::event(Event::Notification, bits)));
        }
        // NONE, if nobody is ready: no thread.
        let to = self.run.next;
        if !ALONE || self.threads.try_beside(to)?.passes.at_hand != version || from == to {
            return None;
        }
        let [(from_task, from_link), (to_task, to_link)] = self.threads.pair(from, to)?;
        if queue.first().is_some() || !self.run.take_only() {
            return None;
        }
        *queue = Queue::of(from);
        // ---- point of no return ----
        let waiter = &mut from_task.thread;
        from_link.place = QUEUED;
        self.last_ticket += 1;
        waiter.ticket = self.last_ticket;
        waiter.state = State::Waiting;
        waiter.object = from_link.passes.wait.object;
        state.switch_to(m, cpu, from_task, (to, to_task, to_link));
        Some(Short::Other(Switch { from: from_task, to: to_task, bring: Bring::All }))
    }
}
