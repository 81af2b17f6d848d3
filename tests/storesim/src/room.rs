//! A world that keeps to the room it is told of, on a disk too small for it: it is never refused, goes on writing what
//! it has when nothing new fits, and grows again when something was dropped.

use std::collections::HashSet;

use abi::Epoch;
use format::{RECORD_STORED_MAX, record_stored};

use crate::life::{Ended, Life, LifeError, Lived, POLLS_MAX};
use crate::script::{Change, LifePlan, Turn};

/// Epochs in which nothing new fitted until something is dropped.
const FULL_EPOCHS: u32 = 4;

/// Epochs until the power goes or all is done.
pub(crate) fn work(life: &mut Life<'_>, plan: &LifePlan) -> Lived<()> {
    let mut full = 0;
    for turn in &plan.turns {
        let room = life.store.room();
        if room.growth == 0 {
            life.tally.add("room: full", 1);
            full += 1;
        }
        life.tally.add("room: not one record more", u64::from(room.records < RECORD_STORED_MAX as u32));
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
        for _ in 0..POLLS_MAX {
            // What was given up is free when the root that says so is durable.
            win_back(life)?;
            if life.store.room().writes > 0 {
                break;
            }
        }
    }
    let room = life.store.room();
    if room.writes == 0 {
        return Err(Err(LifeError::Hung("room")));
    }
    life.begin(epoch)?;
    let mut left = Left { writes: room.writes, growth: room.growth, records: room.records, put: HashSet::new() };
    for change in &turn.changes {
        if left.allows(life, change, drops) {
            life.change(*change)?;
        }
    }
    life.seal(epoch)
}

/// What is left of the room in an epoch.
struct Left {
    writes: u32,
    growth: u32,
    /// Bytes by which its records can still be more.
    records: u32,
    /// The records in it: each comes once.
    put: HashSet<(u16, u32)>,
}

impl Left {
    /// Whether there is room for a change, which is taken off; what only frees comes when something is dropped.
    fn allows(&mut self, life: &mut Life<'_>, change: &Change, drops: bool) -> bool {
        match *change {
            Change::Page(object, index) => {
                let is_new = !life.model.pages.contains_key(&(object, index));
                if self.writes == 0 || is_new && self.growth == 0 {
                    life.tally.add("room: new page waits", u64::from(self.writes > 0));
                    return false;
                }
                self.writes -= 1;
                self.growth -= u32::from(is_new);
                true
            }
            Change::Record(table, index, length) => {
                let held = life.model.records.get(&(table, index)).map_or(0, |bytes| record_stored(bytes.len()) as u32);
                let stored = record_stored(length as usize) as u32;
                let more = stored.saturating_sub(held);
                let waits = more > self.records;
                life.tally.add("room: record waits", u64::from(waits));
                if waits || !self.put.insert((table, index)) {
                    return false;
                }
                life.tally.add("room: record grows", u64::from(more > 0 && held > 0));
                life.tally.add("room: record shrinks", u64::from(stored < held));
                self.records -= more;
                true
            }
            Change::Remove(table, index) => {
                drops && life.model.records.contains_key(&(table, index)) && self.put.insert((table, index))
            }
            Change::DropObject(_) => drops,
            Change::Zero(..) | Change::Drop(..) => true,
        }
    }
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

    #[test]
    fn the_largest_records_fill_a_disk_and_can_always_go() {
        let mut tally = Tally::default();
        for seed in 1..=150 {
            tally.merge(&passed(run_seed(Kind::Records, seed, 4)));
        }
        tally.report("storesim: records that fill the disk");
        tally.require(&[
            "room: full",
            "room: not one record more",
            "room: record waits",
            "room: record grows",
            "room: record shrinks",
            "room: grown by dropping",
            "lives: cut",
            "lives: done",
        ]);
        assert_eq!(tally.of("lives: disk full"), 0);
    }
}
