//! Address spaces: four-level page tables as a cache, filled from a bounded pool.
//!
//! Every page-table page carries the stamp of the epoch for which its write bits hold. Invariants, for the spaces of
//! world processes:
//! 1. A writable translation of a CPU goes through tables whose stamps are the running epoch's.
//! 2. A present leaf with its write bit set maps a frame that is untracked or dirty in the running epoch, if every
//!    table on its path has the running epoch's stamp.
//!
//! After a cut no table is touched but the roots that CPUs have loaded: a table with an older stamp has its write bits
//! cleared when a walk next comes by, and until then the entry above it is not writable.

use crate::decode::{Answer, Called, require};
use crate::object::NONE;
use crate::{Kernel, Machine, TableId};
use abi::{MapFlags, PAGE_SIZE, Status, USER_END, USER_START};
use records::{Arena, IndexSet, Slab, set_bits};

/// Entry bits of x86-64 page tables (Intel SDM vol. 3, 4.5).
pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITABLE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
pub(crate) const UNCACHED: u64 = 1 << 4;
/// Set by the processor.
pub(crate) const ACCESSED: u64 = 1 << 5;
/// Ours: the page may be written, once the first write of the epoch has been settled.
pub(crate) const MAY_WRITE: u64 = 1 << 9;
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
pub(crate) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Entries of a leaf table.
const LEAVES: usize = 512;

/// What a leaf table maps, in bytes.
pub(crate) const LEAF_BYTES: u64 = (LEAVES * PAGE_SIZE) as u64;

/// Tables that one step of tearing a space down frees.
const TEAR_DOWN_STEP_MAX: usize = 4;

/// What is derived for each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Space {
    pub(crate) root: TableId,
    /// While the process dies: none of its threads has a lower number.
    pub(crate) looked_at: u32,
}

impl Space {
    pub(crate) const NONE: Self = Self { root: NONE, looked_at: 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TableInfo {
    stamp: u32,
    /// Its present entries (of a root table, in the user half), a bit each: so that nobody looks through the others.
    present: [u64; LEAVES / 64],
}

impl TableInfo {
    const EMPTY: Self = Self { stamp: 0, present: [0; LEAVES / 64] };

    /// Notes that `count` entries from `first` on are present, or no longer.
    fn note(&mut self, first: usize, count: usize, present: bool) {
        set_bits(&mut self.present, first, first + count, present);
    }

    fn first(&self) -> Option<usize> {
        let word = self.present.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.present[word].trailing_zeros() as usize)
    }

    /// Calls `each` with the first entry and the length of each run of present ones; runs end with words.
    fn runs(&self, mut each: impl FnMut(usize, usize)) {
        for (at, &word) in self.present.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                let first = left.trailing_zeros();
                let count = (left >> first).trailing_ones();
                each(at * 64 + first as usize, count as usize);
                left &= u64::MAX.checked_shl(first + count).unwrap_or(0);
            }
        }
    }
}

/// Page-table pages.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub(crate) struct TablePool {
    tables: Slab<TableInfo>,
    pub(crate) free: IndexSet,
}

impl TablePool {
    pub(crate) fn new(arena: &mut impl Arena, count: u32) -> Self {
        Self { tables: arena.slab(count as usize, TableInfo::EMPTY), free: IndexSet::full(arena, count) }
    }

    /// Notes that an entry of a table is present.
    #[inline(always)]
    pub(crate) fn note_leaf(&mut self, table: TableId, index: usize) {
        if let Some(info) = self.tables.get_mut(table as usize) {
            info.present[index / 64 % (LEAVES / 64)] |= 1 << (index % 64);
        }
    }

    /// Whether a table's stamp is this one.
    #[inline(always)]
    pub(crate) fn is_stamped(&self, table: TableId, stamp: u32) -> bool {
        self.tables.get(table as usize).is_some_and(|info| info.stamp == stamp)
    }
}

/// Consecutive frames to be mapped at consecutive addresses.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) address: u64,
    pub(crate) frame: u32,
    pub(crate) pages: u64,
    pub(crate) flags: MapFlags,
}

/// Bits of a leaf that its flags ask for, but for the write bit, which depends on the frame.
fn leaf_bits(flags: MapFlags) -> u64 {
    let mut bits = PRESENT | USER;
    if !flags.contains(MapFlags::EXECUTE) {
        bits |= NO_EXECUTE;
    }
    if flags.contains(MapFlags::DEVICE) {
        bits |= UNCACHED | WRITE_THROUGH;
    }
    if flags.contains(MapFlags::WRITE) {
        bits |= MAY_WRITE;
    }
    bits
}

