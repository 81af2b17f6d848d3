//! Faults: found out what they need, served, or put aside until it is there.
//!
//! A fault that is put aside keeps its Reply in a bounded table ([`HELD_MAX`]). While that is full nothing more is
//! received from the memory port ([`crate::Pager::can_receive`]); what waits there stays in the kernel's queue.

use crate::Pager;
use crate::config::HELD_MAX;
use crate::environment::{Environment, Note, ProcessName, ReplyTo};
use crate::frame::NONE;
use abi::fault::Access;
use abi::protocol::memory::Badge;
use abi::{Handle, MapFlags, PAGE_SIZE};
use pager_records::DEPTH_MAX;
use records::{Arena, Slab};

/// A page fault, as the kernel tells it ([`abi::fault`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultMessage {
    /// Badge given to `SetMemoryPort`: a space.
    pub badge: u64,
    /// Whose thread.
    pub process: ProcessName,
    /// Where.
    pub address: u64,
    /// How.
    pub access: Access,
}

/// What a fault waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The store fills this frame.
    Page(u32),
    /// A frame becomes free, or there is room for a message.
    Memory,
    /// Nothing: its page has come in, it is served next.
    Turn,
    /// The store has room for more dirty pages, or for pages that it has not had.
    Room,
    /// A person: the store cannot give the page back.
    Damaged,
}

/// How serving a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The thread goes on.
    Resume,
    /// The thread stops.
    Refuse(Note),
    /// Later.
    Wait(Wait),
}

/// Contents that the store said have no such page. Good while the fault waits and is about the same page of the same
/// object: [`Pager::forget_absent`], [`Held::is_about`].
pub(crate) type Absent = [u32; DEPTH_MAX];

/// A fault, and what was found out about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) fault: FaultMessage,
    pub(crate) absent: Absent,
    /// Id of the object and page of it that `absent` is about.
    about: (u32, u32),
    reply: Handle,
    pub(crate) wait: Option<Wait>,
}

const EMPTY: Held = Held {
    fault: FaultMessage { badge: 0, process: ProcessName(0), address: 0, access: Access::empty() },
    absent: [NONE; DEPTH_MAX],
    about: (0, 0),
    reply: Handle::NULL,
    wait: None,
};

impl Held {
    /// Forgets what is known about another page: regions may change while a fault waits.
    fn is_about(&mut self, object: u32, index: u32) {
        if self.about != (object, index) {
            self.about = (object, index);
            self.absent = [NONE; DEPTH_MAX];
        }
    }
}

/// Notes that the store has no such page of a content.
pub(crate) fn add_absent(absent: &mut Absent, content: u32) {
    if !absent.contains(&NONE) {
        // Contents that are no ancestors any more: no chain is longer than this.
        *absent = [NONE; DEPTH_MAX];
    }
    if let Some(free) = absent.iter_mut().find(|known| **known == NONE) {
        *free = content;
    }
}

/// Faults that wait.
pub(crate) struct HeldFaults {
    slots: Slab<Held>,
    count: u32,
    damaged: u32,
    /// Where the next round of retries starts: all get their turn.
    turn: usize,
}

impl HeldFaults {
    pub(crate) fn new(arena: &mut impl Arena) -> Self {
        Self { slots: arena.slab(HELD_MAX, EMPTY), count: 0, damaged: 0, turn: 0 }
    }

    pub(crate) const fn bytes_needed() -> usize {
        HELD_MAX * size_of::<Held>()
    }

    pub(crate) fn has_room(&self) -> bool {
        (self.count as usize) < HELD_MAX
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn count_for_store(&self) -> u32 {
        self.slots.iter().filter(|held| matches!(held.wait, Some(Wait::Page(_)))).count() as u32
    }

    fn count_for_room(&self) -> usize {
        self.slots.iter().filter(|held| held.wait == Some(Wait::Room)).count()
    }

    /// Whether anybody waits for room in the store.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.slots.iter().any(|held| held.wait == Some(Wait::Room))
    }

    /// Whether every frame that is waited for is one of these.
    pub(crate) fn waits_for_all(&self, loading: impl Fn(u32) -> bool) -> bool {
        self.slots.iter().all(|held| !matches!(held.wait, Some(Wait::Page(place)) if !loading(place)))
    }

    fn take(&mut self, slot: usize) -> Held {
        let held = core::mem::replace(&mut self.slots[slot], EMPTY);
        self.count -= 1;
        self.damaged -= u32::from(held.wait == Some(Wait::Damaged));
        held
    }

    fn put(&mut self, held: Held) {
        let slot = self.slots.iter().position(|held| held.wait.is_none()).expect("room was checked");
        self.slots[slot] = held;
        self.count += 1;
        self.damaged += u32::from(held.wait == Some(Wait::Damaged));
    }
}

impl Pager {
    /// A page fault was received: its Reply is the current one. Only when [`Self::can_receive`].
    pub fn fault(&mut self, env: &mut impl Environment, fault: FaultMessage) {
        let mut held = Held { fault, ..EMPTY };
        let end = self.serve(env, &mut held);
        self.finish(env, held, ReplyTo::Current, end);
        self.work(env);
    }

