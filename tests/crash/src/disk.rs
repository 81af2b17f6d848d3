//! The model: stable bytes, and writes that wait for a flush.
//!
//! Invariants, checked by the tests through `survive`:
//! 1. What a flush has covered is read back after any cut, unless it was written again later.
//! 2. After a cut every sector holds one of the values that were written to it since it was last flushed, or the flushed
//!    one. (An older one of several: the disk may have stored that early and lost the newer.)
//! 3. A sector is never torn within.

use crate::Random;

/// The unit that a disk writes whole.
pub const SECTOR_BYTES: usize = 512;

/// What the machine asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Bytes were read.
    Read {
        /// First byte.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// Bytes were written.
    Write {
        /// First byte.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// All that was written before is to be stable.
    Flush,
}

impl Command {
    /// Whether it changes what a cut leaves: those are the ones that are counted.
    #[must_use]
    pub fn counts(self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// A write that no flush has covered yet.
#[derive(Clone, Debug)]
struct Pending {
    first_sector: usize,
    data: Vec<u8>,
}

/// A disk with a cache that forgets.
#[derive(Clone, Debug)]
pub struct VolatileDisk {
    stable: Vec<u8>,
    /// What a read sees: stable bytes with all pending writes over them.
    current: Vec<u8>,
    pending: Vec<Pending>,
}

impl VolatileDisk {
    /// A disk that holds `image`, all of it stable. The length is rounded down to whole sectors.
    #[must_use]
    pub fn new(mut image: Vec<u8>) -> Self {
        image.truncate(image.len() - image.len() % SECTOR_BYTES);
        Self { current: image.clone(), stable: image, pending: Vec::new() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stable.len()
    }

    /// Whether it has no sectors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stable.is_empty()
    }

    /// What a read sees, or `None` if it reaches beyond the end.
    #[must_use]
    pub fn read(&self, offset: u64, bytes: u32) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.current.get(start..start.checked_add(bytes as usize)?)
    }

    /// Takes a write into the cache; `None`, and nothing has happened, if it is not of whole sectors on the disk.
    #[must_use]
    pub fn write(&mut self, offset: u64, data: Vec<u8>) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let aligned = start.is_multiple_of(SECTOR_BYTES) && data.len().is_multiple_of(SECTOR_BYTES);
        let place = self.current.get_mut(start..start.checked_add(data.len())?).filter(|_| aligned)?;
        place.copy_from_slice(&data);
        self.pending.push(Pending { first_sector: start / SECTOR_BYTES, data });
        Some(())
    }

    /// Makes all writes so far stable.
    pub fn flush(&mut self) {
        for write in self.pending.drain(..) {
            let start = write.first_sector * SECTOR_BYTES;
            self.stable[start..start + write.data.len()].copy_from_slice(&write.data);
        }
    }

    /// How many writes no flush has covered.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Cuts the power: what is on the disk afterwards. `random` decides which of the waiting writes survive, whole or
    /// torn, and in which order they were stored.
    #[must_use]
    pub fn survive(self, random: &mut Random) -> Vec<u8> {
        let mut image = self.stable;
        let mut pending = self.pending;
        // Disks differ: some lose the whole cache, some little. Both ends find bugs that the middle hides.
        let (kept_percent, torn_percent) = match random.below(6) {
            0 => (0, 0),
            1 => (100, 0),
            2 => (10, 20),
            3 => (90, 50),
            _ => (50, 30),
        };
        // Half of the time in order, so that a plain prefix of what was written appears as well.
        if random.chance(50) {
            random.shuffle(&mut pending);
        }
        for write in pending {
            if !random.chance(kept_percent) {
                continue;
            }
            let torn = random.chance(torn_percent);
            for (index, sector) in write.data.chunks_exact(SECTOR_BYTES).enumerate() {
                if !torn || random.chance(50) {
                    let start = (write.first_sector + index) * SECTOR_BYTES;
                    image[start..start + SECTOR_BYTES].copy_from_slice(sector);
                }
            }
        }
        image
    }
}
