//! Configuration registers (PCI §6.1, PCIe §7.5): who has which, and the first sixteen of them.

/// Bus, device and function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u16);

impl Place {
    /// `device` below 32, `function` below 8; more is cut off.
    #[must_use]
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self((bus as u16) << 8 | ((device & 31) as u16) << 3 | (function & 7) as u16)
    }

    /// Another function of the same device.
    #[must_use]
    pub const fn function(self, function: u8) -> Self {
        Self(self.0 & !7 | (function & 7) as u16)
    }

    /// As one number: bus, device (5 bits), function (3 bits).
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Byte offset of its registers within those of its bus (PCIe §7.2.2).
    #[must_use]
    pub const fn offset_in_bus(self) -> usize {
        (self.0 & 0xff) as usize * REGISTERS_BYTES
    }
}

/// Bytes of configuration registers of a function.
pub(crate) const REGISTERS_BYTES: usize = 4096;

/// Configuration registers of all functions. Reads of what is not there give all ones, as on a bus; writes to it vanish.
pub trait ConfigSpace {
    /// Reads the register at byte `offset`, a multiple of 4 below 4096.
    fn read(&self, place: Place, offset: u16) -> u32;
    /// Writes it.
    fn write(&self, place: Place, offset: u16, value: u32);
}

impl<C: ConfigSpace + ?Sized> ConfigSpace for &C {
    fn read(&self, place: Place, offset: u16) -> u32 {
        (**self).read(place, offset)
    }
    fn write(&self, place: Place, offset: u16, value: u32) {
        (**self).write(place, offset, value);
    }
}

/// Vendor and product.
pub(crate) const IDENTITY: u16 = 0x00;
/// Command and status.
pub(crate) const COMMAND: u16 = 0x04;
/// Revision and class.
pub(crate) const CLASS: u16 = 0x08;
/// Header type, in its third byte.
pub(crate) const HEADER_TYPE: u16 = 0x0c;
/// First base address register.
pub(crate) const BARS: u16 = 0x10;
/// Bus numbers of a bridge.
pub(crate) const BRIDGE_BUSES: u16 = 0x18;
/// First capability, in the low byte.
pub(crate) const CAPABILITIES: u16 = 0x34;

/// Command: decode I/O ports.
pub(crate) const DECODE_PORTS: u32 = 1 << 0;
/// Command: decode memory.
pub(crate) const DECODE_MEMORY: u32 = 1 << 1;
/// Command: reach memory.
pub(crate) const BUS_MASTER: u32 = 1 << 2;
/// Command: send no interrupt by pin.
pub(crate) const NO_PIN: u32 = 1 << 10;
/// Status: there is a list of capabilities.
pub(crate) const HAS_CAPABILITIES: u32 = 1 << 20;

/// Whether a function answers there. While it is being reset it may say 0xffff or, by way of "retry", 0x0001.
pub(crate) fn is_present(identity: u32) -> bool {
    !matches!(identity & 0xffff, 0xffff | 0x0000 | 0x0001)
}

/// Changes some bits of the command register, and writes no 1 to a status bit (that would clear it).
pub(crate) fn change_command(config: &impl ConfigSpace, place: Place, clear: u32, set: u32) {
    let command = config.read(place, COMMAND) & 0xffff;
    config.write(place, COMMAND, command & !clear | set);
}
