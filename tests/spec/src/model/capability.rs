//! Capabilities: what they allow, how they are handed on, and how they are taken back.

use super::{Called, Cap, End, Model, Name, Object};
use crate::event::Frame;
use abi::{Handle, Kind, Rights, Status};
use std::collections::BTreeSet;

impl Model {
    /// The capability at `name`, if there is one and it can be named.
    fn named(&self, name: Name) -> Result<&Cap, Status> {
        self.caps.get(&name).filter(|_| name.1 != 0).ok_or(Status::BadHandle)
    }

    /// Who serves a process's memory, and the badge of its faults.
    pub fn memory_port(&self, process: u32) -> Option<(u32, u64)> {
        let name = (process, 0);
        let port = self.caps.get(&name).filter(|_| !self.is_dying(name))?;
        match port.object {
            Object::Is(Kind::Endpoint, endpoint) if !self.endpoints[&endpoint].dying => Some((endpoint, port.badge)),
            _ => None,
        }
    }

    /// Whether the capability at `name` is there and allows `needed`.
    pub(super) fn allows(&self, name: Name, needed: Rights) -> Result<(), Status> {
        let cap = self.named(name)?;
        if !cap.rights.contains(needed) {
            let of_kind = cap.kind().rights().contains(needed);
            return Err(if of_kind { Status::MissingRight } else { Status::WrongKind });
        }
        if self.is_dying(name) {
            return Err(Status::Revoked);
        }
        let ends = needed == Rights::DESTROY;
        match cap.object {
            // Whether a Reply still stands is the reply's business.
            Object::Gone(kind) if kind != Kind::Reply => Err(Status::PeerDied),
            // What is being destroyed is dead to all but that.
            Object::Is(Kind::Endpoint, endpoint) if self.endpoints[&endpoint].dying && !ends => Err(Status::PeerDied),
            Object::Is(Kind::Notification, bell) if self.notifications[&bell].dying && !ends => Err(Status::PeerDied),
            _ => Ok(()),
        }
    }

    /// Whether a capability, or one that it was derived from, is being revoked.
    fn is_dying(&self, name: Name) -> bool {
        let cap = &self.caps[&name];
        cap.dying || cap.parent.is_some_and(|parent| self.is_dying(parent))
    }

    /// The world is closed: its processes hold what is of the world and may enter it.
    pub(super) fn may_hold(&self, process: u32, cap: &Cap) -> bool {
        !self.is_world_process(process) || cap.kind().may_enter_world() && cap.of_world
    }

    pub(super) fn free_handles(&self, process: u32) -> impl Iterator<Item = u16> {
        (1..self.processes[&process].handles as u16).filter(move |&handle| !self.caps.contains_key(&(process, handle)))
    }

    /// Puts a capability at the lowest free handle.
    pub(super) fn place(&mut self, process: u32, cap: Cap) -> Option<u16> {
        let handle = self.free_handles(process).next()?;
        self.caps.insert((process, handle), cap);
        Some(handle)
    }

    /// What a copy held by `process` is derived from: the original; but what enters the world from a volatile process
    /// depends on nothing volatile.
    pub(super) fn parent_for(&self, process: u32, name: Name) -> Option<Name> {
        let enters = self.is_world_process(process) && !self.is_world_process(name.0);
        (!enters).then_some(name)
    }

    pub(super) fn copy_cap(&mut self, name: Name, process: u32) -> u16 {
        let copy = Cap { parent: self.parent_for(process, name), ..self.caps[&name] };
        self.place(process, copy).expect("there is room")
    }

    /// The capability changes hands; what was derived from it still is. Only between world and volatile processes
    /// its children become its parent's, and what enters the world depends on nothing.
    pub(super) fn move_cap(&mut self, name: Name, process: u32) -> u16 {
        let crosses = self.is_world_process(name.0) != self.is_world_process(process);
        let mut cap = self.caps[&name];
        let old_parent = cap.parent;
        if crosses && self.is_world_process(process) {
            cap.parent = None;
        }
        let handle = self.place(process, cap).expect("there is room");
        let heir = if crosses { old_parent } else { Some((process, handle)) };
        self.orphans_go_to(name, heir);
        self.caps.remove(&name);
        handle
    }

    fn orphans_go_to(&mut self, parent: Name, heir: Option<Name>) {
        for cap in self.caps.values_mut().filter(|cap| cap.parent == Some(parent)) {
            cap.parent = heir;
        }
    }

    /// A narrower copy for `process`.
    fn derive(&self, name: Name, process: u32, frame: Frame, part: (u64, u64)) -> Result<Cap, Status> {
        let (rights, badge) = (Rights::from_bits_truncate(frame.rdi as u32), frame.words[0]);
        let mut copy = self.caps[&name];
        copy.rights &= rights;
        copy.dying = false;
        copy.parent = self.parent_for(process, name);
        if let Object::Range(kind, first, count) = copy.object {
            let (offset, length) = if part == (0, 0) { (0, u64::from(count)) } else { part };
            let end = offset.checked_add(length).ok_or(Status::BadRange)?;
            if badge != 0 {
                return Err(Status::BadArgument);
            }
            if length == 0 || end > u64::from(count) {
                return Err(Status::BadRange);
            }
            copy.object = Object::Range(kind, first + offset as u32, length as u32);
        } else if part != (0, 0) || badge > abi::BADGE_MAX || badge != 0 && copy.badge != 0 {
            return Err(Status::BadArgument);
        } else if badge != 0 {
            copy.badge = badge;
        }
        if self.may_hold(process, &copy) { Ok(copy) } else { Err(Status::WorldClosed) }
    }

