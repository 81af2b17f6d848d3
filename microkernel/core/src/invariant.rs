//! Every invariant of the kernel, with the function that checks it. Tests and the explorer call [`Kernel::check`]
//! after each step; it reads everything, and on the host alone.

use crate::destroy::is_worn;
use crate::object::NONE;
use crate::queue::{QUEUED, Queue};
use crate::space::PRESENT;
use crate::{Counts, Cpu, HostMachine, Kernel, State, TableId};
use abi::Kind;

/// An invariant that does not hold, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// Index of the object that shows it.
    pub index: u32,
}

type Checked = Result<(), Violation>;

fn require(holds: bool, invariant: &'static str, index: u32) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, index }) }
}

impl Kernel {
    /// All invariants, in their order. Between the first `Restore` and `Resume` records are there and nothing derived
    /// from them is yet: there is nothing to hold.
    pub fn check(&self, m: &HostMachine) -> Checked {
        if self.restored && !self.started {
            return Ok(());
        }
        self.check_queues()?;
        self.check_endpoints()?;
        self.check_derivations()?;
        self.check_world_closed()?;
        self.check_replies()?;
        self.check_budgets()?;
        self.check_cpus()?;
        self.check_free_sets()?;
        let false_pass = self.false_pass();
        require(false_pass.is_none(), "I10: passes say what a look-up finds", false_pass.unwrap_or(NONE))?;
        require(!self.is_map_pass_false(m), "I10: a Map's pass says what a look-up finds", NONE)?;
        self.check_spaces(m)
    }

    pub(crate) fn queue_members(&self, queue: &Queue) -> impl Iterator<Item = u32> {
        let some = |thread: u32| (thread != NONE).then_some(thread);
        core::iter::successors(some(queue.head), move |&thread| some(self.threads.beside(thread).next))
            .take(self.threads.len() as usize)
    }

    /// I1: a thread is on the queue that its state names, once; and on none if it names none.
    fn check_queues(&self) -> Checked {
        let mut members = 0;
        require(self.run.is_marked(), "I1: marks of the run queues", 0)?;
        let waiting = || self.endpoints.all_beside().chain(self.notifications.all_beside());
        for queue in (0..=u8::MAX).map(|priority| self.run.queue(priority)).chain(waiting()) {
            require(queue.is_sound(&self.threads), "I1: links of a queue", queue.head)?;
        }
        let waiting = waiting().map(|queue| self.queue_members(queue).collect());
        for queue in self.ready_priorities().map(|priority| self.ready(priority)).chain(waiting) {
            let mut last = 0;
            for thread in queue {
                let ticket = self.threads.get(thread).ticket;
                require(ticket >= last, "I1: queues are in the order of tickets", thread)?;
                last = ticket;
            }
        }
        for priority in self.ready_priorities() {
            for thread in self.ready(priority) {
                let record = self.threads.get(thread);
                let named = record.state == State::Ready && record.priority == priority;
                require(named, "I1: run queue", thread)?;
                members += 1;
            }
        }
        for (endpoint, queue) in self.endpoints.all_beside().enumerate() {
            for thread in self.queue_members(queue) {
                let record = self.threads.get(thread);
                let named = record.object == endpoint as u32
                    && matches!(record.state, State::Calling | State::Sending | State::Faulting | State::Receiving);
                require(named, "I1: endpoint queue", thread)?;
                members += 1;
            }
        }
        for (notification, queue) in self.notifications.all_beside().enumerate() {
            for thread in self.queue_members(queue) {
                let record = self.threads.get(thread);
                require(
                    record.object == notification as u32 && record.state == State::Waiting,
                    "I1: notification queue",
                    thread,
                )?;
                members += 1;
            }
        }
        for thread in 0..self.threads.len() {
            let (record, link) = (self.threads.get(thread), self.threads.beside(thread));
            let runs = link.cpu().is_some();
            let held_back = !self.started && self.is_world_thread(thread);
            let queued = match record.state {
                State::Ready => !runs && !held_back,
                State::Calling | State::Sending | State::Faulting | State::Receiving | State::Waiting => true,
                _ => false,
            };
            require((link.place == QUEUED) == queued, "I1: queued as its state says", thread)?;
        }
        let queued = self.threads.all_beside().filter(|link| link.place == QUEUED).count();
        require(members == queued, "I1: every queued thread is a member", 0)?;
        require(self.deadlines.is_sound(), "I1: deadlines", 0)
    }

