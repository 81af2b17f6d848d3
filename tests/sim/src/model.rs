//! What the world's memory should hold, kept beside it: every word that a program reads is compared with this.

use abi::PAGE_SIZE;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const WORDS: usize = PAGE_SIZE / 8;

type Page = [u64; WORDS];

/// Pages of an object in the space of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Area {
    pages: u64,
    object: u32,
    first: u64,
}

/// The memory of the world, as it should be. Cheap to clone: pages are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    areas: BTreeMap<(u32, u64), Area>,
    pages: BTreeMap<(u32, u64), Rc<Page>>,
    transient: BTreeSet<u32>,
    next: u32,
}

impl Model {
    /// A new object of zeros.
    pub(crate) fn object(&mut self, transient: bool) -> u32 {
        self.next += 1;
        if transient {
            self.transient.insert(self.next);
        }
        self.next
    }

    /// Puts pages of an object into the space of a process.
    pub(crate) fn map(&mut self, process: u32, address: u64, pages: u64, object: u32, first: u64) {
        self.areas.insert((process, address / PAGE_SIZE as u64), Area { pages, object, first });
    }

    /// Takes what lies at an address out of the space of a process, and forgets the object.
    pub(crate) fn forget(&mut self, process: u32, address: u64) {
        if let Some(area) = self.areas.remove(&(process, address / PAGE_SIZE as u64)) {
            self.pages.retain(|&(object, _), _| object != area.object);
        }
    }

    /// A copy of the object that lies at an address.
    pub(crate) fn copy(&mut self, process: u32, address: u64) -> u32 {
        let copy = self.object(false);
        if let Some(of) = self.areas.get(&(process, address / PAGE_SIZE as u64)).map(|area| area.object) {
            let pages: Vec<_> =
                self.pages.range((of, 0)..=(of, u64::MAX)).map(|(at, page)| (at.1, page.clone())).collect();
            self.pages.extend(pages.into_iter().map(|(index, page)| ((copy, index), page)));
        }
        copy
    }

    fn place(&self, process: u32, address: u64) -> Option<(u32, u64)> {
        let page = address / PAGE_SIZE as u64;
        let (&(of, start), area) = self.areas.range(..=(process, page)).next_back()?;
        (of == process && page < start + area.pages).then_some((area.object, area.first + page - start))
    }

    /// The word at an address; `None`: nothing should be mapped there.
    pub(crate) fn read(&self, process: u32, address: u64) -> Option<u64> {
        let place = self.place(process, address)?;
        Some(self.pages.get(&place).map_or(0, |page| page[address as usize / 8 % WORDS]))
    }

    /// Writes the word at an address.
    pub(crate) fn write(&mut self, process: u32, address: u64, value: u64) {
        if let Some(place) = self.place(process, address) {
            let page = self.pages.entry(place).or_insert_with(|| Rc::new([0; WORDS]));
            Rc::make_mut(page)[address as usize / 8 % WORDS] = value;
        }
    }

    /// Fills the front of an object's page.
    pub(crate) fn fill(&mut self, object: u32, index: u64, words: &[u64]) {
        let mut page = [0; WORDS];
        page[..words.len()].copy_from_slice(words);
        self.pages.insert((object, index), Rc::new(page));
    }

    /// What a restore leaves: transient objects are zero again.
    pub(crate) fn restored(&self) -> Self {
        let mut model = self.clone();
        model.pages.retain(|(object, _), _| !self.transient.contains(object));
        model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_copied_and_forgotten() {
        let mut model = Model::default();
        let (lasting, passing) = (model.object(false), model.object(true));
        model.map(1, 0x4000, 2, lasting, 0);
        model.map(2, 0x8000, 1, lasting, 1);
        model.map(2, 0x9000, 1, passing, 0);
        model.write(1, 0x5008, 7);
        model.write(2, 0x9000, 9);
        assert_eq!((model.read(2, 0x8008), model.read(1, 0x4000), model.read(1, 0x6000)), (Some(7), Some(0), None));
        let copy = model.copy(1, 0x4000);
        model.map(1, 0xa000, 2, copy, 0);
        model.write(1, 0x5008, 8);
        assert_eq!((model.read(1, 0xb008), model.read(2, 0x8008)), (Some(7), Some(8)));
        let restored = model.restored();
        assert_eq!((restored.read(2, 0x9000), restored.read(1, 0xb008)), (Some(0), Some(7)));
        model.forget(1, 0xa000);
        assert_eq!(model.read(1, 0xb008), None);
    }
}
