//! The trait that drivers are written against, and a narrowed view of it.

/// A window onto device registers.
///
/// Offsets are in bytes from the start of the window and must be aligned to the width of the access.
/// An access that [`contains`](Registers::contains) would deny panics: the driver's own constants are wrong.
/// Methods take `&self`, because a register has no owner to borrow from: the device changes it at will.
/// None of the methods blocks. After a restore or a restart of the driver nothing may be assumed about any value.
pub trait Registers {
    /// Size of the window in bytes.
    fn size_bytes(&self) -> usize;

    /// Reads one 32-bit register. A device that has been removed reads as all ones.
    fn read_u32(&self, offset: usize) -> u32;

    /// Writes one 32-bit register, after all earlier accesses to DMA memory.
    fn write_u32(&self, offset: usize, value: u32);

    /// Reads a 64-bit register as two halves, low one first. Not atomic: only for registers whose halves
    /// do not change together.
    fn read_u64(&self, offset: usize) -> u64 {
        let low = self.read_u32(offset);
        let high = self.read_u32(offset + 4);
        u64::from(low) | u64::from(high) << 32
    }

    /// Writes a 64-bit register as two halves, low one first.
    fn write_u64(&self, offset: usize, value: u64) {
        self.write_u32(offset, value as u32);
        self.write_u32(offset + 4, (value >> 32) as u32);
    }

    /// Whether an aligned access of `width_bytes` at `offset` lies inside the window: to be asked about every
    /// offset that comes from a device or a table.
    fn contains(&self, offset: usize, width_bytes: usize) -> bool {
        in_bounds(self.size_bytes(), offset, width_bytes)
    }
}

/// Whether an aligned access of `width_bytes` (a power of two) at `offset` lies in `size_bytes`.
pub(crate) fn in_bounds(size_bytes: usize, offset: usize, width_bytes: usize) -> bool {
    width_bytes.is_power_of_two()
        && offset.is_multiple_of(width_bytes)
        && offset.checked_add(width_bytes).is_some_and(|end| end <= size_bytes)
}

impl<R: Registers + ?Sized> Registers for &R {
    fn size_bytes(&self) -> usize {
        (**self).size_bytes()
    }
    fn read_u32(&self, offset: usize) -> u32 {
        (**self).read_u32(offset)
    }
    fn write_u32(&self, offset: usize, value: u32) {
        (**self).write_u32(offset, value);
    }
    fn read_u64(&self, offset: usize) -> u64 {
        (**self).read_u64(offset)
    }
    fn write_u64(&self, offset: usize, value: u64) {
        (**self).write_u64(offset, value);
    }
}

/// Part of another window, for instance the MSI-X table inside a BAR.
#[derive(Clone, Copy, Debug)]
pub struct SubWindow<R> {
    whole: R,
    start: usize,
    size_bytes: usize,
}

impl<R: Registers> SubWindow<R> {
    /// Narrows `whole` to `size_bytes` from `start`; `None` when that does not lie in it or `start` is not
    /// a multiple of 8.
    pub fn new(whole: R, start: usize, size_bytes: usize) -> Option<Self> {
        let end = start.checked_add(size_bytes)?;
        (start.is_multiple_of(8) && end <= whole.size_bytes()).then_some(Self { whole, start, size_bytes })
    }

    fn place(&self, offset: usize) -> usize {
        assert!(self.contains(offset, 4), "register {offset:#x} outside its sub-window");
        self.start + offset
    }
}

impl<R: Registers> Registers for SubWindow<R> {
    fn size_bytes(&self) -> usize {
        self.size_bytes
    }
    fn read_u32(&self, offset: usize) -> u32 {
        self.whole.read_u32(self.place(offset))
    }
    fn write_u32(&self, offset: usize, value: u32) {
        self.whole.write_u32(self.place(offset), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Fake(RefCell<Vec<u32>>);

    impl Registers for Fake {
        fn size_bytes(&self) -> usize {
            self.0.borrow().len() * 4
        }
        fn read_u32(&self, offset: usize) -> u32 {
            self.0.borrow()[offset / 4]
        }
        fn write_u32(&self, offset: usize, value: u32) {
            self.0.borrow_mut()[offset / 4] = value;
        }
    }

    #[test]
    fn bounds_are_exact() {
        assert!(in_bounds(16, 12, 4));
        assert!(in_bounds(16, 8, 8));
        assert!(!in_bounds(16, 12, 8), "misaligned");
        assert!(!in_bounds(16, 16, 4), "one past");
        assert!(!in_bounds(16, 2, 4), "misaligned");
        assert!(!in_bounds(18, 16, 4), "straddles the end");
        assert!(!in_bounds(16, usize::MAX - 3, 4), "wraps");
        assert!(!in_bounds(16, 0, 0), "empty");
        assert!(!in_bounds(0, 0, 4));
    }

    #[test]
    fn wide_registers_are_two_halves() {
        let fake = Fake(RefCell::new(vec![0; 4]));
        fake.write_u64(8, 0x1122_3344_5566_7788);
        assert_eq!(fake.0.borrow()[..], [0, 0, 0x5566_7788, 0x1122_3344]);
        assert_eq!(fake.read_u64(8), 0x1122_3344_5566_7788);
    }

    #[test]
    fn sub_window_shifts_and_narrows() {
        let fake = Fake(RefCell::new((0..16).collect()));
        assert!(SubWindow::new(&fake, 56, 16).is_none());
        assert!(SubWindow::new(&fake, 4, 8).is_none());
        assert!(SubWindow::new(&fake, 8, usize::MAX).is_none());
        let part = SubWindow::new(&fake, 16, 8).expect("lies inside");
        assert_eq!((part.read_u32(0), part.read_u32(4)), (4, 5));
        part.write_u32(4, 99);
        assert_eq!(fake.read_u32(20), 99);
    }

    #[test]
    #[should_panic(expected = "outside its sub-window")]
    fn sub_window_stops_an_access_past_its_end() {
        let fake = Fake(RefCell::new(vec![0; 16]));
        SubWindow::new(&fake, 16, 8).expect("lies inside").read_u32(8);
    }
}
