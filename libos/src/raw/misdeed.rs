//! What no program may do, done: for programs that try out what becomes of one that does.

use super::syscall::NO_VIEWS;
use abi::protocol::startup::WINDOWS_END;
use abi::{USER_END, USER_START};
use core::arch::asm;

/// Ways to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Reads a word.
    Load,
    /// Writes a word.
    Store,
    /// Goes on there.
    Jump,
    /// Stops the processor, which only the kernel may.
    Halt,
    /// An instruction that does not exist.
    Undefined,
}

/// Whether no Rust object lies at an address: it is no user address, or between [`NO_VIEWS`] and the end of windows.
pub(super) fn is_nowhere(address: u64) -> bool {
    !(USER_START..USER_END).contains(&address) || (NO_VIEWS..WINDOWS_END).contains(&address)
}

/// Does it, where nothing is, and so ends the thread: whoever serves its faults learns of it.
///
/// # Panics
/// If something may lie at the address.
pub fn misdeed(what: Misdeed, address: u64) -> ! {
    assert!(is_nowhere(address), "something may be at {address:#x}");
    loop {
        // SAFETY: (1) nothing of this program lies at the address (just checked), so a load or store there changes nothing
        // that Rust knows, if it is ever made; (2) nothing is mapped executable there, so a jump never arrives, and its
        // frames are never returned to; (3) the other two instructions fault and change nothing.
        unsafe {
            match what {
                Misdeed::Load => asm!("mov {0}, [{0}]", inout(reg) address => _, options(nostack, readonly)),
                Misdeed::Store => asm!("mov [{0}], {0}", in(reg) address, options(nostack)),
                Misdeed::Jump => asm!("jmp {0}", in(reg) address, options(noreturn)),
                Misdeed::Halt => asm!("hlt", options(nostack, nomem)),
                Misdeed::Undefined => asm!("ud2", options(nostack, nomem)),
            }
        }
    }
}
