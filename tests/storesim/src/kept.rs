//! What a store keeps beside its newest epoch can be asked for, and is what it was: after each cut, on a copy of the disk.

use abi::Epoch;
use snapshot_server::Refusal;

use crate::arena::Arena;
use crate::disk::SimDisk;
use crate::life::{Ended, History, Life, LifeError, Lived};
use crate::run::judge;
use crate::script::Plan;
use crate::tally::Tally;

/// The last sealed epochs that are asked for: more than any store of a run keeps of its log, and checkpoints as far as
/// they reach back.
const ASKED_MAX: usize = 12;

/// Asks for each of the last epochs: it is refused as one that is not kept, or all of it is read.
pub(crate) fn check(
    plan: &Plan,
    arena: &mut Arena,
    disk: &SimDisk,
    history: &History,
    tally: &mut Tally,
) -> Result<(), LifeError> {
    for (epoch, _) in history.sealed.iter().rev().take(ASKED_MAX) {
        let mut life = Life::open(arena, disk.clone(), plan.config(), Some(*epoch), history.clone());
        match read(&mut life) {
            Err(Ok(Ended::Refused(Refusal::NotKept(asked)))) if asked == *epoch => tally.add("asked for: not kept", 1),
            end => {
                judge(end, false, &mut Tally::default())?;
                if life.opened_epoch() != Some(*epoch) {
                    return Err(LifeError::WrongEpoch(life.opened_epoch().unwrap_or(Epoch::NONE), *epoch));
                }
                tally.add("kept epoch opened", 1);
            }
        }
    }
    Ok(())
}

fn read(life: &mut Life<'_>) -> Lived<()> {
    life.opened()?;
    life.check_all()
}