/// Where a table of this level has the entry that leads to an address; 0: the leaf tables.
fn index_in(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize % LEAVES
}

/// What became of a write fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFault {
    /// The write may be made again.
    Settled,
    /// The frame is claimed by a device, or no donated frame or log entry is left.
    Frozen,
    /// Nothing that allows writing is mapped there.
    NotOurs,
}

impl Kernel {
    /// A root table for a new process.
    pub(crate) fn create_space(&mut self, m: &mut impl Machine, process: u32) -> Result<(), Status> {
        let root = self.take_table(m, true)?;
        *self.processes.beside_mut(process) = Space { root, ..Space::NONE };
        Ok(())
    }

    fn take_table(&mut self, m: &mut impl Machine, root: bool) -> Result<TableId, Status> {
        let table = self.pool.free.take_first(0, u32::MAX).ok_or(Status::PoolExhausted)?;
        m.clear_table(table, root);
        self.pool.tables[table as usize] = TableInfo { stamp: self.stamp, ..TableInfo::EMPTY };
        Ok(table)
    }

    /// CPUs that have the address space of a process loaded, a bit each.
    pub(crate) fn cpus_with(&self, process: u32) -> u64 {
        (0..self.cpus.count()).fold(0, |mask, cpu| mask | u64::from(self.cpus[cpu].loaded == process) << cpu)
    }

    /// Loads the address space of a process (`u32::MAX`: the kernel's own) on the CPU that is in the kernel.
    pub(crate) fn load_space(&mut self, m: &mut impl Machine, cpu: usize, process: u32) {
        let loaded = self.cpus[cpu].loaded;
        if loaded == process {
            return;
        }
        self.cpus[cpu].loaded = process;
        if process == NONE {
            m.load_space(cpu, None);
            return;
        }
        let root = self.processes.beside(process).root;
        if self.is_world_process(process) {
            self.freshen(m, root);
        }
        m.load_space(cpu, Some(m.table_address(root)));
    }

    /// Clears the write bits of a table that were set in an earlier epoch. No CPU has writable translations through
    /// it: the entry above it is not writable, or it is a root that is being loaded or flushed.
    #[inline(always)]
    pub(crate) fn freshen(&mut self, m: &mut impl Machine, table: TableId) {
        if !self.is_fresh_table(table) {
            self.clear_write_bits(m, table);
        }
    }

    #[cold]
    #[inline(never)]
    fn clear_write_bits(&mut self, m: &mut impl Machine, table: TableId) {
        let info = &mut self.pool.tables[table as usize];
        info.stamp = self.stamp;
        info.runs(|first, count| m.update_entries(table, first, count, |entry| entry & !WRITABLE));
    }

    /// The leaf table of `address` and the index in it; tables that are missing are made if `create`.
    #[inline(always)]
    fn walk(&mut self, m: &mut impl Machine, process: u32, address: u64, create: bool) -> Option<(TableId, usize)> {
        let world = self.is_world_process(process);
        let mut table = self.processes.beside(process).root;
        if world {
            self.freshen(m, table);
        }
        for level in (1..4).rev() {
            let index = index_in(address, level);
            let entry = m.table_entry(table, index);
            let child = if entry & PRESENT != 0 {
                m.table_at(entry & ADDRESS)
            } else if create {
                let child = self.take_table(m, false).ok()?;
                self.pool.tables[table as usize].note(index, 1, true);
                child
            } else {
                return None;
            };
            if world {
                self.freshen(m, child);
            }
            if entry & WRITABLE == 0 {
                m.set_table_entry(table, index, m.table_address(child) | PRESENT | WRITABLE | USER);
            }
            table = child;
        }
        Some((table, index_in(address, 0)))
    }

    /// The leaf table of `address`, if a page can be mapped there at once: no table is missing or has an older stamp.
    pub(crate) fn leaf_at_hand(&self, m: &impl Machine, process: u32, address: u64) -> Option<TableId> {
        let usable = |&table: &TableId| !self.is_world_process(process) || self.is_fresh_table(table);
        let root = Some(self.processes.beside(process).root).filter(usable)?;
        (1..4).rev().try_fold(root, |table, level| {
            let entry = m.table_entry(table, index_in(address, level));
            let open = entry & (PRESENT | WRITABLE) == PRESENT | WRITABLE;
            open.then(|| m.table_at(entry & ADDRESS)).filter(usable)
        })
    }

