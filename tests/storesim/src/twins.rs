//! Rot in the map: one copy of every node that lies on the disk twice is spoilt between two lives, and nobody notices
//! but a counter.

use std::collections::HashSet;

use format::BlockBytes;

use crate::disk::SimDisk;
use crate::random::Random;
use crate::tally::Tally;

/// Flips a bit in one copy of each node of the map, whether it is still needed or not. `spoilt` remembers the contents:
/// a fold that is cut and done again writes the same node to two more places, and of all four one may rot.
pub(crate) fn rot_nodes(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run_seed;
    use crate::script::Kind;
    use crate::shrink::passed;

    #[test]
    fn rot_in_one_copy_of_any_node_is_survived() {
        let mut tally = Tally::default();
        for seed in 1..=1500 {
            tally.merge(&passed(run_seed(Kind::RottenMap, seed, 5)));
        }
        tally.report("storesim: one copy of each node rotten");
        tally.require_more_than(1000, &["fault: one copy of a node rotten", "store: second copy read", "checkpoints"]);
    }
}
