//! Small epochs beside raw writes of the same pages and a flush, turn about, one command at a time.

use std::path::Path;
use std::time::Duration;

use world::HostMemory;

use crate::files::{self, RAW, RAW_BESIDE, STORE};
use crate::subject::{Bench, sizes};
use crate::timed::Timed;
use crate::{Error, median, print};

/// Who comes first, second and third: each after each other as often, since one warms what the next finds.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1], [2, 0, 1], [1, 2, 0]];

/// One epoch, and the raw writes beside it.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    store: Duration,
    /// What of that was not spent in commands of the disk.
    own: Duration,
    /// Of its pages.
    raw: Duration,
    /// Of as many blocks as the epoch writes: one more, its descriptor.
    blocks: Duration,
}

/// Round `number`, of `count` pages; raw writes go to `place`, where nothing was written before, as the store's do.
fn round(bench: &mut Bench<'_, Timed>, number: usize, count: usize, place: usize) -> Result<Round, Error> {
    let mut round = Round::default();
    let mut pages = None;
    let place = place as u64;
    for turn in ORDERS[number % ORDERS.len()] {
        let of = pages.get_or_insert_with(|| bench.next_pages(count + 1));
        match turn {
            0 => round.raw = bench.store.host_mut().raw(0, place, &of[..count])?,
            1 => round.blocks = bench.store.host_mut().raw(1, place, of)?,
            _ => {
                bench.store.host_mut().in_commands();
                round.store = bench.commit((number * count % 4096) as u64, count as u64)?;
                round.own = round.store.saturating_sub(bench.store.host_mut().in_commands());
            }
        }
    }
    Ok(round)
}

/// Prints the ratios for epochs of 4 and 64 KiB, over `rounds` of each.
pub(crate) fn measure(folder: &Path, rounds: usize) -> Result<(), Error> {
    let blocks = 131_072;
    let mut memory = HostMemory::new(&sizes(blocks, 384));
    let host = files::host(&files::make(folder, STORE, blocks)?, memory.page_count())?;
    let raw = |name| files::direct(&files::make(folder, name, blocks)?);
    let host = Timed::new(host, [raw(RAW)?, raw(RAW_BESIDE)?]);
    let mut bench = Bench::new(&mut memory, host, true)?;
    bench.incarnate()?;
    let mut first = 0;
    for (name, count) in [("commit_4k", 1usize), ("commit_64k", 16)] {
        let rounds: Vec<Round> = (0..rounds)
            .map(|number| round(&mut bench, number, count, first + number * (count + 1)))
            .collect::<Result<_, Error>>()?;
        first += rounds.len() * (count + 1);
        let ratio = |of: fn(&Round) -> Duration| {
            median(rounds.iter().map(|round| round.store.as_secs_f64() / of(round).as_secs_f64()).collect())
        };
        let time =
            |of: fn(&Round) -> Duration| median(rounds.iter().map(|round| of(round).as_secs_f64() * 1e6).collect());
        print(&format!("{name}_ratio"), ratio(|round| round.raw), "of-raw");
        print(&format!("{name}_ratio_of_blocks"), ratio(|round| round.blocks), "of-raw");
        print(&format!("{name}_us"), time(|round| round.store), "us");
        print(&format!("{name}_raw_us"), time(|round| round.raw), "us");
        print(&format!("{name}_own_us"), time(|round| round.own), "us");
    }
    Ok(())
}
