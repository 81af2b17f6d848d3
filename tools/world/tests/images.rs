//! The tool over real images in files: made by the store, spoilt in every way, read back.

use std::path::PathBuf;
use std::process::Command;

use abi::Epoch;
use format::World;
use snapshot_server::FormatOptions;
use world::{Access, FileHost, Fsck, HostMemory, Session, Sizes, Survey, WorldError, portable};

/// A file that goes when it is no longer needed.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, blocks: u64) -> Self {
        let path = std::env::temp_dir().join(format!("perennial-world-{}-{name}.img", std::process::id()));
        let file = std::fs::File::create(&path).expect("a file");
        file.set_len(blocks * 4096).expect("its length");
        Self(path)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn page(content: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    bytes.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&content.to_le_bytes()));
    bytes
}

/// A store with three epochs: pages 0 ..= 9 of object 1, then page 3 anew and a record, then zeroes.
fn made(image: &Image) -> [Epoch; 3] {
    let sizes =
        Sizes { blocks: 1024, segment_blocks: 8, entries: 4096, cells: 256, deferred: 64, cache: 0, caller_pages: 64 };
    let mut memory = HostMemory::new(&sizes);
    let options = FormatOptions { world: World(42), root_slots: 4, segment_blocks: 16, formatted_ns: 7, programs: 0 };
    let mut session = Session::format(&mut memory, &image.0, options).expect("a store");
    session.begin_incarnation().expect("an incarnation");
    let first = Epoch::first_of(1).expect("an epoch");
    let second = first.next().expect("an epoch");
    let third = second.next().expect("an epoch");
    session.begin(first).expect("begun");
    for index in 0..10 {
        session.put_page(1, index, &page(index + 1)).expect("put");
    }
    session.commit(first).expect("committed");
    session.begin(second).expect("begun");
    session.put_page(1, 3, &page(99)).expect("put");
    session.put(|store| store.put_record(200, 5, b"a record")).expect("put");
    session.commit(second).expect("committed");
    session.begin(third).expect("begun");
    session.put(|store| store.put_zero(2, 100, 50)).expect("put");
    session.commit(third).expect("committed");
    [first, second, third]
}

fn run(image: &Image, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_world"));
    command.args(arguments).arg(&image.0);
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (output.status.success(), text)
}

#[test]
fn what_was_put_is_shown() {
    let image = Image::new("shown", 1024);
    let [_, second, third] = made(&image);
    let (fine, text) = run(&image, &["info"]);
    assert!(fine && text.contains(&third.to_string()), "{text}");
    let (fine, text) = run(&image, &["--json", "epochs"]);
    assert!(fine && text.contains(&second.to_string()) && text.contains("dirty_pages"), "{text}");
    let (fine, text) = run(&image, &["fsck"]);
    assert!(fine && text.contains("0 problems"), "{text}");
    for command in ["ps", "graph"] {
        assert!(run(&image, &[command]).0);
    }
}

#[test]
fn a_world_travels_in_a_file() {
    let (image, other) = (Image::new("from", 1024), Image::new("to", 512));
    made(&image);
    let mut memory = Session::memory(&image.0).expect("memory");
    let mut session = Session::open(&mut memory, &image.0, Access::Read, None).expect("opened");
    let contents = session.contents().expect("contents");
    let mut file = Vec::new();
    assert_eq!(portable::export(&mut session, &mut file).expect("exported"), 10);
    let options = FormatOptions { world: World(43), root_slots: 4, segment_blocks: 16, formatted_ns: 0, programs: 0 };
    let mut memory = Session::memory(&other.0).expect("memory");
    let mut session = Session::format(&mut memory, &other.0, options).expect("a store");
    assert_eq!(portable::import(&mut session, &mut file.as_slice()).expect("imported"), 10);
    drop(session);
    let mut session = Session::open(&mut memory, &other.0, Access::Read, None).expect("opened");
    assert_eq!(session.contents().expect("contents"), contents);
    assert_eq!(session.page(1, 3).expect("read"), Some(page(99)));
    drop(session);
    // Every flipped byte of the file is noticed.
    for position in (0..file.len()).step_by(file.len() / 40) {
        file[position] ^= 0x10;
        let mut session = Session::format(&mut memory, &other.0, options).expect("a store");
        assert!(portable::import(&mut session, &mut file.as_slice()).is_err(), "byte {position}");
        file[position] ^= 0x10;
    }
}

