//! Capabilities: looking them up, placing, copying, dropping and revoking them.
//!
//! Invariants:
//! 1. The child links are exactly the parents, read the other way.
//! 2. A child has no right that its parent lacks, no range outside it, and is deeper.
//! 3. A capability of a world process has no volatile parent, and refers to an object of the world.
//! 4. `revoking` counts the slots that are dying.

use crate::decode::{Answer, Called, require};
use crate::graph::is_world_object;
use crate::kernel::Caller;
use crate::object::{DEPTH_MAX, HANDLES_MIN, NONE};
use crate::{Capability, Kernel, State};
use abi::{Handle, Kind, Registers, Rights, Status};

/// Descendants that one step of a revoke removes.
const REVOKE_STEP_MAX: usize = 8;

/// A slot's place in the derivation tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CapabilityLink {
    pub(crate) child: u32,
    pub(crate) next: u32,
    pub(crate) prev: u32,
}

impl CapabilityLink {
    pub(crate) const UNLINKED: Self = Self { child: NONE, next: NONE, prev: NONE };
}

impl Kernel {
    /// The slot that `handle` names in `process`, if the capability there allows `needed` and its object lives.
    pub(crate) fn look_up(&self, process: u32, handle: Handle, needed: Rights) -> Result<u32, Status> {
        let slot = self.full_slot(process, handle)?;
        let capability = self.capabilities.get(slot);
        let kind = capability.kind().ok_or(Status::BadHandle)?;
        if !capability.rights().contains(needed) {
            let other_kind = !kind.rights().contains(needed);
            return Err(if other_kind { Status::WrongKind } else { Status::MissingRight });
        }
        require(self.revoking == 0 || !self.is_dying(slot), Status::Revoked)?;
        let life = self.life(capability);
        if life == 0 || life == 2 && needed != Rights::DESTROY {
            return Err(Status::PeerDied);
        }
        Ok(slot)
    }

    /// The slot that `handle` names in `process`, if anything is in it.
    fn full_slot(&self, process: u32, handle: Handle) -> Result<u32, Status> {
        let table = self.processes.get(process);
        let slot = table.slots + u32::from(handle.0);
        // The null handle names nothing: in its place lies the memory port.
        let named = !handle.is_null() && u32::from(handle.0) < table.slot_count;
        let full = named && self.capabilities.get(slot).kind != 0;
        full.then_some(slot).ok_or(Status::BadHandle)
    }

    /// The capability that a call is made on, likewise.
    #[inline(always)]
    pub(crate) fn named(&self, caller: Caller, needed: Rights) -> Result<Capability, Status> {
        self.look_up(caller.process, caller.handle, needed).map(|slot| *self.capabilities.get(slot))
    }

    /// The first capability that a call gives, likewise.
    #[inline(always)]
    pub(crate) fn given(&self, caller: Caller, needed: Rights) -> Result<Capability, Status> {
        self.look_up(caller.process, caller.given, needed).map(|slot| *self.capabilities.get(slot))
    }

    /// Whether a capability or one it was derived from is being revoked.
    pub(crate) fn is_dying(&self, slot: u32) -> bool {
        let mut at = slot;
        for _ in 0..=DEPTH_MAX {
            let capability = self.capabilities.get(at);
            if capability.dying != 0 {
                return true;
            }
            if capability.parent == NONE {
                return false;
            }
            at = capability.parent;
        }
        true
    }

    /// What became of the object that a capability was made for: 0: it is no more; 1: it lives; 2: an endpoint or
    /// notification that is being destroyed, which is dead to all but that.
    pub(crate) fn life(&self, capability: &Capability) -> u32 {
        let object = capability.object;
        let found = match capability.kind() {
            Some(Kind::Endpoint) => self.endpoints.try_get(object).map(|e| (e.generation, e.life)),
            Some(Kind::Notification) => self.notifications.try_get(object).map(|n| (n.generation, n.life)),
            Some(Kind::Thread) => {
                self.threads.try_get(object).map(|t| (t.generation, u32::from(t.state != State::Free)))
            }
            Some(Kind::Process) => self.processes.try_get(object).map(|p| (p.generation, u32::from(p.exists()))),
            Some(Kind::Budget) => self.budgets.try_get(object).map(|b| (b.generation, b.life)),
            // Whether the call still waits is the reply's business, and says so with an error of its own.
            Some(Kind::Reply | Kind::Memory | Kind::Interrupt | Kind::IoPorts | Kind::Epoch) => return 1,
            None => return 0,
        };
        found.filter(|found| found.0 == capability.generation).map_or(0, |found| found.1)
    }

