//! Vector state of threads: the XSAVE area, standard layout (Intel SDM vol. 1, 13.4).

use super::read_record;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// x87, SSE and AVX state: 512 bytes legacy, 64 header, 256 upper halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct VectorState(pub [u64; 104]);

const FCW_DEFAULT: u64 = 0x037f;
const MXCSR_WORD: usize = 3;
const MXCSR_DEFAULT: u64 = 0x1f80;
const MXCSR_ALLOWED: u64 = 0xffff;
const HEADER: usize = 512 / 8;
const COMPONENTS: u64 = 0b111;

impl VectorState {
    /// Components that are saved: x87, SSE, AVX (bits of XCR0).
    pub const COMPONENTS: u64 = COMPONENTS;

    /// As a new thread finds it.
    pub const INITIAL: Self = {
        let mut words = [0; 104];
        words[0] = FCW_DEFAULT;
        words[MXCSR_WORD] = MXCSR_DEFAULT;
        Self(words)
    };

    /// Whether XRSTOR takes it without a fault: known components, reserved header words zero, no reserved MXCSR bit
    /// (SDM vol. 1, 13.8).
    pub fn is_valid(&self) -> bool {
        self.0[HEADER] & !COMPONENTS == 0
            && self.0[HEADER + 1..HEADER + 8].iter().all(|&word| word == 0)
            && self.0[MXCSR_WORD] & 0xffff_ffff & !MXCSR_ALLOWED == 0
    }
}

read_record!(VectorState);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fault_is_refused() {
        assert!(VectorState::INITIAL.is_valid());
        for (word, bits) in [(HEADER, 8), (HEADER + 1, 1 << 63), (MXCSR_WORD, 1 << 16)] {
            let mut state = VectorState::INITIAL;
            state.0[word] |= bits;
            assert_eq!(VectorState::read(state.as_bytes()), Err(crate::RecordError::Field));
        }
        assert_eq!(VectorState::read(&[0; 831]), Err(crate::RecordError::Length));
    }
}
