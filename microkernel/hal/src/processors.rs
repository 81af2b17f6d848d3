//! All processors: starting them one after the other, their numbers, and stopping them for good.
//!
//! `start_all` on the first ── INIT, SIPI ──▶ [`crate::start`]'s `ap_entry` ──▶ [`join`] on the new one, which counts
//! itself in `JOINED`, waits until `release_all` has told where the core keeps its state, and goes idle.

use crate::apic::{INIT, LocalApic, NON_MASKABLE, STARTUP};
use crate::clock::Clock;
use crate::layout::{CPUS_MAX, StackKind};
use crate::serial::say;
use crate::start::{AP_PAGE, MAILBOX, Mailbox};
use crate::trap::{self, REGISTERS, edge};
use crate::{descriptors, processor};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use kernel_core::Cpu;
use x86_64::instructions::segmentation::{GS, Segment64};

/// Pauses after INIT and STARTUP, and the time a processor has to join (Intel SDM vol. 3A, 9.4.4.1).
const INIT_PAUSE_NS: u64 = 10_000_000;
const STARTUP_PAUSE_NS: u64 = 200_000;
const JOIN_NS_MAX: u64 = 1_000_000_000;

/// CPUs that have joined.
static JOINED: AtomicUsize = AtomicUsize::new(0);
/// APIC id of each CPU.
static IDS: [AtomicU32; CPUS_MAX] = [const { AtomicU32::new(0) }; CPUS_MAX];
/// The `Cpu`s of all CPUs, once there are any.
static CPU_STATES: AtomicPtr<Cpu> = AtomicPtr::new(core::ptr::null_mut());

/// APIC id of a CPU.
pub(crate) fn apic_id(cpu: usize) -> u32 {
    IDS[cpu].load(Ordering::Relaxed)
}

/// This CPU's own state, which it has already.
pub(crate) fn this_cpu() -> *mut Cpu {
    // In the kernel GS is based there.
    GS::read_base().as_mut_ptr()
}

/// Number of this CPU.
pub(crate) fn current() -> usize {
    // SAFETY: there (`this_cpu`), and never changed.
    unsafe { (*this_cpu()).edge[edge::CPU] as usize }
}

/// Stops all other CPUs, whatever they do. They never run again.
pub(crate) fn stop_others() {
    let joined = JOINED.load(Ordering::SeqCst);
    if joined > 1 {
        let own = LocalApic.id();
        (0..joined).map(apic_id).filter(|&id| id != own).for_each(|id| LocalApic.command(id, NON_MASKABLE));
    }
}

/// Loads what every CPU needs before it can take threads, and counts it.
///
/// # Safety
/// Its stacks are mapped and the kernel's own tables are loaded.
pub(crate) unsafe fn prepare(cpu: usize) {
    descriptors::load(cpu, StackKind::Main.top(cpu), StackKind::Emergency.top(cpu));
    processor::configure();
    LocalApic.enable();
    IDS[cpu].store(LocalApic.id(), Ordering::Relaxed);
    JOINED.fetch_add(1, Ordering::SeqCst);
}

/// Bases GS of this CPU at its `Cpu`.
///
/// # Safety
/// `state` is that for ever, and no one else's before.
pub(crate) unsafe fn adopt(cpu: usize, state: *mut Cpu) {
    // SAFETY: caller.
    unsafe {
        (*state).edge[edge::STACK] = StackKind::Main.top(cpu);
        (*state).edge[edge::CPU] = cpu as u64;
        (*state).edge[edge::SELF] = (state as u64).wrapping_sub(REGISTERS as u64);
        processor::set_gs_base(state as u64);
    }
}

/// Lets all CPUs that have joined wait for work; `cpus` is the first of as many `Cpu`s.
pub(crate) fn release_all(cpus: *mut Cpu) {
    CPU_STATES.store(cpus, Ordering::Release);
}

/// Starts the processors with these APIC ids but the one that runs; returns how many CPUs there are then. One that does
/// not join within a second is left out, with a sentence.
///
/// # Safety
/// [`crate::start::prepare_ap_page`] has run, and the stacks of as many CPUs are mapped in the tables at `root`.
pub(crate) unsafe fn start_all(ids: &[u32], root: u64, clock: &Clock) -> usize {
    let own = LocalApic.id();
    // As many as have a stack, whether ours is among those listed or not.
    let others = || ids.iter().copied().filter(|&id| id != own).take(ids.len().saturating_sub(1));
    others().for_each(|id| LocalApic.command(id, INIT));
    if others().next().is_some() {
        clock.pause_ns(INIT_PAUSE_NS);
    }
    for id in others() {
        let cpu = JOINED.load(Ordering::SeqCst);
        let stack_top = StackKind::Main.top(cpu);
        // SAFETY: no other processor is on its way in.
        unsafe { *MAILBOX.get() = Mailbox { root, argument: cpu as u64, next: join as *const (), stack_top } };
        let end = clock.now_ns() + JOIN_NS_MAX;
        while JOINED.load(Ordering::SeqCst) == cpu {
            if clock.now_ns() > end {
                say!("kernel: the processor with APIC id {id} does not start; going on without it and those after it");
                // It may be on its way in: it shall wait for a STARTUP that never comes.
                LocalApic.command(id, INIT);
                return cpu;
            }
            // One that has started does not heed it.
            LocalApic.command(id, STARTUP | (AP_PAGE >> 12) as u32);
            clock.pause_ns(STARTUP_PAUSE_NS);
        }
    }
    JOINED.load(Ordering::SeqCst)
}

/// First Rust function of every processor but the first, on its own stack and the kernel's tables.
extern "C" fn join(cpu: usize) -> ! {
    // SAFETY: `start_all`'s caller has mapped our stacks; `high_64` has loaded the kernel's tables.
    unsafe { prepare(cpu) };
    let mut states = CPU_STATES.load(Ordering::Acquire);
    while states.is_null() {
        core::hint::spin_loop();
        states = CPU_STATES.load(Ordering::Acquire);
    }
    // SAFETY: 1. there is a `Cpu` for each that joined (`release_all`); 2. to idle: GS is based, the kernel's own space
    // is loaded, we hold no lock, and keep nothing.
    unsafe {
        adopt(cpu, states.add(cpu));
        trap::idle_loop()
    }
}
