//! The steps of a boot, each a method of [`Boot`]; the binary calls them in order.

use crate::acpi::Topology;
use crate::apic::{IoApics, LocalApic, silence_old_controllers};
use crate::clock::Clock;
use crate::firmware::Firmware;
use crate::halt::allow_exit;
use crate::kernel::{self, State};
use crate::layout::{LOCAL_APIC, PAGE, PHYSMAP, StackKind};
use crate::machine::Hardware;
use crate::memory::BootMemory;
use crate::paging::KernelSpace;
use crate::processor;
use crate::processors;
use crate::report::refuse;
use crate::serial::say;
use crate::start::{MAILBOX, Mailbox, high_64, prepare_ap_page};
use crate::symbols;
use crate::{dispatch, init, sizes};
use abi::PAGE_SIZE;
use abi::bundle::Bundle;
use kernel_core::Kernel;
use records::Arena;

/// A machine on its way up.
pub struct Boot {
    /// What the loader told.
    pub firmware: Firmware,
    pub(crate) memory: BootMemory,
    topology: Topology,
    space: KernelSpace,
    pub(crate) cpus: usize,
}

impl Boot {
    /// Looks at what the loader told; refuses a machine that cannot work. Makes the kernel's own page tables.
    pub(crate) fn survey(firmware: Firmware) -> Self {
        allow_exit(firmware.option("exit").is_some());
        say!("kernel: Perennial {}", env!("CARGO_PKG_VERSION"));
        processor::require();
        let mut memory = BootMemory::survey(&firmware);
        if memory.total < sizes::MEMORY_BYTES_MIN {
            // What firmware keeps for itself is less than a MiB.
            memory.refuse_as_too_small(sizes::MEMORY_BYTES_MIN.div_ceil(1 << 20) + 1);
        }
        // SAFETY: the boot tables are loaded.
        let topology = unsafe { Topology::read(firmware.rsdp) };
        // SAFETY: the boot tables are loaded; memory below 1 MiB is never given away.
        unsafe { prepare_ap_page() };
        let cpus = topology.processors.len().max(1);
        if topology.left_out > 0 {
            say!("kernel: {} more processors than there is room for are left out", topology.left_out);
        }
        // SAFETY: the boot tables are loaded; `BootMemory` takes from below 4 GiB.
        let space = unsafe { KernelSpace::new(&mut memory, cpus, firmware.bundle.as_ref()) };
        Self { firmware, memory, topology, space, cpus: 1 }
    }

    /// Goes on with `next` in the kernel's own page tables, without the loader's identity mapping, on the first CPU's own
    /// stack, below which a page is not mapped.
    pub(crate) fn on_own_stack(mut self, next: extern "C" fn(&mut Boot) -> !) -> ! {
        let (root, stack_top, argument) = (self.space.root, StackKind::Main.top(0), &raw mut self as u64);
        // SAFETY: 1. no other processor is on its way in; the stack is mapped (`survey`), the firmware's tables have been
        // read, and code, boot stack and physmap keep their addresses; 2. this function never returns, so `self` stays.
        unsafe {
            *MAILBOX.get() = Mailbox { root, argument, next: next as *const (), stack_top };
            high_64()
        }
    }

    /// Checks the boot bundle; refuses to go on without.
    pub fn open_bundle(&self) -> Bundle<'static> {
        let Some(range) = self.firmware.bundle.clone().filter(|range| !range.is_empty()) else {
            refuse(format_args!("the loader gave no boot bundle (in QEMU: -initrd FILE)"))
        };
        let (start, bytes) = ((PHYSMAP + range.start) as *const u8, (range.end - range.start) as usize);
        // SAFETY: 1. mapped read-only for ever (`KernelSpace::new`); 2. no one else writes to it: it is no free memory.
        let contents = unsafe { core::slice::from_raw_parts(start, bytes) };
        let bundle = Bundle::open(contents)
            .unwrap_or_else(|error| refuse(format_args!("the boot bundle is damaged ({error}); build it again")));
        // SAFETY: only the first processor runs.
        unsafe { symbols::remember(bundle) };
        bundle
    }

    /// Switches on this CPU's features, interrupt controllers and the clock.
    pub fn start_clock(&mut self) -> Clock {
        silence_old_controllers();
        assert_eq!(self.space.map_device(&mut self.memory, LocalApic::physical()), LOCAL_APIC);
        // SAFETY: stacks are mapped and the kernel's tables loaded (`survey`).
        unsafe { processors::prepare(0) };
        processor::announce();
        Clock::measure(LocalApic)
            .unwrap_or_else(|| refuse(format_args!("the interval timer stands still, so time cannot be measured")))
    }

    /// Starts the other processors.
    pub fn start_processors(&mut self, clock: &Clock) {
        // SAFETY: `survey` has prepared the page and mapped a stack for each.
        self.cpus = unsafe { processors::start_all(&self.topology.processors, self.space.root, clock) };
        say!(
            "kernel: {} CPU{}, {} MiB of memory, clock {} MHz",
            self.cpus,
            if self.cpus == 1 { "" } else { "s" },
            self.memory.total >> 20,
            clock.tsc_hz / 1_000_000
        );
    }

    /// Makes the core's state from what memory is left, and lets the other processors wait for work.
    pub fn make_kernel(&mut self, clock: Clock) {
        let scale = sizes::scale(self.firmware.option(sizes::OPTION));
        let topology = core::mem::take(&mut self.topology);
        let target = LocalApic.id();
        let (space, memory) = (&mut self.space, &mut self.memory);
        let io_apics = IoApics::new(topology, target, |physical| space.map_device(memory, physical));
        let capacities = sizes::choose(self.memory.total, self.memory.end_below(u64::MAX), self.cpus, scale);
        let pool = self.memory.take(capacities.tables.into());
        let kernel = Kernel::new(&mut self.memory, &capacities);
        let hardware = Hardware {
            io_apics,
            clock,
            last_ns: 0,
            root: self.space.root,
            pool,
            pool_tables: capacities.tables,
            ram: self.memory.all.clone(),
            cpus: self.cpus,
            idle: !1,
            void: &mut self.memory.slab(1, [0; PAGE_SIZE])[0],
        };
        // SAFETY: only the first processor looks at it; the others wait for `release_all`.
        unsafe { kernel::install(State { kernel, hardware, init: u32::MAX }) };
        let cpus = &mut kernel::with_state().kernel.cpus;
        // SAFETY: the state stays in its place for ever; ours is the first.
        unsafe { processors::adopt(0, &raw mut cpus.first) };
        // The others find theirs by their numbers, which begin with 1.
        processors::release_all(cpus.others.as_mut_ptr().wrapping_sub(1));
    }

    /// Makes the first process from the bundle, and runs threads from now on.
    pub fn start_init(&mut self, bundle: &Bundle<'static>) -> ! {
        let process = init::make(self, bundle);
        say!("kernel: started init");
        dispatch::begin(process)
    }
}

const _: () = assert!(PAGE == 4096);
