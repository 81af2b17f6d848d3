//! Images in files, made by the store, and the tool run on them: with little memory and a limit of time.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use abi::Epoch;
use format::World;
use snapshot_server::FormatOptions;
use world::{HostMemory, Session, Sizes};

/// A file that goes when it is no longer needed.
pub(crate) struct Image(pub(crate) PathBuf);

impl Image {
    pub(crate) fn new(name: &str, blocks: u64) -> Self {
        let path = std::env::temp_dir().join(format!("perennial-world-{}-{name}.img", std::process::id()));
        let file = std::fs::File::create(&path).expect("a file");
        file.set_len(blocks * 4096).expect("its length");
        Self(path)
    }

    pub(crate) fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn page(content: u64) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    bytes.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&content.to_le_bytes()));
    bytes
}

/// A store with three epochs: pages 0 ..= 9 of object 1, then page 3 anew and a record, then zeroes.
pub(crate) fn made(image: &Image) -> [Epoch; 3] {
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

/// Kilobytes of address space that the tool may use, and how long it may take.
const MEMORY_KIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(60);

/// How the tool ended.
pub(crate) struct Outcome {
    /// Its exit status: 0, 1 or 2.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) out: Vec<u8>,
    /// Standard error.
    pub(crate) error: String,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned() + &self.error
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("no JSON, {error}: {}", self.text()))
    }
}

/// Runs the tool. It may use so much memory and time and no more; a panic or a signal fails the test.
pub(crate) fn world(arguments: &[&str]) -> Outcome {
    let script = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_world")]).args(arguments);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (out, error) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let (out, error) = (read(Box::new(out)), read(Box::new(error)));
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break status;
        }
        if Instant::now() > end {
            child.kill().expect("it can be ended");
            panic!("{arguments:?} takes longer than {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let out = out.join().expect("read").expect("read");
    let error = String::from_utf8_lossy(&error.join().expect("read").expect("read")).into_owned();
    let Some(status @ 0..=2) = status.code() else {
        panic!("{arguments:?} ended with {status}: {error}");
    };
    Outcome { status, out, error }
}

pub(crate) fn run(image: &Image, arguments: &[&str]) -> (bool, String) {
    let path = image.path();
    let outcome = world(&[arguments, &[path.as_str()]].concat());
    (outcome.status == 0, outcome.text())
}
