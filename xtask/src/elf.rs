//! What a linked file says: segments ready to be packed, and symbols ready to be printed.

use abi::bundle::{PAGE_BYTES, SYMBOL_NAME_BYTES_MAX, SegmentRights};
use anyhow::{Context, Result, bail, ensure};
use object::elf::{PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_TLS};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// A symbol without a length of its own (a label in assembly) ends here at the latest.
const LABEL_BYTES_MAX: u64 = 64 << 10;

/// A piece of a program, page-aligned.
pub(crate) struct Segment {
    /// Where it lies.
    pub(crate) address: u64,
    /// What the file holds of it.
    pub(crate) bytes: Vec<u8>,
    /// How long it is in memory.
    pub(crate) memory_bytes: u64,
    /// What may be done with it.
    pub(crate) rights: SegmentRights,
}

/// A named piece of code.
pub(crate) struct Symbol {
    /// Where it begins.
    pub(crate) address: u64,
    /// How long it is.
    pub(crate) bytes: u32,
    /// Its readable name.
    pub(crate) name: String,
}

/// A linked file.
pub(crate) struct Program<'data> {
    file: ElfFile64<'data>,
}

impl<'data> Program<'data> {
    /// Reads the file's headers.
    pub(crate) fn parse(data: &'data [u8]) -> Result<Self> {
        Ok(Self { file: ElfFile64::parse(data).context("not a 64-bit ELF file")? })
    }

    /// The address of its first instruction.
    pub(crate) fn entry(&self) -> u64 {
        self.file.entry()
    }

    /// Its segments by ascending address.
    ///
    /// # Errors
    /// If it needs anything of a loader: relocation, an interpreter, thread-local data, a page with two kinds of rights.
    pub(crate) fn segments(&self) -> Result<Vec<Segment>> {
        let endian = self.file.endian();
        let mut segments: Vec<Segment> = Vec::new();
        for header in self.file.elf_program_headers() {
            match header.p_type(endian) {
                PT_LOAD if header.p_memsz(endian) > 0 => {}
                PT_DYNAMIC | PT_INTERP => bail!("it is not linked statically"),
                PT_TLS => bail!("it has thread-local variables, which nothing would set up"),
                _ => continue,
            }
            let (address, flags) = (header.p_vaddr(endian), header.p_flags(endian));
            ensure!(flags & (PF_W | PF_X) != PF_W | PF_X, "the segment at {address:#x} is writable and executable");
            let content = header.data(endian, self.file.data()).map_err(|()| anyhow::anyhow!("cut short"))?;
            let lead = address % PAGE_BYTES;
            let mut bytes = vec![0; lead as usize];
            bytes.extend_from_slice(content);
            let bit = |flag: u32, right: SegmentRights| if flags & flag == 0 { SegmentRights::empty() } else { right };
            let rights =
                bit(PF_R, SegmentRights::READ) | bit(PF_W, SegmentRights::WRITE) | bit(PF_X, SegmentRights::EXECUTE);
            let memory_bytes = header.p_memsz(endian) + lead;
            segments.push(Segment { address: address - lead, bytes, memory_bytes, rights });
        }
        segments.sort_by_key(|segment| segment.address);
        for pair in segments.windows(2) {
            if let [first, second] = pair {
                let end = (first.address + first.memory_bytes).next_multiple_of(PAGE_BYTES);
                ensure!(end <= second.address, "two segments share the page at {:#x}", second.address);
            }
        }
        Ok(segments)
    }

    /// Its functions by ascending address, one name for each address, none reaching into the next.
    pub(crate) fn symbols(&self) -> Vec<Symbol> {
        let code = |symbol: &object::read::elf::ElfSymbol64| {
            let in_code = symbol.section_index().and_then(|index| self.file.section_by_index(index).ok());
            let in_code = in_code.is_some_and(|section| section.kind() == object::SectionKind::Text);
            in_code && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown | SymbolKind::Label)
        };
        let mut found: Vec<(u64, u64, String)> = self
            .file
            .symbols()
            .filter(code)
            .filter_map(|symbol| Some((symbol.address(), symbol.size(), readable(symbol.name().ok()?)?)))
            .collect();
        // Of several names for an address the longest piece wins, then the alphabet, so that packing repeats.
        found.sort_by(|a, b| (a.0, b.1, &a.2).cmp(&(b.0, a.1, &b.2)));
        found.dedup_by_key(|symbol| symbol.0);
        let ends: Vec<u64> = found.iter().skip(1).map(|symbol| symbol.0).chain([u64::MAX]).collect();
        let with_end = |((address, size, name), end): ((u64, u64, String), u64)| {
            let size = if size == 0 { LABEL_BYTES_MAX } else { size };
            Symbol { address, bytes: size.min(end - address).min(u64::from(u32::MAX)) as u32, name }
        };
        found.into_iter().zip(ends).map(with_end).collect()
    }
}

/// The name as a person wrote it, not too long; none for local labels of the compiler.
fn readable(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(".L") || name.starts_with('$') {
        return None;
    }
    let mut text = format!("{:#}", rustc_demangle::demangle(name));
    let limit = SYMBOL_NAME_BYTES_MAX as usize;
    if text.len() > limit {
        let cut = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
    }
    Some(text)
}
