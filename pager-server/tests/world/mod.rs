//! A whole world in miniature: the pager over a kernel and a store made of maps, programs that read and write, and a
//! flat model that says what they must see, at once and after every restore.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod borrower;
pub mod kernel;
pub mod model;
mod power;
mod programs;
pub mod random;
mod steps;
pub mod store;

use abi::boot_info::{FrameRange, RANGES_MAX};
use abi::protocol::lent::LentName;
use abi::protocol::memory::{Badge, Request};
use abi::protocol::paging::{ToPager, ToStore};
use abi::{Epoch, FrameState, Handle, Status};
use kernel::{Answered, Effect, Kernel};
use model::Model;
use pager_server::{
    Answer, BorrowerLink, Config, CutPoint, FaultMessage, FirstWrite, Frames, Kernel as KernelCalls, Mapping, Note,
    Notes, Pager, ProcessName, ReplyTo, RequestMessage, StoreLink,
};
use random::Random;
use records::HostArena;
use store::{Image, Store};

/// What the pager runs in.
pub struct Outside {
    pub kernel: Kernel,
    pub store: Store,
    pub notes: Vec<Note>,
}

macro_rules! call {
    ($self:ident, $call:expr) => {{
        $self.kernel.others_run();
        let result = $call;
        $self.kernel.others_run();
        result
    }};
}

impl KernelCalls for Outside {
    fn map(&mut self, mapping: &Mapping) -> Result<(), Status> {
        call!(self, self.kernel.map(mapping))
    }
    fn unmap(&mut self, process: ProcessName, address: u64, pages: u64) -> Result<(), Status> {
        call!(self, self.kernel.unmap(process, address, pages))
    }
    fn was_accessed(&mut self, process: ProcessName, address: u64) -> bool {
        call!(self, self.kernel.was_accessed(process, address))
    }
    fn cut(&mut self) -> Result<CutPoint, Status> {
        call!(self, self.kernel.cut())
    }
    fn read_log(&mut self, position: u64, limit: u64, to: &mut [FirstWrite; 8]) -> usize {
        call!(self, self.kernel.read_log(position, limit, to))
    }
    fn donate(&mut self, frames: &[u32]) -> usize {
        call!(self, self.kernel.donate(frames))
    }
    fn set_frames(&mut self, frames: &[u32], state: FrameState) -> u8 {
        call!(self, self.kernel.set_frames(frames, state))
    }
    fn reply(&mut self, to: ReplyTo, answer: &Answer) -> Result<(), Status> {
        call!(self, self.kernel.reply(to, answer))
    }
    fn save_reply(&mut self) -> Option<Handle> {
        self.kernel.save_reply()
    }
    fn drop_reply(&mut self, to: ReplyTo) {
        self.kernel.drop_reply(to);
    }
    fn mint(&mut self, badge: u64) -> Option<Handle> {
        if self.kernel.random.one_in(40) { None } else { self.kernel.add_handle(Some(badge)) }
    }
    fn badge_of(&mut self, handle: Handle) -> Option<u64> {
        self.kernel.badge_of(handle)
    }
    fn drop_handle(&mut self, handle: Handle) {
        self.kernel.drop_handle(handle);
    }
}

impl Frames for Outside {
    fn zero(&mut self, frame: u32) {
        call!(self, self.kernel.zero(frame));
    }
    fn copy(&mut self, from: u32, to: u32) {
        call!(self, self.kernel.copy(from, to));
    }
    fn write(&mut self, frame: u32, _offset: usize, bytes: &[u8]) {
        self.kernel.write(frame, bytes);
    }
}

impl StoreLink for Outside {
    fn room(&mut self) -> usize {
        self.store.ring_max - self.store.from_pager.len()
    }
    fn send(&mut self, message: ToStore) {
        assert!(self.room() > 0, "it sends only when there is room");
        match message {
            ToStore::Dirty { frame, .. } => {
                self.kernel.lend(frame, true);
            }
            ToStore::PageIn { frame, .. } => {
                self.kernel.assert_unmapped(frame);
                self.kernel.lend(frame, true);
            }
            _ => {}
        }
        self.store.from_pager.push_back(message);
    }
    fn put_batch(&mut self, slot: u32, bytes: &[u8]) {
        assert!(self.store.batches.insert(slot, bytes.to_vec()).is_none(), "the page is the pager's");
    }
    fn get_batch(&mut self, slot: u32, to: &mut [u8]) {
        to.copy_from_slice(&self.store.restore[&slot]);
    }
}

impl BorrowerLink for Outside {
    fn show(&mut self, place: usize, frame: Option<u32>) {
        call!(self, self.kernel.show(place, frame));
    }
    fn tell(&mut self, place: usize, name: Option<LentName>) {
        call!(self, self.kernel.tell(place, name));
    }
}

impl Notes for Outside {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

/// How large the miniature is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub frames: u64,
    pub donated: u32,
    pub reserve: u32,
    /// See [`Kernel::interleave`].
    pub interleave: usize,
    /// Pages that the kernel can map at once.
    pub pool: usize,
    /// Pages that the store can take before a commit.
    pub writes: u64,
    /// Pages that it can hold.
    pub growth: u64,
}

