//! Every universe: every interleaving of every call, held against the specification, every property and every invariant
//! of the core, the fast path beside the slow one. Four are run to closure; the others are larger than a test may take
//! and end at a bound (`cargo run --release -p spec --bin explore -- --universe NAME` goes further).

use spec::{Explorer, Report, universe};

/// States at which a universe that is not known to close ends.
const STATES_MAX: u64 = 300_000;
/// Universes that are run to closure.
const CLOSED: &[&str] = &["ipc", "capabilities", "notifications", "restore"];

/// What each universe must have seen, or it has shown nothing about it.
fn must_have_seen(name: &str) -> &'static [&'static str] {
    match name {
        "ipc" => &[
            "queue of two",
            "a saved Reply",
            "a void Reply held",
            "TimedOut",
            "Abandoned",
            "a server that calls another",
        ],
        "capabilities" => &["derivation depth of three", "revoke in steps", "Revoked", "TableFull", "PeerTableFull"],
        "notifications" => &["TimedOut", "AlreadyBound", "WouldBlock", "all idle"],
        "death" => &["PeerDied", "process destroyed in steps", "endpoint destroyed in steps", "a fault being served"],
        "two-cpus" => &["stopped while it runs elsewhere", "all CPUs busy", "WrongState"],
        "restore" => &["Restarted", "a saved Reply", "a fault being served"],
        "boundary" => &["Restarted", "WorldClosed", "a fault being served"],
        _ => &[],
    }
}

fn explore(name: &str) -> Report {
    let universe = universe::named(name).expect("a universe of this name");
    let closes = CLOSED.contains(&name);
    let explorer = Explorer { states_max: if closes { u64::MAX } else { STATES_MAX }, ..Explorer::default() };
    let report = explorer.run(&universe, &|_| {}).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    println!("{name}: {} states, {} transitions, depth {}", report.states, report.transitions, report.depth);
    for (call, count) in &report.by_call {
        println!("  {call:<20} {count:>10}");
    }
    for (what, count) in report.sometimes.iter() {
        println!("  sometimes {what:<32} {count:>10}");
    }
    assert!(report.closed || !closes, "{name}: not closed");
    for what in must_have_seen(name) {
        assert!(report.sometimes.seen(what) > 0, "{name}: never saw {what}");
    }
    report
}

/// One test, so that no two explorations share the processors and the sum can be checked.
#[test]
fn every_universe_is_sound() {
    let states: u64 = universe::NAMES.iter().map(|name| explore(name).states).sum();
    println!("{states} states in all");
    assert!(states >= 1_000_000, "{states} states in all are too few");
}
