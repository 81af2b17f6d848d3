//! Disks that lie: lost writes, misdirected writes, rotten blocks. Nothing wrong may ever be returned as good: what is
//! damaged is refused, by name, and what is opened instead is exactly an epoch that was sealed.

use snapshot_server::Refusal;

use crate::arena::Arena;
use crate::disk::{CutMode, Fault, SimDisk};
use crate::life::{Ended, History, Life, LifeError, Lived};
use crate::random::Random;
use crate::run::{Failed, Plan, Replay, judge, work};
use crate::tally::Tally;

/// Runs the world of `seed` on a disk that lies.
pub fn run_faulty(seed: u64, lives: u32) -> Result<Tally, Failed> {
    let _replay = Replay(seed, " --faulty");
    let mut random = Random::new(seed ^ 0x6661_756c_7479);
    let plan = Plan::new(&mut random);
    let mut tally = Tally::default();
    let mut arena = Arena::new(&plan.sizes);
    let mut disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut history = History::default();
    for number in 0..lives {
        let formatting = number == 0;
        let failed = |error| Failed { seed, life: number, error };
        let mut life = if formatting {
            Life::format(&mut arena, disk, plan.config, plan.options)
        } else {
            Life::open(&mut arena, disk, plan.config, None, history)
        };
        life.faults_expected = true;
        let end = live(&mut life, &plan, &mut random);
        tally.merge(&life.tally);
        history = core::mem::take(&mut life.history);
        let refused = if let Err(Ok(Ended::Refused(refusal))) = &end { Some(*refusal) } else { None };
        judge(end, true, &mut tally).map_err(failed)?;
        disk = life.store.into_host();
        disk.fault = Fault::default();
        if let Some(refusal) = refused {
            open_offer(&plan, &mut arena, disk, &history, refusal, &mut tally).map_err(failed)?;
            return Ok(tally);
        }
        let mode = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
        let seed = random.bits();
        disk.revive(mode, seed);
        let rotten = if random.chance(50) { random.within(1, 4) } else { 0 };
        for _ in 0..rotten {
            let block = random.below(plan.sizes.blocks as u64) as usize;
            disk.rot(block, random.below(4096 * 8) as usize);
            tally.add("fault: rotten block", 1);
        }
    }
    tally.disk(&disk.count);
    Ok(tally)
}

fn live(life: &mut Life<'_>, plan: &Plan, random: &mut Random) -> Lived<()> {
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.store.host_mut().fault =
        Fault { lost_write: random.below(60), misdirected: random.below(60), ..Fault::default() };
    work(life, plan, random, 40)?;
    life.check_all()
}

/// A refusal that offers an older epoch: that one is opened, and is what it was.
fn open_offer(
    plan: &Plan,
    arena: &mut Arena,
    disk: SimDisk,
    history: &History,
    refusal: Refusal,
    tally: &mut Tally,
) -> Result<(), LifeError> {
    let Refusal::Damaged { offer: Some(offer), .. } = refusal else {
        tally.add("refused without an offer", 1);
        return Ok(());
    };
    tally.add("refused with an offer", 1);
    let mut life = Life::open(arena, disk, plan.config, Some(offer), history.clone());
    life.faults_expected = true;
    let end = check(&mut life);
    tally.add("offer opened", u64::from(end.is_ok()));
    tally.merge(&life.tally);
    judge(end, true, tally)
}

fn check(life: &mut Life<'_>) -> Lived<()> {
    life.opened()?;
    life.check_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lying_disk_has_spoilt_is_never_returned_as_good() {
        let mut tally = Tally::default();
        for seed in 1..=1500 {
            match run_faulty(seed, 5) {
                Ok(run) => tally.merge(&run),
                Err(failed) => panic!("faulty disk: {failed} --faulty"),
            }
        }
        println!("{tally}");
        for name in [
            "fault: lost write",
            "fault: misdirected write",
            "fault: rotten block",
            "damage: page refused",
            "lives: refused to open",
            "lives: stopped",
            "refused with an offer",
            "offer opened",
            "case: RootOlder",
            "case: HeaderSecond",
        ] {
            assert!(tally.of(name) > 0, "never happened: {name}\n{tally}");
        }
    }
}
