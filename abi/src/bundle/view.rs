//! A bundle that has been checked, as kernel and init read it.

use bitflags::bitflags;
use zerocopy::{FromBytes, IntoBytes};

use super::{
    BUNDLE_BYTES_MAX, BundleError, MAGIC, PAGE_BYTES, PROGRAMS_MAX, Payload, RawHeader, RawProgram, RawSegment,
    RawService, SEGMENTS_PER_PROGRAM_MAX, SERVICES_MAX, Service, Symbols, USER_ADDRESS_END, VERSION, checksum,
};

bitflags! {
    /// What a program may do with a segment. Never both write and execute.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SegmentRights: u32 {
        /// Load from it.
        const READ = 1;
        /// Store to it: every process needs its own copy.
        const WRITE = 2;
        /// Run it.
        const EXECUTE = 4;
    }
}

/// A checked bundle over `bytes`. All invariants of [the module](super) hold but for the symbols, which are checked
/// when they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    programs: &'a [RawProgram],
    segments: &'a [RawSegment],
    services: &'a [RawService],
}

impl<'a> Bundle<'a> {
    /// Checks `bytes` and gives the view over them.
    ///
    /// Reads every byte of the bundle but its symbols, once; keeps nothing else. `bytes` needs no alignment, but only
    /// a bundle that begins on a page boundary can be mapped where it lies.
    ///
    /// # Errors
    /// Whatever [`BundleError`] names; the first invariant that is broken, in their order.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let (header, rest) = check_header(bytes)?;
        let bundle = Self::read_table(bytes, header, rest)?;
        bundle.check()?;
        Ok(bundle)
    }

    fn read_table(bytes: &'a [u8], header: &RawHeader, rest: &'a [u8]) -> Result<Self, BundleError> {
        let counts = [header.program_count.get(), header.segment_count.get(), header.service_count.get()];
        let limits = [PROGRAMS_MAX, PROGRAMS_MAX * SEGMENTS_PER_PROGRAM_MAX, SERVICES_MAX];
        if counts.iter().zip(limits).any(|(&count, limit)| count > limit) {
            return Err(BundleError::TableLayout);
        }
        let [programs, segments, services] = counts.map(|count| count as usize);
        let too_short = |_| BundleError::TableLayout;
        let (programs, tail) = <[RawProgram]>::ref_from_prefix_with_elems(rest, programs).map_err(|_| too_short(()))?;
        let (segments, tail) = <[RawSegment]>::ref_from_prefix_with_elems(tail, segments).map_err(|_| too_short(()))?;
        let (services, tail) = <[RawService]>::ref_from_prefix_with_elems(tail, services).map_err(|_| too_short(()))?;
        let (table, _) = rest.split_at_checked(rest.len() - tail.len()).ok_or(BundleError::TableLayout)?;
        if checksum(table) != header.table_checksum.get() {
            return Err(BundleError::TableChecksum);
        }
        Ok(Self { bytes, programs, segments, services })
    }

    /// Invariants 3 to 7.
    fn check(&self) -> Result<(), BundleError> {
        let table_end = size_of::<RawHeader>()
            + size_of_val(self.programs)
            + size_of_val(self.segments)
            + size_of_val(self.services);
        let mut cursor = Cursor { free_from: table_end as u64, end: self.bytes.len() as u64 };
        let mut segment_next = 0;
        for (index, raw) in (0u32..).zip(self.programs) {
            let unique = self.programs.iter().take(index as usize).all(|other| other.name != raw.name);
            if !raw.name.is_valid() || !unique {
                return Err(BundleError::Name);
            }
            if raw.reserved.get() != 0 {
                return Err(BundleError::Reserved);
            }
            let misplaced =
                raw.segment_first.get() != segment_next || raw.segment_count.get() > SEGMENTS_PER_PROGRAM_MAX;
            let segments = self.segments_of(raw).filter(|_| !misplaced).ok_or(BundleError::Program { index })?;
            check_addresses(raw, segments).ok_or(BundleError::Program { index })?;
            for (position, segment) in (segment_next..).zip(segments) {
                self.check_segment_payload(segment, position, &mut cursor)?;
            }
            segment_next += raw.segment_count.get();
            let place = Payload::Symbols(index);
            let length = Symbols::file_bytes(raw).ok_or(BundleError::PayloadLayout(place))?;
            cursor.take(raw.symbols_offset.get(), length).ok_or(BundleError::PayloadLayout(place))?;
        }
        if segment_next as usize != self.segments.len() {
            return Err(BundleError::TableLayout);
        }
        self.check_services()
    }

    fn check_segment_payload(&self, raw: &RawSegment, index: u32, cursor: &mut Cursor) -> Result<(), BundleError> {
        let place = Payload::Segment(index);
        let offset = raw.offset.get();
        let length = raw.file_bytes.get().next_multiple_of(PAGE_BYTES);
        let range = cursor.take(offset, length).filter(|_| offset.is_multiple_of(PAGE_BYTES));
        let pages = range.and_then(|range| self.bytes.get(range)).ok_or(BundleError::PayloadLayout(place))?;
        let padding = pages.get(raw.file_bytes.get() as usize..).unwrap_or(&[]);
        if checksum(pages) != raw.checksum.get() || padding.iter().any(|&byte| byte != 0) {
            return Err(BundleError::PayloadChecksum(place));
        }
        Ok(())
    }

    fn check_services(&self) -> Result<(), BundleError> {
        for (index, raw) in (0u32..).zip(self.services) {
            let unique = self.services.iter().take(index as usize).all(|other| other.name != raw.name);
            if !raw.name.is_valid() || !raw.program.is_valid() || !unique {
                return Err(BundleError::Name);
            }
            let runnable =
                self.programs.iter().any(|program| program.name == raw.program && program.segment_count.get() > 0);
            Service::check(raw).filter(|_| runnable).ok_or(BundleError::Service { index })?;
        }
        Ok(())
    }

    fn segments_of(&self, raw: &RawProgram) -> Option<&'a [RawSegment]> {
        let first = raw.segment_first.get() as usize;
        self.segments.get(first..first.checked_add(raw.segment_count.get() as usize)?)
    }

    /// The bytes it was opened from.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All programs, in the order of the table.
    pub fn programs(&self) -> impl Iterator<Item = Program<'a>> {
        let bundle = *self;
        (0u32..).zip(self.programs).map(move |(index, raw)| Program { bundle, raw, index })
    }

    /// The program called `name`.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<Program<'a>> {
        self.programs().find(|program| program.name() == name)
    }

    /// All services, in the order in which init starts them.
    pub fn services(&self) -> impl Iterator<Item = Service<'a>> {
        self.services.iter().filter_map(Service::check)
    }

    /// The service called `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<Service<'a>> {
        self.services().find(|service| service.name() == name)
    }
}

