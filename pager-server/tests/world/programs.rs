//! What programs ask of the memory port, and what they touch.

use super::kernel::{Effect, Op, Thread, Where};
use super::model::{Object, Region, Space};
use super::{PAGE, World};
use abi::MapFlags;
use abi::protocol::lent::LentName;
use abi::protocol::memory::{Badge, Error, ObjectFlags, Request};
use abi::protocol::service::Service;

impl World {
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

    /// A space lends an object; whether the pager allowed it.
    pub fn lend(&mut self, space: u32, object: u32) -> bool {
        let transient = self.outside.kernel.model.objects[&object].transient;
        let effect: Effect = Box::new(move |model, answered| {
            if answered.tag == 0 {
                model.lent.insert(space, object);
            }
        });
        let (badge, cap) = (self.space_badge(space), self.object_badge(object));
        let words = [Service::Console as u64, 0, 0, 0];
        let answered = self.request(badge, Request::Lend, words, Some(cap), effect).expect("answered");
        assert_eq!(answered.tag, if transient { Error::BadArgument as u64 } else { 0 });
        answered.tag == 0
    }

    /// Another process borrows.
    pub fn change_borrower(&mut self) {
        self.outside.kernel.new_borrower();
        self.pager.borrower_changed(&mut self.outside);
    }

    /// Whether all is shown that `check_lent` asks for; until there is memory for it, it need not be.
    pub fn is_lent_shown(&self) -> bool {
        let kernel = &self.outside.kernel;
        let mut lent = kernel.model.lent.values().map(|object| &kernel.model.objects[object]);
        lent.all(|object| {
            let shown = kernel.names.values().any(|name| *name == LentName::of_object(object.id));
            shown || object.pages[0] == [0; 4]
        })
    }

    /// What is lent and was ever written is shown: the rest is zeros.
    pub fn check_lent(&self) {
        let kernel = &self.outside.kernel;
        for object in kernel.model.lent.values().map(|object| &kernel.model.objects[object]) {
            let shown = kernel.names.values().any(|name| *name == LentName::of_object(object.id));
            assert!(shown || object.pages[0] == [0; 4], "object {} is lent and not shown", object.id);
        }
        let lent: Vec<LentName> = self.pager.lent().map(|(_, name, _)| name).collect();
        assert_eq!(lent.len(), kernel.model.lent.len());
        assert!(kernel.names.values().all(|name| lent.contains(name)));
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

    /// Every space owns what the model says, no more and no less.
    pub fn check_usage(&mut self) {
        let spaces: Vec<u32> = self.outside.kernel.model.spaces.keys().copied().collect();
        for space in spaces {
            let badge = self.space_badge(space);
            let answered = self.request(badge, Request::Usage, [0; 4], None, Box::new(|_, _| {})).expect("answered");
            let model = &self.outside.kernel.model;
            let objects = model.objects.values().filter(|object| object.space == space);
            let owned: usize = objects.map(|object| object.pages.len()).sum();
            let regions = model.spaces[&space].regions.len();
            assert_eq!((answered.words[0], answered.words[2]), (owned as u64, regions as u64));
        }
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
    pub fn some_page(&mut self, space: u32) -> u64 {
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
}
