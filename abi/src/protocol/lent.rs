//! Pages that programs of the world lend to a volatile server ([`super::memory::Request::Lend`]): their output waits
//! there, and the server sees it without a call.
//!
//! Who borrows has a read-only window of [`PLACES`] pages, [`PAGES`], and the link [`super::wiring::link::LENT`] to the
//! pager, whose area is a table that only the pager writes. In each place lies a page that is lent, or one of zeros: the
//! window can always be read, whatever programs of the world do. The pager keeps what is lent in memory, and moves the
//! mapping when a page moves.
//!
//! | word of the table | holds |
//! | --- | --- |
//! | 0 | which life of the borrower the names below are for ([`super::wiring::News::life`]); 0: none |
//! | 1 | the memory port, as `Identify` names it: what tells true capabilities from forged ones |
//! | 8 + place | name of the object that lies in this place; 0: none |
//!
//! Invariants, kept by the pager:
//! 1. While a name stands in a place of the borrower's own life, that object's first page is shown there, or was when the
//!    reader last looked at the name: so a reader looks at the name, reads, and looks at the name again.
//! 2. No name ever stands for two objects.
//!
//! What a program has lent is part of the world: the pager shows it again to the next life of the borrower, and after a
//! restore as soon as the page is there. Nothing here blocks.

use super::memory::Badge;
use core::sync::atomic::{AtomicU64, Ordering};

/// Pages that can be lent at once.
pub const PLACES: usize = 16;
/// Window of the borrower: the pages.
pub const PAGES: &str = "lent-pages";
/// Bytes of the table, in whole pages.
pub const AREA_BYTES: usize = crate::PAGE_SIZE;

const LIFE: usize = 0;
const PORT: usize = 1;
const NAMES: usize = 8;

/// Name of a lent object: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LentName(u64);

impl LentName {
    /// Of the object that a capability of the memory port stands for, by its badge.
    #[must_use]
    pub const fn of_badge(bits: u64) -> Option<Self> {
        match Badge::from_bits(bits) {
            Some(Badge::Object { id, .. }) => Some(Self::of_object(id)),
            _ => None,
        }
    }

    /// Of the object with the pager's number `id`.
    #[must_use]
    pub const fn of_object(id: u32) -> Self {
        Self(id as u64 | 1 << 32)
    }

    const fn from_word(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word)) }
    }
}

/// The pager begins to tell a life of the borrower. No name is left of what an earlier one was told.
pub fn begin(table: &[AtomicU64], life: u32, memory_port: u64) {
    for place in 0..PLACES {
        tell(table, place, None);
    }
    table[PORT].store(memory_port, Ordering::Release);
    table[LIFE].store(life.into(), Ordering::Release);
}

/// The pager says what lies in a place: after it was shown, before it is taken away.
pub fn tell(table: &[AtomicU64], place: usize, name: Option<LentName>) {
    table[NAMES + place].store(name.map_or(0, |name| name.0), Ordering::Release);
}

/// The borrower, in its life `life`, reads what lies in a place, by `load` (acquiring).
pub fn name(load: impl Fn(usize) -> u64, life: u32, place: usize) -> Option<LentName> {
    if load(LIFE) == u64::from(life) { LentName::from_word(load(NAMES + place)) } else { None }
}

/// The memory port, as `Identify` names it; `None` before the borrower's life `life` was told of anything.
pub fn memory_port(load: impl Fn(usize) -> u64, life: u32) -> Option<u64> {
    (load(LIFE) == u64::from(life)).then(|| load(PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_objects() {
        let badge = |write| Badge::Object { id: 7, write }.bits();
        assert_eq!(LentName::of_badge(badge(true)), Some(LentName::of_object(7)));
        assert_eq!(LentName::of_badge(badge(true)), LentName::of_badge(badge(false)));
        assert_eq!(LentName::of_badge(Badge::Space(7).bits()), None);
        assert!(LentName::from_word(LentName::of_object(0).0).is_some());
    }

    #[test]
    fn another_life_is_told_nothing() {
        let table: Vec<AtomicU64> = (0..AREA_BYTES / 8).map(|_| AtomicU64::new(0)).collect();
        let load = |index: usize| table[index].load(Ordering::Acquire);
        let object = Some(LentName::of_object(3));
        begin(&table, 1, 99);
        tell(&table, PLACES - 1, object);
        assert_eq!((name(load, 1, PLACES - 1), name(load, 1, 0)), (object, None));
        assert_eq!((name(load, 2, PLACES - 1), memory_port(load, 1), memory_port(load, 2)), (None, Some(99), None));
        begin(&table, 2, 99);
        assert_eq!(name(load, 2, PLACES - 1), None, "told before it was shown to this life");
    }
}
