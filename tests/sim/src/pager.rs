//! The pager as a process: the real library, its calls made by its thread.

use crate::actor::{Actor, Arrived};
use crate::board::{Board, Role};
use crate::init::LENT;
use crate::shared::GenesisRequest;
use abi::fault::{Access, Fault};
use abi::protocol::lent::{self, LentName};
use abi::protocol::memory::Badge;
use abi::protocol::paging::{self, Direction, RING, ToPager, ToStore};
use abi::protocol::ring::{Consumer, Producer};
use abi::{
    Call, Epoch, Event, FRAMES_BATCH_MAX, FrameState, Handle, Kind, Outcome, PAGE_SIZE, Registers, Rights, Status,
    Timeout,
};
use core::sync::atomic::AtomicU64;
use pager_server::{
    Answer, BorrowerLink, Config, CutPoint, FaultMessage, FirstWrite, Frames, Kernel, Mapping, Note, Notes, Pager,
    ProcessName, ReplyTo, RequestMessage, StoreLink,
};
use records::HostArena;

/// The pager's end of the link to the store.
struct Link<'a> {
    area: &'a [AtomicU64],
    to_store: Producer<'a>,
    from_store: Consumer<'a>,
}

/// The program.
pub(crate) struct PagerProgram<'a> {
    pager: Pager,
    link: Link<'a>,
    first_frame: u32,
    bound: bool,
    /// Who borrows, as far as it has been told.
    borrower: (Handle, u32),
    /// The thread whose fault was received last goes on with the next receive, as in the real program.
    resumes: bool,
}

impl<'a> PagerProgram<'a> {
    pub(crate) fn new(config: Config, area: &'a [AtomicU64]) -> Self {
        let ring = |direction| paging::ring_memory(area, direction).expect("the area is large enough");
        let to_store = Producer::new(ring(Direction::ToStore), RING).expect("large enough");
        let from_store = Consumer::new(ring(Direction::ToPager), RING).expect("large enough");
        let first_frame = config.ranges[0].first as u32;
        let pager = Pager::new(&mut HostArena, config).expect("a sound configuration");
        Self {
            pager,
            link: Link { area, to_store, from_store },
            first_frame,
            bound: false,
            borrower: (Handle::NULL, 0),
            resumes: false,
        }
    }

    /// Every invariant of the library. While records come back nothing has been derived from them yet.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.pager.is_ready() { self.pager.check() } else { Ok(()) }
    }

    pub(crate) fn turn(&mut self, actor: &mut Actor<'_>) {
        if !self.bound {
            actor.bind();
            self.bound = true;
        }
        let arrived = actor.arrived();
        let changed = self.hear_of_borrower(actor);
        let Self { pager, link, first_frame, resumes, .. } = self;
        let mut env = PagerEnvironment { actor: &mut *actor, link, first_frame: *first_frame, rings: false, resumes };
        match arrived.event {
            Event::Fault => {
                assert_eq!(arrived.tag, Fault::Page as u64, "an exception: {:x?}", arrived.words);
                env.actor.board.chronicle.figures.faults += 1;
                let [address, access, process, ..] = arrived.words;
                let access = Access::from_bits_retain(access);
                let fault = FaultMessage { badge: arrived.badge, process: ProcessName(process), address, access };
                pager.fault(&mut env, fault);
            }
            Event::Call => {
                let cap = (!arrived.cap.is_null()).then_some(arrived.cap);
                let Arrived { badge, tag, words, .. } = arrived;
                pager.request(&mut env, RequestMessage { badge, tag, words, cap });
            }
            _ => {}
        }
        while pager.can_take_store_message(&mut env) {
            let Some(entry) = env.link.from_store.pop().expect("a sound ring") else { break };
            env.rings = true;
            let message = ToPager::from_entry(&entry).expect("a message of a snapshot server");
            pager.store_message(&mut env, message).expect("a sound snapshot server");
        }
        if changed {
            pager.borrower_changed(&mut env);
        }
        serve_genesis(pager, &mut env);
        pager.work(&mut env);
        let rings = env.rings;
        if rings {
            actor.ring(Role::Snapshot);
        }
        let port = if pager.can_receive() { actor.given().port } else { Handle::NULL };
        match (core::mem::take(resumes), port) {
            (true, Handle::NULL) => {
                let _ = actor.reply(Handle::NULL, 0, &[], None);
                actor.wait(port, Timeout::FOREVER);
            }
            (true, port) => actor.resume_and_wait(port),
            (false, port) => actor.wait(port, Timeout::FOREVER),
        }
    }
}