/// Invariant 1.
fn check_header(bytes: &[u8]) -> Result<(&RawHeader, &[u8]), BundleError> {
    let found = bytes.len() as u64;
    let short = BundleError::Truncated { needed: size_of::<RawHeader>() as u64, found };
    let (header, rest) = RawHeader::ref_from_prefix(bytes).map_err(|_| short)?;
    if header.magic != MAGIC {
        return Err(BundleError::NotABundle);
    }
    let version = header.version.get();
    if version != VERSION {
        return Err(BundleError::Version { found: version });
    }
    let covered = header.as_bytes().get(..size_of::<RawHeader>() - 4).unwrap_or(&[]);
    if checksum(covered) != header.header_checksum.get() {
        return Err(BundleError::HeaderChecksum);
    }
    if header.reserved != [0; 24] {
        return Err(BundleError::Reserved);
    }
    let needed = header.total_bytes.get();
    if needed > BUNDLE_BYTES_MAX {
        return Err(BundleError::TableLayout);
    }
    match found.cmp(&needed) {
        core::cmp::Ordering::Less => Err(BundleError::Truncated { needed, found }),
        core::cmp::Ordering::Greater => Err(BundleError::Overlong { needed, found }),
        core::cmp::Ordering::Equal => Ok((header, rest)),
    }
}