    /// I2: no endpoint has senders and receivers at once; nobody waits on a notification that has bits.
    fn check_endpoints(&self) -> Checked {
        for (endpoint, queue) in self.endpoints.all_beside().enumerate() {
            let receivers =
                self.queue_members(queue).filter(|&t| self.threads.get(t).state == State::Receiving).count();
            let all = self.queue_members(queue).count();
            require(receivers == 0 || receivers == all, "I2: senders or receivers", endpoint as u32)?;
            require(all == 0 || self.endpoints.get(endpoint as u32).life != 0, "I2: a dead endpoint", endpoint as u32)?;
        }
        for notification in 0..self.notifications.len() {
            let record = self.notifications.get(notification);
            let waited = self.notifications.beside(notification).first().is_some();
            require(record.bits == 0 || !waited, "I2: lost wake-up", notification)?;
            let bound = record.bound;
            require(
                bound == NONE || self.threads.get(bound).bound == notification,
                "I2: bindings are mutual",
                notification,
            )?;
            let lost = bound != NONE && record.bits != 0 && self.threads.get(bound).state == State::Receiving;
            require(!lost, "I2: lost wake-up of a bound thread", notification)?;
        }
        Ok(())
    }

    /// I3: child links are the parents read backwards; a child narrows its parent; chains end.
    fn check_derivations(&self) -> Checked {
        let (mut linked, mut children, mut dying) = (0, 0, 0);
        for slot in 0..self.capabilities.len() {
            let capability = self.capabilities.get(slot);
            dying += u32::from(capability.dying);
            let mut child = self.capabilities.beside(slot).child;
            require(capability.kind != 0 || child == NONE, "I3: an empty slot has no children", slot)?;
            while child != NONE && linked <= self.capabilities.len() {
                require(self.capabilities.get(child).parent == slot, "I3: child link", child)?;
                linked += 1;
                child = self.capabilities.beside(child).next;
            }
            if capability.kind == 0 || capability.parent == NONE {
                continue;
            }
            children += 1;
            let parent = self.capabilities.get(capability.parent);
            let same = (parent.kind, parent.object, parent.generation)
                == (capability.kind, capability.object, capability.generation);
            require(same && parent.depth < capability.depth, "I3: parent of the same object, less deep", slot)?;
            require(parent.rights().contains(capability.rights()), "I3: rights only narrow", slot)?;
            let ((first, count), (outer, outer_count)) = (capability.range(), parent.range());
            let ranged = crate::Capability::has_range(capability.kind().unwrap_or(Kind::Reply));
            require(!ranged || first >= outer && first + count <= outer + outer_count, "I3: ranges only narrow", slot)?;
            require(
                ranged || parent.badge == 0 || parent.badge == capability.badge,
                "I3: badges are unforgeable",
                slot,
            )?;
        }
        require(linked == children, "I3: every child is linked once", 0)?;
        require(dying == self.revoking, "I3: dying slots are counted", 0)
    }

