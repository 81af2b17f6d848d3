//! The files that stand for disks.

use std::fs::File;
use std::path::{Path, PathBuf};

use world::{Access, FileHost};

use crate::Error;

/// The file with the store.
pub(crate) const STORE: &str = "bench-store.img";
/// The file that is written without one.
pub(crate) const RAW: &str = "bench-raw.img";
/// Another one.
pub(crate) const RAW_BESIDE: &str = "bench-raw-beside.img";

/// Makes a file of `blocks` blocks. Blocks that were never written cost an allocation at their first write: every file
/// pays that before the clock runs.
pub(crate) fn make(folder: &Path, name: &str, blocks: usize) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    let mut made = File::create(&path)?;
    let chunk = vec![0u8; 1 << 20];
    for _ in 0..blocks.div_ceil(256) {
        std::io::Write::write_all(&mut made, &chunk)?;
    }
    made.set_len(blocks as u64 * 4096)?;
    made.sync_all()?;
    Ok(path)
}

/// Opens such a file past the page cache, or says that it cannot.
pub(crate) fn host(path: &Path, pages: usize) -> Result<FileHost, Error> {
    match FileHost::open(path, Access::Direct, pages) {
        Ok(host) => Ok(host),
        Err(error) => {
            complain(&error);
            Ok(FileHost::open(path, Access::Write, pages)?)
        }
    }
}

/// The same, for many hands.
pub(crate) fn direct(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.read(true).write(true);
    let mut past_cache = options.clone();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut past_cache, nix::libc::O_DIRECT);
    match past_cache.open(path) {
        Ok(file) => Ok(file),
        Err(error) => {
            complain(&error);
            Ok(options.open(path)?)
        }
    }
}

fn complain(error: &std::io::Error) {
    eprintln!("bench-store: no direct access ({error}): the page cache takes part");
}
