//! What two states must agree in to have the same future: a copy from which everything else has been wiped. The
//! explorer tells states apart by it, and by nothing else, so that counters which only grow do not make it endless.
//!
//! What is wiped, and why it may be: generations and call sequences are only ever compared for equality with the
//! present one, so "matches" and "does not" is all that counts; tickets only order those who wait together, and that
//! order is in the queues, but for callers that may be asked again; times count from now; registers of a thread that
//! will set them all before its next call say nothing; page-table pages are interchangeable, and what lies in them is
//! what [`Kernel::shape`] says, with stamps that are the running epoch's or not.

use crate::object::NONE;
use crate::{Capability, Kernel, Process, State, Thread, VectorState};
use abi::{FLAG_REPEATABLE, FrameState, Kind, Registers};
use records::{HostArena, Table};

/// What else the explorer's programs make irrelevant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Canonical {
    /// Time since boot, from which times are counted.
    pub now_ns: u64,
    /// Instruction pointer of a thread that is about to make the same call again: its registers count.
    pub again_rip: u64,
    /// Whether it counts which records changed in the running epoch: only where there are cuts.
    pub changed: bool,
    /// Whether vector registers count: not where the machine has none.
    pub vectors: bool,
}

impl Kernel {
    /// The copy. It can be compared and hashed; it cannot run.
    pub fn canonical(&self, with: Canonical) -> Self {
        let mut copy = self.clone();
        copy.wipe_tickets(self);
        copy.wipe_threads(self, with);
        copy.wipe_capabilities(self);
        copy.wipe_objects(self);
        copy.wipe_cpus(with);
        copy.wipe_epochs(self);
        copy.deadlines.canonical(&mut copy.links, with.now_ns);
        copy.capabilities.wipe_history(with.changed);
        copy.threads.wipe_history(with.changed);
        if with.vectors {
            copy.vectors.wipe_history(with.changed);
        } else {
            copy.vectors = Table::new(&mut HostArena, 0, 0, VectorState::INITIAL);
        }
        copy.processes.wipe_history(with.changed);
        copy.endpoints.wipe_history(with.changed);
        copy.notifications.wipe_history(with.changed);
        copy.budgets.wipe_history(with.changed);
        copy
    }

    /// Threads that have no CPU and are about to make the same call again may make any other instead. What the kernel
    /// has done of such a call is in its objects, none of it in the thread; so whatever they would have done they still
    /// may do, and the explorer need not tell apart which of its calls a thread that was stopped or preempted had begun.
    pub fn free_choice(&mut self, again_rip: u64, chooses_rip: u64) {
        for index in 0..self.threads.len() {
            let record = self.threads.get(index);
            let idles = self.links[index as usize].cpu == NONE && matches!(record.state, State::Ready | State::Stopped);
            if idles && record.registers.rip == again_rip {
                let registers = &mut self.threads.change(index).registers;
                *registers = Registers { rip: chooses_rip, ..Registers::default() };
            }
        }
    }

    fn wipe_tickets(&mut self, of: &Kernel) {
        let asked_again =
            |thread: &Thread| matches!(thread.state, State::AwaitReply) && thread.flags & FLAG_REPEATABLE != 0;
        let waits = |thread: &Thread| matches!(thread.state, State::Calling | State::Sending | State::Receiving);
        let any = of.each_thread().any(|(_, thread)| asked_again(thread));
        let mut order: Vec<(u64, u32)> = of
            .each_thread()
            .filter(|(_, thread)| any && (asked_again(thread) || waits(thread)))
            .map(|(index, thread)| (thread.ticket, index))
            .collect();
        order.sort_unstable();
        for index in 0..self.threads.len() {
            self.threads.live_mut(index).ticket = 0;
        }
        for (rank, (_, index)) in order.into_iter().enumerate() {
            self.threads.live_mut(index).ticket = rank as u64 + 1;
        }
        self.world.ticket = 0;
    }

    fn wipe_threads(&mut self, of: &Kernel, with: Canonical) {
        for index in 0..self.threads.len() {
            let before = *of.threads.get(index);
            let world = of.is_world_thread(index);
            let thread = self.threads.live_mut(index);
            let link = &self.links[index as usize];
            if thread.state == State::Free {
                *thread = Thread::FREE;
                continue;
            }
            thread.generation = 1;
            thread.call_sequence = 0;
            thread.serving_sequence =
                u32::from(before.serving != NONE && of.reply_stands(before.serving, before.serving_sequence));
            if thread.serving != NONE && thread.serving_sequence == 0 {
                // It holds a Reply that is void: whose it was no longer matters.
                thread.serving = NONE - 1;
            }
            let sends = matches!(thread.state, State::Calling | State::Sending);
            let asked_again = thread.state == State::AwaitReply && thread.flags & FLAG_REPEATABLE != 0;
            if !sends && !asked_again {
                (thread.badge, thread.flags) = (0, 0);
            }
            if thread.state != State::Faulting {
                thread.fault = [0; 3];
            }
            if thread.deadline != u64::MAX {
                let offset = if world { of.time_offset } else { 0 };
                thread.deadline = thread.deadline.wrapping_sub(offset).saturating_sub(with.now_ns);
            }
            let registers = of.registers(index);
            let kept = match before.state {
                State::Calling | State::Sending => Self::message_of(registers),
                State::AwaitReply if asked_again => Self::message_of(registers),
                State::Ready | State::Stopped if registers.rip == with.again_rip => Self::message_of(registers),
                _ => Registers::default(),
            };
            if link.cpu == NONE {
                thread.registers = kept;
            } else {
                thread.registers = Registers::default();
                self.cpus[link.cpu as usize].frame = kept;
            }
        }
    }

