//! Bytes, drawn one after the other; behind their end everything is 0.

/// The rest of an input.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// All of an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been drawn.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = u32::from_le_bytes(self.array());
        (u64::from(wide) % end as u64) as usize
    }

    /// A number that means something more often than not: small, the end of a range, of a page, or anything.
    pub fn number(&mut self) -> u64 {
        match self.byte() % 16 {
            0..=7 => u64::from(self.byte() % 20),
            8 => 0,
            9 => 1 << (self.byte() % 64),
            10 => (1_u64 << (self.byte() % 64)).wrapping_sub(1),
            11 => u64::from(u32::MAX),
            12 => u64::MAX - u64::from(self.byte() % 4),
            13 => u64::from(u16::from_le_bytes(self.array())) << 12,
            14 => u64::from(u32::from_le_bytes(self.array())),
            _ => u64::from_le_bytes(self.array()),
        }
    }
}
