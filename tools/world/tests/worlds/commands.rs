//! Each command: what it prints, for people and as JSON.

use serde_json::{Value, json};

use crate::image::{Image, world};
use crate::inhabited::{format, inhabited, memory, named, records};

#[test]
fn each_command_says_what_there_is() {
    let image = Image::new("commands", 2048);
    let [first, second] = inhabited(&image, 2048, 12);
    let path = image.path();
    let text = |arguments: &[&str]| {
        let outcome = world(arguments);
        assert_eq!(outcome.status, 0, "{arguments:?}: {}", outcome.text());
        outcome.text()
    };
    let (old, new) = (first.to_string(), second.to_string());
    let info = text(&["info", &path]);
    assert!(info.contains("2048 blocks, 8 MiB") && info.contains("headers      2 of 2 sound"), "{info}");
    let epochs = world(&["--json", "epochs", &path]).json();
    let last = epochs.as_array().and_then(|epochs| epochs.last()).expect("an epoch");
    assert_eq!((&last["epoch"], &last["dirty_pages"], &last["kind"]), (&json!(new), &json!(2), &json!("log")));
    assert!(last["duration_ns"].is_u64() && last["time_ns"].is_u64() && last["bytes"].as_u64() > Some(8192));
    let ps = world(&["--json", "ps", &path]).json();
    assert_eq!(ps["processes"].as_array().map(Vec::len), Some(12));
    assert_eq!(ps["processes"][1]["threads"][0]["state"], "Receiving");
    let caps = text(&["caps", &path, "3"]);
    assert!(caps.contains("Endpoint 1 (console port)") && caps.contains("signal"), "{caps}");
    let caps = world(&["--json", "caps", &path, "11"]).json();
    assert_eq!(caps["capabilities"].as_array().map(Vec::len), Some(8), "it has lost one");
    let caps = world(&["--json", "--epoch", &old, "caps", &path, "11"]).json();
    assert_eq!(caps["capabilities"].as_array().map(Vec::len), Some(9), "it had it before");
    let diff = world(&["--json", "diff", &path, &old, &new]).json();
    assert_eq!(diff["pages_changed"], json!([[1, 3], [2, 0]]));
    assert_eq!(diff["capabilities_changed"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&diff["capabilities_changed"][0]["process"], &diff["capabilities_changed"][0]["after"]),
        (&json!(11), &json!(null))
    );
    let diff = text(&["diff", &path, &old, &new]);
    assert!(diff.contains("process  11 at   9  - Endpoint 102 send+copy"), "{diff}");
    let bytes = world(&["cat-page", &path, "1", "3"]);
    assert_eq!(bytes.out, crate::image::page(99));
    assert_eq!(world(&["--epoch", &old, "cat-page", &path, "1", "3"]).out, crate::image::page(4));
    let hex = world(&["--json", "cat-page", &path, "2", "0"]).json();
    assert_eq!(hex["bytes"].as_str().map(|hex| &hex[..4]), Some("6200"));
    let fsck = world(&["--json", "fsck", &path]).json();
    assert_eq!(fsck["problems"], json!([]));
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let image = Image::new("missing", 2048);
    inhabited(&image, 2048, 4);
    let path = image.path();
    for arguments in
        [vec!["caps", &path, "77"], vec!["cat-page", &path, "9", "9"], vec!["--epoch", "1.77", "ps", &path]]
    {
        let outcome = world(&arguments);
        assert!(outcome.status == 1 && outcome.error.starts_with("world: "), "{arguments:?}: {}", outcome.text());
        let mut with_json = vec!["--json"];
        with_json.extend(arguments);
        assert!(world(&with_json).json()["error"].is_string());
    }
    let nowhere = world(&["info", "/nowhere/at/all"]);
    assert!(nowhere.status == 1 && nowhere.error.contains("cannot open"), "{}", nowhere.error);
}

