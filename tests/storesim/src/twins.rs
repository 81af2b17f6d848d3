//! Rot in the map: one copy of every node that lies on the disk twice is spoilt between two lives, or everything of the
//! map in a run of neighbouring blocks, and nobody notices but a counter.

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

/// A fault of the medium: all of the map in `length` neighbouring blocks is gone. Copies lie apart, so each node has one
/// left; those that lie near each other, for want of space, are spared and counted.
pub(crate) fn rot_run(
    disk: &mut SimDisk,
    (blocks, length): (usize, usize),
    spoilt: &mut HashSet<BlockBytes>,
    random: &mut Random,
    tally: &mut Tally,
) {
    let nodes: Vec<usize> = (0..blocks).filter(|block| &disk.block(*block)[..8] == b"PERNMAP1").collect();
    if nodes.is_empty() {
        return;
    }
    let start = nodes[random.below(nodes.len() as u64) as usize];
    let run = start..start + length;
    for &block in nodes.iter().filter(|block| run.contains(block)) {
        let contents = *disk.block(block);
        let copies: Vec<usize> = nodes.iter().copied().filter(|other| *disk.block(*other) == contents).collect();
        // A fold that was cut and done again has written the same node to more places.
        let [first, second] = copies[..] else { continue };
        if run.contains(&first) && run.contains(&second) {
            // Two blocks that no pointer names together are first copies of two folds, of which the cut took the
            // second ones: then no root was written for either, and nobody needs them.
            let belong = are_copies(disk, blocks, first, second);
            tally.add(if belong { "both copies in one run" } else { "two first copies in one run" }, 1);
        } else if spoilt.insert(contents) {
            disk.set_block(block, [0x5a; 4096]);
            tally.add("fault: node in a rotten run", 1);
        }
    }
}

/// Whether some pointer on the disk, of a node or of a root, names these two blocks as copies of each other.
fn are_copies(disk: &SimDisk, blocks: usize, first: usize, second: usize) -> bool {
    let named = |one: usize, other: usize| {
        let mut pointer = [0; 8];
        pointer[..4].copy_from_slice(&(one as u32).to_le_bytes());
        pointer[4..].copy_from_slice(&(other as u32).to_le_bytes());
        (0..blocks).any(|block| disk.block(block).windows(8).any(|bytes| bytes == pointer))
    };
    named(first, second) || named(second, first)
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
        tally.require_more_than(
            1000,
            &[
                "fault: one copy of a node rotten",
                "fault: node in a rotten run",
                "store: second copy read",
                "checkpoints",
            ],
        );
        assert_eq!(tally.of("both copies in one run"), 0, "copies lie near each other\n{tally}");
        assert_eq!(tally.of("store: copies near each other"), 0, "there was space apart\n{tally}");
    }
}
