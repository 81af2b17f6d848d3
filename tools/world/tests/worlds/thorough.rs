//! What a whole verification finds though the newest epoch boots, and what the tool does on disks that are large, small,
//! unreadable in places, or devices.

use std::fs::File;
use std::os::unix::fs::FileExt;

use format::{Block, Geometry, Header, Root, World};
use serde_json::Value;
use snapshot_server::FormatOptions;
use world::{Access, FileHost, Fsck, LogSize, RootFlaw, Session, Survey};

use crate::image::{Image, made, page, world};
use crate::inhabited::{Records, format, inhabited, memory, records};

const BLOCKS: usize = 1024;

fn fsck(image: &Image) -> (i32, Value) {
    let outcome = world(&["--json", "fsck", &image.path()]);
    (outcome.status, outcome.json())
}

/// The block with exactly these contents.
fn block_of(image: &Image, contents: &[u8]) -> u64 {
    let bytes = std::fs::read(&image.0).expect("read");
    let blocks: Vec<usize> = (0..bytes.len() / 4096).filter(|at| &bytes[at * 4096..][..4096] == contents).collect();
    assert_eq!(blocks.len(), 1, "one block");
    blocks[0] as u64
}

/// Flips a bit of a block.
fn flip(image: &Image, block: u64, at: u64) {
    let file = File::options().read(true).write(true).open(&image.0).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, block * 4096 + at).expect("read");
    file.write_all_at(&[byte[0] ^ 4], block * 4096 + at).expect("written");
}

#[test]
fn a_rotten_page_of_an_older_epoch_of_the_log_is_a_problem() {
    let image = Image::new("older", BLOCKS as u64);
    let [first, _] = inhabited(&image, BLOCKS, 4);
    assert_eq!(fsck(&image).0, 0);
    // The second epoch has replaced it; the first, which can be booted, needs it.
    let block = block_of(&image, &page(4));
    assert!(world(&["--epoch", &first.to_string(), "cat-page", &image.path(), "1", "3"]).out == page(4));
    flip(&image, block, 9);
    let (status, found) = fsck(&image);
    let problem = &found["problems"][0];
    assert_eq!(
        (status, &problem["block"], &problem["epoch"]),
        (1, &block.into(), &first.to_string().into()),
        "{found}"
    );
    assert_eq!((&problem["object"], &problem["index"]), (&1.into(), &3.into()), "{found}");
    assert_eq!(found["problems"].as_array().map(Vec::len), Some(1), "{found}");
}

#[test]
fn an_epoch_that_is_dropped_is_a_problem() {
    let image = Image::new("dropped", BLOCKS as u64);
    let mut memory = memory(BLOCKS);
    let mut made = format(&mut memory, &image);
    made.epoch(&Records::new(), &[(1, 0, 7)]);
    made.epoch(&Records::new(), &[(1, 0, 8)]);
    drop(made);
    let block = block_of(&image, &page(8));
    flip(&image, block, 9);
    let info = world(&["--json", "info", &image.path()]).json();
    assert!(info["dropped"].is_string() && info["epoch"] == "1.1", "{info}");
    let (status, found) = fsck(&image);
    let problem = &found["problems"][0];
    assert!(status == 1 && problem["block"] == block, "{found}");
    assert!(problem["why"].as_str().is_some_and(|why| why.contains("epoch 1.2 is dropped for it")), "{found}");
}

/// Geometry, identity and the newest root of an image.
fn newest_root(image: &Image) -> (Geometry, World, Root) {
    let bytes = std::fs::read(&image.0).expect("read");
    let block = |at: Block| <&[u8; 4096]>::try_from(&bytes[at.index() * 4096..][..4096]).expect("a block");
    let header = Header::parse(Block(0), block(Block(0)), BLOCKS as u64).expect("a header");
    let geometry = header.geometry;
    let roots = (0..u64::from(geometry.root_slots())).filter_map(|slot| {
        let at = geometry.root(slot)[0];
        Root::parse(header.world, &geometry, at, block(at)).ok()
    });
    let root = roots.map(|(root, _)| root).max_by_key(|root| root.sequence).expect("a root");
    (geometry, header.world, root)
}

