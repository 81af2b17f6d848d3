//! A table of records with one shadow slot each.
//!
//! Invariants:
//! 1. A record is on the list of the running epoch exactly when it was changed in it.
//! 2. While the ended epoch is being drained, the value it had at the cut is the shadow of a record that changed
//!    since, and the live value of any other.
//! 3. No record is on a list twice; volatile records are on none, and marked as changed for ever.
//!    ([`Table::is_sound`] checks 1 and 3; 2 is what the property test below compares with whole copies.)

use crate::{Arena, IndexSet, Slab};

const NONE: u32 = u32::MAX;
/// End of a list: on the list, nobody after.
const END: u32 = u32::MAX - 1;
/// In place of the links of a volatile record: nothing is ever to be kept of it.
const VOLATILE: u32 = u32::MAX - 2;

#[derive(Clone, Copy)]
#[cfg_attr(any(test, feature = "host"), derive(Debug, PartialEq, Eq))]
struct Slot<T, D> {
    live: T,
    /// What is derived for it.
    beside: D,
    /// Links of the two lists: of the running epoch and of the ended one, by parity.
    next: [u32; 2],
    shadow: T,
}

/// Records by index, versioned by epoch; beside each what is derived for it, which has no versions: so that one look
/// finds both.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub struct Table<T: 'static, D: 'static = ()> {
    slots: Slab<Slot<T, D>>,
    /// Indices that are free, which is for those who make and end things to say: at first all are.
    pub free: IndexSet,
    world: u32,
    running: usize,
    heads: [u32; 2],
    changes: u64,
}

impl<T: Copy + 'static> Table<T> {
    /// A table of `count` records, all `empty`; those below `world` are recorded.
    pub fn new(arena: &mut impl Arena, count: u32, world: u32, empty: T) -> Self {
        Self::with(arena, count, world, empty, ())
    }
}

impl<T: Copy + 'static, D: Copy + 'static> Table<T, D> {
    /// A table of `count` records, all `empty`, with `beside` beside each; those below `world` are recorded.
    pub fn with(arena: &mut impl Arena, count: u32, world: u32, empty: T, beside: D) -> Self {
        assert!(world <= count && count < VOLATILE);
        let slot = Slot { live: empty, beside, next: [NONE; 2], shadow: empty };
        let slots = arena.slab(count as usize, slot);
        let free = IndexSet::full(arena, count);
        let mut table = Self { slots, free, world, running: 0, heads: [END; 2], changes: 0 };
        table.mark_volatile();
        table
    }

    fn mark_volatile(&mut self) {
        self.slots[self.world as usize..].iter_mut().for_each(|slot| slot.next = [VOLATILE; 2]);
    }

    /// Bytes that a table of `count` records takes.
    pub const fn bytes_needed(count: usize) -> usize {
        count * size_of::<Slot<T, D>>() + 8 * IndexSet::words_needed(count as u32)
    }

    /// Number of records.
    pub fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether it has no records at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Indices below this are recorded.
    pub fn world(&self) -> u32 {
        self.world
    }

    /// The indices of the world's part, from the first to before the last, or of the volatile part.
    pub fn part(&self, world: bool) -> (u32, u32) {
        if world { (0, self.world) } else { (self.world, self.len()) }
    }

    /// Takes the lowest index of a part that is free.
    pub fn take_free(&mut self, world: bool) -> Option<u32> {
        let (from, to) = self.part(world);
        self.free.take_first(from, to)
    }

    /// The live value.
    pub fn get(&self, index: u32) -> &T {
        &self.slots[index as usize].live
    }

