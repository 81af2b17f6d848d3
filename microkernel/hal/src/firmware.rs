//! What the loader tells: memory, command line, ACPI root, boot bundle. Copied and checked before anything is used.
//!
//! [`Firmware`] is what the rest of the kernel sees, whatever loaded it; PVH's `start_info` is one way to fill it.

use crate::layout::PHYSMAP;
use abi::boot_info::COMMAND_LINE_MAX;
use core::ops::Range;

/// Ranges of the memory map that are looked at; real ones have less than 30.
pub(crate) const MAP_MAX: usize = 64;

/// A range of physical memory that programs may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Why the loader's information cannot be used. All of these blame the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirmwareError {
    /// The start information does not begin with its magic number.
    NotPvh,
    /// It is older than version 1: it has no memory map.
    NoMemoryMap,
}

/// All that the loader told.
pub struct Firmware {
    pub(crate) ram: [Span; MAP_MAX],
    pub(crate) ram_count: usize,
    pub(crate) bundle: Option<Range<u64>>,
    pub(crate) rsdp: u64,
    pub(crate) command_line: [u8; COMMAND_LINE_MAX],
    pub(crate) command_line_bytes: usize,
    pub(crate) error: Option<FirmwareError>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawStartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    map: u64,
    map_count: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawModule {
    address: u64,
    bytes: u64,
    command_line: u64,
    reserved: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawMapEntry {
    address: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

const PVH_MAGIC: u32 = 0x336e_c578;
const KIND_RAM: u32 = 1;
/// The boot tables map this much.
const REACHABLE: u64 = 4 << 30;

/// Reads a `T` at a physical address, if the boot tables reach it.
///
/// # Safety
/// 1. The boot tables are loaded. 2. Any bytes are a `T`.
pub(crate) unsafe fn read<T: Copy>(address: u64) -> Option<T> {
    if address == 0 || address.checked_add(size_of::<T>() as u64)? > REACHABLE {
        return None;
    }
    // SAFETY: mapped (1, and the check above); any bytes will do (2); no alignment needed.
    Some(unsafe { ((PHYSMAP + address) as *const T).read_unaligned() })
}

impl Firmware {
    /// From PVH's start information at the physical address `start_info`.
    ///
    /// # Safety
    /// The boot tables are loaded.
    pub(crate) unsafe fn from_pvh(start_info: u64) -> Self {
        let mut firmware = Self {
            ram: [Span::default(); MAP_MAX],
            ram_count: 0,
            bundle: None,
            rsdp: 0,
            command_line: [0; COMMAND_LINE_MAX],
            command_line_bytes: 0,
            error: None,
        };
        // SAFETY: 1. caller; 2. plain numbers.
        let raw = unsafe { read::<RawStartInfo>(start_info) }.filter(|raw| raw.magic == PVH_MAGIC);
        let Some(raw) = raw else {
            firmware.error = Some(FirmwareError::NotPvh);
            return firmware;
        };
        firmware.rsdp = raw.rsdp;
        firmware.take_command_line(raw.command_line);
        // SAFETY: 1. caller; 2. plain numbers.
        if let Some(module) = unsafe { read::<RawModule>(raw.modules) }.filter(|_| raw.module_count > 0) {
            firmware.bundle = module.address.checked_add(module.bytes).map(|end| module.address..end);
        }
        if raw.version == 0 {
            firmware.error = Some(FirmwareError::NoMemoryMap);
            return firmware;
        }
        for index in 0..u64::from(raw.map_count) {
            // SAFETY: 1. caller; 2. plain numbers.
            let entry = unsafe { read::<RawMapEntry>(raw.map + index * size_of::<RawMapEntry>() as u64) };
            if let Some(entry) = entry {
                firmware.take_map_entry(entry);
            }
        }
        firmware
    }

    fn take_map_entry(&mut self, entry: RawMapEntry) {
        let Some(end) = entry.address.checked_add(entry.bytes) else { return };
        if entry.kind == KIND_RAM && self.ram_count < MAP_MAX {
            self.ram[self.ram_count] = Span { start: entry.address, end };
            self.ram_count += 1;
        }
    }

    /// Copies the line; what is too long or not ASCII is cut off.
    fn take_command_line(&mut self, address: u64) {
        for (index, slot) in self.command_line.iter_mut().enumerate() {
            // SAFETY: 1. called by `from_pvh` only, on the boot tables; 2. a byte.
            match unsafe { read::<u8>(address + index as u64) } {
                Some(byte) if address != 0 && byte != 0 && byte.is_ascii() => *slot = byte,
                _ => return,
            }
            self.command_line_bytes = index + 1;
        }
    }

    /// The RAM of the map.
    pub(crate) fn ram(&self) -> &[Span] {
        &self.ram[..self.ram_count]
    }

    /// The command line.
    pub fn command_line(&self) -> &str {
        core::str::from_utf8(&self.command_line[..self.command_line_bytes]).unwrap_or_default()
    }

    /// The value of `key=value` on the command line, or the empty string for a bare `key`.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.command_line().split_ascii_whitespace().find_map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name == key).then_some(value)
        })
    }
}
