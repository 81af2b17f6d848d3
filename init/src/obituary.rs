//! Who died, and why, in a line that can be read.

use abi::bundle::Symbols;
use abi::fault::{Access, exception_name};
use abi::protocol::startup::{EXIT_DONE, EXIT_PANIC, exit_code};
use core::fmt;

/// Why a thread does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It ended by itself, with this code.
    Exit(u8),
    /// It touched an address it may not.
    Page {
        /// The address.
        address: u64,
        /// How.
        access: Access,
    },
    /// Another exception of the CPU.
    Exception {
        /// Its vector.
        vector: u8,
        /// The CPU's error code.
        error_code: u64,
    },
}

impl Cause {
    /// Of a page fault: an exit looks like one.
    pub const fn of_page(address: u64, access: Access) -> Self {
        match exit_code(address) {
            Some(code) if access.is_empty() => Self::Exit(code),
            _ => Self::Page { address, access },
        }
    }
}

/// The line.
#[derive(Clone, Copy)]
pub struct Obituary<'a> {
    /// The service.
    pub service: &'a str,
    /// Why.
    pub cause: Cause,
    /// Where: its instruction pointer.
    pub instruction: u64,
    /// Names for that address, if there are any.
    pub symbols: Option<Symbols<'a>>,
}

impl fmt::Display for Obituary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.service)?;
        match self.cause {
            Cause::Exit(EXIT_DONE) => return write!(f, "has done its work"),
            Cause::Exit(EXIT_PANIC) => return write!(f, "stopped itself: one of its own invariants was broken"),
            Cause::Exit(code) => return write!(f, "ended with code {code}"),
            Cause::Page { address, access } => {
                let how = if access.contains(Access::EXECUTE) {
                    "jumped to"
                } else if access.contains(Access::WRITE) {
                    "wrote to"
                } else {
                    "read from"
                };
                let what = if access.contains(Access::PRESENT) { "does not allow that" } else { "is not mapped" };
                write!(f, "{how} {address:#x}, which {what}")?;
            }
            Cause::Exception { vector, error_code } => {
                write!(f, "raised exception {vector}")?;
                if let Some(name) = exception_name(vector.into()) {
                    write!(f, ", {name}")?;
                }
                write!(f, " (error {error_code:#x})")?;
            }
        }
        write!(f, ", at {:#x}", self.instruction)?;
        match self.symbols.and_then(|symbols| symbols.find(self.instruction)) {
            Some((symbol, offset)) => write!(f, " in {} + {offset:#x}", symbol.name),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::protocol::startup::exit_address;

    fn line(cause: Cause) -> String {
        Obituary { service: "nvme", cause, instruction: 0x40_1234, symbols: None }.to_string()
    }

    #[test]
    fn causes_read_well() {
        let page = |address, access| line(Cause::of_page(address, access));
        assert_eq!(page(exit_address(0), Access::empty()), "nvme has done its work");
        assert!(page(exit_address(101), Access::empty()).contains("stopped itself"));
        assert!(page(exit_address(7), Access::empty()).contains("code 7"));
        assert_eq!(page(8, Access::WRITE), "nvme wrote to 0x8, which is not mapped, at 0x401234");
        assert!(
            page(0x5000, Access::EXECUTE | Access::PRESENT).contains("jumped to 0x5000, which does not allow that")
        );
        assert!(page(exit_address(0), Access::WRITE).contains("wrote to"), "a stray write is no exit");
        assert!(line(Cause::Exception { vector: 6, error_code: 0 }).contains("invalid opcode"));
        assert!(line(Cause::Exception { vector: 30, error_code: 1 }).contains("exception 30 (error 0x1)"));
    }
}
