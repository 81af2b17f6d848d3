//! Images of the store alone: made, spoilt in every way, read back.

use std::process::Command;

use format::World;
use snapshot_server::FormatOptions;
use world::{Access, FileHost, LogSize, Session, WorldError, portable};

use crate::image::{Image, made, page, run};

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
    let mut memory = Session::memory_to_import(&other.0, &LogSize::default()).expect("memory");
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
