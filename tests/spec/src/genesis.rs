//! Building universes: init makes processes, threads and objects through real calls, hands out capabilities, starts
//! the world, and goes to sleep.

use crate::event::{Frame, Op};
use crate::sim::Sim;
use abi::{Call, Epoch, Handle, Kind, Rights, Status, Timeout};
use kernel_core::{Capacities, Counts, HostMachine, Kernel};
use records::HostArena;

/// Init's handle for its Budget of volatile objects.
pub(crate) const VOLATILE: u16 = abi::boot_info::handle::BUDGET.0;
/// Init's handle for its Budget of objects of the world.
pub(crate) const WORLD: u16 = abi::boot_info::handle::WORLD_BUDGET.0;
/// Init's handle for the Epoch object.
pub(crate) const EPOCH: u16 = abi::boot_info::handle::EPOCH.0;
/// Init's handle for its interrupts.
pub(crate) const INTERRUPTS: u16 = abi::boot_info::handle::INTERRUPTS.0;
/// Init's handle for all I/O ports.
pub(crate) const PORTS: u16 = abi::boot_info::handle::PORTS.0;
/// Init's handle for its memory.
pub const MEMORY: u16 = 16;

/// Frames of memory; the upper half is init's.
const FRAMES: u32 = 64;
/// Handles of a process, the null handle included.
pub(crate) const HANDLES: u16 = 16;
const ENTRY: u64 = 0x40_0000;
const STACK: u64 = 0x50_0000;

/// A universe in the making: init runs on CPU 0.
pub struct Genesis {
    /// What there is so far.
    pub sim: Sim,
}

/// A process as init knows it.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Init's handle for it.
    pub handle: u16,
    /// Number of the object.
    pub index: u32,
}

impl Genesis {
    /// A small machine on which only init runs.
    pub fn new(mut world: [u32; 6], volatile: [u32; 6], cpus: u32) -> Self {
        // Slots of a process lie at a multiple of their number: init's 32 come right after the world's.
        world[5] = world[5].next_multiple_of(32);
        Self::with(&Capacities {
            world: Counts(world),
            // Init itself takes a process, a thread and 32 slots; the root budget one budget.
            volatile: Counts([
                volatile[0] + 1,
                volatile[1] + 1,
                volatile[2],
                volatile[3],
                volatile[4] + 1,
                volatile[5] + 32,
            ]),
            cpus,
            tables: 16,
            frames: FRAMES,
            log: 2,
            donated: 2,
            interrupts: 4,
        })
    }

    /// A machine with room for more than anybody asks for.
    pub fn roomy() -> Self {
        let many = Counts([32, 32, 64, 64, 32, 2048]);
        let (world, volatile) = (many, many);
        let (cpus, tables, frames, log, donated, interrupts) = (1, 64, FRAMES, 64, 64, 64);
        Self::with(&Capacities { world, volatile, cpus, tables, frames, log, donated, interrupts })
    }

    fn with(capacities: &Capacities) -> Self {
        let mut kernel = Kernel::new(&mut HostArena, capacities);
        let mut m = HostMachine::default();
        let boot = kernel.boot_process(&mut m, 32, ENTRY, STACK, 0).expect("boots");
        kernel.boot_range(boot.process, Handle(MEMORY), Kind::Memory, FRAMES / 2..FRAMES, true).expect("a free handle");
        kernel.boot_start(&mut m, 0, boot);
        let (store, frozen) = Default::default();
        Self { sim: Sim { kernel, m, store, exports_at_once: false, frozen } }
    }

    /// A call by init that must succeed; its registers after it.
    pub fn call(&mut self, op: Op) -> Frame {
        self.sim.call(0, op.frame);
        let after = Frame::of(&self.sim.kernel.cpus[0].frame);
        assert_eq!(after.outcome().status(), Status::Ok, "{:?} {:x?}", op.call, op.frame);
        after
    }

    fn create(&mut self, budget: u16, kind: Kind, words: &[u64], cap: u16) -> Made {
        let handle = self.call(Op::new(Call::Create, budget).with(kind as u64, words).objects(&[cap])).rdi as u16;
        let index = self.call(Op::new(Call::Identify, handle)).words[2] as u32;
        Made { handle, index }
    }

    /// A process with `HANDLES` handles.
    pub fn process(&mut self, budget: u16) -> Made {
        self.create(budget, Kind::Process, &[u64::from(HANDLES)], 0)
    }

    /// A started thread.
    pub fn thread(&mut self, budget: u16, process: Made, priority: u8) -> Made {
        let thread = self.create(budget, Kind::Thread, &[ENTRY, STACK, 0, u64::from(priority)], process.handle);
        self.call(Op::new(Call::Start, thread.handle));
        thread
    }

    /// An endpoint; with a service id, a port.
    pub fn endpoint(&mut self, budget: u16, service: u64) -> Made {
        self.create(budget, Kind::Endpoint, &[service], 0)
    }

    /// A notification.
    pub fn notification(&mut self, budget: u16) -> Made {
        self.create(budget, Kind::Notification, &[], 0)
    }

    /// A budget split off.
    pub fn budget(&mut self, from: u16, counts: [u64; 6]) -> Made {
        self.create(from, Kind::Budget, &counts, 0)
    }

    /// Copies a capability into a process; the handle there.
    pub fn grant(&mut self, to: Made, cap: u16, rights: Rights, badge: u64) -> u16 {
        self.call(Op::grant(to.handle, cap, rights, badge)).rdi as u16
    }

    /// Leaves a process only its last `free` handles: those before are filled with copies of `cap` that can do nothing.
    /// Handles that nobody names could only multiply states by what happens to lie there.
    pub fn leave_free(&mut self, process: Made, cap: u16, free: u16) {
        let of_it = |held: &kernel_core::Held<'_>| held.process == process.index && held.handle != 0;
        let used = self.sim.kernel.each_capability().filter(of_it).count() as u16;
        for _ in used + 1..HANDLES - free {
            self.grant(process, cap, Rights::empty(), 0);
        }
    }

    /// Starts the world.
    pub fn resume(&mut self) {
        let first = Epoch::first_of(1).expect("fits").bits();
        self.call(Op::new(Call::Resume, EPOCH).with(first, &[]));
    }

    /// Init goes to sleep for ever; the universe is what is left.
    pub fn sleep(self) -> Sim {
        self.sleep_for(Timeout::FOREVER)
    }

    /// Init goes to sleep.
    pub fn sleep_for(mut self, time: Timeout) -> Sim {
        self.sim.call(0, Op::new(Call::Wait, 0).within(time).frame);
        self.sim.kernel.check(&self.sim.m).expect("a sound universe");
        self.sim
    }
}
