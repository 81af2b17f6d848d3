//! The references of one record, judged with all that it refers to: by the pager when a world is restored, and by
//! whoever keeps records, before an epoch commits. What needs all records at once (that no two objects share a content,
//! that regions do not overlap, what is charged to a space in all) is the pager's at the end of a restore.

use crate::record::{FREE, HIDDEN, NONE, OBJECT, ObjectRecord, PAGER_VERSION, PagerRecord, RegionRecord};
use crate::record::{SpaceRecord, parts_of};
use abi::record::Table;
use zerocopy::FromBytes;

/// Longest chain of an object and its ancestors.
pub const DEPTH_MAX: usize = 8;

/// Where records are found. Of one that was never written the value is that of a free one; `None`: there is no such
/// slot.
pub trait Graph {
    /// Why a record cannot be had now.
    type Error;

    /// The counters.
    fn counters(&mut self) -> Result<PagerRecord, Self::Error>;
    /// A memory object.
    fn object(&mut self, slot: u32) -> Result<Option<ObjectRecord>, Self::Error>;
    /// A region.
    fn region(&mut self, slot: u32) -> Result<Option<RegionRecord>, Self::Error>;
    /// A space.
    fn space(&mut self, slot: u32) -> Result<Option<SpaceRecord>, Self::Error>;
}

/// These bytes are no record of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

/// A record from its bytes, valid by itself.
///
/// # Errors
/// [`Misfit`]: of another length, or with values that no pager writes.
pub fn read<R: FromBytes + Copy>(bytes: &[u8], is_valid: impl Fn(&R) -> bool) -> Result<R, Misfit> {
    R::read_from_bytes(bytes).ok().filter(is_valid).ok_or(Misfit)
}

/// Whether a record of the pager and what it refers to fit together. Of tables that are not the pager's every record
/// does.
///
/// # Errors
/// What the graph answers for a record that cannot be had.
pub fn is_sound<G: Graph>(graph: &mut G, table: u16, index: u32) -> Result<bool, G::Error> {
    const OBJECTS: u16 = Table::MemoryObject as u16;
    const REGIONS: u16 = Table::Region as u16;
    const SPACES: u16 = Table::Space as u16;
    const COUNTERS: u16 = Table::Pager as u16;
    match table {
        OBJECTS => object(graph, index),
        REGIONS => region(graph, index),
        SPACES => space(graph, index),
        COUNTERS => {
            let counters = graph.counters()?;
            Ok(index == 0 && counters.version == PAGER_VERSION && counters.content_next > 0)
        }
        _ => Ok(true),
    }
}

/// Whether an object fits its ancestors: hidden, of its size and kind, in a chain that ends.
///
/// # Errors
/// What `find` answers for a record that cannot be had.
pub fn object_is_sound<E>(
    record: &ObjectRecord,
    mut find: impl FnMut(u32) -> Result<Option<ObjectRecord>, E>,
) -> Result<bool, E> {
    let mut at = record.parent;
    for _ in 1..DEPTH_MAX {
        if at == NONE || record.life == FREE {
            return Ok(true);
        }
        let Some(parent) = find(at)? else { return Ok(false) };
        if parent.life != HIDDEN || parent.pages != record.pages || parent.flags != record.flags {
            return Ok(false);
        }
        at = parent.parent;
    }
    Ok(at == NONE || record.life == FREE)
}

fn object<G: Graph>(graph: &mut G, slot: u32) -> Result<bool, G::Error> {
    let Some(record) = graph.object(slot)? else { return Ok(false) };
    if !record.is_valid() || record.life == FREE {
        return Ok(record.is_valid());
    }
    if record.content >= graph.counters()?.content_next {
        return Ok(false);
    }
    if record.life == OBJECT {
        let space = graph.space(record.space)?;
        if space.is_none_or(|space| space.life != 1 || space.pages_max < record.pages) {
            return Ok(false);
        }
    }
    object_is_sound(&record, |parent| graph.object(parent))
}

fn space<G: Graph>(graph: &mut G, slot: u32) -> Result<bool, G::Error> {
    let Some(record) = graph.space(slot)? else { return Ok(false) };
    if !record.is_valid() || record.life == 0 || record.lent == NONE {
        return Ok(record.is_valid());
    }
    let (object, generation) = parts_of(record.lent);
    let object = graph.object(object)?.filter(|object| object.life == OBJECT && object.generation == generation);
    Ok(object.is_some_and(|object| !object.is_transient()))
}

