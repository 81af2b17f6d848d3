//! A store opened at an epoch, with calls that wait.

use std::collections::BTreeMap;
use std::path::Path;

use abi::Epoch;
use format::{BlockBytes, Key, RECORD_BYTES_MAX};
use snapshot_server::{
    Answer, Config, Disk, Event, Failure, FormatOptions, ItemStep, OpenReport, PageMemory, PageRef, PageSource,
    PutError, ReadError, Refusal, SealError, Store,
};

use crate::file::{Access, FileHost};
use crate::memory::{HostMemory, Sizes};
use crate::survey::{LogSize, RootCopy, RootFlaw, Survey};

/// Polls without news after which a store counts as hung: nothing here waits for a device.
const POLLS_MAX: u32 = 50_000_000;

/// Entries, and cells, that a session has at least.
const POOL_MIN: usize = 1 << 16;

/// Why something could not be done.
#[derive(Debug)]
pub enum WorldError {
    /// The file cannot be opened or read.
    File(std::io::Error),
    /// Somebody else has the image open.
    InUse,
    /// There is no store, or not such an epoch.
    Refused(Refusal),
    /// No root can be used: where each copy should lie, and what is wrong with it.
    Roots(Vec<RootCopy>),
    /// The store stopped.
    Stopped(Failure),
    /// A block of the map is damaged: which, and what is wrong with it.
    Map(format::Block, String),
    /// A page cannot be read.
    Page(u64, u64, ReadError),
    /// The disk is too small or too full for it.
    Full,
    /// What was asked for is not there.
    Missing(String),
    /// A file to import is no world, or damaged.
    NoWorld(&'static str),
    /// The store did not answer: a fault of this tool or of the store.
    Hung,
}

impl std::fmt::Display for WorldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => write!(f, "cannot open or read: {error}"),
            Self::InUse => write!(f, "the image is in use: a machine runs on it, or another tool has it open"),
            Self::Refused(refusal) => write!(f, "refused: {}", crate::refusal::refusal(refusal)),
            Self::Stopped(failure) => write!(f, "the store stopped: {}", crate::refusal::failure(failure)),
            Self::Roots(copies) => {
                write!(f, "refused: no root is left: every slot of both rings is damaged or blank")?;
                copies
                    .iter()
                    .filter(|copy| copy.flaw != RootFlaw::Wrong(format::RootError::Foreign))
                    .try_for_each(|copy| write!(f, "; {}: {}", copy.block, crate::refusal::root(copy.flaw)))
            }
            Self::Map(block, why) => write!(f, "the map is damaged at {block}: {why}"),
            Self::Page(object, index, error) => {
                write!(f, "page {index} of object {object:#x}: {}", crate::refusal::read(error))
            }
            Self::Full => write!(f, "the disk is full"),
            Self::Missing(what) => f.write_str(what),
            Self::NoWorld(why) => write!(f, "no exported world: {why}"),
            Self::Hung => write!(f, "the store does not answer"),
        }
    }
}

impl std::error::Error for WorldError {}

impl From<std::io::Error> for WorldError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::ResourceBusy { Self::InUse } else { Self::File(error) }
    }
}

/// Everything that an epoch holds but the contents of pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Pages with contents, by object and index.
    pub pages: Vec<(u64, u64)>,
    /// Extents of zeroes: object, first, count.
    pub zeroes: Vec<(u64, u64, u64)>,
    /// Records by table and index.
    pub records: BTreeMap<(u16, u32), Vec<u8>>,
}

/// An open store.
pub struct Session<'m> {
    store: Store<'m, FileHost>,
    page: PageRef,
    free: Vec<PageRef>,
    answer: Option<Result<PageSource, ReadError>>,
    committed: Epoch,
    incarnated: bool,
    opened: Option<OpenReport>,
}

fn config() -> Config {
    Config { interval_entries: 1 << 16, interval_descriptors: 1 << 14, ..Config::default() }
}

impl<'m> Session<'m> {
    /// The memory that a session over the store in `path` needs: by what its log holds and how many blocks it has.
    ///
    /// # Errors
    /// What a [`Survey`] of it answers: nothing is asked for before it is known that there is a store.
    pub fn memory(path: &Path) -> Result<HostMemory, WorldError> {
        let survey = Survey::new(&mut FileHost::open(path, Access::Read, 0)?)?;
        let (entries, cells) = survey.log_size.pool();
        Ok(Self::memory_of(survey.header.geometry.blocks() as usize, entries, cells))
    }