    /// `Copy`.
    pub(super) fn copy(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::COPY)?;
        let copy = self.derive(name, name.0, frame, (frame.words[1], frame.words[2]))?;
        let handle = self.place(name.0, copy).ok_or(Status::TableFull)?;
        self.thread_mut(thread).frame.rdi = u64::from(handle);
        Ok(End::Done)
    }

    /// `Grant`: a copy into the table of another process.
    pub(super) fn grant(&mut self, thread: u32, name: Name, frame: Frame) -> Called {
        self.allows(name, Rights::PROCESS_GRANT)?;
        let Object::Is(_, target) = self.caps[&name].object else { return Err(Status::WrongKind) };
        if self.processes[&target].dying {
            return Err(Status::PeerDied);
        }
        let given = (name.0, Handle(frame.caps as u16).0);
        self.allows(given, Rights::COPY)?;
        let copy = self.derive(given, target, frame, (0, 0))?;
        let handle = self.place(target, copy).ok_or(Status::PeerTableFull)?;
        self.thread_mut(thread).frame.rdi = u64::from(handle);
        Ok(End::Done)
    }

    /// `Drop`: what was derived from it becomes its parent's; one that is being revoked takes that with it. In steps,
    /// if there is much of it.
    pub(super) fn drop_cap(&mut self, name: Name, seen: &Self) -> Called {
        self.named(name)?;
        Ok(if self.empty(name, Status::Abandoned, seen) { End::Done } else { End::Again })
    }

    /// Empties a place. False: the kernel has done only a part of it, which is then what is `seen`.
    pub(super) fn empty(&mut self, name: Name, reply_status: Status, seen: &Self) -> bool {
        let cap = self.caps[&name];
        let done = !seen.caps.contains_key(&name) || seen.caps[&name] != cap;
        if cap.dying {
            let gone = self.chosen_below(name, seen);
            self.remove_all(&gone);
            if done && !self.descendants(name).is_empty() {
                // Not allowed: what was to be revoked would outlive its root. Nothing that is seen can match this.
                self.remove_all(&self.descendants(name));
            }
        } else if done {
            self.orphans_go_to(name, cap.parent);
        } else {
            let adopted = |(other, cap): (&Name, &Cap)| {
                let moved = seen.caps.get(other).is_some_and(|seen| seen.parent != Some(name));
                (cap.parent == Some(name) && moved).then_some(*other)
            };
            let adopted: Vec<Name> = self.caps.iter().filter_map(adopted).collect();
            for child in adopted {
                self.caps.get_mut(&child).expect("it is there").parent = cap.parent;
            }
        }
        if done {
            self.caps.remove(&name);
            if let Object::Reply(caller) = cap.object {
                self.lose_reply(caller, reply_status);
            }
        }
        done
    }

    /// The descendants of a root that the kernel chose to remove in this step: whole subtrees.
    fn chosen_below(&self, root: Name, seen: &Self) -> BTreeSet<Name> {
        let missing = |name: &Name| !seen.caps.contains_key(name);
        let all = self.descendants(root);
        all.iter().copied().filter(|name| missing(name) && self.descendants(*name).iter().all(missing)).collect()
    }

    fn remove_all(&mut self, names: &BTreeSet<Name>) {
        for name in names {
            let Some(cap) = self.caps.remove(name) else { continue };
            match cap.object {
                Object::Reply(caller) => self.lose_reply(caller, Status::Revoked),
                Object::Is(Kind::Notification, notification) if cap.rights.contains(Rights::WAIT) => {
                    self.lose_bits(name.0, notification);
                }
                _ => {}
            }
        }
    }

    /// A process may no longer wait for a notification: nor does a thread of it that is bound.
    fn lose_bits(&mut self, process: u32, notification: u32) {
        let bound = self.notifications.get(&notification).and_then(|record| record.bound);
        if let Some(thread) = bound.filter(|&thread| self.thread(thread).process == process) {
            self.unbind(thread);
        }
    }

    /// `Revoke`: everything derived from it goes, in steps. From the first step on nothing of it can be used; after
    /// the last it is as good as new.
    pub(super) fn revoke(&mut self, name: Name, seen: &Self) -> Called {
        let cap = *self.named(name)?;
        if !cap.rights.contains(Rights::REVOKE) {
            return Err(Status::MissingRight);
        }
        if !cap.dying && self.is_dying(name) {
            return Err(Status::Revoked);
        }
        let gone = self.chosen_below(name, seen);
        self.remove_all(&gone);
        let done = self.descendants(name).is_empty() && seen.caps.get(&name).is_some_and(|cap| !cap.dying);
        self.caps.get_mut(&name).expect("it is there").dying = !done;
        Ok(if done { End::Done } else { End::Again })
    }
}
