//! A machine made of maps, for tests, exploration and simulation: it can be cloned, compared and hashed.

use crate::{Machine, TableId, VectorState};
use abi::{PAGE_SIZE, Registers};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A machine without hardware. Page tables and frames are sparse maps; what is not in them is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostMachine {
    /// Time since boot; moved by the test.
    pub now_ns: u64,
    /// One-shot timers that are armed, by CPU.
    pub timers: BTreeMap<usize, u64>,
    /// CPUs that have been asked to look, and have not yet.
    pub kicked: std::collections::BTreeSet<usize>,
    /// Root table that each CPU has loaded.
    pub loaded: BTreeMap<usize, Option<TableId>>,
    /// Masked interrupt lines.
    pub masked: std::collections::BTreeSet<u32>,
    /// What was written to I/O ports, the last value of each.
    pub ports: BTreeMap<u16, u32>,
    /// What was written to the debug port.
    pub debug: Vec<u8>,
    tables: Arc<BTreeMap<(TableId, u16), u64>>,
    frames: BTreeMap<u32, Arc<Frame>>,
    vectors: BTreeMap<usize, Vec<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Frame([u8; PAGE_SIZE]);

/// Physical address of table 0.
const TABLES: u64 = 1 << 40;

impl HostMachine {
    /// Translation of `address` in the space with this root, by the rules of the hardware: the frame, and whether it
    /// may be written. What the CPU's own memory of translations would still allow is not modelled.
    pub fn translate(&self, root: TableId, address: u64) -> Option<(u32, bool)> {
        let (mut table, mut writable) = (root, true);
        for level in (0..4).rev() {
            let entry = self.table_entry(table, (address >> (12 + 9 * level)) as usize & 511);
            if entry & 1 == 0 {
                return None;
            }
            writable &= entry & 2 != 0;
            if level == 0 {
                return Some(((entry >> 12) as u32, writable));
            }
            table = self.table_at(entry & 0x000f_ffff_ffff_f000);
        }
        None
    }

    /// Entries of a table that are not 0, by index.
    pub fn entries(&self, table: TableId) -> impl Iterator<Item = (u16, u64)> {
        self.tables.range((table, 0)..=(table, u16::MAX)).map(|(&(_, index), &entry)| (index, entry))
    }

    /// The first byte of each frame in which that is not 0.
    pub fn first_bytes(&self) -> impl Iterator<Item = (u32, u8)> {
        self.frames.iter().map(|(&frame, bytes)| (frame, bytes.0[0])).filter(|&(_, byte)| byte != 0)
    }

    /// Bytes of a frame, to be written.
    pub fn bytes(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE] {
        &mut Arc::make_mut(self.frames.entry(frame).or_insert_with(|| Arc::new(Frame([0; PAGE_SIZE])))).0
    }
}

impl Machine for HostMachine {
    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn set_timer(&mut self, cpu: usize, at_ns: u64) {
        self.timers.insert(cpu, at_ns);
    }

    fn kick(&mut self, cpu: usize) {
        self.kicked.insert(cpu);
    }

    fn stop_others(&mut self, _cpu: usize) {}

    fn table_entry(&self, table: TableId, index: usize) -> u64 {
        self.tables.get(&(table, index as u16)).copied().unwrap_or_default()
    }

    fn set_table_entry(&mut self, table: TableId, index: usize, entry: u64) {
        if entry == self.table_entry(table, index) {
            return;
        }
        match entry {
            0 => Arc::make_mut(&mut self.tables).remove(&(table, index as u16)),
            entry => Arc::make_mut(&mut self.tables).insert((table, index as u16), entry),
        };
    }

    fn update_entries(&mut self, table: TableId, first: usize, count: usize, mut update: impl FnMut(u64) -> u64) {
        assert!(first + count <= 512, "entries of one table");
        for index in first..first + count {
            let entry = update(self.table_entry(table, index));
            self.set_table_entry(table, index, entry);
        }
    }

    fn clear_table(&mut self, table: TableId, _root: bool) {
        Arc::make_mut(&mut self.tables).retain(|&(of, _), _| of != table);
    }

    fn table_address(&self, table: TableId) -> u64 {
        TABLES + u64::from(table) * PAGE_SIZE as u64
    }

    fn table_at(&self, address: u64) -> TableId {
        ((address - TABLES) / PAGE_SIZE as u64) as TableId
    }

    fn load_space(&mut self, cpu: usize, root: Option<TableId>) {
        self.loaded.insert(cpu, root);
    }

    fn flush(&mut self, _cpus: u64, _page: Option<u64>) {}

    fn copy_frame(&mut self, from: u32, to: u32) {
        match self.frames.get(&from).cloned() {
            Some(bytes) => self.frames.insert(to, bytes),
            None => self.frames.remove(&to),
        };
    }

    fn frame(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE] {
        self.bytes(frame)
    }

    fn save_vector(&mut self, _to: &mut VectorState) {}

    fn load_vector(&mut self, _from: &VectorState) {}

    fn save_vector_of(&mut self, cpu: usize, to: &mut VectorState) {
        if let Some(words) = self.vectors.get(&cpu) {
            to.0.copy_from_slice(words);
        }
    }

    fn sanitize(&self, registers: &mut Registers) {
        registers.rflags = registers.rflags & 0xcd5 | 0x202;
        registers.rip &= abi::USER_END - 1;
        registers.rsp &= abi::USER_END - 1;
    }

    fn route_interrupt(&mut self, line: u32) -> (u64, u64) {
        if line < 24 { (0, 0) } else { (0xfee0_0000, u64::from(line)) }
    }

    fn mask_interrupt(&mut self, line: u32, masked: bool) {
        if masked {
            self.masked.insert(line);
        } else {
            self.masked.remove(&line);
        }
    }

    fn port_read(&mut self, port: u16, _width: u8) -> u32 {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    fn port_write(&mut self, port: u16, _width: u8, value: u32) {
        self.ports.insert(port, value);
    }

    fn debug_write(&mut self, bytes: &[u8]) {
        self.debug.extend_from_slice(bytes);
    }
}