#[test]
fn rotten_copies_of_roots_are_problems_and_leftovers_are_not() {
    let image = Image::new("copies", BLOCKS as u64);
    let mut memory = memory(BLOCKS);
    let mut made = format(&mut memory, &image);
    made.folded_epoch(&Records::new(), &[(1, 0, 7)]);
    made.epoch(&Records::new(), &[(1, 0, 8)]);
    drop(made);
    let whole = std::fs::read(&image.0).expect("read");
    let (geometry, _, root) = newest_root(&image);
    // Both copies of the newest, one, and one of an older: each is named, whatever epoch that leaves.
    let [newest, older] = [geometry.root(root.sequence), geometry.root(root.sequence - 1)];
    for blocks in [newest.to_vec(), vec![newest[1]], vec![older[0]]] {
        std::fs::write(&image.0, &whole).expect("written");
        blocks.iter().for_each(|block| flip(&image, block.0.into(), 900));
        let (status, found) = fsck(&image);
        let named: Vec<&Value> = found["problems"].as_array().expect("a list").iter().collect();
        let all = blocks.iter().all(|block| {
            named.iter().any(|problem| problem["block"] == block.0 && problem["what"] == "a copy of a root is damaged")
        });
        assert!(status == 1 && all, "{blocks:?}: {found}");
    }
    // A new store over the old one: what is left in slots whose turn has not come was never its own.
    std::fs::write(&image.0, &whole).expect("written");
    let mut memory = self::memory(BLOCKS);
    let options = FormatOptions { world: World(78), root_slots: 4, segment_blocks: 16, formatted_ns: 7, programs: 0 };
    let session = Session::format(&mut memory, &image.0, options).expect("a store");
    drop(session);
    let survey = Survey::new(&mut FileHost::open(&image.0, Access::Read, 0).expect("opened")).expect("a store");
    assert!(survey.roots_unsound.iter().any(|copy| copy.flaw == RootFlaw::Wrong(format::RootError::Damaged)));
    let (status, found) = fsck(&image);
    assert_eq!(status, 0, "{found}");
}

#[test]
fn a_log_that_breaks_off_before_a_proof_that_it_went_on_is_a_problem() {
    let image = Image::new("breaks-off", BLOCKS as u64);
    let mut memory = memory(BLOCKS);
    let mut made = format(&mut memory, &image);
    for content in 1..8 {
        made.epoch(&Records::new(), &[(1, 0, content)]);
    }
    drop(made);
    let survey = Survey::new(&mut FileHost::open(&image.0, Access::Read, 0).expect("opened")).expect("a store");
    let (block, _) = survey.descriptors[survey.descriptors.len() / 2];
    flip(&image, block.0.into(), 200);
    let (status, found) = fsck(&image);
    let problems = found["problems"].as_array().expect("a list");
    let named = problems.iter().any(|problem| {
        problem["block"] == block.0 && problem["what"].as_str().is_some_and(|what| what.contains("breaks off"))
    });
    assert!(status == 1 && named, "{found}");
}

#[test]
fn blocks_that_cannot_be_read_are_named_and_stop_nothing() {
    let image = Image::new("unreadable", BLOCKS as u64);
    let mut memory = memory(BLOCKS);
    let mut made = format(&mut memory, &image);
    made.folded_epoch(&records(4), &[(1, 0, 7)]);
    made.epoch(&Records::new(), &[(1, 0, 8)]);
    drop(made);
    // Of a file that has become shorter since it was opened the end cannot be read: a copy of the header, and the second
    // ring of roots; then all but the headers and the first ring.
    for (kept, second_ring) in [(BLOCKS as u64 - 5, true), (6, true)] {
        let mut host = FileHost::open(&image.0, Access::Read, 0).expect("opened");
        let whole = std::fs::read(&image.0).expect("read");
        File::options().write(true).open(&image.0).expect("opened").set_len(kept * 4096).expect("cut");
        let survey = Survey::new(&mut host).expect("one copy of each is enough");
        assert_eq!(survey.headers_sound, [true, false]);
        let unreadable = survey.roots_unsound.iter().filter(|copy| copy.flaw == RootFlaw::Unreadable).count();
        assert_eq!(unreadable == 4, second_ring);
        let verified = Fsck::run(&mut host, &survey, &mut |_| ());
        assert!(verified.problems.len() >= 5, "{verified:?}");
        if kept == 6 {
            let table = survey.checkpoints().last().expect("a checkpoint").space.block;
            let told = verified.problems.iter().find(|problem| problem.block == table).expect("the table is named");
            assert_eq!(told.what, "cannot be read");
        }
        drop(host);
        std::fs::write(&image.0, whole).expect("written");
    }
}

