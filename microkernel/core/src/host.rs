//! A machine made of maps, for tests, exploration and simulation: it can be cloned, compared and hashed.

use crate::space::ACCESSED;
use crate::{Machine, TableId, VectorState};
use abi::{PAGE_SIZE, Registers};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Vector registers of the one CPU, where a test has given it some.
    pub vector: Option<Arc<[u64; 104]>>,
    /// Pages for which CPUs may remember more than the tables now say, where a test wants that to be known.
    stale: Option<BTreeSet<(usize, u64)>>,
}

/// What a page is mapped to: the frame, whether it may be written, whether it may be executed.
type Translation = (u32, bool, bool);

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

    /// A CPU accesses a page of the space with this root: so its leaf says, if it has one.
    pub fn access(&mut self, root: TableId, address: u64) {
        let mut table = root;
        for level in (1..4).rev() {
            let entry = self.table_entry(table, (address >> (12 + 9 * level)) as usize & 511);
            if entry & 1 == 0 {
                return;
            }
            table = self.table_at(entry & 0x000f_ffff_ffff_f000);
        }
        let leaf = (table, (address >> 12) as u16 & 511);
        if self.tables.get(&leaf).is_some_and(|entry| entry & (1 | ACCESSED) == 1) {
            *Arc::make_mut(&mut self.tables).get_mut(&leaf).expect("found above") |= ACCESSED;
        }
    }

    /// From now on it is known what CPUs may remember of their tables.
    pub fn remember_translations(&mut self) {
        self.stale = Some(BTreeSet::new());
    }

    /// A CPU and a page of its space for which it may remember what the tables no longer say: there must be none when the
    /// kernel returns.
    pub fn stale_translation(&self) -> Option<(usize, u64)> {
        self.stale.as_ref()?.first().copied()
    }

    /// All that is mapped below a table, by address.
    fn translations(&self, table: TableId, level: u32, base: (u64, Translation), to: &mut BTreeMap<u64, Translation>) {
        for (index, entry) in self.entries(table).filter(|(_, entry)| entry & 1 != 0) {
            let (address, (_, writable, executable)) = base;
            let address = address | u64::from(index) << (12 + 9 * level);
            let frame = (entry >> 12) as u32;
            let found = (frame, writable && entry & 2 != 0, executable && entry >> 63 == 0);
            match level {
                0 => drop(to.insert(address, found)),
                _ => self.translations(self.table_at(entry & 0x000f_ffff_ffff_f000), level - 1, (address, found), to),
            }
        }
    }

    /// What each CPU finds in its space.
    fn found(&self) -> Vec<(usize, BTreeMap<u64, Translation>)> {
        let spaces = self.loaded.iter().filter_map(|(&cpu, &root)| Some((cpu, root?)));
        spaces
            .map(|(cpu, root)| {
                let mut found = BTreeMap::new();
                self.translations(root, 3, (0, (0, true, true)), &mut found);
                (cpu, found)
            })
            .collect()
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
        let old = self.table_entry(table, index);
        if entry == old {
            return;
        }
        let before = if old & 1 != 0 && self.stale.is_some() { self.found() } else { Vec::new() };
        match entry {
            0 => Arc::make_mut(&mut self.tables).remove(&(table, index as u16)),
            entry => Arc::make_mut(&mut self.tables).insert((table, index as u16), entry),
        };
        if before.is_empty() {
            return;
        }
        let after = self.found();
        for ((cpu, before), (_, after)) in before.into_iter().zip(after) {
            let still = |&(address, had): &(u64, Translation)| {
                after.get(&address).is_some_and(|now| now.0 == had.0 && now.1 >= had.1 && now.2 >= had.2)
            };
            let gone = before.into_iter().filter(|page| !still(page)).map(|(address, _)| (cpu, address));
            if let Some(stale) = &mut self.stale {
                stale.extend(gone);
            }
        }
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

    fn load_space(&mut self, cpu: usize, root: Option<u64>) {
        self.loaded.insert(cpu, root.map(|root| self.table_at(root)));
        self.flush(1 << cpu, None);
    }

    fn flush(&mut self, cpus: u64, page: Option<u64>) {
        let page = page.map(|address| address & !(PAGE_SIZE as u64 - 1));
        let kept = |&(cpu, of): &(usize, u64)| cpus >> cpu & 1 == 0 || page.is_some_and(|page| page != of);
        self.stale.iter_mut().for_each(|stale| stale.retain(kept));
    }

    fn copy_frame(&mut self, from: u32, to: u32) {
        match self.frames.get(&from).cloned() {
            Some(bytes) => self.frames.insert(to, bytes),
            None => self.frames.remove(&to),
        };
    }

    fn frame(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE] {
        self.bytes(frame)
    }

    fn save_vector(&mut self, to: &mut VectorState) {
        self.vector.iter().for_each(|vector| to.0 = **vector);
    }

    fn load_vector(&mut self, from: &VectorState) {
        self.vector.iter_mut().for_each(|vector| *vector = Arc::new(from.0));
    }

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
