//! The kernel's first state: tables sized at boot, root budgets, and the first process.

use crate::capability::CapabilityLink;
use crate::device::Binding;
use crate::fast::MapPass;
use crate::first_write::WriteLog;
use crate::kernel::{Cpu, Cpus, TICKET_MIDDLE, WORLD_VERSION, World};
use crate::object::{HANDLES_MIN, NONE, Task};
use crate::queue::{Deadlines, Link, Queue, RunQueues};
use crate::space::{Run, Space, TablePool};
use crate::{Budget, Capability, Counts, Endpoint, Kernel, Machine, Notification, Process, Thread, VectorState};
use abi::boot_info::handle;
use abi::protocol::service::PORTS_MAX;
use abi::{Epoch, Handle, Kind, MapFlags, Rights, Status};
use core::ops::Range;
use records::{Arena, IndexSet, Table};

/// How many of everything. The world's part is fixed in its genesis; the rest is this boot's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacities {
    /// Objects of the world: processes, threads, endpoints, notifications, budgets, capability slots.
    pub world: Counts,
    /// Volatile objects, likewise.
    pub volatile: Counts,
    /// CPUs (1 … 64).
    pub cpus: u32,
    /// Page-table pages.
    pub tables: u32,
    /// Frames of memory, the highest number plus one.
    pub frames: u32,
    /// Entries of the log of first writes.
    pub log: u32,
    /// Places of the ring of donated frames.
    pub donated: u32,
    /// Interrupts: lines and messages.
    pub interrupts: u32,
}

/// What the first process is given.
#[derive(Clone, Copy, Debug)]
pub struct BootProcess {
    /// Its process.
    pub process: u32,
    /// Its first thread, stopped until [`Kernel::boot_start`].
    pub thread: u32,
}

const CPU: Cpu =
    Cpu { frame: Thread::FREE.registers, edge: [0; 8], current: NONE, loaded: NONE, slice_end: 0, armed: u64::MAX };

impl Kernel {
    /// A kernel without processes. Takes all its memory from `arena`, now and never again.
    ///
    /// # Panics
    /// When capacities are beyond what indices can hold, or slots are no multiple of 16: the caller's mistake, at boot.
    pub fn new(arena: &mut impl Arena, capacities: &Capacities) -> Self {
        let (world, volatile) = (capacities.world.0, capacities.volatile.0);
        let [processes, threads, endpoints, notifications, budgets, slots] =
            core::array::from_fn(|kind| world[kind] + volatile[kind]);
        assert!(world[5].is_multiple_of(HANDLES_MIN) && slots.is_multiple_of(HANDLES_MIN), "slots come in chunks");
        assert!((1..=64).contains(&capacities.cpus), "CPUs are bits of a word");
        let mut kernel = Self {
            cpus: Cpus { first: CPU, others: arena.slab(capacities.cpus as usize - 1, CPU) },
            threads: Table::with(arena, threads, world[1], Task::FREE, Link::UNLINKED),
            processes: Table::with(arena, processes, world[0], Process::FREE, Space::NONE),
            endpoints: Table::with(arena, endpoints, world[2], Endpoint::FREE, Queue::EMPTY),
            notifications: Table::with(arena, notifications, world[3], Notification::FREE, Queue::EMPTY),
            budgets: Table::new(arena, budgets, world[4], Budget::FREE),
            capabilities: Table::with(arena, slots, world[5], Capability::EMPTY, CapabilityLink::UNLINKED),
            world: World {
                version: WORLD_VERSION,
                components: VectorState::COMPONENTS as u32,
                epoch: 0,
                ticket: 0,
                time_ns: 0,
                capacities: world,
            },
            last_ticket: TICKET_MIDDLE,
            ended_world: None,
            started: false,
            restored: false,
            committed: Epoch::NONE,
            time_offset: 0,
            stamp: 1,
            bindings: arena.slab(capacities.interrupts as usize, Binding::NONE),
            orphan: None,
            run: RunQueues::new(arena),
            deadlines: Deadlines::new(arena, threads),
            holders: arena.slab(slots.div_ceil(HANDLES_MIN) as usize, NONE),
            revoking: 0,
            free_chunks: IndexSet::full(arena, slots / HANDLES_MIN),
            ports: [NONE; PORTS_MAX],
            pool: TablePool::new(arena, capacities.tables),
            map_pass: MapPass::default(),
            #[cfg(any(test, feature = "host"))]
            steps_max: usize::MAX,
            frames: arena.slab(capacities.frames as usize, 0),
            log: WriteLog::new(arena, capacities.log, capacities.donated),
        };
        kernel.capabilities.free.remove_range(0, slots);
        kernel.add_root_budget(0, capacities.world);
        kernel.add_root_budget(world[4], capacities.volatile);
        kernel
    }