    /// I4: the world is closed: its processes hold the world only, hanging below nothing volatile; its threads run in
    /// its processes and serve and wait on its own.
    fn check_world_closed(&self) -> Checked {
        for slot in 0..self.capabilities.len() {
            let capability = self.capabilities.get(slot);
            let holder = self.holder(slot);
            if capability.kind == 0 {
                continue;
            }
            require(holder != NONE, "I4: a capability has a holder", slot)?;
            require(
                self.is_world_process(holder) == (slot < self.capabilities.world()),
                "I4: slots of the world are its processes'",
                slot,
            )?;
            require(self.may_hold(holder, capability), "I4: the world holds the world", slot)?;
            let below_volatile = slot < self.capabilities.world()
                && capability.parent != NONE
                && capability.parent >= self.capabilities.world();
            require(!below_volatile, "I4: nothing of the world hangs below the volatile", slot)?;
        }
        for thread in 0..self.threads.len() {
            let record = self.threads.get(thread);
            if record.state == State::Free {
                continue;
            }
            let world = self.is_world_thread(thread);
            require(world == self.is_world_process(record.process), "I4: a thread is its process's kind", thread)?;
            let sends_in = matches!(record.state, State::Calling | State::Sending | State::Faulting)
                && record.object < self.endpoints.world();
            require(world || !sends_in, "I4: the volatile never waits inside the world", thread)?;
            require(
                record.serving == NONE || !world || self.is_world_thread(record.serving),
                "I4: the world serves the world",
                thread,
            )?;
        }
        Ok(())
    }

    /// I5: a call or fault that was received has at most one Reply, and only then.
    fn check_replies(&self) -> Checked {
        for thread in 0..self.threads.len() {
            let sequence = self.threads.get(thread).call_sequence;
            let held = (0..self.threads.len())
                .filter(|&holder| {
                    let record = self.threads.get(holder);
                    record.serving == thread && record.serving_sequence == sequence
                })
                .count();
            let saved =
                (0..self.capabilities.len()).filter(|&slot| self.saved_reply(slot) == Some((thread, sequence))).count();
            let stands = self.reply_stands(thread, sequence);
            require(!stands || held + saved == 1, "I5: exactly one Reply for a call that waits for it", thread)?;
        }
        Ok(())
    }

    /// I6: what lives was charged to a budget that lives, and counts add up.
    fn check_budgets(&self) -> Checked {
        for budget in 0..self.budgets.len() {
            let record = self.budgets.get(budget);
            if record.life == 0 {
                continue;
            }
            let mut used = Counts::default();
            for (kind, count) in self.charged_to(budget) {
                used.0[kind] += count;
            }
            require(record.used == used, "I6: budget conservation", budget)?;
        }
        Ok(())
    }

    /// Everything that is charged to a budget: which count, and how many.
    fn charged_to(&self, budget: u32) -> impl Iterator<Item = (usize, u32)> {
        let processes = (0..self.processes.len())
            .filter_map(move |i| Some(self.processes.get(i)).filter(|p| p.exists() && p.budget == budget))
            .flat_map(|p| [(0, 1), (5, p.slot_count)]);
        let threads = (0..self.threads.len())
            .filter(move |&i| self.threads.get(i).state != State::Free && self.threads.get(i).budget == budget)
            .map(|_| (1, 1));
        let endpoints = (0..self.endpoints.len())
            .filter(move |&i| self.endpoints.get(i).life != 0 && self.endpoints.get(i).budget == budget)
            .map(|_| (2, 1));
        let notifications = (0..self.notifications.len())
            .filter(move |&i| self.notifications.get(i).life != 0 && self.notifications.get(i).budget == budget)
            .map(|_| (3, 1));
        let budgets = (0..self.budgets.len())
            .filter(move |&i| self.budgets.get(i).life != 0 && self.budgets.get(i).budget == budget)
            .flat_map(move |i| {
                let split = self.budgets.get(i);
                let given = split.left.plus(split.used);
                (0..6).map(move |kind| (kind, given.0[kind] + u32::from(kind == 4)))
            });
        processes.chain(threads).chain(endpoints).chain(notifications).chain(budgets)
    }

