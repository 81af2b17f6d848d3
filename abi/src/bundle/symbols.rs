//! Names for addresses, so that a crash report can be read.

use zerocopy::FromBytes;

use super::{BundleError, Payload, RawProgram, RawSymbol, SYMBOL_NAME_BYTES_MAX, SYMBOLS_MAX, checksum};

/// One named piece of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its (demangled) name.
    pub name: &'a str,
    /// Its first address.
    pub address: u64,
    /// Its length in bytes.
    pub bytes: u32,
}

/// The symbols of one program, sorted by address.
///
/// Invariants, checked by `check`: addresses ascend strictly; no symbol reaches into the next; every name is UTF-8
/// of at most [`SYMBOL_NAME_BYTES_MAX`] bytes within the names.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    entries: &'a [RawSymbol],
    names: &'a str,
}

impl<'a> Symbols<'a> {
    /// The length of a program's symbols in the file, or `None` if it names too many.
    pub(super) fn file_bytes(raw: &RawProgram) -> Option<u64> {
        let count = raw.symbol_count.get();
        let entries = u64::from(count) * size_of::<RawSymbol>() as u64;
        let names_bytes = raw.symbol_names_bytes.get();
        let fits =
            count <= SYMBOLS_MAX && u64::from(names_bytes) <= u64::from(count) * u64::from(SYMBOL_NAME_BYTES_MAX);
        fits.then_some(entries + u64::from(names_bytes))
    }

    /// The symbols in `payload`, checked. `index` is the program's, for the error.
    pub(super) fn check(raw: &RawProgram, payload: &'a [u8], index: u32) -> Result<Self, BundleError> {
        let place = Payload::Symbols(index);
        if checksum(payload) != raw.symbols_checksum.get() {
            return Err(BundleError::PayloadChecksum(place));
        }
        Self::parse(raw, payload).ok_or(BundleError::PayloadLayout(place))
    }

    fn parse(raw: &RawProgram, payload: &'a [u8]) -> Option<Self> {
        let count = raw.symbol_count.get() as usize;
        let (entries, names) = <[RawSymbol]>::ref_from_prefix_with_elems(payload, count).ok()?;
        let symbols = Self { entries, names: core::str::from_utf8(names).ok()? };
        let mut free_from = 0;
        for (position, entry) in entries.iter().enumerate() {
            let address = entry.address.get();
            if address < free_from && position > 0 {
                return None;
            }
            symbols.symbol(entry)?;
            // Even a symbol without length takes one address, so that addresses ascend strictly.
            free_from = address.checked_add(u64::from(entry.bytes.get()).max(1))?;
        }
        Some(symbols)
    }

    fn symbol(&self, entry: &RawSymbol) -> Option<Symbol<'a>> {
        let start = entry.name_offset.get() as usize;
        let length = entry.name_bytes.get();
        if length > SYMBOL_NAME_BYTES_MAX {
            return None;
        }
        let name = self.names.get(start..start.checked_add(length as usize)?)?;
        Some(Symbol { name, address: entry.address.get(), bytes: entry.bytes.get() })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, by ascending address.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'a>> {
        self.entries.iter().filter_map(|entry| self.symbol(entry))
    }

    /// The symbol that `address` lies in and the distance from its beginning, or `None`. Takes a number of steps
    /// logarithmic in the number of symbols.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(Symbol<'a>, u64)> {
        let behind = self.entries.partition_point(|entry| entry.address.get() <= address);
        let symbol = self.symbol(self.entries.get(behind.checked_sub(1)?)?)?;
        let distance = address.checked_sub(symbol.address)?;
        (distance < u64::from(symbol.bytes).max(1)).then_some((symbol, distance))
    }
}
