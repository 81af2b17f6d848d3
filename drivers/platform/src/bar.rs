//! Base address registers (PCI §6.2.5.1): where a device's register windows are, how large, and a place for those that
//! firmware has left without one.

use crate::config::{BARS, COMMAND, ConfigSpace, DECODE_MEMORY, DECODE_PORTS, Place};

/// Base address registers of a device.
pub(crate) const COUNT: usize = abi::protocol::devices::BARS_MAX as usize;
const PAGE: u64 = abi::PAGE_SIZE as u64;

/// A window of memory-mapped registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// First physical address; 0 when it has none yet.
    pub base: u64,
    /// Length in bytes, a power of two; 0 when there is no such window (or it is one of ports).
    pub bytes: u64,
    /// It may lie above 4 GiB.
    pub wide: bool,
}

impl Bar {
    fn end(self) -> u64 {
        self.base.saturating_add(self.bytes)
    }
}

fn register(index: usize) -> u16 {
    BARS + index as u16 * 4
}

/// Reads base and size of all windows. Decoding is off meanwhile: sizing moves the window to the end of the address space
/// for an instant.
pub(crate) fn read_all(config: &impl ConfigSpace, place: Place) -> [Bar; COUNT] {
    let command = config.read(place, COMMAND) & 0xffff;
    config.write(place, COMMAND, command & !(DECODE_MEMORY | DECODE_PORTS));
    let mut bars = [Bar::default(); COUNT];
    let mut index = 0;
    while index < COUNT {
        let (bar, registers) = read_one(config, place, index);
        bars[index] = bar;
        index += registers;
    }
    config.write(place, COMMAND, command);
    bars
}

/// The same for a device that is at work, whose sizes are known: `powers` of two, 0 for no window. Only reads.
pub(crate) fn read_known(config: &impl ConfigSpace, place: Place, powers: [u8; COUNT]) -> [Bar; COUNT] {
    let mut bars = [Bar::default(); COUNT];
    for (index, power) in powers.into_iter().enumerate().filter(|(_, power)| (1..=62).contains(power)) {
        let value = config.read(place, register(index));
        let wide = value >> 1 & 3 == 2 && index + 1 < COUNT;
        let high = if wide { config.read(place, register(index + 1)) } else { 0 };
        bars[index] = Bar { base: u64::from(value & !0xf) | u64::from(high) << 32, bytes: 1 << power, wide };
    }
    bars
}

/// What all ones turn into shows which address bits the device decodes.
fn probe(config: &impl ConfigSpace, place: Place, offset: u16) -> (u32, u32) {
    let value = config.read(place, offset);
    config.write(place, offset, u32::MAX);
    let mask = config.read(place, offset);
    config.write(place, offset, value);
    (value, mask)
}

/// The window at register `index`, and how many registers it takes.
fn read_one(config: &impl ConfigSpace, place: Place, index: usize) -> (Bar, usize) {
    const PORTS: u32 = 1;
    let (value, mask) = probe(config, place, register(index));
    if value & PORTS != 0 || mask & PORTS != 0 {
        return (Bar::default(), 1);
    }
    let wide = mask >> 1 & 3 == 2;
    if !wide {
        let bytes = u64::from(!(mask & !0xf)) + 1;
        let bytes = if mask & !0xf == 0 { 0 } else { bytes };
        return (Bar { base: u64::from(value & !0xf), bytes, wide }, 1);
    }
    if index + 1 == COUNT {
        return (Bar::default(), 1);
    }
    let (high_value, high_mask) = probe(config, place, register(index + 1));
    let mask = u64::from(mask & !0xf) | u64::from(high_mask) << 32;
    let bytes = if mask == 0 { 0 } else { (!mask).wrapping_add(1) };
    (Bar { base: u64::from(value & !0xf) | u64::from(high_value) << 32, bytes, wide }, 2)
}

/// Moves a window. Only while nobody uses the device.
pub(crate) fn write_one(config: &impl ConfigSpace, place: Place, index: usize, bar: Bar) {
    config.write(place, register(index), bar.base as u32);
    if bar.wide && index + 1 < COUNT {
        config.write(place, register(index + 1), (bar.base >> 32) as u32);
    }
}

/// Physical addresses below 4 GiB that no memory and no other device answers to, as far as we were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
}

impl Hole {
    /// Where firmware on this kind of machine puts such windows too: below the interrupt controllers, above the
    /// configuration space.
    pub const USUAL: Self = Self { start: 0xe000_0000, end: 0xfec0_0000 };

    /// The highest place for `bytes` (a power of two) that overlaps none of `taken`; whole pages, so that no two devices
    /// share one.
    pub(crate) fn place(self, bytes: u64, taken: impl Iterator<Item = Bar> + Clone) -> Option<u64> {
        let align = bytes.max(PAGE);
        let mut base = self.end.checked_sub(bytes)? & !(align - 1);
        while base >= self.start {
            let in_the_way = taken.clone().find(|other| other.base < base + align && base < other.end());
            match in_the_way {
                None => return Some(base),
                Some(other) => base = other.base.checked_sub(align)? & !(align - 1),
            }
        }
        None
    }
}
