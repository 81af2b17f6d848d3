//! What Identify answers (§5.15.2): read from DMA memory, checked, and reduced to what the driver needs.

use abi::protocol::block::{BLOCK_BYTES, FRAMES_MAX};
use mmio::DmaMemory;

use crate::memory::IDENTIFY;
use crate::registers::Missing;

/// The controller, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControllerFacts {
    /// Blocks of 4 KiB in one transfer, 1 to [`FRAMES_MAX`].
    pub(crate) transfer_blocks_max: u32,
    /// There is a volatile write cache.
    pub(crate) write_cache: bool,
    /// Write Zeroes is there.
    pub(crate) can_zero: bool,
    /// Dataset Management is there.
    pub(crate) can_deallocate: bool,
}

/// The namespace, checked: sectors of 512 or 4096 bytes, nothing beside the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceFacts {
    /// Whole blocks of 4 KiB.
    pub(crate) blocks: u64,
    /// Sectors in a block: 8 or 1.
    pub(crate) sectors_per_block: u32,
}

fn byte(memory: &impl DmaMemory, at: usize) -> u8 {
    (memory.read_u32(IDENTIFY + at / 4 * 4) >> (at % 4 * 8)) as u8
}

impl ControllerFacts {
    pub(crate) fn read(memory: &impl DmaMemory) -> Result<Self, Missing> {
        // SQES and CQES: low half the smallest size, high half the largest, as powers of two.
        let takes = |sizes: u8, power: u8| (sizes & 0xf) <= power && (sizes >> 4) >= power;
        if !takes(byte(memory, 512), 6) || !takes(byte(memory, 513), 4) {
            return Err(Missing::EntrySizes);
        }
        // MDTS: a power of two of 4 KiB pages; 0 is no limit.
        let transfer_blocks_max = match byte(memory, 77) {
            0 => FRAMES_MAX as u32,
            power => 1u32.checked_shl(u32::from(power)).unwrap_or(u32::MAX).min(FRAMES_MAX as u32),
        };
        let optional = byte(memory, 520);
        Ok(Self {
            transfer_blocks_max,
            write_cache: byte(memory, 525) & 1 == 1,
            can_zero: optional >> 3 & 1 == 1,
            can_deallocate: optional >> 2 & 1 == 1,
        })
    }
}

impl NamespaceFacts {
    pub(crate) fn read(memory: &impl DmaMemory) -> Result<Self, Missing> {
        let sectors = memory.read_u64(IDENTIFY);
        if sectors == 0 {
            return Err(Missing::Namespace);
        }
        let formats = byte(memory, 25);
        let format = byte(memory, 26) & 0xf;
        let protection = byte(memory, 29) & 7;
        if format > formats || protection != 0 {
            return Err(Missing::Sectors);
        }
        let shape = memory.read_u32(IDENTIFY + 128 + usize::from(format) * 4);
        let (metadata_bytes, size_power) = (shape & 0xffff, shape >> 16 & 0xff);
        let sectors_per_block = match (metadata_bytes, size_power) {
            (0, 9) => BLOCK_BYTES as u32 / 512,
            (0, 12) => 1,
            _ => return Err(Missing::Sectors),
        };
        Ok(Self { blocks: sectors / u64::from(sectors_per_block), sectors_per_block })
    }
}

/// The first active namespace in the list (§5.15.2.3), if there is any.
pub(crate) fn first_active_namespace(memory: &impl DmaMemory) -> Option<u32> {
    Some(memory.read_u32(IDENTIFY)).filter(|namespace| *namespace != 0)
}
