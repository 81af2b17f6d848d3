//! The threads of the process that throws, and what they count.

use core::sync::atomic::{AtomicU64, Ordering};
use libos::abi::{CALLS, Control, Handle, Outcome, Status};
use libos::{CallOptions, Endpoint, Message, Misdeed, any_call, misdeed};
use trials::{Random, Throw, throw};

/// Threads that throw side by side; one more reports.
pub(crate) const THREADS: usize = 3;
const STACK_WORDS: usize = 4096;

/// Stacks: where they lie is the same in both processes, which run one program.
static STACKS: [[AtomicU64; STACK_WORDS]; THREADS + 1] =
    [const { [const { AtomicU64::new(0) }; STACK_WORDS] }; THREADS + 1];

/// Kinds of answers that are counted, one more for those that have no number.
const STATUSES: usize = 73;
static ANSWERS: [AtomicU64; STATUSES] = [const { AtomicU64::new(0) }; STATUSES];
/// Misdeeds by kind.
static MISDEEDS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
/// A bit for each call that has been thrown; that has succeeded.
static THROWN: AtomicU64 = AtomicU64::new(0);
static SUCCEEDED: AtomicU64 = AtomicU64::new(0);

/// First word of a message that reports: no thrower knows it.
pub(crate) const REPORT: u64 = 0x7265_706f_7274_3a29;
/// What a report says, in this order: throws, misdeeds, kinds of calls thrown and answered well, and answers.
pub(crate) const REPORTED: [(&str, Option<Status>); 14] = [
    ("throws", None),
    ("misdeeds", None),
    ("calls", None),
    ("succeeded", None),
    ("ok", Some(Status::Ok)),
    ("bad-handle", Some(Status::BadHandle)),
    ("wrong-kind", Some(Status::WrongKind)),
    ("missing-right", Some(Status::MissingRight)),
    ("bad-argument", Some(Status::BadArgument)),
    ("no-such-call", Some(Status::NoSuchCall)),
    ("wrong-state", Some(Status::WrongState)),
    ("would-block", Some(Status::WouldBlock)),
    ("timed-out", Some(Status::TimedOut)),
    ("exhausted", Some(Status::BudgetExhausted)),
];
/// Words of a message that carry counts.
pub(crate) const PER_MESSAGE: usize = 7;

/// Where the stack of thread `place` ends.
pub(crate) fn stack(place: usize) -> u64 {
    // The System V ABI wants the stack 8 bytes off a multiple of 16 where a function begins.
    STACKS[place].as_ptr_range().end as u64 / 16 * 16 - 8
}

/// The first thread of the process: it throws until it has ended itself.
pub(crate) fn run(seed: u64) -> ! {
    throw_on(seed)
}

/// A later one, with a seed of its own.
pub(crate) extern "C" fn throw_on(seed: u64) -> ! {
    let mut random = Random::new(seed, 0);
    loop {
        match throw(&mut random) {
            Throw::Call(registers) => {
                let call = Control(registers[0]).call();
                if call < CALLS {
                    THROWN.fetch_or(1 << call, Ordering::Relaxed);
                }
                let status = Outcome(any_call(registers)[0]).0 as u8;
                ANSWERS[usize::from(status).min(STATUSES - 1)].fetch_add(1, Ordering::Relaxed);
                if status == Status::Ok as u8 && call < CALLS {
                    SUCCEEDED.fetch_or(1 << call, Ordering::Relaxed);
                }
            }
            Throw::Misdeed(kind, address) => {
                MISDEEDS[kind as usize].fetch_add(1, Ordering::Relaxed);
                let kinds = [Misdeed::Load, Misdeed::Store, Misdeed::Jump, Misdeed::Halt, Misdeed::Undefined];
                misdeed(kinds[kind as usize], address)
            }
        }
    }
}

fn count(place: usize) -> u64 {
    let sum = |counts: &[AtomicU64]| counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    match (place, REPORTED[place].1) {
        (_, Some(status)) => ANSWERS[status as usize].load(Ordering::Relaxed),
        (0, _) => sum(&ANSWERS),
        (1, _) => sum(&MISDEEDS),
        (2, _) => THROWN.load(Ordering::Relaxed).count_ones().into(),
        _ => SUCCEEDED.load(Ordering::Relaxed).count_ones().into(),
    }
}

/// A thread that tells the keeper, through this handle, what has been counted.
pub(crate) extern "C" fn report(keeper: u64) -> ! {
    let keeper = Endpoint(Handle(keeper as u16));
    loop {
        for first in (0..REPORTED.len()).step_by(PER_MESSAGE) {
            let mut message = Message::tagged(first as u64).word(0, REPORT);
            for place in first..REPORTED.len().min(first + PER_MESSAGE) {
                message.words[1 + place - first] = count(place);
            }
            // Another thread may have thrown the handle away; the keeper then gives a new one.
            let _ = keeper.send(&message, CallOptions::default());
        }
        libos::sleep(50_000_000);
    }
}