impl PagerProgram<'_> {
    /// Whether another process borrows than before.
    fn hear_of_borrower(&mut self, actor: &mut Actor<'_>) -> bool {
        let given = actor.given();
        if given.borrower == self.borrower || given.port.is_null() {
            return false;
        }
        if self.borrower.1 > 0 {
            actor.drop(self.borrower.0);
        }
        self.borrower = given.borrower;
        let port = actor.must(Call::Identify, given.port, |_| {}).words[2];
        lent::begin(&actor.board.shared.lent, given.borrower.1, port);
        true
    }
}

/// Makes what init asks for.
fn serve_genesis(pager: &mut Pager, env: &mut PagerEnvironment<'_, '_, '_>) {
    let asked = core::mem::take(&mut env.board().shared.genesis);
    if asked.is_empty() {
        return;
    }
    let (mut spaces, mut objects): (Vec<Badge>, Vec<Badge>) = (Vec::new(), Vec::new());
    for request in asked {
        match request {
            GenesisRequest::Space { pages_max } => spaces.push(pager.genesis_space(pages_max).expect("room")),
            GenesisRequest::Object { space, pages, transient } => {
                objects.push(pager.genesis_object(spaces[space], pages, transient).expect("room"));
            }
            GenesisRequest::Write { object, index, bytes } => {
                pager.genesis_write(env, objects[object], index, &bytes).expect("memory");
            }
            GenesisRequest::Map { space, object, place } => {
                pager.genesis_map(spaces[space], objects[object], place).expect("a free place");
            }
        }
    }
    let board = env.board();
    board.shared.spaces = spaces;
    board.shared.genesis_done = true;
    env.actor.ring(Role::Init);
}

/// What the library needs of the outside.
struct PagerEnvironment<'e, 'b, 'a> {
    actor: &'e mut Actor<'b>,
    link: &'e mut Link<'a>,
    first_frame: u32,
    rings: bool,
    resumes: &'e mut bool,
}

impl PagerEnvironment<'_, '_, '_> {
    /// Lets the thread go on that would with the next receive.
    fn resume_now(&mut self) {
        if core::mem::take(self.resumes) {
            let _ = self.actor.reply(Handle::NULL, 0, &[], None);
        }
    }

    fn board(&mut self) -> &mut Board {
        self.actor.board
    }

    fn page_of(&self, frame: u32) -> u64 {
        u64::from(frame - self.first_frame)
    }

    fn reply_handle(to: ReplyTo) -> Handle {
        match to {
            ReplyTo::Current => Handle::NULL,
            ReplyTo::Saved(handle) => handle,
        }
    }

    fn batch(&self, frames: &[u32]) -> [u64; 8] {
        let mut words = [0; 8];
        for (word, &frame) in words.iter_mut().zip(frames) {
            *word = self.page_of(frame);
        }
        words
    }
}

fn result(frame: &Registers) -> Result<(), Status> {
    match Outcome(frame.rax).status() {
        Status::Ok => Ok(()),
        status => Err(status),
    }
}

