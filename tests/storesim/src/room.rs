//! A world that keeps to the room it is told of, on a disk too small for it: it is never refused, goes on writing what
//! it has when nothing new fits, and grows again when something was dropped.

use abi::Epoch;

use crate::life::{Ended, Life, LifeError, Lived, POLLS_MAX};
use crate::script::{Change, LifePlan, Turn};

/// Epochs in which nothing new fitted until something is dropped.
const FULL_EPOCHS: u32 = 4;

/// Epochs until the power goes or all is done.
pub(crate) fn work(life: &mut Life<'_>, plan: &LifePlan) -> Lived<()> {
    let mut full = 0;
    for turn in &plan.turns {
        if life.store.room().growth == 0 {
            life.tally.add("room: full", 1);
            full += 1;
        }
        // What is full is written on for a while; then something goes.
        let drops = full > FULL_EPOCHS && turn.changes.iter().any(|change| matches!(change, Change::DropObject(_)));
        if drops {
            full = 0;
        }
        epoch(life, turn, drops)?;
        if drops {
            win_back(life)?;
            life.tally.add("room: grown by dropping", u64::from(life.store.room().growth > 0));
        }
    }
    life.settle()
}

fn epoch(life: &mut Life<'_>, turn: &Turn, drops: bool) -> Lived<()> {
    let next = match life.last_begun {
        Some(last) => last.next(),
        None => Epoch::first_of(life.store.root().incarnation),
    };
    let Some(epoch) = next else { return Err(Err(LifeError::Hung("epoch numbers"))) };
    life.last_begun = next;
    // As writers would who wait until there is room.
    if life.store.room().writes == 0 {
        life.tally.add("room: writers wait", 1);
        win_back(life)?;
    }
    let room = life.store.room();
    if room.writes == 0 {
        return Err(Err(LifeError::Hung("room")));
    }
    life.begin(epoch)?;
    let (mut writes, mut growth) = (room.writes, room.growth);
    for change in &turn.changes {
        match change {
            Change::Page(..) if writes == 0 => {}
            Change::Page(object, index) => {
                writes -= 1;
                let is_new = !life.model.pages.contains_key(&(*object, *index));
                if is_new && growth == 0 {
                    life.tally.add("room: new page waits", 1);
                    continue;
                }
                growth -= u32::from(is_new);
                life.change(*change)?;
            }
            Change::DropObject(_) if !drops => {}
            _ => life.change(*change)?,
        }
    }
    life.seal(epoch)
}

/// Waits until everything that can be won back is.
fn win_back(life: &mut Life<'_>) -> Lived<()> {
    life.settle()?;
    for _ in 0..POLLS_MAX {
        if life.store.host_mut().is_dead() {
            return Err(Ok(Ended::Cut));
        }
        let begins = life.store.win_back();
        let mut moved = begins;
        while let Some(event) = life.store.poll() {
            moved = true;
            life.take(event)?;
        }
        let status = life.store.status();
        if !moved && !life.store.has_more() && status.entries_used == 0 {
            return Ok(());
        }
    }
    Err(Err(LifeError::Hung("winning back")))
}

#[cfg(test)]
mod tests {
    use crate::run::run_seed;
    use crate::script::Kind;
    use crate::shrink::passed;
    use crate::tally::Tally;

    #[test]
    fn who_keeps_to_the_room_is_never_refused() {
        let mut tally = Tally::default();
        for seed in 1..=150 {
            tally.merge(&passed(run_seed(Kind::Room, seed, 4)));
        }
        tally.report("storesim: a world that keeps to the room");
        tally.require(&[
            "room: full",
            "room: new page waits",
            "room: grown by dropping",
            "room: writers wait",
            "lives: cut",
            "lives: done",
        ]);
        assert_eq!(tally.of("lives: disk full"), 0);
    }
}
