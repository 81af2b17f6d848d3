//! The two things the kernel asks of ACPI: which processors there are, and how interrupt lines are wired (MADT).
//!
//! Read once, while the boot tables map the first 4 GiB, into plain numbers, by the crate `acpi`: it checks signatures and
//! checksums, and takes the lengths in tables for what they are. What lies beyond those 4 GiB is refused. Without a MADT,
//! or with a damaged one, the machine runs with one CPU and no interrupt lines.
//! Reference: ACPI specification 6.5, section 5.2.12.

use crate::layout::{CPUS_MAX, PHYSMAP};
use crate::memory::BOOT_REACH;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use core::ptr::NonNull;
use heapless::Vec;

/// I/O APICs at most.
const IO_APICS_MAX: usize = 4;
/// Lines of the old interrupt controller, which overrides speak of.
const ISA_LINES: usize = 16;
/// Entries of the MADT that are looked at.
const ENTRIES_MAX: usize = 4096;

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

/// Tables where the boot tables have them.
#[derive(Clone)]
struct Mapped;

impl AcpiHandler for Mapped {
    unsafe fn map_physical_region<T>(&self, address: usize, bytes: usize) -> PhysicalMapping<Self, T> {
        if address.checked_add(bytes).is_none_or(|end| end as u64 > BOOT_REACH) {
            crate::report::refuse(format_args!("the firmware has an ACPI table at {address:#x}, beyond 4 GiB"));
        }
        let at = (PHYSMAP as usize + address) as *mut T;
        // SAFETY: mapped (`Topology::read`, and the check above), for as long as it is looked at; not null.
        unsafe { PhysicalMapping::new(address, NonNull::new_unchecked(at), bytes, bytes, Self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

impl Topology {
    /// From the tables below the ACPI root pointer; with neither processors nor lines if there are none.
    ///
    /// # Safety
    /// The boot tables are loaded.
    pub(crate) unsafe fn read(rsdp: u64) -> Self {
        let mut topology = Self::default();
        // SAFETY: the loader says that it is there; any bytes are looked at as they are.
        let tables = unsafe { AcpiTables::from_rsdp(Mapped, rsdp as usize) };
        if let Ok(madt) = tables.and_then(|tables| tables.find_table::<Madt>()) {
            madt.get().entries().take(ENTRIES_MAX).for_each(|entry| topology.take(&entry));
        }
        topology
    }

    /// What there is no room for is not used.
    fn take(&mut self, entry: &MadtEntry<'_>) {
        match *entry {
            MadtEntry::LocalApic(entry) if entry.flags & 1 != 0 => {
                self.left_out += usize::from(self.processors.push(entry.apic_id.into()).is_err());
            }
            MadtEntry::IoApic(entry) => {
                let (address, first) = (entry.io_apic_address.into(), entry.global_system_interrupt_base);
                let _ = self.io_apics.push(IoApicPlace { address, first });
            }
            MadtEntry::InterruptSourceOverride(entry) => {
                let (number, flags) = (entry.global_system_interrupt, entry.flags);
                if let Some(line) = self.overrides.get_mut(usize::from(entry.irq)) {
                    *line = Some(Wiring { number, level: flags >> 2 & 3 == 3, active_low: flags & 3 == 3 });
                }
            }
            _ => {}
        }
    }

    /// How `line` is wired: as the firmware says, else as ISA (edge, high) below 16 and as PCI (level, low) above.
    pub(crate) fn wiring(&self, line: u32) -> Wiring {
        let isa = (line as usize) < ISA_LINES;
        let plain = Wiring { number: line, level: !isa, active_low: !isa };
        self.overrides.get(line as usize).copied().flatten().unwrap_or(plain)
    }
}
