//! Threads that only compute, and so are preempted; and the stacks of second threads.

use crate::holder::Holder;
use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::Handle;
use libos::{Budget, Meanwhile, Process, Thread, ThreadStart};

/// Counts that a thread keeps up to date for the one that prints.
pub(crate) struct Counts {
    /// Steps it has made.
    pub(crate) steps: AtomicU64,
    pub(crate) wrong: AtomicU64,
    pub(crate) restored: AtomicU64,
}

impl Counts {
    pub(crate) const fn new() -> Self {
        Self { steps: AtomicU64::new(0), wrong: AtomicU64::new(0), restored: AtomicU64::new(0) }
    }

    pub(crate) fn tell(&self, holder: &Holder) {
        self.wrong.store(holder.wrong, Ordering::Relaxed);
        self.restored.store(holder.restored, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> [u64; 3] {
        [&self.steps, &self.wrong, &self.restored].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Words of a stack.
const STACK_WORDS: usize = 4096;

/// A stack.
pub(crate) struct Stack([AtomicU64; STACK_WORDS]);

impl Stack {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; STACK_WORDS])
    }
}

/// Of every thread here.
const PRIORITY: u8 = 100;
/// Rounds of a spin: most of a time slice (10 ms) or more, however fast the machine.
pub(crate) const SPIN_ROUNDS: u64 = 8_000_000;

/// What the spinner of this process has done.
pub(crate) static SPINNER: Counts = Counts::new();
static SPINNER_STACK: Stack = Stack::new();

/// Starts a thread of the calling process.
pub(crate) fn start(entry: extern "C" fn(u64) -> !, argument: u64, stack: &'static Stack) {
    // The System V ABI wants the stack 8 bytes off a multiple of 16 where a function begins.
    let stack = stack.0.as_ptr_range().end as u64 / 16 * 16 - 8;
    let start = ThreadStart { entry: entry as usize as u64, stack, argument, priority: PRIORITY };
    let made = Budget(Handle::BUDGET).thread(Process::OWN, start);
    let started = made.map_err(|why| panic!("no thread: {why:?}")).and_then(Thread::start);
    started.unwrap_or_else(|why| panic!("a thread does not start: {why:?}"));
}

/// Starts the spinner of this process, whose thread has this number.
pub(crate) fn start_spinner(thread: u64) {
    start(spin, thread, &SPINNER_STACK);
}

extern "C" fn spin(thread: u64) -> ! {
    let mut holder = Holder::new(thread);
    loop {
        holder.hold(Meanwhile::Spin(SPIN_ROUNDS));
        SPINNER.tell(&holder);
    }
}
