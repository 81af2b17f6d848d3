//! The debug serial port (COM1): the kernel's only voice before there is a console driver.
//!
//! Polled and unbuffered. Written to by the CPU that holds the kernel lock, by the one that boots, or by the one that
//! reports a failure; two of these at once only mix their lines.

use core::fmt::{self, Write};
use x86_64::structures::port::{PortRead, PortWrite};

const PORT: u16 = 0x3f8;
const LINE_STATUS: u16 = PORT + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// How often the line status is read before a byte is given up: a port that is not there must not hang the machine.
const POLLS_MAX: u32 = 100_000;

/// Sets 115,200 baud, 8 data bits, no parity, FIFO on, interrupts off.
pub(crate) fn initialise() {
    for (offset, value) in [(1, 0x00), (3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (2, 0xc7), (4, 0x03)] {
        // SAFETY: the serial port has no access to memory.
        unsafe { u8::write_to_port(PORT + offset, value) }
    }
}

/// Writes a byte as it is.
pub(crate) fn put(byte: u8) {
    for _ in 0..POLLS_MAX {
        // SAFETY: the serial port has no access to memory.
        if unsafe { u8::read_from_port(LINE_STATUS) } & TRANSMITTER_EMPTY != 0 {
            break;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the serial port has no access to memory.
    unsafe { u8::write_to_port(PORT, byte) }
}

/// Formats text to the port, a carriage return before each line feed.
pub(crate) struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

/// Prints a line to the debug port.
macro_rules! say {
    ($($argument:tt)*) => {{
        use core::fmt::Write;
        // Writing to the port never fails.
        let _ = writeln!($crate::serial::Serial, $($argument)*);
    }};
}
pub(crate) use say;
