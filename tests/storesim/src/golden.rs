//! Golden images: a small store as a version wrote it, kept so that every later version still reads it.
//!
//! A file holds the blocks that are not all zero: number (u32), bytes up to the last that is not zero (u32), those.

use format::World;
use snapshot_server::{Config, FormatOptions};

use crate::arena::{Arena, Sizes};
use crate::disk::SimDisk;
use crate::life::{History, Life, Lived};

/// The store of the golden image: its memory and how it is run.
fn arena() -> (Arena, Sizes, Config) {
    let sizes = Sizes { blocks: 128, segment_blocks: 8, entries: 256, cells: 256, deferred: 16, caller_pages: 16 };
    let config =
        Config { recent_epochs: 1, checkpoints: 3, interval_entries: 6, interval_descriptors: 4, verify_pages: 64 };
    (Arena::new(&sizes), sizes, config)
}

/// Works on a fresh store: two checkpoints, epochs behind them, pages, zeroes, records, things dropped.
fn work(life: &mut Life<'_>) -> Lived<()> {
    life.opened()?;
    life.incarnate()?;
    for round in 0..4u64 {
        life.epoch_of(&[round, round + 1])?;
        life.settle()?;
        life.put_all_kinds(round as u32)?;
        life.settle()?;
    }
    life.check_all()
}

/// Makes the image and what it should hold.
pub fn make() -> Option<(Vec<u8>, History)> {
    let (mut arena, sizes, config) = arena();
    let options = FormatOptions {
        world: World(0x676f_6c64),
        root_slots: 2,
        segment_blocks: 8,
        formatted_ns: 1,
        programs: 0x7072_6f67,
    };
    let mut disk = SimDisk::new(sizes.blocks, 1, arena.page_count());
    disk.in_order = true;
    let mut life = Life::format(&mut arena, disk, config, options);
    work(&mut life).ok()?;
    let history = core::mem::take(&mut life.history);
    let disk = life.store.into_host();
    let mut image = Vec::new();
    for number in 0..sizes.blocks {
        let bytes = disk.block(number);
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            image.extend((number as u32).to_le_bytes());
            image.extend((last as u32 + 1).to_le_bytes());
            image.extend(&bytes[..=last]);
        }
    }
    Some((image, history))
}

/// All blocks of an image, one after the other, as they lie on a disk.
pub fn unpack(image: &[u8]) -> Vec<u8> {
    let (_, sizes, _) = arena();
    let mut whole = vec![0; sizes.blocks * 4096];
    let mut rest = image;
    while let Some((head, body)) = rest.split_at_checked(8) {
        let number = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (contents, behind) = body.split_at(length);
        whole[number * 4096..number * 4096 + length].copy_from_slice(contents);
        rest = behind;
    }
    whole
}

/// Puts an image on a disk, opens it, and compares it with what it should hold.
pub fn check(image: &[u8], history: History) -> Lived<()> {
    open(&unpack(image), history, false)
}

/// The same for an unpacked image to which anything may have happened: what is damaged may be refused.
pub fn survive(whole: &[u8], history: History) -> Lived<()> {
    open(whole, history, true)
}

fn open(whole: &[u8], history: History, faults_expected: bool) -> Lived<()> {
    let (mut arena, sizes, config) = arena();
    let mut disk = SimDisk::new(sizes.blocks, 2, arena.page_count());
    let (blocks, _) = whole.as_chunks::<4096>();
    blocks.iter().enumerate().for_each(|(number, bytes)| disk.set_block(number, *bytes));
    let mut life = Life::open(&mut arena, disk, config, None, history);
    life.faults_expected = faults_expected;
    life.opened()?;
    life.check_all()?;
    // And goes on from it.
    life.incarnate()?;
    life.epoch_of(&[1, 2, 3])?;
    life.settle()?;
    life.check_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_every_version_are_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
        let (image, history) = make().expect("made");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(format!("{folder}/version-{}.blocks", format::VERSION), &image).expect("written");
        }
        for version in 1..=format::VERSION {
            let golden = std::fs::read(format!("{folder}/version-{version}.blocks")).expect("the golden image");
            assert_eq!(check(&golden, history.clone()), Ok(()), "version {version} as it was kept");
        }
        assert_eq!(check(&image, history), Ok(()), "as it is written today");
    }
}
