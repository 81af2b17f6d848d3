//! Rot in the map: one copy of every node that lies on the disk twice is spoilt between two lives, and nobody notices
//! but a counter.

use std::collections::HashSet;

use format::BlockBytes;

use crate::arena::Arena;
use crate::disk::{CutMode, SimDisk};
use crate::life::{History, Life, Lived};
use crate::random::Random;
use crate::run::{Failed, Plan, Replay, judge, work};
use crate::tally::Tally;

/// Flips a bit in one copy of each node of the map, whether it is still needed or not. `spoilt` remembers the contents:
/// a fold that is cut and done again writes the same node to two more places, and of all four one may rot.
fn rot_nodes(
    disk: &mut SimDisk,
    blocks: usize,
    spoilt: &mut HashSet<BlockBytes>,
    random: &mut Random,
    tally: &mut Tally,
) {
    let nodes: Vec<usize> = (0..blocks).filter(|block| &disk.block(*block)[..8] == b"PERNMAP1").collect();
    for (position, first) in nodes.iter().enumerate() {
        let twin = nodes[position + 1..].iter().find(|second| disk.block(**second) == disk.block(*first));
        if let Some(twin) = twin
            && spoilt.insert(*disk.block(*first))
        {
            let rotten = if random.chance(50) { *first } else { *twin };
            disk.rot(rotten, random.below(4096 * 8) as usize);
            tally.add("fault: one copy of a node rotten", 1);
        }
    }
}

/// Runs the world of `seed` through up to `lives` cuts, with rot in the map after each.
pub fn run_rotten_map(seed: u64, lives: u32) -> Result<Tally, Failed> {
    let _replay = Replay(seed, " --rotten-map");
    let mut random = Random::new(seed ^ 0x7477_696e);
    let plan = Plan::new(&mut random);
    let mut tally = Tally::default();
    let mut arena = Arena::new(&plan.sizes);
    let mut disk = SimDisk::new(plan.sizes.blocks, random.bits(), arena.page_count());
    let mut history = History::default();
    let mut spoilt = HashSet::new();
    for number in 0..lives {
        let mut life = if number == 0 {
            Life::format(&mut arena, disk, plan.config, plan.options)
        } else {
            Life::open(&mut arena, disk, plan.config, None, history)
        };
        let end = live(&mut life, &plan, &mut random);
        tally.merge(&life.tally);
        tally.add("store: second copy read", life.store.status().second_copies.into());
        judge(end, false, &mut tally).map_err(|error| Failed { seed, life: number, error })?;
        history = core::mem::take(&mut life.history);
        disk = life.store.into_host();
        let mode = CutMode::ALL[random.below(CutMode::ALL.len() as u64) as usize];
        disk.revive(mode, random.bits());
        rot_nodes(&mut disk, plan.sizes.blocks, &mut spoilt, &mut random, &mut tally);
    }
    Ok(tally)
}

fn live(life: &mut Life<'_>, plan: &Plan, random: &mut Random) -> Lived<()> {
    life.opened()?;
    life.check_all()?;
    life.incarnate()?;
    life.store.host_mut().commands_left = Some(random.below(300));
    work(life, plan, random, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rot_in_one_copy_of_any_node_is_survived() {
        let mut tally = Tally::default();
        for seed in 1..=1500 {
            match run_rotten_map(seed, 5) {
                Ok(run) => tally.merge(&run),
                Err(failed) => panic!("{failed} --rotten-map"),
            }
        }
        println!("{tally}");
        for name in ["fault: one copy of a node rotten", "store: second copy read", "checkpoints"] {
            assert!(tally.of(name) > 1000, "hardly happened: {name}\n{tally}");
        }
    }
}
