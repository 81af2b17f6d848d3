//! One step of a random run, and runs until all is done.

use super::model::Space;
use super::{PAGE, World};
use abi::protocol::paging::ToPager;

impl World {
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
            27..=28 => self.do_lend(),
            29..=90 => self.do_access(),
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

    /// A space lends an object, or another process borrows.
    fn do_lend(&mut self) {
        if self.random.one_in(6) {
            return self.change_borrower();
        }
        if let (Some(space), Some(object)) = (self.a_space(), self.an_object()) {
            self.lend(space, object);
        }
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
            let still = store.from_pager.is_empty() && store.to_pager.is_empty() && store.told.is_empty();
            if !alive && still && self.is_lent_shown() {
                self.check_lent();
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
}
