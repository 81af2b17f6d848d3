//! The checksum of every block: 128 bits, keyed by what the block is, which world it belongs to, where it lies and when
//! it was written, so that a block which was misdirected, left over, or taken from another disk does not verify.
//!
//! XXH3 finds accidents, not forgers: who can write the disk can forge a block (CAVEATS).

use abi::Epoch;
#[cfg(not(feature = "std"))]
use xxhash_rust::xxh3::xxh3_128_with_seed as xxh3;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::block::{Block, BlockBytes, Place};

/// A 128-bit checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checksum(pub u128);

/// [`Checksum`] as stored: low half, high half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawChecksum(pub U64, pub U64);

impl From<Checksum> for RawChecksum {
    fn from(sum: Checksum) -> Self {
        Self(U64::new(sum.0 as u64), U64::new((sum.0 >> 64) as u64))
    }
}

impl From<RawChecksum> for Checksum {
    fn from(raw: RawChecksum) -> Self {
        Self(u128::from(raw.0.get()) | u128::from(raw.1.get()) << 64)
    }
}

/// Identity of a store, drawn at random when it is formatted; blocks of different worlds never verify for each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct World(pub u64);

/// What a block is: part of its key, so that one kind never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Seal {
    /// The partition header.
    Header = 1,
    /// A root.
    Root = 2,
    /// A log descriptor.
    Descriptor = 3,
    /// A node of the page map.
    Node = 4,
    /// An index of the table of used blocks.
    SpaceIndex = 5,
    /// A block of that table.
    Space = 6,
    /// A page of the world.
    Page = 7,
}

impl Seal {
    fn seed(self, world: World, block: Block, stamp: u64) -> u64 {
        // Multiplying by odd constants and rotating between keeps any two of the inputs from cancelling out.
        let mut seed = world.0 ^ (self as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        seed = (seed.rotate_left(29) ^ u64::from(block.0)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (seed.rotate_left(31) ^ stamp).wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    /// The checksum of `bytes` as a block of this kind at `block`, written for `epoch`.
    pub fn checksum(self, world: World, block: Block, epoch: Epoch, bytes: &[u8]) -> Checksum {
        Checksum(xxh3(bytes, self.seed(world, block, epoch.bits())))
    }
}

/// The checksum of a page of the world at `place`.
pub fn page_checksum(world: World, place: Place, bytes: &BlockBytes) -> Checksum {
    Checksum(xxh3(bytes, Seal::Page.seed(world, place.block, u64::from(place.incarnation))))
}

/// What [`xxhash_rust`] computes with the instructions that every processor has, by the widest vectors of this one.
#[cfg(feature = "std")]
fn xxh3(bytes: &[u8], seed: u64) -> u128 {
    twox_hash::XxHash3_128::oneshot_with_seed(seed, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_to_it_agree(bytes in proptest::collection::vec(any::<u8>(), 0..5_000), seed: u64) {
            let (wide, plain) =
                (twox_hash::XxHash3_128::oneshot_with_seed(seed, &bytes), xxhash_rust::xxh3::xxh3_128_with_seed(&bytes, seed));
            prop_assert_eq!(wide, plain);
        }
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let bytes = [7u8; 64];
        let sum = |seal: Seal, world, block, epoch| {
            seal.checksum(World(world), Block(block), Epoch::from_bits(epoch), &bytes)
        };
        let all = [
            sum(Seal::Root, 1, 2, 3),
            sum(Seal::Node, 1, 2, 3),
            sum(Seal::Root, 2, 2, 3),
            sum(Seal::Root, 1, 3, 3),
            sum(Seal::Root, 1, 2, 4),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }
}
