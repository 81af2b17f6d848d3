//! The boot bundle: tables that say anything, under checksums that fit.

use abi::bundle::{
    Bundle, MAGIC, Name, PAGE_BYTES, RawHeader, RawProgram, RawSegment, RawService, SegmentRights, VERSION, checksum,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::Source;

const HEADER: usize = size_of::<RawHeader>();
/// Two programs, the second with two segments, and a service.
const TABLE: usize = 2 * size_of::<RawProgram>() + 2 * size_of::<RawSegment>() + size_of::<RawService>();

/// A bundle, all but the sums of header and table; sound, if the service is left out.
fn made() -> Option<Vec<u8>> {
    let page = PAGE_BYTES as usize;
    let mut file = vec![0; 3 * page];
    let mut programs = [RawProgram::new_zeroed(), RawProgram::new_zeroed()];
    programs.iter_mut().for_each(|program| program.symbols_checksum = checksum(&[]).into());
    programs[0].name = Name::new("kernel")?;
    programs[1].name = Name::new("init")?;
    programs[1].entry = 0x40_0000.into();
    programs[1].segment_count = 2.into();
    // Of no symbols too a place is named, in the order of the file.
    programs[0].symbols_offset = ((HEADER + TABLE) as u64).into();
    programs[1].symbols_offset = (3 * PAGE_BYTES).into();
    let mut segments = [RawSegment::new_zeroed(), RawSegment::new_zeroed()];
    for (number, segment) in segments.iter_mut().enumerate() {
        let offset = page * (number + 1);
        segment.address = (0x40_0000 + (number * page) as u64).into();
        segment.offset = (offset as u64).into();
        (segment.file_bytes, segment.memory_bytes) = (PAGE_BYTES.into(), PAGE_BYTES.into());
        segment.rights = if number == 0 { 5.into() } else { 3.into() };
        segment.checksum = checksum(&file[offset..offset + page]).into();
    }
    let mut service = RawService::new_zeroed();
    (service.name, service.program) = (Name::new("init")?, Name::new("init")?);
    let parts = [programs.as_bytes(), segments.as_bytes(), service.as_bytes()];
    let mut at = HEADER;
    for part in parts {
        file[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    let (header, _) = RawHeader::mut_from_prefix(&mut file).ok()?;
    header.magic = MAGIC;
    header.version = VERSION.into();
    (header.program_count, header.segment_count) = (2.into(), 2.into());
    header.total_bytes = (3 * PAGE_BYTES).into();
    Some(file)
}

fn reseal(file: &mut [u8], services: u32) {
    let table = HEADER + TABLE - if services == 0 { size_of::<RawService>() } else { 0 };
    let Some(sum) = file.get(HEADER..table).map(checksum) else { return };
    let Ok((header, _)) = RawHeader::mut_from_prefix(file) else { return };
    header.table_checksum = sum.into();
    header.header_checksum = checksum(&header.as_bytes()[..HEADER - 4]).into();
}

/// Reads all that an opened bundle offers.
fn read(bundle: &Bundle<'_>) -> Result<(), String> {
    for program in bundle.programs() {
        for segment in program.segments() {
            let held = segment.pages().len() as u64 >= segment.file_bytes();
            let both = segment.rights().contains(SegmentRights::WRITE | SegmentRights::EXECUTE);
            if !held || both || segment.memory_bytes() < segment.file_bytes() {
                return Err(format!("a segment of {} is taken for sound", program.name()));
            }
        }
        if let Ok(symbols) = program.symbols() {
            let _ = (symbols.iter().count(), symbols.find(0x40_0010));
        }
    }
    for service in bundle.services() {
        let _ = bundle.program(service.program()).ok_or("a service without a program")?;
        let _ = service.grants().count();
    }
    Ok(())
}

pub(crate) fn run(input: &[u8]) -> Result<(), String> {
    if let Ok(bundle) = Bundle::open(input) {
        read(&bundle)?;
    }
    let mut source = Source::new(input);
    let mut file = made().ok_or("a bundle")?;
    let services = u32::from(source.byte() % 2);
    let edits = source.byte() % 6;
    let (header, _) = RawHeader::mut_from_prefix(&mut file).map_err(|_| "a header")?;
    header.service_count = services.into();
    for _ in 0..edits {
        let at = source.below(HEADER + TABLE);
        // Within the first fields of the header nothing but counts and length is worth changing.
        let at = if at < 12 { at + 12 } else { at };
        match source.byte() % 3 {
            0 => file[at] = source.byte(),
            1 => file[at] ^= 1 << (source.byte() % 8),
            _ => {
                let value = source.number().to_le_bytes();
                file[at / 4 * 4..at / 4 * 4 + 4].copy_from_slice(&value[..4]);
            }
        }
    }
    if source.byte() % 8 == 1 {
        file.truncate(source.below(file.len()));
    }
    reseal(&mut file, services);
    let opened = Bundle::open(&file);
    match &opened {
        Ok(bundle) => read(bundle),
        Err(error) if edits == 0 && services == 0 && file.len() == 3 * PAGE_BYTES as usize => {
            Err(format!("a sound bundle is refused: {error:?}"))
        }
        Err(_) => Ok(()),
    }
}
