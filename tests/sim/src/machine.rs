//! The hardware under the kernel: the core's machine of maps, and what that leaves out: each CPU's own memory of
//! translations, which the kernel must flush, and the walk that fills it.

use abi::fault::Access;
use abi::{PAGE_SIZE, Registers};
use kernel_core::{HostMachine, Machine as KernelMachine, TableId, VectorState};
use std::collections::BTreeMap;

/// What a CPU remembers of a page.
#[derive(Clone, Copy, Debug)]
struct Translation {
    frame: u32,
    writable: bool,
}

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    host: HostMachine,
    remembered: Vec<BTreeMap<u64, Translation>>,
}

impl Machine {
    pub(crate) fn new(cpus: usize) -> Self {
        Self { host: HostMachine::default(), remembered: vec![BTreeMap::new(); cpus] }
    }

    pub(crate) fn now(&self) -> u64 {
        self.host.now_ns
    }

    pub(crate) fn advance(&mut self, ns: u64) {
        self.host.now_ns += ns;
    }

    /// Whether the timer of a CPU is due; it is then no longer armed.
    pub(crate) fn take_due_timer(&mut self, cpu: usize) -> bool {
        let due = self.host.timers.get(&cpu).is_some_and(|&at| at <= self.host.now_ns);
        if due {
            self.host.timers.remove(&cpu);
        }
        due
    }

    /// The earliest timer of all CPUs.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        self.host.timers.values().copied().min()
    }

    pub(crate) fn take_kick(&mut self, cpu: usize) -> bool {
        self.host.kicked.remove(&cpu)
    }

    pub(crate) fn bytes(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE] {
        self.host.bytes(frame)
    }

    /// The frame behind an address, by what the CPU remembers or else by its page tables; or what the fault says.
    pub(crate) fn access(&mut self, cpu: usize, address: u64, write: bool) -> Result<u32, Access> {
        let page = address / PAGE_SIZE as u64;
        if let Some(&known) = self.remembered[cpu].get(&page) {
            if !write || known.writable {
                return Ok(known.frame);
            }
            // A fault makes the CPU forget.
            self.remembered[cpu].remove(&page);
            return Err(Access::WRITE | Access::PRESENT);
        }
        let root = self.host.loaded.get(&cpu).copied().flatten();
        let kind = if write { Access::WRITE } else { Access::empty() };
        let found = root.and_then(|root| Some((root, self.host.translate(root, address)?)));
        let Some((root, (frame, writable))) = found else { return Err(kind) };
        if write && !writable {
            return Err(kind | Access::PRESENT);
        }
        self.host.access(root, address);
        self.remembered[cpu].insert(page, Translation { frame, writable });
        Ok(frame)
    }

    /// The machine without what CPUs remember.
    pub(crate) fn host(&self) -> &HostMachine {
        &self.host
    }

    /// Reads an aligned word of a frame.
    pub(crate) fn read(&mut self, frame: u32, address: u64) -> u64 {
        let at = address as usize % PAGE_SIZE;
        let mut word = [0; 8];
        word.copy_from_slice(&self.host.bytes(frame)[at..at + 8]);
        u64::from_le_bytes(word)
    }

    /// Writes an aligned word of a frame.
    pub(crate) fn write(&mut self, frame: u32, address: u64, value: u64) {
        let at = address as usize % PAGE_SIZE;
        self.host.bytes(frame)[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

impl KernelMachine for Machine {
    fn now_ns(&mut self) -> u64 {
        self.host.now_ns
    }

    fn set_timer(&mut self, cpu: usize, at_ns: u64) {
        self.host.set_timer(cpu, at_ns);
    }

    fn kick(&mut self, cpu: usize) {
        self.host.kick(cpu);
    }

    fn stop_others(&mut self, cpu: usize) {
        self.host.stop_others(cpu);
    }

    fn table_entry(&self, table: TableId, index: usize) -> u64 {
        self.host.table_entry(table, index)
    }

    fn set_table_entry(&mut self, table: TableId, index: usize, entry: u64) {
        self.host.set_table_entry(table, index, entry);
    }

    fn update_entries(&mut self, table: TableId, first: usize, count: usize, update: impl FnMut(u64) -> u64) {
        self.host.update_entries(table, first, count, update);
    }

    fn clear_table(&mut self, table: TableId, root: bool) {
        self.host.clear_table(table, root);
    }

    fn table_address(&self, table: TableId) -> u64 {
        self.host.table_address(table)
    }

    fn table_at(&self, address: u64) -> TableId {
        self.host.table_at(address)
    }

    fn load_space(&mut self, cpu: usize, root: Option<u64>) {
        self.remembered[cpu].clear();
        self.host.load_space(cpu, root);
    }

    fn flush(&mut self, cpus: u64, page: Option<u64>) {
        for (cpu, remembered) in self.remembered.iter_mut().enumerate().filter(|(cpu, _)| cpus >> cpu & 1 == 1) {
            debug_assert!(cpu < 64);
            match page {
                Some(address) => drop(remembered.remove(&(address / PAGE_SIZE as u64))),
                None => remembered.clear(),
            }
        }
    }

    fn copy_frame(&mut self, from: u32, to: u32) {
        self.host.copy_frame(from, to);
    }

    fn frame(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE] {
        self.host.bytes(frame)
    }

    fn save_vector(&mut self, to: &mut VectorState) {
        self.host.save_vector(to);
    }

    fn load_vector(&mut self, from: &VectorState) {
        self.host.load_vector(from);
    }

    fn save_vector_of(&mut self, cpu: usize, to: &mut VectorState) {
        self.host.save_vector_of(cpu, to);
    }

    fn sanitize(&self, registers: &mut Registers) {
        self.host.sanitize(registers);
    }

    fn route_interrupt(&mut self, line: u32) -> (u64, u64) {
        self.host.route_interrupt(line)
    }

    fn mask_interrupt(&mut self, line: u32, masked: bool) {
        self.host.mask_interrupt(line, masked);
    }

    fn port_read(&mut self, port: u16, width: u8) -> u32 {
        self.host.port_read(port, width)
    }

    fn port_write(&mut self, port: u16, width: u8, value: u32) {
        self.host.port_write(port, width, value);
    }

    fn debug_write(&mut self, bytes: &[u8]) {
        self.host.debug_write(bytes);
    }
}