pub struct World {
    pub pager: Pager,
    pub outside: Outside,
    pub random: Random,
    pub shape: Shape,
    /// What the world was at the cut of the committed epoch.
    pub durable: Option<Model>,
    pub incarnation: u32,
    value: u16,
}

const FIRST_FRAME: u64 = 3;
/// The first page of addresses that the tests map.
pub const PAGE: u64 = 0x10;

/// Spaces that there is room for.
const SPACES: u32 = 8;

fn config(shape: Shape, spaces: u32) -> Config {
    let mut ranges = [FrameRange::default(); RANGES_MAX];
    let half = shape.frames / 2;
    ranges[0] = FrameRange { first: FIRST_FRAME, count: half };
    ranges[1] = FrameRange { first: FIRST_FRAME + half + 5, count: shape.frames - half };
    Config {
        ranges,
        objects_max: 40,
        regions_max: 48,
        spaces_max: spaces,
        donated_frames: shape.donated,
        reserve_frames: shape.reserve,
        transient_pages_max: shape.frames / 4,
    }
}

fn outside(shape: Shape, epoch: Epoch, random: &mut Random, store: Store) -> Outside {
    let frames = (FIRST_FRAME + shape.frames + 5) as usize;
    let mut kernel = Kernel::new(frames, epoch, Random::new(random.next()));
    kernel.interleave = shape.interleave;
    kernel.pool_max = shape.pool;
    let mut store = store;
    (store.writes_max, store.growth_max) = (shape.writes, shape.growth);
    Outside { kernel, store, notes: Vec::new() }
}

impl World {
    /// A new world.
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self::with_spaces(seed, shape, SPACES)
    }

    /// A new world with room for so many spaces.
    pub fn with_spaces(seed: u64, shape: Shape, spaces: u32) -> Self {
        let mut random = Random::new(seed);
        let epoch = Epoch::first_of(1).expect("small");
        let outside = outside(shape, epoch, &mut random, Store::new(Image::default(), None));
        let pager = Pager::new(&mut HostArena, config(shape, spaces)).expect("sound");
        let mut world = Self { pager, outside, random, shape, durable: None, incarnation: 1, value: 0 };
        let room = world.outside.store.room();
        world.tell(ToPager::Room(room));
        world.tell(ToPager::Begin { epoch });
        world.settle_messages();
        assert!(world.outside.store.ready);
        world
    }

    pub fn tell(&mut self, message: ToPager) {
        let again = ToPager::from_entry(&message.entry());
        assert_eq!(again, Some(message), "it goes through the ring unchanged");
        self.pager.store_message(&mut self.outside, message).expect("the store is correct");
    }

    fn model(&mut self) -> &mut Model {
        &mut self.outside.kernel.model
    }

    /// Hands the pager one message of the store's. False when there is none, or no room for the answer.
    pub fn deliver(&mut self) -> bool {
        if self.outside.store.to_pager.is_empty() || !self.pager.can_take_store_message(&mut self.outside) {
            return false;
        }
        let message = self.outside.store.to_pager.pop_front().expect("not empty");
        self.tell(message);
        true
    }

    pub fn settle_messages(&mut self) {
        while self.outside.store.take(&mut self.outside.kernel) || self.deliver() {}
    }

    /// The pager receives one fault, if one waits and it can.
    pub fn receive(&mut self) -> bool {
        if !self.pager.can_receive() {
            return false;
        }
        let Some((process, badge, page, access)) = self.outside.kernel.receive_fault() else { return false };
        let fault = FaultMessage { badge, process: ProcessName(process), address: page * 4096 + 17, access };
        self.pager.fault(&mut self.outside, fault);
        true
    }

    /// A request; what it was answered, unless the answer was lost.
    pub fn request(
        &mut self,
        badge: Badge,
        request: Request,
        words: [u64; 4],
        cap: Option<Badge>,
        effect: Effect,
    ) -> Option<Answered> {
        let cap = cap.and_then(|badge| self.outside.kernel.add_handle(Some(badge.bits())));
        let mut all = [0; 8];
        all[..4].copy_from_slice(&words);
        self.outside.kernel.serving_request = true;
        self.outside.kernel.answered = None;
        self.outside.kernel.effect = Some(effect);
        let message = RequestMessage { badge: badge.bits(), tag: request as u64, words: all, cap };
        self.pager.request(&mut self.outside, message);
        self.outside.kernel.effect = None;
        self.outside.kernel.lose_answer = false;
        self.outside.kernel.answered
    }

    /// One of the keys, by chance.
    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.random.below(from.len())]) }
    }

    fn a_space(&mut self) -> Option<u32> {
        let all: Vec<u32> = self.outside.kernel.model.spaces.keys().copied().collect();
        self.pick(&all)
    }

    fn an_object(&mut self) -> Option<u32> {
        let all: Vec<u32> = self.outside.kernel.model.objects.keys().copied().collect();
        self.pick(&all)
    }

    fn space_badge(&self, space: u32) -> Badge {
        Badge::Space(self.outside.kernel.model.spaces[&space].id)
    }

    pub fn object_badge(&self, object: u32) -> Badge {
        Badge::Object { id: self.outside.kernel.model.objects[&object].id, write: true }
    }

    pub fn check(&self) {
        if let Err(invariant) = self.pager.check() {
            panic!("invariant {invariant}");
        }
        self.outside.kernel.check_borrowed();
    }
}
