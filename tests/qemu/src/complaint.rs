//! QEMU's own words, made readable.

use std::fmt;

/// Something that QEMU refused, as a person wants to hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Another process has the disk image open.
    ImageInUse,
    /// A file cannot be opened: QEMU's reason.
    FileUnreadable(String),
    /// The host has not enough memory for the guest's.
    HostMemory,
    /// The kernel is not something that QEMU can boot by PVH.
    NotBootable,
    /// An option or device that this QEMU does not have: its words.
    Unsupported(String),
    /// Anything else, in its words.
    Other(String),
}

impl Complaint {
    /// The first complaint in what QEMU wrote to its standard error, or `None` if it only warned.
    #[must_use]
    pub fn find(standard_error: &str) -> Option<Self> {
        standard_error.lines().filter(|line| !line.contains("warning:")).find_map(Self::read)
    }

    fn read(line: &str) -> Option<Self> {
        let words = line.trim().strip_prefix("qemu-system-x86_64: ").unwrap_or(line.trim());
        if words.is_empty() || words.starts_with("terminating on signal") || words.starts_with("plugin:") {
            return None;
        }
        let lower = words.to_lowercase();
        let any = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        Some(if any(&["failed to get \"write\" lock", "failed to get shared \"write\" lock"]) {
            Self::ImageInUse
        } else if any(&["cannot set up guest memory", "cannot allocate memory"]) {
            Self::HostMemory
        } else if any(&["error loading uncompressed kernel", "pvh elf note", "invalid kernel"]) {
            Self::NotBootable
        } else if any(&["no such file or directory", "permission denied", "could not open"]) {
            Self::FileUnreadable(words.to_owned())
        } else if any(&["is not a valid device", "unknown option", "invalid option", "unsupported machine"]) {
            Self::Unsupported(words.to_owned())
        } else {
            Self::Other(words.to_owned())
        })
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageInUse => {
                write!(f, "the disk image is in use by another machine; stop that one or name another with --disk")
            }
            Self::FileUnreadable(words) => write!(f, "QEMU cannot open a file: {words}"),
            Self::HostMemory => {
                write!(f, "this computer has not enough free memory for the machine; try less --memory")
            }
            Self::NotBootable => write!(f, "the kernel has no PVH entry that QEMU can start"),
            Self::Unsupported(words) => write!(f, "this QEMU lacks something (7.2 is known to work): {words}"),
            Self::Other(words) => write!(f, "QEMU says: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_complaints_are_recognised() {
        let lock = "qemu-system-x86_64: -device nvme,drive=disk,serial=p: Failed to get \"write\" lock\n\
                    Is another process using the image [x.img]?";
        assert_eq!(Complaint::find(lock), Some(Complaint::ImageInUse));
        let file = "qemu-system-x86_64: could not open kernel 'x': No such file or directory";
        assert!(matches!(Complaint::find(file), Some(Complaint::FileUnreadable(_))));
        let memory = "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory";
        assert_eq!(Complaint::find(memory), Some(Complaint::HostMemory));
        let kernel = "qemu-system-x86_64: Error loading uncompressed kernel without PVH ELF Note";
        assert_eq!(Complaint::find(kernel), Some(Complaint::NotBootable));
        let device = "qemu-system-x86_64: -device nvmo: 'nvmo' is not a valid device model name";
        assert!(matches!(Complaint::find(device), Some(Complaint::Unsupported(_))));
        assert!(matches!(Complaint::find("qemu-system-x86_64: oh"), Some(Complaint::Other(_))));
    }

    #[test]
    fn warnings_and_endings_are_no_complaints() {
        assert_eq!(Complaint::find("qemu-system-x86_64: warning: TCG doesn't support requested feature\n"), None);
        assert_eq!(Complaint::find("qemu-system-x86_64: terminating on signal 15 from pid 1\n\n"), None);
    }
}
