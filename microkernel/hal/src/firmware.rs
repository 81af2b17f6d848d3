//! What the loader tells: memory, command line, ACPI root, boot bundle. Copied and checked before anything is used.
//!
//! [`Firmware`] is what the rest of the kernel sees, whatever loaded it; PVH's `start_info` is one way to fill it.

use crate::layout::PHYSMAP;
use crate::memory::BOOT_REACH;
use crate::report::refuse;
use abi::boot_info::COMMAND_LINE_MAX;
use core::ops::Range;
use heapless::{String, Vec};

/// Ranges of the memory map that are looked at; real ones have less than 30.
pub(crate) const MAP_MAX: usize = 64;

/// All that the loader told.
pub struct Firmware {
    /// Physical memory that programs may use.
    pub(crate) ram: Vec<Range<u64>, MAP_MAX>,
    pub(crate) bundle: Option<Range<u64>>,
    pub(crate) rsdp: u64,
    /// What is too long or not ASCII is cut off.
    pub(crate) command_line: String<COMMAND_LINE_MAX>,
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

/// What a module begins with: address, bytes.
type RawModule = [u64; 2];
/// An entry of the memory map: address, bytes, kind (the lower half).
type RawMapEntry = [u64; 3];

const PVH_MAGIC: u32 = 0x336e_c578;
const KIND_RAM: u32 = 1;

/// Reads a `T` at a physical address, if the boot tables reach it.
///
/// # Safety
/// 1. The boot tables are loaded. 2. Any bytes are a `T`.
unsafe fn read<T: Copy>(address: u64) -> Option<T> {
    if address == 0 || address.checked_add(size_of::<T>() as u64)? > BOOT_REACH {
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
        // SAFETY: 1. caller; 2. plain numbers.
        let raw = unsafe { read::<RawStartInfo>(start_info) }.filter(|raw| raw.magic == PVH_MAGIC);
        let Some(raw) = raw else { refuse(format_args!("the loader gave no PVH start information")) };
        if raw.version == 0 {
            refuse(format_args!("the loader gave no memory map"));
        }
        // SAFETY: 1. caller; 2. plain numbers.
        let module = unsafe { read::<RawModule>(raw.modules) }.filter(|_| raw.module_count > 0);
        let bundle = module.and_then(|[address, bytes]| Some(address..address.checked_add(bytes)?));
        let mut firmware = Self { ram: Vec::new(), bundle, rsdp: raw.rsdp, command_line: String::new() };
        for at in raw.command_line.. {
            // SAFETY: 1. caller; 2. a byte.
            let byte = unsafe { read::<u8>(at) }.filter(|&byte| byte != 0 && byte.is_ascii());
            if byte.is_none_or(|byte| firmware.command_line.push(byte.into()).is_err()) {
                break;
            }
        }
        for index in 0..u64::from(raw.map_count) {
            // SAFETY: 1. caller; 2. plain numbers.
            let entry = unsafe { read::<RawMapEntry>(raw.map + index * size_of::<RawMapEntry>() as u64) };
            if let Some([start, bytes, kind]) = entry
                && let (Some(end), KIND_RAM) = (start.checked_add(bytes), kind as u32)
            {
                // More than there is room for is not used.
                let _ = firmware.ram.push(start..end);
            }
        }
        firmware
    }

    /// The value of `key=value` on the command line, or the empty string for a bare `key`.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.command_line.split_ascii_whitespace().find_map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name == key).then_some(value)
        })
    }
}
