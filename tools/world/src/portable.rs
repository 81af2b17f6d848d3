//! A world in a file of its own: one epoch, without its history, for another disk.
//!
//! ```text
//! | "PERNEXP1" | version u32 | zero u32 | epoch u64 | programs u64 | items: each as in a leaf, a page's contents behind it |
//! | end: 24 zero bytes | XXH3-128 of all before it, 16 bytes |
//! ```
//! Version 1, which is read too, does not say with which programs the world was made.

use std::io::{self, Write};

use abi::Epoch;
use format::{Block, Checksum, Item, Key, Place, RECORD_BYTES_MAX, Seal, World};

use crate::session::{Session, WorldError};
use crate::survey::LogSize;

const MAGIC: [u8; 8] = *b"PERNEXP1";
const VERSION: u32 = 2;
/// Pages of one epoch of an import.
const EPOCH_PAGES: u32 = 512;

/// Hashes what passes: the whole file in pieces, each keyed by its number, so that none can be left out or moved.
struct Sum {
    sum: u128,
    pieces: u64,
}

impl Sum {
    fn new() -> Self {
        Self { sum: 0, pieces: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        let world = World(self.sum as u64 ^ (self.sum >> 64) as u64);
        self.sum = Seal::Page.checksum(world, Block(0), Epoch::from_bits(self.pieces), bytes).0;
        self.pieces += 1;
    }
}

fn put(out: &mut impl Write, sum: &mut Sum, bytes: &[u8]) -> Result<(), WorldError> {
    sum.add(bytes);
    Ok(out.write_all(bytes)?)
}

fn put_item(out: &mut impl Write, sum: &mut Sum, item: &Item<'_>) -> Result<(), WorldError> {
    let mut bytes = [0; 24 + RECORD_BYTES_MAX];
    let length = item.stored_bytes();
    if !item.write(&mut bytes[..length]) {
        return Err(WorldError::NoWorld("an item that cannot be written"));
    }
    put(out, sum, &bytes[..length])
}

/// Writes the epoch that `session` has open to `out`; how many pages it had.
pub fn export(session: &mut Session<'_>, out: &mut impl Write) -> Result<u64, WorldError> {
    let contents = session.contents()?;
    let mut sum = Sum::new();
    let mut head = [0; 24];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..].copy_from_slice(&session.report().epoch.bits().to_le_bytes());
    put(out, &mut sum, &head)?;
    put(out, &mut sum, &session.report().programs.to_le_bytes())?;
    for (object, index) in &contents.pages {
        let Some(bytes) = session.page(*object, *index)? else {
            return Err(WorldError::NoWorld("a page that went away"));
        };
        // The place means nothing outside its disk; it only has to be one that an item can have.
        let place = Place { block: Block(1), incarnation: 1 };
        let key = Key { object: *object, index: *index };
        put_item(out, &mut sum, &Item::Page { key, place, sum: Checksum(0) })?;
        put(out, &mut sum, &bytes)?;
    }
    for (object, index, count) in &contents.zeroes {
        let key = Key { object: *object, index: *index };
        put_item(out, &mut sum, &Item::Zero { key, count: *count })?;
    }
    for ((table, index), bytes) in &contents.records {
        put_item(out, &mut sum, &Item::Record { key: Key::record(*table, *index), bytes })?;
    }
    put(out, &mut sum, &[0; 24])?;
    out.write_all(&sum.sum.to_le_bytes())?;
    Ok(contents.pages.len() as u64)
}

fn get<'b>(from: &mut impl io::Read, sum: &mut Sum, bytes: &'b mut [u8]) -> Result<&'b [u8], WorldError> {
    from.read_exact(bytes).map_err(|_| WorldError::NoWorld("it ends too early"))?;
    sum.add(bytes);
    Ok(bytes)
}

/// One item of a file.
enum Read {
    Page(Key, Box<[u8; 4096]>),
    Zero(Key, u64),
    Record(u16, u32, Vec<u8>),
}

/// Reads what stands before the items: the fingerprint of the programs.
fn head(from: &mut impl io::Read, sum: &mut Sum) -> Result<u64, WorldError> {
    let mut head = [0; 24];
    get(from, sum, &mut head)?;
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if head[..8] != MAGIC || !(1..=VERSION).contains(&version) {
        return Err(WorldError::NoWorld("another format or version"));
    }
    let mut programs = [0; 8];
    if version > 1 {
        get(from, sum, &mut programs)?;
    }
    Ok(u64::from_le_bytes(programs))
}

