//! Budgets: the right to create objects.

use crate::error::errors;
use crate::message::Message;
use crate::raw::{Frame, syscall};
use crate::{Endpoint, Notification, Process, Thread};
use abi::protocol::service::Service;
use abi::{Call, Control, Handle, Kind};

errors! {
    /// Why an object was not created.
    CreateError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BudgetExhausted, TablesExhausted, TableFull,
        PoolExhausted, PeerDied, WorldClosed, BadAddress, WrongState,
    }
    /// Why a Budget was not split.
    SplitError {
        BadHandle, WrongKind, MissingRight, BadArgument, Revoked, BudgetExhausted, TablesExhausted, TableFull, PeerDied,
        WrongState,
    }
}

/// A capability to a Budget. What it creates belongs to the world if the Budget does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Handle);

/// Counts of objects, to split off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounts {
    /// Processes.
    pub processes: u64,
    /// Threads.
    pub threads: u64,
    /// Endpoints.
    pub endpoints: u64,
    /// Notifications.
    pub notifications: u64,
    /// Budgets.
    pub budgets: u64,
    /// Slots of capability tables.
    pub slots: u64,
}

impl Budget {
    fn create(self, kind: Kind, mut message: Message) -> Result<Handle, CreateError> {
        message.tag = kind as u64;
        let control = Control::new(Call::Create, self.0).with_flags(message.caps_count());
        let (outcome, frame): (_, Frame) = syscall(control, message.frame());
        CreateError::check(outcome)?;
        Ok(Handle(frame.tag as u16))
    }

    /// A process with room for `handles` capabilities (rounded up to a power of two, 16 … 32,768).
    pub fn process(self, handles: u64) -> Result<Process, CreateError> {
        self.create(Kind::Process, Message::default().word(0, handles)).map(Process)
    }

    /// A thread of `process`, stopped: it will start at `entry` with this stack pointer, argument and priority.
    pub fn thread(self, process: Process, start: ThreadStart) -> Result<Thread, CreateError> {
        let message = Message::default()
            .word(0, start.entry)
            .word(1, start.stack)
            .word(2, start.argument)
            .word(3, start.priority.into())
            .cap(0, process.0);
        self.create(Kind::Thread, message).map(Thread)
    }

    /// An endpoint; with a service, a port of the world.
    pub fn endpoint(self, service: Option<Service>) -> Result<Endpoint, CreateError> {
        let id = service.map_or(0, |service| service as u64);
        self.create(Kind::Endpoint, Message::default().word(0, id)).map(Endpoint)
    }

    /// A notification.
    pub fn notification(self) -> Result<Notification, CreateError> {
        self.create(Kind::Notification, Message::default()).map(Notification)
    }

    /// A Budget with these counts, which this one then lacks.
    pub fn split(self, counts: BudgetCounts) -> Result<Self, SplitError> {
        let message = Message::tagged(Kind::Budget as u64)
            .word(0, counts.processes)
            .word(1, counts.threads)
            .word(2, counts.endpoints)
            .word(3, counts.notifications)
            .word(4, counts.budgets)
            .word(5, counts.slots);
        let (outcome, frame) = syscall(Control::new(Call::Create, self.0), message.frame());
        SplitError::check(outcome)?;
        Ok(Self(Handle(frame.tag as u16)))
    }
}

/// Where and how a thread starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStart {
    /// Its first instruction.
    pub entry: u64,
    /// Its stack pointer.
    pub stack: u64,
    /// rdi.
    pub argument: u64,
    /// Its priority, at most the creator's.
    pub priority: u8,
}