    /// The memory that a new store in `path` needs, into which one epoch brings at most so much beside its pages.
    pub fn memory_to_import(path: &Path, most: &LogSize) -> Result<HostMemory, WorldError> {
        let blocks = FileHost::open(path, Access::Read, 0)?.blocks().min(format::DISK_BLOCKS_MAX);
        let (entries, cells) = most.pool();
        Ok(Self::memory_of(blocks as usize, 4 * config().interval_entries as usize + entries, cells))
    }

    fn memory_of(blocks: usize, entries: usize, cells: usize) -> HostMemory {
        HostMemory::new(&Sizes {
            blocks: blocks.max(64),
            segment_blocks: 8,
            entries: entries.max(POOL_MIN),
            cells: cells.max(POOL_MIN),
            deferred: 1 << 12,
            cache: 512,
            caller_pages: 256,
        })
    }

    /// Opens the store in `path` at its newest epoch, or at `epoch`.
    pub fn open(
        memory: &'m mut HostMemory,
        path: &Path,
        access: Access,
        epoch: Option<Epoch>,
    ) -> Result<Self, WorldError> {
        let host = FileHost::open(path, access, memory.page_count())?;
        let pages = memory.caller_pages().collect();
        Self::start(Store::open(memory.memory(), host, config(), epoch), pages)
    }

    /// Makes the file an empty store, whatever it was.
    pub fn format(memory: &'m mut HostMemory, path: &Path, options: FormatOptions) -> Result<Self, WorldError> {
        let host = FileHost::open(path, Access::Write, memory.page_count())?;
        let pages = memory.caller_pages().collect();
        Self::start(Store::format(memory.memory(), host, config(), options), pages)
    }

    fn start(store: Store<'m, FileHost>, mut free: Vec<PageRef>) -> Result<Self, WorldError> {
        let page = free.pop().unwrap_or_default();
        let (committed, answer, opened) = (Epoch::NONE, None, None);
        let mut session = Self { store, page, free, answer, committed, incarnated: false, opened };
        session.until(|session| session.opened.is_some())?;
        Ok(session)
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), WorldError> {
        for _ in 0..POLLS_MAX {
            if done(self) {
                return Ok(());
            }
            self.poll()?;
        }
        Err(WorldError::Hung)
    }

    fn poll(&mut self) -> Result<(), WorldError> {
        match self.store.poll() {
            Some(Event::Opened(report)) => self.opened = Some(report),
            Some(Event::Refused(refusal)) => return Err(WorldError::Refused(refusal)),
            Some(Event::Failed(failure)) => return Err(WorldError::Stopped(failure)),
            Some(Event::PageRead { result, .. }) => self.answer = Some(result),
            Some(Event::PageWritten(page)) => self.free.push(page),
            Some(Event::Committed(epoch)) => self.committed = epoch,
            Some(Event::IncarnationDurable(_)) => self.incarnated = true,
            Some(Event::CheckpointDurable(_) | Event::Retired) | None => {}
        }
        Ok(())
    }

    /// How the opening went.
    pub fn report(&self) -> OpenReport {
        self.opened.unwrap_or_default()
    }

