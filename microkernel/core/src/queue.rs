//! Queues of threads and their deadlines: derived from the threads' states and tickets.
//!
//! Invariants:
//! 1. A thread is on at most one queue, the one that its state names.
//! 2. Queues are in the order of tickets.
//! 3. A thread has a deadline exactly when it waits with one.

use crate::fast::Passes;
use crate::object::{NONE, Task};
use records::{Arena, Slab, Table};

/// Threads, each beside its place in queues.
pub(crate) type Threads = Table<Task, Link>;

/// In place of the number of a CPU: the thread is on a queue.
pub(crate) const QUEUED: u32 = NONE - 1;

/// A thread's place in queues, and what is derived for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    pub(crate) next: u32,
    prev: u32,
    /// CPU that runs it, or [`QUEUED`], or `NONE`.
    pub(crate) place: u32,
    /// Mark of a restore: a process of the world holds its Reply.
    pub(crate) reply_held: bool,
    /// Where the root table of its process lies, for a thread that is at hand.
    pub(crate) root_address: u64,
    pub(crate) passes: Passes,
}

impl Link {
    pub(crate) const UNLINKED: Self =
        Self { next: NONE, prev: NONE, place: NONE, reply_held: false, root_address: 0, passes: Passes::NONE };

    /// Its place in queues, and who runs it.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn canonical(&self) -> ([u32; 3], [bool; 2]) {
        let Self { next, prev, place, reply_held, root_address: _, passes: _ } = *self;
        let cpu = self.cpu().map_or(NONE, |cpu| cpu as u32);
        ([next, prev, cpu], [place == QUEUED, reply_held])
    }

    /// CPU that runs it.
    pub(crate) fn cpu(&self) -> Option<usize> {
        (self.place < QUEUED).then_some(self.place as usize)
    }
}

/// First and last of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    pub(crate) head: u32,
    tail: u32,
}

impl Queue {
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE };

    pub(crate) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(crate) fn push_back(&mut self, threads: &mut Threads, thread: u32) {
        self.insert_before(threads, thread, NONE);
    }

    pub(crate) fn push_front(&mut self, threads: &mut Threads, thread: u32) {
        self.insert_before(threads, thread, self.head);
    }

    /// Puts a thread before another one of the queue; before `u32::MAX`: at the end.
    pub(crate) fn insert_before(&mut self, threads: &mut Threads, thread: u32, next: u32) {
        let prev = if next == NONE { self.tail } else { threads.beside(next).prev };
        let link = threads.beside_mut(thread);
        debug_assert!(link.place != QUEUED, "a thread is on one queue at most");
        link.place = QUEUED;
        self.connect(threads, prev, thread);
        self.connect(threads, thread, next);
    }

    /// Makes two threads neighbours; before the first and behind the last of a queue is `u32::MAX`.
    fn connect(&mut self, threads: &mut Threads, prev: u32, next: u32) {
        match prev {
            NONE => self.head = next,
            prev => threads.beside_mut(prev).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => threads.beside_mut(next).prev = prev,
        }
    }

    /// Puts a thread into an empty queue; false if it is not empty. The caller marks its link.
    pub(crate) fn push_only(&mut self, thread: u32) -> bool {
        let empty = self.head == NONE;
        if empty {
            *self = Self::of(thread);
        }
        empty
    }

    /// A queue of one.
    pub(crate) fn of(thread: u32) -> Self {
        Self { head: thread, tail: thread }
    }

    /// Whether it has one thread, or none.
    pub(crate) fn is_short(&self) -> bool {
        self.head == self.tail
    }

    /// Takes out the only thread of a queue, whose link the caller then marks; false if there are others.
    pub(crate) fn take_only(&mut self) -> bool {
        let only = self.is_short();
        if only {
            *self = Self::EMPTY;
        }
        only
    }

    pub(crate) fn remove(&mut self, threads: &mut Threads, thread: u32) {
        let Link { next, prev, place, .. } = *threads.beside(thread);
        if place != QUEUED {
            return;
        }
        self.connect(threads, prev, next);
        let link = threads.beside_mut(thread);
        (link.next, link.prev, link.place) = (NONE, NONE, NONE);
    }

    /// Whether its links lead from the first to the last, and back.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn is_sound(&self, threads: &Threads) -> bool {
        let (mut prev, mut at) = (NONE, self.head);
        for _ in 0..threads.len() {
            if at == NONE {
                break;
            }
            let link = threads.beside(at);
            if link.prev != prev {
                return false;
            }
            (prev, at) = (at, link.next);
        }
        at == NONE && self.tail == prev
    }
}

