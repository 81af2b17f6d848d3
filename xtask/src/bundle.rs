//! Packs the boot bundle that `abi::bundle` reads. The same inputs give the same bytes.

use abi::bundle::{
    Bundle, MAGIC, PAGE_BYTES, RawHeader, RawProgram, RawSegment, RawService, RawSymbol, VERSION, checksum,
};
use anyhow::{Context, Result, ensure};
use zerocopy::{FromZeros, IntoBytes};

use crate::elf::{Program, Segment, Symbol};
use crate::manifest::name;

/// Gathers programs and services, then gives the file.
#[derive(Default)]
pub(crate) struct Packer {
    programs: Vec<RawProgram>,
    segments: Vec<RawSegment>,
    services: Vec<RawService>,
    /// The payloads of each program, in order, not yet placed.
    payloads: Vec<(Vec<Segment>, Vec<u8>)>,
}

impl Packer {
    /// Adds a program with its segments and symbols.
    pub(crate) fn add_program(&mut self, program_name: &str, elf: &[u8]) -> Result<()> {
        let program = Program::parse(elf)?;
        self.add(program_name, program.entry(), program.segments()?, &program.symbols())
    }

    /// Adds the kernel: its symbols alone, since the boot loader loads it.
    pub(crate) fn add_kernel(&mut self, elf: &[u8]) -> Result<()> {
        let symbols = Program::parse(elf)?.symbols();
        ensure!(!symbols.is_empty(), "the kernel has no symbols");
        self.add("kernel", 0, Vec::new(), &symbols)
    }

    /// Adds the services.
    pub(crate) fn add_services(&mut self, services: Vec<RawService>) {
        self.services.extend(services);
    }

    fn add(&mut self, program_name: &str, entry: u64, segments: Vec<Segment>, symbols: &[Symbol]) -> Result<()> {
        let (symbol_bytes, names_bytes) = encode_symbols(symbols)?;
        let mut raw = RawProgram::new_zeroed();
        raw.name = name(program_name)?;
        raw.entry = entry.into();
        raw.segment_first = u32::try_from(self.segments.len())?.into();
        raw.segment_count = u32::try_from(segments.len())?.into();
        raw.symbol_count = u32::try_from(symbols.len())?.into();
        raw.symbol_names_bytes = names_bytes.into();
        raw.symbols_checksum = checksum(&symbol_bytes).into();
        self.programs.push(raw);
        self.segments.extend(segments.iter().map(|segment| {
            let mut raw = RawSegment::new_zeroed();
            raw.address = segment.address.into();
            raw.file_bytes = (segment.bytes.len() as u64).into();
            raw.memory_bytes = segment.memory_bytes.into();
            raw.rights = segment.rights.bits().into();
            raw
        }));
        self.payloads.push((segments, symbol_bytes));
        Ok(())
    }

    /// The file. It has been read back: what it breaks is reported here, not at boot.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        let table_bytes = size_of_val(&*self.programs) + size_of_val(&*self.segments) + size_of_val(&*self.services);
        let mut file = vec![0; size_of::<RawHeader>() + table_bytes];
        let mut raw_segments = self.segments.iter_mut();
        for (program, (segments, symbols)) in self.programs.iter_mut().zip(&self.payloads) {
            for (segment, raw) in segments.iter().zip(&mut raw_segments) {
                pad_to_page(&mut file);
                let start = file.len();
                raw.offset = (start as u64).into();
                file.extend_from_slice(&segment.bytes);
                pad_to_page(&mut file);
                raw.checksum = checksum(&file[start..]).into();
            }
            program.symbols_offset = (file.len() as u64).into();
            file.extend_from_slice(symbols);
        }
        pad_to_page(&mut file);
        let table = [self.programs.as_bytes(), self.segments.as_bytes(), self.services.as_bytes()].concat();
        let mut header = RawHeader::new_zeroed();
        header.magic = MAGIC;
        header.version = VERSION.into();
        header.program_count = u32::try_from(self.programs.len())?.into();
        header.segment_count = u32::try_from(self.segments.len())?.into();
        header.service_count = u32::try_from(self.services.len())?.into();
        header.total_bytes = (file.len() as u64).into();
        header.table_checksum = checksum(&table).into();
        let covered = size_of::<RawHeader>() - size_of_val(&header.header_checksum);
        header.header_checksum = checksum(&header.as_bytes()[..covered]).into();
        let (header_field, rest) = file.split_at_mut(size_of::<RawHeader>());
        header_field.copy_from_slice(header.as_bytes());
        rest[..table_bytes].copy_from_slice(&table);
        let bundle = Bundle::open(&file).context("the packed bundle does not hold what a bundle must")?;
        for program in bundle.programs() {
            program.symbols().with_context(|| format!("the symbols of {}", program.name()))?;
        }
        Ok(file)
    }
}

