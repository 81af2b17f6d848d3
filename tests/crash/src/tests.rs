//! The model against its invariants, and the server against a small client.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use crate::protocol::{self, Request, kind, option};
use crate::{Command, PowerCutDisk, Random, SECTOR_BYTES, VolatileDisk};

const SECTORS: usize = 16;
const LIMIT: Duration = Duration::from_secs(30);

fn sectors(value: u8, count: usize) -> Vec<u8> {
    vec![value; count * SECTOR_BYTES]
}

#[derive(Clone, Debug)]
enum Action {
    Write { first: usize, count: usize },
    Flush,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..SECTORS - 4, 1..5usize).prop_map(|(first, count)| Action::Write { first, count }),
        1 => Just(Action::Flush),
    ]
}

proptest! {
    /// Invariants 1 to 3 of the model.
    #[test]
    fn a_sector_survives_as_something_written_since_its_flush(
        actions in prop::collection::vec(action(), 0..40),
        seed in any::<u64>(),
    ) {
        let mut disk = VolatileDisk::new(sectors(0, SECTORS));
        let mut possible: HashMap<usize, Vec<u8>> = (0..SECTORS).map(|sector| (sector, vec![0])).collect();
        for (value, action) in (1u8..).zip(actions) {
            match action {
                Action::Write { first, count } => {
                    disk.write((first * SECTOR_BYTES) as u64, sectors(value, count)).expect("on the disk");
                    (first..first + count).for_each(|sector| possible.entry(sector).or_default().push(value));
                }
                Action::Flush => {
                    disk.flush();
                    possible.values_mut().for_each(|values| { values.drain(..values.len() - 1); });
                }
            }
        }
        for (sector, values) in &possible {
            let read = disk.read((sector * SECTOR_BYTES) as u64, 1).expect("on the disk");
            prop_assert_eq!(read.first(), values.last());
        }
        let image = disk.clone().survive(&mut Random::new(seed));
        for (sector, values) in &possible {
            let found = &image[sector * SECTOR_BYTES..][..SECTOR_BYTES];
            prop_assert!(found.iter().all(|byte| byte == &found[0]), "sector {} is torn within", sector);
            prop_assert!(values.contains(&found[0]), "sector {} holds {}, not one of {:?}", sector, found[0], values);
        }
        prop_assert_eq!(image, disk.survive(&mut Random::new(seed)), "the seed decides");
    }
}

#[test]
fn all_kinds_of_loss_occur() {
    let (mut lost, mut kept, mut torn, mut reordered) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut disk = VolatileDisk::new(sectors(0, 8));
        disk.write(0, sectors(1, 4)).expect("on the disk");
        disk.write(0, sectors(2, 4)).expect("on the disk");
        let image = disk.survive(&mut Random::new(seed));
        let values: Vec<u8> = image.chunks(SECTOR_BYTES).take(4).map(|sector| sector[0]).collect();
        match values.as_slice() {
            [0, 0, 0, 0] => lost += 1,
            [2, 2, 2, 2] => kept += 1,
            [1, 1, 1, 1] => reordered += 1,
            _ => torn += 1,
        }
    }
    for (what, count) in [("lost", lost), ("kept", kept), ("torn", torn), ("reordered", reordered)] {
        assert!(count > 10, "{what} came {count} times in 400");
    }
}

#[test]
fn requests_off_the_disk_are_refused() {
    let mut disk = VolatileDisk::new(sectors(0, 4));
    assert!(disk.write(4 * SECTOR_BYTES as u64, sectors(1, 1)).is_none());
    assert!(disk.write(1, sectors(1, 1)).is_none());
    assert!(disk.write(u64::MAX - 511, sectors(1, 1)).is_none());
    assert!(disk.write(0, vec![0; 100]).is_none());
    assert!(disk.read(u64::MAX, 1).is_none());
    assert_eq!(disk.pending_count(), 0);
}

/// A client of the protocol, just good enough.
struct Client {
    stream: UnixStream,
    disk_bytes: u64,
    cookie: u64,
}

impl Client {
    fn connect(socket: &PathBuf) -> Self {
        let mut stream = UnixStream::connect(socket).expect("the disk listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        assert_eq!(protocol::read_u64(&mut stream).expect("greeting"), protocol::GREETING);
        assert_eq!(protocol::read_u64(&mut stream).expect("greeting"), protocol::OPTION);
        assert_eq!(protocol::read_u16(&mut stream).expect("flags"), protocol::GREETING_FLAGS);
        stream.write_all(&3u32.to_be_bytes()).expect("client flags");
        // An option that nobody knows, then the one that starts.
        let mut disk_bytes = 0;
        for (option, answers) in [(99, 1), (option::GO, 3)] {
            stream.write_all(&protocol::OPTION.to_be_bytes()).expect("option");
            stream.write_all(&u32::to_be_bytes(option)).expect("option");
            stream.write_all(&0u32.to_be_bytes()).expect("option");
            for _ in 0..answers {
                assert_eq!(protocol::read_u64(&mut stream).expect("answer"), protocol::OPTION_REPLY);
                assert_eq!(protocol::read_u32(&mut stream).expect("answer"), option);
                let _answer = protocol::read_u32(&mut stream).expect("answer");
                let length = protocol::read_u32(&mut stream).expect("answer");
                let data = protocol::read_bytes(&mut stream, length).expect("answer");
                if data.len() == 12 {
                    disk_bytes = u64::from_be_bytes(data[2..10].try_into().expect("eight bytes"));
                }
            }
        }
        Self { stream, disk_bytes, cookie: 0 }
    }

    fn send(&mut self, kind: u16, offset: u64, length: u32, data: &[u8]) {
        self.cookie += 1;
        Request { kind, cookie: self.cookie, offset, length }.write(&mut self.stream).expect("sent");
        self.stream.write_all(data).expect("sent");
    }

    fn answer(&mut self, bytes: usize) -> Result<Vec<u8>, u32> {
        assert_eq!(protocol::read_u32(&mut self.stream).expect("reply"), protocol::REPLY);
        let error = protocol::read_u32(&mut self.stream).expect("reply");
        assert_eq!(protocol::read_u64(&mut self.stream).expect("reply"), self.cookie);
        let mut data = vec![0; if error == 0 { bytes } else { 0 }];
        self.stream.read_exact(&mut data).expect("data");
        if error == 0 { Ok(data) } else { Err(error) }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<Vec<u8>, u32> {
        self.send(kind::WRITE, offset, data.len() as u32, data);
        self.answer(0)
    }

    fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, u32> {
        self.send(kind::READ, offset, length, &[]);
        self.answer(length as usize)
    }

    fn flush(&mut self) -> Result<Vec<u8>, u32> {
        self.send(kind::FLUSH, 0, 0, &[]);
        self.answer(0)
    }
}

fn socket() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("perennial-crash-disk-{}-{number}", std::process::id()))
}