/// Ready threads by priority. Who is next is on no queue, so that where only one is ready there is nothing to look
/// through.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub(crate) struct RunQueues {
    /// Who is next.
    pub(crate) next: u32,
    /// Its priority; -1: nobody is ready.
    highest: i32,
    /// How many wait behind it, on queues.
    behind: u32,
    queues: Slab<Queue>,
    filled: [u64; 4],
}

impl RunQueues {
    pub(crate) fn new(arena: &mut impl Arena) -> Self {
        Self { next: NONE, highest: -1, behind: 0, queues: arena.slab(256, Queue::EMPTY), filled: [0; 4] }
    }

    /// The highest priority at which somebody waits.
    pub(crate) fn highest(&self) -> Option<u8> {
        u8::try_from(self.highest).ok()
    }

    /// Whether somebody waits at this priority or above it.
    pub(crate) fn reaches(&self, priority: u8) -> bool {
        self.highest >= i32::from(priority)
    }

    /// Takes out who is next if nobody waits behind it; else false. The caller marks its link.
    pub(crate) fn take_only(&mut self) -> bool {
        let only = self.behind == 0;
        if only {
            (self.next, self.highest) = (NONE, -1);
        }
        only
    }

    /// Takes out who is next; the first of the highest queue follows it.
    #[inline(never)]
    pub(crate) fn take_next(&mut self, threads: &mut Threads) {
        threads.beside_mut(self.next).place = NONE;
        if self.take_only() {
            return;
        }
        let word = (0..4).rev().find(|&word| self.filled[word] != 0).unwrap_or(0);
        let priority = (word as u32 * 64 + 63 - self.filled[word].leading_zeros()) as u8;
        let thread = self.queues[priority as usize].head;
        self.remove(threads, priority, thread);
        self.put_next(threads, priority, thread);
    }

    fn put_next(&mut self, threads: &mut Threads, priority: u8, thread: u32) {
        threads.beside_mut(thread).place = QUEUED;
        (self.next, self.highest) = (thread, i32::from(priority));
    }

    /// Whether the marks say at which priorities somebody waits, and above which nobody does; and that somebody is next
    /// if anybody waits.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn is_marked(&self) -> bool {
        let waits = |priority: usize| self.queues[priority] != Queue::EMPTY;
        let best = (0..256).rev().find(|&priority| waits(priority)).map_or(-1, |best| best as i32);
        (0..256).all(|priority| (self.filled[priority / 64] >> (priority % 64) & 1 == 1) == waits(priority))
            && self.highest >= best
            && (self.next == NONE) == (self.highest == -1)
            && (self.behind == 0) == (best == -1)
    }

    /// Puts a queue there, marks and all else left as they are.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, priority: u8, queue: Queue) {
        self.queues[priority as usize] = queue;
    }

    /// Those that wait at a priority, but for who is next.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn queue(&self, priority: u8) -> &Queue {
        &self.queues[priority as usize]
    }

    /// Puts in a thread that leaves another queue, if nobody is ready; else false.
    pub(crate) fn push_only(&mut self, priority: u8, thread: u32) -> bool {
        let empty = self.highest == -1;
        if empty {
            (self.next, self.highest) = (thread, i32::from(priority));
        }
        empty
    }

    pub(crate) fn push(&mut self, threads: &mut Threads, priority: u8, thread: u32, front: bool) {
        if !self.reaches(priority) || front && self.highest() == Some(priority) {
            let displaced = (self.highest(), self.next);
            self.put_next(threads, priority, thread);
            if let (Some(priority), thread) = displaced {
                threads.beside_mut(thread).place = NONE;
                self.push_behind(threads, priority, thread, true);
            }
        } else {
            self.push_behind(threads, priority, thread, front);
        }
    }

    fn push_behind(&mut self, threads: &mut Threads, priority: u8, thread: u32, front: bool) {
        let queue = &mut self.queues[priority as usize];
        if front {
            queue.push_front(threads, thread)
        } else {
            queue.push_back(threads, thread)
        }
        self.filled[priority as usize / 64] |= 1 << (priority % 64);
        self.behind += 1;
    }

    pub(crate) fn remove(&mut self, threads: &mut Threads, priority: u8, thread: u32) {
        if thread == self.next {
            return self.take_next(threads);
        }
        let queue = &mut self.queues[priority as usize];
        queue.remove(threads, thread);
        self.behind -= 1;
        if queue.first().is_none() {
            self.filled[priority as usize / 64] &= !(1 << (priority % 64));
        }
    }
}

