//! Images as every version of the store wrote them: each command reads them, and those that write go on from them.

use crate::image::{Image, Outcome, world};

/// The golden image of a version, on a disk of its own (`tests/storesim/golden` says how it is packed).
fn golden(version: u32) -> Image {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/storesim/golden");
    let packed = std::fs::read(format!("{folder}/version-{version}.blocks")).expect("the golden image");
    let mut whole = vec![0; 128 * 4096];
    let mut rest = packed.as_slice();
    while let Some((head, body)) = rest.split_at_checked(8) {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (contents, behind) = body.split_at(number(4));
        whole[number(0) * 4096..][..contents.len()].copy_from_slice(contents);
        rest = behind;
    }
    let image = Image::new(&format!("golden-{version}"), 0);
    std::fs::write(&image.0, whole).expect("written");
    image
}

fn fine(arguments: &[&str]) -> Outcome {
    let outcome = world(arguments);
    assert_eq!(outcome.status, 0, "{arguments:?}: {}", outcome.text());
    outcome
}

/// Problems of blocks. The records of these images are no kernel's, which is told as well.
fn damage(image: &str) -> Vec<serde_json::Value> {
    let outcome = world(&["--json", "fsck", image]);
    let fsck = outcome.json();
    assert!(outcome.status == 1 && fsck["verified_blocks"].as_u64() > Some(3), "{fsck}");
    let problems = fsck["problems"].as_array().expect("a list").iter().cloned();
    problems.filter(|problem| problem["record"].is_null()).collect()
}

#[test]
fn every_command_reads_images_of_every_version() {
    for version in 1..=format::VERSION {
        let image = golden(version);
        let path = image.path();
        let info = fine(&["--json", "info", &path]).json();
        assert_eq!((&info["version"], &info["epoch"]), (&version.into(), &"1.8".into()), "{info}");
        let programs = if version < 3 { "0000000000000000" } else { "0000000070726f67" };
        assert_eq!(info["programs"], programs);
        let epochs = fine(&["--json", "epochs", &path]).json();
        let epochs: Vec<&str> = epochs.as_array().expect("a list").iter().filter_map(|e| e["epoch"].as_str()).collect();
        assert!(epochs.len() > 2 && epochs.last() == Some(&"1.8"), "{epochs:?}");
        assert_eq!(damage(&path), [serde_json::Value::Null; 0]);
        assert!(world(&["fsck", &path]).text().contains("the record of the world itself is missing"));
        for command in ["info", "epochs", "graph"] {
            fine(&[command, &path]);
            fine(&["--json", command, &path]).json();
        }
        assert!(world(&["ps", &path]).status == 1 && world(&["ps", &path]).text().contains("of table 7 is none"));
        assert_eq!(world(&["--json", "ps", &path]).json()["processes"], serde_json::json!([]));
        fine(&["graph", "--dot", &path]);
        assert_eq!(world(&["caps", &path, "0"]).status, 1, "there are no processes in it");
        let pages: Vec<Vec<u8>> = (0..5).map(|index| fine(&["cat-page", &path, "1", &index.to_string()]).out).collect();
        assert!(pages.iter().all(|page| page.len() == 4096) && pages[0] != pages[1]);
        let diff = fine(&["--json", "diff", &path, epochs[0], "1.8"]).json();
        assert!(diff["pages_changed"].as_array().is_some_and(|pages| !pages.is_empty()), "{diff}");
        travels(&image, programs, &pages);
        // An older epoch becomes the newest, and the image stays of its version.
        let rewound = fine(&["--json", "rewind", &path, epochs[0]]).json();
        assert_eq!((&rewound["epoch"], &rewound["incarnation"]), (&epochs[0].into(), &2.into()));
        let info = fine(&["--json", "info", &path]).json();
        assert_eq!((&info["version"], &info["epoch"]), (&version.into(), &epochs[0].into()));
        assert_eq!(damage(&path), [serde_json::Value::Null; 0]);
    }
}

/// To a file and to another disk: pages and the fingerprint of the programs are the same there.
fn travels(image: &Image, programs: &str, pages: &[Vec<u8>]) {
    let (file, other) = (Image::new("golden-file", 0), Image::new("golden-other", 0));
    let (file, other) = (file.path(), other.path());
    std::fs::remove_file(&file).expect("it was there");
    std::fs::remove_file(&other).expect("it was there");
    fine(&["export", &image.path(), &file]);
    fine(&["import", &file, &other, "--size", "2"]);
    let info = fine(&["--json", "info", &other]).json();
    assert_eq!((&info["programs"], &info["version"]), (&programs.into(), &format::VERSION.into()), "{info}");
    for (index, page) in pages.iter().enumerate() {
        assert!(fine(&["cat-page", &other, "1", &index.to_string()]).out == *page, "page {index}");
    }
}

