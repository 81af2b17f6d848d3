//! The abstract kernel: what each call means, in plain sets, maps and queues. This is the specification; it is meant
//! to be read.
//!
//! It is no copy of the core: objects are named by their numbers and are there or not; a capability whose object has
//! died refers to [`Object::Gone`]; a Reply is nothing but the caller it answers, and is void as soon as that caller
//! no longer waits; "derived from" is a relation, followed to its end wherever it matters. Nothing here is bounded or
//! fast. Where the kernel may choose how much of a long job it does before the caller must ask again, the
//! specification looks at what was chosen ([`Model::step`]'s `seen`) and judges whether it was allowed.

mod capability;
mod crossing;
mod device;
mod entry;
mod epoch;
mod message;
mod object;
mod pages;

use crate::event::Frame;
use crate::shared::Shared;
pub use device::Devices;
pub(crate) use epoch::PORT_RIGHTS;
pub(crate) use pages::written;
pub use pages::{Mapping, Pages};

use abi::{Kind, Rights, Status};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Length of a time slice.
const SLICE_NS: u64 = 10_000_000;

/// A capability's place: process and handle. At handle 0, the null handle, nobody can name it: there lies the memory
/// port, the right to tell of the process's faults, which is derived from the capability that it was set by.
pub type Name = (u32, u16);

/// What a capability refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A process, thread, endpoint, notification or budget that is there.
    Is(Kind, u32),
    /// The right to answer this caller, who waits.
    Reply(u32),
    /// First and count of memory, interrupts or ports.
    Range(Kind, u32, u32),
    /// The right to cut.
    Epoch,
    /// Something of this kind that is no more; a Reply that is void.
    Gone(Kind),
}

/// A capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// To what.
    pub object: Object,
    /// Whether that is, or was, of the world.
    pub of_world: bool,
    /// What it allows.
    pub rights: Rights,
    /// Its badge.
    pub badge: u64,
    /// What it was derived from.
    pub parent: Option<Name>,
    /// Whether what was derived from it is being revoked.
    pub dying: bool,
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing until it is started.
    Stopped,
    /// It runs, or would.
    Ready,
    /// Waits for its call to be received on an endpoint.
    Calling(u32),
    /// Waits for its message to be received on an endpoint.
    Sending(u32),
    /// Waits for its fault to be received on an endpoint.
    Faulting(u32),
    /// Waits for the reply to its call.
    AwaitReply,
    /// Waits for the reply to its fault.
    AwaitFault,
    /// Waits for a message on an endpoint.
    Receiving(u32),
    /// Waits for a notification.
    Waiting(u32),
    /// Waits for its deadline.
    Sleeping,
}

/// The Reply that a thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Of this caller.
    Caller(u32),
    /// Of nobody any more; whether it was of the world.
    Void(bool),
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its process.
    pub process: u32,
    /// Its priority.
    pub priority: u8,
    /// What it does.
    pub doing: Doing,
    /// Its registers, as far as calls use them.
    pub frame: Frame,
    /// Where it goes on.
    pub rip: u64,
    /// Badge and flags of the message it waits with.
    pub sent: Option<(u64, u8)>,
    /// Address, access and code of the fault it waits with.
    pub fault: Option<[u64; 3]>,
    /// The Reply it holds.
    pub serves: Option<Serves>,
    /// The notification bound to it.
    pub bound: Option<u32>,
    /// When its wait ends, in ns since boot.
    pub deadline: Option<u64>,
    /// Order among those who wait or are ready; those who were put in front count down.
    pub ticket: i64,
    /// What it was made from.
    pub budget: Option<u32>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What fault messages call it.
    pub name: u64,
    /// Handles it can have, the null handle included.
    pub handles: u32,
    /// Whether it is being destroyed.
    pub dying: bool,
    /// What it was made from.
    pub budget: Option<u32>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Service id, or 0.
    pub service: u32,
    /// Who waits, the first first.
    pub queue: VecDeque<u32>,
    /// Whether it is being destroyed.
    pub dying: bool,
    /// What it was made from.
    pub budget: Option<u32>,
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Signalled and not taken.
    pub bits: u64,
    /// Who waits, the first first.
    pub queue: VecDeque<u32>,
    /// Whom it is bound to.
    pub bound: Option<u32>,
    /// Whether it is being destroyed.
    pub dying: bool,
    /// What it was made from.
    pub budget: Option<u32>,
}

/// A budget: processes, threads, endpoints, notifications, budgets, capability slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What can still be made.
    pub left: [u32; 6],
    /// What was made.
    pub used: [u32; 6],
    /// What it was split from.
    pub parent: Option<u32>,
}

/// A CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Who runs.
    pub runs: Option<u32>,
    /// When the time slice ends that has begun, whoever runs meanwhile.
    pub slice: Option<u64>,
}

/// The abstract kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Time since boot.
    pub now: u64,
    /// Whether the world runs.
    pub started: bool,
    /// Tickets drawn so far.
    pub tickets: i64,
    /// Threads by number.
    pub threads: BTreeMap<u32, Thread>,
    /// Processes by number.
    pub processes: BTreeMap<u32, Process>,
    /// Endpoints by number.
    pub endpoints: BTreeMap<u32, Endpoint>,
    /// Notifications by number.
    pub notifications: BTreeMap<u32, Notification>,
    /// Budgets by number.
    pub budgets: BTreeMap<u32, Budget>,
    /// Capabilities by place.
    pub caps: Shared<BTreeMap<Name, Cap>>,
    /// Who is ready, by priority, the next first.
    pub ready: BTreeMap<u8, VecDeque<u32>>,
    /// CPUs.
    pub cpus: Vec<Cpu>,
    /// Address spaces and frames.
    pub pages: Pages,
    /// By what interrupts are bound: the process, its handles for the interrupt and the notification.
    pub interrupts: BTreeMap<u32, (u32, u16, u16)>,
    /// What devices have been told.
    pub devices: Devices,
    /// The last epoch that is durable.
    pub committed: u64,
    /// World time minus time since boot, wrapping.
    pub world_ahead: u64,
    /// Numbers below these are of the world: processes, threads, endpoints, notifications, budgets.
    pub world: [u32; 5],
    /// How many there can be of each.
    pub sizes: [u32; 5],
}

