//! `keeper`: generation after generation of hostile threads.

use crate::thrower::{PER_MESSAGE, REPORT, REPORTED, THREADS, report, stack, throw_on};
use core::fmt::Write;
use libos::abi::{Handle, Rights, Timeout};
use libos::{
    Budget, BudgetCounts, Capability, Console, DestroyError, Endpoint, Message, Notification, OwnSpace, Process,
    Received, Startup, Thread, ThreadStart, clock, reply, save_reply,
};

/// How long a generation throws.
const GENERATION_NS: u64 = 100_000_000;
/// Longest wait for its report.
const REPORT_NS: u64 = 300_000_000;
/// Of hostile threads: they never wait long, and at the tally's own priority would leave it one slice in five.
const PRIORITY: u8 = 90;
/// Badge of what is thrown at the keeper.
const BADGE: u64 = 7;
/// What a generation is given to waste.
const PURSE: BudgetCounts =
    BudgetCounts { processes: 0, threads: 1, endpoints: 1, notifications: 1, budgets: 0, slots: 0 };

/// Handles of the sandbox.
const SANDBOX_HANDLES: u64 = 16;

struct Keeper {
    /// The hostile process.
    hostile: Process,
    /// A process in which nothing runs, the hostile one's to do with what it likes.
    sandbox: Option<Process>,
    /// What it may make objects from.
    purse: Option<Budget>,
    /// What its threads may talk to each other through.
    endpoint: Option<Endpoint>,
    bell: Option<Notification>,
    /// Where it reports, and whatever else it sends.
    own: Endpoint,
    counts: [u64; REPORTED.len()],
    /// Messages that were no reports.
    thrown_at: u64,
}

pub(crate) fn run(startup: &Startup) -> ! {
    let mut space = OwnSpace::of(startup);
    let console = Console::new(startup.endpoint("console"), &mut space);
    let mut console = console.unwrap_or_else(|why| panic!("nothing can be printed: {why:?}"));
    let seed = startup.number("hostile", 0);
    let own = Budget(Handle::BUDGET).endpoint(None).unwrap_or_else(|why| panic!("no endpoint: {why:?}"));
    let hostile = Process(startup.handle("hostile"));
    let mut keeper = Keeper {
        hostile,
        sandbox: None,
        purse: None,
        endpoint: None,
        bell: None,
        own,
        counts: [0; REPORTED.len()],
        thrown_at: 0,
    };
    for generation in 1_u64.. {
        let reported = keeper.generation(seed.wrapping_add(generation << 8));
        // What cannot be printed is missed by who waits for it.
        let _ = write!(console, "hostile: seed {seed} generation {generation} reported {}", u64::from(reported));
        for ((name, _), count) in REPORTED.iter().zip(keeper.counts) {
            let _ = write!(console, " {name} {count}");
        }
        let _ = writeln!(console, " thrown-at {}", keeper.thrown_at);
        console.flush();
    }
    panic!("no more generations")
}

impl Keeper {
    /// A generation, from its first call to its last: whether it reported.
    fn generation(&mut self, seed: u64) -> bool {
        self.feed();
        let threads: [Option<Thread>; THREADS] =
            core::array::from_fn(|place| self.send_in(throw_on, seed + place as u64, place));
        self.listen(GENERATION_NS);
        let keeper = self.hostile.grant(Capability(self.own.0), Rights::SEND, BADGE);
        let reporter = keeper.ok().and_then(|keeper| self.send_in(report, keeper.0.into(), THREADS));
        let reported = reporter.is_some() && self.listen(REPORT_NS);
        for thread in threads.into_iter().chain([reporter]).flatten() {
            // A thread here only ends by the keeper's will, however it stopped.
            let ended = Capability(thread.0).destroy();
            assert!(ended.is_ok(), "a thread does not end: {ended:?}");
            let _ = Capability(thread.0).drop();
        }
        // What has something left in it, or cannot be destroyed yet, is there for the next generation too.
        self.sandbox = self.sandbox.filter(|sandbox| !is_gone(Capability(sandbox.0)));
        self.endpoint = self.endpoint.filter(|endpoint| !is_gone(Capability(endpoint.0)));
        self.bell = self.bell.filter(|bell| !is_gone(Capability(bell.0)));
        self.purse = self.purse.filter(|purse| !is_gone(Capability(purse.0)));
        reported
    }

    /// Gives the hostile process something to lose. What it has no room for it does not get.
    fn feed(&mut self) {
        let own = Budget(Handle::BUDGET);
        self.sandbox = self.sandbox.or_else(|| own.process(SANDBOX_HANDLES).ok());
        self.purse = self.purse.or_else(|| own.split(PURSE).ok());
        let _ = self.hostile.grant(Capability(self.own.0), Rights::SEND | Rights::COPY, BADGE);
        self.endpoint = self.endpoint.or_else(|| own.endpoint(None).ok());
        self.bell = self.bell.or_else(|| own.notification().ok());
        let gifts = [
            self.sandbox.map(|sandbox| sandbox.0),
            self.purse.map(|purse| purse.0),
            self.endpoint.map(|endpoint| endpoint.0),
            self.bell.map(|bell| bell.0),
        ];
        for gift in gifts.into_iter().flatten() {
            let _ = self.hostile.grant(Capability(gift), Rights::all(), 0);
        }
    }

    /// Makes a hostile thread.
    fn send_in(&self, entry: extern "C" fn(u64) -> !, argument: u64, place: usize) -> Option<Thread> {
        let start = ThreadStart { entry: entry as usize as u64, stack: stack(place), argument, priority: PRIORITY };
        let thread = Budget(Handle::BUDGET).thread(self.hostile, start).ok()?;
        let started = thread.start();
        assert!(started.is_ok(), "a thread does not start: {started:?}");
        Some(thread)
    }

    /// Takes what comes for so long, or until a report is complete, which it says.
    fn listen(&mut self, ns: u64) -> bool {
        let end = clock().world_ns.saturating_add(ns);
        loop {
            let now = clock().world_ns;
            if now >= end {
                return false;
            }
            let Ok(received) = self.own.receive(Timeout::from_ns(end - now)) else { continue };
            let message = match received {
                Received::Message { message, .. } => message,
                Received::Call { message, .. } => {
                    // Who has thrown it may be gone.
                    let _ = reply(&Message::default());
                    message
                }
                // A thread of the sandbox: it stays where it is.
                Received::Fault(_) => {
                    let _ = save_reply().map(|saved| Capability(saved.0).drop());
                    continue;
                }
                Received::Notification(_) => continue,
            };
            for cap in message.caps.into_iter().filter(|cap| !cap.is_null()) {
                let _ = Capability(cap).drop();
            }
            if message.words[0] != REPORT {
                self.thrown_at += 1;
                continue;
            }
            let first = message.tag as usize;
            for (place, word) in (first..REPORTED.len()).zip(&message.words[1..]) {
                self.counts[place] = *word;
            }
            if first + PER_MESSAGE >= REPORTED.len() {
                return true;
            }
        }
    }
}

/// Whether an object was destroyed, now or before: then the capability is dropped.
fn is_gone(what: Capability) -> bool {
    if what.destroy() == Err(DestroyError::WrongState) {
        return false;
    }
    let _ = what.drop();
    true
}
