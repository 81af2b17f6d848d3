//! One life of a store: opened, checked against what was promised, worked until it ends.

use abi::Epoch;
use snapshot_server::{
    Answer, Case, Config, Event, Failure, FormatOptions, ItemStep, OpenReport, PageRef, PageSource, PutError,
    ReadError, Refusal, SealError, Store,
};

use crate::arena::Arena;
use crate::disk::SimDisk;
use crate::model::{Model, fill};
use crate::tally::Tally;

/// Polls without an event after which a store counts as hung.
pub(crate) const POLLS_MAX: u32 = 200_000;

/// What was promised so far, across lives.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every epoch that was sealed with something in it, oldest first, and what it should hold.
    pub sealed: Vec<(Epoch, Model)>,
    /// The newest epoch reported as committed.
    pub acknowledged: Epoch,
    /// The newest epoch that a durable root vouches for: nothing older is ever opened unasked, whatever has rotted.
    pub vouched: Epoch,
    /// Contents given out so far: no two pages ever put are alike.
    pub contents: u64,
}

impl History {
    /// What `epoch` should hold.
    pub fn model(&self, epoch: Epoch) -> Option<&Model> {
        self.sealed.iter().find(|(sealed, _)| *sealed == epoch).map(|(_, model)| model)
    }

    /// Forgets what came after `epoch`, which was opened.
    pub fn rewind(&mut self, epoch: Epoch) {
        self.sealed.retain(|(sealed, _)| *sealed <= epoch);
        self.acknowledged = epoch;
        self.vouched = epoch;
    }
}

/// What went wrong: the store broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeError {
    /// Neither an event nor the end of the power for too long.
    Hung(&'static str),
    /// A store with an acknowledged epoch was refused.
    Refused(Refusal),
    /// It stopped though its disk does what it is told.
    Stopped(Failure),
    /// Older than the newest acknowledged, or never sealed: what it opened, what was acknowledged.
    WrongEpoch(Epoch, Epoch),
    /// A page is not what the epoch should hold.
    WrongPage(Epoch, u64, u64, &'static str),
    /// A page of the epoch cannot be read.
    Unreadable(Epoch, u64, u64, ReadError),
    /// The list of pages and records is not what the epoch should hold.
    WrongRecords(Epoch),
    /// A put or seal was refused though nothing speaks against it.
    Put(PutError),
    /// A seal was refused.
    Seal(SealError),
}

/// How a life ended without breaking a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The power went.
    Cut,
    /// All that was asked was done.
    Done,
    /// The store refused to open, and said so.
    Refused(Refusal),
    /// The store stopped, and said so.
    Stopped(Failure),
    /// The disk is full; the epoch was sealed as far as it went.
    Full,
}

/// Either a value or the end of the life.
pub type Lived<T> = Result<T, Result<Ended, LifeError>>;

/// A store at work, and what it should hold.
pub struct Life<'a> {
    /// The store.
    pub store: Store<'a, SimDisk>,
    /// What was promised.
    pub history: History,
    /// What the epoch that gathers holds.
    pub model: Model,
    /// Counters.
    pub tally: Tally,
    /// Where faults are expected, damage reported ends a life instead of failing it.
    pub faults_expected: bool,
    /// Long lives keep what the newest epoch should hold, not what each should.
    pub keep_only_newest: bool,
    pub(crate) free: Vec<PageRef>,
    pub(crate) time_ns: u64,
    /// Puts into the epoch that gathers.
    pub(crate) puts: u64,
    pub(crate) last_begun: Option<Epoch>,
    opened: Option<OpenReport>,
    reads: Vec<(u64, Result<PageSource, ReadError>)>,
}

impl<'a> Life<'a> {
    /// Formats a disk.
    pub fn format(arena: &'a mut Arena, disk: SimDisk, config: Config, options: FormatOptions) -> Self {
        let free = arena.caller_pages().collect();
        Self::new(Store::format(arena.memory(), disk, config, options), free, History::default())
    }

    /// Opens a disk.
    pub fn open(arena: &'a mut Arena, disk: SimDisk, config: Config, epoch: Option<Epoch>, history: History) -> Self {
        let free = arena.caller_pages().collect();
        Self::new(Store::open(arena.memory(), disk, config, epoch), free, history)
    }

