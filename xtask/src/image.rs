//! The disk image that the machine keeps its world on.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::failure::refusal;

/// Smallest disk that is offered to the machine, in MiB.
pub(crate) const IMAGE_MIB_MIN: u64 = 16;

/// Makes the image at `path` if it is not there or `fresh` asks for a new one, and checks that it can grow to its full
/// size: a host disk that fills up under a running machine looks to it like a broken disk.
pub(crate) fn prepare(path: &Path, size_mib: u64, fresh: bool) -> Result<()> {
    if size_mib < IMAGE_MIB_MIN {
        return Err(refusal(format!("a disk of {size_mib} MiB is too small; the least is {IMAGE_MIB_MIN} MiB")));
    }
    let exists = path.exists();
    if exists && !path.is_file() {
        return Err(refusal(format!("{} is not an ordinary file; name a disk image with --disk", path.display())));
    }
    let (size, allocated) = match fs::metadata(path) {
        Ok(found) if !fresh => (found.len(), found.blocks() * 512),
        Ok(found) => (size_mib << 20, found.blocks() * 512),
        Err(_) => (size_mib << 20, 0),
    };
    check_space(path, size.saturating_sub(allocated))?;
    if exists && !fresh {
        return Ok(());
    }
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = open.map_err(|error| refusal(format!("the disk image {} cannot be made: {error}", path.display())))?;
    if exists {
        refuse_if_in_use(path, &file)?;
    }
    // Holes everywhere: a fresh disk reads as zeros and takes no space.
    file.set_len(0)?;
    file.set_len(size).with_context(|| format!("giving {} its size", path.display()))?;
    Ok(())
}

/// QEMU marks an image in use by locks on single bytes; emptying it under a running machine would be the end of a world.
fn refuse_if_in_use(path: &Path, file: &fs::File) -> Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    let everything = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&everything)) {
        Ok(_) => Ok(()),
        Err(_) => Err(refusal(format!(
            "the disk image {} is in use by another machine; stop that one or name another with --disk",
            path.display()
        ))),
    }
}

fn check_space(path: &Path, needed: u64) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| refusal(format!("{} cannot be made: {error}", folder.display())))?;
    let statistics = nix::sys::statvfs::statvfs(folder).context("asking for free disk space")?;
    let free = statistics.blocks_available() * statistics.fragment_size();
    if free < needed {
        return Err(refusal(format!(
            "the disk under {} has {} MiB free, but the image may grow by {} MiB; free some, or choose --disk or --size",
            folder.display(),
            free >> 20,
            needed.div_ceil(1 << 20)
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("perennial-image-{}-{name}", std::process::id()));
        // It is only there if an earlier run with this process id left it.
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_kept_image_keeps_its_bytes_and_a_fresh_one_does_not() {
        let path = place("kept");
        prepare(&path, 16, false).expect("made");
        let image = OpenOptions::new().write(true).open(&path).expect("opened");
        std::os::unix::fs::FileExt::write_all_at(&image, b"world", 4096).expect("written");
        prepare(&path, 64, false).expect("kept");
        let bytes = fs::read(&path).expect("read");
        assert_eq!((bytes.len(), &bytes[4096..4101]), (16 << 20, b"world".as_slice()));
        prepare(&path, 17, true).expect("made anew");
        let bytes = fs::read(&path).expect("read");
        assert!(bytes.len() == 17 << 20 && bytes.iter().all(|&byte| byte == 0));
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn an_image_in_use_is_not_emptied() {
        let path = place("used");
        prepare(&path, 16, false).expect("made");
        let holder = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
        refuse_if_in_use(&path, &holder).expect("locks it");
        let error = prepare(&path, 16, true).expect_err("in use");
        assert!(error.to_string().contains("in use"), "{error}");
        fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn too_small_and_too_large_are_refused() {
        let path = place("size");
        assert!(prepare(&path, 1, false).expect_err("small").to_string().contains("too small"));
        assert!(prepare(&path, 1 << 40, false).expect_err("large").to_string().contains("MiB free"));
        assert!(!path.exists());
    }
}
