//! The conductor's environment: kernel calls, two rings, a shared page.

use core::sync::atomic::AtomicU64;
use format::HeaderError;
use libos::abi::protocol::paging::{self, Direction, ToPager, ToStore};
use libos::abi::protocol::ring::{Consumer, Producer};
use libos::abi::protocol::snapshot::Error;
use libos::abi::protocol::wiring::{self, EpochsPage, link};
use libos::abi::{Epoch, Handle};
use libos::{
    EpochControl, LentPages, Memory, Message, Notification, RestoreError, SavedReply, Startup, clock, println,
};
use snapshot_server::conductor::{Batch, Environment, Note, Refused};
use snapshot_server::{Case, Dropped, OpenReport, Refusal};

/// Page of the buffers through which batches of records go to and from the kernel.
pub(super) const BATCH_PAGE: u64 = 0;

/// Everything that the program was given, but the disk.
pub(super) struct Machine {
    epoch: EpochControl,
    buffers: Memory,
    pages: LentPages,
    area: &'static [AtomicU64],
    to_pager: Producer<'static>,
    from_pager: Consumer<'static>,
    epochs: &'static [AtomicU64],
    pager_bell: Notification,
    disk_bell: Notification,
    watchers: [Option<Notification>; 2],
    rings_pager: bool,
    /// Fingerprint of the programs that this build would begin a world with.
    programs: u64,
}

impl Machine {
    pub(super) fn new(startup: &Startup) -> Self {
        let area = words(startup, link::PAGING);
        let ring = |direction| paging::ring_memory(area, direction);
        let (Some(out), Some(back)) = (ring(Direction::ToPager), ring(Direction::ToStore)) else {
            panic!("the link to the pager is too small")
        };
        let (Some(to_pager), Some(from_pager)) = (Producer::new(out, paging::RING), Consumer::new(back, paging::RING))
        else {
            panic!("the link to the pager has no rings")
        };
        let Some(pages) = startup.window(wiring::BUFFERS).lent() else { panic!("the buffers name no frames") };
        Self {
            epoch: startup.epoch(wiring::EPOCH),
            buffers: startup.memory(wiring::BUFFERS),
            pages,
            area,
            to_pager,
            from_pager,
            epochs: words(startup, wiring::EPOCHS),
            pager_bell: startup.notification(link::PAGING_BELL),
            disk_bell: startup.notification(link::BLOCK_BELL),
            watchers: [link::EPOCHS_BELL, link::CONSOLE_BELL].map(|name| startup.find(name).ok().map(Notification)),
            rings_pager: false,
            programs: startup.number(wiring::option::PROGRAMS, 0),
        }
    }

    /// Fingerprint of the programs that this build would begin a world with.
    pub(super) fn programs(&self) -> u64 {
        self.programs
    }

    /// Nanoseconds that never go back while this program lives.
    pub(super) fn now(&self) -> u64 {
        clock().world_ns
    }

    /// Rings the pager if it was sent anything.
    pub(super) fn ring(&mut self) {
        if core::mem::take(&mut self.rings_pager) {
            // A pager that is gone is init's business.
            let _ = self.pager_bell.signal();
        }
    }

    pub(super) fn ring_disk(&self) {
        let _ = self.disk_bell.signal();
    }

    fn batch(&mut self) -> &mut Batch {
        let first = self.pages.first_frame();
        self.pages.bytes_mut(first + BATCH_PAGE)
    }
}

/// A window that is shared and written to.
pub(super) fn words(startup: &Startup, name: &str) -> &'static [AtomicU64] {
    match startup.window(name).shared() {
        Ok(words) => words,
        Err(error) => panic!("window {name}: {error:?}"),
    }
}

/// Says what was out of the ordinary in an opening: a disk that fails is known by it first.
fn say_what_was_met(report: &OpenReport) {
    for said in Case::ALL.into_iter().filter(|case| report.met(*case)).filter_map(Case::warning) {
        println!("snapshot: {said}");
    }
    if let Some(Dropped { epoch, key, block }) = report.dropped {
        println!("snapshot: dropped: epoch {epoch}, for page {} of object {:#x} at {block}", key.index, key.object);
    }
}

fn refused(error: RestoreError) -> Refused {
    match error {
        RestoreError::BadRecord { table, index } => (table, index),
        RestoreError::Refused(why) => {
            println!("snapshot: the kernel will not take records: {why:?}");
            (u16::MAX, 0)
        }
    }
}

impl Environment for Machine {
    fn now_ns(&mut self) -> u64 {
        self.now()
    }

    fn export(&mut self, to: &mut Batch) -> usize {
        match self.epoch.export(self.buffers, BATCH_PAGE) {
            Ok(bytes) => {
                to.copy_from_slice(self.batch());
                bytes
            }
            // An epoch without its kernel records must never commit.
            Err(error) => panic!("export: {error:?}"),
        }
    }

