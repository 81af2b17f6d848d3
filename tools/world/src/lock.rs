//! Keeps two from using one image: locks of whole files against other tools of this kind, and the byte locks by which
//! QEMU keeps its machines apart, in both directions.
//!
//! QEMU locks byte 100 + p of an image for each permission p that it uses, and 200 + p for each that it lets nobody
//! else use; 0 is to read what is consistent, 1 to write.

use std::fs::File;
use std::time::Duration;

use crate::file::Access;

/// How often, and how long apart, a lock is tried for.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Locks `file`: against writers when it is only read, else against everybody. It stays so until the file is closed.
///
/// # Errors
/// [`std::io::ErrorKind::ResourceBusy`] when somebody else has it.
pub(crate) fn lock(file: &File, access: Access) -> std::io::Result<()> {
    let attempt = || if access == Access::Read { file.try_lock_shared() } else { file.try_lock() };
    // A process that was just forked holds the locks of its parent for a moment, until it runs its own program.
    let locked = (0..TRIES).any(|_| {
        attempt().is_ok() || {
            std::thread::sleep(PAUSE);
            false
        }
    });
    if !locked {
        return Err(std::io::ErrorKind::ResourceBusy.into());
    }
    machines::keep_out(file, access)
}

#[cfg(target_os = "linux")]
mod machines {
    use std::fs::File;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use crate::file::Access;

    /// First of the bytes of what is used, and of what is not shared.
    const USED: i64 = 100;
    const NOT_SHARED: i64 = 200;
    const READ: i64 = 0;
    const WRITE: i64 = 1;
    /// Permissions that QEMU knows fit in this.
    const PERMISSIONS: i64 = 64;

    fn range(kind: i32, start: i64, length: i64) -> libc::flock {
        // Of an open file's own locks the process number has to be zero.
        libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: length, l_pid: 0 }
    }

    /// Whether somebody else has locked any of these bytes.
    fn is_taken(file: &File, start: i64, length: i64) -> Result<bool, Errno> {
        let mut probe = range(libc::F_WRLCK, start, length);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe))?;
        Ok(i32::from(probe.l_type) != libc::F_UNLCK)
    }

    pub(super) fn keep_out(file: &File, access: Access) -> std::io::Result<()> {
        let bytes: &[i64] = if access == Access::Read {
            &[NOT_SHARED + WRITE]
        } else {
            &[USED + WRITE, NOT_SHARED + READ, NOT_SHARED + WRITE]
        };
        // Ours first, then a look at theirs, as QEMU does: so of two that come at once at most one goes on.
        for byte in bytes {
            match fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK, *byte, 1))) {
                Ok(_) => {}
                Err(Errno::EAGAIN | Errno::EACCES) => return Err(std::io::ErrorKind::ResourceBusy.into()),
                // A file system without such locks: then QEMU has none there either.
                Err(Errno::EINVAL | Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let taken = match access {
            Access::Read => is_taken(file, USED + WRITE, 1)?,
            Access::Write | Access::Direct => is_taken(file, USED, PERMISSIONS)?,
        };
        if taken { Err(std::io::ErrorKind::ResourceBusy.into()) } else { Ok(()) }
    }
}

#[cfg(not(target_os = "linux"))]
mod machines {
    pub(super) fn keep_out(_: &std::fs::File, _: crate::file::Access) -> std::io::Result<()> {
        Ok(())
    }
}
