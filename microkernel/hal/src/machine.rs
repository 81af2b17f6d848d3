//! What the core asks of the machine, answered by this one.

use crate::apic::{ENTER, IoApics, LocalApic};
use crate::clock::Clock;
use crate::firmware::MAP_MAX;
use crate::instructions::{copy_page, load_vectors, save_vectors, set_cr3};
use crate::layout::{PAGE, PHYSMAP};
use crate::{lock, processors, serial};
use abi::{PAGE_SIZE, Registers, USER_END};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use heapless::Vec;
use kernel_core::{Machine, TableId, VectorState};
use x86_64::VirtAddr;
use x86_64::instructions::tlb;
use x86_64::structures::port::{PortRead, PortWrite};

const ENTRIES: usize = 512;
/// Entries that are changed in one turn of a loop.
const UNROLLED: usize = 8;
const KERNEL_HALF: usize = ENTRIES / 2;

/// Flags that are a program's own: carry, parity, adjust, zero, sign, trap, direction, overflow, alignment check, id.
const USER_FLAGS: u64 = 0x24_0dd5;
/// Always there: bit 1, and interrupts on.
const FIXED_FLAGS: u64 = 0x202;

/// The hardware as the core sees it.
pub(crate) struct Hardware {
    pub(crate) io_apics: IoApics,
    pub(crate) clock: Clock,
    /// Latest time given out.
    pub(crate) last_ns: u64,
    /// Root of the kernel's own address space.
    pub(crate) root: u64,
    /// Physical address of the first page-table page, and how many there are.
    pub(crate) pool: u64,
    pub(crate) pool_tables: u32,
    /// RAM that the physmap maps.
    pub(crate) ram: Vec<Range<u64>, MAP_MAX>,
    /// CPUs that run.
    pub(crate) cpus: usize,
    /// CPUs that are not there, or wait for an interrupt without a thread, a bit each; they have the kernel's own space
    /// loaded, and run no program before they get the lock.
    pub(crate) idle: u64,
    /// Stands in for frames that are no RAM, so that no capability makes the kernel touch an address it has not mapped.
    pub(crate) void: &'static mut [u8; PAGE_SIZE],
}

impl Hardware {
    /// A page-table page. Atomic, as the CPUs set accessed and dirty bits behind our back.
    #[inline(always)]
    fn table(&self, table: TableId) -> &[AtomicU64; ENTRIES] {
        assert!(table < self.pool_tables);
        table_in_physmap(self.table_address(table))
    }

    fn page(&mut self, frame: u32) -> *mut u8 {
        let start = u64::from(frame) * PAGE;
        if self.ram.iter().any(|span| span.contains(&start)) {
            (PHYSMAP + start) as *mut u8
        } else {
            self.void.as_mut_ptr()
        }
    }

    /// Stops those that run a program, and drops their translations.
    fn stop(&self, cpus: u64) {
        let running = cpus & !self.idle;
        if running != 0 {
            lock::stop_others(running, |cpu| LocalApic.send(processors::apic_id(cpu), ENTER));
        }
    }
}

/// The page-table page at this physical address: of the pool, or the kernel's root.
#[inline(always)]
fn table_in_physmap<'a>(address: u64) -> &'a [AtomicU64; ENTRIES] {
    // SAFETY: 1. a whole page that the physmap maps, for ever; 2. any words will do, and all who look at it do so by this;
    // 3. what the entries map is programs' halves of address spaces, which the kernel never touches.
    unsafe { &*((PHYSMAP + address) as *const _) }
}

impl Machine for Hardware {
    fn now_ns(&mut self) -> u64 {
        // The counters of two CPUs may differ a little; time does not go back between them.
        self.last_ns = self.last_ns.max(self.clock.now_ns());
        self.last_ns
    }

    fn set_timer(&mut self, _cpu: usize, at_ns: u64) {
        let now = self.now_ns();
        let ticks = self.clock.timer_ticks(at_ns.saturating_sub(now));
        LocalApic.start_timer(ticks);
    }

    fn kick(&mut self, cpu: usize) {
        LocalApic.send(processors::apic_id(cpu), ENTER);
    }

    fn stop_others(&mut self, cpu: usize) {
        self.stop(!(1 << cpu));
    }

