//! The one lock around the core, and what CPUs do for its holder while they wait for it.
//!
//! A CPU takes the lock with its thread's registers already in its frame, so a CPU that waits is *parked*: it holds
//! nothing that the holder could miss. When the holder asks, it drops its translations and shows its vector registers.
//! So the holder can wait for all others without ever waiting for the lock itself.
//!
//! Invariants:
//! 1. Only the holder sets bits of `PENDING`, and it waits until they are clear again.
//! 2. A CPU clears its own bit, while it waits for the lock, after it has done what the bit asks.
//! 3. So a CPU whose bit has been cleared runs no user instruction until the lock has been released.

use crate::instructions::save_vectors;
use crate::layout::CPUS_MAX;
use crate::processors::this_cpu;
use crate::shared::Shared;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel_core::VectorState;
use x86_64::instructions::tlb;

/// Length of `syscall`, by which a call that has not been made is set back.
const SYSCALL_BYTES: u64 = 2;

static NEXT: AtomicU32 = AtomicU32::new(0);
/// The ticket that holds the lock. The edge releases it by counting up.
pub(crate) static SERVING: AtomicU32 = AtomicU32::new(0);

/// CPUs that have yet to stop and to drop their translations.
static PENDING: AtomicU64 = AtomicU64::new(0);

/// An entry is written by its CPU before it clears its bit of `PENDING`, and read by the lock's holder after.
static PARKED: Shared<[VectorState; CPUS_MAX]> = Shared::new([VectorState::INITIAL; CPUS_MAX]);

/// Takes the lock. Interrupts are off; the registers of this CPU's thread are in its frame. As long as it waits `to_call`
/// the frame says that the call has not been made: a cut takes it as it is.
pub(crate) fn acquire(cpu: usize, to_call: bool) {
    let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
    if SERVING.load(Ordering::Acquire) != ticket {
        wait_for(ticket, cpu, if to_call { SYSCALL_BYTES } else { 0 });
    }
}

/// Takes the lock if nobody holds or awaits it.
pub(crate) fn try_acquire() -> bool {
    let serving = SERVING.load(Ordering::Relaxed);
    NEXT.compare_exchange(serving, serving.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed).is_ok()
}

#[cold]
fn wait_for(ticket: u32, cpu: usize, back: u64) {
    let (state, bit) = (this_cpu(), 1 << cpu);
    // SAFETY: this CPU's own state, which no one else looks at before it answers.
    unsafe { (*state).frame.rip = (*state).frame.rip.wrapping_sub(back) };
    while SERVING.load(Ordering::Acquire) != ticket {
        if PENDING.load(Ordering::Acquire) & bit != 0 {
            tlb::flush_all();
            // SAFETY: 1. this CPU's own entry, which the holder reads only after the bit is clear; 2. `cpu` < CPUS_MAX.
            save_vectors(unsafe { &mut (*PARKED.get())[cpu] });
            PENDING.fetch_and(!bit, Ordering::Release);
        }
        core::hint::spin_loop();
    }
    // SAFETY: as above; now we hold the lock.
    unsafe { (*state).frame.rip = (*state).frame.rip.wrapping_add(back) };
}

/// Releases the lock.
pub(crate) fn release() {
    // Only the holder writes it.
    SERVING.store(SERVING.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
}

/// For the holder: makes the CPUs of `mask` drop all translations and wait for the lock; `interrupt` makes one look.
/// Returns when all do.
pub(crate) fn stop_others(mask: u64, interrupt: impl Fn(usize)) {
    PENDING.store(mask, Ordering::SeqCst);
    (0..CPUS_MAX).filter(|&cpu| mask >> cpu & 1 == 1).for_each(interrupt);
    while PENDING.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

/// For the holder: the vector registers of a CPU that has stopped.
pub(crate) fn parked_vectors(cpu: usize) -> VectorState {
    // SAFETY: 1. `cpu` < CPUS_MAX, else this panics; 2. it has cleared its bit, and waits for the lock (invariant 3).
    unsafe { (*PARKED.get())[cpu] }
}
