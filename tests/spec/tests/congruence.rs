//! What the explorer tells states apart by is enough: those that it takes for the same have one future. So what it finds
//! does not depend on the order in which it finds it, nor on how many look.

use spec::{congruent, universe};

/// States of each universe.
const STATES: usize = 1_000;

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