    /// Settles a write fault of a world process, if all it lacks is the first write's bookkeeping.
    pub(crate) fn write_fault(&mut self, m: &mut impl Machine, cpu: usize, process: u32, address: u64) -> WriteFault {
        let Some((table, index)) = self.walk(m, process, address, false) else { return WriteFault::NotOurs };
        let entry = m.table_entry(table, index);
        if entry & (PRESENT | MAY_WRITE) != PRESENT | MAY_WRITE {
            return WriteFault::NotOurs;
        }
        if entry & WRITABLE == 0 {
            if !self.first_write(m, ((entry & ADDRESS) >> 12) as u32) {
                return WriteFault::Frozen;
            }
            m.set_table_entry(table, index, entry | WRITABLE);
        }
        m.flush(1 << cpu, Some(address));
        WriteFault::Settled
    }

    /// Maps consecutive frames, up to the end of a leaf table: how many, and whether a mapping was there before.
    pub(crate) fn map_run(&mut self, m: &mut impl Machine, process: u32, run: Run) -> Result<(u64, bool), Status> {
        let Run { address, frame, pages, flags } = run;
        let Some((table, index)) = self.walk(m, process, address, true) else {
            self.prune(m, process, address);
            return Err(Status::PoolExhausted);
        };
        let write = flags.contains(MapFlags::WRITE);
        let now = flags.contains(MapFlags::WRITE | MapFlags::NOW);
        if now && !self.first_write(m, frame) {
            self.prune(m, process, address);
            return Err(Status::Busy);
        }
        // A first write may copy a page, so it is settled for one page at a time.
        let count = if now { 1 } else { pages.min((LEAVES - index) as u64) };
        let mut entry = u64::from(frame) << 12 | leaf_bits(flags);
        let (mut of, tracked) = (frame, write && self.is_world_process(process));
        let mut before = false;
        m.update_entries(table, index, count as usize, |old| {
            let mut new = entry;
            if write && (!tracked || self.is_writable_now(of)) {
                new |= WRITABLE;
            }
            before |= old & PRESENT != 0;
            entry += PAGE_SIZE as u64;
            of += 1;
            new
        });
        self.pool.tables[table as usize].note(index, count as usize, true);
        Ok((count, before))
    }

    /// Gives the tables on the way to `address` back that have no entry left, the lowest first: or else a pool that ran
    /// out once would stay so, whatever the pager unmaps. No CPU remembers them when it returns.
    fn prune(&mut self, m: &mut impl Machine, process: u32, address: u64) {
        let root = self.processes.beside(process).root;
        let mut freed = false;
        loop {
            let (mut table, mut parent, mut at) = (root, root, 0);
            for level in (1..4).rev() {
                let index = index_in(address, level);
                let entry = m.table_entry(table, index);
                if entry & PRESENT == 0 {
                    break;
                }
                (table, parent, at) = (m.table_at(entry & ADDRESS), table, index);
            }
            if table == root || self.pool.tables[table as usize].first().is_some() {
                break;
            }
            self.free_table(m, table, parent, at);
            freed = true;
        }
        if freed {
            self.capabilities.outdate();
            m.flush(self.cpus_with(process), None);
        }
    }

    /// Gives a table back to the pool, to which entry `index` of another one leads.
    fn free_table(&mut self, m: &mut impl Machine, table: TableId, parent: TableId, index: usize) {
        m.set_table_entry(parent, index, 0);
        self.pool.tables[parent as usize].note(index, 1, false);
        self.pool.free.insert(table);
    }

