//! The kernel seen from outside, read only: what the specification's abstraction and the explorer's properties need.
//! On the host alone; no part of the running kernel.

use crate::kernel::TICKET_MIDDLE;
use crate::object::NONE;
use crate::queue::Queue;
use crate::space::{ACCESSED, ADDRESS, MAY_WRITE, NO_EXECUTE, PRESENT, UNCACHED, WRITABLE};
use crate::{
    Budget, Capability, Endpoint, HostMachine, Kernel, Machine, Notification, Process, State, TableId, Thread,
};
use abi::{Epoch, FrameState, Handle, Kind, Registers};

/// A capability, and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Process whose table it is in.
    pub process: u32,
    /// Its handle there.
    pub handle: u16,
    /// Its slot.
    pub slot: u32,
    /// The capability.
    pub capability: &'a Capability,
}

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mapped {
    /// Its address.
    pub address: u64,
    /// The frame.
    pub frame: u32,
    /// Whether it may be written, now or after a first write has been settled.
    pub may_write: bool,
    /// Whether its contents may be executed.
    pub executable: bool,
    /// Whether it is uncached.
    pub device: bool,
    /// Whether a CPU that loads the space can write now.
    pub open: bool,
    /// Whether it has been accessed since somebody asked.
    pub accessed: bool,
}

impl Kernel {
    /// Threads that there are.
    pub fn each_thread(&self) -> impl Iterator<Item = (u32, &Thread)> {
        (0..self.threads.len()).map(|i| (i, &**self.threads.get(i))).filter(|(_, thread)| thread.state != State::Free)
    }

    /// Processes that there are.
    pub fn each_process(&self) -> impl Iterator<Item = (u32, &Process)> {
        (0..self.processes.len()).map(|i| (i, self.processes.get(i))).filter(|(_, process)| process.exists())
    }

    /// Endpoints that there are.
    pub fn each_endpoint(&self) -> impl Iterator<Item = (u32, &Endpoint)> {
        (0..self.endpoints.len()).map(|i| (i, self.endpoints.get(i))).filter(|(_, endpoint)| endpoint.life != 0)
    }

    /// Notifications that there are.
    pub fn each_notification(&self) -> impl Iterator<Item = (u32, &Notification)> {
        let all = (0..self.notifications.len()).map(|i| (i, self.notifications.get(i)));
        all.filter(|(_, notification)| notification.life != 0)
    }

    /// Budgets that there are.
    pub fn each_budget(&self) -> impl Iterator<Item = (u32, &Budget)> {
        (0..self.budgets.len()).map(|i| (i, self.budgets.get(i))).filter(|(_, budget)| budget.life != 0)
    }

