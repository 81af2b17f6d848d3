//! What the fast path has looked up before, so that it need not look again.
//!
//! A pass says what a thread's handle leads to, for one kind of call. All that it stands on is in the capabilities, in
//! generation and life of objects, in `revoking`, in which page tables are in use, in which records are fresh, and in whether a thread that runs is ready:
//! whatever changes any of these moves [`Kernel::version`], and with it all passes are void.
//!
//! Invariants:
//! 1. A pass of the present version says what a look-up would find now; its thread's record is fresh, and ready if it
//!    runs.
//! 2. A thread that is at hand at the present version is of a world that has started, or of none, has a fresh record, its
//!    space has the running epoch's stamp, and what it waits for it still may wait for.
//! 3. A thread that has a deadline, or would go on outside user space, is at hand at no version.
//!    ([`Kernel::false_pass`] looks for one that does not; [`Kernel::still_stands`] asks about each step whether passes
//!    that may have been held before it would have ended in time.)

use super::{CALL, HANDLE_BITS, POLL, REPLY_RECEIVE, SIGNAL, WAIT};
use crate::object::NONE;
use crate::space::Space;
use crate::{Capability, Kernel, Machine, State};
use abi::{Control, Event, Outcome, Rights};

/// Where a control word leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pass {
    /// The control word; of a fault the name of the process.
    pub(super) control: u64,
    /// When that was seen.
    version: u64,
    /// Badge of the capability.
    pub(super) badge: u64,
    /// What it brings to who receives it.
    pub(super) outcome: Outcome,
    /// Endpoint or notification.
    pub(super) object: u32,
}

/// The passes of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Passes {
    /// The version at which it was seen to be ready to go on with.
    pub(super) at_hand: u64,
    pub(super) call: Pass,
    pub(super) reply_receive: Pass,
    pub(super) signal: Pass,
    pub(super) wait: Pass,
    pub(super) poll: Pass,
    /// To the endpoint that serves the thread's memory.
    pub(super) fault: Pass,
}

impl Pass {
    const NONE: Self = Self { control: 0, version: u64::MAX, badge: 0, outcome: Outcome(0), object: NONE };

    /// Whether it holds.
    pub(super) fn is_of(&self, version: u64) -> bool {
        self.version == version
    }

    /// Whether it is for this control word and holds.
    pub(super) fn admits(&self, control: u64, version: u64) -> bool {
        self.control == control && self.version == version
    }
}

impl Passes {
    pub(crate) const NONE: Self = Self {
        at_hand: u64::MAX,
        call: Pass::NONE,
        reply_receive: Pass::NONE,
        signal: Pass::NONE,
        wait: Pass::NONE,
        poll: Pass::NONE,
        fault: Pass::NONE,
    };

    /// Something about the thread itself makes it one that is not to be gone on with quickly.
    pub(crate) fn not_at_hand(&mut self) {
        self.at_hand = u64::MAX;
    }

    /// The place for the pass of a call, and which right it needs; no call that goes the fast way has none.
    fn of(&mut self, control: u64) -> Option<(&mut Pass, Rights)> {
        match control & !HANDLE_BITS {
            CALL => Some((&mut self.call, Rights::SEND)),
            REPLY_RECEIVE => Some((&mut self.reply_receive, Rights::RECEIVE)),
            SIGNAL => Some((&mut self.signal, Rights::SIGNAL)),
            WAIT => Some((&mut self.wait, Rights::WAIT)),
            POLL => Some((&mut self.poll, Rights::WAIT)),
            _ => None,
        }
    }
}

impl Kernel {
    /// What passes are valid at.
    pub(super) fn version(&self) -> u64 {
        self.capabilities.version()
    }

    /// Looks up what a call that the fast path has declined needs, and who would go on: for the next one like it. Whether that
    /// found anything new.
    pub fn admit(&mut self, m: &impl Machine, cpu: usize, control: u64) -> bool {
        let from = self.cpus[cpu].current;
        let Some(pass) = self.look_up_pass(from, control) else { return self.admit_map(m, cpu, control) };
        let to = match control & !HANDLE_BITS {
            CALL => self.endpoints.beside(pass.object).head,
            SIGNAL => self.notifications.beside(pass.object).head,
            REPLY_RECEIVE => self.threads.get(from).serving,
            WAIT => self.run.next,
            _ => NONE,
        };
        let mut new = self.take_in_hand(m, to);
        if let Some((place, _)) = self.threads.beside_mut(from).passes.of(control) {
            new |= core::mem::replace(place, pass) != pass;
        }
        new
    }

    /// The same for a fault of the running thread.
    pub fn admit_fault(&mut self, m: &impl Machine, cpu: usize) -> bool {
        let from = self.cpus[cpu].current;
        let Some(pass) = self.look_up_fault(from) else { return false };
        let at_hand = self.take_in_hand(m, self.endpoints.beside(pass.object).head);
        core::mem::replace(&mut self.threads.beside_mut(from).passes.fault, pass) != pass || at_hand
    }

    /// Notes that a thread is at hand, if it is; whether that was not known.
    fn take_in_hand(&mut self, m: &impl Machine, thread: u32) -> bool {
        let space = self.threads.try_get(thread).and_then(|record| self.processes.try_beside(record.process));
        let Some(&Space { root, .. }) = space.filter(|_| self.is_at_hand(thread)) else { return false };
        let version = self.version();
        let link = self.threads.beside_mut(thread);
        link.root_address = m.table_address(root);
        core::mem::replace(&mut link.passes.at_hand, version) != version
    }