#[test]
fn a_client_reads_what_it_wrote() {
    let path = socket();
    let mut disk = PowerCutDisk::empty(8 * SECTOR_BYTES, 1);
    disk.serve(&path).expect("served");
    let mut client = Client::connect(&path);
    assert_eq!(client.disk_bytes, 8 * SECTOR_BYTES as u64);
    client.write(1024, &sectors(7, 2)).expect("written");
    client.send(kind::WRITE_ZEROES, 1536, 512, &[]);
    client.answer(0).expect("zeroed");
    assert_eq!(client.read(1024, 1024).expect("read"), [sectors(7, 1), sectors(0, 1)].concat());
    assert_eq!(client.write(4096, &sectors(7, 1)), Err(protocol::error::INVALID));
    assert_eq!(client.read(4096, 512), Err(protocol::error::INVALID));
    client.send(77, 0, 0, &[]);
    assert_eq!(client.answer(0), Err(protocol::error::INVALID));
    client.flush().expect("flushed");
    assert_eq!(disk.commands(), 4);
    assert_eq!(
        disk.log()[..2],
        [Command::Write { offset: 1024, bytes: 1024 }, Command::Write { offset: 1536, bytes: 512 }]
    );
    let next = disk.survive();
    assert_eq!(next.contents()[1024..1536], sectors(7, 1));
    assert!(!path.exists(), "the socket is removed");
}

#[test]
fn the_cut_comes_at_its_command_and_keeps_what_was_flushed() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let path = socket();
        let mut disk = PowerCutDisk::empty(8 * SECTOR_BYTES, seed);
        disk.serve(&path).expect("served");
        disk.cut_at(4);
        let mut client = Client::connect(&path);
        client.write(0, &sectors(1, 1)).expect("written");
        client.flush().expect("flushed");
        client.write(512, &sectors(2, 1)).expect("written");
        client.read(0, 512).expect("reads do not count");
        assert_eq!(disk.wait_cut(Duration::ZERO).expect_err("not yet").commands, 3);
        client.send(kind::WRITE, 1024, 512, &sectors(3, 1));
        let cut = disk.wait_cut(LIMIT).expect("the cut");
        assert_eq!((cut.command, cut.kind), (4, Some(Command::Write { offset: 1024, bytes: 512 })));
        // Nothing that is sent afterwards arrives.
        client.send(kind::FLUSH, 0, 0, &[]);
        let image = disk.survive().contents();
        let values: Vec<u8> = image.chunks(SECTOR_BYTES).map(|sector| sector[0]).take(3).collect();
        assert_eq!(values[0], 1, "seed {seed}: what was flushed is there");
        assert!([0, 2].contains(&values[1]) && [0, 3].contains(&values[2]), "seed {seed}: {values:?}");
        outcomes.insert((values[1], values[2]));
    }
    assert_eq!(outcomes.len(), 4, "every mixture occurs: {outcomes:?}");
}

#[test]
fn a_flush_that_the_cut_hits_has_flushed_nothing() {
    let lost = (0..40).any(|seed| {
        let path = socket();
        let mut disk = PowerCutDisk::empty(SECTOR_BYTES, seed);
        disk.serve(&path).expect("served");
        disk.cut_at(2);
        let mut client = Client::connect(&path);
        client.write(0, &sectors(1, 1)).expect("written");
        client.send(kind::FLUSH, 0, 0, &[]);
        disk.wait_cut(LIMIT).expect("the cut");
        disk.survive().contents()[0] == 0
    });
    assert!(lost, "the write survived each time");
}

#[test]
fn noise_ends_the_connection_and_nothing_else() {
    let path = socket();
    let mut disk = PowerCutDisk::empty(SECTOR_BYTES, 3);
    disk.serve(&path).expect("served");
    let mut stream = UnixStream::connect(&path).expect("the disk listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
    stream.write_all(&[0x55; 4096]).expect("sent");
    let mut rest = Vec::new();
    // The disk closes; how is the socket's business.
    let _ = stream.read_to_end(&mut rest);
    let mut client = Client::connect(&path);
    client.write(0, &sectors(9, 1)).expect("the disk still works");
    assert_eq!(disk.contents()[0], 9);
}

#[test]
fn a_cut_between_commands() {
    let disk = PowerCutDisk::empty(SECTOR_BYTES, 3);
    disk.cut_now();
    let cut = disk.wait_cut(LIMIT).expect("the cut");
    assert_eq!((cut.command, cut.kind), (0, None));
    assert!(cut.to_string().contains("0x3"), "{cut}");
}