    fn restore(&mut self, batch: &Batch) -> Result<(), Refused> {
        *self.batch() = *batch;
        self.epoch.restore(self.buffers, BATCH_PAGE).map(|_| ()).map_err(refused)
    }

    fn resume(&mut self, first: Epoch) -> Result<(), Refused> {
        self.epoch.resume(first, 0).map_err(refused)
    }

    fn running(&mut self) -> Epoch {
        clock().epoch
    }

    fn announce(&mut self, epoch: Epoch) {
        if let Err(error) = self.epoch.committed(epoch) {
            panic!("committed {epoch}: {error:?}");
        }
    }

    fn receive(&mut self) -> Option<ToStore> {
        let entry = match self.from_pager.pop() {
            Ok(entry) => entry?,
            Err(_) => panic!("the pager's ring is broken"),
        };
        // Room for its next messages, and perhaps an answer, is worth a look.
        self.rings_pager = true;
        let message = ToStore::from_entry(&entry);
        if message.is_none() {
            panic!("the pager said {entry:x?}");
        }
        message
    }

    fn room(&mut self) -> usize {
        self.to_pager.room().map_or(0, |room| room as usize)
    }

    fn send(&mut self, message: ToPager) {
        if self.to_pager.push(&message.entry()).is_err() {
            panic!("a message to the pager without room for it");
        }
        self.rings_pager = true;
    }

    fn put_batch(&mut self, slot: u32, batch: &[u8]) {
        paging::put_batch(self.area, Direction::ToPager, slot, batch);
    }

    fn get_batch(&mut self, slot: u32, to: &mut [u8]) {
        paging::get_batch(self.area, Direction::ToStore, slot, to);
    }

    fn publish(&mut self, page: &EpochsPage) {
        page.write(self.epochs);
        for bell in self.watchers.iter().flatten() {
            let _ = bell.signal();
        }
    }

    fn answer(&mut self, caller: Handle, result: Result<Epoch, Error>) {
        let message = match result {
            Ok(epoch) => Message::default().word(0, epoch.bits()),
            Err(error) => Message::tagged(error as u64),
        };
        // A caller that has died since needs no answer.
        let _ = SavedReply(caller).reply(&message);
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Opened(report) if report.epoch == Epoch::NONE => {
                println!("snapshot: an empty store");
                say_what_was_met(&report);
            }
            Note::Opened(report) => {
                println!(
                    "snapshot: store opened at epoch {}, {} blocks read, incarnation {} was the last",
                    report.epoch, report.blocks_read, report.incarnation
                );
                say_what_was_met(&report);
                if report.programs != self.programs {
                    println!(
                        "snapshot: another build made this world, and it keeps the programs it was made with; \
                         to have those of this build begin a new one: --fresh, or another --disk"
                    );
                }
            }
            Note::Refused(Refusal::NotKept(epoch)) => {
                println!("snapshot: epoch {epoch} is not kept: nothing was changed")
            }
            Note::Refused(Refusal::Header(HeaderError::Version(version))) => println!(
                "snapshot: the store has layout version {version}; this build reads versions up to {}",
                format::VERSION
            ),
            Note::Refused(Refusal::Damaged { damage, offer: Some(epoch) }) => println!(
                "snapshot: the store is damaged: {damage}; the newest epoch that this does not touch is {epoch}: \
                 boot it with epoch={epoch} on the command line; what is newer is then given up"
            ),
            Note::Refused(Refusal::Damaged { damage, offer: None }) => {
                println!("snapshot: the store is damaged: {damage}; no older epoch is known to be whole")
            }
            Note::Refused(refusal) => println!("snapshot: the disk holds no store that can be used: {refusal:?}"),
            Note::Restored(from, first, records) => {
                println!("snapshot: the world of epoch {from} goes on as {first} ({records} records)");
            }
            Note::Began(first) => println!("snapshot: a new world begins in epoch {first}"),
            Note::BadRecord((table, index)) => println!("snapshot: record {index} of table {table} makes no world"),
            Note::Unsound((table, index), flaw) => println!(
                "snapshot: record {index} of table {table} is unsound: {flaw}; nothing is durable from now on, the last \
                 epoch stays"
            ),
            Note::FirstCommit(epoch) => println!("snapshot: epoch {epoch} is durable"),
            Note::Short(room, of) => println!("snapshot: space is short: {room} pages of {of} can still be written"),
            Note::Full => println!("snapshot: the store is full; nothing is durable from now on"),
            Note::TooSmall(needed, blocks) => println!(
                "snapshot: a new world needs a disk of {} MiB, and this one has {}: begin it on a larger one",
                needed.div_ceil(256),
                blocks / 256
            ),
            Note::StoreFailed(failure) => println!("snapshot: the store has stopped: {failure:?}"),
            Note::Damaged(content, index) => println!("snapshot: page {index} of content {content} is damaged"),
            Note::PagerBroken => println!("snapshot: the pager and this server disagree"),
        }
    }
}