    /// The pass of a thread to who serves its memory.
    fn look_up_fault(&self, from: u32) -> Option<Pass> {
        let number = self.threads.try_get(from)?.process;
        let process = self.processes.try_get(number)?;
        let Capability { badge, object, .. } = self.memory_port(number)?;
        let control = process.name(number);
        let outcome = Outcome::event(Event::Fault, badge);
        let pass = Pass { control, version: self.version(), badge, outcome, object };
        self.is_present(from).then_some(pass)
    }

    /// Whether a thread may have passes.
    fn is_present(&self, thread: u32) -> bool {
        let stopped = self.threads.beside(thread).cpu().is_some() && self.threads.get(thread).state != State::Ready;
        self.threads.is_fresh(thread) && !stopped
    }

    /// The pass of a thread for a control word.
    fn look_up_pass(&self, from: u32, control: u64) -> Option<Pass> {
        let mut passes = self.threads.try_beside(from)?.passes;
        let (_, needed) = passes.of(control)?;
        if !self.is_present(from) {
            return None;
        }
        let slot = self.look_up(self.threads.get(from).process, Control(control).handle(), needed).ok()?;
        let Capability { object, badge, .. } = *self.capabilities.get(slot);
        let refused = needed == Rights::SEND && object < self.endpoints.world() && !self.is_world_thread(from)
            || needed == Rights::SIGNAL && badge == 0;
        let event = if needed == Rights::SIGNAL { Event::Notification } else { Event::Call };
        let outcome = Outcome::event(event, badge);
        (!refused).then_some(Pass { control, version: self.version(), badge, outcome, object })
    }

    /// Whether a thread can be gone on with at once, whatever it waits for.
    fn is_at_hand(&self, thread: u32) -> bool {
        self.is_near(thread) && self.is_plain(thread)
    }

    /// Invariant 2: capabilities only change with the version.
    fn is_near(&self, thread: u32) -> bool {
        let process = self.threads.get(thread).process;
        let is_ready = |space: &Space| self.started && self.is_fresh_table(space.root);
        let ready = !self.is_world_process(process) || self.processes.try_beside(process).is_some_and(is_ready);
        self.threads.is_fresh(thread) && ready && self.still_may(thread)
    }

    /// Invariant 3.
    fn is_plain(&self, thread: u32) -> bool {
        let record = self.threads.get(thread);
        record.deadline == u64::MAX
            && (self.threads.beside(thread).cpu().is_some() || record.registers.rip < abi::USER_END)
    }

    /// A thread for which an invariant does not hold.
    #[cfg(any(test, feature = "host"))]
    pub(crate) fn false_pass(&self) -> Option<u32> {
        let version = self.version();
        (0..self.threads.len()).find(|&thread| {
            let passes = &self.threads.beside(thread).passes;
            let is_false = |pass: &Pass, found: Option<Pass>| pass.version == version && found != Some(*pass);
            let calls = [passes.call, passes.reply_receive, passes.signal, passes.wait, passes.poll];
            let false_pass = calls.iter().any(|pass| is_false(pass, self.look_up_pass(thread, pass.control)))
                || is_false(&passes.fault, self.look_up_fault(thread));
            let far = passes.at_hand == version && !self.is_near(thread);
            false_pass || far || passes.at_hand != u64::MAX && !self.is_plain(thread)
        })
    }

    /// Whether all that passes stand on is as it was `before` this step, unless the version has moved.
    #[cfg(any(test, feature = "host"))]
    pub fn still_stands(&self, before: &Self) -> bool {
        let threads = |of: &Self, thread: u32| {
            let record = of.threads.get(thread);
            (record.state != State::Free).then_some(record.process)
        };
        let process = |of: &Self, index| {
            let process = of.processes.get(index);
            (process.generation, process.dying, process.slots, of.processes.beside(index).root)
        };
        let endpoint = |of: &Self, index| (of.endpoints.get(index).generation, of.endpoints.get(index).life == 1);
        let notification =
            |of: &Self, index| (of.notifications.get(index).generation, of.notifications.get(index).life == 1);
        self.version() != before.version()
            || self.revoking == before.revoking
                && (self.capabilities.is_same(&before.capabilities)
                    || (0..self.capabilities.len())
                        .all(|slot| self.capabilities.get(slot) == before.capabilities.get(slot)))
                && self.pool.keeps_those_of(&before.pool)
                && (0..self.processes.len()).all(|index| process(self, index) == process(before, index))
                && (0..self.endpoints.len()).all(|index| endpoint(self, index) == endpoint(before, index))
                && (0..self.notifications.len()).all(|index| notification(self, index) == notification(before, index))
                && (0..self.threads.len()).all(|thread| {
                    let (now, then) = (threads(self, thread), threads(before, thread));
                    now.is_none()
                        || then.is_none()
                        || now == then
                            && self.is_present(thread) >= before.is_present(thread)
                            && self.is_near(thread) >= before.is_near(thread)
                            && (self.is_plain(thread) || self.threads.beside(thread).passes.at_hand == u64::MAX)
                })
    }
}
