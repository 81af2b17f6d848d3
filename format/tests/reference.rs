//! `docs/reference/format.md` is generated from the code. Run with `UPDATE_REFERENCE=1` to write it anew.

use std::fmt::Write;
use std::mem::offset_of;

use format::*;

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! layout {
    ($out:ident, $raw:ty, $title:literal, $($field:ident: $meaning:literal,)*) => {
        writeln!($out, "\n## {}\n\n`{}`, {} bytes\n", $title, stringify!($raw), size_of::<$raw>()).expect("a string");
        writeln!($out, "| offset | bytes | field | meaning |\n| ---: | ---: | --- | --- |").expect("a string");
        let mut end = 0;
        $(
            let (offset, size) = (offset_of!($raw, $field), size_of_field(|raw: &$raw| &raw.$field));
            assert_eq!(offset, end, "{}: no padding, every field named", stringify!($field));
            end = offset + size;
            writeln!($out, "| {offset} | {size} | `{}` | {} |", stringify!($field), $meaning).expect("a string");
        )*
        assert_eq!(end, size_of::<$raw>(), "every field named");
    };
}

fn reference() -> String {
    let mut out = String::from(include_str!("reference_intro.md"));
    layout!(out, RawHeader, "Header", magic: "`PERENNIA`", version: "version of every layout here",
        block_size: "4,096", sum: "checksum of the block with this field zero", world: "identity of the store",
        blocks: "blocks of the disk", root_slots: "slots of each root ring", segment_blocks: "blocks of a segment",
        formatted_ns: "when it was formatted, ns since 1970",
        programs: "fingerprint of the programs the world was made with, 0 if unknown", reserved: "zero", rest: "zero",);
    layout!(out, RawRoot, "Root", magic: "`PERNROOT`", sequence: "counts roots; its slot follows from it",
        sum: "checksum of the block with this field zero", previous: "checksum of the root before it",
        incarnation: "the incarnation that may write behind it", restores: "restores in a row that committed nothing",
        log: "where the log behind the newest checkpoint starts", resume: "where this incarnation's part of the log starts",
        count: "checkpoints", interval: "number of the interval that gathers", reserved: "zero",
        checkpoints: "oldest first", rest: "zero",);
    layout!(out, RawCheckpoint, "Checkpoint, in a root", epoch: "which epoch", map: "root of its map, or zero",
        space: "topmost index of its table of used blocks", time_ns: "when the epoch was cut",
        pages: "pages with contents", records: "records", used_blocks: "blocks used when it was made",
        slot: "its number in the table", map_level: "level of the map's root", reserved: "zero",
        map_nodes: "nodes of its map", record_nodes: "leaves of it that hold records; before version 4 zero",
        record_bytes: "bytes that records take in these; before version 4 zero", rest: "zero",);
    layout!(out, RawLogStart, "Place in the log", block: "where the next descriptor lies", reserved: "zero",
        sequence: "its sequence number", previous: "checksum of the descriptor before it",);
    layout!(out, RawPointer, "Pointer", block: "where; 0: nowhere", twin: "where the same bytes lie again; 0: nowhere",
        epoch: "keys the checksum", sum: "checksum of what lies there",);
    layout!(out, RawDescriptor, "Log descriptor, head", magic: "`PERNLOG1`", epoch: "the epoch that it belongs to",
        sum: "checksum of the block around this field", previous: "checksum of the descriptor before it",
        sequence: "counts descriptors", durable: "newest epoch known durable when it was made",
        floor: "older epochs of the interval may lose pages to reuse once this is durable",
        time_ns: "of a commit: when the epoch was sealed", gathered_ns: "of a commit: how long it gathered",
        pages: "of a commit: pages of the epoch", records: "of a commit: records of the epoch",
        next: "where the next descriptor will lie",
        flags: "1 commits its epoch, 2 all before it was durable, 4 ends its interval", item_bytes: "bytes of items",
        reserved: "zero",);
    layout!(out, RawItem, "Item, head", kind: "1 page, 2 zeroes, 3 absent, 4 record",
        incarnation: "of a page: who wrote it", low: "of a page its block, of a record its bytes",
        object: "memory object, or 2^63 and a table", index: "page, or index in the table",);
    layout!(out, RawNode, "Map node, head", magic: "`PERNMAP1`", epoch: "the checkpoint that it was written for",
        count: "items or children", used: "bytes of the body used", level: "0: a leaf", reserved: "zero",);
    layout!(out, RawChild, "Child, in an inner node", object: "first key below: object",
        index: "first key below: index", pointer: "the child",);
    layout!(out, RawSpaceIndex, "Index of the table of used blocks", magic: "`PERNSPAC`",
        epoch: "the checkpoint that it was written for", count: "pointers", level: "0: they lead to the table",
        kept_count: "entries of `kept`", interval: "number of the interval that the checkpoint ended", reserved: "zero",
        kept: "number and epoch of each checkpoint kept then", rest: "zero", pointers: "to the table, or one level down",);
    out
}

#[test]
fn the_reference_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/format.md");
    let text = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &text).expect("written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "docs/reference/format.md is out of date: run this test with UPDATE_REFERENCE=1");
}