/// Invariants 4 and 5.
fn check_addresses(raw: &RawProgram, segments: &[RawSegment]) -> Option<()> {
    let entry = raw.entry.get();
    let mut free_from = PAGE_BYTES; // page zero stays free: a null pointer must fault
    let mut entered = segments.is_empty() && entry == 0;
    for segment in segments {
        let (address, memory, file) = (segment.address.get(), segment.memory_bytes.get(), segment.file_bytes.get());
        let rights = SegmentRights::from_bits(segment.rights.get())?;
        let writable_code = rights.contains(SegmentRights::WRITE | SegmentRights::EXECUTE);
        if writable_code || !rights.contains(SegmentRights::READ) || memory == 0 || file > memory {
            return None;
        }
        if !address.is_multiple_of(PAGE_BYTES) || address < free_from {
            return None;
        }
        let end = address.checked_add(memory).filter(|&end| end <= USER_ADDRESS_END)?;
        free_from = end.next_multiple_of(PAGE_BYTES);
        let in_file = entry >= address && entry - address < file;
        entered |= in_file && rights.contains(SegmentRights::EXECUTE);
    }
    entered.then_some(())
}

/// Walks the payloads: each must begin where the last ended or later, and end within the file.
struct Cursor {
    free_from: u64,
    end: u64,
}

impl Cursor {
    fn take(&mut self, offset: u64, length: u64) -> Option<core::ops::Range<usize>> {
        let end = offset.checked_add(length)?;
        if offset < self.free_from || end > self.end {
            return None;
        }
        self.free_from = end;
        Some(offset as usize..end as usize)
    }
}

/// One program of a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    bundle: Bundle<'a>,
    raw: &'a RawProgram,
    index: u32,
}

impl<'a> Program<'a> {
    /// Its name, unique in the bundle.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.raw.name.as_str()
    }

    /// Address of its first instruction; in one of its executable segments. Zero if it has no segments.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.raw.entry.get()
    }

    /// Its segments by ascending address, at most [`SEGMENTS_PER_PROGRAM_MAX`]; none for the kernel itself.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        let bytes = self.bundle.bytes;
        self.bundle.segments_of(self.raw).unwrap_or(&[]).iter().map(move |raw| Segment { bytes, raw })
    }

    /// Its symbols.
    ///
    /// # Errors
    /// [`BundleError::PayloadChecksum`] or [`BundleError::PayloadLayout`] if they are damaged.
    pub fn symbols(&self) -> Result<Symbols<'a>, BundleError> {
        let place = BundleError::PayloadLayout(Payload::Symbols(self.index));
        let start = self.raw.symbols_offset.get() as usize;
        let length = Symbols::file_bytes(self.raw).ok_or(place)? as usize;
        let payload = self.bundle.bytes.get(start..).and_then(|tail| tail.get(..length)).ok_or(place)?;
        Symbols::check(self.raw, payload, self.index)
    }
}

/// One segment of a program.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    raw: &'a RawSegment,
}

impl<'a> Segment<'a> {
    /// Where it lies in the program's address space; page-aligned, never page zero.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.raw.address.get()
    }

    /// Where its pages begin in the bundle; page-aligned.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.raw.offset.get()
    }

    /// How many of its bytes the bundle holds; may be zero.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.raw.file_bytes.get()
    }

    /// How long it is in memory, at least 1 and at least [`Segment::file_bytes`]; the rest is zero.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.raw.memory_bytes.get()
    }

    /// What the program may do with it.
    #[must_use]
    pub fn rights(&self) -> SegmentRights {
        SegmentRights::from_bits_truncate(self.raw.rights.get())
    }

    /// Its whole pages in the bundle: [`Segment::file_bytes`] rounded up, the rest of the last page zero.
    #[must_use]
    pub fn pages(&self) -> &'a [u8] {
        let start = self.raw.offset.get() as usize;
        let length = self.raw.file_bytes.get().next_multiple_of(PAGE_BYTES) as usize;
        self.bytes.get(start..).and_then(|tail| tail.get(..length)).unwrap_or(&[])
    }

    /// Checksum of those pages.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.raw.checksum.get()
    }
}
