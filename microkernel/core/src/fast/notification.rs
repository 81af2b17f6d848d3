//! Signals and waits by the fast path, see [`super`]: calls that carry nothing.

use super::{HANDLE_BITS, Short, Switch, look_up};
use crate::kernel::TICKET_MIDDLE;
use crate::object::NONE;
use crate::{Kernel, Machine, State};
use abi::{Call, Control, Event, Outcome, Rights, Status, Timeout};

const SIGNAL: u64 = Call::Signal as u64;
const WAIT: u64 = Call::Wait as u64;
const POLL: u64 = Control::new(Call::Wait, abi::Handle::NULL).with_timeout(Timeout::POLL).0;

impl Kernel {
    /// Makes a signal, or a wait without a deadline, if nothing stands against it.
    #[inline(always)]
    pub fn fast_short(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Short<'_>> {
        match control & !HANDLE_BITS {
            SIGNAL => self.fast_signal(m, cpu, control),
            WAIT => self.fast_wait(m, cpu, control, false),
            POLL => self.fast_wait(m, cpu, control, true),
            _ => None,
        }
    }

    #[inline(always)]
    fn fast_signal(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Short<'_>> {
        let alone = self.cpus.len() == 1;
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let record = self.threads.try_get(from)?;
        // Whoever is as important has been seen to when the slice began.
        if record.state != State::Ready || self.run.reaches(record.priority) && state.slice_end == 0 {
            return None;
        }
        let priority = record.priority;
        let capability = look_up(self.links.get(from as usize)?, &self.capabilities, control, Rights::SIGNAL)?;
        if capability.badge == 0 || self.revoking != 0 || self.run.exceeds(priority) {
            return None;
        }
        let notification = self.notifications.try_get(capability.object)?;
        if notification.generation != capability.generation || notification.life != 1 {
            return None;
        }
        let (object, badge, bits) = (capability.object, capability.badge, notification.bits);
        let queue = self.notification_queues.get_mut(object as usize)?;
        if queue.head == NONE {
            let bound = notification.bound;
            if bound != NONE && self.threads.get(bound).state == State::Receiving {
                return None;
            }
            self.notifications.fresh(object)?.bits = bits | badge;
            return Some(Short::Same(Outcome::of(Status::Ok)));
        }
        let to = queue.head;
        // A thread of the world waits for the world's start, too.
        if !self.started && to < self.threads.world() {
            return None;
        }
        let waiter = self.threads.fresh(to)?;
        // One that is more important would go on at once. Another CPU might have nothing better to do.
        let link = self.links.get_mut(to as usize)?;
        if !alone || bits != 0 || waiter.deadline != u64::MAX || waiter.priority > priority || !queue.take_only(link) {
            return None;
        }
        // ---- point of no return ----
        self.world.ticket += 1;
        waiter.ticket = TICKET_MIDDLE + self.world.ticket;
        waiter.state = State::Ready;
        waiter.object = NONE;
        waiter.registers.rax = Outcome::event(Event::Notification, badge).0;
        let as_important = waiter.priority == priority;
        self.run.push(&mut self.links, waiter.priority, to, false);
        if as_important {
            state.begin_slice(m, cpu);
        }
        Some(Short::Same(Outcome::of(Status::Ok)))
    }

    /// Takes the bits of a notification; without any, `polls` says whether it is left at that, or waits.
    #[inline(always)]
    fn fast_wait(&mut self, m: &mut impl Machine, cpu: usize, control: u64, polls: bool) -> Option<Short<'_>> {
        let alone = self.cpus.len() == 1;
        let state = self.cpus.get_mut(cpu)?;
        let from = state.current;
        let record = self.threads.try_get(from)?;
        if record.state != State::Ready || self.run.reaches(record.priority) && state.slice_end == 0 {
            return None;
        }
        let capability = look_up(self.links.get(from as usize)?, &self.capabilities, control, Rights::WAIT)?;
        if self.revoking != 0 || self.run.exceeds(record.priority) {
            return None;
        }
        let notification = self.notifications.try_get(capability.object)?;
        if notification.generation != capability.generation || notification.life != 1 {
            return None;
        }
        let object = capability.object;
        if notification.bits != 0 {
            let bits = core::mem::take(&mut self.notifications.fresh(object)?.bits);
            return Some(Short::Same(Outcome::event(Event::Notification, bits)));
        }
        if polls {
            return Some(Short::Same(Outcome::of(Status::WouldBlock)));
        }
        if !alone {
            return None;
        }
        let to = self.run.next()?;
        let vector = self.vectors.fresh(from)?;
        let [waiter, next] = self.threads.fresh_pair(from, to)?;
        let root = self.links.get(to as usize)?.root;
        if next.process < self.processes.world() && !self.pool.is_stamped(root, self.stamp)
            || next.registers.rip >= abi::USER_END
        {
            return None;
        }
        let queue = self.notification_queues.get_mut(object as usize)?;
        // ---- point of no return ----
        m.save_vector(vector);
        m.load_vector(self.vectors.get(to));
        self.run.take_next(&mut self.links, next.priority, to);
        queue.push_back(&mut self.links, from);
        (self.links[from as usize].cpu, self.links[to as usize].cpu) = (NONE, cpu as u32);
        self.world.ticket += 1;
        waiter.ticket = TICKET_MIDDLE + self.world.ticket;
        waiter.state = State::Waiting;
        waiter.object = object;
        state.switch_to(m, cpu, (to, next.process), root);
        if self.run.reaches(next.priority) {
            state.begin_slice(m, cpu);
        }
        Some(Short::Other(Switch::Depart { from: &mut waiter.registers, to: &mut next.registers }))
    }
}