/// No deadline, nobody's.
const NEVER: (u64, u32) = (u64::MAX, NONE);

/// Until when threads wait: a tournament. The second half of the places are the threads' own; each other place has the
/// earlier of the two below it (those of its number times two), so that the earliest of all is at place 1.
#[cfg_attr(any(test, feature = "host"), derive(Clone, Debug, PartialEq, Eq, Hash))]
pub(crate) struct Deadlines {
    /// (time since boot, thread)
    places: Slab<(u64, u32)>,
}

impl Deadlines {
    pub(crate) fn new(arena: &mut impl Arena, threads: u32) -> Self {
        Self { places: arena.slab(2 * threads as usize, NEVER) }
    }

    /// The earliest deadline and who waits for it; `u64::MAX` and `u32::MAX`: nobody does.
    pub(crate) fn first(&self) -> (u64, u32) {
        self.places.get(1).copied().unwrap_or(NEVER)
    }

    /// A thread waits until `at`.
    pub(crate) fn insert(&mut self, at: u64, thread: u32) {
        self.put(thread, (at, thread));
    }

    pub(crate) fn remove(&mut self, thread: u32) {
        self.put(thread, NEVER);
    }

    fn put(&mut self, thread: u32, deadline: (u64, u32)) {
        let mut place = self.places.len() / 2 + thread as usize;
        if core::mem::replace(&mut self.places[place], deadline) == deadline {
            return;
        }
        while place > 1 {
            place /= 2;
            self.places[place] = self.places[2 * place].min(self.places[2 * place + 1]);
        }
    }

