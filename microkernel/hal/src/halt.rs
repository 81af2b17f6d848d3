//! The end of a run: QEMU's exit device where the command line allows it, otherwise silence.

use crate::instructions::{cpuid, stop_forever};
use core::sync::atomic::{AtomicBool, Ordering};
use x86_64::structures::port::{PortRead, PortWrite};

/// QEMU's `isa-debug-exit`: a value v written here ends QEMU with status 2v + 1.
const EXIT_PORT: u16 = 0xf4;

/// Whether the exit device may be used.
static EXIT_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Whether some processor is ending the run.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Why the machine stops; the values are what the exit device is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Halt {
    /// All went as it should (status 33).
    Clean = 0x10,
    /// The kernel found itself broken, or panicked (status 35).
    Panic = 0x11,
    /// An exception in the kernel (status 37).
    Exception = 0x12,
    /// This machine or what was loaded cannot be used (status 39).
    Refused = 0x13,
}

/// Lets [`halt`] use the exit device from now on: if `told` to, or when a hypervisor runs us and the device answers (its
/// register reads 0, a port without a device all ones).
pub(crate) fn allow_exit(told: bool) {
    let under_hypervisor = cpuid(1, 0)[2] >> 31 == 1;
    // SAFETY: reading that port has no effect on memory.
    let allowed = told || under_hypervisor && unsafe { u8::read_from_port(EXIT_PORT) } == 0;
    EXIT_ALLOWED.store(allowed, Ordering::Relaxed);
}

/// The first processor that comes here ends the run; any other one stops for good.
pub(crate) fn claim_end() {
    if ENDING.swap(true, Ordering::SeqCst) {
        stop_forever();
    }
}

/// Stops this machine. Other processors are told to stop as well.
pub fn halt(why: Halt) -> ! {
    claim_end();
    end(why)
}

/// As [`halt`], for the one that has claimed it.
pub(crate) fn end(why: Halt) -> ! {
    crate::processors::stop_others();
    if EXIT_ALLOWED.load(Ordering::Relaxed) {
        // SAFETY: the exit device has no access to memory.
        unsafe { u8::write_to_port(EXIT_PORT, why as u8) }
    }
    stop_forever()
}
