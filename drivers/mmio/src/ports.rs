//! x86 port space, for the few devices that still live there.

/// A range of ports. Offsets are from the first port of the range; one outside panics, as for
/// [`Registers`](crate::Registers).
pub trait Ports {
    /// How many ports there are.
    fn count(&self) -> u16;

    /// Reads one byte. A port without a device reads as all ones.
    fn read_u8(&self, offset: u16) -> u8;

    /// Writes one byte.
    fn write_u8(&self, offset: u16, value: u8);
}

impl<P: Ports + ?Sized> Ports for &P {
    fn count(&self) -> u16 {
        (**self).count()
    }
    fn read_u8(&self, offset: u16) -> u8 {
        (**self).read_u8(offset)
    }
    fn write_u8(&self, offset: u16, value: u8) {
        (**self).write_u8(offset, value);
    }
}

/// Ports that the processor lets this process reach by itself (`in`, `out`). Invariants:
///
/// 1. `first + count` does not exceed 65,536: checked by [`PortWindow::new`].
/// 2. The processor allows these ports at this privilege: promised by who makes the window.
#[cfg(target_arch = "x86_64")]
#[derive(Debug)]
pub struct PortWindow {
    first: u16,
    count: u16,
}

#[cfg(target_arch = "x86_64")]
impl PortWindow {
    /// The ports `first .. first + count`; `None` when they wrap around.
    ///
    /// # Safety
    /// The caller promises that
    /// 1. the processor lets this process reach these ports, and
    /// 2. writing to them cannot change memory of this process (true of a serial port, not of a DMA engine).
    pub unsafe fn new(first: u16, count: u16) -> Option<Self> {
        (u32::from(first) + u32::from(count) <= 0x1_0000).then_some(Self { first, count })
    }

    fn port(&self, offset: u16) -> u16 {
        assert!(offset < self.count, "port {offset:#x} outside its range");
        self.first + offset
    }
}

#[cfg(target_arch = "x86_64")]
impl Ports for PortWindow {
    fn count(&self) -> u16 {
        self.count
    }
    fn read_u8(&self, offset: u16) -> u8 {
        let port = self.port(offset);
        let value: u8;
        // SAFETY: (1) `in` at a port that the processor allows: `port` has checked the range, promise 1 of `new`;
        // (2) touches neither memory nor stack nor flags, as the options say.
        unsafe {
            core::arch::asm!("in al, dx", out("al") value, in("dx") port, options(nomem, nostack, preserves_flags));
        }
        value
    }
    fn write_u8(&self, offset: u16, value: u8) {
        let port = self.port(offset);
        // SAFETY: (1) and (2) as in `read_u8`; (3) no memory of ours changes: promise 2 of `new`.
        unsafe {
            core::arch::asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_wrap() {
        // SAFETY: no port is touched.
        let (good, bad) = unsafe { (PortWindow::new(0xfff8, 8), PortWindow::new(0xfff9, 8)) };
        assert_eq!(good.map(|ports| ports.port(7)), Some(0xffff));
        assert!(bad.is_none());
    }

    #[test]
    #[should_panic(expected = "outside its range")]
    fn a_port_outside_stops() {
        // SAFETY: no port is touched.
        unsafe { PortWindow::new(0x3f8, 8) }
            .expect("does not wrap")
            .port(8);
    }
}
