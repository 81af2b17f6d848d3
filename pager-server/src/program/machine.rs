//! The library's environment: kernel calls, frames, two rings.

use core::sync::atomic::AtomicU64;
use libos::abi::protocol::lent::{self, LentName};
use libos::abi::protocol::paging::{self, Direction, ToPager, ToStore};
use libos::abi::protocol::ring::{Consumer, Producer};
use libos::abi::protocol::wiring::{self, Borrower, link};
use libos::abi::{Epoch, FRAMES_BATCH_MAX, FrameState, Handle, Kind, MapFlags, PAGE_SIZE, Rights, Status, Timeout};
use libos::{
    Capability, Endpoint, EpochControl, Failure, LentPages, MapError, Memory, Message, Notification, RangePart,
    ReceiveError, Received, SavedReply, Space, Startup, println, reply, save_reply,
};
use pager_server::{
    Answer, BorrowerLink, CutPoint, FirstWrite, Frames, Kernel, Mapping, Note, Notes, ProcessName, ReplyTo, StoreLink,
};

/// Everything that the program was given, but what init asks of it.
pub(super) struct Machine {
    epoch: EpochControl,
    ram: Memory,
    pages: LentPages,
    /// The memory port, while there is a world.
    pub(super) port: Option<Endpoint>,
    area: &'static [AtomicU64],
    to_store: Producer<'static>,
    from_store: Consumer<'static>,
    bell: Notification,
    rings: bool,
    /// What the borrower is told ([`lent`]), and its bell.
    lent: &'static [AtomicU64],
    lent_bell: Notification,
    /// Who borrows.
    borrower: Option<Borrower>,
    /// A frame of zeros that nobody writes: what the borrower sees where nothing is lent.
    blank: u32,
    /// The thread whose fault was received last goes on with the next receive: one call less.
    resumes: bool,
}

/// A window that is shared and written to.
pub(super) fn words(startup: &Startup, name: &str) -> &'static [AtomicU64] {
    match startup.window(name).shared() {
        Ok(words) => words,
        Err(error) => panic!("window {name}: {error:?}"),
    }
}

impl Machine {
    pub(super) fn new(startup: &Startup, blank: u32) -> Self {
        let area = words(startup, link::PAGING);
        let ring = |direction| paging::ring_memory(area, direction);
        let (Some(out), Some(back)) = (ring(Direction::ToStore), ring(Direction::ToPager)) else {
            panic!("the link to the snapshot server is too small")
        };
        let (Some(to_store), Some(from_store)) = (Producer::new(out, paging::RING), Consumer::new(back, paging::RING))
        else {
            panic!("the link to the snapshot server has no rings")
        };
        let Some(mut pages) = startup.window(wiring::RAM).lent() else { panic!("the memory names no frames") };
        pages.bytes_mut(blank.into()).fill(0);
        Self {
            epoch: startup.epoch(wiring::EPOCH),
            ram: startup.memory(wiring::RAM),
            pages,
            port: None,
            area,
            to_store,
            from_store,
            bell: startup.notification(link::PAGING_BELL),
            rings: false,
            lent: words(startup, link::LENT),
            lent_bell: startup.notification(link::LENT_BELL),
            borrower: None,
            blank,
            resumes: false,
        }
    }

    /// Receives from the port, for as long as it takes.
    pub(super) fn receive_from(&mut self, port: Endpoint) -> Result<Received, ReceiveError> {
        if core::mem::take(&mut self.resumes) {
            port.reply_receive(&Message::default(), Timeout::FOREVER)
        } else {
            port.receive(Timeout::FOREVER)
        }
    }

    /// Lets the thread go on that would with the next receive.
    pub(super) fn resume_now(&mut self) {
        if core::mem::take(&mut self.resumes) {
            // One that is gone needs no answer.
            let _ = reply(&Message::default());
        }
    }

    /// The snapshot server's next message.
    pub(super) fn receive(&mut self) -> Option<ToPager> {
        let entry = match self.from_store.pop() {
            Ok(entry) => entry?,
            Err(_) => panic!("the snapshot server's ring is broken"),
        };
        // Room for its next messages is worth a look.
        self.rings = true;
        let message = ToPager::from_entry(&entry);
        if message.is_none() {
            panic!("the snapshot server said {entry:x?}");
        }
        message
    }

