//! For ever on a small disk: one life, eighty per cent full of uniformly random pages, ten times the disk written.

use format::World;
use snapshot_server::{Config, FormatOptions};

use crate::arena::{Arena, Sizes};
use crate::disk::SimDisk;
use crate::life::{Ended, Life, LifeError, Lived};
use crate::random::Random;

/// What a soak has measured.
#[derive(Clone, Copy, Debug)]
pub struct Soaked {
    /// Blocks written per page put, over the overwriting part.
    pub amplification: f64,
    /// Fewest free blocks seen at an epoch's end.
    pub free_min: u32,
    /// Checkpoints made.
    pub checkpoints: u64,
}

/// Fills `blocks` blocks to `percent`, overwrites random pages in epochs of `epoch_pages` until `times` the disk was
/// written, then opens it again and compares all of it.
pub fn soak(seed: u64, blocks: usize, percent: u64, epoch_pages: u64, times: u64) -> Result<Soaked, LifeError> {
    let sizes = Sizes { blocks, segment_blocks: 64, entries: blocks, cells: 64, deferred: 256, caller_pages: 200 };
    let config = Config {
        recent_epochs: 1,
        checkpoints: 4,
        interval_entries: blocks as u32 / 4,
        interval_descriptors: 512,
        verify_pages: 256,
    };
    let options = FormatOptions { world: World(seed), root_slots: 4, segment_blocks: 64, formatted_ns: 0, programs: 0 };
    let mut arena = Arena::new(&sizes);
    let disk = SimDisk::new(blocks, seed, arena.page_count());
    let mut life = Life::format(&mut arena, disk, config, options);
    let end = work(&mut life, seed, percent, epoch_pages, times);
    let soaked = finish(end)?;
    let checkpoints = life.tally.of("checkpoints");
    let history = core::mem::take(&mut life.history);
    let mut disk = life.store.into_host();
    disk.revive(crate::disk::CutMode::Lost, seed);
    let mut life = Life::open(&mut arena, disk, config, None, history);
    finish(life.opened().and_then(|_| life.check_all()))?;
    Ok(Soaked { checkpoints, ..soaked })
}

fn finish<T>(end: Lived<T>) -> Result<T, LifeError> {
    end.map_err(|end| match end {
        Err(error) => error,
        Ok(Ended::Full) => LifeError::Put(snapshot_server::PutError::Full),
        Ok(_) => LifeError::Hung("soak"),
    })
}

fn work(life: &mut Life<'_>, seed: u64, percent: u64, epoch_pages: u64, times: u64) -> Lived<Soaked> {
    let mut random = Random::new(seed);
    life.keep_only_newest = true;
    life.opened()?;
    life.incarnate()?;
    let blocks = u64::from(life.store.status().data_blocks);
    let live = blocks * percent / 100;
    let mut next = 0;
    while next < live {
        let pages: Vec<u64> = (next..(next + 64).min(live)).collect();
        next += pages.len() as u64;
        life.epoch_of(&pages)?;
    }
    life.settle()?;
    let before = life.store.status();
    let mut free_min = u32::MAX;
    let mut written = 0;
    while written < blocks * times {
        let pages: Vec<u64> = (0..epoch_pages).map(|_| random.below(live)).collect();
        life.epoch_of(&pages)?;
        written += epoch_pages;
        free_min = free_min.min(life.store.status().free_blocks);
    }
    life.settle()?;
    let after = life.store.status();
    let amplification =
        (after.blocks_written - before.blocks_written) as f64 / (after.pages_written - before.pages_written) as f64;
    Ok(Soaked { amplification, free_min, checkpoints: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_the_disk_is_written_at_eighty_per_cent() {
        // A disk so small has few leaves for its changes to share, so the bounds are wider than those of the bench.
        for (epoch_pages, bound) in [(16, 1.35), (128, 1.35), (1, 3.0)] {
            let times = if epoch_pages == 1 { 2 } else { 10 };
            let soaked = soak(5, 4096, 80, epoch_pages, times).expect("no promise is broken");
            println!("{epoch_pages} pages an epoch: {soaked:?}");
            assert!(soaked.amplification < bound, "{epoch_pages}: {soaked:?}");
            assert!(soaked.checkpoints > 10);
        }
    }
}