    #[inline(always)]
    fn table_entry(&self, table: TableId, index: usize) -> u64 {
        self.table(table)[index].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_table_entry(&mut self, table: TableId, index: usize, entry: u64) {
        self.table(table)[index].store(entry, Ordering::Relaxed);
    }

    fn update_entries(&mut self, table: TableId, first: usize, count: usize, mut update: impl FnMut(u64) -> u64) {
        let mut change = |entry: &AtomicU64| entry.store(update(entry.load(Ordering::Relaxed)), Ordering::Relaxed);
        let (turns, rest) = self.table(table)[first..first + count].as_chunks::<UNROLLED>();
        turns.iter().for_each(|turn| turn.iter().for_each(&mut change));
        rest.iter().for_each(change);
    }

    fn clear_table(&mut self, table: TableId, root: bool) {
        let kernel = table_in_physmap(self.root);
        for (index, (entry, shared)) in self.table(table).iter().zip(kernel).enumerate() {
            let keep = root && index >= KERNEL_HALF;
            entry.store(if keep { shared.load(Ordering::Relaxed) } else { 0 }, Ordering::Relaxed);
        }
    }

    fn table_address(&self, table: TableId) -> u64 {
        self.pool + u64::from(table) * PAGE
    }

    fn table_at(&self, address: u64) -> TableId {
        ((address - self.pool) / PAGE) as TableId
    }

    fn load_space(&mut self, _cpu: usize, root: Option<u64>) {
        // SAFETY: the kernel's own root, or one of the pool (the core has it from `table_address`) whose upper half is
        // the same (`clear_table`).
        unsafe { set_cr3(root.unwrap_or(self.root)) }
    }

    fn flush(&mut self, cpus: u64, page: Option<u64>) {
        // Where there is one only, a fast call may come here with the program's GS.
        let own = if self.cpus == 1 { 0 } else { processors::current() };
        if cpus >> own & 1 == 1 {
            match page {
                Some(page) => tlb::flush(VirtAddr::new_truncate(page)),
                None => tlb::flush_all(),
            }
        }
        self.stop(cpus & !(1 << own));
    }

    fn copy_frame(&mut self, from: u32, to: u32) {
        let (from, to) = (self.page(from), self.page(to));
        // SAFETY: both are mapped whole pages (`page`).
        unsafe { copy_page(from, to) }
    }

    fn frame(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE] {
        let page = self.page(frame);
        // SAFETY: 1. a mapped page; 2. any bytes will do; 3. borrowed from `self`, so the kernel has it once. Programs
        // may write to it at the same time: what is read from it is checked as any foreign bytes are.
        unsafe { &mut *page.cast() }
    }

    fn save_vector(&mut self, to: &mut VectorState) {
        save_vectors(to);
    }

    fn load_vector(&mut self, from: &VectorState) {
        // SAFETY: the core loads what the CPU has saved or `VectorState::is_valid` has accepted.
        unsafe { load_vectors(from) }
    }

    fn save_vector_of(&mut self, cpu: usize, to: &mut VectorState) {
        *to = lock::parked_vectors(cpu);
    }

    fn sanitize(&self, registers: &mut Registers) {
        registers.rflags = registers.rflags & USER_FLAGS | FIXED_FLAGS;
        if registers.rip >= USER_END {
            // Faults at once, as the thread's own fault.
            registers.rip = 0;
        }
        // Any canonical address: what is loaded through it is looked at then.
        registers.fs_base = VirtAddr::new_truncate(registers.fs_base).as_u64();
    }

    fn route_interrupt(&mut self, line: u32) -> (u64, u64) {
        self.io_apics.route(line)
    }

    fn mask_interrupt(&mut self, line: u32, masked: bool) {
        self.io_apics.mask(line, masked);
    }

    fn port_read(&mut self, port: u16, width: u8) -> u32 {
        // SAFETY: what a device does with memory when told is up to whoever holds the capability for its ports: init
        // gives these to drivers, whose devices are part of what the machine trusts.
        unsafe {
            match width {
                1 => u32::from(u8::read_from_port(port)),
                2 => u32::from(u16::read_from_port(port)),
                _ => u32::read_from_port(port),
            }
        }
    }

    fn port_write(&mut self, port: u16, width: u8, value: u32) {
        // SAFETY: as `port_read`.
        unsafe {
            match width {
                1 => u8::write_to_port(port, value as u8),
                2 => u16::write_to_port(port, value as u16),
                _ => u32::write_to_port(port, value),
            }
        }
    }

    fn debug_write(&mut self, bytes: &[u8]) {
        bytes.iter().copied().for_each(serial::put);
    }
}
