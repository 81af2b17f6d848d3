//! Disks that lie: lost writes, misdirected writes, rotten blocks. Nothing wrong may ever be returned as good: what is
//! damaged is refused, by name, and what is opened instead is exactly an epoch that was sealed.

use snapshot_server::Refusal;

use crate::arena::Arena;
use crate::disk::SimDisk;
use crate::life::{History, Life, LifeError, Lived};
use crate::run::judge;
use crate::script::Plan;
use crate::tally::Tally;

/// A refusal that offers an older epoch: that one is opened, and is what it was.
pub(crate) fn open_offer(
    plan: &Plan,
    arena: &mut Arena,
    disk: SimDisk,
    history: &History,
    refusal: Refusal,
    tally: &mut Tally,
) -> (SimDisk, Result<(), LifeError>) {
    let Refusal::Damaged { offer: Some(offer), .. } = refusal else {
        tally.add("refused without an offer", 1);
        return (disk, Ok(()));
    };
    tally.add("refused with an offer", 1);
    let mut life = Life::open(arena, disk, plan.config(), Some(offer), history.clone());
    life.faults_expected = true;
    let end = check(&mut life);
    tally.add("offer opened", u64::from(end.is_ok()));
    tally.merge(&life.tally);
    let end = judge(end, true, tally);
    (life.store.into_host(), end)
}

fn check(life: &mut Life<'_>) -> Lived<()> {
    life.opened()?;
    life.check_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run_seed;
    use crate::script::Kind;
    use crate::shrink::passed;

    #[test]
    fn what_a_lying_disk_has_spoilt_is_never_returned_as_good() {
        let mut tally = Tally::default();
        for seed in 1..=1500 {
            tally.merge(&passed(run_seed(Kind::Faulty, seed, 5)));
        }
        tally.report("storesim: faulty");
        tally.require(&[
            "fault: lost write",
            "fault: misdirected write",
            "fault: rotten block",
            "fault: bad block read",
            "case: LogEndUnreadable",
            "damage: page refused",
            "lives: refused to open",
            "lives: stopped",
            "refused with an offer",
            "offer opened",
            "case: RootOlder",
            "case: HeaderSecond",
        ]);
    }
}