    /// Whether the object of a capability belongs to the world.
    pub(crate) fn is_world_object(&self, capability: &Capability) -> bool {
        is_world_object(capability, &self.world.capacities)
    }

    /// Law 3: whether `process` may hold this capability.
    pub(crate) fn may_hold(&self, process: u32, capability: &Capability) -> bool {
        !self.is_world_process(process)
            || capability.kind().is_some_and(Kind::may_enter_world) && self.is_world_object(capability)
    }

    /// Empty slots of `process`, counted up to `enough`.
    pub(crate) fn has_room(&self, process: u32, enough: usize) -> bool {
        let table = self.processes.get(process);
        let end = table.slots + table.slot_count;
        let next = |from: u32| self.capabilities.free.first_from(from).filter(|&slot| slot < end).map(|slot| slot + 1);
        (0..enough).try_fold(table.slots + 1, |from, _| next(from)).is_some()
    }

    /// Puts a capability into the lowest empty slot of `process`; its parent is linked.
    pub(crate) fn place(&mut self, process: u32, capability: Capability) -> Result<Handle, Status> {
        let table = *self.processes.get(process);
        // The null handle's place is the memory port's.
        let free = self.capabilities.free.take_first(table.slots + 1, table.slots + table.slot_count);
        let slot = free.ok_or(Status::TableFull)?;
        self.fill(slot, capability);
        Ok(Handle((slot - table.slots) as u16))
    }

    /// Fills an empty slot that has been taken from the free set.
    pub(crate) fn fill(&mut self, slot: u32, capability: Capability) {
        *self.capabilities.change(slot) = capability;
        self.link_child(slot);
    }

    /// Process whose slot it is; `u32::MAX`: nobody's.
    pub(crate) fn holder(&self, slot: u32) -> u32 {
        self.holders[(slot / HANDLES_MIN) as usize]
    }

    /// Links a slot below its parent.
    pub(crate) fn link_child(&mut self, slot: u32) {
        let parent = self.capabilities.get(slot).parent;
        let child = self.capabilities.beside(slot).child;
        let mut link = CapabilityLink { child, ..CapabilityLink::UNLINKED };
        if parent != NONE {
            link.next = self.capabilities.beside(parent).child;
            if link.next != NONE {
                self.capabilities.beside_mut(link.next).prev = slot;
            }
            self.capabilities.beside_mut(parent).child = slot;
        }
        *self.capabilities.beside_mut(slot) = link;
    }

    fn unlink_child(&mut self, slot: u32) {
        let parent = self.capabilities.get(slot).parent;
        let CapabilityLink { next, prev, .. } = *self.capabilities.beside(slot);
        if parent != NONE && prev == NONE {
            self.capabilities.beside_mut(parent).child = next;
        }
        if prev != NONE {
            self.capabilities.beside_mut(prev).next = next;
        }
        if next != NONE {
            self.capabilities.beside_mut(next).prev = prev;
        }
        let link = self.capabilities.beside_mut(slot);
        (link.next, link.prev) = (NONE, NONE);
    }

    /// Slots with what was derived from this one's capability.
    pub(crate) fn children(&self, slot: u32) -> impl Iterator<Item = u32> {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        core::iter::successors(some(self.capabilities.beside(slot).child), move |&child| {
            some(self.capabilities.beside(child).next)
        })
    }

    /// Where a copy of `slot` that `process` will hold hangs in the derivation tree: below the original, or, when a
    /// capability enters the world from a volatile process, below its object.
    pub(crate) fn parent_for(&self, process: u32, slot: u32) -> (u32, u8) {
        if self.is_world_process(process) && !self.is_world_process(self.holder(slot)) {
            return (NONE, 0);
        }
        (slot, self.capabilities.get(slot).depth + 1)
    }

