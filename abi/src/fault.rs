//! Fault messages: what the endpoint that serves a process's memory receives when one of its threads faults.
//!
//! The event is [`crate::Event::Fault`], the badge the one given to `SetMemoryPort`. Tag: [`Fault`]. Words: 0 the
//! address, 1 [`Access`] bits, 2 the process (for arg 5 of `Map`), 3 the thread's number, 4 its instruction pointer,
//! 5 the CPU's error code. A reply, whatever it says, lets the thread make the access again; a dropped Reply stops it.
//! Across a restore the access is simply made again.

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Fault {
    /// A page was missing or did not allow the access.
    Page = 1,
    /// Any other exception of the CPU; word 1 is its vector.
    Exception = 2,
}

bitflags::bitflags! {
    /// The access that faulted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Access: u64 {
        /// It was a write.
        const WRITE = 1;
        /// It was an instruction fetch.
        const EXECUTE = 2;
        /// Something was mapped there that did not allow it.
        const PRESENT = 4;
        /// The frame is frozen and claimed by a device, or no donated frame was left: the pager must give the page a
        /// frame of its own.
        const FROZEN = 8;
    }
}

/// Names of exceptions (Intel SDM vol. 3, table 6-1).
const EXCEPTION_NAMES: [&str; 22] = [
    "divide error",
    "debug exception",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid task state",
    "segment not present",
    "stack fault",
    "general protection fault",
    "page fault",
    "reserved exception 15",
    "x87 floating-point error",
    "alignment check",
    "machine check",
    "vector floating-point error",
    "virtualization exception",
    "control protection exception",
];

/// What the processor's manual calls the exception with this vector; `None` where it has no name.
pub fn exception_name(vector: u64) -> Option<&'static str> {
    EXCEPTION_NAMES.get(usize::try_from(vector).ok()?).copied()
}
