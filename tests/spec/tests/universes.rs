//! Every universe: every interleaving of every call, held against the specification, every property and every invariant
//! of the core, the fast path beside the slow one, each to closure: no state is left that was found and not expanded.

use spec::{Explorer, Report, universe};

/// What each universe must have seen, or it has shown nothing about it.
fn must_have_seen(name: &str) -> &'static [&'static str] {
    match name {
        "ipc" => &[
            "queue of two",
            "queue of three",
            "a saved Reply",
            "a void Reply held",
            "TimedOut",
            "Abandoned",
            "a server that calls another",
        ],
        "capabilities" => &["derivation depth of three", "revoke in steps", "Revoked", "TableFull", "PeerTableFull"],
        "notifications" => &["TimedOut", "Revoked", "AlreadyBound", "WouldBlock", "all idle"],
        "death" => &["PeerDied", "process destroyed in steps", "endpoint destroyed in steps", "a fault being served"],
        "two-cpus" => &["stopped while it runs elsewhere", "all CPUs busy", "WrongState"],
        "restore" => &[
            "Restarted",
            "a saved Reply",
            "a fault being served",
            "export: a shadow slot used",
            "export: the next cut refused",
            "export: a call made or answered between",
            "export: a first write between",
            "export: a thread died between",
            "export: a process died between",
            "export in between a revoke",
        ],
        "boundary" => &["Restarted", "WorldClosed", "a fault being served"],
        "pages" => &[
            "StaleEpoch",
            "Busy",
            "a fault being served",
            "a copy in the log",
            "a page shared and open",
            "a log that is full",
            "a page mapped the fast way",
        ],
        _ => &[],
    }
}

fn explore(name: &str) -> Report {
    let universe = universe::named(name).expect("a universe of this name");
    let report = Explorer::default().run(&universe, &|_| {}).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    println!("{name}: {} states, {} transitions, depth {}", report.states, report.transitions, report.depth);
    for (call, count) in &report.by_call {
        println!("  {call:<20} {count:>10}");
    }
    for (what, count) in report.sometimes.iter() {
        println!("  sometimes {what:<32} {count:>10}");
    }
    assert!(report.closed, "{name}: not closed");
    for what in must_have_seen(name) {
        assert!(report.sometimes.seen(what) > 0, "{name}: never saw {what}");
    }
    report
}

/// One test, so that no two explorations share the processors and the sum can be checked.
#[test]
fn every_universe_is_sound() {
    let states: u64 = universe::names().map(|name| explore(name).states).sum();
    println!("{states} states in all");
    assert!(states >= 1_000_000, "{states} states in all are too few");
}
