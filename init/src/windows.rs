//! Where the windows of a process lie.

use abi::PAGE_SIZE;
use abi::protocol::startup::{WINDOWS_END, WINDOWS_START};

/// Between two windows at least one such step stays unmapped, so that running over one's end faults.
const STEP: u64 = 2 << 20;

/// Gives out addresses for windows, upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    next: u64,
}

/// No address is left; only absurd sizes get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowsFull;

impl Windows {
    /// None yet.
    pub const fn new() -> Self {
        Self { next: WINDOWS_START }
    }

    /// An address for a window of `pages` pages.
    pub fn take(&mut self, pages: u64) -> Result<u64, WindowsFull> {
        let address = self.next;
        let bytes = pages.checked_mul(PAGE_SIZE as u64).and_then(|bytes| bytes.checked_next_multiple_of(STEP));
        let end = bytes.and_then(|bytes| bytes.checked_add(STEP)).and_then(|bytes| address.checked_add(bytes));
        self.next = end.filter(|end| *end <= WINDOWS_END).ok_or(WindowsFull)?;
        Ok(address)
    }
}

impl Default for Windows {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_apart() {
        let mut windows = Windows::new();
        let (a, b) = (windows.take(1).expect("room"), windows.take(1 << 18).expect("room"));
        let c = windows.take(1).expect("room");
        assert_eq!(a, WINDOWS_START);
        assert!(b >= a + 4096 + 4096 && c >= b + (1 << 30) + 4096);
        assert_eq!(windows.take(u64::MAX), Err(WindowsFull));
        assert_eq!(windows.take(1 << 40), Err(WindowsFull));
    }
}
