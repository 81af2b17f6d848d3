//! The first process: its program from the boot bundle, what it is told, and what it is given.
//!
//! Read-only segments are mapped where they lie in the bundle; writable ones are copied into frames of their own.

use crate::boot::Boot;
use crate::instructions::cpuid;
use crate::kernel::{State, with_state};
use crate::layout::{PAGE, PHYSMAP};
use crate::memory::{BOOT_REACH, BootMemory, bytes};
use crate::report::refuse;
use crate::serial::say;
use abi::boot_info::{BOOT_INFO_ADDRESS, BOOT_INFO_MAGIC, BOOT_INFO_VERSION, FrameRange, RawBootInfo, handle};
use abi::bundle::{Bundle, Segment, SegmentRights};
use abi::{Handle, Kind, MapFlags};
use core::ops::Range;
use kernel_core::{BootProcess, Machine};
use zerocopy::{FromZeros, IntoBytes};

/// The program of the first process.
const PROGRAM: &str = crate::symbols::INIT;
/// Handles of its table.
const HANDLES: u64 = 4096;
const STACK_PAGES: u64 = 16;
/// Its stack ends here, 64 KiB below the boot information: running over either end faults.
const STACK_TOP: u64 = BOOT_INFO_ADDRESS - (64 << 10);
/// Frames of the firmware's area below 1 MiB, where the ACPI root pointer may lie.
const FIRMWARE: Range<u64> = 0xe0..0x100;

fn map(to: BootProcess, address: u64, frame: u64, flags: MapFlags) {
    let State { kernel, hardware, .. } = with_state();
    if let Err(status) = kernel.boot_map(hardware, to.process, address, frame as u32, flags) {
        refuse(format_args!("mapping the first process at {address:#x}: {status:?}"));
    }
}

/// Puts these bytes at the front of a frame, and makes the rest zero.
fn fill(frame: u64, bytes: &[u8]) {
    let page = with_state().hardware.frame(frame as u32);
    page.fill(0);
    page[..bytes.len()].copy_from_slice(bytes);
}

/// A new frame, filled likewise.
fn frame_of(memory: &mut BootMemory, bytes: &[u8]) -> u64 {
    let frame = memory.take(1) / PAGE;
    fill(frame, bytes);
    frame
}

fn map_segment(to: BootProcess, memory: &mut BootMemory, segment: &Segment<'_>) {
    let rights = segment.rights();
    let mut flags = MapFlags::empty();
    flags.set(MapFlags::WRITE, rights.contains(SegmentRights::WRITE));
    flags.set(MapFlags::EXECUTE, rights.contains(SegmentRights::EXECUTE));
    let mut in_bundle = segment.pages().chunks(PAGE as usize);
    for page in 0..segment.memory_bytes().div_ceil(PAGE) {
        let frame = match in_bundle.next() {
            // The bundle lies in the physmap, at a page boundary.
            Some(bytes) if !flags.contains(MapFlags::WRITE) => (bytes.as_ptr() as u64 - PHYSMAP) / PAGE,
            bytes => frame_of(memory, bytes.unwrap_or_default()),
        };
        map(to, segment.address() + page * PAGE, frame, flags);
    }
}

fn give(to: BootProcess, at: Handle, frames: Range<u64>) {
    let write = at != handle::BUNDLE && at != handle::FIRMWARE;
    let frames = frames.start as u32..frames.end as u32;
    let given = with_state().kernel.boot_range(to.process, at, Kind::Memory, frames, write);
    assert_eq!(given, Ok(()), "handles of the first process");
}

/// Makes the first process and its thread, which still waits.
pub(crate) fn make(boot: &mut Boot, bundle: &Bundle<'static>) -> BootProcess {
    let Some(program) = bundle.program(PROGRAM).filter(|program| program.segments().next().is_some()) else {
        refuse(format_args!("the boot bundle holds no program {PROGRAM}"))
    };
    let bundle_start = bundle.bytes().as_ptr() as u64 - PHYSMAP;
    if !bundle_start.is_multiple_of(PAGE) {
        refuse(format_args!("the loader put the boot bundle at {bundle_start:#x}, which is no page boundary"));
    }
    let State { kernel, hardware, init } = with_state();
    let process = kernel.boot_process(hardware, HANDLES, program.entry(), STACK_TOP, BOOT_INFO_ADDRESS);
    let process = process.unwrap_or_else(|status| refuse(format_args!("making the first process: {status:?}")));
    *init = process.process;
    let memory = &mut boot.memory;
    for segment in program.segments() {
        map_segment(process, memory, &segment);
    }
    for page in 1..=STACK_PAGES {
        map(process, STACK_TOP - page * PAGE, frame_of(memory, &[]), MapFlags::WRITE);
    }
    let info_frame = frame_of(memory, &[]);
    map(process, BOOT_INFO_ADDRESS, info_frame, MapFlags::empty());

    let mut info = RawBootInfo::new_zeroed();
    info.magic = BOOT_INFO_MAGIC;
    info.version = BOOT_INFO_VERSION;
    info.cpus = boot.cpus as u32;
    info.rsdp = boot.firmware.rsdp;
    info.tsc_hz = with_state().hardware.clock.tsc_hz;
    info.memory_bytes = memory.total;
    info.frames_end = memory.end_below(u64::MAX) / PAGE;
    let line = boot.firmware.command_line.as_bytes();
    info.command_line[..line.len()].copy_from_slice(line);
    info.command_line_bytes = line.len() as u32;
    let first = bundle_start / PAGE;
    info.bundle_bytes = bundle.bytes().len() as u64;
    info.bundle = FrameRange { first, count: info.bundle_bytes.div_ceil(PAGE) };
    give(process, handle::BUNDLE, first..first + info.bundle.count);
    // Nothing of the kernel lies above the RAM below 4 GiB: what it takes, it takes from there.
    give(process, handle::DEVICES, memory.end_below(BOOT_REACH) / PAGE..frames_end());
    give(process, handle::FIRMWARE, FIRMWARE);
    let ranges = memory.rest();
    info.ranges[..ranges.len()].copy_from_slice(&ranges);
    info.range_count = ranges.len() as u32;
    for (index, range) in ranges.iter().enumerate() {
        give(process, Handle(handle::MEMORY + index as u16), range.first..range.first + range.count);
    }
    fill(info_frame, info.as_bytes());
    let left = bytes(&memory.spans);
    say!("kernel: {} KiB for the kernel, {} MiB left", (bytes(&memory.all) - left) >> 10, left >> 20);
    process
}

/// The end of the frames that the processor can address, as far as frame numbers go: beyond it a page-table entry would
/// have reserved bits set (Intel SDM volume 3, 5.3.1).
fn frames_end() -> u64 {
    const SIZES: u32 = 0x8000_0008;
    let [most, ..] = cpuid(0x8000_0000, 0);
    let bits = if most >= SIZES { cpuid(SIZES, 0)[0] & 0xff } else { 36 };
    (1 << (bits - 12)).min(u32::MAX.into())
}
