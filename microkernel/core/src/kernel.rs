//! The whole state of the kernel.

use crate::capability::CapabilityLink;
use crate::device::Binding;
use crate::fast::MapPass;
use crate::first_write::WriteLog;
use crate::object::{NONE, read_record};
use crate::queue::{Deadlines, Queue, RunQueues, Threads};
use crate::space::{Space, TablePool};
use crate::{Budget, Capability, Endpoint, Machine, Notification, OrphanFault, Process};
use abi::protocol::service::PORTS_MAX;
use abi::{Epoch, Handle, Outcome, Registers, Status};
use core::ops::{Index, IndexMut};
use records::{IndexSet, Slab, Table};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the kernel keeps for each CPU. The assembly edge finds it through the GS base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct Cpu {
    /// Registers of the current thread while the CPU is in the kernel; first, so that the edge needs no offset.
    pub frame: Registers,
    /// For the edge alone.
    pub edge: [u64; 8],
    /// Running thread; `u32::MAX`: idle.
    pub(crate) current: u32,
    /// Process whose address space is loaded; `u32::MAX`: the kernel's own.
    pub(crate) loaded: u32,
    /// End of the time slice in ns since boot, never before the timer fires; 0: none has begun.
    pub(crate) slice_end: u64,
    /// When the timer fires: never later than is wanted, `u64::MAX` if not at all.
    pub(crate) armed: u64,
}

/// CPUs by their numbers. The first one's place is in here, so that nobody looks for it where it is the only one.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub struct Cpus {
    /// Number 0.
    pub first: Cpu,
    /// The others, from number 1 on.
    pub others: Slab<Cpu>,
}

impl Cpus {
    /// How many there are.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    #[cfg(any(test, feature = "host"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cpu> {
        core::iter::once(&self.first).chain(self.others.iter())
    }
}

impl Index<usize> for Cpus {
    type Output = Cpu;

    fn index(&self, cpu: usize) -> &Cpu {
        if cpu == 0 { &self.first } else { &self.others[cpu - 1] }
    }
}

impl IndexMut<usize> for Cpus {
    fn index_mut(&mut self, cpu: usize) -> &mut Cpu {
        if cpu == 0 { &mut self.first } else { &mut self.others[cpu - 1] }
    }
}

/// What belongs to the world as a whole, recorded as record 0 of table `World`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct World {
    /// Version of the kernel's record layouts.
    pub version: u32,
    /// Vector components that every thread's vector record holds (bits of XCR0).
    pub components: u32,
    /// Running epoch.
    pub epoch: u64,
    /// Tickets drawn so far, as of the cut.
    pub ticket: u64,
    /// World time in ns, as of the cut.
    pub time_ns: u64,
    /// Capacities of the world's part of the tables: processes, threads, endpoints, notifications, budgets, slots.
    pub capacities: [u32; 6],
}

impl World {
    fn is_valid(&self) -> bool {
        // A counter near its end would overflow.
        self.version == WORLD_VERSION && self.ticket < TICKET_MIDDLE / 2 && self.time_ns <= TIME_MAX_NS
    }

    /// Whether it is the same world at another time: its tables and its threads' vector records have the same sizes.
    pub fn is_shaped_like(&self, other: &Self) -> bool {
        self.components == other.components && self.capacities == other.capacities
    }
}

read_record!(World);

/// Tickets of those who queue behind others count up from here, of those who are put in front down.
pub(crate) const TICKET_MIDDLE: u64 = 1 << 63;

/// World time beyond which no record and no caller can set it, in ns (292 years): it must not wrap.
pub(crate) const TIME_MAX_NS: u64 = u64::MAX / 2;

/// Version of the kernel's record layouts.
pub(crate) const WORLD_VERSION: u32 = 1;

