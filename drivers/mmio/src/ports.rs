//! x86 port space, for the few devices that still live there. The processor never lets a program touch a port by
//! itself here: the implementation makes the kernel's `PortRead` and `PortWrite` calls and lives with the program.

/// A range of ports. Offsets are from the first port of the range; one outside panics, as for
/// [`Registers`](crate::Registers). None of the methods blocks.
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