    /// The deadline of a thread.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn of(&self, thread: u32) -> Option<u64> {
        self.entries().find(|entry| entry.1 == thread).map(|entry| entry.0)
    }

    /// Until when they wait, and who.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, u32)> {
        self.places[self.places.len() / 2..].iter().copied().filter(|&entry| entry != NEVER)
    }

    /// Says that a thread's deadline is the first, and has passed.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, thread: u32) {
        self.places[1] = (0, thread);
    }

    /// Whether each place has the earlier one of two, and each thread is at its own.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn is_sound(&self) -> bool {
        let threads = self.places.len() / 2;
        (1..threads).all(|place| self.places[place] == self.places[2 * place].min(self.places[2 * place + 1]))
            && (threads..2 * threads)
                .all(|place| self.places[place] == NEVER || self.places[place].1 as usize == place - threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use records::HostArena;
    use std::collections::{BTreeMap, VecDeque};

    proptest! {
        #[test]
        fn the_earliest_deadline_is_known(
            count in 0_u32..20,
            steps in prop::collection::vec((0_u32..20, 0_u64..50, any::<bool>()), 0..200),
        ) {
            let mut deadlines = Deadlines::new(&mut HostArena, count);
            let mut model = BTreeMap::new();
            for (thread, at, insert) in steps.into_iter().filter(|step| step.0 < count) {
                if insert {
                    deadlines.insert(at, thread);
                    model.insert(thread, at);
                } else {
                    deadlines.remove(thread);
                    model.remove(&thread);
                }
                prop_assert!(deadlines.is_sound());
                prop_assert_eq!(deadlines.of(thread), model.get(&thread).copied());
                let first = model.iter().map(|(&thread, &at)| (at, thread)).min();
                prop_assert_eq!(deadlines.first(), first.unwrap_or(NEVER));
            }
        }

        #[test]
        fn run_queues_are_first_in_first_out(steps in prop::collection::vec((0_u32..12, any::<u8>(), 0_u8..3), 0..200)) {
            let mut threads = Table::with(&mut HostArena, 12, 0, Task::FREE, Link::UNLINKED);
            let mut run = RunQueues::new(&mut HostArena);
            let mut model: BTreeMap<u8, VecDeque<u32>> = BTreeMap::new();
            let mut at = [None; 12];
            for (thread, priority, step) in steps {
                if let Some(old) = at[thread as usize].take() {
                    run.remove(&mut threads, old, thread);
                    model.get_mut(&old).expect("queued").retain(|&other| other != thread);
                }
                if step > 0 {
                    run.push(&mut threads, priority, thread, step == 1);
                    let queue = model.entry(priority).or_default();
                    if step == 1 { queue.push_front(thread) } else { queue.push_back(thread) }
                    at[thread as usize] = Some(priority);
                }
                model.retain(|_, queue| !queue.is_empty());
                let highest = model.last_key_value();
                prop_assert_eq!(run.highest(), highest.map(|(&priority, _)| priority));
                prop_assert_eq!(run.reaches(priority), highest.is_some_and(|(&best, _)| best >= priority));
                let first = highest.and_then(|(_, queue)| queue.front().copied());
                prop_assert_eq!(run.next, first.unwrap_or(NONE));
                let behind = model.values().map(VecDeque::len).sum::<usize>().saturating_sub(1);
                prop_assert_eq!(run.behind as usize, behind);
                prop_assert!(run.is_marked());
                prop_assert!((0..=u8::MAX).all(|priority| run.queue(priority).is_sound(&threads)));
            }
        }
    }

    /// Two threads of one priority, of which the first is next.
    fn two() -> (Threads, RunQueues) {
        let mut threads = Table::with(&mut HostArena, 4, 0, Task::FREE, Link::UNLINKED);
        let mut run = RunQueues::new(&mut HostArena);
        run.push(&mut threads, 70, 2, false);
        run.push(&mut threads, 70, 3, false);
        (threads, run)
    }

    #[test]
    fn marks_that_lie_are_found() {
        assert!(two().1.is_marked());
        let lies: [fn(&mut RunQueues); 5] = [
            |run| run.filled[1] = 0,
            |run| run.filled[3] = 1,
            |run| run.highest = 69,
            |run| run.next = NONE,
            |run| run.behind = 0,
        ];
        for (row, lie) in lies.into_iter().enumerate() {
            let (_, mut run) = two();
            lie(&mut run);
            assert!(!run.is_marked(), "row {row}");
        }
    }

    #[test]
    fn a_link_is_told_as_it_is() {
        let (mut threads, _) = two();
        let mut queue = Queue::EMPTY;
        for thread in [0, 1] {
            queue.push_back(&mut threads, thread);
        }
        threads.beside_mut(1).place = 1;
        assert_eq!(threads.beside(0).canonical(), ([1, NONE, NONE], [true, false]));
        assert_eq!(threads.beside(1).canonical(), ([NONE, 0, 1], [false, false]));
    }

    #[test]
    fn deadlines_that_lie_are_found() {
        let mut deadlines = Deadlines::new(&mut HostArena, 5);
        deadlines.insert(7, 2);
        deadlines.insert(9, 3);
        assert_eq!((deadlines.is_sound(), deadlines.entries().collect()), (true, vec![(7, 2), (9, 3)]));
        for (place, lie) in [(1, (9, 3)), (1, NEVER), (4, (7, 2)), (5, (7, 2)), (7, (7, 1))] {
            let mut false_ones = deadlines.clone();
            false_ones.places[place] = lie;
            assert!(!false_ones.is_sound(), "{place}: {lie:?}");
        }
    }
}
