//! The one lock around the core, and what CPUs do for its holder while they wait for it.
//!
//! A CPU takes the lock with its thread's registers already in its frame, so a CPU that waits is *parked*: it holds
//! nothing that the holder could miss. While it spins it drops translations and shows its vector registers when the
//! holder asks. So the holder can wait for all others without ever waiting for the lock itself.
//!
//! Invariants:
//! 1. Only the holder sets bits of `FLUSH_PENDING` and `STOP_PENDING`, and it waits until they are clear again.
//! 2. A CPU clears its own bit only after it has done what the bit asks.
//! 3. A CPU whose bit in `STOP_PENDING` has been cleared runs no user instruction until the lock has been released.

use crate::instructions::save_vectors;
use crate::layout::CPUS_MAX;
use crate::processors::this_cpu;
use crate::shared::Shared;
use crate::trap::{self, edge};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel_core::VectorState;
use x86_64::{VirtAddr, instructions::tlb};

/// Length of `syscall`, by which a call that has not been made is set back.
const SYSCALL_BYTES: u64 = 2;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// The ticket that holds the lock. The edge releases it by counting up.
pub(crate) static SERVING: AtomicU32 = AtomicU32::new(0);

/// CPUs that have yet to drop `FLUSH_PAGE`.
static FLUSH_PENDING: AtomicU64 = AtomicU64::new(0);
/// What to drop: the address of a page, or `ALL`.
static FLUSH_PAGE: AtomicU64 = AtomicU64::new(ALL);
const ALL: u64 = u64::MAX;
/// CPUs that have yet to stop.
static STOP_PENDING: AtomicU64 = AtomicU64::new(0);

/// An entry is written by its CPU before it clears its bit of STOP_PENDING, and read by the lock's holder after.
static PARKED: Shared<[VectorState; CPUS_MAX]> = Shared::new([VectorState::INITIAL; CPUS_MAX]);

/// What a CPU that waits is marked with in its `edge`.
mod mark {
    /// It waits for something else than to make a call, or not at all.
    pub(super) const NONE: u64 = 0;
    /// It waits to make a call; the frame's rip is behind the `syscall`.
    pub(super) const CALL: u64 = 1;
    /// The call was set back: the frame's rip is at the `syscall`.
    pub(super) const SET_BACK: u64 = 2;
}

/// Drops translations if the holder waits for this CPU to do so.
pub(crate) fn answer_flush(cpu: usize) {
    let bit = 1 << cpu;
    if FLUSH_PENDING.load(Ordering::Acquire) & bit != 0 {
        drop_translations(Some(FLUSH_PAGE.load(Ordering::Acquire)).filter(|&page| page != ALL));
        FLUSH_PENDING.fetch_and(!bit, Ordering::Release);
    }
}

/// Drops this CPU's own translations: of a page, or all.
pub(crate) fn drop_translations(page: Option<u64>) {
    match page {
        Some(page) => tlb::flush(VirtAddr::new_truncate(page)),
        None => tlb::flush_all(),
    }
}

/// Shows this CPU's registers if the holder waits for that. Only while it waits for the lock (invariant 3).
fn answer_stop(cpu: usize) {
    let bit = 1 << cpu;
    if STOP_PENDING.load(Ordering::Acquire) & bit == 0 {
        return;
    }
    // SAFETY: 1. this CPU's own entry, which the holder reads only after the bit is clear; 2. `cpu` < CPUS_MAX.
    save_vectors(unsafe { &mut (*PARKED.get())[cpu] });
    let state = this_cpu();
    // SAFETY: this CPU's own state; the holder touches it only after the bit is clear.
    unsafe {
        if (*state).edge[edge::IN_SYSCALL] == mark::CALL {
            (*state).edge[edge::IN_SYSCALL] = mark::SET_BACK;
            (*state).frame.rip = (*state).frame.rip.wrapping_sub(SYSCALL_BYTES);
        }
        // A cut keeps the record as it is, and not every way back to the program sets this anew.
        (*state).edge[edge::OWN] = trap::frame_as_record(state);
    }
    STOP_PENDING.fetch_and(!bit, Ordering::Release);
}

/// Takes the lock. Interrupts are off; the registers of this CPU's thread are in its frame. As long as it waits `to_call` a
/// cut may set its call back.
pub(crate) fn acquire(cpu: usize, to_call: bool) {
    let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
    if SERVING.load(Ordering::Acquire) != ticket {
        wait_for(ticket, cpu, if to_call { mark::CALL } else { mark::NONE });
    }
}

/// Takes the lock if nobody holds or awaits it.
pub(crate) fn try_acquire() -> bool {
    let serving = SERVING.load(Ordering::Relaxed);
    NEXT.compare_exchange(serving, serving.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed).is_ok()
}

#[cold]
fn wait_for(ticket: u32, cpu: usize, mark: u64) {
    let state = this_cpu();
    // SAFETY: this CPU's own state, which no one else touches before `answer_stop`.
    unsafe { (*state).edge[edge::IN_SYSCALL] = mark };
    while SERVING.load(Ordering::Acquire) != ticket {
        answer_flush(cpu);
        answer_stop(cpu);
        core::hint::spin_loop();
    }
    // SAFETY: as above; now we hold the lock.
    unsafe {
        if (*state).edge[edge::IN_SYSCALL] == mark::SET_BACK {
            (*state).frame.rip = (*state).frame.rip.wrapping_add(SYSCALL_BYTES);
        }
        (*state).edge[edge::IN_SYSCALL] = mark::NONE;
    }
}

/// Releases the lock.
pub(crate) fn release() {
    // Only the holder writes it.
    SERVING.store(SERVING.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
}

/// For the holder: makes the CPUs of `mask` drop translations; `interrupt` makes one look. Returns when all have.
pub(crate) fn flush_others(mask: u64, page: Option<u64>, interrupt: impl Fn(usize)) {
    FLUSH_PAGE.store(page.unwrap_or(ALL), Ordering::Release);
    ask(&FLUSH_PENDING, mask, interrupt);
}

/// For the holder: makes the CPUs of `mask` wait for the lock; `interrupt` makes one look. Returns when all do.
pub(crate) fn stop_others(mask: u64, interrupt: impl Fn(usize)) {
    ask(&STOP_PENDING, mask, interrupt);
}

fn ask(pending: &AtomicU64, mask: u64, interrupt: impl Fn(usize)) {
    pending.store(mask, Ordering::SeqCst);
    (0..CPUS_MAX).filter(|&cpu| mask >> cpu & 1 == 1).for_each(interrupt);
    while pending.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

/// For the holder: the vector registers of a CPU that has stopped.
pub(crate) fn parked_vectors(cpu: usize) -> VectorState {
    // SAFETY: 1. `cpu` < CPUS_MAX, else this panics; 2. it has cleared its bit, and waits for the lock (invariant 3).
    unsafe { (*PARKED.get())[cpu] }
}
