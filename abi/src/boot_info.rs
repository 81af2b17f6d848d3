//! What the kernel tells init: one page, mapped read-only at [`BOOT_INFO_ADDRESS`].
//!
//! The same page can be given by any boot path (PVH today, a UEFI loader later). Raw form first, checked form after.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where init finds the page.
pub const BOOT_INFO_ADDRESS: u64 = 0x7ff0_0000_0000;
/// "PerenniB".
pub const BOOT_INFO_MAGIC: u64 = u64::from_le_bytes(*b"PerenniB");
/// Version of this layout.
pub const BOOT_INFO_VERSION: u32 = 1;
/// Ranges of free memory that are passed on, largest first.
pub const RANGES_MAX: usize = 8;
/// Bytes of the command line that are passed on.
pub const COMMAND_LINE_MAX: usize = 1024;

/// Interrupts with lower numbers are lines, which stay masked from their arrival until they are acknowledged; the others
/// are messages of devices.
pub const INTERRUPT_LINES: u32 = 24;
/// What a world has room for unless the kernel was told otherwise: processes, threads, endpoints, notifications, budgets,
/// capability slots. The same on every machine, so that a disk can move between them.
pub const WORLD_CAPACITIES: [u32; 6] = [256, 1024, 2048, 2048, 256, 32_768];

/// Handles that init starts with.
pub mod handle {
    use crate::Handle;
    /// Init's own process.
    pub const PROCESS: Handle = Handle(1);
    /// Init's first thread.
    pub const THREAD: Handle = Handle(2);
    /// Budget for volatile objects.
    pub const BUDGET: Handle = Handle(3);
    /// Budget for objects of the world: what genesis is made from.
    pub const WORLD_BUDGET: Handle = Handle(4);
    /// The Epoch object, all rights.
    pub const EPOCH: Handle = Handle(5);
    /// All interrupts: lines, then messages.
    pub const INTERRUPTS: Handle = Handle(6);
    /// All I/O ports.
    pub const PORTS: Handle = Handle(7);
    /// The boot bundle, read-only.
    pub const BUNDLE: Handle = Handle(8);
    /// All physical addresses behind the memory below 4 GiB: device registers, ACPI tables. Map registers with `DEVICE`.
    pub const DEVICES: Handle = Handle(9);
    /// The firmware's area below 1 MiB (from 0xe0000), where the ACPI root pointer may lie; read-only.
    pub const FIRMWARE: Handle = Handle(10);
    /// Free memory: one capability a range, as many as `ranges` counts.
    pub const MEMORY: u16 = 16;
}

/// A range of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameRange {
    /// First frame number.
    pub first: u64,
    /// Number of frames.
    pub count: u64,
}

/// The page, as it lies in memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawBootInfo {
    /// [`BOOT_INFO_MAGIC`].
    pub magic: u64,
    /// [`BOOT_INFO_VERSION`].
    pub version: u32,
    /// CPUs that run.
    pub cpus: u32,
    /// Free memory; entry i is capability `handle::MEMORY + i`.
    pub ranges: [FrameRange; RANGES_MAX],
    /// How many of `ranges` are there.
    pub range_count: u32,
    /// Bytes of the command line.
    pub command_line_bytes: u32,
    /// The bundle: first frame, frames.
    pub bundle: FrameRange,
    /// Bytes of the bundle.
    pub bundle_bytes: u64,
    /// Physical address of the ACPI root pointer, 0 if unknown.
    pub rsdp: u64,
    /// Time-stamp counter ticks a second.
    pub tsc_hz: u64,
    /// All memory of the machine in bytes, the kernel's share included.
    pub memory_bytes: u64,
    /// First frame that is memory of no one: one past the highest frame of RAM.
    pub frames_end: u64,
    /// The kernel's command line, UTF-8.
    pub command_line: [u8; COMMAND_LINE_MAX],
}

const _: () = assert!(size_of::<RawBootInfo>() <= crate::PAGE_SIZE);

/// Why a page is not boot information this build understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfoError {
    /// Not boot information at all.
    Foreign,
    /// Of another version (which one).
    Version(u32),
    /// A count leaves its array, or the command line is not UTF-8.
    Malformed,
}

/// Checked view of the page.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo<'a>(&'a RawBootInfo);

impl<'a> BootInfo<'a> {
    /// Checks the page.
    pub fn new(raw: &'a RawBootInfo) -> Result<Self, BootInfoError> {
        if raw.magic != BOOT_INFO_MAGIC {
            return Err(BootInfoError::Foreign);
        }
        if raw.version != BOOT_INFO_VERSION {
            return Err(BootInfoError::Version(raw.version));
        }
        let line = raw.command_line.get(..raw.command_line_bytes as usize).ok_or(BootInfoError::Malformed)?;
        if raw.range_count as usize > RANGES_MAX || core::str::from_utf8(line).is_err() {
            return Err(BootInfoError::Malformed);
        }
        Ok(Self(raw))
    }

    /// Its plain fields.
    pub fn raw(&self) -> &'a RawBootInfo {
        self.0
    }

    /// Free memory, by range.
    pub fn ranges(&self) -> &'a [FrameRange] {
        &self.0.ranges[..self.0.range_count as usize]
    }

    /// The kernel's command line.
    pub fn command_line(&self) -> &'a str {
        core::str::from_utf8(&self.0.command_line[..self.0.command_line_bytes as usize]).unwrap_or_default()
    }

    /// The value of `key=value` on the command line, or the empty string for a bare `key`.
    pub fn option(&self, key: &str) -> Option<&'a str> {
        self.command_line().split_ascii_whitespace().find_map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name == key).then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn sample() -> RawBootInfo {
        let mut raw = RawBootInfo::new_zeroed();
        raw.magic = BOOT_INFO_MAGIC;
        raw.version = BOOT_INFO_VERSION;
        let line = b"bench=ipc quiet";
        raw.command_line[..line.len()].copy_from_slice(line);
        raw.command_line_bytes = line.len() as u32;
        raw
    }

    #[test]
    fn options_are_found() {
        let raw = sample();
        let info = BootInfo::new(&raw).expect("valid");
        assert_eq!(info.option("bench"), Some("ipc"));
        assert_eq!(info.option("quiet"), Some(""));
        assert_eq!(info.option("ben"), None);
    }

    #[test]
    fn foreign_pages_are_refused() {
        let mut raw = sample();
        raw.command_line_bytes = 2000;
        assert_eq!(BootInfo::new(&raw).err(), Some(BootInfoError::Malformed));
        raw.version = 9;
        assert_eq!(BootInfo::new(&raw).err(), Some(BootInfoError::Version(9)));
        raw.magic = 1;
        assert_eq!(BootInfo::new(&raw).err(), Some(BootInfoError::Foreign));
    }
}