    /// The live value, if there is such an index.
    pub fn try_get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize).map(|slot| &slot.live)
    }

    /// Whether the next [`Self::change`] of `index` copies nothing and touches no list.
    pub fn is_fresh(&self, index: u32) -> bool {
        self.slots[index as usize].next[self.running] != NONE
    }

    /// Counts what [`Self::change`], [`Self::load`], [`Self::cut`] and [`Self::outdate`] do: a conclusion that was drawn
    /// at one version holds until the next.
    pub fn version(&self) -> u64 {
        self.changes
    }

    /// Ends all conclusions, because of something that is not in this table.
    pub fn outdate(&mut self) {
        self.changes += 1;
    }

    /// What is derived for a record.
    pub fn beside(&self, index: u32) -> &D {
        &self.slots[index as usize].beside
    }

    /// What is derived for a record, to be changed.
    pub fn beside_mut(&mut self, index: u32) -> &mut D {
        &mut self.slots[index as usize].beside
    }

    /// What is derived for the records, in their order.
    #[cfg(any(test, feature = "host"))]
    pub fn all_beside(&self) -> impl Iterator<Item = &D> {
        self.slots.iter().map(|slot| &slot.beside)
    }

    /// What is derived for the records, in their order, to be changed.
    pub fn all_beside_mut(&mut self) -> impl Iterator<Item = &mut D> {
        self.slots.iter_mut().map(|slot| &mut slot.beside)
    }

    /// The live values of two records and what is derived for them, to be changed, if they are two: for who knows that
    /// [`Self::is_fresh`] holds for both.
    pub fn pair(&mut self, first: u32, second: u32) -> Option<[(&mut T, &mut D); 2]> {
        debug_assert!([first, second].iter().all(|&index| index >= self.len() || self.is_fresh(index)));
        let [first, second] = self.slots.get_disjoint_mut([first as usize, second as usize]).ok()?;
        Some([(&mut first.live, &mut first.beside), (&mut second.live, &mut second.beside)])
    }

    /// The same of one record.
    pub fn one(&mut self, index: u32) -> Option<(&mut T, &mut D)> {
        debug_assert!(index >= self.len() || self.is_fresh(index));
        self.slots.get_mut(index as usize).map(|slot| (&mut slot.live, &mut slot.beside))
    }

    /// What is derived for a record, if there is such an index.
    pub fn try_beside(&self, index: u32) -> Option<&D> {
        self.slots.get(index as usize).map(|slot| &slot.beside)
    }

    /// The same, to be changed.
    pub fn try_beside_mut(&mut self, index: u32) -> Option<&mut D> {
        self.slots.get_mut(index as usize).map(|slot| &mut slot.beside)
    }

    /// The live value, and what is derived for it, to be changed, if there is such an index.
    pub fn try_both(&mut self, index: u32) -> Option<(&T, &mut D)> {
        self.slots.get_mut(index as usize).map(|slot| (&slot.live, &mut slot.beside))
    }

    /// The live value, to be changed, if there is such an index and [`Self::is_fresh`] holds for it; and what is
    /// derived for it.
    pub fn fresh(&mut self, index: u32) -> Option<(&mut T, &mut D)> {
        let slot = self.slots.get_mut(index as usize)?;
        (slot.next[self.running & 1] != NONE).then_some((&mut slot.live, &mut slot.beside))
    }

    /// The live value, to be changed: the first time in an epoch, a value that is still to be drained is kept aside.
    pub fn change(&mut self, index: u32) -> &mut T {
        self.changes += 1;
        if !self.is_fresh(index) {
            self.keep(index);
        }
        &mut self.slots[index as usize].live
    }

    #[inline(never)]
    fn keep(&mut self, index: u32) {
        let running = self.running;
        let slot = &mut self.slots[index as usize];
        if slot.next[1 - running] != NONE {
            slot.shadow = slot.live;
        }
        slot.next[running] = self.heads[running];
        self.heads[running] = index;
    }

    /// Sets a value that came from a restore: it is what the store holds, so it counts as unchanged.
    pub fn load(&mut self, index: u32, value: T) {
        self.changes += 1;
        self.slots[index as usize].live = value;
    }

    /// Whether everything of the ended epoch has been drained.
    pub fn is_drained(&self) -> bool {
        self.heads[1 - self.running] == END
    }

    /// Whether anything changed in the running epoch.
    pub fn is_quiet(&self) -> bool {
        self.heads[self.running] == END
    }

    /// Ends the running epoch, in constant time, if the one before has been drained; else false.
    #[must_use]
    pub fn cut(&mut self) -> bool {
        let drained = self.is_drained();
        if drained {
            self.changes += 1;
            self.running = 1 - self.running;
        }
        drained
    }

    /// The next record of the ended epoch that is to be drained, as it was at the cut.
    pub fn peek(&self) -> Option<(u32, &T)> {
        let index = self.heads[1 - self.running];
        let slot = self.slots.get(index as usize)?;
        Some((index, if slot.next[self.running] == NONE { &slot.live } else { &slot.shadow }))
    }

    /// Marks the record that [`Self::peek`] showed as drained.
    pub fn pop(&mut self) {
        let ended = 1 - self.running;
        if let Some(slot) = self.slots.get_mut(self.heads[ended] as usize) {
            self.heads[ended] = slot.next[ended];
            slot.next[ended] = NONE;
        }
    }

    /// Invariants 1 and 3: both lists end, hold recorded indices only, and hold all that are marked.
    #[cfg(any(test, feature = "host"))]
    pub fn is_sound(&self) -> bool {
        (0..2).all(|list| {
            let (mut at, mut seen) = (self.heads[list], 0);
            while at != END && seen <= self.world {
                if at >= self.world {
                    return false;
                }
                at = self.slots[at as usize].next[list];
                seen += 1;
            }
            let recorded = &self.slots[..self.world as usize];
            at == END && seen as usize == recorded.iter().filter(|slot| slot.next[list] != NONE).count()
        }) && self.slots[self.world as usize..].iter().all(|slot| slot.next == [VOLATILE; 2])
    }
}