    /// Capabilities of all processes.
    pub fn each_capability(&self) -> impl Iterator<Item = Held<'_>> {
        self.each_process().flat_map(move |(process, table)| {
            (table.slots..table.slots + table.slot_count).filter_map(move |slot| {
                let capability = self.capabilities.get(slot);
                let handle = (slot - table.slots) as u16;
                capability.kind().map(|_| Held { process, handle, slot, capability })
            })
        })
    }

    /// Whether all capabilities of this kernel and another lie at the same places and mean the same.
    pub fn has_capabilities_of(&self, other: &Self) -> bool {
        let lives = |kernel: &Self, held: &Capability| match held.kind() {
            Some(Kind::Reply) => kernel.reply_stands(held.object, held.generation).into(),
            _ => kernel.life(held),
        };
        self.capabilities.is_same(&other.capabilities)
            && self.processes.is_same(&other.processes)
            && self.each_capability().all(|held| lives(self, held.capability) == lives(other, held.capability))
    }

    /// Whether the object of a capability is still the one that it was made for.
    pub fn is_live(&self, capability: &Capability) -> bool {
        self.life(capability) != 0
    }

    /// Whether the Reply (`caller`, `sequence`) stands for a call or fault that waits.
    pub fn stands(&self, caller: u32, sequence: u32) -> bool {
        self.reply_stands(caller, sequence)
    }

    /// Who waits on an endpoint, in order.
    pub fn waiting_on_endpoint(&self, endpoint: u32) -> Vec<u32> {
        self.members(self.endpoints.beside(endpoint))
    }

    /// Who waits on a notification, in order.
    pub fn waiting_on_notification(&self, notification: u32) -> Vec<u32> {
        self.members(self.notifications.beside(notification))
    }

    /// Who is ready to run at a priority and has no CPU, in order.
    pub fn ready(&self, priority: u8) -> Vec<u32> {
        let next = (self.run.highest() == Some(priority)).then_some(self.run.next);
        next.into_iter().chain(self.queue_members(self.run.queue(priority))).collect()
    }

    /// Priorities at which somebody is ready and has no CPU.
    pub fn ready_priorities(&self) -> impl Iterator<Item = u8> {
        let waits = |priority| self.run.highest() == Some(priority) || self.run.queue(priority).first().is_some();
        (0..=u8::MAX).filter(move |&priority| waits(priority))
    }

    fn members(&self, queue: &Queue) -> Vec<u32> {
        self.queue_members(queue).collect()
    }

    /// The CPU that runs a thread.
    pub fn runs_on(&self, thread: u32) -> Option<usize> {
        self.threads.beside(thread).cpu()
    }

    /// A thread's registers, wherever they are.
    pub fn registers_of(&self, thread: u32) -> &Registers {
        self.registers(thread)
    }

    /// End of the time slice that has begun on a CPU, in ns since boot.
    pub fn slice_end(&self, cpu: usize) -> Option<u64> {
        Some(self.cpus[cpu].slice_end).filter(|&end| end != 0)
    }

    /// Time since boot at which the wait of a thread ends.
    pub fn deadline_of(&self, thread: u32) -> Option<u64> {
        self.deadlines.of(thread)
    }

    /// Indices below these belong to the world: processes, threads, endpoints, notifications, budgets, slots.
    pub fn world_bounds(&self) -> [u32; 6] {
        self.world.capacities
    }

    /// How many there can be of each: processes, threads, endpoints, notifications, budgets, slots.
    pub fn table_sizes(&self) -> [u32; 6] {
        [
            self.processes.len(),
            self.threads.len(),
            self.endpoints.len(),
            self.notifications.len(),
            self.budgets.len(),
            self.capabilities.len(),
        ]
    }

    /// From now on one entry takes at most `max` steps (at least 1) of a job that can be interrupted.
    pub fn limit_steps(&mut self, max: usize) {
        self.steps_max = max.max(1);
    }

    /// Tickets drawn so far.
    pub fn tickets_drawn(&self) -> u64 {
        self.last_ticket - TICKET_MIDDLE
    }

    /// Interrupts that are bound by a process that lives.
    pub fn interrupt_bindings(&self) -> impl Iterator<Item = (u32, (u32, Handle, Handle))> {
        (0..).zip(self.bindings.iter()).filter_map(|(line, by)| {
            let process = self.process_named(by.process).ok()?;
            Some((line, (process, by.interrupt, by.bell)))
        })
    }

    /// Interrupts there are.
    pub fn interrupts_known(&self) -> u32 {
        self.bindings.len() as u32
    }

    /// World time minus time since boot, wrapping.
    pub fn world_ahead(&self) -> u64 {
        self.time_offset
    }

    /// Whether the world runs.
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// The last epoch that was announced durable.
    pub fn committed(&self) -> Epoch {
        self.committed
    }

    /// Whether everything of the epoch before has been exported.
    pub fn has_exported(&self) -> bool {
        self.is_exported()
    }

    /// Records of the ended epoch that are still to be exported, and how many of them changed since.
    pub fn pending(&self) -> (usize, usize) {
        fn of<T: Copy + 'static, D: Copy + 'static>(table: &records::Table<T, D>) -> (usize, usize) {
            let pending = |index: &u32| table.ended(*index).is_some();
            let changed = |index: &u32| pending(index) && table.has_changed(*index);
            ((0..table.len()).filter(pending).count(), (0..table.len()).filter(changed).count())
        }
        let tables = [
            of(&self.threads),
            of(&self.processes),
            of(&self.endpoints),
            of(&self.notifications),
            of(&self.budgets),
            of(&self.capabilities),
        ];
        tables.iter().fold((0, 0), |sum, table| (sum.0 + table.0, sum.1 + table.1))
    }

    /// Frames that are in some epoch: what the kernel knows about them, and whether that was written in the running one.
    pub fn tracked_frames(&self) -> impl Iterator<Item = (u32, FrameState, bool)> {
        (0..self.frames.len() as u32).filter_map(|frame| {
            let (state, stamp) = self.frame_state(frame);
            let now = state == FrameState::Dirty && stamp == self.stamp;
            (state != FrameState::Untracked).then_some((frame, state, now))
        })
    }

    /// Frames of memory of which the kernel knows something.
    pub fn frames_known(&self) -> u32 {
        self.frames.len() as u32
    }

    /// Log of first writes: the position behind its last entry, and the entries that are still there.
    pub fn first_writes(&self) -> (u64, Vec<u64>) {
        self.log.parts()
    }

    /// The position at which first writes stop.
    pub fn first_writes_stop(&self) -> u64 {
        self.log.limit
    }

    /// Frames donated for copies, the next first.
    pub fn donated_frames(&self) -> Vec<u32> {
        self.log.donations()
    }

    /// Entries that the log has room for, and the ring of donated frames.
    pub fn log_sizes(&self) -> (usize, usize) {
        self.log.sizes()
    }

    /// What a process has mapped, by address.
    pub fn mappings(&self, m: &HostMachine, process: u32) -> Vec<Mapped> {
        let mut found = Vec::new();
        if let Some(root) = self.root_of(process) {
            self.visit(m, root, 3, (0, self.is_fresh_table(root)), &mut |address, entry, open| {
                found.push(Mapped {
                    address,
                    frame: ((entry & ADDRESS) >> 12) as u32,
                    may_write: entry & MAY_WRITE != 0,
                    executable: entry & NO_EXECUTE == 0,
                    device: entry & UNCACHED != 0,
                    open,
                    accessed: entry & ACCESSED != 0,
                });
            });
        }
        found
    }

    fn visit(
        &self,
        m: &HostMachine,
        table: TableId,
        level: u32,
        (above, open): (u64, bool),
        see: &mut impl FnMut(u64, u64, bool),
    ) {
        for (index, entry) in m.entries(table).filter(|&(_, entry)| entry & PRESENT != 0) {
            let address = above | u64::from(index) << (12 + 9 * level);
            let open = open && entry & WRITABLE != 0;
            if level == 0 {
                see(address, entry, open);
            } else {
                let child = m.table_at(entry & ADDRESS);
                self.visit(m, child, level - 1, (address, open && self.is_fresh_table(child)), see);
            }
        }
    }

    /// Everything about a space that can make a difference, the names of its tables left out: present entries with
    /// their bits, and whether the table below has the running epoch's stamp.
    pub fn shape(&self, m: &HostMachine, process: u32) -> Vec<u64> {
        let mut shape = Vec::new();
        if let Some(root) = self.root_of(process) {
            shape.push(u64::from(self.is_fresh_table(root)));
            self.shape_below(m, root, 3, &mut shape);
        }
        shape
    }

    fn shape_below(&self, m: &HostMachine, table: TableId, level: u32, shape: &mut Vec<u64>) {
        for (index, entry) in m.entries(table).filter(|&(_, entry)| entry & PRESENT != 0) {
            shape.push(u64::from(level) << 16 | u64::from(index));
            if level == 0 {
                shape.push(entry);
            } else {
                let child = m.table_at(entry & ADDRESS);
                shape.push(entry & !ADDRESS | u64::from(self.is_fresh_table(child)) << 12);
                self.shape_below(m, child, level - 1, shape);
            }
        }
    }

    /// Root table of a process.
    fn root_of(&self, process: u32) -> Option<TableId> {
        let root = self.processes.beside(process).root;
        (root != NONE).then_some(root)
    }

    /// As if everything of the ended epoch had been exported.
    pub fn forget_ended(&mut self) {
        self.threads.drain();
        self.processes.drain();
        self.endpoints.drain();
        self.notifications.drain();
        self.budgets.drain();
        self.capabilities.drain();
        self.ended_world = None;
    }
}
