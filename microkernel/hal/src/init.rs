//! The first process: its program from the boot bundle, what it is told, and what it is given.
//!
//! Read-only segments are mapped where they lie in the bundle; writable ones are copied into frames of their own.

use crate::boot::Boot;
use crate::instructions::cpuid;
use crate::kernel::{State, with_state};
use crate::layout::{PAGE, PHYSMAP};
use crate::memory::{BOOT_REACH, BootMemory};
use crate::report::refuse;
use crate::serial::say;
use abi::boot_info::{BOOT_INFO_ADDRESS, BOOT_INFO_MAGIC, BOOT_INFO_VERSION, FrameRange, RawBootInfo, handle};
use abi::bundle::{Bundle, Program, Segment, SegmentRights};
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
const FIRMWARE: Range<u32> = 0xe0..0x100;

/// What a step of making the first process needs.
struct Maker<'a> {
    state: &'a mut State,
    memory: &'a mut BootMemory,
    boot: BootProcess,
}

impl Maker<'_> {
    fn map(&mut self, address: u64, frame: u64, flags: MapFlags) {
        let State { kernel, hardware, .. } = &mut *self.state;
        if let Err(status) = kernel.boot_map(hardware, self.boot.process, address, frame as u32, flags) {
            refuse(format_args!("mapping the first process at {address:#x}: {status:?}"));
        }
    }

    /// A frame with these bytes at its front, the rest zero.
    fn frame_of(&mut self, bytes: &[u8]) -> u64 {
        let frame = self.memory.take(1) / PAGE;
        self.fill(frame, bytes);
        frame
    }

    fn fill(&mut self, frame: u64, bytes: &[u8]) {
        let page = self.state.hardware.frame(frame as u32);
        page.fill(0);
        page[..bytes.len()].copy_from_slice(bytes);
    }

    fn map_segment(&mut self, segment: &Segment<'_>) {
        let rights = segment.rights();
        let mut flags = MapFlags::empty();
        flags.set(MapFlags::WRITE, rights.contains(SegmentRights::WRITE));
        flags.set(MapFlags::EXECUTE, rights.contains(SegmentRights::EXECUTE));
        let mut in_bundle = segment.pages().chunks(PAGE as usize);
        for page in 0..segment.memory_bytes().div_ceil(PAGE) {
            let frame = match in_bundle.next() {
                // The bundle lies in the physmap, at a page boundary.
                Some(bytes) if !flags.contains(MapFlags::WRITE) => (bytes.as_ptr() as u64 - PHYSMAP) / PAGE,
                Some(bytes) => self.frame_of(bytes),
                None => self.frame_of(&[]),
            };
            self.map(segment.address() + page * PAGE, frame, flags);
        }
    }

    fn give(&mut self, at: Handle, frames: Range<u32>) {
        let write = at != handle::BUNDLE && at != handle::FIRMWARE;
        let given = self.state.kernel.boot_range(self.boot.process, at, Kind::Memory, frames, write);
        assert_eq!(given, Ok(()), "handles of the first process");
    }
}

/// Finds the program, or refuses.
fn program<'a>(bundle: &Bundle<'a>) -> Program<'a> {
    match bundle.program(PROGRAM) {
        Some(program) if program.segments().next().is_some() => program,
        _ => refuse(format_args!("the boot bundle holds no program {PROGRAM}")),
    }
}

/// Makes the first process and its thread, which still waits.
pub(crate) fn make(boot: &mut Boot, bundle: &Bundle<'static>) -> BootProcess {
    let program = program(bundle);
    let bundle_start = bundle.bytes().as_ptr() as u64 - PHYSMAP;
    if !bundle_start.is_multiple_of(PAGE) {
        refuse(format_args!("the loader put the boot bundle at {bundle_start:#x}, which is no page boundary"));
    }
    let mut info = RawBootInfo::new_zeroed();
    boot.describe(&mut info);
    let state = with_state();
    let State { kernel, hardware, .. } = &mut *state;
    let process = kernel.boot_process(hardware, HANDLES, program.entry(), STACK_TOP, BOOT_INFO_ADDRESS);
    let process = match process {
        Ok(process) => process,
        Err(status) => refuse(format_args!("making the first process: {status:?}")),
    };
    state.init = process.process;
    let low_end = boot.memory.end_below(BOOT_REACH) / PAGE;
    let mut maker = Maker { state, memory: &mut boot.memory, boot: process };
    for segment in program.segments() {
        maker.map_segment(&segment);
    }
    for page in 1..=STACK_PAGES {
        let frame = maker.frame_of(&[]);
        maker.map(STACK_TOP - page * PAGE, frame, MapFlags::WRITE);
    }
    let info_frame = maker.frame_of(&[]);
    maker.map(BOOT_INFO_ADDRESS, info_frame, MapFlags::empty());

    let (first, bytes) = (bundle_start / PAGE, bundle.bytes().len() as u64);
    info.bundle = FrameRange { first, count: bytes.div_ceil(PAGE) };
    info.bundle_bytes = bytes;
    maker.give(handle::BUNDLE, first as u32..(first + info.bundle.count) as u32);
    // Nothing of the kernel lies above the RAM below 4 GiB: what it takes, it takes from there.
    maker.give(handle::DEVICES, low_end as u32..frames_end());
    maker.give(handle::FIRMWARE, FIRMWARE);
    let ranges = maker.memory.rest();
    info.ranges[..ranges.len()].copy_from_slice(&ranges);
    info.range_count = ranges.len() as u32;
    for (index, range) in ranges.iter().enumerate() {
        maker.give(Handle(handle::MEMORY + index as u16), range.first as u32..(range.first + range.count) as u32);
    }
    maker.fill(info_frame, info.as_bytes());
    say!("kernel: {} KiB for the kernel, {} MiB left", boot.memory.taken() >> 10, boot.memory.free() >> 20);
    process
}

/// The end of the frames that the processor can address, as far as frame numbers go: beyond it a page-table entry would
/// have reserved bits set (Intel SDM volume 3, 5.3.1).
fn frames_end() -> u32 {
    const SIZES: u32 = 0x8000_0008;
    let [most, ..] = cpuid(0x8000_0000, 0);
    let bits = if most >= SIZES { cpuid(SIZES, 0)[0] & 0xff } else { 36 };
    1u64.checked_shl(bits - 12).and_then(|end| u32::try_from(end).ok()).unwrap_or(u32::MAX)
}

impl Boot {
    /// Fills in what does not depend on the first process.
    fn describe(&self, info: &mut RawBootInfo) {
        info.magic = BOOT_INFO_MAGIC;
        info.version = BOOT_INFO_VERSION;
        info.cpus = self.cpus as u32;
        info.rsdp = self.firmware.rsdp;
        info.tsc_hz = with_state().hardware.clock.tsc_hz();
        info.memory_bytes = self.memory.total;
        info.frames_end = self.memory.end_below(u64::MAX) / PAGE;
        let line = self.firmware.command_line.as_bytes();
        info.command_line[..line.len()].copy_from_slice(line);
        info.command_line_bytes = line.len() as u32;
    }
}
