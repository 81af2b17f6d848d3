//! How a machine ended.

use std::fmt;
use std::process::ExitStatus;

use crate::Complaint;

/// What the guest writes to the exit port when all went well.
const SUCCESS_VALUE: i32 = 0x10;
/// QEMU's exit status for it: `isa-debug-exit` turns v into 2v + 1.
pub const SUCCESS_STATUS: i32 = SUCCESS_VALUE * 2 + 1;
/// What QEMU exits with by its own fault; the guest's value 0 looks the same, so no guest uses it.
const QEMU_FAULT_STATUS: i32 = 1;

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest ended itself and said that all went well.
    Success,
    /// The guest ended itself and said that something failed; the value it gave.
    Failure(u8),
    /// The guest asked for a reset, or the processor gave up (a triple fault looks the same).
    Reset,
    /// The guest switched the power off, which Perennial never does.
    PowerOff,
    /// Somebody ended QEMU: the power switch (Ctrl-A X), the monitor, or a signal.
    Stopped,
    /// QEMU would not run.
    Refused(Complaint),
}

impl Ending {
    /// Reads what QEMU left: its exit status, its standard error, and the reason that its monitor gave, if it did.
    #[must_use]
    pub fn read(status: ExitStatus, standard_error: &str, reason: Option<&str>) -> Self {
        match (status.code(), reason) {
            (Some(SUCCESS_STATUS), _) => Self::Success,
            (Some(QEMU_FAULT_STATUS), _) => Self::Refused(
                Complaint::find(standard_error).unwrap_or_else(|| Complaint::Other("(nothing)".to_owned())),
            ),
            (Some(0), Some("guest-reset" | "guest-panic")) => Self::Reset,
            (Some(0), Some("guest-shutdown")) => Self::PowerOff,
            (Some(0), _) | (None, _) => Self::Stopped,
            (Some(code), _) => Self::Failure(u8::try_from(code >> 1).unwrap_or(u8::MAX)),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => write!(f, "the machine ended well"),
            Self::Failure(value) => write!(f, "the machine reported a failure ({value:#x})"),
            Self::Reset => write!(f, "the machine reset itself without a word (a triple fault does that)"),
            Self::PowerOff => write!(f, "the machine switched itself off without saying how it went"),
            Self::Stopped => write!(f, "the machine was switched off"),
            Self::Refused(complaint) => complaint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn endings_are_told_apart() {
        let exit = |code: i32, reason| Ending::read(ExitStatus::from_raw(code << 8), "", reason);
        assert_eq!(exit(33, None), Ending::Success);
        assert_eq!(exit(35, None), Ending::Failure(0x11));
        assert_eq!(exit(3, Some("guest-reset")), Ending::Failure(1));
        assert_eq!(exit(0, Some("guest-reset")), Ending::Reset);
        assert_eq!(exit(0, Some("guest-shutdown")), Ending::PowerOff);
        assert_eq!(exit(0, Some("host-qmp-quit")), Ending::Stopped);
        assert_eq!(exit(0, None), Ending::Stopped);
        assert!(matches!(exit(1, None), Ending::Refused(_)));
        assert_eq!(Ending::read(ExitStatus::from_raw(9), "", None), Ending::Stopped);
    }
}
