//! The tool `world` over an image to which anything happened: it says what it finds, and ends.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use storesim::golden;
use world::{Access, FileHost, Fsck, Session, Survey};

use crate::Source;
use crate::spoil::{spoil, used};

/// A file that goes when it is no longer needed.
struct File(PathBuf);

impl File {
    fn new(bytes: &[u8]) -> Result<Self, String> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("perennial-fuzz-{}-{}.img", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = Self(std::env::temp_dir().join(name));
        std::fs::write(&file.0, bytes).map_err(|error| error.to_string())?;
        Ok(file)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn made() -> Option<&'static (Vec<u8>, Vec<usize>)> {
    static MADE: OnceLock<Option<(Vec<u8>, Vec<usize>)>> = OnceLock::new();
    let make = || {
        let (packed, _) = golden::make()?;
        let image = golden::unpack(&packed);
        let used = used(&image);
        Some((image, used))
    };
    MADE.get_or_init(make).as_ref()
}

pub(crate) fn run(input: &[u8]) -> Result<(), String> {
    let mut source = Source::new(input);
    let (image, used) = made().ok_or("no image")?;
    let mut image = image.clone();
    spoil(&mut image, used, &mut source);
    if source.byte() % 16 == 1 {
        image.truncate(source.below(image.len()));
    }
    let file = File::new(&image)?;
    if let Ok(mut host) = FileHost::open(&file.0, Access::Read, 0)
        && let Ok(survey) = Survey::new(&mut host)
    {
        let blocks = Fsck::run(&mut host, &survey, &mut |_| ()).blocks;
        if blocks > (image.len() / 4096) as u64 {
            return Err(format!("{blocks} blocks were verified on a disk that has fewer"));
        }
    }
    let Ok(mut memory) = Session::memory(&file.0) else { return Ok(()) };
    if let Ok(mut session) = Session::open(&mut memory, &file.0, Access::Read, None)
        && let Ok(contents) = session.contents()
    {
        for &(object, index) in contents.pages.iter().take(20) {
            let _ = session.page(object, index);
        }
        let _ = world::Graph::new(&contents).dot();
    }
    Ok(())
}
