//! Two processes that share a page, and their pager: it maps, narrows, unmaps, cuts, donates, reads the log of first
//! writes and gives frames to a device, while they write.
//!
//! The pager is one that can be trusted: it donates a frame only while that is in no other use. All else it does in
//! any order. Whoever cuts has exported the ended epoch at once.

use super::Universe;
use crate::event::{EPOCH_BEFORE, EPOCH_NOW, LOG_END, Op};
use crate::genesis::{EPOCH, Genesis, MEMORY, VOLATILE, WORLD};
use crate::sim::{Sim, WRITE_ADDRESS};
use abi::{Call, FrameState, MapFlags, PAGE_SIZE, Rights, Timeout};

/// The pager's handles.
const PORT: u16 = 1;
const FIRST: u16 = 2;
const SECOND: u16 = 3;
const FRAMES: u16 = 4;
const CUTS: u16 = 5;
/// Pages of the pager's memory, and the frame of its first.
const SHARED: u64 = 1;
const OTHER: u64 = 2;
const SPARE: u64 = 3;
const NEIGHBOUR: u64 = 4;
const BASE: u32 = 32;

fn map(process: u16, page: u64, flags: MapFlags, epoch: u64) -> Op {
    Op::new(Call::Map, process).with(WRITE_ADDRESS, &[page, 1, flags.bits(), epoch]).objects(&[FRAMES])
}

fn set(page: u64, state: FrameState) -> Op {
    Op::new(Call::SetFrames, CUTS).with(1 | (state as u64) << 8, &[page]).objects(&[FRAMES])
}

/// Whether a pager that can be trusted would do this: it donates a frame only while that is in no other use, and maps
/// none that was donated or holds a copy that is still needed; it begins to track a frame before anybody can write to it.
fn sensible(sim: &Sim, op: &Op) -> bool {
    let (donated, copies) = (sim.kernel.donated_frames(), sim.kernel.first_writes().1);
    let given = |frame: u32| donated.contains(&frame) || copies.iter().any(|&entry| (entry >> 32) as u32 == frame);
    let mapped = || sim.kernel.each_process().flat_map(|(process, _)| sim.kernel.mappings(&sim.m, process));
    let count = (op.frame.rdi as u8).min(8).into();
    let mut frames = op.frame.words.map(|page| BASE.saturating_add(page.min(1 << 20) as u32));
    match op.call {
        Call::Donate => {
            let frames = &mut frames[..count];
            frames.sort_unstable();
            let twice = frames.windows(2).any(|pair| pair[0] == pair[1]);
            !twice && frames.iter().all(|&frame| !given(frame) && mapped().all(|page| page.frame != frame))
        }
        Call::SetFrames => frames[..count].iter().all(|&frame| mapped().all(|page| page.frame != frame || !page.open)),
        Call::Map => {
            let pages = op.frame.words[1].min(u64::from(u16::MAX)) as u32;
            (frames[0]..frames[0] + pages).all(|frame| !given(frame))
        }
        _ => true,
    }
}

/// In each size beyond the first another process shares the page.
pub(super) fn universe(size: u32) -> Universe {
    let count = 1 + size;
    let mut genesis = Genesis::new([count, count, 1, 0, 1, 16 * count], [1, 1, 0, 0, 0, 16], 1);
    genesis.sim.exports_at_once = true;
    let port = genesis.endpoint(WORLD, 7);
    let pager = genesis.process(VOLATILE);
    genesis.grant(pager, port.handle, Rights::RECEIVE, 0);
    let (mut writers, mut processes) = (Vec::new(), Vec::new());
    for badge in 1..=u64::from(count) {
        let process = genesis.process(WORLD);
        genesis.call(Op::new(Call::SetMemoryPort, process.handle).with(badge, &[]).objects(&[port.handle]));
        if badge <= 2 {
            genesis.grant(pager, process.handle, Rights::PROCESS_MAP, 0);
        }
        processes.push(process.handle);
        writers.push(genesis.thread(WORLD, process, 10).index);
    }
    // So that the tables of one of them stay, whatever is unmapped: pages are mapped by the fast path too.
    let beside = Op::new(Call::Map, processes[1]).with(WRITE_ADDRESS + PAGE_SIZE as u64, &[NEIGHBOUR, 1, 0, 0]);
    genesis.call(beside.objects(&[MEMORY]));
    genesis.grant(pager, MEMORY, Rights::MEMORY_MAP | Rights::MEMORY_WRITE, 0);
    genesis.grant(pager, EPOCH, Rights::EPOCH_CUT, 0);
    let others: Vec<u16> =
        processes[2..].iter().map(|&process| genesis.grant(pager, process, Rights::PROCESS_MAP, 0)).collect();
    // A frame is tracked before anybody can write to it: that too is for the pager to see to.
    let tracked = Op::new(Call::SetFrames, EPOCH).with(1 | (FrameState::Clean as u64) << 8, &[SHARED]);
    genesis.call(tracked.objects(&[MEMORY]));
    let thread = genesis.thread(VOLATILE, pager, 11).index;
    genesis.resume();
    let write = MapFlags::WRITE;
    let about = "two processes that share a page, their pager, cuts between their writes";
    let mut universe = Universe::new("pages", about, genesis.sleep()).may(
        thread,
        [
            Op::new(Call::Receive, PORT).within(Timeout::from_ms(10)),
            Op::new(Call::Reply, 0),
            map(FIRST, SHARED, write, EPOCH_NOW),
            map(FIRST, SHARED, write | MapFlags::NOW, EPOCH_NOW),
            map(FIRST, OTHER, MapFlags::empty(), 0),
            map(SECOND, SHARED, write, EPOCH_NOW),
            map(SECOND, SHARED, write, EPOCH_BEFORE),
            Op::new(Call::Unmap, FIRST).with(WRITE_ADDRESS, &[1]),
            Op::new(Call::Protect, SECOND).with(WRITE_ADDRESS, &[1, 0]),
            Op::new(Call::Accessed, FIRST).with(WRITE_ADDRESS, &[1]),
            Op::new(Call::Cut, CUTS),
            Op::new(Call::ReadLog, CUTS).with(LOG_END, &[u64::MAX]),
            Op::new(Call::Donate, CUTS).with(1, &[SPARE]).objects(&[FRAMES]),
            set(SHARED, FrameState::Clean),
            set(SHARED, FrameState::Claimed),
        ],
    );
    for other in others {
        let unmap = Op::new(Call::Unmap, other).with(WRITE_ADDRESS, &[1]);
        universe = universe.may(thread, [map(other, SHARED, write, EPOCH_NOW), unmap]);
    }
    universe.writers = writers;
    universe.sensible = sensible;
    universe
}
