//! What the machine measures of itself: `bench=NAME` on the kernel's command line has init print figures for
//! `cargo xtask bench NAME` instead of starting the system. Loops and stubs are included, as a program pays for them.

use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::Timeout;
use libos::abi::boot_info::handle;
use libos::{Budget, Endpoint, IoPorts, Message, Process, Received, ThreadStart, null_call, println, ticks};

/// Rounds of each measurement.
const ROUNDS: u64 = 10_000;
/// Rounds before it: what is slow only once is not measured.
const WARM_UP: u64 = 100;
/// Words of the second thread's stack.
const STACK_WORDS: usize = 4096;
static STACK: [AtomicU64; STACK_WORDS] = [const { AtomicU64::new(0) }; STACK_WORDS];
/// Handle of the endpoint that the second thread serves.
static SERVED: AtomicU64 = AtomicU64::new(0);
/// I/O port that ends the machine in tests, and what says that all is well.
const EXIT_PORT: u16 = 0xf4;
const EXIT_CLEAN: u32 = 0x10;
const EXIT_UNKNOWN: u32 = 0x13;

/// Runs a benchmark and ends the machine.
pub(crate) fn run(name: &str) -> ! {
    let known = match name {
        "ipc" => ipc(),
        _ => false,
    };
    if !known {
        println!("init: there is no benchmark {name:?}; there is: ipc");
    }
    let code = if known { EXIT_CLEAN } else { EXIT_UNKNOWN };
    // Where there is no such port the machine is left to its time-out.
    let _ = IoPorts(handle::PORTS).write(EXIT_PORT, 1, code);
    loop {
        libos::sleep(1_000_000_000);
    }
}

/// Prints what one round of `round` takes.
fn measure(name: &str, mut round: impl FnMut()) {
    for _ in 0..WARM_UP {
        round();
    }
    let begin = ticks();
    for _ in 0..ROUNDS {
        round();
    }
    let each = (ticks() - begin) / ROUNDS;
    println!("BENCH {name} {each} insns runs={ROUNDS}");
}

fn ipc() -> bool {
    measure("null_syscall", null_call);
    let (budget, process) = (Budget(handle::BUDGET), Process(handle::PROCESS));
    if let Ok(notification) = budget.notification() {
        measure("poll_empty", || {
            let _ = notification.poll();
        });
    }
    let Ok(endpoint) = budget.endpoint(None) else { return false };
    SERVED.store(u64::from(endpoint.0.0), Ordering::Relaxed);
    // The System V ABI wants the stack 8 bytes off a multiple of 16 where a function begins.
    let top = STACK.as_ptr_range().end as u64 / 16 * 16 - 8;
    let start = ThreadStart { entry: serve as *const () as u64, stack: top, argument: 0, priority: 255 };
    let Ok(thread) = budget.thread(process, start) else { return false };
    if thread.start().is_err() {
        return false;
    }
    libos::yield_now();
    let message = Message { tag: 1, words: [1, 2, 3, 4, 5, 6, 7, 8], ..Message::default() };
    measure("ipc_round_trip_one_space", || {
        let _ = endpoint.call(&message);
    });
    true
}

/// The second thread: answers every call with what it said.
extern "C" fn serve() -> ! {
    let endpoint = Endpoint(libos::abi::Handle(SERVED.load(Ordering::Relaxed) as u16));
    let mut answer = Message::default();
    loop {
        if let Ok(Received::Call { message, .. }) = endpoint.reply_receive(&answer, Timeout::FOREVER) {
            answer = message;
        }
    }
}