    /// Applies `change` to each present leaf of a range, with its number there; the answer is how many there were. If it
    /// makes leaves 0 it makes all of them 0: they are unmapped, and tables that become empty by that go back to the pool.
    /// No CPU remembers what they were.
    pub(crate) fn change_pages(
        &mut self,
        m: &mut impl Machine,
        process: u32,
        address: u64,
        pages: u64,
        mut change: impl FnMut(usize, u64) -> u64,
    ) -> Called {
        Self::check_range(address, pages)?;
        let (mut found, mut page) = (0, 0);
        while page < pages {
            let at = address + page * PAGE_SIZE as u64;
            let left = LEAVES as u64 - (at >> 12) % LEAVES as u64;
            let count = left.min(pages - page);
            let mut number = page as usize;
            page += count;
            // Without a table there is nothing in the rest of its 2 MiB.
            let Some((table, index)) = self.walk(m, process, at, false) else { continue };
            let (mut present, mut removed) = (0, false);
            m.update_entries(table, index, count as usize, |old| {
                number += 1;
                if old & PRESENT == 0 {
                    return old;
                }
                let new = change(number - 1, old);
                present += 1;
                removed |= new & PRESENT == 0;
                new
            });
            found += present;
            if removed {
                self.pool.tables[table as usize].note(index, count as usize, false);
                self.prune(m, process, at);
            }
        }
        if found > 0 {
            m.flush(self.cpus_with(process), (pages == 1).then_some(address));
        }
        Ok(Answer::Value(found))
    }

    /// Bits that a leaf keeps, and bits that it gets, when its rights are narrowed to `flags`.
    pub(crate) fn narrowing(flags: MapFlags) -> (u64, u64) {
        let keep = if flags.contains(MapFlags::WRITE) { u64::MAX } else { !(MAY_WRITE | WRITABLE) };
        (keep, if flags.contains(MapFlags::EXECUTE) { 0 } else { NO_EXECUTE })
    }

    /// Frees some tables of a space that no CPU has loaded; true when none is left: then nobody may look for one, as the
    /// process is no more when the call returns.
    pub(crate) fn tear_down(&mut self, m: &mut impl Machine, process: u32) -> bool {
        let root = self.processes.beside(process).root;
        for _ in 0..TEAR_DOWN_STEP_MAX {
            let mut path = (root, root, 0);
            for _ in 1..4 {
                let Some(index) = self.pool.tables[path.0 as usize].first() else { break };
                path = (m.table_at(m.table_entry(path.0, index) & ADDRESS), path.0, index);
            }
            let (table, parent, index) = path;
            if table == root {
                *self.processes.beside_mut(process) = Space::NONE;
                self.pool.free.insert(root);
                return true;
            }
            self.free_table(m, table, parent, index);
        }
        false
    }

    /// Whether a range of pages is one that user programs may have.
    pub(crate) fn check_range(address: u64, pages: u64) -> Result<(), Status> {
        require(address.is_multiple_of(PAGE_SIZE as u64) && address >= USER_START, Status::BadAddress)?;
        require((1..=abi::MAP_PAGES_MAX).contains(&pages), Status::BadArgument)?;
        match address.checked_add(pages * PAGE_SIZE as u64) {
            // The last page stays unmapped: `syscall` at its end would return to an address that is not canonical.
            Some(end) if end < USER_END => Ok(()),
            _ => Err(Status::BadAddress),
        }
    }

    /// Whether a table's stamp is the running epoch's.
    pub(crate) fn is_fresh_table(&self, table: TableId) -> bool {
        self.pool.is_stamped(table, self.stamp)
    }
}

#[cfg(any(test, feature = "host"))]
impl TablePool {
    /// Whether all tables that were in use there are in use here.
    pub(crate) fn keeps_those_of(&self, before: &Self) -> bool {
        self.free == before.free
            || (0..self.free.bound()).all(|table| before.free.contains(table) || !self.free.contains(table))
    }
}

#[cfg(any(test, feature = "host"))]
impl Kernel {
    /// Invariant 2, seen from one leaf: used by the checker.
    pub(crate) fn leaf_is_sound(&self, entry: u64) -> bool {
        entry & (PRESENT | WRITABLE) != PRESENT | WRITABLE
            || entry & MAY_WRITE != 0 && self.is_writable_now(((entry & ADDRESS) >> 12) as u32)
    }

    /// Which entries of a table are noted as present, a bit each, for the checker.
    pub(crate) fn notes(&self, table: TableId) -> &[u64; 8] {
        &self.pool.tables[table as usize].present
    }

    /// The child that an entry of a table names, if that is fresh, for the checker.
    pub(crate) fn fresh_child(&self, m: &impl Machine, entry: u64) -> Option<TableId> {
        let child = m.table_at(entry & ADDRESS);
        (self.pool.tables[child as usize].stamp == self.stamp).then_some(child)
    }
}