    /// Takes note of who borrows, once there is a world. True: another process than before, to which nothing is shown yet.
    pub(super) fn borrower_is(&mut self, borrower: Option<Borrower>) -> bool {
        let (Some(now), Some(port)) = (borrower, self.port) else { return false };
        if self.borrower == borrower {
            return false;
        }
        let Ok(port) = Capability(port.0).identify() else { return false };
        if let Some(before) = self.borrower.replace(now) {
            self.drop_handle(before.process);
        }
        lent::begin(self.lent, now.life, port.object);
        true
    }

    /// Rings the snapshot server if it was sent anything, or given room.
    pub(super) fn ring(&mut self) {
        if core::mem::take(&mut self.rings) {
            // A snapshot server that is gone is init's business.
            let _ = self.bell.signal();
        }
    }

    /// The thread whose Reply is the current one does not go on.
    pub(super) fn stop_current(&mut self) {
        self.drop_reply(ReplyTo::Current);
    }

    /// The page tables of a process that the port serves.
    fn space(&self, process: ProcessName) -> Result<Space, Status> {
        let port = self.port.ok_or(Status::BadHandle)?;
        Ok(Space::Served(port, libos::ProcessName(process.0)))
    }

    /// Page of the Memory capability that a frame is.
    fn page(&self, frame: u32) -> u64 {
        u64::from(frame) - self.pages.first_frame()
    }

    fn batch(&self, frames: &[u32]) -> [u64; FRAMES_BATCH_MAX] {
        let mut batch = [0; FRAMES_BATCH_MAX];
        for (page, &frame) in batch.iter_mut().zip(frames) {
            *page = self.page(frame);
        }
        batch
    }
}

impl Kernel for Machine {
    fn map(&mut self, mapping: &Mapping) -> Result<(), Status> {
        let Mapping { process, address, frame, flags, epoch } = *mapping;
        let at = libos::Mapping { address, memory: self.ram, first_page: self.page(frame), pages: 1, flags, epoch };
        self.space(process)?.map(at).map(|_| ()).map_err(Failure::status)
    }

    fn unmap(&mut self, process: ProcessName, address: u64, pages: u64) -> Result<(), Status> {
        // Not by the port: it may have another one by now, and would keep what is given to others.
        let space = Space::OfWorld(self.epoch, libos::ProcessName(process.0));
        space.unmap(address, pages).map(|_| ()).map_err(Failure::status)
    }

    fn was_accessed(&mut self, process: ProcessName, address: u64) -> bool {
        self.space(process)
            .and_then(|space| space.accessed(address, 1).map_err(Failure::status))
            .is_ok_and(|words| words[0] != 0)
    }

    fn cut(&mut self) -> Result<CutPoint, Status> {
        self.resume_now();
        let libos::CutPoint { running, log_position, quiet } = self.epoch.cut().map_err(Failure::status)?;
        Ok(CutPoint { running, log_position, quiet })
    }

    fn read_log(&mut self, position: u64, limit: u64, to: &mut [FirstWrite; FRAMES_BATCH_MAX]) -> usize {
        let writes = match self.epoch.read_log(position, limit) {
            Ok(writes) => writes,
            Err(error) => panic!("the log of first writes: {error:?}"),
        };
        for (to, entry) in to.iter_mut().zip(writes.entries()) {
            *to = FirstWrite { frame: entry.frame, copy: (entry.copy != 0).then_some(entry.copy) };
        }
        writes.entries().len()
    }

    fn donate(&mut self, frames: &[u32]) -> usize {
        match self.epoch.donate(self.ram, &self.batch(frames)[..frames.len()]) {
            Ok(taken) => taken,
            Err(error) => panic!("donating frames: {error:?}"),
        }
    }

    fn set_frames(&mut self, frames: &[u32], state: FrameState) -> u8 {
        match self.epoch.set_frames(self.ram, state, &self.batch(frames)[..frames.len()]) {
            Ok(changed) => changed,
            Err(error) => panic!("frames to {state:?}: {error:?}"),
        }
    }

    fn reply(&mut self, to: ReplyTo, answer: &Answer) -> Result<(), Status> {
        let mut message = Message::tagged(answer.tag);
        message.words[..answer.words.len()].copy_from_slice(&answer.words);
        if let Some(cap) = answer.cap {
            message = message.cap(0, cap);
        }
        let result = match to {
            ReplyTo::Current => reply(&message),
            ReplyTo::Saved(handle) => SavedReply(handle).reply(&message),
        };
        if let Some(cap) = answer.cap {
            // The caller has its copy, or nobody has.
            self.drop_handle(cap);
        }
        result.map_err(Failure::status)
    }

