//! A world that keeps to the room it is told of, on a disk too small for it: it is never refused, goes on writing what
//! it has when nothing new fits, and grows again when something was dropped.

use abi::Epoch;

use crate::arena::Arena;
use crate::disk::{CutMode, SimDisk};
use crate::life::{Ended, History, Life, LifeError, Lived, POLLS_MAX};
use crate::random::Random;
use crate::run::judge;
use crate::script::{Kind, Script};
use crate::tally::Tally;

/// Objects, and pages of each: far more than fits.
const OBJECTS: u64 = 4;
const INDICES: u64 = 300;

/// Runs the world of `seed` through up to `lives` cuts; what went wrong, and in which life.
fn run_room(seed: u64, lives: u32) -> Result<Tally, (u32, LifeError)> {
    let mut random = Random::new(seed ^ 0x726f_6f6d);
    let mut plan = Script::draw(Kind::Plain, seed, 1).plan;
    plan.sizes.blocks = random.within(700, 1200) as usize;
    plan.sizes.entries = random.within(500, 1500) as usize;
    let mut tally = Tally::default();
    let mut arena = Arena::new(&plan.sizes);
    let mut disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut history = History::default();
    for number in 0..lives {
        let mut life = if number == 0 {
            Life::format(&mut arena, disk, plan.config(), plan.options())
        } else {
            Life::open(&mut arena, disk, plan.config(), None, history)
        };
        let end = live(&mut life, &mut random);
        tally.merge(&life.tally);
        tally.add("store: retired by itself", life.store.status().retired_for_space.into());
        // Whoever keeps to the room is never told that there is none.
        let refused = matches!(end, Err(Ok(Ended::Full)));
        let end = if refused { Err(Err(LifeError::Put(snapshot_server::PutError::Full))) } else { end };
        judge(end, false, &mut tally).map_err(|error| (number, error))?;
        history = core::mem::take(&mut life.history);
        disk = life.store.into_host();
        let mode = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
        disk.revive(mode, random.bits());
    }
    Ok(tally)
}

fn live(life: &mut Life<'_>, random: &mut Random) -> Lived<()> {
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.store.host_mut().commands_left = Some(random.below(3000));
    let mut full = 0;
    for _ in 0..random.within(1, 120) {
        if life.store.room().growth == 0 {
            life.tally.add("room: full", 1);
            full += 1;
        }
        // What is full is written on for a while; then something goes.
        let drops = full > 4 && random.chance(30);
        if drops {
            full = 0;
        }
        epoch(life, random, drops)?;
        if drops {
            win_back(life)?;
            life.tally.add("room: grown by dropping", u64::from(life.store.room().growth > 0));
        }
    }
    life.settle()
}

fn epoch(life: &mut Life<'_>, random: &mut Random, drops: bool) -> Lived<()> {
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
    let mut growth = room.growth;
    for _ in 0..random.within(1, 60).min(room.writes.into()) {
        let (object, index) = (random.below(OBJECTS), random.below(INDICES));
        let is_new = !life.model.pages.contains_key(&(object, index));
        if is_new && growth == 0 {
            life.tally.add("room: new page waits", 1);
            continue;
        }
        growth -= u32::from(is_new);
        life.put_page(object, index)?;
    }
    for _ in 0..random.below(6) {
        let (index, length) = (random.below(60) as u32, random.within(1, 150) as usize);
        let bytes = vec![random.bits() as u8; length];
        life.put(|store| store.put_record(1, index, &bytes))?;
        life.model.records.insert((1, index), bytes);
    }
    if drops {
        let object = random.below(OBJECTS);
        life.put(|store| store.drop_object(object))?;
        life.model.drop_pages(object, 0, format::EXTENT_MAX);
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
    use super::*;

    #[test]
    fn who_keeps_to_the_room_is_never_refused() {
        let mut tally = Tally::default();
        let one = std::env::var("ROOM_SEED").ok().map(|seed| seed.parse::<u64>().expect("ROOM_SEED is a number"));
        for seed in one.map_or(1..=150, |seed| seed..=seed) {
            match run_room(seed, 4) {
                Ok(run) => tally.merge(&run),
                Err((life, error)) => panic!(
                    "seed {seed}, life {life}: {error:?}; replay: ROOM_SEED={seed} cargo test -p storesim who_keeps_to_the_room"
                ),
            }
        }
        tally.report("storesim: a world that keeps to the room");
        if one.is_none() {
            tally.require(&[
                "room: full",
                "room: new page waits",
                "room: grown by dropping",
                "room: writers wait",
                "lives: cut",
                "lives: done",
            ]);
        }
        assert_eq!(tally.of("lives: disk full"), 0);
    }
}
