//! What writes: to the image, or to a file of its own.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use abi::Epoch;
use format::{Geometry, World};
use serde_json::json;
use snapshot_server::{Disk, FormatOptions, Refusal};
use world::{Access, FileHost, HostMemory, Session, WorldError, portable};

use super::{Done, Output};

/// Slots of each ring of roots in an image that an import makes.
const ROOT_SLOTS: u32 = 16;

impl Output {
    pub(crate) fn rewind(&self, image: &Path, to: Epoch) -> Done {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Write, Some(to))?;
        let incarnation = session.begin_incarnation()?;
        let value = json!({ "epoch": to.to_string(), "incarnation": incarnation });
        self.print(&value, || format!("epoch {to} is the newest; incarnation {incarnation} goes on from it\n"))
    }

    pub(crate) fn export(&self, image: &Path, file: &Path) -> Done {
        let mut memory = Session::memory(image)?;
        let mut session = Session::open(&mut memory, image, Access::Read, self.epoch)?;
        let mut out = std::io::BufWriter::new(File::create_new(file)?);
        let pages = portable::export(&mut session, &mut out)?;
        out.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        let epoch = session.report().epoch.to_string();
        self.print(&json!({ "epoch": epoch, "pages": pages }), || format!("epoch {epoch}: {pages} pages\n"))
    }

    pub(crate) fn import(&self, file: &Path, image: &Path, overwrite: bool, size_mib: Option<u64>) -> Done {
        // The file is read twice: nothing is written before all of it is known to be a world.
        let exported = portable::check(&mut BufReader::new(File::open(file)?))?;
        if is_same(file, image) {
            return Err(WorldError::Missing("a world cannot be imported over the file that it is read from".into()));
        }
        if size_mib.is_none() && !overwrite {
            let why = format!("importing overwrites {}: say --overwrite, or --size for a new image", image.display());
            return Err(WorldError::Missing(why));
        }
        if let Some(mib) = size_mib {
            let bytes = mib.checked_mul(1 << 20).ok_or(WorldError::Full)?;
            let made = File::create_new(image)?.set_len(bytes).map_err(WorldError::from);
            let pages = made.and_then(|()| fill(image, &exported, file));
            if pages.is_err() {
                // Made by us, and part of a world at most.
                std::fs::remove_file(image)?;
            }
            return self.told(pages?);
        }
        self.told(fill(image, &exported, file)?)
    }

    fn told(&self, pages: u64) -> Done {
        self.print(&json!({ "pages": pages }), || format!("{pages} pages\n"))
    }
}

/// Whether both names lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(one), Ok(other)) = (std::fs::metadata(one), std::fs::metadata(other)) {
        use std::os::unix::fs::MetadataExt;
        return (one.dev(), one.ino()) == (other.dev(), other.ino());
    }
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Makes `image` a store of what `file` holds; how many pages that is. Nothing is written when it cannot fit.
fn fill(image: &Path, exported: &portable::Exported, file: &Path) -> Result<u64, WorldError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let formatted_ns = now.as_nanos() as u64;
    // Unlike any other world's: drawn from the clock and this process, mixed.
    let seed = formatted_ns ^ u64::from(std::process::id()) << 32;
    let identity = World((seed ^ seed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    let mut memory = Session::memory_to_import(image, &exported.rest)?;
    // A small disk is divided finely, or too little of it would be left for data.
    let segment_blocks = if memory.blocks() < 1 << 14 { 16 } else { 256 };
    let blocks = FileHost::open(image, Access::Read, 0)?.blocks().min(format::DISK_BLOCKS_MAX);
    let geometry = Geometry::new(blocks, ROOT_SLOTS, segment_blocks)
        .map_err(|error| WorldError::Refused(Refusal::Geometry(error)))?;
    if exported.pages > u64::from(geometry.data_end().0 - geometry.data_start().0) {
        return Err(WorldError::Full);
    }
    let options = FormatOptions {
        world: identity,
        root_slots: ROOT_SLOTS,
        segment_blocks,
        formatted_ns,
        programs: exported.programs,
    };
    write(&mut memory, image, options, file).inspect_err(|error| {
        // Part of a world is no world: nobody is to boot it. An image that somebody else has was not touched.
        if !matches!(error, WorldError::InUse)
            && let Ok(mut host) = FileHost::open(image, Access::Write, 0)
        {
            let _ = host.blank_headers();
        }
    })
}

fn write(memory: &mut HostMemory, image: &Path, options: FormatOptions, file: &Path) -> Result<u64, WorldError> {
    let mut session = Session::format(memory, image, options)?;
    portable::import(&mut session, &mut BufReader::new(File::open(file)?))
}