impl Kernel for PagerEnvironment<'_, '_, '_> {
    fn map(&mut self, mapping: &Mapping) -> Result<(), Status> {
        let (given, page) = (self.actor.given(), self.page_of(mapping.frame));
        let frame = self.actor.call(Call::Map, given.port, |r| {
            r.rdi = mapping.address;
            r.words = [page, 1, mapping.flags.bits(), mapping.epoch.bits(), mapping.process.0, 0, 0, 0];
            r.caps = u64::from(given.memory.0);
        });
        result(&frame)
    }

    fn unmap(&mut self, process: ProcessName, address: u64, pages: u64) -> Result<(), Status> {
        let epoch = self.actor.given().epoch;
        let frame = self.actor.call(Call::Unmap, epoch, |r| {
            r.rdi = address;
            r.words = [pages, 0, 0, 0, process.0, 0, 0, 0];
        });
        result(&frame)
    }

    fn was_accessed(&mut self, process: ProcessName, address: u64) -> bool {
        let port = self.actor.given().port;
        let frame = self.actor.call(Call::Accessed, port, |r| {
            r.rdi = address;
            r.words = [1, 0, 0, 0, process.0, 0, 0, 0];
        });
        result(&frame).is_ok() && frame.words[0] != 0
    }

    fn cut(&mut self) -> Result<CutPoint, Status> {
        self.resume_now();
        let epoch = self.actor.given().epoch;
        let ended = self.board().kernel.epoch();
        let frame = self.actor.call(Call::Cut, epoch, |_| {});
        result(&frame)?;
        let board = self.board();
        board.chronicle.cut(&board.kernel, ended);
        let running = Epoch::from_bits(frame.rdi);
        Ok(CutPoint { running, log_position: frame.words[0], quiet: frame.words[1] == 1 })
    }

    fn read_log(&mut self, position: u64, limit: u64, to: &mut [FirstWrite; FRAMES_BATCH_MAX]) -> usize {
        let epoch = self.actor.given().epoch;
        let frame = self.actor.must(Call::ReadLog, epoch, |r| {
            r.rdi = position;
            r.words[0] = limit;
        });
        let read = frame.rdi as usize;
        for (entry, word) in to.iter_mut().zip(&frame.words[..read]) {
            let copy = (*word >> 32) as u32;
            *entry = FirstWrite { frame: *word as u32, copy: (copy != 0).then_some(copy) };
        }
        read
    }

    fn donate(&mut self, frames: &[u32]) -> usize {
        let (given, words) = (self.actor.given(), self.batch(frames));
        let frame = self.actor.must(Call::Donate, given.epoch, |r| {
            r.rdi = frames.len() as u64;
            r.words = words;
            r.caps = u64::from(given.memory.0);
        });
        frame.rdi as usize
    }

    fn set_frames(&mut self, frames: &[u32], state: FrameState) -> u8 {
        let (given, words) = (self.actor.given(), self.batch(frames));
        let frame = self.actor.must(Call::SetFrames, given.epoch, |r| {
            r.rdi = frames.len() as u64 | (state as u64) << 8;
            r.words = words;
            r.caps = u64::from(given.memory.0);
        });
        frame.rdi as u8
    }

    fn reply(&mut self, to: ReplyTo, answer: &Answer) -> Result<(), Status> {
        self.actor.reply(Self::reply_handle(to), answer.tag, &answer.words, answer.cap)
    }

    fn resume(&mut self, to: ReplyTo) {
        match to {
            ReplyTo::Current => *self.resumes = true,
            // One that is gone needs no answer.
            ReplyTo::Saved(handle) => drop(self.actor.reply(handle, 0, &[], None)),
        }
    }

    fn save_reply(&mut self) -> Option<Handle> {
        self.actor.save_reply()
    }

    fn drop_reply(&mut self, to: ReplyTo) {
        let handle = match to {
            ReplyTo::Saved(handle) => Some(handle),
            ReplyTo::Current => self.actor.save_reply(),
        };
        if let Some(handle) = handle {
            self.actor.drop(handle);
        }
    }

    fn mint(&mut self, badge: u64) -> Option<Handle> {
        let port = self.actor.given().port;
        let frame = self.actor.call(Call::Copy, port, |r| {
            r.rdi = u64::from((Rights::SEND | Rights::COPY).bits());
            r.words = [badge, 0, 0, 0, 0, 0, 0, 0];
        });
        result(&frame).ok().map(|()| Handle(frame.rdi as u16))
    }

    fn badge_of(&mut self, handle: Handle) -> Option<u64> {
        let port = self.actor.given().port;
        let own = self.actor.must(Call::Identify, port, |_| {});
        let frame = self.actor.call(Call::Identify, handle, |_| {});
        result(&frame).ok()?;
        let same = frame.rdi as u8 == Kind::Endpoint as u8 && frame.words[2] == own.words[2];
        same.then_some(frame.words[1])
    }

    fn drop_handle(&mut self, handle: Handle) {
        self.actor.drop(handle);
    }
}

