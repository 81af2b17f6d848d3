//! Exported worlds as each version of the file wrote them, kept so that every later version still reads them.
//!
//! `UPDATE_GOLDEN=1` writes that of the newest version anew.

use abi::Epoch;
use format::{RECORD_BYTES_MAX, World};
use snapshot_server::FormatOptions;
use world::{Access, HostMemory, LogSize, Session, portable};

use crate::image::{Image, page};

/// The newest version of the file.
const VERSION: u32 = 2;
/// The programs that the world is said to be made with.
const PROGRAMS: u64 = 0x7072_6f67;

fn options(programs: u64) -> FormatOptions {
    FormatOptions { world: World(44), root_slots: 4, segment_blocks: 16, formatted_ns: 0, programs }
}

/// A world of everything that a file can hold: a page, zeroes, the smallest record and the largest.
fn made(memory: &mut HostMemory, image: &Image) {
    let mut session = Session::format(memory, &image.0, options(PROGRAMS)).expect("a store");
    session.begin_incarnation().expect("an incarnation");
    let epoch = Epoch::first_of(1).expect("an epoch");
    session.begin(epoch).expect("begun");
    session.put_page(1, 7, &page(0x1234_5678)).expect("put");
    session.put(|store| store.put_zero(2, 100, 50)).expect("put");
    session.put(|store| store.put_record(200, 5, &[9])).expect("put");
    session.put(|store| store.put_record(201, 6, &[0xa5; RECORD_BYTES_MAX])).expect("put");
    session.commit(epoch).expect("committed");
}

#[test]
fn files_of_every_version_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let image = Image::new("exported", 512);
    let mut memory = Session::memory_to_import(&image.0, &LogSize::default()).expect("memory");
    made(&mut memory, &image);
    let mut session = Session::open(&mut memory, &image.0, Access::Read, None).expect("opened");
    let contents = session.contents().expect("contents");
    let mut today = Vec::new();
    assert_eq!(portable::export(&mut session, &mut today).expect("exported"), 1);
    drop(session);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(format!("{folder}/export-{VERSION}.world"), &today).expect("written");
    }
    for version in 1..=VERSION {
        let file = std::fs::read(format!("{folder}/export-{version}.world")).expect("the golden file");
        assert_eq!(file[8..12], version.to_le_bytes());
        assert_eq!(file == today, version == VERSION, "the newest is what is written today");
        let exported = portable::check(&mut file.as_slice()).expect("whole");
        let programs = if version == 1 { 0 } else { PROGRAMS };
        assert_eq!((exported.pages, exported.programs), (1, programs), "version {version}");
        let other = Image::new("imported", 512);
        let mut memory = Session::memory_to_import(&other.0, &exported.rest).expect("memory");
        let mut session = Session::format(&mut memory, &other.0, options(programs)).expect("a store");
        assert_eq!(portable::import(&mut session, &mut file.as_slice()).expect("imported"), 1);
        drop(session);
        let mut session = Session::open(&mut memory, &other.0, Access::Read, None).expect("opened");
        assert_eq!(session.contents().expect("contents"), contents, "version {version}");
        assert_eq!(session.page(1, 7).expect("read"), Some(page(0x1234_5678)));
        assert_eq!(session.report().programs, programs);
        // A file that is cut short, or of a version that nobody has written, is none.
        for length in 0..file.len() {
            assert!(portable::check(&mut &file[..length]).is_err(), "version {version}, {length} bytes");
        }
        for wrong in [0, VERSION + 1, u32::MAX] {
            let mut file = file.clone();
            file[8..12].copy_from_slice(&wrong.to_le_bytes());
            assert!(portable::check(&mut file.as_slice()).is_err(), "version {wrong}");
        }
    }
}