/// A shadow only counts while it is to be drained, and then its record is on a list: exploration hashes each state,
/// so what says little is left out.
#[cfg(any(test, feature = "host"))]
impl<T: std::hash::Hash, D: std::hash::Hash> std::hash::Hash for Slot<T, D> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.live.hash(state);
        self.beside.hash(state);
        self.next.hash(state);
    }
}

/// For tests and exploration: looking past the interface of a running system.
#[cfg(any(test, feature = "host"))]
impl<T: Copy + 'static, D: Copy + 'static> Table<T, D> {
    /// The live value, to be changed behind the table's back.
    pub fn live_mut(&mut self, index: u32) -> &mut T {
        &mut self.slots[index as usize].live
    }

    /// The value that `index` had at the cut, if it is still to be drained.
    pub fn ended(&self, index: u32) -> Option<&T> {
        let slot = &self.slots[index as usize];
        let pending = index < self.world && slot.next[1 - self.running] != NONE;
        pending.then(|| if slot.next[self.running] == NONE { &slot.live } else { &slot.shadow })
    }

    /// Whether nothing at all has changed between this table and another, copies of one: the same memory holds both.
    pub fn is_same(&self, other: &Self) -> bool {
        self.slots.is(&other.slots)
    }

    /// Whether `index` changed in the running epoch.
    pub fn has_changed(&self, index: u32) -> bool {
        index < self.world && self.slots[index as usize].next[self.running] != NONE
    }

    /// Takes everything off the list of the ended epoch.
    pub fn drain(&mut self) {
        while self.peek().is_some() {
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostArena;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Change(u32, u64),
        Cut,
        Drain(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u32..12, any::<u64>()).prop_map(|(index, value)| Step::Change(index, value)),
            1 => Just(Step::Cut),
            3 => (0_usize..6).prop_map(Step::Drain),
        ]
    }

