//! A whole world in miniature: the pager over a kernel and a store made of maps, programs that read and write, and a
//! flat model that says what they must see, at once and after every restore.
#![allow(missing_docs, unreachable_pub, dead_code)]

pub mod kernel;
pub mod model;
pub mod random;
pub mod store;

use abi::boot_info::{FrameRange, RANGES_MAX};
use abi::protocol::memory::{Badge, Error, ObjectFlags, Request};
use abi::protocol::paging::{ToPager, ToStore};
use abi::record::BatchWriter;
use abi::{Epoch, FrameState, Handle, MapFlags, Status};
use kernel::{Answered, Effect, Kernel, Op, Thread, Where};
use model::{Model, Object, Region, Space};
use pager_server::{
    Answer, Config, CutPoint, FaultMessage, FirstWrite, Frames, Kernel as KernelCalls, Mapping, Note, Notes, Pager,
    ProcessName, ReplyTo, RequestMessage, StoreLink,
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
    fn cut(&mut self) -> Result<CutPoint, Status> {
        call!(self, self.kernel.cut())
    }
    fn read_log(&mut self, position: u64, to: &mut [FirstWrite; 8]) -> usize {
        call!(self, self.kernel.read_log(position, to))
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

fn config(shape: Shape) -> Config {
    let mut ranges = [FrameRange::default(); RANGES_MAX];
    let half = shape.frames / 2;
    ranges[0] = FrameRange { first: FIRST_FRAME, count: half };
    ranges[1] = FrameRange { first: FIRST_FRAME + half + 5, count: shape.frames - half };
    Config {
        ranges,
        objects_max: 40,
        regions_max: 48,
        spaces_max: 8,
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
    Outside { kernel, store, notes: Vec::new() }
}

impl World {
    /// A new world.
    pub fn new(seed: u64, shape: Shape) -> Self {
        let mut random = Random::new(seed);
        let epoch = Epoch::first_of(1).expect("small");
        let outside = outside(shape, epoch, &mut random, Store::new(Image::default(), None));
        let pager = Pager::new(&mut HostArena, config(shape)).expect("sound");
        let mut world = Self { pager, outside, random, shape, durable: None, incarnation: 1, value: 0 };
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

    // ---- what programs do --------------------------------------------------------------------------------------

    pub fn create_space(&mut self) -> Option<u32> {
        let number = self.model().number();
        let effect: Effect = Box::new(move |model, answered| {
            if let Some(Badge::Space(id)) = answered.badge.and_then(Badge::from_bits) {
                model.spaces.insert(number, Space { id, regions: Vec::new() });
            }
        });
        let answered = self.request(Badge::Root, Request::CreateSpace, [60, 0, 0, 0], None, effect)?;
        answered.badge?;
        let badge = self.space_badge(number).bits();
        self.outside.kernel.new_process(number, badge);
        Some(number)
    }

    pub fn create_object(&mut self, space: u32, pages: u64, transient: bool) -> Option<u32> {
        let number = self.model().number();
        let effect: Effect = Box::new(move |model, answered| {
            if let Some(Badge::Object { id, write: true }) = answered.badge.and_then(Badge::from_bits) {
                let pages = vec![[0; 4]; pages as usize];
                model.objects.insert(number, Object { id, pages, transient, space });
            }
        });
        let flags = if transient { ObjectFlags::TRANSIENT.bits() } else { 0 };
        let badge = self.space_badge(space);
        let answered = self.request(badge, Request::CreateObject, [pages, flags, 0, 0], None, effect)?;
        answered.badge.map(|_| number)
    }

    pub fn copy_object(&mut self, object: u32, space: u32) -> Option<u32> {
        let number = self.model().number();
        let effect: Effect = Box::new(move |model, answered| {
            if let Some(Badge::Object { id, .. }) = answered.badge.and_then(Badge::from_bits) {
                let copy = Object { id, space, ..model.objects[&object].clone() };
                model.objects.insert(number, copy);
            }
        });
        let (badge, cap) = (self.object_badge(object), self.space_badge(space));
        let answered = self.request(badge, Request::CopyObject, [0; 4], Some(cap), effect)?;
        answered.badge.map(|_| number)
    }

    pub fn destroy_object(&mut self, object: u32) {
        let effect: Effect = Box::new(move |model, answered| {
            assert_eq!(answered.tag, 0);
            model.destroy_object(object);
        });
        let badge = self.object_badge(object);
        let answered = self.request(badge, Request::DestroyObject, [0; 4], None, effect).expect("answered");
        assert_eq!(answered.tag, 0);
    }

    pub fn destroy_space(&mut self, space: u32) {
        let effect: Effect = Box::new(move |model, _| model.destroy_space(space));
        let badge = self.space_badge(space);
        self.request(badge, Request::DestroySpace, [0; 4], None, effect).expect("answered");
    }

    /// Maps pages of an object at a page of a space; whether the pager allowed it.
    pub fn map(&mut self, space: u32, object: u32, page: u64, object_page: u64, pages: u64, write: bool) -> bool {
        let known = &self.outside.kernel.model.spaces[&space].regions;
        let overlaps = known.iter().any(|region| region.page < page + pages && page < region.page + region.pages);
        let within = object_page + pages <= self.outside.kernel.model.objects[&object].pages.len() as u64;
        let effect: Effect = Box::new(move |model, answered| {
            if answered.tag == 0 {
                let region = Region { page, pages, object, object_page, write };
                model.spaces.get_mut(&space).expect("it maps").regions.push(region);
            }
        });
        let flags = if write { MapFlags::WRITE.bits() } else { 0 };
        let (badge, cap) = (self.space_badge(space), self.object_badge(object));
        let words = [page * 4096, pages, object_page, flags];
        let answered = self.request(badge, Request::MapRegion, words, Some(cap), effect).expect("answered");
        let refused = [Error::Overlap as u64, Error::BadArgument as u64, Error::TablesExhausted as u64];
        match answered.tag {
            0 => assert!(!overlaps && within),
            tag => assert!(refused.contains(&tag) && (overlaps || !within || tag == refused[2])),
        }
        answered.tag == 0
    }

    pub fn unmap(&mut self, space: u32, page: u64, pages: u64) {
        let effect: Effect = Box::new(move |model, answered| {
            if answered.tag == 0 {
                model.unmap(space, page, page + pages);
            }
        });
        let badge = self.space_badge(space);
        self.request(badge, Request::UnmapRegion, [page * 4096, pages, 0, 0], None, effect).expect("answered");
    }

    /// A thread of a process of `space` is about to make an access.
    pub fn access(&mut self, space: u32, page: u64, write: bool) {
        let users: Vec<u64> =
            self.outside.kernel.processes.iter().filter(|(_, p)| p.space == space).map(|(&name, _)| name).collect();
        let Some(process) = self.pick(&users) else { return };
        self.value = self.value.wrapping_add(1);
        let op = if write { Op::Write { at: self.random.below(4), value: self.value } } else { Op::Read };
        self.outside.kernel.threads.push(Thread { process, page, op, state: Where::Ready });
    }

    /// A page that some region maps, or (rarely) any page.
    fn some_page(&mut self, space: u32) -> u64 {
        let model = &self.outside.kernel.model;
        let alive = |region: &&Region| model.objects.contains_key(&region.object);
        let regions: Vec<Region> = model.spaces[&space].regions.iter().filter(alive).cloned().collect();
        match self.random.one_in(60) {
            false if !regions.is_empty() => {
                // Some pages are hot: they are written again and again.
                let hot = self.random.one_in(2);
                let region = &regions[if hot { 0 } else { self.random.below(regions.len()) }];
                let pages = if hot { region.pages.min(2) } else { region.pages };
                region.page + self.random.below(pages as usize) as u64
            }
            _ => PAGE + self.random.below(80) as u64,
        }
    }

    /// The genesis: a space and an object with contents, mapped.
    pub fn genesis(&mut self, pages: u64) {
        let space = self.pager.genesis_space(80).expect("room");
        let object = self.pager.genesis_object(space, pages, false).expect("room");
        let (Badge::Space(space_id), Badge::Object { id, .. }) = (space, object) else { panic!("badges") };
        let mut contents = vec![[0; 4]; pages as usize];
        for (index, page) in contents.iter_mut().enumerate().filter(|(index, _)| index % 3 != 2) {
            *page = [index as u16 + 1000; 4];
            let bytes: Vec<u8> = page.iter().flat_map(|word| word.to_le_bytes()).collect();
            let written = self.pager.genesis_write(&mut self.outside, object, index as u64, &bytes);
            written.expect("a new world has memory");
        }
        self.pager.genesis_map(space, object, [PAGE * 4096, pages, 0, MapFlags::WRITE.bits()]).expect("room");
        let (space_number, number) = (self.model().number(), self.model().number());
        let region = Region { page: PAGE, pages, object: number, object_page: 0, write: true };
        self.model().spaces.insert(space_number, Space { id: space_id, regions: vec![region] });
        let object = Object { id, pages: contents, transient: false, space: space_number };
        self.model().objects.insert(number, object);
        self.outside.kernel.new_process(space_number, space.bits());
    }

    // ---- one step ----------------------------------------------------------------------------------------------

    /// Does what `action` (a number; which of all that can happen) says, with details by chance.
    pub fn step(&mut self, action: u8) {
        match action {
            0..=1 if self.outside.kernel.model.spaces.len() < 4 => drop(self.create_space()),
            2..=7 => self.do_create_object(),
            8..=15 => self.do_map(),
            16..=19 => self.do_copy(),
            20..=22 => self.do_destroy(),
            23..=24 => self.do_unmap(),
            25..=26 => self.do_process(),
            27..=90 => self.do_access(),
            91..=130 => drop(self.receive() && self.receive()),
            131..=170 => (0..8).for_each(|_| self.outside.kernel.run_any()),
            171..=174 => self.outside.store.to_pager.push_back(ToPager::Cut),
            175..=178 => self.outside.kernel.exported = true,
            179..=194 => drop(self.outside.store.take(&mut self.outside.kernel)),
            195..=210 => drop(self.outside.store.read_one(&mut self.outside.kernel, &mut self.random)),
            211..=226 => drop(self.outside.store.answer_one(&mut self.outside.kernel, &mut self.random)),
            227..=246 => drop(self.deliver()),
            247..=250 => drop(self.commit()),
            251..=252 => self.burst(),
            _ => self.pager.work(&mut self.outside),
        }
    }

    /// The store gets a lot done.
    fn burst(&mut self) {
        for _ in 0..20 {
            self.outside.store.take(&mut self.outside.kernel);
            self.outside.store.read_one(&mut self.outside.kernel, &mut self.random);
            self.outside.store.answer_one(&mut self.outside.kernel, &mut self.random);
            self.deliver();
            self.receive();
        }
    }

    fn do_create_object(&mut self) {
        let Some(space) = self.a_space() else { return };
        self.outside.kernel.lose_answer = self.random.one_in(12);
        let (pages, transient) = (1 + self.random.below(10) as u64, self.random.one_in(6));
        if let Some(object) = self.create_object(space, pages, transient) {
            let page = PAGE + self.random.below(70) as u64;
            self.map(space, object, page, 0, pages, true);
        }
    }

    fn do_map(&mut self) {
        let (Some(space), Some(object)) = (self.a_space(), self.an_object()) else { return };
        let size = self.outside.kernel.model.objects[&object].pages.len();
        let from = self.random.below(size);
        let pages = 1 + self.random.below(size - from);
        let page = PAGE + self.random.below(70) as u64;
        let write = !self.random.one_in(4);
        self.map(space, object, page, from as u64, pages as u64, write);
    }

    fn do_copy(&mut self) {
        let (Some(space), Some(object)) = (self.a_space(), self.an_object()) else { return };
        self.outside.kernel.lose_answer = self.random.one_in(8);
        self.copy_object(object, space);
    }

    fn do_destroy(&mut self) {
        if self.random.one_in(40) {
            if let Some(space) = self.a_space() {
                self.destroy_space(space);
            }
        } else if let Some(object) = self.an_object()
            && (self.outside.kernel.model.objects.len() > 5 || self.random.one_in(5))
        {
            self.destroy_object(object);
        }
    }

    fn do_unmap(&mut self) {
        let Some(space) = self.a_space() else { return };
        let (page, pages) = (PAGE + self.random.below(70) as u64, 1 + self.random.below(12) as u64);
        self.unmap(space, page, pages);
    }

    /// A process dies, or a further one takes a space over.
    fn do_process(&mut self) {
        let Some(space) = self.a_space() else { return };
        let users: Vec<u64> =
            self.outside.kernel.processes.iter().filter(|(_, p)| p.space == space).map(|(&name, _)| name).collect();
        if (users.len() > 1 || self.random.one_in(2))
            && let Some(process) = self.pick(&users)
        {
            self.outside.kernel.kill_process(process);
        }
        if users.len() < 2 {
            let badge = self.space_badge(space).bits();
            self.outside.kernel.new_process(space, badge);
        }
    }

    fn do_access(&mut self) {
        let mapped = |(&number, space): (&u32, &Space)| (!space.regions.is_empty()).then_some(number);
        let spaces: Vec<u32> = self.outside.kernel.model.spaces.iter().filter_map(mapped).collect();
        let Some(space) = self.pick(&spaces) else { return };
        for _ in 0..=self.random.below(6) {
            if self.outside.kernel.threads.len() < 60 {
                let page = self.some_page(space);
                let may_write = self.outside.kernel.model.find(space, page).is_some_and(|found| found.2);
                let write = if may_write { !self.random.one_in(3) } else { self.random.one_in(20) };
                self.access(space, page, write);
            }
        }
    }

    /// Commits the oldest epoch, if it is complete. True when it did.
    pub fn commit(&mut self) -> bool {
        let Some(epoch) = self.outside.store.can_commit() else { return false };
        self.outside.store.commit(epoch);
        let model = self.outside.kernel.snapshots.remove(&epoch.bits()).expect("it was cut");
        self.durable = Some(model);
        true
    }

    // ---- power cut and restore -----------------------------------------------------------------------------------

    /// The power goes; the world comes back from the committed epoch. `after` batches of records the power goes once
    /// more.
    pub fn crash(&mut self, after: Option<usize>) {
        let Some(durable) = self.durable.clone() else { return };
        self.restart();
        self.outside.kernel.model = durable.restored();
        if !self.give_back(after) {
            return self.crash(None);
        }
        assert_eq!(self.outside.store.refused, None);
        assert!(self.outside.store.ready);
        let spaces: Vec<u32> = self.outside.kernel.model.spaces.keys().copied().collect();
        for space in spaces {
            let badge = self.space_badge(space).bits();
            self.outside.kernel.new_process(space, badge);
        }
    }

    /// Gives the records of the store's image to a new pager, whatever it says.
    pub fn try_restore(&mut self) {
        self.restart();
        self.give_back(None);
    }

    /// A new machine, over the same disk.
    fn restart(&mut self) {
        self.incarnation += 1;
        let epoch = Epoch::first_of(self.incarnation).expect("few restores");
        let store = Store::new(self.outside.store.image.clone(), self.outside.store.committed);
        let figures = self.outside.kernel.figures;
        let page_ins = self.outside.store.page_ins;
        self.outside = outside(self.shape, epoch, &mut self.random, store);
        self.outside.kernel.figures = figures;
        self.outside.store.page_ins = page_ins;
        self.pager = Pager::new(&mut HostArena, config(self.shape)).expect("sound");
    }

    /// False: the power went after so many batches.
    fn give_back(&mut self, after: Option<usize>) -> bool {
        for (count, batch) in self.record_batches().iter().enumerate() {
            if after == Some(count) {
                return false;
            }
            self.outside.store.restore.insert(1, batch.clone());
            self.tell(ToPager::Restore { slot: 1, bytes: batch.len() as u32 });
            self.settle_messages();
        }
        let epoch = self.outside.kernel.epoch;
        self.tell(ToPager::RestoreEnd { epoch });
        self.settle_messages();
        true
    }

    pub fn record_batches(&self) -> Vec<Vec<u8>> {
        let mut batches = Vec::new();
        let mut left: Vec<_> = self.outside.store.image.records.iter().collect();
        while !left.is_empty() {
            let mut page = vec![0; 300];
            let mut writer = BatchWriter::new(&mut page);
            while let Some(&((table, index), bytes)) = left.last() {
                if !writer.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                    break;
                }
                left.pop();
            }
            let used = writer.finish();
            page.truncate(used);
            batches.push(page);
        }
        batches
    }

    // ---- until all is done -------------------------------------------------------------------------------------

    /// Lets everything go on, with cuts, until no thread is left and nothing is under way: nothing waits for ever.
    pub fn settle(&mut self) {
        for round in 0..4000 {
            if round % 8 == 0 {
                self.outside.store.to_pager.push_back(ToPager::Cut);
            }
            self.outside.kernel.exported = true;
            for _ in 0..4 {
                self.outside.kernel.run_any();
                self.receive();
            }
            while self.outside.store.take(&mut self.outside.kernel) {}
            while self.outside.store.read_one(&mut self.outside.kernel, &mut self.random) {}
            while self.outside.store.answer_one(&mut self.outside.kernel, &mut self.random) {}
            while self.deliver() {}
            self.pager.work(&mut self.outside);
            while self.commit() {}
            let orphans: Vec<u64> = self.outside.kernel.threads.iter().map(|thread| thread.process).collect();
            let alive = orphans.iter().any(|process| self.outside.kernel.processes.contains_key(process));
            let store = &self.outside.store;
            if !alive && store.from_pager.is_empty() && store.to_pager.is_empty() && store.told.is_empty() {
                return;
            }
        }
        let (kernel, store) = (&self.outside.kernel, &self.outside.store);
        panic!(
            "something waits for ever: {:?}, {:?}, {:?}, {} page-ins, to pager {:?}, from pager {:?}, told {:?}",
            kernel.threads,
            self.pager.figures(),
            kernel.figures,
            store.page_ins,
            store.to_pager,
            store.from_pager,
            store.told
        );
    }

    /// Every page of every object that lives is read (through a space of the test's own) and compared with the model.
    pub fn read_all(&mut self) {
        let objects: Vec<u32> = self.outside.kernel.model.objects.keys().copied().collect();
        let Some(space) = (0..50).find_map(|_| self.create_space()) else { return };
        for object in objects {
            let pages = self.outside.kernel.model.objects[&object].pages.len() as u64;
            if !self.map(space, object, PAGE, 0, pages, false) {
                // The tables are full: what is mapped already was read by the run.
                continue;
            }
            for page in 0..pages {
                self.access(space, PAGE + page, false);
                if page % 8 == 7 {
                    self.settle();
                }
            }
            self.settle();
            self.unmap(space, PAGE, pages);
        }
        self.destroy_space(space);
    }

    pub fn check(&self) {
        if let Err(invariant) = self.pager.check() {
            panic!("invariant {invariant}");
        }
    }
}