/// Goes through a file and hands each item on; the checksum is known to be right when it returns. Returns the
/// fingerprint of the programs.
fn each(from: &mut impl io::Read, mut take: impl FnMut(Read) -> Result<(), WorldError>) -> Result<u64, WorldError> {
    let mut sum = Sum::new();
    let programs = head(from, &mut sum)?;
    let mut bytes = [0; 24 + RECORD_BYTES_MAX];
    loop {
        // The header says how long the body is; both are hashed together, as they were written.
        from.read_exact(&mut bytes[..24]).map_err(|_| WorldError::NoWorld("it ends too early"))?;
        if bytes[..24] == [0; 24] {
            sum.add(&[0; 24]);
            break;
        }
        let body = match bytes[0] {
            1 => 16,
            2 => 8,
            4 => (u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize).next_multiple_of(8),
            _ => return Err(WorldError::NoWorld("an item of no kind")),
        };
        let Some(rest) = bytes.get_mut(24..24 + body) else {
            return Err(WorldError::NoWorld("a record that is too long"));
        };
        from.read_exact(rest).map_err(|_| WorldError::NoWorld("it ends too early"))?;
        sum.add(&bytes[..24 + body]);
        match Item::parse(&bytes[..24 + body]).map_err(|_| WorldError::NoWorld("an item that cannot be"))? {
            Item::Page { key, .. } => {
                let mut page = Box::new([0; 4096]);
                get(from, &mut sum, page.as_mut_slice())?;
                take(Read::Page(key, page))?;
            }
            Item::Zero { key, count } => take(Read::Zero(key, count))?,
            Item::Record { key, bytes } => {
                let Some((table, index)) = key.as_record() else {
                    return Err(WorldError::NoWorld("a record of no table"));
                };
                take(Read::Record(table, index, bytes.to_vec()))?;
            }
            Item::Absent { .. } => return Err(WorldError::NoWorld("an item that cannot be")),
        }
    }
    let mut expected = [0; 16];
    from.read_exact(&mut expected).map_err(|_| WorldError::NoWorld("it ends too early"))?;
    if u128::from_le_bytes(expected) != sum.sum {
        return Err(WorldError::NoWorld("its checksum is wrong"));
    }
    Ok(programs)
}

/// What an exported world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Pages with contents.
    pub pages: u64,
    /// Fingerprint of the programs that the world was made with; 0 when unknown.
    pub programs: u64,
    /// What it holds beside pages.
    pub rest: LogSize,
}

/// Whether a file is an exported world, whole, and what it holds.
///
/// # Errors
/// [`WorldError::NoWorld`] and why.
pub fn check(from: &mut impl io::Read) -> Result<Exported, WorldError> {
    let (mut pages, mut rest) = (0, LogSize::default());
    let programs = each(from, |item| {
        match &item {
            Read::Page(..) => pages += 1,
            Read::Zero(key, count) => rest.count(&Item::Zero { key: *key, count: *count }),
            Read::Record(table, index, bytes) => {
                rest.count(&Item::Record { key: Key::record(*table, *index), bytes });
            }
        }
        Ok(())
    })?;
    Ok(Exported { pages, programs, rest })
}

/// Reads a world from `from` into the empty store that `session` has open; how many pages it had. A large one is
/// committed in several epochs: after an error what is there is part of a world, and not to be used.
pub fn import(session: &mut Session<'_>, from: &mut impl io::Read) -> Result<u64, WorldError> {
    let incarnation = session.begin_incarnation()?;
    let mut epoch = Epoch::first_of(incarnation).ok_or(WorldError::Hung)?;
    session.begin(epoch)?;
    let (mut pages, mut gathered) = (0, 0);
    each(from, |item| {
        match item {
            Read::Page(key, page) => {
                session.put_page(key.object, key.index, &page)?;
                pages += 1;
                gathered += 1;
            }
            Read::Zero(key, count) => session.put(|store| store.put_zero(key.object, key.index, count))?,
            Read::Record(table, index, bytes) => session.put(|store| store.put_record(table, index, &bytes))?,
        }
        if gathered == EPOCH_PAGES {
            session.commit(epoch)?;
            epoch = epoch.next().ok_or(WorldError::Hung)?;
            session.begin(epoch)?;
            gathered = 0;
        }
        Ok(())
    })?;
    session.commit(epoch)?;
    Ok(pages)
}
