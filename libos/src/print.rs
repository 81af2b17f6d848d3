//! `println!` for volatile programs: to the kernel's debug serial port, if the program was given it. Programs of the world
//! have no such port; what they say goes through the console.

use crate::device::{DEBUG_BYTES_MAX, IoPorts};
use abi::Handle;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU16, Ordering};

static DEBUG_PORT: AtomicU16 = AtomicU16::new(0);

/// From now on [`println!`](crate::println) writes through `port`; the null handle silences it.
pub fn set_print(port: IoPorts) {
    DEBUG_PORT.store(port.0.0, Ordering::Relaxed);
}

fn port() -> Option<IoPorts> {
    let handle = DEBUG_PORT.load(Ordering::Relaxed);
    (handle != 0).then_some(IoPorts(Handle(handle)))
}

/// Writes bytes as they are.
pub fn print_bytes(bytes: &[u8]) {
    if let Some(port) = port() {
        // Nobody to tell if it fails.
        let _ = port.debug_write(bytes);
    }
}

/// Collects a line, so that it goes out in as few calls as it can.
struct Line {
    bytes: [u8; DEBUG_BYTES_MAX],
    used: usize,
}

impl Line {
    fn flush(&mut self) {
        print_bytes(&self.bytes[..self.used]);
        self.used = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.used == DEBUG_BYTES_MAX {
                self.flush();
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Writes a line of formatted text.
pub fn print_line(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; DEBUG_BYTES_MAX], used: 0 };
    // `Line` never fails; a `Display` that does has written what it could.
    let _ = line.write_fmt(arguments).and_then(|()| line.write_str("\n"));
    line.flush();
}

/// Writes a line to the debug port. Lines of up to 64 bytes are not mixed with those of others.
#[macro_export]
macro_rules! println {
    () => { $crate::print_line(format_args!("")) };
    ($($arguments:tt)+) => { $crate::print_line(format_args!($($arguments)+)) };
}