impl Frames for PagerEnvironment<'_, '_, '_> {
    fn zero(&mut self, frame: u32) {
        self.board().machine.bytes(frame).fill(0);
    }

    fn copy(&mut self, from: u32, to: u32) {
        let bytes = *self.board().machine.bytes(from);
        *self.board().machine.bytes(to) = bytes;
    }

    fn write(&mut self, frame: u32, offset: usize, bytes: &[u8]) {
        self.board().machine.bytes(frame)[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl StoreLink for PagerEnvironment<'_, '_, '_> {
    fn room(&mut self) -> usize {
        self.link.to_store.room().expect("a sound ring") as usize
    }

    fn send(&mut self, message: ToStore) {
        match message {
            ToStore::Dirty { frame, .. } => {
                self.board().shared.handed.push(frame);
                self.board().chronicle.figures.handed += 1;
            }
            ToStore::Waits { writers: true } => self.board().chronicle.figures.writers_waited += 1,
            ToStore::Waits { writers: false } => self.board().chronicle.figures.writers_went_on += 1,
            ToStore::CutDone { ended, quiet: true, .. } => self.board().chronicle.quiet(ended),
            _ => {}
        }
        self.link.to_store.push(&message.entry()).expect("there is room");
        self.rings = true;
    }

    fn put_batch(&mut self, slot: u32, bytes: &[u8]) {
        assert!(paging::put_batch(self.link.area, Direction::ToStore, slot, bytes));
    }

    fn get_batch(&mut self, slot: u32, to: &mut [u8]) {
        assert!(paging::get_batch(self.link.area, Direction::ToPager, slot, to));
    }
}

impl BorrowerLink for PagerEnvironment<'_, '_, '_> {
    fn show(&mut self, place: usize, frame: Option<u32>) {
        let given = self.actor.given();
        let (memory, page) = frame.map_or((given.blank, 0), |frame| (given.memory, self.page_of(frame)));
        let mapped = self.actor.call(Call::Map, given.borrower.0, |r| {
            r.rdi = LENT + (place * PAGE_SIZE) as u64;
            r.words = [page, 1, 0, 0, 0, 0, 0, 0];
            r.caps = u64::from(memory.0);
        });
        let gone = [Status::PeerDied, Status::Revoked, Status::BadHandle];
        if let Err(status) = result(&mapped) {
            assert!(gone.contains(&status), "a lent page is not mapped: {status:?}");
        }
    }

    fn tell(&mut self, place: usize, name: Option<LentName>) {
        lent::tell(&self.board().shared.lent, place, name);
        self.actor.ring(Role::Console);
    }
}

impl Notes for PagerEnvironment<'_, '_, '_> {
    fn note(&mut self, note: Note) {
        match note {
            Note::StoreFull => self.board().chronicle.figures.disks_full += 1,
            _ => panic!("the pager says {note:?}"),
        }
    }
}