    /// The root budget at `index`, which takes one budget's place itself.
    fn add_root_budget(&mut self, index: u32, mut left: Counts) {
        if left.0[4] == 0 {
            return;
        }
        left.0[4] -= 1;
        self.budgets.free.remove(index);
        *self.budgets.change(index) = Budget { left, generation: 1, life: 1, ..Budget::FREE };
    }

    /// Makes the first process, with `handles` handles, and its stopped thread, with the highest priority.
    pub fn boot_process(
        &mut self,
        m: &mut impl Machine,
        handles: u64,
        entry: u64,
        stack: u64,
        argument: u64,
    ) -> Result<BootProcess, Status> {
        let budget = self.budgets.world();
        let (process, process_generation) = self.create_process(m, budget, handles)?;
        let (thread, thread_generation) = self.create_thread(budget, process, [entry, stack, argument], u8::MAX)?;
        for (kind, object, generation) in [
            (Kind::Process, process, process_generation),
            (Kind::Thread, thread, thread_generation),
            (Kind::Budget, budget, 1),
            (Kind::Budget, 0, 1),
            (Kind::Epoch, 0, 0),
        ] {
            // In this order they come to lie at the handles that `abi::boot_info` promises.
            self.place(process, Capability::root(kind, object, generation))?;
        }
        self.boot_range(process, handle::INTERRUPTS, Kind::Interrupt, 0..self.bindings.len() as u32, true)?;
        self.boot_range(process, handle::PORTS, Kind::IoPorts, 0..0x1_0000, true)?;
        Ok(BootProcess { process, thread })
    }

    /// Gives the first process a range of memory, interrupts or ports, at a free handle. Memory is writable if `write`.
    pub fn boot_range(
        &mut self,
        process: u32,
        handle: Handle,
        kind: Kind,
        range: Range<u32>,
        write: bool,
    ) -> Result<(), Status> {
        let table = self.processes.get(process);
        let slot = table.slots + u32::from(handle.0);
        if u32::from(handle.0) >= table.slot_count || !self.capabilities.free.remove(slot) {
            return Err(Status::BadHandle);
        }
        let rights = if write { kind.rights() } else { kind.rights() - Rights::MEMORY_WRITE };
        let badge = Capability::range_badge(range.start, range.end - range.start);
        self.fill(slot, Capability { badge, rights: rights.bits(), ..Capability::root(kind, 0, 0) });
        Ok(())
    }

    /// Maps a frame into the first process.
    pub fn boot_map(
        &mut self,
        m: &mut impl Machine,
        process: u32,
        address: u64,
        frame: u32,
        flags: MapFlags,
    ) -> Result<(), Status> {
        Self::check_range(address, 1)?;
        self.map_run(m, process, Run { address, frame, pages: 1, flags }).map(|_| ())
    }

    /// Starts the first process's thread and dispatches `cpu`.
    pub fn boot_start(&mut self, m: &mut impl Machine, cpu: usize, boot: BootProcess) {
        self.wake(boot.thread);
        self.dispatch(m, cpu);
    }
}
