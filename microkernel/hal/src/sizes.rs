//! How large the kernel's tables are: the world's always the same, so that a disk can move between machines; this boot's
//! by what memory there is.

use crate::layout::PAGE;
use abi::boot_info::WORLD_CAPACITIES;
use kernel_core::{Capacities, Counts};

/// Word on the command line that multiplies all counts of objects: `tables=4`. The world's are fixed at its genesis:
/// one made with another factor is refused.
pub(crate) const OPTION: &str = "tables";
const SCALE_MAX: u32 = 64;

/// A machine with less memory than this is refused. Measured with the servers of the system manifest: a world begins
/// with 112 MiB, with 96 init finds no room for the servers' memory. The kernel's own share is about 13 MiB.
pub(crate) const MEMORY_BYTES_MIN: u64 = 111 << 20;

/// Objects of this boot: processes, threads, endpoints, notifications, budgets, capability slots.
const VOLATILE: [u32; 6] = [64, 256, 512, 512, 64, 16_384];

/// One page in so many is a page-table page of programs.
const TABLES_SHARE: u64 = 64;
const TABLES_MIN: u64 = 512;
const TABLES_MAX: u64 = 1 << 16;
/// First writes of an epoch that are logged at most.
const LOG_MAX: u64 = 1 << 20;
/// One frame in so many may wait as a donated one.
const DONATED_SHARE: u64 = 32;

/// The factor that the command line asks for: 1 to 64, 1 if it is no such number.
pub(crate) fn scale(option: Option<&str>) -> u32 {
    option.and_then(|text| text.parse().ok()).filter(|scale| (1..=SCALE_MAX).contains(scale)).unwrap_or(1)
}

/// For a machine with so many bytes of memory, the last of them below `end`.
pub(crate) fn choose(memory: u64, end: u64, cpus: usize, scale: u32) -> Capacities {
    let frames = memory / PAGE;
    Capacities {
        world: Counts(WORLD_CAPACITIES.map(|count| count * scale)),
        volatile: Counts(VOLATILE.map(|count| count * scale)),
        cpus: cpus as u32,
        tables: (frames / TABLES_SHARE).clamp(TABLES_MIN, TABLES_MAX) as u32 * scale,
        frames: end.div_ceil(PAGE) as u32,
        log: frames.min(LOG_MAX) as u32,
        donated: (frames / DONATED_SHARE) as u32,
        interrupts: crate::apic::INTERRUPTS,
    }
}
