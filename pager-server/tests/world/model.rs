//! What the world's memory should hold: flat, without frames, epochs or trees.

use super::kernel::Bytes;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The pager's id of it.
    pub id: u32,
    pub pages: Vec<Bytes>,
    pub transient: bool,
    pub space: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    pub page: u64,
    pub pages: u64,
    pub object: u32,
    pub object_page: u64,
    pub write: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub id: u32,
    pub regions: Vec<Region>,
}

/// Objects and spaces, by numbers of the test's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub objects: BTreeMap<u32, Object>,
    pub spaces: BTreeMap<u32, Space>,
    /// Which object a space lends.
    pub lent: BTreeMap<u32, u32>,
    pub next: u32,
}

impl Model {
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Object and page there, and whether it may be written; `None`: an access stops the thread.
    pub fn find(&self, space: u32, page: u64) -> Option<(u32, usize, bool)> {
        let region = self.spaces.get(&space)?.regions.iter().find(|r| (r.page..r.page + r.pages).contains(&page))?;
        self.objects.get(&region.object)?;
        Some((region.object, (region.object_page + page - region.page) as usize, region.write))
    }

    /// As it is after a restore.
    pub fn restored(&self) -> Self {
        let mut model = self.clone();
        for object in model.objects.values_mut().filter(|object| object.transient) {
            object.pages.fill([0; 4]);
        }
        model
    }

    pub fn destroy_object(&mut self, object: u32) {
        self.objects.remove(&object);
        self.lent.retain(|_, lent| *lent != object);
    }

    pub fn destroy_space(&mut self, space: u32) {
        self.spaces.remove(&space);
        self.objects.retain(|_, object| object.space != space);
        let Self { objects, lent, .. } = self;
        lent.retain(|by, object| *by != space && objects.contains_key(object));
    }

    pub fn unmap(&mut self, space: u32, from: u64, to: u64) {
        let Some(space) = self.spaces.get_mut(&space) else { return };
        let mut kept = Vec::new();
        for region in space.regions.drain(..) {
            let end = region.page + region.pages;
            if region.page < from {
                let pages = end.min(from) - region.page;
                kept.push(Region { pages, ..region.clone() });
            }
            if end > to {
                let start = region.page.max(to);
                let object_page = region.object_page + (start - region.page);
                kept.push(Region { page: start, pages: end - start, object_page, ..region });
            }
        }
        space.regions = kept;
    }
}