    /// I7: CPUs and threads agree on who runs where, with whose space loaded. Where there is one CPU only, nobody more
    /// important than who runs is ready, and if somebody as important is, a slice has begun. When it ends the timer fires.
    fn check_cpus(&self) -> Checked {
        let Cpu { current, slice_end, .. } = self.cpus.first;
        if self.cpus.others.is_empty() && current != NONE {
            let (best, priority) = (self.run.highest(), self.threads.get(current).priority);
            let in_turn = best < Some(priority) || best == Some(priority) && slice_end != 0;
            require(in_turn, "I7: who runs is as important as any that is ready", current)?;
        }
        for (cpu, state) in self.cpus.iter().enumerate() {
            let fires = state.slice_end == 0 || state.armed <= state.slice_end;
            require(fires, "I7: the timer fires by the end of a slice", cpu as u32)?;
            if state.current != NONE {
                require(self.threads.beside(state.current).cpu() == Some(cpu), "I7: current thread", state.current)?;
                let process = self.threads.get(state.current).process;
                require(state.loaded == process, "I7: loaded space", cpu as u32)?;
            }
        }
        for (thread, link) in self.threads.all_beside().enumerate() {
            require(
                link.cpu().is_none_or(|cpu| self.cpus[cpu].current == thread as u32),
                "I7: a running thread is current",
                thread as u32,
            )?;
        }
        Ok(())
    }

    /// I8: free sets hold exactly what is free.
    fn check_free_sets(&self) -> Checked {
        for i in 0..self.threads.len() {
            let record = self.threads.get(i);
            let free = record.state == State::Free && !is_worn(record.generation);
            require(self.threads.free.contains(i) == free, "I8: free threads", i)?;
        }
        for i in 0..self.processes.len() {
            let record = self.processes.get(i);
            let free = !record.exists() && !is_worn(record.generation);
            require(self.processes.free.contains(i) == free, "I8: free processes", i)?;
        }
        macro_rules! check {
            ($table:ident, $what:expr) => {
                for i in 0..self.$table.len() {
                    let record = self.$table.get(i);
                    let free = record.life == 0 && !is_worn(record.generation);
                    require(self.$table.free.contains(i) == free, $what, i)?;
                }
            };
        }
        check!(endpoints, "I8: free endpoints");
        check!(notifications, "I8: free notifications");
        check!(budgets, "I8: free budgets");
        for slot in 0..self.capabilities.len() {
            let process = self.holder(slot);
            let capability = self.capabilities.get(slot);
            let free = capability.kind == 0 && process != NONE;
            require(self.capabilities.free.contains(slot) == free, "I8: free slots", slot)?;
            let null = process != NONE && self.processes.get(process).slots == slot;
            require(!null || capability.is_memory_port(), "I8: only a memory port lies at a null handle", slot)?;
        }
        for (chunk, &holder) in (0..).zip(self.holders.iter()) {
            require(self.free_chunks.contains(chunk) == (holder == NONE), "I8: free chunks of slots", chunk)?;
        }
        Ok(())
    }

    /// I9: in a world space, a leaf that a CPU could write through maps a frame whose first write was settled.
    fn check_spaces(&self, m: &HostMachine) -> Checked {
        for process in 0..self.processes.world() {
            let root = self.processes.beside(process).root;
            if root != NONE && self.is_fresh_table(root) {
                self.check_table(m, root, 3)?;
            }
        }
        Ok(())
    }

    fn check_table(&self, m: &HostMachine, table: TableId, level: u32) -> Checked {
        let words = if level == 3 { 4 } else { 8 };
        let mut present = [0_u64; 8];
        for (index, entry) in m.entries(table).filter(|&(index, entry)| entry & PRESENT != 0 && index < words * 64) {
            present[usize::from(index) / 64] |= 1 << (index % 64);
            if level == 0 {
                require(self.leaf_is_sound(entry), "I9: writable leaf", table)?;
            } else if let Some(child) = self.fresh_child(m, entry) {
                self.check_table(m, child, level - 1)?;
            }
        }
        require(self.notes(table)[..words.into()] == present[..words.into()], "I9: present entries are noted", table)
    }
}