    /// One empty slot, made from one full one: children go to the parent, a Reply is dropped with `reply_status`.
    /// At most [`REVOKE_STEP_MAX`] children are moved; `false`: call again.
    ///
    /// A slot that is being revoked takes its descendants with it: they must not outlive their root by its drop.
    pub(crate) fn empty_slot(&mut self, slot: u32, reply_status: Status) -> bool {
        if self.capabilities.get(slot).dying != 0 {
            let bare = self.remove_descendants(slot);
            if bare {
                self.clear_leaf(slot, reply_status);
            }
            return bare;
        }
        for _ in 0..self.steps(REVOKE_STEP_MAX) {
            let child = self.capabilities.beside(slot).child;
            if child == NONE {
                self.clear_leaf(slot, reply_status);
                return true;
            }
            self.reparent(child, self.capabilities.get(slot).parent);
        }
        false
    }

    fn reparent(&mut self, child: u32, parent: u32) {
        self.unlink_child(child);
        self.capabilities.change(child).parent = parent;
        self.link_child(child);
    }

    /// Empties a slot without children.
    fn clear_leaf(&mut self, slot: u32, reply_status: Status) {
        let capability = *self.capabilities.get(slot);
        self.unlink_child(slot);
        if capability.dying != 0 {
            self.revoking -= 1;
        }
        *self.capabilities.change(slot) = Capability::EMPTY;
        self.capabilities.free.insert(slot);
        if capability.kind() == Some(Kind::Reply) {
            self.void_reply(capability.object, capability.generation, reply_status);
        }
    }

    /// Moves a capability into a slot of another process; its children, which are few, go along while they may.
    pub(crate) fn move_capability(&mut self, slot: u32, process: u32) -> Result<Handle, Status> {
        let crosses = self.is_world_process(self.holder(slot)) != self.is_world_process(process);
        let mut capability = *self.capabilities.get(slot);
        if crosses && self.is_world_process(process) {
            // A world capability must not hang below a volatile one: what enters the world hangs below its object.
            (capability.parent, capability.depth) = (NONE, 0);
        }
        let handle = self.place(process, capability)?;
        let target = self.processes.get(process).slots + u32::from(handle.0);
        while self.capabilities.beside(slot).child != NONE {
            let child = self.capabilities.beside(slot).child;
            // What may not go along stays with whom the capability was derived from.
            let parent = if crosses { self.capabilities.get(slot).parent } else { target };
            self.reparent(child, parent);
        }
        self.unlink_child(slot);
        *self.capabilities.change(slot) = Capability::EMPTY;
        self.capabilities.free.insert(slot);
        Ok(handle)
    }

    /// System call `Copy`.
    pub(crate) fn copy(&mut self, caller: Caller) -> Called {
        let slot = self.look_up(caller.process, caller.handle, Rights::COPY)?;
        let Registers { rdi, words: [badge, offset, length, ..], .. } = self.cpus[caller.cpu].frame;
        let rights = Rights::from_bits_truncate(rdi as u32);
        let copy = self.derive(slot, caller.process, rights, badge, (offset, length))?;
        let handle = self.place(caller.process, copy)?;
        Ok(Answer::Value(handle.0.into()))
    }

    /// A copy of `slot` for `process`: fewer rights, a badge if it has none, a part of its range.
    pub(crate) fn derive(
        &self,
        slot: u32,
        process: u32,
        rights: Rights,
        badge: u64,
        part: (u64, u64),
    ) -> Result<Capability, Status> {
        let mut copy = *self.capabilities.get(slot);
        let kind = copy.kind().ok_or(Status::BadHandle)?;
        copy.rights &= rights.bits();
        copy.dying = 0;
        (copy.parent, copy.depth) = self.parent_for(process, slot);
        require(copy.depth <= DEPTH_MAX, Status::TablesExhausted)?;
        if Capability::has_range(kind) {
            let (first, count) = copy.range();
            let (offset, length) = if part == (0, 0) { (0, u64::from(count)) } else { part };
            let end = offset.checked_add(length).ok_or(Status::BadRange)?;
            if badge != 0 || length == 0 || end > u64::from(count) {
                return Err(if badge != 0 { Status::BadArgument } else { Status::BadRange });
            }
            copy.badge = Capability::range_badge(first + offset as u32, length as u32);
        } else if part != (0, 0) || badge > abi::BADGE_MAX || badge != 0 && copy.badge != 0 {
            return Err(Status::BadArgument);
        } else if badge != 0 {
            copy.badge = badge;
        }
        require(self.may_hold(process, &copy), Status::WorldClosed)?;
        Ok(copy)
    }