    /// The store, for its numbers.
    pub fn store(&self) -> &Store<'m, FileHost> {
        &self.store
    }

    /// All that the epoch holds but the contents of pages.
    pub fn contents(&mut self) -> Result<Contents, WorldError> {
        self.contents_from(Key::default())
    }

    /// The epoch's records alone.
    pub fn records(&mut self) -> Result<Contents, WorldError> {
        // They lie behind all pages.
        self.contents_from(Key::record(0, 0))
    }

    fn contents_from(&mut self, mut from: Key) -> Result<Contents, WorldError> {
        let mut contents = Contents::default();
        let mut out = [0; RECORD_BYTES_MAX];
        loop {
            let (key, count) = match self.store.next_item(from, &mut out) {
                ItemStep::Pending => {
                    self.poll()?;
                    continue;
                }
                ItemStep::Page(key) => {
                    contents.pages.push((key.object, key.index));
                    (key, 1)
                }
                ItemStep::Zero(key, count) => {
                    contents.zeroes.push((key.object, key.index, count));
                    (key, count)
                }
                ItemStep::Record(key, length) => {
                    if let Some(name) = key.as_record() {
                        contents.records.insert(name, out[..length].to_vec());
                    }
                    (key, 1)
                }
                ItemStep::End => return Ok(contents),
                ItemStep::Failed(block) => return Err(self.map_damaged(block)),
            };
            from = Key { object: key.object, index: key.index + count };
        }
    }

    fn map_damaged(&self, block: format::Block) -> WorldError {
        let flaw = self.store.map_flaw().filter(|(flawed, _)| *flawed == block).and_then(|(_, flaw)| flaw);
        WorldError::Map(block, flaw.map_or_else(|| "it cannot be read".into(), |flaw| crate::refusal::node(&flaw)))
    }

    /// The contents of a page; `None` when it is absent.
    pub fn page(&mut self, object: u64, index: u64) -> Result<Option<BlockBytes>, WorldError> {
        let wrong = |error| WorldError::Page(object, index, error);
        let source = match self.store.read_page(0, object, index, self.page).map_err(wrong)? {
            Answer::Now(source) => source,
            Answer::Later => {
                self.until(|session| session.answer.is_some())?;
                self.answer.take().unwrap_or(Err(ReadError::Busy)).map_err(wrong)?
            }
        };
        Ok(match source {
            PageSource::Disk => Some(*self.store.host_mut().bytes(self.page)),
            PageSource::Zero => Some([0; 4096]),
            PageSource::Absent => None,
        })
    }

    /// Makes the epoch that was opened the one from which everything goes on: what is newer is abandoned.
    pub fn begin_incarnation(&mut self) -> Result<u32, WorldError> {
        let number = self.store.new_incarnation().map_err(|_| WorldError::Hung)?;
        self.until(|session| session.incarnated)?;
        Ok(number)
    }

    /// Begins an epoch.
    pub fn begin(&mut self, epoch: Epoch) -> Result<(), WorldError> {
        loop {
            match self.store.begin(epoch, 0) {
                Ok(()) => return Ok(()),
                Err(SealError::Busy) => self.poll()?,
                Err(_) => return Err(WorldError::Hung),
            }
        }
    }

    /// Puts something into the epoch, however long the store is busy.
    pub fn put(
        &mut self,
        mut put: impl FnMut(&mut Store<'m, FileHost>) -> Result<(), PutError>,
    ) -> Result<(), WorldError> {
        loop {
            match put(&mut self.store) {
                Ok(()) => return Ok(()),
                Err(PutError::Busy) => self.poll()?,
                Err(PutError::Full) => return Err(WorldError::Full),
                Err(_) => return Err(WorldError::NoWorld("an item that cannot be")),
            }
        }
    }

    /// Puts a page into the epoch.
    pub fn put_page(&mut self, object: u64, index: u64, bytes: &BlockBytes) -> Result<(), WorldError> {
        self.until(|session| !session.free.is_empty())?;
        let page = self.free.pop().ok_or(WorldError::Hung)?;
        *self.store.host_mut().bytes_mut(page) = *bytes;
        self.put(|store| store.put_page(object, index, page))
    }

    /// Seals the epoch and waits until it is durable.
    pub fn commit(&mut self, epoch: Epoch) -> Result<(), WorldError> {
        loop {
            match self.store.seal(0) {
                Ok(()) => break,
                Err(SealError::Busy) => self.poll()?,
                Err(_) => return Err(WorldError::Hung),
            }
        }
        // And the root that vouches for it, if one does: who is done leaves no half of it behind.
        self.until(|session| session.committed >= epoch && !session.store.is_vouching())
    }

    /// Seals the epoch and waits until a checkpoint of it is durable.
    pub fn commit_folded(&mut self, epoch: Epoch) -> Result<(), WorldError> {
        self.store.want_checkpoint();
        self.commit(epoch)?;
        self.until(|session| session.store.root().newest().is_some_and(|newest| newest.epoch >= epoch))
    }

    /// Blocks of the disk.
    pub fn blocks(&mut self) -> u64 {
        self.store.host_mut().blocks()
    }
}