    proptest! {
        /// What is drained after a cut is exactly what changed in the epoch, with the values of the instant of the cut.
        #[test]
        fn drains_the_epoch_as_it_was(steps in prop::collection::vec(step(), 0..200)) {
            let mut table = Table::new(&mut HostArena, 12, 8, 0_u64);
            let mut values = [0_u64; 12];
            let mut changed: BTreeMap<u32, u64> = BTreeMap::new();
            let mut ended: BTreeMap<u32, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Change(index, value) => {
                        *table.change(index) = value;
                        values[index as usize] = value;
                        if index < 8 { changed.insert(index, value); }
                    }
                    Step::Cut => {
                        let done = table.cut();
                        prop_assert_eq!(done, ended.is_empty());
                        if done { ended = std::mem::take(&mut changed); }
                    }
                    Step::Drain(count) => for _ in 0..count {
                        let Some((index, &value)) = table.peek() else { break };
                        prop_assert_eq!(ended.remove(&index), Some(value));
                        table.pop();
                    }
                }
                prop_assert!(table.is_sound());
                prop_assert_eq!(table.is_drained(), ended.is_empty());
                prop_assert_eq!(table.peek().is_none(), ended.is_empty());
                prop_assert_eq!(table.is_quiet(), changed.is_empty());
                for index in 0..12 {
                    prop_assert_eq!(*table.get(index), values[index as usize]);
                    let fresh = index >= 8 || changed.contains_key(&index);
                    prop_assert_eq!(table.is_fresh(index), fresh);
                    prop_assert_eq!(table.fresh(index).map(|(live, _)| *live), fresh.then_some(values[index as usize]));
                    let other = (index + 5) % 12;
                    if fresh && table.is_fresh(other) {
                        let pair = table.pair(index, other).map(|[(a, _), (b, _)]| (*a, *b));
                        prop_assert_eq!(pair, Some((values[index as usize], values[other as usize])));
                        prop_assert!(table.pair(index, index).is_none() && table.pair(index, 12).is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_asked_of_a_table() {
        let mut table = Table::new(&mut HostArena, 12, 8, 5_u64);
        assert_eq!((table.len(), table.world(), table.is_empty()), (12, 8, false));
        assert!(Table::new(&mut HostArena, 0, 0, 5_u64).is_empty());
        assert_eq!((table.try_get(11), table.try_get(12)), (Some(&5), None));
        assert!(table.fresh(12).is_none());
        assert_eq!(Table::<u64>::bytes_needed(12), 12 * size_of::<Slot<u64, ()>>() + 2 * 8);
        assert_eq!([true, true, false].map(|world| table.take_free(world)), [Some(0), Some(1), Some(8)]);
        // What comes from a restore is no change.
        table.load(3, 9);
        assert_eq!((*table.get(3), table.has_changed(3), table.is_quiet()), (9, false, true));
        *table.live_mut(4) = 7;
        assert_eq!((*table.get(4), table.has_changed(4)), (7, false));
        *table.change(9) = 1;
        *table.change(8) = 1;
        assert!(!table.has_changed(9) && !table.has_changed(8), "volatile records are not counted");
    }

    #[test]
    fn a_copy_is_the_same_until_either_changes() {
        let mut table = Table::new(&mut HostArena, 6, 5, 0_u64);
        let copy = table.clone();
        assert!(table.is_same(&copy) && copy.is_same(&table));
        *table.change(1) = 10;
        assert!(!table.is_same(&copy) && !copy.is_same(&table));
        assert!(table.cut());
        *table.change(2) = 10;
        table.drain();
        assert!(table.is_drained() && table.is_sound() && table.has_changed(2));
    }

    #[test]
    fn what_is_derived_lies_beside_and_has_no_versions() {
        let mut table = Table::with(&mut HostArena, 6, 5, 1_u64, 7_u32);
        *table.beside_mut(2) = 8;
        assert_eq!((*table.beside(2), table.is_quiet(), table.has_changed(2)), (8, true, false));
        assert_eq!(table.try_beside(2).copied(), Some(8));
        assert_eq!(table.try_beside_mut(2).copied(), Some(8));
        assert!(table.try_beside(6).is_none() && table.try_beside_mut(6).is_none());
        table.all_beside_mut().for_each(|beside| *beside += 1);
        assert_eq!(table.all_beside().copied().collect::<Vec<_>>(), [8, 8, 9, 8, 8, 8]);
        *table.change(2) = 4;
        *table.change(3) = 5;
        let pair = table.pair(3, 2).map(|[(a, b), (c, d)]| (*a, *b, *c, *d));
        assert_eq!(pair, Some((5, 8, 4, 9)));
        assert!(table.cut());
        *table.change(2) = 6;
        *table.beside_mut(2) = 10;
        assert_eq!((table.ended(2), *table.beside(2)), (Some(&4), 10));
    }

    #[test]
    fn what_an_epoch_held_can_be_looked_at_until_it_is_drained() {
        let mut table = Table::new(&mut HostArena, 6, 5, 0_u64);
        *table.change(1) = 10;
        *table.change(2) = 20;
        assert!(table.has_changed(1) && !table.has_changed(3));
        assert!(table.cut());
        *table.change(2) = 21;
        *table.change(3) = 30;
        *table.change(5) = 50;
        let ended = |table: &Table<u64>| (0..6).map(|index| table.ended(index).copied()).collect::<Vec<_>>();
        assert_eq!(ended(&table), [None, Some(10), Some(20), None, None, None]);
        table.pop();
        assert_eq!(ended(&table), [None, Some(10), None, None, None, None]);
        table.pop();
        assert_eq!(ended(&table), [None; 6]);
        table.pop();
        assert!(table.is_drained() && table.is_sound());
    }

    #[test]
    fn a_list_that_lies_is_noticed() {
        let mut table = Table::new(&mut HostArena, 6, 5, 0_u64);
        *table.change(1) = 1;
        *table.change(2) = 2;
        assert!(table.is_sound());
        let broken = |spoil: fn(&mut Table<u64>)| {
            let mut other = table.clone();
            spoil(&mut other);
            !other.is_sound()
        };
        assert!(broken(|table| table.slots[3].next[0] = END), "marked and not on the list");
        assert!(broken(|table| table.slots[2].next[0] = NONE), "on the list and not marked");
        assert!(broken(|table| table.slots[1].next[0] = 2), "a circle");
        assert!(broken(|table| table.heads[1] = 5), "a volatile record on a list");
        assert!(broken(|table| table.slots[5].next[1] = NONE), "a volatile record that would be copied");
    }

    #[test]
    fn tables_that_hold_the_same_have_the_same_hash() {
        let hash = |value: u64, shadow: u64| {
            let mut table = Table::new(&mut HostArena, 2, 2, 0_u64);
            *table.change(0) = shadow;
            assert!(table.cut());
            *table.change(0) = value;
            table.pop();
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            table.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(1, 5), hash(1, 6), "a shadow that has been drained says nothing");
        assert_ne!(hash(1, 5), hash(2, 5));
    }
}