#[test]
fn an_older_epoch_is_taken_up_again() {
    let image = Image::new("rewind", 1024);
    let [_, second, third] = made(&image);
    let (fine, text) = run(&image, &["rewind", "--epoch", "1.1"]);
    assert!(!fine, "the epoch is missing: {text}");
    let output = Command::new(env!("CARGO_BIN_EXE_world"))
        .args(["rewind".as_ref(), image.0.as_os_str(), second.to_string().as_ref()])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let mut memory = Session::memory(&image.0).expect("memory");
    let mut session = Session::open(&mut memory, &image.0, Access::Read, None).expect("opened");
    assert_eq!(session.report().epoch, second);
    assert_eq!(session.report().incarnation, 2);
    assert!(session.contents().expect("contents").zeroes.is_empty());
    drop(session);
    let gone = Session::open(&mut memory, &image.0, Access::Read, Some(third));
    assert!(matches!(gone, Err(WorldError::Refused(_))));
}

#[test]
fn an_image_in_use_is_refused() {
    let image = Image::new("used", 1024);
    made(&image);
    let held = FileHost::open(&image.0, Access::Write, 0).expect("opened");
    let (fine, text) = run(&image, &["info"]);
    assert!(!fine && text.contains("in use"), "{text}");
    drop(held);
    assert!(run(&image, &["info"]).0);
}

#[test]
fn every_rotten_block_in_use_is_found_and_nothing_panics() {
    let image = Image::new("rot", 1024);
    made(&image);
    let whole = std::fs::read(&image.0).expect("read");
    let mut found = 0;
    for block in (0..1024).filter(|block| whole[block * 4096..(block + 1) * 4096].iter().any(|byte| *byte != 0)) {
        let mut spoilt = whole.clone();
        spoilt[block * 4096 + 40 + block % 97] ^= 0x20;
        std::fs::write(&image.0, &spoilt).expect("written");
        let (fine, text) = run(&image, &["fsck"]);
        let newest = run(&image, &["--json", "info"]);
        // A damaged descriptor at the log's end, or an old root, cannot be told from one that never was whole: then
        // the epoch is an older one, or a copy is missing.
        let noticed =
            !fine || !newest.1.contains("\"1.3\"") || newest.1.contains("RootOneCopy") || text.contains("1 problems");
        found += u32::from(noticed);
    }
    assert!(found > 12, "{found} blocks");
}

#[test]
fn any_file_is_survived() {
    let image = Image::new("any", 1024);
    made(&image);
    let whole = std::fs::read(&image.0).expect("read");
    let mut state = 9u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for round in 0..60 {
        let mut bytes = whole.clone();
        match round % 4 {
            0 => bytes.truncate(next() % bytes.len()),
            1 => (0..next() % 200).for_each(|_| {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }),
            2 => {
                let (from, to) = (next() % 1024, next() % 1024);
                bytes.copy_within(from * 4096..(from + 1) * 4096, to * 4096);
            }
            _ => bytes.iter_mut().take(next() % 60_000).for_each(|byte| *byte = next() as u8),
        }
        std::fs::write(&image.0, &bytes).expect("written");
        for command in ["info", "epochs", "fsck", "ps"] {
            run(&image, &[command]);
        }
        let Ok(mut host) = FileHost::open(&image.0, Access::Read, 0) else {
            continue;
        };
        if let Ok(survey) = Survey::new(&mut host) {
            let _ = Fsck::run(&mut host, &survey, &mut |_| {});
        }
    }
}