fn region<G: Graph>(graph: &mut G, slot: u32) -> Result<bool, G::Error> {
    let Some(record) = graph.region(slot)? else { return Ok(false) };
    if !record.is_valid() || record.pages == 0 {
        return Ok(record.is_valid());
    }
    if graph.space(record.space)?.is_none_or(|space| space.life != 1) {
        return Ok(false);
    }
    let (object, generation) = parts_of(record.object);
    let object = graph.object(object)?;
    // One whose object was destroyed stays; faults in it are refused.
    let lives = object.filter(|object| object.life == OBJECT && object.generation == generation);
    Ok(lives.is_none_or(|object| record.object_page + record.pages <= object.pages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::id_of;

    struct Few {
        counters: PagerRecord,
        objects: [ObjectRecord; 12],
        regions: [RegionRecord; 1],
        spaces: [SpaceRecord; 2],
    }

    impl Graph for Few {
        type Error = ();
        fn counters(&mut self) -> Result<PagerRecord, ()> {
            Ok(self.counters)
        }
        fn object(&mut self, slot: u32) -> Result<Option<ObjectRecord>, ()> {
            Ok(self.objects.get(slot as usize).copied())
        }
        fn region(&mut self, slot: u32) -> Result<Option<RegionRecord>, ()> {
            Ok(self.regions.get(slot as usize).copied())
        }
        fn space(&mut self, slot: u32) -> Result<Option<SpaceRecord>, ()> {
            Ok(self.spaces.get(slot as usize).copied())
        }
    }

    /// A space, an object of four pages with a hidden parent, a region of it.
    fn few() -> Few {
        let counters =
            PagerRecord { content_next: 9, objects_max: 12, regions_max: 1, spaces_max: 2, version: PAGER_VERSION };
        let mut objects = [ObjectRecord::EMPTY; 12];
        objects[0] = ObjectRecord { content: 1, pages: 4, parent: 1, space: 0, generation: 3, life: OBJECT, flags: 0 };
        objects[1] = ObjectRecord { content: 2, parent: NONE, space: NONE, generation: 0, life: HIDDEN, ..objects[0] };
        let region = RegionRecord { page: 0x1000, pages: 2, object_page: 2, object: id_of(0, 3), space: 0, flags: 0 };
        let spaces = [SpaceRecord { pages_max: 4, life: 1, ..SpaceRecord::EMPTY }, SpaceRecord::EMPTY];
        Few { counters, objects, regions: [region], spaces }
    }

    #[test]
    fn each_reference_is_judged() {
        const OBJECTS: u16 = Table::MemoryObject as u16;
        const REGIONS: u16 = Table::Region as u16;
        type Spoil = fn(&mut Few);
        const SPACES: u16 = Table::Space as u16;
        let cases: [(&str, u16, bool, Spoil); 19] = [
            ("nothing", OBJECTS, true, |_| ()),
            ("nothing", REGIONS, true, |_| ()),
            ("a content that was never given out", OBJECTS, false, |few| few.objects[0].content = 9),
            ("a space that is not there", OBJECTS, false, |few| few.objects[0].space = 2),
            ("a space that is free", OBJECTS, false, |few| few.spaces[0] = SpaceRecord::EMPTY),
            ("a space that may own less", OBJECTS, false, |few| few.spaces[0].pages_max = 3),
            ("a parent that is not there", OBJECTS, false, |few| few.objects[0].parent = 12),
            ("a parent that is free", OBJECTS, false, |few| few.objects[0].parent = 2),
            ("a parent of another size", OBJECTS, false, |few| few.objects[1].pages = 5),
            ("a parent of another kind", OBJECTS, false, |few| few.objects[1].flags = 1),
            ("a circle", OBJECTS, false, |few| few.objects[1].parent = 1),
            ("no pages at all", OBJECTS, false, |few| few.objects[0].pages = 0),
            ("a region beyond its object", REGIONS, false, |few| few.regions[0].object_page = 3),
            ("a region of a destroyed object", REGIONS, true, |few| few.objects[0].generation = 4),
            ("a space that lends nothing", SPACES, true, |_| ()),
            ("a space that lends its object", SPACES, true, |few| few.spaces[0].lent = id_of(0, 3)),
            ("a space that lends what is gone", SPACES, false, |few| few.spaces[0].lent = id_of(0, 2)),
            ("a space that lends a transient object", SPACES, false, |few| {
                (few.spaces[0].lent, few.objects[0].flags) = (id_of(0, 3), 1);
            }),
            ("a region in no space", REGIONS, false, |few| few.regions[0].space = 1),
        ];
        for (what, table, sound, spoil) in cases {
            let mut few = few();
            spoil(&mut few);
            assert_eq!(is_sound(&mut few, table, 0), Ok(sound), "{what}");
        }
        assert_eq!(is_sound(&mut few(), OBJECTS, 12), Ok(false), "no such slot");
        assert_eq!(is_sound(&mut few(), Table::Thread as u16, 0), Ok(true), "not the pager's");
    }

    #[test]
    fn chains_are_bounded() {
        for length in 1..12 {
            let mut few = few();
            for slot in 1..length {
                few.objects[slot] = ObjectRecord { parent: slot as u32 + 1, ..few.objects[1] };
            }
            few.objects[length] = ObjectRecord { parent: NONE, ..few.objects[1] };
            let sound = is_sound(&mut few, Table::MemoryObject as u16, 0);
            assert_eq!(sound, Ok(length < DEPTH_MAX), "{length} ancestors");
        }
    }
}