fn pad_to_page(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(PAGE_BYTES as usize), 0);
}

/// The symbols and, behind them, their names; and the length of the names.
fn encode_symbols(symbols: &[Symbol]) -> Result<(Vec<u8>, u32)> {
    let mut entries = Vec::with_capacity(symbols.len());
    let mut names = String::new();
    for symbol in symbols {
        let mut raw = RawSymbol::new_zeroed();
        raw.address = symbol.address.into();
        raw.bytes = symbol.bytes.into();
        raw.name_offset = u32::try_from(names.len())?.into();
        raw.name_bytes = u32::try_from(symbol.name.len())?.into();
        entries.push(raw);
        names.push_str(&symbol.name);
    }
    let names_bytes = u32::try_from(names.len())?;
    Ok(([entries.as_bytes(), names.as_bytes()].concat(), names_bytes))
}

#[cfg(test)]
mod tests {
    use abi::bundle::SegmentRights;
    use proptest::prelude::*;

    use super::*;

    fn segments(sizes: &[(u16, u16)]) -> Vec<Segment> {
        let mut address = 0x40_0000;
        let make = |(position, &(file, more)): (usize, &(u16, u16))| {
            let memory_bytes = u64::from(file) + u64::from(more) + u64::from(file == 0 && more == 0);
            let bytes = (0..file).map(|index| index as u8 ^ 0x5a).collect();
            let rights = if position == 0 { SegmentRights::EXECUTE } else { SegmentRights::WRITE };
            let segment = Segment { address, bytes, memory_bytes, rights: rights | SegmentRights::READ };
            address += memory_bytes.next_multiple_of(PAGE_BYTES);
            segment
        };
        sizes.iter().enumerate().map(make).collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(
            sizes in prop::collection::vec((any::<u16>(), any::<u16>()), 0..5),
            code in 1u16..9000,
            lengths in prop::collection::vec(1u32..50, 0..20),
        ) {
            let mut address = 0x40_0000;
            let symbols: Vec<_> = lengths.iter().map(|&bytes| {
                address += 64;
                Symbol { address, bytes, name: format!("symbol at {address:#x}") }
            }).collect();
            let all: Vec<_> = [(code, 0)].into_iter().chain(sizes).collect();
            let mut packer = Packer::default();
            packer.add("first", 0x40_0000, segments(&all), &symbols).expect("added");
            packer.add("second", 0x40_0000, segments(&[(1, 0)]), &[]).expect("added");
            let file = packer.finish().expect("packed");
            let bundle = Bundle::open(&file).expect("opened");
            let first = bundle.program("first").expect("found");
            let read: Vec<_> = first.segments().collect();
            prop_assert_eq!(read.len(), all.len());
            for (read, wanted) in read.iter().zip(segments(&all)) {
                prop_assert_eq!(read.address(), wanted.address);
                prop_assert_eq!(read.memory_bytes(), wanted.memory_bytes);
                prop_assert_eq!(&read.pages()[..wanted.bytes.len()], wanted.bytes.as_slice());
            }
            let table = first.symbols().expect("checked");
            for symbol in &symbols {
                let (found, distance) = table.find(symbol.address + u64::from(symbol.bytes) - 1).expect("found");
                prop_assert_eq!(found.name, symbol.name.as_str());
                prop_assert_eq!(distance, u64::from(symbol.bytes) - 1);
            }
        }
    }

    #[test]
    fn the_same_name_twice_is_refused() {
        let mut packer = Packer::default();
        packer.add("one", 0x40_0000, segments(&[(1, 0)]), &[]).expect("added");
        packer.add("one", 0x40_0000, segments(&[(1, 0)]), &[]).expect("added");
        assert!(packer.finish().is_err());
    }
}
