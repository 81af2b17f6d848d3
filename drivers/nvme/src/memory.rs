//! What lies where in the DMA memory: one frame each for the queues and for Identify, then a page list for each command
//! slot. Invariants:
//!
//! 1. No two places overlap and all lie inside [`FRAMES`] frames (asserted below).
//! 2. No place crosses a frame, so each is contiguous for the device.

use mmio::{DmaMemory, FRAME_BYTES};

use crate::command::Pages;

/// Entries of the I/O queues at most: what fits into one frame.
pub(crate) const IO_ENTRIES_MAX: u32 = 64;
/// Entries of the admin queues.
pub(crate) const ADMIN_ENTRIES: u32 = 8;
/// Command slots: a submission queue of n entries holds n − 1.
pub(crate) const SLOTS: usize = IO_ENTRIES_MAX as usize;

pub(crate) const ADMIN_SUBMISSIONS: usize = 0;
pub(crate) const ADMIN_COMPLETIONS: usize = FRAME_BYTES;
pub(crate) const IDENTIFY: usize = 2 * FRAME_BYTES;
pub(crate) const IO_SUBMISSIONS: usize = 3 * FRAME_BYTES;
pub(crate) const IO_COMPLETIONS: usize = 4 * FRAME_BYTES;
const LISTS: usize = 5 * FRAME_BYTES;

/// Bytes of a page list: a command's first page is in the command itself.
const LIST_BYTES: usize = 1024;

/// Frames of DMA memory that a controller needs.
pub const FRAMES: usize = (LISTS + SLOTS * LIST_BYTES).div_ceil(FRAME_BYTES);

const _: () = assert!(FRAME_BYTES.is_multiple_of(LIST_BYTES));
const _: () = assert!((abi::protocol::block::FRAMES_MAX - 1) * 8 <= LIST_BYTES);
const _: () = assert!(IO_ENTRIES_MAX as usize * 64 <= FRAME_BYTES && abi::protocol::block::BLOCK_BYTES == FRAME_BYTES);

fn list_of(slot: usize) -> usize {
    LISTS + slot * LIST_BYTES
}

/// Describes `frames` (1 to 128 frame numbers that [`frame_is_reachable`]) for the command in `slot` (§4.3): one frame
/// needs nothing else, two fit into the command, more make a list.
pub(crate) fn describe(memory: &impl DmaMemory, slot: usize, frames: &[u64]) -> Pages {
    let address = |frame: &u64| frame * FRAME_BYTES as u64;
    match frames {
        [] => Pages::default(),
        [first] => Pages { first: address(first), rest: 0 },
        [first, second] => Pages { first: address(first), rest: address(second) },
        [first, rest @ ..] => {
            let list = list_of(slot);
            for (i, frame) in rest.iter().enumerate() {
                memory.write_u64(list + i * 8, address(frame));
            }
            Pages { first: address(first), rest: memory.device_address(list) }
        }
    }
}

/// Describes one range to deallocate (§6.7.1) for the command in `slot`; gives its address.
pub(crate) fn describe_range(memory: &impl DmaMemory, slot: usize, sector: u64, sectors: u32) -> u64 {
    let list = list_of(slot);
    memory.write_u32(list, 0);
    memory.write_u32(list + 4, sectors);
    memory.write_u64(list + 8, sector);
    memory.device_address(list)
}

/// Whether the frame's address fits 64 bits.
pub(crate) fn frame_is_reachable(frame: u64) -> bool {
    frame <= u64::MAX / FRAME_BYTES as u64
}