    fn message_of(registers: &Registers) -> Registers {
        let Registers { rax, rdi, words, caps, rip, .. } = *registers;
        Registers { rax, rdi, words, caps, rip, ..Registers::default() }
    }

    fn wipe_capabilities(&mut self, of: &Kernel) {
        for slot in 0..self.capabilities.len() {
            let before = *of.capabilities.get(slot);
            let Some(kind) = before.kind() else { continue };
            let lives = match kind {
                Kind::Reply => of.reply_stands(before.object, before.generation),
                _ => of.object_lives(&before),
            };
            let depth = self.depth_in_tree(slot);
            let capability = self.capabilities.live_mut(slot);
            capability.depth = depth;
            // The order of siblings only says which of them a revoke in steps removes first.
            let link = &mut self.capability_links[slot as usize];
            (link.child, link.next, link.prev) = (NONE, NONE, NONE);
            capability.generation = u32::from(lives);
            if !lives {
                capability.object = NONE;
            }
        }
    }

    fn depth_in_tree(&self, slot: u32) -> u8 {
        let (mut at, mut depth) = (slot, 0);
        while let Some(parent) = self.capabilities.try_get(self.capabilities.get(at).parent) {
            depth = u8::saturating_add(depth, 1);
            if depth == u8::MAX || *parent == Capability::EMPTY {
                break;
            }
            at = self.capabilities.get(at).parent;
        }
        depth
    }

    fn wipe_objects(&mut self, of: &Kernel) {
        for index in 0..self.processes.len() {
            let before = *of.processes.get(index);
            let process = self.processes.live_mut(index);
            if !before.exists() {
                *process = Process::FREE;
                continue;
            }
            process.generation = 1;
            let port = of.endpoints.try_get(before.port);
            if port.is_some_and(|port| port.life != 0 && port.generation == before.port_generation) {
                process.port_generation = 1;
            } else {
                (process.port, process.port_generation) = (NONE, 0);
            }
        }
        for index in 0..self.endpoints.len() {
            self.endpoints.live_mut(index).generation = 0;
        }
        for index in 0..self.notifications.len() {
            self.notifications.live_mut(index).generation = 0;
        }
        for index in 0..self.budgets.len() {
            self.budgets.live_mut(index).generation = 0;
        }
        for binding in self.bindings.iter_mut() {
            binding.wipe(|notification, generation| {
                of.notifications.try_get(notification).is_some_and(|n| n.life != 0 && n.generation == generation)
            });
        }
    }

    fn wipe_cpus(&mut self, with: Canonical) {
        for cpu in self.cpus.iter_mut() {
            cpu.edge = [0; 8];
            if cpu.armed != u64::MAX {
                cpu.armed = cpu.armed.saturating_sub(with.now_ns);
            }
            if cpu.current == NONE {
                cpu.frame = Registers::default();
            }
            if cpu.slice_end != 0 {
                // 0 means that nobody waits for it, so a slice that has ended counts as 1.
                cpu.slice_end = cpu.slice_end.saturating_sub(with.now_ns).max(1);
            }
        }
        self.time_offset = 0;
    }

    fn wipe_epochs(&mut self, of: &Kernel) {
        self.world.time_ns = 0;
        self.world.epoch = 0;
        self.ended_world = of.ended_world.map(|_| self.world);
        self.committed = abi::Epoch::NONE;
        self.pool.canonical();
        self.spaces.iter_mut().for_each(|space| space.looked_at = 0);
        for space in self.spaces.iter_mut().filter(|space| space.root != NONE) {
            space.root = 0;
        }
        for link in self.links.iter_mut().filter(|link| link.root != NONE) {
            link.root = 0;
        }
        for word in self.frames.iter_mut() {
            let now = *word & 3 == FrameState::Dirty as u64 && (*word >> 2) as u32 == of.stamp;
            *word = *word & 3 | u64::from(now) << 2;
        }
        self.log.canonical();
        self.stamp = 0;
    }
}