    fn resume(&mut self, to: ReplyTo) {
        match to {
            ReplyTo::Current => self.resumes = true,
            ReplyTo::Saved(handle) => drop(SavedReply(handle).reply(&Message::default())),
        }
    }

    fn save_reply(&mut self) -> Option<Handle> {
        save_reply().ok().map(|saved| saved.0)
    }

    fn drop_reply(&mut self, to: ReplyTo) {
        let handle = match to {
            ReplyTo::Current => self.save_reply(),
            ReplyTo::Saved(handle) => Some(handle),
        };
        match handle {
            Some(handle) => self.drop_handle(handle),
            // No room to put it aside: the thread makes the access again, and is stopped another time.
            None => drop(reply(&Message::default())),
        }
    }

    fn mint(&mut self, badge: u64) -> Option<Handle> {
        let rights = Rights::SEND | Rights::COPY;
        let minted = Capability(self.port?.0).copy(rights, badge, RangePart::default());
        minted.ok().map(|capability| capability.0)
    }

    fn badge_of(&mut self, handle: Handle) -> Option<u64> {
        let port = Capability(self.port?.0).identify().ok()?;
        let identity = Capability(handle).identify().ok()?;
        (identity.kind == Kind::Endpoint && identity.object == port.object).then_some(identity.badge)
    }

    fn drop_handle(&mut self, handle: Handle) {
        // What cannot be dropped is gone already: its object was destroyed.
        let _ = Capability(handle).drop();
    }
}

impl Frames for Machine {
    fn zero(&mut self, frame: u32) {
        self.pages.bytes_mut(frame.into()).fill(0);
    }

    fn copy(&mut self, from: u32, to: u32) {
        let page = *self.pages.bytes(from.into());
        *self.pages.bytes_mut(to.into()) = page;
    }

    fn write(&mut self, frame: u32, offset: usize, bytes: &[u8]) {
        self.pages.bytes_mut(frame.into())[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl StoreLink for Machine {
    fn room(&mut self) -> usize {
        match self.to_store.room() {
            Ok(room) => room as usize,
            Err(_) => panic!("the snapshot server's ring is broken"),
        }
    }

    fn send(&mut self, message: ToStore) {
        if self.to_store.push(&message.entry()).is_err() {
            panic!("a message to the snapshot server without room for it");
        }
        self.rings = true;
    }

    fn put_batch(&mut self, slot: u32, bytes: &[u8]) {
        paging::put_batch(self.area, Direction::ToStore, slot, bytes);
    }

    fn get_batch(&mut self, slot: u32, to: &mut [u8]) {
        paging::get_batch(self.area, Direction::ToPager, slot, to);
    }
}

impl BorrowerLink for Machine {
    fn show(&mut self, place: usize, frame: Option<u32>) {
        let Some(Borrower { process, address, .. }) = self.borrower else { return };
        let first_page = self.page(frame.unwrap_or(self.blank));
        let at = libos::Mapping {
            address: address + (place * PAGE_SIZE) as u64,
            memory: self.ram,
            first_page,
            pages: 1,
            flags: MapFlags::empty(),
            epoch: Epoch::NONE,
        };
        match Space::Own(libos::Process(process)).map(at) {
            // A process that is gone sees nothing any more; there will be news of another.
            Ok(_) | Err(MapError::PeerDied | MapError::Revoked | MapError::BadHandle) => {}
            Err(error) => panic!("a lent page is not mapped: {error:?}"),
        }
    }

    fn tell(&mut self, place: usize, name: Option<LentName>) {
        lent::tell(self.lent, place, name);
        // A borrower that is gone looks for itself when it starts.
        let _ = self.lent_bell.signal();
    }
}

impl Notes for Machine {
    fn note(&mut self, note: Note) {
        match note {
            Note::NoRegion { process, address, access } => {
                println!("pager: process {:#x} has nothing at {address:#x} ({access:?}): its thread stops", process.0);
            }
            Note::Forbidden { process, address, access } => {
                println!("pager: process {:#x} may not do {access:?} at {address:#x}: its thread stops", process.0);
            }
            Note::Gone { process, address } => {
                println!("pager: process {:#x}: what was at {address:#x} is destroyed: its thread stops", process.0);
            }
            Note::Damaged { page } => {
                println!("pager: page {} of content {} is damaged: who needs it waits", page.index, page.content);
            }
            Note::StoreFull => {
                println!("pager: there is no room on the disk for what programs write: they wait until there is");
            }
            Note::MapRefused { process, address, status } => {
                println!("pager: process {:#x} at {address:#x}: {status:?}: its thread stops", process.0);
            }
        }
    }
}