    /// System call `Drop`.
    pub(crate) fn drop_handle(&mut self, caller: Caller) -> Called {
        let slot = self.full_slot(caller.process, caller.handle)?;
        if self.empty_slot(slot, Status::Abandoned) { Ok(Answer::Done) } else { Ok(self.restart_call(caller)) }
    }

    /// System call `Revoke`: the root dies first, then its descendants go in steps.
    pub(crate) fn revoke(&mut self, caller: Caller) -> Called {
        let slot = self.full_slot(caller.process, caller.handle)?;
        let capability = self.capabilities.get(slot);
        require(capability.rights().contains(Rights::REVOKE), Status::MissingRight)?;
        if capability.dying == 0 {
            require(self.revoking == 0 || !self.is_dying(slot), Status::Revoked)?;
            self.capabilities.change(slot).dying = 1;
            self.revoking += 1;
        }
        if !self.remove_descendants(slot) {
            return Ok(self.restart_call(caller));
        }
        self.capabilities.change(slot).dying = 0;
        self.revoking -= 1;
        Ok(Answer::Done)
    }

    /// Removes up to [`REVOKE_STEP_MAX`] descendants of a slot, leaves first; true when none is left.
    fn remove_descendants(&mut self, slot: u32) -> bool {
        for _ in 0..self.steps(REVOKE_STEP_MAX) {
            let mut leaf = slot;
            while self.capabilities.beside(leaf).child != NONE {
                leaf = self.capabilities.beside(leaf).child;
            }
            if leaf == slot {
                return true;
            }
            self.end_binding(leaf);
            self.clear_leaf(leaf, Status::Revoked);
        }
        false
    }

    /// A process that may no longer wait for a notification does not hear of it through a bound thread either.
    fn end_binding(&mut self, slot: u32) {
        let capability = *self.capabilities.get(slot);
        let waits = capability.kind() == Some(Kind::Notification) && capability.rights().contains(Rights::WAIT);
        if waits && self.life(&capability) != 0 {
            let bound = self.notifications.get(capability.object).bound;
            if bound != NONE && self.threads.get(bound).process == self.holder(slot) {
                self.unbind(bound);
            }
        }
    }

    /// Leaves the thread about to make the same call again.
    pub(crate) fn restart_call(&mut self, caller: Caller) -> Answer {
        let frame = &mut self.cpus[caller.cpu].frame;
        frame.rip = frame.rip.wrapping_sub(SYSCALL_BYTES);
        Answer::Keep
    }

    /// System call `Identify`.
    pub(crate) fn identify(&mut self, caller: Caller) -> Called {
        let capability = self.named(caller, Rights::empty())?;
        let kind = capability.kind().ok_or(Status::BadHandle)?;
        let world = self.is_world_object(&capability);
        let ranged = Capability::has_range(kind);
        let (first, count) = capability.range();
        let (badge, first, count) = if ranged { (0, first, count) } else { (capability.badge, 0, 0) };
        let name = u64::from(capability.object) | u64::from(capability.generation) << 32;
        self.cpus[caller.cpu].frame.words[..5].copy_from_slice(&[
            u64::from(capability.rights),
            badge,
            name,
            u64::from(first),
            u64::from(count),
        ]);
        Ok(Answer::Value(u64::from(capability.kind) | u64::from(world) << 8))
    }

    /// System call `Grant`.
    pub(crate) fn grant(&mut self, caller: Caller) -> Called {
        let process = self.named(caller, Rights::PROCESS_GRANT)?.object;
        require(self.processes.get(process).dying == 0, Status::PeerDied)?;
        let frame = self.cpus[caller.cpu].frame;
        let slot = self.look_up(caller.process, caller.given, Rights::COPY)?;
        let rights = Rights::from_bits_truncate(frame.rdi as u32);
        let copy = self.derive(slot, process, rights, frame.words[0], (0, 0))?;
        let given = self.place(process, copy).map_err(|_| Status::PeerTableFull)?;
        Ok(Answer::Value(given.0.into()))
    }
}

/// Bytes of the `syscall` instruction.
pub(crate) const SYSCALL_BYTES: u64 = 2;
