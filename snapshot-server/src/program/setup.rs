//! Memory for a store of the disk's size, a look at whether the disk is blank, and the conductor over it.

use core::sync::atomic::AtomicU64;
use libos::abi::protocol::wiring::{self, EpochsPage, Failure, Phase, link, option};
use libos::abi::{Epoch, PAGE_SIZE, Timeout};
use libos::{LentPages, Notification, Startup, Window, WindowArena, println};
use snapshot_server::conductor::{self, BlockDisk, Policy, Probe, Probed};
use snapshot_server::{
    CACHE_FRAMES_MIN, Cell, Config, Deferred, Disk, Entry, FormatOptions, Frame, Memory, PENDING_MIN, PageMemory,
    PageRef, Pending, ReadOp, TableBlock, WRITE_BUFFERS_MIN,
};

use super::environment::{BATCH_PAGE, Machine, words};

/// Pages of the store's own: nodes it has read, and blocks it writes.
const CACHE_PAGES: usize = CACHE_FRAMES_MIN + 40;
const WRITE_PAGES: usize = WRITE_BUFFERS_MIN + 104;
/// Blocks of a segment: 1 MiB.
const SEGMENT_BLOCKS: u32 = 256;
/// Slots of each root ring.
const ROOT_SLOTS: u32 = 16;
/// How long to wait for a driver before it is said that there is none.
const DISK_WAIT_NS: u64 = 10_000_000_000;

/// The conductor of this program.
pub(super) type Conductor = conductor::Conductor<'static, BlockDisk<'static, Frames>>;

/// The frames that the store may look at: the world's memory and its own buffers.
pub(super) struct Frames {
    world: LentPages,
    own: LentPages,
}

/// Frame numbers are the low half of a page reference.
fn frame(page: PageRef) -> u64 {
    page.0 & u64::from(u32::MAX)
}

impl PageMemory for Frames {
    fn bytes(&self, page: PageRef) -> &[u8; PAGE_SIZE] {
        let frame = frame(page);
        if self.own.contains(frame) { self.own.bytes(frame) } else { self.world.bytes(frame) }
    }

    fn bytes_mut(&mut self, page: PageRef) -> &mut [u8; PAGE_SIZE] {
        let frame = frame(page);
        if self.own.contains(frame) { self.own.bytes_mut(frame) } else { self.world.bytes_mut(frame) }
    }
}

/// Waits for the disk, looks at it, and opens or makes the store.
pub(super) fn conductor(startup: &Startup, machine: &Machine, wake: Notification) -> Conductor {
    let buffers = startup.window(wiring::BUFFERS);
    let lent = |window: Window| match window.lent() {
        Some(pages) => pages,
        None => panic!("a window of pages names no frames"),
    };
    let first = lent(buffers).first_frame() + BATCH_PAGE + 1;
    let frames = Frames { world: lent(startup.window(wiring::RAM)), own: lent(buffers) };
    let mut disk = BlockDisk::new(words(startup, link::BLOCK), frames);
    let blank = probe(startup, machine, wake, &mut disk, PageRef(first));
    let tables_at = (BATCH_PAGE as usize + 1 + CACHE_PAGES + WRITE_PAGES) * PAGE_SIZE;
    let arena = buffers.part(tables_at, buffers.bytes() - tables_at).and_then(Window::arena);
    let mut arena = match arena {
        Ok(arena) => arena,
        Err(error) => panic!("no memory for tables: {error:?}"),
    };
    let pages = arena.take(CACHE_PAGES + WRITE_PAGES, PageRef(0));
    for (page, frame) in pages.iter_mut().zip(first..) {
        *page = PageRef(frame);
    }
    let memory = memory(&mut arena, disk.blocks() as usize, pages);
    let policy = Policy {
        interval_ns: startup.number("interval-us", 250_000) * 1_000,
        hurry_ns: startup.number("hurry-us", 5_000) * 1_000,
    };
    let config = Config { interval_entries: ENTRIES as u32 / 4, ..Config::default() };
    if blank {
        println!("snapshot: the disk is blank, making a store of {} MiB", disk.blocks() >> 8);
        let options = FormatOptions {
            // Worlds are told apart by when they were made, to the tick.
            world: format::World(libos::clock().world_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            root_slots: ROOT_SLOTS,
            segment_blocks: SEGMENT_BLOCKS,
            formatted_ns: 0,
            programs: machine.programs(),
        };
        return Conductor::format(memory, disk, config, policy, options);
    }
    let asked = startup.number(option::EPOCH, 0);
    Conductor::open(memory, disk, config, policy, (asked != 0).then_some(Epoch::from_bits(asked)))
}

/// Entries of the map's newest layers.
const ENTRIES: usize = 1 << 14;

fn memory(arena: &mut WindowArena, blocks: usize, pages: &'static mut [PageRef]) -> Memory<'static> {
    // As large a window as there is beside what the disk's size asks for.
    Memory {
        entries: arena.take(ENTRIES, Entry::default()),
        cells: arena.take(ENTRIES * 2, Cell::default()),
        space: arena.take(blocks, 0),
        table: arena.take(blocks.div_ceil(4096), TableBlock::default()),
        segments: arena.take(blocks.div_ceil(8), 0),
        pending: arena.take(PENDING_MIN * 4, Pending::default()),
        deferred: arena.take(4096, Deferred::default()),
        reads: arena.take(64, ReadOp::default()),
        frames: arena.take(CACHE_PAGES, Frame::default()),
        pages,
    }
}

fn probe(
    startup: &Startup,
    machine: &Machine,
    wake: Notification,
    disk: &mut BlockDisk<'static, Frames>,
    page: PageRef,
) -> bool {
    let mut probe = Probe::new(page);
    let begun = machine.now();
    let mut told = false;
    loop {
        if let Some(probed) = probe.poll(disk) {
            match probed {
                Probed::Blank => return true,
                Probed::Written => return false,
                Probed::Dead => no_disk(startup, Failure::DiskDead),
            }
        }
        if disk.take_ring() {
            machine.ring_disk();
        }
        if !told && machine.now() - begun > DISK_WAIT_NS {
            println!("snapshot: no disk answers yet");
            told = true;
            publish_failure(words(startup, wiring::EPOCHS), Failure::NoDisk);
        }
        // A time-out is as good as a ring here.
        let _ = wake.wait(Timeout::from_ms(100));
    }
}

fn publish_failure(page: &[AtomicU64], failure: Failure) {
    let said = EpochsPage { phase: Phase::Failed, failure: Some(failure), ..EpochsPage::default() };
    said.write(page);
}

/// There is a disk, but it does not answer: nothing to be done before init restarts this program.
fn no_disk(startup: &Startup, failure: Failure) -> ! {
    println!("snapshot: the disk cannot be read");
    publish_failure(words(startup, wiring::EPOCHS), failure);
    loop {
        libos::sleep(DISK_WAIT_NS);
    }
}
