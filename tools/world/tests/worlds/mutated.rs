//! Real images, changed at random, through every command: bounded time and memory, no panic.

use format::{Block, RawChecksum, RawHeader, Seal, World};
use zerocopy::{FromBytes, IntoBytes};

use crate::image::{Image, world};
use crate::inhabited::{Records, format, inhabited, memory, records};

/// Images that are tried; more with PERENNIAL_ROUNDS.
const ROUNDS: u64 = 24;
const BLOCKS: usize = 1024;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as usize % end.max(1)
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

fn spoil(bytes: &mut Vec<u8>, used: &[usize], random: &mut Random) {
    let some = used[random.below(used.len())] * 4096;
    match random.below(6) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => (0..1 + random.below(20)).for_each(|_| {
            let at = used[random.below(used.len())] * 4096 + random.below(4096);
            bytes[at] = random.below(256) as u8;
        }),
        2 => {
            let from = used[random.below(used.len())] * 4096;
            bytes.copy_within(from..from + 4096, some);
        }
        3 => bytes[some..some + 4096].fill_with(|| random.below(256) as u8),
        4 => {
            // A header with other numbers and a right checksum.
            let last = bytes.len() / 4096 - 1;
            let field = 32 + random.below(40);
            let value = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
            for at in [0, last] {
                let block = &mut bytes[at * 4096..(at + 1) * 4096];
                block[field] = value;
                let mut raw = RawHeader::read_from_bytes(block).expect("a header");
                raw.sum = RawChecksum::default();
                let world = World(raw.world.get());
                raw.sum = Seal::Header.checksum(world, Block(at as u32), abi::Epoch::NONE, raw.as_bytes()).into();
                block.copy_from_slice(raw.as_bytes());
            }
        }
        _ => bytes[some] ^= 1 << random.below(8),
    }
}

fn every_command(image: &Image) {
    let path = image.path();
    let there = format!("{path}.out");
    for arguments in [
        vec!["info", &path],
        vec!["epochs", &path],
        vec!["ps", &path],
        vec!["caps", &path, "1"],
        vec!["graph", &path],
        vec!["--json", "graph", &path],
        vec!["diff", &path, "1.1", "1.2"],
        vec!["cat-page", &path, "1", "3"],
        vec!["fsck", &path],
        vec!["export", &path, &there],
        vec!["rewind", &path, "1.1"],
        vec!["fsck", &path],
        vec!["import", &path, &path, "--overwrite"],
    ] {
        world(&arguments);
    }
    // Only an export that went well has left one.
    let _ = std::fs::remove_file(there);
}

#[test]
fn mutated_images_do_no_harm() {
    let image = Image::new("mutated", BLOCKS as u64);
    inhabited(&image, BLOCKS, 8);
    let whole = std::fs::read(&image.0).expect("read");
    let is_used = |block: &usize| whole[block * 4096..(block + 1) * 4096].iter().any(|byte| *byte != 0);
    let used: Vec<usize> = (0..BLOCKS).filter(is_used).collect();
    let first = number("PERENNIAL_SEED", 1);
    for seed in first..first + number("PERENNIAL_ROUNDS", ROUNDS) {
        println!("replay: PERENNIAL_SEED={seed} PERENNIAL_ROUNDS=1 cargo test -p world mutated_images");
        let mut bytes = whole.clone();
        let mut random = Random(seed);
        spoil(&mut bytes, &used, &mut random);
        std::fs::write(&image.0, &bytes).expect("written");
        every_command(&image);
    }
}

#[test]
fn mutated_records_do_no_harm() {
    let first = number("PERENNIAL_SEED", 1);
    for seed in first..first + number("PERENNIAL_ROUNDS", ROUNDS) {
        println!("replay: PERENNIAL_SEED={seed} PERENNIAL_ROUNDS=1 cargo test -p world mutated_records");
        let mut random = Random(seed ^ 0x7265_636f);
        let image = Image::new("mutated-records", BLOCKS as u64);
        let mut memory = memory(BLOCKS);
        let mut made = format(&mut memory, &image);
        let mut held = records(8);
        let names: Vec<(u16, u32)> = held.keys().copied().collect();
        for _ in 0..1 + random.below(4) {
            let name = names[random.below(names.len())];
            let record = held.get_mut(&name).expect("a record");
            match random.below(4) {
                0 => record.truncate(1 + random.below(record.len())),
                1 => record.resize(1 + random.below(1024), 0xff),
                _ => (0..1 + random.below(8)).for_each(|_| {
                    let at = random.below(record.len());
                    record[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                }),
            }
            let moved = (name.0, [name.1, u32::MAX, 1 << 20][random.below(3)]);
            let bytes = record.clone();
            held.insert(moved, bytes);
        }
        made.epoch(&held, &[(1, 3, 4)]);
        made.epoch(&Records::new(), &[(1, 3, 5)]);
        drop(made);
        every_command(&image);
    }
}