    /// Resumes, stops or puts aside the thread of a fault.
    fn finish(&mut self, env: &mut impl Environment, mut held: Held, reply: ReplyTo, end: End) {
        match end {
            End::Resume => env.resume(reply),
            End::Refuse(note) => {
                env.note(note);
                env.drop_reply(reply);
            }
            // The table is not theirs alone: the others find out again.
            End::Wait(Wait::Room) if self.held.count_for_room() >= HELD_MAX / 2 => env.resume(reply),
            End::Wait(Wait::Damaged) if self.held.damaged as usize >= HELD_MAX / 2 => env.drop_reply(reply),
            End::Wait(wait) => {
                let saved = match reply {
                    ReplyTo::Saved(handle) => Some(handle),
                    ReplyTo::Current => env.save_reply(),
                };
                let Some(saved) = saved else {
                    // No room for the Reply: let the thread fault again.
                    return env.resume(reply);
                };
                held.reply = saved;
                held.wait = Some(wait);
                self.held.put(held);
            }
        }
    }

    fn retry(&mut self, env: &mut impl Environment, slot: usize) {
        let mut held = self.held.take(slot);
        let end = self.serve(env, &mut held);
        let reply = ReplyTo::Saved(held.reply);
        self.finish(env, held, reply, end);
    }

    /// Serves all faults that waited for memory, once.
    pub(crate) fn retry_held(&mut self, env: &mut impl Environment) {
        if self.held.count > 0 {
            self.is_short = false;
            self.retry_all(env, Wait::Memory);
        }
    }

    /// Serves all faults that waited for room in the store, once.
    pub(crate) fn retry_room(&mut self, env: &mut impl Environment) {
        if self.held.waits_for_room() {
            self.retry_all(env, Wait::Room);
        }
    }

    fn retry_all(&mut self, env: &mut impl Environment, wait: Wait) {
        // A retried fault that waits again may go to a slot that is still to come: it is then tried twice.
        let turn = self.held.turn;
        for step in 0..HELD_MAX {
            let slot = (turn + step) % HELD_MAX;
            if self.held.slots[slot].wait == Some(wait) {
                self.retry(env, slot);
            }
        }
        self.held.turn = (turn + 1) % HELD_MAX;
    }

    /// Serves the faults that waited for the store to fill a frame, before anything else can evict it again. `absent`:
    /// it could not, this content has no such page.
    pub(crate) fn retry_page(&mut self, env: &mut impl Environment, place: u32, absent: Option<u32>) {
        // The frame may get another use before all of them had their turn: they no longer wait for it by name.
        for held in self.held.slots.iter_mut().filter(|held| held.wait == Some(Wait::Page(place))) {
            if let Some(content) = absent {
                add_absent(&mut held.absent, content);
            }
            held.wait = Some(Wait::Turn);
        }
        self.pinned = absent.is_none().then_some(place);
        while let Some(slot) = self.held.slots.iter().position(|held| held.wait == Some(Wait::Turn)) {
            self.retry(env, slot);
        }
        self.pinned = None;
    }

    /// A page of this content has come into being (or its place has ended): what was said to be absent may not be.
    pub(crate) fn forget_absent(&mut self, content: u32) {
        self.lends.forget_absent(content);
        for held in self.held.slots.iter_mut() {
            for known in held.absent.iter_mut().filter(|known| **known == content) {
                *known = NONE;
            }
        }
    }

    /// Nobody waits for this frame any more; who did tries again.
    pub(crate) fn forget_loading(&mut self, place: u32) {
        for held in self.held.slots.iter_mut().filter(|held| held.wait == Some(Wait::Page(place))) {
            held.wait = Some(Wait::Memory);
        }
    }

    /// Faults on damaged pages look again: an object was destroyed.
    pub(crate) fn forget_damaged(&mut self) {
        for held in self.held.slots.iter_mut().filter(|held| held.wait == Some(Wait::Damaged)) {
            held.wait = Some(Wait::Memory);
        }
        self.held.damaged = 0;
    }

    /// Does what a fault needs, if that can be done now.
    fn serve(&mut self, env: &mut impl Environment, held: &mut Held) -> End {
        let FaultMessage { badge, process, address, access } = held.fault;
        let page = address / PAGE_SIZE as u64;
        let space = match Badge::from_bits(badge) {
            Some(Badge::Space(id)) => self.spaces.find(id),
            _ => None,
        };
        let found = space.and_then(|space| Some((space, self.regions.find(space, page)?)));
        let Some((space, region)) = found else {
            return End::Refuse(Note::NoRegion { process, address, access });
        };
        let Some(object) = self.regions.object(region) else {
            return End::Refuse(Note::Gone { process, address });
        };
        let region = *self.regions.get(region);
        let flags = region.map_flags();
        let writes = access.contains(Access::WRITE);
        let allowed = (!writes || flags.contains(MapFlags::WRITE))
            && (!access.contains(Access::EXECUTE) || flags.contains(MapFlags::EXECUTE));
        if !allowed {
            return End::Refuse(Note::Forbidden { process, address, access });
        }
        self.bind_process(env, space, process);
        if access.contains(Access::FROZEN) {
            // Why it is frozen may have passed, or may be that the kernel has nothing to copy to.
            self.read_log(env, None);
            self.refill(env);
        }
        let target = crate::page::Target {
            space,
            object,
            content: self.objects.state(object).content,
            index: (region.object_page + (page - region.page)) as u32,
            process,
            address: page * PAGE_SIZE as u64,
            flags,
            transient: self.objects.get(object).is_transient(),
        };
        held.is_about(region.object, target.index);
        self.serve_page(env, &target, writes, &held.absent)
    }
}
