//! From the ACPI root pointer to the configuration space (ACPI §5.2.5–5.2.8; PCI Firmware Specification 3.2, §4.1.2).

/// Configuration regions that are kept.
pub const REGIONS_MAX: usize = 4;
/// Tables that are looked at.
const TABLES_MAX: u64 = 256;
/// Longest table that is believed.
const TABLE_BYTES_MAX: u32 = 1 << 20;
const HEADER_BYTES: u32 = 36;

/// Reads physical memory that belongs to nobody: firmware tables.
pub trait PhysicalMemory {
    /// Fills `to` from physical `address` on, which need not be aligned; false when some of it cannot be read.
    fn read(&self, address: u64, to: &mut [u8]) -> bool;
}

/// The configuration registers of some buses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigRegion {
    /// Physical address of the registers of bus 0, even if the region begins with a later one.
    pub base: u64,
    /// PCI segment.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigRegions {
    regions: [ConfigRegion; REGIONS_MAX],
    count: usize,
}

impl ConfigRegions {
    /// The regions.
    pub fn iter(&self) -> core::slice::Iter<'_, ConfigRegion> {
        self.regions[..self.count].iter()
    }
}

/// Why there is no configuration space: the firmware's fault each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// What should be the root pointer is none, or does not add up.
    NoRootPointer,
    /// The root table is damaged or unreadable.
    NoRootTable,
    /// There is no MCFG table, or it is damaged.
    NoConfigTable,
    /// The MCFG table names no usable region.
    NoRegions,
}

fn bytes<const N: usize>(memory: &impl PhysicalMemory, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    memory.read(address, &mut bytes).then_some(bytes)
}

fn word32(memory: &impl PhysicalMemory, address: u64) -> Option<u32> {
    bytes(memory, address).map(u32::from_le_bytes)
}

fn word64(memory: &impl PhysicalMemory, address: u64) -> Option<u64> {
    bytes(memory, address).map(u64::from_le_bytes)
}

/// Whether `count` bytes from `address` on can be read and add up to 0.
fn adds_up(memory: &impl PhysicalMemory, address: u64, count: u32) -> bool {
    let mut sum = 0u8;
    let mut chunk = [0u8; 64];
    let mut done = 0;
    while done < count {
        let part = &mut chunk[..(count - done).min(64) as usize];
        if !address.checked_add(u64::from(done)).is_some_and(|at| memory.read(at, part)) {
            return false;
        }
        sum = part.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
        done += part.len() as u32;
    }
    sum == 0
}

/// Length of the table at `address` if it has this signature and adds up.
fn table(memory: &impl PhysicalMemory, address: u64, signature: &[u8; 4]) -> Option<u32> {
    if address == 0 || bytes(memory, address)? != *signature {
        return None;
    }
    let length = word32(memory, address.checked_add(4)?)?;
    let believable = (HEADER_BYTES..=TABLE_BYTES_MAX).contains(&length);
    (believable && adds_up(memory, address, length)).then_some(length)
}

/// The table with this signature among those that the root table lists.
fn find(memory: &impl PhysicalMemory, root: &Root, signature: &[u8; 4]) -> Option<(u64, u32)> {
    let entries = (u64::from(root.length - HEADER_BYTES) / root.entry_bytes).min(TABLES_MAX);
    (0..entries).find_map(|index| {
        let at = root.address + u64::from(HEADER_BYTES) + index * root.entry_bytes;
        let address = if root.entry_bytes == 8 { word64(memory, at)? } else { word32(memory, at)?.into() };
        Some((address, table(memory, address, signature)?))
    })
}

/// The root table: XSDT or RSDT.
struct Root {
    address: u64,
    length: u32,
    entry_bytes: u64,
}

fn root(memory: &impl PhysicalMemory, pointer: u64) -> Result<Root, TableError> {
    let head: [u8; 20] = bytes(memory, pointer).ok_or(TableError::NoRootPointer)?;
    if !head.starts_with(b"RSD PTR ") || !adds_up(memory, pointer, 20) {
        return Err(TableError::NoRootPointer);
    }
    let [.., revision, a, b, c, d] = head;
    let old = u64::from(u32::from_le_bytes([a, b, c, d]));
    if revision >= 2 && adds_up(memory, pointer, 36) {
        let address = word64(memory, pointer + 24).ok_or(TableError::NoRootPointer)?;
        if let Some(length) = table(memory, address, b"XSDT") {
            return Ok(Root { address, length, entry_bytes: 8 });
        }
    }
    let length = table(memory, old, b"RSDT").ok_or(TableError::NoRootTable)?;
    Ok(Root { address: old, length, entry_bytes: 4 })
}

/// The configuration regions, from the root pointer at physical address `pointer` on.
///
/// # Errors
/// See [`TableError`].
pub fn find_config_regions(memory: &impl PhysicalMemory, pointer: u64) -> Result<ConfigRegions, TableError> {
    const FIRST: u32 = HEADER_BYTES + 8;
    const ENTRY: u32 = 16;
    let root = root(memory, pointer)?;
    let (address, length) = find(memory, &root, b"MCFG").ok_or(TableError::NoConfigTable)?;
    let mut found = ConfigRegions::default();
    for index in 0..length.saturating_sub(FIRST) / ENTRY {
        let at = address + u64::from(FIRST + index * ENTRY);
        let region = word64(memory, at).zip(bytes::<4>(memory, at + 8)).ok_or(TableError::NoConfigTable)?;
        let (base, [low, high, first_bus, last_bus]) = region;
        let region = ConfigRegion { base, segment: u16::from_le_bytes([low, high]), first_bus, last_bus };
        // A bus has a mebibyte; the registers of the last one must have an address.
        let sound = base != 0 && base.is_multiple_of(1 << 20) && base.checked_add(1 << 28).is_some();
        if sound && first_bus <= last_bus && found.count < REGIONS_MAX {
            found.regions[found.count] = region;
            found.count += 1;
        }
    }
    if found.count == 0 { Err(TableError::NoRegions) } else { Ok(found) }
}
