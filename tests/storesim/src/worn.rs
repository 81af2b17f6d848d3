//! A medium that takes nothing more from some write on, or flushes nothing more, in the middle of an epoch: the store stops
//! and says at what; what was committed is whole, and on a disk that writes again the world goes on.

use snapshot_server::{Failure, Op};

use crate::life::{Ended, Lived};
use crate::script::Kind;
use crate::tally::Tally;

/// Counts at what a worn-out medium has ended a store.
pub(crate) fn count(end: &Lived<()>, kind: Kind, tally: &mut Tally) {
    if let Err(Ok(Ended::Stopped(Failure::Disk { op, .. }))) = end
        && kind == Kind::Worn
    {
        tally.add(if *op == Op::Write { "worn out: write" } else { "worn out: flush" }, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run_seed;
    use crate::shrink::passed;

    #[test]
    fn a_medium_that_takes_nothing_more_costs_nothing_that_was_committed() {
        let mut tally = Tally::default();
        for seed in 1..=600 {
            tally.merge(&passed(run_seed(Kind::Worn, seed, 5)));
        }
        tally.report("storesim: a worn-out medium");
        assert_eq!(tally.of("damage: page refused"), 0);
        tally.require_more_than(100, &["worn out: write", "worn out: flush", "epochs committed", "kept epoch opened"]);
    }
}
