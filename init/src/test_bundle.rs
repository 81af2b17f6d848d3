//! Bundles for tests: one program with a segment of each kind, and the services that a test wants.

use abi::bundle::{
    Lifetime, MAGIC, Name, RawHeader, RawProgram, RawSegment, RawService, Restart, SegmentRights, VERSION, checksum,
};
use zerocopy::{FromZeros, IntoBytes};

const PAGE: usize = 4096;

/// A service to be.
pub(crate) struct Made(RawService);

/// A volatile service with these grants.
pub(crate) fn service(name: &str, grants: &[&str]) -> Made {
    let mut raw = RawService::new_zeroed();
    raw.name = Name::new(name).expect("a name");
    raw.program = Name::new("program").expect("a name");
    raw.stack_pages = 4.into();
    raw.priority = 100;
    raw.restart = Restart::Always as u8;
    raw.lifetime = Lifetime::Volatile as u8;
    raw.grant_count = grants.len() as u8;
    for (to, grant) in raw.grants.iter_mut().zip(grants) {
        *to = Name::new(grant).expect("a name");
    }
    Made(raw)
}

impl Made {
    /// The same, in the world.
    pub(crate) fn in_world(mut self) -> Self {
        self.0.restart = Restart::Never as u8;
        self.0.lifetime = Lifetime::Genesis as u8;
        self
    }
}

/// Address, bytes in the file, bytes in memory, rights.
const SEGMENTS: [(u64, usize, usize, SegmentRights); 4] = [
    (0x40_0000, 2 * PAGE, 2 * PAGE, SegmentRights::READ.union(SegmentRights::EXECUTE)),
    (0x40_2000, PAGE + 100, PAGE + 100, SegmentRights::READ),
    (0x40_8000, 10, 3 * PAGE, SegmentRights::READ),
    (0x41_0000, PAGE + 5, 4 * PAGE + 1, SegmentRights::READ.union(SegmentRights::WRITE)),
];

/// A bundle with one program, "program", and `services`.
pub(crate) fn bundle(services: &[Made]) -> Vec<u8> {
    bundle_of(services, 0)
}

/// The same, of a build whose program differs with `build`.
pub(crate) fn bundle_of(services: &[Made], build: u8) -> Vec<u8> {
    let table =
        size_of::<RawProgram>() + SEGMENTS.len() * size_of::<RawSegment>() + services.len() * size_of::<RawService>();
    let mut payload = Vec::new();
    let first = (size_of::<RawHeader>() + table).next_multiple_of(PAGE);
    let mut segments = Vec::new();
    for (number, (address, file, memory, rights)) in (1_u8..).zip(SEGMENTS) {
        let offset = first + payload.len();
        let mut pages: Vec<u8> = (0..file).map(|at| (at % 251) as u8 ^ number ^ build).collect();
        pages.resize(file.next_multiple_of(PAGE), 0);
        segments.push(RawSegment {
            address: address.into(),
            offset: (offset as u64).into(),
            file_bytes: (file as u64).into(),
            memory_bytes: (memory as u64).into(),
            rights: rights.bits().into(),
            checksum: checksum(&pages).into(),
        });
        payload.extend(pages);
    }
    let mut program = RawProgram::new_zeroed();
    program.name = Name::new("program").expect("a name");
    program.entry = SEGMENTS[0].0.into();
    program.segment_count = (SEGMENTS.len() as u32).into();
    program.symbols_offset = ((first + payload.len()) as u64).into();
    program.symbols_checksum = checksum(&[]).into();

    let mut tables = program.as_bytes().to_vec();
    segments.iter().for_each(|segment| tables.extend(segment.as_bytes()));
    services.iter().for_each(|service| tables.extend(service.0.as_bytes()));
    let mut header = RawHeader::new_zeroed();
    header.magic = MAGIC;
    header.version = VERSION.into();
    header.program_count = 1.into();
    header.segment_count = (SEGMENTS.len() as u32).into();
    header.service_count = (services.len() as u32).into();
    header.total_bytes = ((first + payload.len()) as u64).into();
    header.table_checksum = checksum(&tables).into();
    header.header_checksum = checksum(&header.as_bytes()[..size_of::<RawHeader>() - 4]).into();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(tables);
    bytes.resize(first, 0);
    bytes.extend(payload);
    bytes
}