#[test]
fn large_disks_with_little_in_them_take_little_memory() {
    // Everything here has an address space of a GiB (see `world`). A blank file first.
    let image = Image::new("large", 300 << 18);
    for arguments in [["info"], ["fsck"], ["ps"], ["epochs"]] {
        let outcome = world(&[arguments[0], &image.path()]);
        assert!(outcome.status == 1 && outcome.error.contains("never formatted"), "{}", outcome.text());
    }
    // A store of 64 GiB with one page in it: memory follows its log, and its blocks with a few bytes each.
    let image = Image::new("sparse", 64 << 18);
    let mut memory = Session::memory_to_import(&image.0, &LogSize::default()).expect("memory");
    let options = FormatOptions { world: World(78), root_slots: 16, segment_blocks: 256, formatted_ns: 7, programs: 0 };
    let mut session = Session::format(&mut memory, &image.0, options).expect("a store");
    session.begin_incarnation().expect("an incarnation");
    let epoch = abi::Epoch::first_of(1).expect("an epoch");
    session.begin(epoch).expect("begun");
    session.put_page(1, 0, &page(5)).expect("put");
    session.commit(epoch).expect("committed");
    drop(session);
    let bytes = Session::memory(&image.0).expect("memory").bytes();
    assert!(bytes < 64 << 20, "{bytes} bytes");
    for command in ["info", "fsck", "ps"] {
        let outcome = world(&[command, &image.path()]);
        assert_eq!(outcome.status, 0, "{}", outcome.text());
    }
}

/// A loop device over a file, if this machine lets us have one.
struct Loop(String);

impl Loop {
    fn over(image: &Image) -> Option<Self> {
        let output = std::process::Command::new("losetup").args(["--find", "--show", &image.path()]).output().ok()?;
        output.status.success().then(|| Self(String::from_utf8_lossy(&output.stdout).trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_device_is_looked_into_like_a_file() {
    let image = Image::new("device", BLOCKS as u64);
    inhabited(&image, BLOCKS, 4);
    let Some(device) = Loop::over(&image) else {
        println!("skipped: there is no loop device to be had");
        return;
    };
    for command in ["info", "epochs", "ps", "fsck"] {
        let outcome = world(&[command, &device.0]);
        assert_eq!(outcome.status, 0, "{command}: {}", outcome.text());
        assert_eq!(outcome.out, world(&[command, &image.path()]).out, "{command}");
    }
    assert!(world(&["cat-page", &device.0, "1", "3"]).out == page(99));
}

#[test]
fn an_epoch_that_a_command_would_not_look_at_is_no_argument_of_it() {
    let image = Image::new("arguments", BLOCKS as u64);
    made(&image);
    let path = image.path();
    for arguments in [
        vec!["--epoch", "1.2", "fsck", &path],
        vec!["--epoch", "1.2", "epochs", &path],
        vec!["--epoch", "1.2", "diff", &path, "1.1", "1.2"],
        vec!["--epoch", "1.2", "rewind", &path, "1.1"],
    ] {
        let outcome = world(&arguments);
        assert!(outcome.status == 2 && outcome.error.contains("--epoch"), "{arguments:?}: {}", outcome.text());
    }
    assert_eq!(world(&["--epoch", "1.2", "ps", &path]).status, 0);
}

#[test]
fn an_import_that_is_refused_has_written_nothing() {
    let (image, file) = (Image::new("giver", 2048), Image::new("given", 0));
    inhabited(&image, 2048, 4);
    let (path, name) = (image.path(), file.path());
    std::fs::remove_file(&file.0).expect("it was there");
    assert_eq!(world(&["export", &path, &name]).status, 0);
    let world_file = std::fs::read(&file.0).expect("read");
    // Onto itself, also by another name.
    let link = format!("{name}.link");
    std::fs::hard_link(&file.0, &link).expect("linked");
    for there in [&name, &link] {
        let outcome = world(&["import", &name, there, "--overwrite"]);
        assert!(outcome.status == 1 && outcome.error.contains("read from"), "{}", outcome.text());
        assert!(std::fs::read(&file.0).expect("read") == world_file);
    }
    std::fs::remove_file(&link).expect("it was there");
    // Onto what is too small to be a store, or for the pages.
    for blocks in [8, 60] {
        let small = Image::new("too-small", blocks);
        let before = vec![0x5a; blocks as usize * 4096];
        std::fs::write(&small.0, &before).expect("written");
        assert_eq!(world(&["import", &name, &small.path(), "--overwrite"]).status, 1);
        assert!(std::fs::read(&small.0).expect("read") == before, "{blocks} blocks");
    }
    // Of a size that no image can have: no file stays behind.
    let new = format!("{name}.new");
    for size in ["0", "18446744073709551615", "17592186044415", "999999999999"] {
        assert_eq!(world(&["import", &name, &new, "--size", size]).status, 1, "{size}");
        assert!(!std::path::Path::new(&new).exists(), "{size}");
    }
}