/// The kernel.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub struct Kernel {
    /// Per-CPU state.
    pub cpus: Cpus,
    // ---- recorded ----
    pub(crate) threads: Threads,
    pub(crate) processes: Table<Process, Space>,
    pub(crate) endpoints: Table<Endpoint, Queue>,
    pub(crate) notifications: Table<Notification, Queue>,
    pub(crate) budgets: Table<Budget>,
    /// Free are the empty slots of processes.
    pub(crate) capabilities: Table<Capability, CapabilityLink>,
    pub(crate) world: World,
    /// The last ticket drawn behind all others; recorded as [`World::ticket`].
    pub(crate) last_ticket: u64,
    // ---- of this boot ----
    /// [`Self::world`] as it was at the cut, until it has been exported.
    pub(crate) ended_world: Option<World>,
    pub(crate) started: bool,
    /// Whether records were taken back this boot.
    pub(crate) restored: bool,
    pub(crate) committed: Epoch,
    /// World time minus time since boot, wrapping.
    pub(crate) time_offset: u64,
    /// Counts epochs of this boot: what page-table pages and frame words are stamped with.
    pub(crate) stamp: u32,
    pub(crate) bindings: Slab<Binding>,
    /// A fault that no endpoint was there to receive, until somebody takes it.
    pub orphan: Option<OrphanFault>,
    // ---- derived ----
    pub(crate) run: RunQueues,
    pub(crate) deadlines: Deadlines,
    /// Processes that own the slots, by chunks of 16.
    pub(crate) holders: Slab<u32>,
    /// Slots that are `dying`: while there are any, each use of a capability looks at its ancestors.
    pub(crate) revoking: u32,
    /// Chunks of 16 slots that belong to no process.
    pub(crate) free_chunks: IndexSet,
    pub(crate) ports: [u32; PORTS_MAX],
    pub(crate) pool: TablePool,
    pub(crate) map_pass: MapPass,
    /// Bound on the steps of one entry, tighter than the machine's: exploration sees long jobs interrupted early.
    #[cfg(any(test, feature = "host"))]
    pub(crate) steps_max: usize,
    // ---- frames ----
    /// State and stamp of each frame of memory.
    pub(crate) frames: Slab<u64>,
    pub(crate) log: WriteLog,
}

/// Who makes a system call, and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) cpu: usize,
    pub(crate) thread: u32,
    pub(crate) process: u32,
    /// What it calls.
    pub(crate) handle: Handle,
    /// The first capability that it gives.
    pub(crate) given: Handle,
}

impl Kernel {
    /// How many steps of a long job one entry takes, where the machine takes at most `max`.
    pub(crate) fn steps(&self, max: usize) -> usize {
        #[cfg(any(test, feature = "host"))]
        let max = max.min(self.steps_max);
        max
    }

    /// Number of the thread that runs on `cpu`.
    pub fn current(&self, cpu: usize) -> Option<u32> {
        let current = self.cpus[cpu].current;
        (current != NONE).then_some(current)
    }

    /// Whether `cpu` has nothing to run.
    pub fn is_idle(&self, cpu: usize) -> bool {
        self.cpus[cpu].current == NONE
    }

    /// The running epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch::from_bits(self.world.epoch)
    }

    /// Whether thread `thread` belongs to the world.
    pub(crate) fn is_world_thread(&self, thread: u32) -> bool {
        thread < self.threads.world()
    }

    /// Whether process `process` belongs to the world.
    pub(crate) fn is_world_process(&self, process: u32) -> bool {
        process < self.processes.world()
    }

    /// World time.
    pub(crate) fn world_time(&self, m: &mut impl Machine) -> u64 {
        m.now_ns().wrapping_add(self.time_offset)
    }

    /// The next ticket, behind all others.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The next ticket, before all others: whoever is put in front of a queue is there again after a restore.
    pub(crate) fn front_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        // As far before the middle.
        self.last_ticket.wrapping_neg()
    }

    /// Registers of a thread, wherever they are.
    pub(crate) fn registers(&self, thread: u32) -> &Registers {
        match self.threads.beside(thread).cpu() {
            None => &self.threads.get(thread).registers,
            Some(cpu) => &self.cpus[cpu].frame,
        }
    }

    /// Registers of a thread, wherever they are, to be changed.
    pub(crate) fn registers_mut(&mut self, thread: u32) -> &mut Registers {
        match self.threads.beside(thread).cpu() {
            None => &mut self.threads.change(thread).registers,
            Some(cpu) => &mut self.cpus[cpu].frame,
        }
    }

    /// Sets how a thread's call ended.
    pub(crate) fn finish(&mut self, thread: u32, status: Status) {
        self.registers_mut(thread).rax = Outcome::of(status).0;
    }
}