    fn new(store: Store<'a, SimDisk>, free: Vec<PageRef>, history: History) -> Self {
        Self {
            store,
            history,
            model: Model::default(),
            tally: Tally::default(),
            faults_expected: false,
            keep_only_newest: false,
            free,
            time_ns: 1,
            puts: 0,
            last_begun: None,
            opened: None,
            reads: Vec::new(),
        }
    }

    /// Polls until `done`, or the power goes, or the store says that it cannot.
    pub(crate) fn until(&mut self, what: &'static str, done: impl Fn(&Self) -> bool) -> Lived<()> {
        for _ in 0..POLLS_MAX {
            if done(self) {
                return Ok(());
            }
            if self.store.host_mut().is_dead() {
                return Err(Ok(Ended::Cut));
            }
            let Some(event) = self.store.poll() else {
                continue;
            };
            self.take(event)?;
        }
        Err(Err(LifeError::Hung(what)))
    }

    pub(crate) fn take(&mut self, event: Event) -> Lived<()> {
        self.history.vouched = self.history.vouched.max(self.store.vouched());
        match event {
            Event::Opened(report) => self.opened = Some(report),
            Event::Refused(refusal) => return Err(Ok(Ended::Refused(refusal))),
            Event::IncarnationDurable(_) => {}
            Event::PageWritten(page) => {
                assert!(!self.free.contains(&page), "a page is handed back once");
                self.free.push(page);
            }
            Event::Committed(epoch) => {
                if self.history.model(epoch).is_some() {
                    self.history.acknowledged = epoch;
                }
                self.tally.add("epochs committed", 1);
            }
            Event::PageRead { token, result } => self.reads.push((token, result)),
            Event::CheckpointDurable(_) => {
                self.tally.add("checkpoints", 1);
                let root = self.store.root();
                let wrapped = root.sequence > u64::from(self.store.geometry().root_slots());
                self.tally.add("root ring wrapped", u64::from(wrapped));
            }
            Event::Retired => self.tally.add("checkpoints retired on demand", 1),
            Event::Failed(failure) if self.faults_expected => return Err(Ok(Ended::Stopped(failure))),
            Event::Failed(failure) => return Err(Err(LifeError::Stopped(failure))),
        }
        Ok(())
    }

    /// Waits for the opening, and checks that the epoch is one that was promised.
    pub fn opened(&mut self) -> Lived<OpenReport> {
        self.until("opening", |life| life.opened.is_some())?;
        let Some(report) = self.opened else {
            return Err(Err(LifeError::Hung("opening")));
        };
        for case in Case::ALL.into_iter().filter(|case| report.met(*case)) {
            self.tally.add(Tally::case_name(case), 1);
        }
        let epoch = report.epoch;
        if std::env::var("STORE_TRACE").is_ok() {
            let cases: Vec<_> = Case::ALL.into_iter().filter(|case| report.met(*case)).collect();
            println!("opened {epoch} acknowledged {} {cases:?} {report:?}", self.history.acknowledged);
        }
        let asked = report.met(Case::AskedFor);
        let known = epoch == Epoch::NONE || self.history.model(epoch).is_some();
        let promised = if self.faults_expected { self.history.vouched } else { self.history.acknowledged };
        if !known || epoch < promised && !asked {
            return Err(Err(LifeError::WrongEpoch(epoch, promised)));
        }
        // The last epochs, which nothing proves yet: where they lay something else lies now, as after a cut.
        self.tally.add("damage: unproven epochs lost", u64::from(epoch < self.history.acknowledged && !asked));
        self.model = self.history.model(epoch).cloned().unwrap_or_default();
        Ok(report)
    }

    /// The epoch that was opened, if it came to that.
    pub fn opened_epoch(&self) -> Option<Epoch> {
        self.opened.map(|report| report.epoch)
    }

    /// Begins an incarnation; what was sealed behind the epoch that was opened is no more.
    pub fn incarnate(&mut self) -> Lived<()> {
        let epoch = self.store.head();
        if self.store.new_incarnation().is_err() {
            return Err(Err(LifeError::Hung("incarnation")));
        }
        let incarnation = self.store.root().incarnation + 1;
        self.until("incarnation", |life| life.store.root().incarnation == incarnation)?;
        self.history.rewind(epoch);
        Ok(())
    }