/// How a call ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With success and nothing to tell.
    Done,
    /// Its result register holds what it should.
    Kept,
    /// It is to be made again.
    Again,
}

type Called = Result<End, Status>;

/// The specification has no opinion on this call: only invariants are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unspecified;

impl Cap {
    /// The kind of its object.
    pub fn kind(&self) -> Kind {
        match self.object {
            Object::Is(kind, _) | Object::Range(kind, ..) | Object::Gone(kind) => kind,
            Object::Reply(_) => Kind::Reply,
            Object::Epoch => Kind::Epoch,
        }
    }
}

impl Model {
    /// Whether a thread is of the world.
    pub fn is_world_thread(&self, thread: u32) -> bool {
        thread < self.world[1]
    }

    /// Whether a process is of the world.
    pub fn is_world_process(&self, process: u32) -> bool {
        process < self.world[0]
    }

    fn thread(&self, thread: u32) -> &Thread {
        &self.threads[&thread]
    }

    fn thread_mut(&mut self, thread: u32) -> &mut Thread {
        self.threads.get_mut(&thread).expect("the thread is there")
    }

    /// Takes a thread out of every queue; it waits for nothing any more. Its Reply, if one was out, is void.
    fn release(&mut self, thread: u32) {
        for queue in self.endpoints.values_mut().map(|endpoint| &mut endpoint.queue) {
            queue.retain(|&other| other != thread);
        }
        for queue in self.notifications.values_mut().map(|notification| &mut notification.queue) {
            queue.retain(|&other| other != thread);
        }
        for queue in self.ready.values_mut() {
            queue.retain(|&other| other != thread);
        }
        self.ready.retain(|_, queue| !queue.is_empty());
        let record = self.thread_mut(thread);
        (record.deadline, record.sent, record.fault) = (None, None, None);
        self.void(thread);
    }

    /// All Replies to a caller are void from now on.
    fn void(&mut self, caller: u32) {
        let of_world = self.is_world_thread(caller);
        for thread in self.threads.values_mut().filter(|thread| thread.serves == Some(Serves::Caller(caller))) {
            thread.serves = Some(Serves::Void(of_world));
        }
        self.caps_become(Object::Reply(caller), Object::Gone(Kind::Reply));
    }

    /// What capabilities referred to is something else now.
    fn caps_become(&mut self, old: Object, new: Object) {
        if self.caps.values().any(|cap| cap.object == old) {
            self.caps.values_mut().filter(|cap| cap.object == old).for_each(|cap| cap.object = new);
        }
    }

    fn draw_ticket(&mut self) -> i64 {
        self.tickets += 1;
        self.tickets
    }

    /// Makes a thread ready, behind the others of its priority.
    fn wake(&mut self, thread: u32) {
        self.make_ready(thread, false);
    }

    /// Makes a thread the next of its priority: the CPU is being handed to it.
    fn hand_over(&mut self, thread: u32) {
        self.make_ready(thread, true);
    }

    fn make_ready(&mut self, thread: u32, front: bool) {
        self.release(thread);
        let ticket = self.draw_ticket();
        let record = self.thread_mut(thread);
        record.doing = Doing::Ready;
        record.ticket = if front { -ticket } else { ticket };
        let priority = record.priority;
        if self.started || !self.is_world_thread(thread) {
            let queue = self.ready.entry(priority).or_default();
            if front { queue.push_front(thread) } else { queue.push_back(thread) }
        }
    }

    fn wake_with(&mut self, thread: u32, status: Status) {
        self.thread_mut(thread).frame.rax = abi::Outcome::of(status).0;
        self.wake(thread);
    }

    /// Takes whoever runs on a CPU off it.
    fn leave(&mut self, cpu: usize) {
        self.cpus[cpu].runs = None;
    }

    /// At the end of every entry: the CPU runs the best thread there is.
    fn dispatch(&mut self, cpu: usize) {
        let best = self.ready.last_key_value().map(|(&priority, _)| priority);
        if let Some(current) = self.cpus[cpu].runs {
            let priority = self.thread(current).priority;
            if best.is_some_and(|best| best > priority) {
                self.leave(cpu);
                let ticket = self.draw_ticket();
                self.thread_mut(current).ticket = -ticket;
                self.ready.entry(priority).or_default().push_front(current);
            }
        }
        if self.cpus[cpu].runs.is_none()
            && let Some(queue) = best.and_then(|best| self.ready.get_mut(&best))
        {
            self.cpus[cpu].runs = queue.pop_front();
            self.ready.retain(|_, queue| !queue.is_empty());
        }
        if let Some(current) = self.cpus[cpu].runs
            && self.ready.contains_key(&self.thread(current).priority)
        {
            self.cpus[cpu].slice.get_or_insert(self.now + SLICE_NS);
        }
    }

    /// All capabilities derived from `root`, directly or not.
    pub fn descendants(&self, root: Name) -> BTreeSet<Name> {
        let mut found = BTreeSet::new();
        loop {
            let more: Vec<Name> = self
                .caps
                .iter()
                .filter(|(name, cap)| {
                    !found.contains(*name) && cap.parent.is_some_and(|parent| parent == root || found.contains(&parent))
                })
                .map(|(&name, _)| name)
                .collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }
}
