//! A small bundle made by hand, and everything that can be done to it.

use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::*;

const HEADER_BYTES: usize = size_of::<RawHeader>();
const TABLE_BYTES: usize = 2 * size_of::<RawProgram>() + 2 * size_of::<RawSegment>() + size_of::<RawService>();

/// The tables of a bundle with a program `shell` of two segments, the kernel's symbols, and one service.
#[derive(Clone)]
struct Parts {
    programs: [RawProgram; 2],
    segments: [RawSegment; 2],
    service: RawService,
    symbols: [RawSymbol; 2],
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

impl Parts {
    fn new() -> Self {
        let segment = |address: u64, page: u64, file: u64, memory: u64, rights: SegmentRights| RawSegment {
            address: U64::new(address),
            offset: U64::new(page * PAGE_BYTES),
            file_bytes: U64::new(file),
            memory_bytes: U64::new(memory),
            rights: U32::new(rights.bits()),
            checksum: U32::new(0),
        };
        let symbol = |address: u64, bytes: u32, name_offset: u32, name_bytes: u32| RawSymbol {
            address: U64::new(address),
            bytes: U32::new(bytes),
            name_offset: U32::new(name_offset),
            name_bytes: U32::new(name_bytes),
        };
        let program = |text: &str, entry: u64, first: u32, count: u32, symbols_offset: u64| RawProgram {
            name: name(text),
            entry: U64::new(entry),
            symbols_offset: U64::new(symbols_offset),
            segment_first: U32::new(first),
            segment_count: U32::new(count),
            symbol_count: U32::new(0),
            symbol_names_bytes: U32::new(0),
            symbols_checksum: U32::new(checksum(&[])),
            reserved: U32::new(0),
        };
        let mut kernel = program("kernel", 0, 2, 0, 3 * PAGE_BYTES);
        kernel.symbol_count = U32::new(2);
        kernel.symbol_names_bytes = U32::new(8);
        let mut service = RawService::new_zeroed();
        service.name = name("shell");
        service.program = name("shell");
        service.stack_pages = U32::new(4);
        service.priority = 100;
        service.lifetime = Lifetime::Genesis as u8;
        service.grant_count = 2;
        service.grants[0] = name("console");
        service.grants[1] = name("memory");
        Self {
            programs: [program("shell", 0x40_0010, 0, 2, 3 * PAGE_BYTES), kernel],
            segments: [
                segment(0x40_0000, 1, 0x123, 0x123, SegmentRights::READ | SegmentRights::EXECUTE),
                segment(0x40_1000, 2, 0x10, 0x5000, SegmentRights::READ | SegmentRights::WRITE),
            ],
            service,
            symbols: [symbol(0xffff_ffff_8000_0000, 16, 0, 4), symbol(0xffff_ffff_8000_0010, 32, 4, 4)],
        }
    }

