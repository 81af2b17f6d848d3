//! Status codes of completions (§4.6.1), and whom they blame.

use abi::protocol::block::{BlockError, CallerFault, MediumFault};

/// The status of a completion: code, type and the "do not retry" bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// Status code.
    pub code: u8,
    /// Status code type: 0 generic, 1 command-specific, 2 media and data, 3 path, 7 vendor.
    pub kind: u8,
    /// The controller expects the same command to fail again.
    pub do_not_retry: bool,
}

const GENERIC: u8 = 0;
const SPECIFIC: u8 = 1;
const MEDIA: u8 = 2;
const PATH: u8 = 3;

impl Status {
    /// From dword 3 of a completion.
    pub(crate) fn from_raw(dword: u32) -> Self {
        Self { code: (dword >> 17) as u8, kind: (dword >> 25 & 7) as u8, do_not_retry: dword >> 31 == 1 }
    }

    /// One number for a person: code | type << 8 | do-not-retry << 15.
    #[must_use]
    pub fn number(self) -> u32 {
        u32::from(self.code) | u32::from(self.kind) << 8 | u32::from(self.do_not_retry) << 15
    }

    /// Whether the command did what it should.
    #[must_use]
    pub fn is_success(self) -> bool {
        (self.kind, self.code) == (GENERIC, 0)
    }

    /// Success, or who is to blame. A code that the specification does not know is the controller's fault: it made
    /// the code up.
    pub(crate) fn judge(self) -> Result<(), BlockError> {
        use {BlockError as E, CallerFault as C, MediumFault as M};
        let controller = E::Controller { again: !self.do_not_retry };
        Err(match (self.kind, self.code) {
            (GENERIC, 0x00) => return Ok(()),
            // Invalid opcode; invalid field: the controller lacks what was asked for.
            (GENERIC, 0x01 | 0x02) => E::Caller(C::Unsupported),
            // Data transfer error; transient transport error.
            (GENERIC, 0x04 | 0x22) => E::Transport,
            // Aborted: power loss, on request, queue deleted. How far it had got is not said.
            (GENERIC, 0x05 | 0x07 | 0x08) => E::Unknown,
            // Atomic write unit exceeded.
            (GENERIC, 0x14) => E::Caller(C::TooLong),
            // Operation denied; namespace write-protected; reservation conflict.
            (GENERIC, 0x15 | 0x20 | 0x83) => E::Caller(C::Protected),
            (GENERIC, 0x80) => E::Caller(C::OutOfRange),
            // Capacity exceeded.
            (GENERIC, 0x81) => E::Medium(M::Unwritten),
            // Attempted write to read-only range.
            (SPECIFIC, 0x82) => E::Caller(C::Protected),
            // Command size limit exceeded.
            (SPECIFIC, 0x83) => E::Caller(C::TooLong),
            (MEDIA, 0x80) => E::Medium(M::Write),
            (MEDIA, 0x81) => E::Medium(M::Read),
            // Guard, application and reference tag checks; compare failure.
            (MEDIA, 0x82..=0x85) => E::Medium(M::Check),
            // Access denied.
            (MEDIA, 0x86) => E::Caller(C::Protected),
            // Deallocated or unwritten block.
            (MEDIA, 0x87) => E::Medium(M::Unwritten),
            // Command aborted by host.
            (PATH, 0x71) => E::Unknown,
            (PATH, _) => E::Transport,
            // Internal error, sanitize or format in progress, not ready, command interrupted; complaints about a
            // command that is well formed (SGLs, fused commands, identifiers); vendors' own codes; reserved ones.
            _ => controller,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: u8, code: u8) -> Result<(), BlockError> {
        Status { code, kind, do_not_retry: false }.judge()
    }

    /// The whole table of the specification, code by code.
    #[test]
    fn every_code_blames_somebody() {
        use {BlockError as E, CallerFault as C, MediumFault as M};
        let again = E::Controller { again: true };
        let expected: &[(u8, u8, BlockError)] = &[
            (0, 0x01, E::Caller(C::Unsupported)),
            (0, 0x02, E::Caller(C::Unsupported)),
            (0, 0x03, again),
            (0, 0x04, E::Transport),
            (0, 0x05, E::Unknown),
            (0, 0x06, again),
            (0, 0x07, E::Unknown),
            (0, 0x08, E::Unknown),
            (0, 0x09, again),
            (0, 0x0a, again),
            (0, 0x0b, again),
            (0, 0x0c, again),
            (0, 0x13, again),
            (0, 0x14, E::Caller(C::TooLong)),
            (0, 0x15, E::Caller(C::Protected)),
            (0, 0x1c, again),
            (0, 0x1d, again),
            (0, 0x20, E::Caller(C::Protected)),
            (0, 0x21, again),
            (0, 0x22, E::Transport),
            (0, 0x80, E::Caller(C::OutOfRange)),
            (0, 0x81, E::Medium(M::Unwritten)),
            (0, 0x82, again),
            (0, 0x83, E::Caller(C::Protected)),
            (0, 0x84, again),
            (1, 0x80, again),
            (1, 0x81, again),
            (1, 0x82, E::Caller(C::Protected)),
            (1, 0x83, E::Caller(C::TooLong)),
            (2, 0x80, E::Medium(M::Write)),
            (2, 0x81, E::Medium(M::Read)),
            (2, 0x82, E::Medium(M::Check)),
            (2, 0x83, E::Medium(M::Check)),
            (2, 0x84, E::Medium(M::Check)),
            (2, 0x85, E::Medium(M::Check)),
            (2, 0x86, E::Caller(C::Protected)),
            (2, 0x87, E::Medium(M::Unwritten)),
            (3, 0x00, E::Transport),
            (3, 0x60, E::Transport),
            (3, 0x70, E::Transport),
            (3, 0x71, E::Unknown),
            (7, 0xff, again),
            (5, 0x12, again),
        ];
        for (kind, code, error) in expected {
            assert_eq!(judged(*kind, *code), Err(*error), "type {kind} code {code:#x}");
        }
        let listed = |kind, code| expected.iter().any(|(k, c, _)| (*k, *c) == (kind, code));
        for (kind, code) in (0..8).flat_map(|kind| (0..=255).map(move |code| (kind, code))) {
            match judged(kind, code) {
                Ok(()) => assert_eq!((kind, code), (0, 0), "only one code is success"),
                Err(E::Controller { again: true }) => {}
                Err(E::Transport) if kind == 3 => {}
                Err(error) => {
                    assert!(listed(kind, code), "type {kind} code {code:#x} is {error:?}, and nobody says why")
                }
            }
        }
    }

    #[test]
    fn do_not_retry_is_passed_on() {
        let status = Status::from_raw(1 << 31 | 0x06 << 17 | 1 << 16 | 5);
        assert_eq!(status, Status { code: 6, kind: 0, do_not_retry: true });
        assert_eq!(status.judge(), Err(BlockError::Controller { again: false }));
        assert_eq!(status.number(), 0x8006);
        let status = Status::from_raw(2 << 25 | 0x81 << 17);
        assert_eq!((status.number(), status.is_success()), (0x281, false));
        assert!(Status::from_raw(0x1_0000).is_success(), "the phase bit is no part of it");
        assert!(!Status::from_raw(1 << 25).is_success());
    }
}
