//! Spoiling of images, block by block.

use crate::Source;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Changes some of an image's blocks: bytes, fields, zeroes, and blocks that lie where others should. `used` are those
/// that hold something.
pub(crate) fn spoil(image: &mut [u8], used: &[usize], source: &mut Source<'_>) {
    let blocks = image.len() / BLOCK;
    if used.is_empty() || blocks == 0 {
        return;
    }
    for _ in 0..source.byte() % 8 {
        let block = used[source.below(used.len())] * BLOCK;
        match source.byte() % 8 {
            0 => image[block..block + BLOCK].fill(0),
            1 => {
                let other = used[source.below(used.len())] * BLOCK;
                image.copy_within(other..other + BLOCK, block);
            }
            2 => {
                let to = source.below(blocks) * BLOCK;
                image.copy_within(block..block + BLOCK, to);
            }
            3 => {
                // Torn: some of its sectors are another block's.
                let other = used[source.below(used.len())] * BLOCK;
                let sector = usize::from(source.byte() % 8) * 512;
                image.copy_within(other + sector..other + sector + 512, block + sector);
            }
            4 | 5 => {
                let field = block + source.below(512 / 4) * 4;
                image[field..field + 4].copy_from_slice(&(source.number() as u32).to_le_bytes());
            }
            _ => {
                let at = block + source.below(BLOCK);
                image[at] ^= 1 << (source.byte() % 8);
            }
        }
    }
}

/// Blocks of an image that hold something.
pub(crate) fn used(image: &[u8]) -> Vec<usize> {
    let holds = |block: &&[u8]| block.iter().any(|byte| *byte != 0);
    image.chunks_exact(BLOCK).enumerate().filter(|(_, block)| holds(block)).map(|(number, _)| number).collect()
}