    /// The file, with right checksums whatever the tables say.
    fn seal(mut self) -> Vec<u8> {
        let mut file = std::vec![0; 3 * PAGE_BYTES as usize];
        file[PAGE_BYTES as usize..][..0x123].fill(0x90);
        file[2 * PAGE_BYTES as usize..][..0x10].fill(0x55);
        file.extend_from_slice(self.symbols.as_bytes());
        file.extend_from_slice(b"mainidle");
        self.programs[1].symbols_checksum = U32::new(checksum(&file[3 * PAGE_BYTES as usize..]));
        for segment in &mut self.segments {
            let start = segment.offset.get() as usize;
            let length = segment.file_bytes.get().saturating_add(4095) as usize & !4095;
            let pages = file.get(start..).and_then(|tail| tail.get(..length)).unwrap_or(&[]);
            segment.checksum = U32::new(checksum(pages));
        }
        let mut table = Vec::new();
        table.extend_from_slice(self.programs.as_bytes());
        table.extend_from_slice(self.segments.as_bytes());
        table.extend_from_slice(self.service.as_bytes());
        file[HEADER_BYTES..][..table.len()].copy_from_slice(&table);
        let mut header = RawHeader::new_zeroed();
        header.magic = MAGIC;
        header.version = U32::new(VERSION);
        header.program_count = U32::new(2);
        header.segment_count = U32::new(2);
        header.service_count = U32::new(1);
        header.total_bytes = U64::new(file.len() as u64);
        file[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        reseal(&mut file);
        file
    }
}

/// Makes the checksums of header and table right again.
fn reseal(file: &mut [u8]) {
    let table = checksum(&file[HEADER_BYTES..HEADER_BYTES + TABLE_BYTES]);
    let (header, _) = RawHeader::mut_from_prefix(file).expect("a header");
    header.table_checksum = U32::new(table);
    let covered = checksum(&header.as_bytes()[..HEADER_BYTES - 4]);
    header.header_checksum = U32::new(covered);
}

/// Reads all that a bundle offers; must not panic whatever the bytes were.
fn exercise(bytes: &[u8]) -> Result<(), BundleError> {
    let bundle = Bundle::open(bytes)?;
    for program in bundle.programs() {
        for segment in program.segments() {
            assert!(segment.pages().len() as u64 >= segment.file_bytes());
            assert!(segment.memory_bytes() >= segment.file_bytes());
            assert!(!segment.rights().contains(SegmentRights::WRITE | SegmentRights::EXECUTE));
            assert!(segment.address() + segment.memory_bytes() <= USER_ADDRESS_END);
        }
        if let Ok(symbols) = program.symbols() {
            for symbol in symbols.iter() {
                assert_eq!(symbols.find(symbol.address), Some((symbol, 0)));
            }
        }
    }
    for service in bundle.services() {
        let program = bundle.program(service.program()).expect("invariant 7");
        assert!(program.segments().next().is_some());
        assert!(service.grants().all(Name::is_valid));
    }
    Ok(())
}

#[test]
fn a_good_bundle_is_read_back() {
    let file = Parts::new().seal();
    let bundle = Bundle::open(&file).expect("a good bundle");
    let shell = bundle.program("shell").expect("the program");
    assert_eq!(shell.entry(), 0x40_0010);
    let segments: Vec<_> = shell.segments().collect();
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[1].memory_bytes(), 0x5000);
    assert_eq!(segments[1].pages()[..0x11], [[0x55; 0x10].as_slice(), &[0]].concat());
    let symbols = bundle.program("kernel").expect("the kernel").symbols().expect("its symbols");
    let (symbol, distance) = symbols.find(0xffff_ffff_8000_0012).expect("a symbol");
    assert_eq!((symbol.name, distance), ("idle", 2));
    assert!(symbols.find(0xffff_ffff_8000_0030).is_none());
    assert!(symbols.find(0xffff_ffff_7fff_ffff).is_none());
    let service = bundle.service("shell").expect("the service");
    assert_eq!((service.priority(), service.stack_pages()), (100, 4));
    assert_eq!((service.restart(), service.lifetime()), (Restart::Never, Lifetime::Genesis));
    assert_eq!(service.grants().map(Name::as_str).collect::<Vec<_>>(), ["console", "memory"]);
    assert!(bundle.program("init").is_none() && bundle.service("init").is_none());
}

#[test]
fn every_truncation_is_an_error() {
    let file = Parts::new().seal();
    for length in 0..file.len() {
        let error = Bundle::open(&file[..length]).expect_err("a truncated bundle");
        assert!(matches!(error, BundleError::Truncated { .. }), "{length}: {error:?}");
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert!(matches!(Bundle::open(&longer), Err(BundleError::Overlong { .. })));
}

#[test]
fn every_flipped_bit_that_counts_is_noticed() {
    let good = Parts::new().seal();
    let used_end = HEADER_BYTES + TABLE_BYTES;
    for position in 0..good.len() * 8 {
        let byte = position / 8;
        let mut file = good.clone();
        file[byte] ^= 1 << (position % 8);
        let opened = exercise(&file);
        let kernel = || Bundle::open(&file).expect("opened").program("kernel").expect("kernel").symbols().is_err();
        let gap = (used_end..PAGE_BYTES as usize).contains(&byte);
        let symbols = byte >= 3 * PAGE_BYTES as usize;
        assert!(gap || if symbols { opened.is_ok() && kernel() } else { opened.is_err() }, "bit {position}");
    }
}

/// A way to spoil a bundle whose checksums are right, and whether the error is the one that names it.
type Spoiler = (&'static str, fn(&mut Parts), fn(BundleError) -> bool);

const SPOILERS: &[Spoiler] = &[
    ("same program twice", |p| p.programs[1].name = p.programs[0].name, |e| e == BundleError::Name),
    ("no program name", |p| p.programs[0].name = Name::EMPTY, |e| e == BundleError::Name),
    ("reserved", |p| p.programs[0].reserved = U32::new(1), |e| e == BundleError::Reserved),
    ("W+X", |p| p.segments[0].rights = U32::new(7), |e| e == BundleError::Program { index: 0 }),
    ("unknown right", |p| p.segments[0].rights = U32::new(9), |e| e == BundleError::Program { index: 0 }),
    ("unaligned", |p| p.segments[1].address = U64::new(0x40_1008), |e| e == BundleError::Program { index: 0 }),
    ("null page", |p| p.segments[0].address = U64::new(0), |e| e == BundleError::Program { index: 0 }),
    ("overlap", |p| p.segments[1].address = U64::new(0x40_0000), |e| e == BundleError::Program { index: 0 }),
    ("wraps", |p| p.segments[1].memory_bytes = U64::new(u64::MAX), |e| e == BundleError::Program { index: 0 }),
    ("kernel half", |p| p.segments[1].address = U64::new(USER_ADDRESS_END), |e| e == BundleError::Program { index: 0 }),
    ("file > memory", |p| p.segments[1].memory_bytes = U64::new(1), |e| e == BundleError::Program { index: 0 }),
    ("entry outside", |p| p.programs[0].entry = U64::new(0x40_0123), |e| e == BundleError::Program { index: 0 }),
    ("entry in data", |p| p.programs[0].entry = U64::new(0x40_1000), |e| e == BundleError::Program { index: 0 }),
    ("kernel entry", |p| p.programs[1].entry = U64::new(1), |e| e == BundleError::Program { index: 1 }),
    ("run of segments", |p| p.programs[0].segment_first = U32::new(1), |e| e == BundleError::Program { index: 0 }),
    ("runs overlap", |p| p.programs[1].segment_first = U32::new(1), |e| e == BundleError::Program { index: 1 }),
    ("in the table", |p| p.segments[0].offset = U64::new(0), |e| e == BundleError::PayloadLayout(Payload::Segment(0))),
    (
        "behind the end",
        |p| p.segments[1].offset = U64::new(1 << 40),
        |e| e == BundleError::PayloadLayout(Payload::Segment(1)),
    ),
    (
        "same pages twice",
        |p| p.segments[1].offset = p.segments[0].offset,
        |e| e == BundleError::PayloadLayout(Payload::Segment(1)),
    ),
    (
        "padding not zero",
        |p| p.segments[0].file_bytes = U64::new(0x100),
        |e| e == BundleError::PayloadChecksum(Payload::Segment(0)),
    ),
    (
        "too many symbols",
        |p| p.programs[1].symbol_count = U32::new(u32::MAX),
        |e| e == BundleError::PayloadLayout(Payload::Symbols(1)),
    ),
    (
        "symbols wrap",
        |p| p.programs[1].symbols_offset = U64::new(u64::MAX),
        |e| e == BundleError::PayloadLayout(Payload::Symbols(1)),
    ),
    ("service name", |p| p.service.name = Name::EMPTY, |e| e == BundleError::Name),
    ("program unknown", |p| p.service.program = name("nobody"), |e| e == BundleError::Service { index: 0 }),
    ("program is kernel", |p| p.service.program = name("kernel"), |e| e == BundleError::Service { index: 0 }),
    ("restart unknown", |p| p.service.restart = 3, |e| e == BundleError::Service { index: 0 }),
    ("genesis restarts", |p| p.service.restart = 1, |e| e == BundleError::Service { index: 0 }),
    ("lifetime unknown", |p| p.service.lifetime = 2, |e| e == BundleError::Service { index: 0 }),
    ("no stack", |p| p.service.stack_pages = U32::new(0), |e| e == BundleError::Service { index: 0 }),
    ("grant twice", |p| p.service.grants[1] = p.service.grants[0], |e| e == BundleError::Service { index: 0 }),
    ("grants uncounted", |p| p.service.grant_count = 1, |e| e == BundleError::Service { index: 0 }),
    ("too many grants", |p| p.service.grant_count = 17, |e| e == BundleError::Service { index: 0 }),
];

#[test]
fn each_broken_invariant_has_its_error() {
    for (what, spoil, expected) in SPOILERS {
        let mut parts = Parts::new();
        spoil(&mut parts);
        let error = Bundle::open(&parts.seal()).expect_err(what);
        assert!(expected(error), "{what}: {error:?}");
    }
}

#[test]
fn foreign_files_and_versions_are_named() {
    assert_eq!(exercise(&[0; 4096]), Err(BundleError::NotABundle));
    let mut file = Parts::new().seal();
    file[8] = 2;
    reseal(&mut file);
    assert_eq!(exercise(&file), Err(BundleError::Version { found: 2 }));
}

#[test]
fn damaged_symbols_spoil_nothing_else() {
    let spoilers: [fn(&mut Parts); 4] = [
        |p| p.symbols.swap(0, 1),
        |p| p.symbols[0].bytes = U32::new(17),
        |p| p.symbols[1].name_offset = U32::new(5),
        |p| p.symbols[1].name_bytes = U32::new(u32::MAX),
    ];
    for spoil in spoilers {
        let mut parts = Parts::new();
        spoil(&mut parts);
        let file = parts.seal();
        let bundle = Bundle::open(&file).expect("opened");
        let error = bundle.program("kernel").expect("kernel").symbols().expect_err("damaged");
        assert_eq!(error, BundleError::PayloadLayout(Payload::Symbols(1)));
    }
}

#[test]
fn names() {
    for bad in ["", "two words", "näme", "a\0b", "123456789012345678901234567890123"] {
        assert!(Name::new(bad).is_none(), "{bad:?}");
    }
    assert_eq!(name("12345678901234567890123456789012").as_str().len(), NAME_BYTES_MAX);
    assert_eq!(Name::EMPTY.as_str(), "");
}

proptest! {
    /// Any bytes at all.
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(exercise(&noise).is_err());
    }

    /// Hostile tables with right checksums: whatever opens is safe to use (`exercise` asserts it).
    #[test]
    fn hostile_tables_never_panic(edits in prop::collection::vec((0..TABLE_BYTES + HEADER_BYTES, any::<u8>()), 1..6)) {
        let mut file = Parts::new().seal();
        for (position, value) in edits {
            file[position] = value;
        }
        reseal(&mut file);
        let _ = exercise(&file);
    }

    /// The same with numbers that matter, written over whole fields.
    #[test]
    fn hostile_fields_never_panic(
        edits in prop::collection::vec((0..(TABLE_BYTES + HEADER_BYTES - 8) / 4, prop_oneof![
            Just(0u64), Just(u64::MAX), Just(1 << 63), Just(PAGE_BYTES), Just(USER_ADDRESS_END - 1),
            Just(u64::MAX - 4095), 0u64..0x10_0000, any::<u64>(),
        ]), 1..4),
    ) {
        let mut file = Parts::new().seal();
        for (field, value) in edits {
            file[field * 4..][..8].copy_from_slice(&value.to_le_bytes());
        }
        reseal(&mut file);
        let _ = exercise(&file);
    }
}
