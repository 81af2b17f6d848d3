//! A `Map` of one page by the fast path, see [`super`]: what a pager does for most faults.
//!
//! What the call leads to is remembered once for all threads (there is one pager, and it maps in stretches), with the
//! leaf table in which the page lies. Beside what all passes stand on, this one stands on the page tables: who gives
//! one back to the pool moves the version, and a cut does. `ALONE`: as for signals.

use crate::kernel::Caller;
use crate::space::{LEAF_BYTES, MAY_WRITE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::{Kernel, Machine, State, TableId};
use abi::{Call, Control, Handle, MapFlags, Outcome, PAGE_SIZE, Registers, Rights, Status, USER_END};

const WRITE: u64 = MapFlags::WRITE.bits();
const NOW: u64 = MapFlags::NOW.bits();
/// Set in an address that is no page's of the leaf table, if the table's first is subtracted.
const OUTSIDE: u64 = !(LEAF_BYTES - PAGE_SIZE as u64);

/// Where a `Map` leads to. Without frames it admits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct MapPass {
    /// When that was seen.
    version: u64,
    /// Who asks, and how: thread, Memory, control word, name of the process.
    asked: (u32, u16, u64, u64),
    /// First address of the leaf table.
    base: u64,
    leaf: TableId,
    process: u32,
    /// Flags that go the slow way, and that which goes by [`Kernel::replace_page`].
    unusual: u64,
    /// The flag of mappings that belong to an epoch.
    tracked: u64,
    /// Frames of the Memory.
    first: u32,
    count: u64,
}

/// A leaf for a frame.
fn entry(frame: u32, flags: u64, writable: bool) -> u64 {
    let open = if writable { MAY_WRITE | WRITABLE } else { MAY_WRITE };
    u64::from(frame) << 12 | PRESENT | USER | NO_EXECUTE | if flags & WRITE != 0 { open } else { 0 }
}

impl Kernel {
    /// Maps one page for the running thread of `cpu`, which asks with `control`, if nothing stands against it; else
    /// [`Self::admit`] may find what the next one lacks. Argument 0 in the frame is set.
    #[inline(always)]
    pub fn fast_map<const ALONE: bool>(&mut self, m: &mut impl Machine, cpu: usize, control: u64) -> Option<Outcome> {
        let (version, pass) = (self.version(), &self.map_pass);
        let state = self.cpus.find::<ALONE>(cpu);
        let Registers { rdi: address, words: [page, pages, flags, epoch, name, ..], caps, .. } = state.frame;
        let offset = address.wrapping_sub(pass.base);
        let tracked = flags & pass.tracked != 0;
        if pages != 1
            || (pass.version, pass.asked) != (version, (state.current, caps as u16, control, name))
            || offset & OUTSIDE != 0
            || page >= pass.count
            || tracked && epoch != self.world.epoch
        {
            return None;
        }
        if !ALONE {
            // Another CPU may have stopped it.
            let record = self.threads.try_get(state.current)?;
            if record.state != State::Ready || self.run.reaches(record.priority) {
                return None;
            }
        }
        let (index, frame) = (offset as usize / PAGE_SIZE, pass.first + page as u32);
        if flags & pass.unusual != 0 || m.table_entry(pass.leaf, index) & PRESENT != 0 {
            return self.replace_page(m, cpu, index, frame);
        }
        // ---- point of no return ----
        state.frame.rdi = 1;
        let leaf = pass.leaf;
        let writable = !tracked || self.is_writable_now(frame);
        m.set_table_entry(leaf, index, entry(frame, flags, writable));
        self.pool.note_leaf(leaf, index);
        Some(Outcome::of(Status::Ok))
    }

    /// The same where a first write is to be settled, or another page is mapped.
    #[inline(never)]
    fn replace_page(&mut self, m: &mut impl Machine, cpu: usize, index: usize, frame: u32) -> Option<Outcome> {
        let MapPass { leaf, process, .. } = self.map_pass;
        let Registers { rdi: address, words: [_, _, flags, ..], .. } = self.cpus[cpu].frame;
        if flags & self.map_pass.unusual & !NOW != 0 {
            return None;
        }
        let now = flags & (WRITE | NOW) == WRITE | NOW;
        // Either it fails and has changed nothing, or there is no way back.
        if now && !self.first_write(m, frame) {
            return None;
        }
        // ---- point of no return ----
        let writable = !self.is_world_process(process) || self.is_writable_now(frame);
        let before = m.table_entry(leaf, index);
        m.set_table_entry(leaf, index, entry(frame, flags, writable));
        self.pool.note_leaf(leaf, index);
        if before & PRESENT != 0 {
            m.flush(self.cpus_with(process), Some(address));
        }
        self.cpus[cpu].frame.rdi = 1;
        Some(Outcome::of(Status::Ok))
    }

    /// Looks up what a `Map` that the fast path has declined needs. Whether that found anything new.
    #[inline(never)]
    pub(super) fn admit_map(&mut self, m: &impl Machine, cpu: usize, control: u64) -> bool {
        let state = &self.cpus[cpu];
        let asked = Registers { rax: control, ..state.frame };
        if asked.words[1] != 1 || Control(control).call() != Call::Map as u8 {
            return false;
        }
        let Some(pass) = self.look_up_map(m, state.current, &asked) else { return false };
        core::mem::replace(&mut self.map_pass, pass) != pass
    }

    fn look_up_map(&self, m: &impl Machine, thread: u32, asked: &Registers) -> Option<MapPass> {
        let (control, name, base) = (Control(asked.rax), asked.words[4], asked.rdi & !(LEAF_BYTES - 1));
        // Where some pages must not be mapped each call is looked at.
        if base == 0 || base >= USER_END - LEAF_BYTES {
            return None;
        }
        let process = self.threads.try_get(thread)?.process;
        let given = Handle(asked.caps as u16);
        let caller = Caller { cpu: 0, thread, process, handle: control.handle(), given };
        let process = self.target_process(caller, name).ok()?;
        let memory = self.given(caller, Rights::MEMORY_MAP).ok()?;
        let unusual = if memory.rights().contains(Rights::MEMORY_WRITE) { !WRITE } else { !0 };
        let (first, count) = memory.range();
        let leaf = self.leaf_at_hand(m, process, base).filter(|_| self.processes.get(process).dying == 0)?;
        let asked = (thread, given.0, control.0, name);
        let tracked = if self.is_world_process(process) { WRITE } else { 0 };
        Some(MapPass {
            version: self.version(),
            asked,
            base,
            leaf,
            process,
            unusual,
            tracked,
            first,
            count: count.into(),
        })
    }

    /// Whether the pass, if it is of the present version, is not what a look-up would find now.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn is_map_pass_false(&self, m: &impl Machine) -> bool {
        let (pass, (thread, memory, rax, name)) = (self.map_pass, self.map_pass.asked);
        let mut asked = Registers { rax, rdi: pass.base, caps: memory.into(), ..Registers::default() };
        asked.words[4] = name;
        pass.count != 0 && pass.version == self.version() && self.look_up_map(m, thread, &asked) != Some(pass)
    }
}
