//! The pager's records: objects, regions, spaces and counters, as they lie in the store. Each is judged by itself here;
//! what they refer to is judged in [`crate::is_sound`].

use abi::{MapFlags, PAGE_SIZE, USER_END, USER_START};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// No slot.
pub const NONE: u32 = u32::MAX;
/// Pages of one object, at most: 1 TiB.
pub const OBJECT_PAGES_MAX: u64 = 1 << 28;
/// Bits of an id that are its slot; the rest counts the slot's reuse.
const SLOT_BITS: u32 = 16;
/// A slot is used this often, then never again: no id names two things in the life of a world.
pub const GENERATION_MAX: u32 = (1 << (32 - SLOT_BITS)) - 1;

/// The id that badges carry.
pub fn id_of(slot: u32, generation: u32) -> u32 {
    slot | generation << SLOT_BITS
}

/// Slot and generation of an id.
pub fn parts_of(id: u32) -> (u32, u32) {
    (id & ((1 << SLOT_BITS) - 1), id >> SLOT_BITS)
}

/// What a slot of the table of objects is.
pub const FREE: u16 = 0;
/// A memory object that capabilities name.
pub const OBJECT: u16 = 1;
/// What several objects were copied from: never written again, named by nobody.
pub const HIDDEN: u16 = 2;

/// A memory object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ObjectRecord {
    /// Number of its content in the store.
    pub content: u64,
    /// Its size.
    pub pages: u64,
    /// Slot of the hidden object that shows through where it has no page; `u32::MAX`: zeros do.
    pub parent: u32,
    /// Slot of the space it is charged to; `u32::MAX` for a hidden one.
    pub space: u32,
    /// Counts its slot's reuse.
    pub generation: u32,
    /// 0 free, 1 an object, 2 hidden.
    pub life: u16,
    /// [`abi::protocol::memory::ObjectFlags`].
    pub flags: u16,
}

/// A region: pages of an object in a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionRecord {
    /// Its first page of addresses.
    pub page: u64,
    /// Its size; 0: there is no such region.
    pub pages: u64,
    /// The object's page that lies there.
    pub object_page: u64,
    /// Id of the object.
    pub object: u32,
    /// Slot of the space.
    pub space: u32,
    /// [`MapFlags`]: WRITE, EXECUTE.
    pub flags: u64,
}

/// An address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaceRecord {
    /// Pages that objects charged to it may have together.
    pub pages_max: u64,
    /// Counts its slot's reuse.
    pub generation: u32,
    /// 0 free, 1 in use.
    pub life: u32,
    /// Id of the object that it lends; `u32::MAX`: none.
    pub lent: u32,
    /// Zero.
    pub reserved: u32,
}

/// The pager's one record of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PagerRecord {
    /// The number that the next content gets.
    pub content_next: u64,
    /// Capacity of the world's table of objects.
    pub objects_max: u32,
    /// Capacity of the world's table of regions.
    pub regions_max: u32,
    /// Capacity of the world's table of spaces.
    pub spaces_max: u32,
    /// [`PAGER_VERSION`].
    pub version: u32,
}

/// Version of these records.
pub const PAGER_VERSION: u32 = 2;

const _: () = assert!(size_of::<ObjectRecord>() == 32 && size_of::<RegionRecord>() == 40);
const _: () = assert!(size_of::<SpaceRecord>() == 24 && size_of::<PagerRecord>() == 24);

impl ObjectRecord {
    /// Of a slot that is free and was never used.
    pub const EMPTY: Self = Self { content: 0, pages: 0, parent: NONE, space: NONE, generation: 0, life: 0, flags: 0 };

    /// Whether a pager could have written it, looked at alone.
    pub fn is_valid(&self) -> bool {
        let life = self.life;
        let used = life == OBJECT || life == HIDDEN;
        self.flags <= 1
            && self.generation <= GENERATION_MAX + 1
            && if used {
                self.content != 0
                    && (1..=OBJECT_PAGES_MAX).contains(&self.pages)
                    && self.generation <= GENERATION_MAX
                    && (self.space == NONE) == (life == HIDDEN)
            } else {
                *self == Self { generation: self.generation, ..Self::EMPTY }
            }
    }

    /// Whether it is zero again after a restore.
    pub fn is_transient(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl RegionRecord {
    /// Of a slot that is free and was never used.
    pub const EMPTY: Self = Self { page: 0, pages: 0, object_page: 0, object: 0, space: 0, flags: 0 };

    /// The first page of addresses behind it.
    pub fn end(&self) -> u64 {
        self.page + self.pages
    }

    /// Its flags.
    pub fn map_flags(&self) -> MapFlags {
        MapFlags::from_bits_truncate(self.flags)
    }

    /// Whether a pager could have written it, looked at alone.
    pub fn is_valid(&self) -> bool {
        if self.pages == 0 {
            return *self == Self::EMPTY;
        }
        is_user_range(self.page, self.pages)
            && self.object_page.checked_add(self.pages).is_some_and(|end| end <= OBJECT_PAGES_MAX)
            && are_region_flags(self.flags)
    }
}

impl SpaceRecord {
    /// Of a slot that is free and was never used.
    pub const EMPTY: Self = Self { pages_max: 0, generation: 0, life: 0, lent: NONE, reserved: 0 };

    /// Whether a pager could have written it, looked at alone.
    pub fn is_valid(&self) -> bool {
        match self.life {
            0 => *self == Self { generation: self.generation, ..Self::EMPTY } && self.generation <= GENERATION_MAX + 1,
            1 => self.generation <= GENERATION_MAX && self.reserved == 0,
            _ => false,
        }
    }
}

/// Whether so many pages from `page` on are addresses that programs may have.
pub fn is_user_range(page: u64, pages: u64) -> bool {
    let size = PAGE_SIZE as u64;
    pages > 0 && page >= USER_START / size && page.checked_add(pages).is_some_and(|end| end <= USER_END / size)
}

/// Whether these are flags that a region may have: never writable and executable at once.
pub fn are_region_flags(flags: u64) -> bool {
    let both = MapFlags::WRITE.union(MapFlags::EXECUTE).bits();
    flags & !both == 0 && flags != both
}
