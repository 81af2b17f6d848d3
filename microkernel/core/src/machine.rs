//! What the core needs of the machine: implemented by `hal` on x86_64 and by the tests on a map.

use crate::VectorState;
use abi::{PAGE_SIZE, Registers};

/// Number of a page-table page, as the machine's pool counts them.
pub type TableId = u32;

/// The machine under the core. No method blocks; all of them are called with the kernel lock held.
pub trait Machine {
    /// Nanoseconds since this boot; never goes back.
    fn now_ns(&mut self) -> u64;

    /// One-shot timer of `cpu`: interrupt at `at_ns` (time of [`Self::now_ns`]) and no other time. Only ever called for
    /// the CPU that is in the kernel.
    fn set_timer(&mut self, cpu: usize, at_ns: u64);

    /// Makes another CPU enter the kernel soon (reschedule interrupt). For an idle one too.
    fn kick(&mut self, cpu: usize);

    /// Stops every other CPU that runs user code: when it returns each has its registers in its
    /// [`crate::Cpu::frame`] and its vector state is reachable by [`Self::save_vector_of`], and none runs a user
    /// instruction before the lock is released.
    fn stop_others(&mut self, cpu: usize);

    /// Entry `index` (0 … 511) of page-table page `table`.
    fn table_entry(&self, table: TableId, index: usize) -> u64;

    /// Writes an entry of a page-table page. The CPU's translations are not touched.
    fn set_table_entry(&mut self, table: TableId, index: usize, entry: u64);

    /// Replaces `count` entries of a page-table page, from `first` on, by what `update` makes of each. They all lie in
    /// the page. The CPU's translations are not touched.
    fn update_entries(&mut self, table: TableId, first: usize, count: usize, update: impl FnMut(u64) -> u64);

    /// Fills the user half of a root table (0 … 255), or all of another table, with zero; and the kernel half of a
    /// root table with the kernel's own entries.
    fn clear_table(&mut self, table: TableId, root: bool);

    /// Physical address of a page-table page.
    fn table_address(&self, table: TableId) -> u64;

    /// The table that lies at this physical address (inverse of [`Self::table_address`]).
    fn table_at(&self, address: u64) -> TableId;

    /// Loads the address space whose root lies at this address on `cpu`, the one in the kernel; `None`: the kernel's own. Drops all
    /// user translations of that CPU.
    fn load_space(&mut self, cpu: usize, root: Option<u64>);

    /// Drops user translations on the CPUs of the bit mask `cpus`, before it returns: of one page, or all.
    fn flush(&mut self, cpus: u64, page: Option<u64>);

    /// Copies a frame of memory.
    fn copy_frame(&mut self, from: u32, to: u32);

    /// A frame of memory that a Memory capability covers, to write records into or read them from.
    fn frame(&mut self, frame: u32) -> &mut [u8; PAGE_SIZE];

    /// Saves the vector registers of this CPU.
    fn save_vector(&mut self, to: &mut VectorState);

    /// Loads the vector registers of this CPU from a state that [`VectorState::is_valid`] accepts.
    fn load_vector(&mut self, from: &VectorState);

    /// Saves the vector registers of a CPU that [`Self::stop_others`] has stopped.
    fn save_vector_of(&mut self, cpu: usize, to: &mut VectorState);

    /// Makes registers that came from outside safe to return to user mode with: flags, canonical addresses.
    fn sanitize(&self, registers: &mut Registers);

    /// Routes interrupt `line` (0 … 23 lines, above: messages) to this kernel, masked; the message address and data
    /// for a message interrupt, zeros for a line.
    fn route_interrupt(&mut self, line: u32) -> (u64, u64);

    /// Masks or unmasks an interrupt line. Message interrupts ignore it.
    fn mask_interrupt(&mut self, line: u32, masked: bool);

    /// Reads an I/O port; `width` is 1, 2 or 4.
    fn port_read(&mut self, port: u16, width: u8) -> u32;

    /// Writes an I/O port; `width` is 1, 2 or 4.
    fn port_write(&mut self, port: u16, width: u8, value: u32);

    /// Writes to the debug serial port.
    fn debug_write(&mut self, bytes: &[u8]);
}