#[test]
fn what_was_called_wrongly_is_told_from_what_is_not_there() {
    let image = golden(format::VERSION);
    let path = image.path();
    // Called wrongly: 2, and nothing is looked at.
    for arguments in [
        vec!["diff", &path, "1.8"],
        vec!["diff", &path, "1.8", "x"],
        vec!["diff", &path, "1.8", "1.-1"],
        vec!["diff", &path, "1.8", "16777216.1"],
        vec!["diff", &path, "1.8", "1.1099511627776"],
        vec!["diff", &path, "", "1.8"],
        vec!["cat-page", &path, "1"],
        vec!["cat-page", &path, "-1", "0"],
        vec!["cat-page", &path, "one", "0"],
        vec!["cat-page", &path, "1", "18446744073709551616"],
        vec!["rewind", &path],
        vec!["rewind", &path, "1.2.3"],
        vec!["rewind", &path, "99999999999999999999"],
        vec!["fsck"],
        vec!["import", &path],
        vec!["import", "a", "b", "--size", "1", "--overwrite"],
        vec!["no-such-command", &path],
    ] {
        let outcome = world(&arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}: {}", outcome.text());
    }
    // Not there: 1, a sentence, and with --json an object that says the same; the image is as it was.
    let before = std::fs::read(&image.0).expect("read");
    for (arguments, word) in [
        (vec!["diff", &path, "1.8", "1.9"], "epoch 1.9 is not kept"),
        (vec!["diff", &path, "0", "1.8"], "not kept"),
        (vec!["diff", &path, "18446744073709551615", "1.8"], "not kept"),
        (vec!["cat-page", &path, "1", "77"], "has no page 77"),
        (vec!["cat-page", &path, "77", "0"], "has no page 0"),
        (vec!["cat-page", &path, "18446744073709551615", "0"], "page"),
        (vec!["cat-page", &path, "1", "18446744073709551615"], "page"),
        (vec!["rewind", &path, "1.9"], "epoch 1.9 is not kept"),
        (vec!["rewind", &path, "2.1"], "not kept"),
        (vec!["rewind", &path, "18446744073709551615"], "not kept"),
        (vec!["export", &path, "/nowhere/at/all"], "cannot open"),
        (vec!["import", "/nowhere/at/all", &path], "cannot open"),
        (vec!["import", &path, &path, "--overwrite"], "no exported world"),
        (vec!["fsck", "/nowhere/at/all"], "cannot open"),
    ] {
        let outcome = world(&arguments);
        assert!(outcome.status == 1 && outcome.error.contains(word), "{arguments:?}: {}", outcome.text());
        let with_json = world(&[vec!["--json"], arguments].concat());
        assert!(with_json.json()["error"].as_str().is_some_and(|error| error.contains(word)));
    }
    assert!(std::fs::read(&image.0).expect("read") == before);
}

#[test]
fn fsck_says_what_of_a_node_or_a_root_is_wrong() {
    let image = golden(format::VERSION);
    let path = image.path();
    let whole = std::fs::read(&image.0).expect("read");
    let starts =
        |magic: &[u8]| -> Vec<usize> { (0..128).filter(|block| whole[block * 4096..].starts_with(magic)).collect() };
    let nodes = starts(b"PERNMAP1");
    let mut found = 0;
    for block in &nodes {
        let mut spoilt = whole.clone();
        spoilt[block * 4096 + 100] ^= 1;
        std::fs::write(&image.0, &spoilt).expect("written");
        let problems = damage(&path);
        let Some(problem) = problems.first() else { continue }; // It belongs to no epoch that is kept.
        assert_eq!(problem["block"], *block, "{problem}");
        let why = "its contents do not hash to what its parent says";
        assert!(problem["why"] == why && problem["what"].as_str().is_some_and(|what| what.contains("of the map")));
        assert!(world(&["fsck", &path]).text().contains(why));
        found += 1;
    }
    assert!(found >= 2, "{found} of {nodes:?}");
    // One damaged copy of a root is told; when none is left each is named.
    let roots: Vec<usize> = (1..3).chain(125..127).collect();
    let spoil = |blocks: &[usize]| {
        let mut spoilt = whole.clone();
        blocks.iter().for_each(|block| spoilt[block * 4096 + 100] ^= 1);
        std::fs::write(&image.0, &spoilt).expect("written");
    };
    spoil(&roots[..1]);
    let info = fine(&["--json", "info", &path]).json();
    assert_eq!((&info["roots_unsound"][0]["block"], &info["roots_sound"]), (&1.into(), &3.into()), "{info}");
    assert!(fine(&["info", &path]).text().contains("block 1: its checksum is wrong"));
    spoil(&roots);
    for arguments in [["info", &path], ["epochs", &path], ["fsck", &path]] {
        let outcome = world(&arguments);
        let all = roots.iter().all(|block| outcome.error.contains(&format!("block {block}: its checksum is wrong")));
        assert!(outcome.status == 1 && all, "{arguments:?}: {}", outcome.text());
    }
}
