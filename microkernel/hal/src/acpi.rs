//! The two things the kernel asks of ACPI: which processors there are, and how interrupt lines are wired (MADT).
//!
//! Read once, while the boot tables map the first 4 GiB, into plain numbers. Every length is checked against the
//! table's, and the table's checksum against its bytes; what is damaged is left out, and the machine then runs with
//! one CPU and no interrupt lines. Reference: ACPI specification 6.5, sections 5.2.5 to 5.2.8 and 5.2.12.

use crate::firmware::read;
use crate::layout::CPUS_MAX;
use heapless::Vec;

/// I/O APICs at most.
const IO_APICS_MAX: usize = 4;
/// Lines of the old interrupt controller, which overrides speak of.
const ISA_LINES: usize = 16;
/// Largest table that is read.
const TABLE_BYTES_MAX: u32 = 1 << 20;
/// Entries of the root table that are looked at.
const TABLES_MAX: u64 = 256;

/// One I/O APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IoApicPlace {
    pub(crate) address: u64,
    /// Global number of its first line.
    pub(crate) first: u32,
}

/// Where an interrupt line really arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wiring {
    /// Global number.
    pub(crate) number: u32,
    pub(crate) level: bool,
    pub(crate) active_low: bool,
}

/// What the MADT says.
#[derive(Default)]
pub(crate) struct Topology {
    /// APIC ids of usable processors, as listed.
    pub(crate) processors: Vec<u32, CPUS_MAX>,
    /// Usable processors that the kernel has no room for.
    pub(crate) left_out: usize,
    pub(crate) io_apics: Vec<IoApicPlace, IO_APICS_MAX>,
    overrides: [Option<Wiring>; ISA_LINES],
}

/// Reads a `T` of a table.
fn get<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: 1. called from `Topology::read` alone, on the boot tables; 2. used with unsigned integers and arrays of
    // them only.
    unsafe { read::<T>(address) }
}

fn checksum_is_right(address: u64, bytes: u32) -> bool {
    let sum = (0..u64::from(bytes)).try_fold(0u8, |sum, offset| Some(sum.wrapping_add(get::<u8>(address + offset)?)));
    sum == Some(0)
}

/// Address and length of a table with this signature, checked.
fn table(address: u64, signature: &[u8; 4]) -> Option<u32> {
    let bytes = get::<u32>(address + 4)?;
    let fits = (36..=TABLE_BYTES_MAX).contains(&bytes);
    (get::<[u8; 4]>(address)? == *signature && fits && checksum_is_right(address, bytes)).then_some(bytes)
}

fn find_madt(rsdp: u64) -> Option<(u64, u32)> {
    if get::<[u8; 8]>(rsdp)? != *b"RSD PTR " || !checksum_is_right(rsdp, 20) {
        return None;
    }
    let extended = if get::<u8>(rsdp + 15)? >= 2 { get::<u64>(rsdp + 24)? } else { 0 };
    let old = u64::from(get::<u32>(rsdp + 16)?);
    let (root, bytes, width) = match table(extended, b"XSDT") {
        Some(bytes) => (extended, bytes, 8),
        None => (old, table(old, b"RSDT")?, 4),
    };
    let entries = (u64::from(bytes) - 36) / width;
    (0..entries.min(TABLES_MAX)).find_map(|index| {
        let entry = root + 36 + index * width;
        let address = if width == 8 { get::<u64>(entry)? } else { u64::from(get::<u32>(entry)?) };
        Some((address, table(address, b"APIC")?))
    })
}

impl Topology {
    /// From the tables below the ACPI root pointer; with neither processors nor lines if there are none.
    ///
    /// # Safety
    /// The boot tables are loaded.
    pub(crate) unsafe fn read(rsdp: u64) -> Self {
        let mut topology = Self::default();
        if let Some((address, bytes)) = find_madt(rsdp) {
            let end = address + u64::from(bytes);
            let mut at = address + 44;
            while at + 2 <= end {
                let length = u64::from(get::<u8>(at + 1).unwrap_or(0));
                if length < 2 || at + length > end {
                    break;
                }
                // A part that is too short for its kind is left out.
                let _ = topology.take(at, length);
                at += length;
            }
        }
        topology
    }

    fn take(&mut self, at: u64, length: u64) -> Option<()> {
        match (get::<u8>(at)?, length) {
            (0, 8..) => self.take_processor(u32::from(get::<u8>(at + 3)?), get::<u32>(at + 4)?),
            (1, 12..) => {
                let place = IoApicPlace { address: u64::from(get::<u32>(at + 4)?), first: get::<u32>(at + 8)? };
                self.io_apics.push(place).ok()?;
            }
            (2, 10..) => {
                let (line, flags) = (usize::from(get::<u8>(at + 3)?), get::<u16>(at + 8)?);
                let wiring =
                    Wiring { number: get::<u32>(at + 4)?, level: flags >> 2 & 3 == 3, active_low: flags & 3 == 3 };
                *self.overrides.get_mut(line)? = Some(wiring);
            }
            _ => {}
        }
        Some(())
    }

    fn take_processor(&mut self, id: u32, flags: u32) {
        let usable = flags & 1 != 0;
        self.left_out += usize::from(usable && self.processors.push(id).is_err());
    }

    /// How `line` is wired: as the firmware says, else as ISA (edge, high) below 16 and as PCI (level, low) above.
    pub(crate) fn wiring(&self, line: u32) -> Wiring {
        let isa = (line as usize) < ISA_LINES;
        let plain = Wiring { number: line, level: !isa, active_low: !isa };
        self.overrides.get(line as usize).copied().flatten().unwrap_or(plain)
    }
}
