//! What writes: to the image, or to a file of its own.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use abi::Epoch;
use format::World;
use serde_json::json;
use snapshot_server::FormatOptions;
use world::{Access, FileHost, HostMemory, Session, WorldError, portable};

use super::{Done, Output};

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
        let portable::Exported { programs, .. } = portable::check(&mut BufReader::new(File::open(file)?))?;
        if let Some(mib) = size_mib {
            let bytes = mib.checked_mul(1 << 20).ok_or(WorldError::Full)?;
            File::create_new(image)?.set_len(bytes)?;
        } else if !overwrite {
            let why = format!("importing overwrites {}: say --overwrite, or --size for a new image", image.display());
            return Err(WorldError::Missing(why));
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let formatted_ns = now.as_nanos() as u64;
        // Unlike any other world's: drawn from the clock and this process, mixed.
        let seed = formatted_ns ^ u64::from(std::process::id()) << 32;
        let identity = World((seed ^ seed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        let mut memory = Session::memory(image)?;
        // A small disk is divided finely, or too little of it would be left for data.
        let segment_blocks = if memory.blocks() < 1 << 14 { 16 } else { 256 };
        let options = FormatOptions { world: identity, root_slots: 16, segment_blocks, formatted_ns, programs };
        let pages = match write(&mut memory, image, options, file) {
            Ok(pages) => pages,
            Err(error) => {
                // Part of a world is no world: nobody is to boot it.
                FileHost::open(image, Access::Write, 0)?.blank_headers()?;
                return Err(error);
            }
        };
        self.print(&json!({ "pages": pages }), || format!("{pages} pages\n"))
    }
}

fn write(memory: &mut HostMemory, image: &Path, options: FormatOptions, file: &Path) -> Result<u64, WorldError> {
    let mut session = Session::format(memory, image, options)?;
    portable::import(&mut session, &mut BufReader::new(File::open(file)?))
}