    /// Reads everything and compares it with the model. A page that the store reports as damaged is an error unless
    /// faults are expected; then it is counted.
    pub fn check_all(&mut self) -> Lived<()> {
        let epoch = self.store.head();
        let mut keys: Vec<(u64, u64)> = self.model.pages.keys().copied().collect();
        // And some that should not be there.
        keys.extend((0..4).flat_map(|object| [(object, 3), (object, 17), (object, 5000)]));
        for (object, index) in keys {
            self.check_page(epoch, object, index)?;
        }
        self.check_records(epoch)
    }

    /// Reads one page and compares it with the model.
    pub fn check_page(&mut self, epoch: Epoch, object: u64, index: u64) -> Lived<()> {
        self.until("free page", |life| !life.free.is_empty())?;
        let Some(into) = self.free.pop() else {
            return Err(Err(LifeError::Hung("free page")));
        };
        let source = match self.store.read_page(object << 32 | index, object, index, into) {
            Ok(Answer::Now(source)) => Ok(source),
            Ok(Answer::Later) => {
                self.until("read", |life| !life.reads.is_empty())?;
                self.reads.pop().map_or(Err(ReadError::Busy), |(_, result)| result)
            }
            Err(error) => Err(error),
        };
        self.free.push(into);
        let expected = self.model.pages.get(&(object, index)).copied();
        let wrong = |what| Err(Err(LifeError::WrongPage(epoch, object, index, what)));
        match (source, expected) {
            (Err(_), _) if self.faults_expected => {
                self.tally.add("damage: page refused", 1);
                Ok(())
            }
            (Err(error), _) => Err(Err(LifeError::Unreadable(epoch, object, index, error))),
            (Ok(PageSource::Absent), None) | (Ok(PageSource::Zero), Some(0)) => Ok(()),
            (Ok(PageSource::Disk), Some(content)) if content > 0 => {
                let mut bytes = [0; 4096];
                fill(content, &mut bytes);
                if self.host_bytes(into) == &bytes { Ok(()) } else { wrong("other contents") }
            }
            (Ok(PageSource::Absent), Some(_)) => wrong("absent"),
            (Ok(_), None) => wrong("should be absent"),
            (Ok(PageSource::Zero), Some(_)) => wrong("zero"),
            (Ok(PageSource::Disk), Some(_)) => wrong("should be zero"),
        }
    }

    fn host_bytes(&mut self, page: PageRef) -> &format::BlockBytes {
        snapshot_server::PageMemory::bytes(self.store.host_mut(), page)
    }

    /// Goes through everything that the store says it holds and compares it with the model.
    pub fn check_records(&mut self, epoch: Epoch) -> Lived<()> {
        let mut found = Model::default();
        let mut from = format::Key::default();
        let mut out = [0; format::RECORD_BYTES_MAX];
        for _ in 0..POLLS_MAX {
            let (key, count) = match self.store.next_item(from, &mut out) {
                ItemStep::Pending => {
                    if self.store.host_mut().is_dead() {
                        return Err(Ok(Ended::Cut));
                    }
                    if let Some(event) = self.store.poll() {
                        self.take(event)?;
                    }
                    continue;
                }
                ItemStep::Page(key) => {
                    let content = self.model.pages.get(&(key.object, key.index)).copied().unwrap_or(0);
                    found.pages.insert((key.object, key.index), content.max(1));
                    (key, 1)
                }
                ItemStep::Zero(key, count) => {
                    found.pages.extend((key.index..key.index + count).map(|index| ((key.object, index), 0)));
                    (key, count)
                }
                ItemStep::Record(key, length) => {
                    let name = key.as_record().unwrap_or_default();
                    found.records.insert(name, out[..length].to_vec());
                    (key, 1)
                }
                ItemStep::End if found == self.model => return Ok(()),
                ItemStep::End => return Err(Err(LifeError::WrongRecords(epoch))),
                ItemStep::Failed(_) if self.faults_expected => {
                    self.tally.add("damage: records refused", 1);
                    return Ok(());
                }
                ItemStep::Failed(_) => return Err(Err(LifeError::WrongRecords(epoch))),
            };
            from = format::Key { object: key.object, index: key.index + count };
        }
        Err(Err(LifeError::Hung("items")))
    }
}
