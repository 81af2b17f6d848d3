//! What the explorer tells states apart by is enough: those that it takes for the same have one future. So what it finds
//! does not depend on the order in which it finds it, nor on how many look.

use spec::{Explorer, Universe, congruent, universe};

/// States of each universe.
const STATES: usize = 1_000;
/// Memory in which digests and ways have room, and few states that wait.
const DEEP_BYTES: usize = 8 << 20;

#[test]
fn states_that_nothing_tells_apart_have_one_future() {
    let mut wrong = Vec::new();
    for name in universe::names() {
        let universe = universe::named(name).expect("a universe of this name");
        match congruent(&universe, STATES) {
            Ok(compared) => println!("{name}: {compared:?}"),
            Err(what) => wrong.push(format!("{name}: {what}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A universe in which each thread does few of the things that it might.
fn smaller(name: &str, ops: usize) -> Universe {
    let mut universe = universe::named(name).expect("a universe of this name");
    universe.alphabets.iter_mut().for_each(|alphabet| alphabet.truncate(ops));
    universe
}

/// Explored by one, by several, and with so little memory that the youngest states come first, a universe is the same.
#[test]
fn what_is_found_does_not_depend_on_who_looks() {
    for (name, ops) in [("boundary", 4), ("restore", 2), ("capabilities", 4), ("ipc", 3), ("death", 3)] {
        let universe = smaller(name, ops);
        let explored = |workers, bytes_max| {
            let explorer = Explorer { workers, bytes_max, ..Explorer::default() };
            let report = explorer.run(&universe, &|_| {}).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert!(report.closed, "{name}");
            (report.states, report.transitions, report.by_call)
        };
        let alone = explored(1, 1 << 30);
        println!("{name}: {} states, {} transitions", alone.0, alone.1);
        assert_eq!(explored(3, 1 << 30), alone, "{name}, by three");
        assert_eq!(explored(2, DEEP_BYTES), alone, "{name}, depth first");
    }
}