#[test]
fn the_graph_of_fifty_processes_is_drawn() {
    let image = Image::new("fifty", 4096);
    inhabited(&image, 4096, 50);
    let path = image.path();
    let svg = world(&["graph", &path]).text();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("font-weight=\"bold\">process ").count(), 50, "a card for each");
    // What all hold is named once and not drawn to; what two share is.
    assert!(svg.contains("Endpoint 1 (console port): by 50 processes"), "{}", &svg[..2000]);
    assert!(svg.contains("<title>process 7 → Endpoint 16: send</title>"));
    assert!(svg.contains(">Endpoint 0 (memory port) #0x200000000007</text>"));
    // Rights never run into what stands before them.
    let rights = svg.lines().filter_map(|line| line.split_once("font-size=\"10\" text-anchor=\"end\">"));
    let lengths: Vec<usize> = rights.map(|(_, text)| text.trim_end_matches("</text>").chars().count()).collect();
    assert!(lengths.len() > 400 && lengths.iter().all(|length| *length <= 31), "{lengths:?}");
    assert!(!svg.contains("<title>process 7 → Endpoint 1 (console port)"));
    // Shared objects never lie on each other.
    let mut heights: Vec<u32> = svg
        .lines()
        .filter(|line| line.contains("height=\"20\" rx=\"10\""))
        .filter_map(|line| line.split("y=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    heights.sort_unstable();
    assert!(heights.len() > 50 && heights.windows(2).all(|pair| pair[1] - pair[0] >= 13), "{heights:?}");
    let dot = world(&["graph", "--dot", &path]).text();
    assert!(dot.contains("process7 -> Endpoint16 [label=\"send\"]"), "{dot}");
    if let Some(folder) = std::env::var_os("WORLD_PICTURES") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("fifty.svg"), svg).expect("written");
        std::fs::write(folder.join("fifty.dot"), dot).expect("written");
    }
}

#[test]
fn export_and_import_by_command() {
    let (image, file) = (Image::new("export", 2048), Image::new("exported", 0));
    let [first, _] = inhabited(&image, 2048, 12);
    let (path, name) = (image.path(), file.path());
    std::fs::remove_file(&file.0).expect("it was there");
    let exported = world(&["--json", "--epoch", &first.to_string(), "export", &path, &name]);
    assert_eq!(exported.json()["pages"], 20, "{}", exported.text());
    assert_eq!(world(&["export", &path, &name]).status, 1, "a file that is there is not overwritten");
    let other = Image::new("imported", 0);
    let there = other.path();
    let refused = world(&["import", &name, &there]);
    assert!(refused.status == 1 && refused.error.contains("--overwrite"), "{}", refused.text());
    std::fs::remove_file(&other.0).expect("it was there");
    assert_eq!(world(&["--json", "import", &name, &there, "--size", "8"]).json()["pages"], 20);
    assert_eq!(world(&["fsck", &there]).status, 0);
    assert_eq!(
        world(&["--json", "ps", &there]).json()["processes"],
        world(&["--json", "--epoch", &first.to_string(), "ps", &path]).json()["processes"]
    );
    // A damaged file is noticed before anything is written.
    let before = std::fs::read(&other.0).expect("read");
    let mut bytes = std::fs::read(&file.0).expect("read");
    bytes[5000] ^= 1;
    std::fs::write(&file.0, &bytes).expect("written");
    let refused = world(&["import", &name, &there, "--overwrite"]);
    assert!(refused.status == 1 && refused.error.contains("no exported world"), "{}", refused.text());
    assert!(std::fs::read(&other.0).expect("read") == before);
    // One that does not fit leaves nothing that boots.
    bytes[5000] ^= 1;
    std::fs::write(&file.0, &bytes).expect("written");
    let small = Image::new("small", 110);
    let refused = world(&["import", &name, &small.path(), "--overwrite"]);
    if refused.status == 1 {
        assert!(world(&["info", &small.path()]).error.contains("blank"), "{}", refused.text());
    }
}

/// A process is called what its startup page says; where there is none it has its number.
#[test]
fn processes_are_called_by_their_startup_pages() {
    for older in [false, true] {
        let image = Image::new("names", 2048);
        let mut memory = memory(2048);
        let mut made = format(&mut memory, &image);
        let mut held = records(4);
        let page = named(&mut held, 2, "directory", older);
        made.epoch_with(&held, &[(7, 2, page)]);
        drop(made);
        let path = image.path();
        let ps = world(&["--json", "ps", &path]).json();
        let names: Vec<&Value> = (0..4).map(|index| &ps["processes"][index]["name"]).collect();
        assert_eq!(names, [&Value::Null, &Value::Null, &json!("directory"), &Value::Null], "{ps}");
        assert!(world(&["ps", &path]).text().contains("2  directory "));
        for picture in [vec!["graph", &path], vec!["graph", &path, "--dot"]] {
            let drawn = world(&picture).text();
            assert!(drawn.contains("directory (2)") && drawn.contains("process 3"), "{drawn}");
        }
        let fsck = world(&["fsck", &path]);
        assert_eq!(fsck.status, 0, "{}", fsck.text());
    }
}
