//! The system calls, by number. Register packing: [`crate::registers`].

use crate::Status;

/// Number of a system call, in the low byte of rax.
///
/// "arg 0" is rdi, "arg 1 … 8" are words 0 … 7 (rsi rdx r8 r9 r10 r12 r13 r14); results likewise. A "rights mask" has
/// the bits of [`crate::Rights`]; those that are no rights are ignored.
///
/// **Errors** named here come on top of `BadHandle`, `WrongKind`, `MissingRight`, `BadArgument`, `Revoked` and `PeerDied`
/// (the object is gone), which every call with a handle can return; [`Call::may_end_in`] tells all. Whoever fails has
/// changed nothing, unless the call says otherwise.
///
/// **Blocking.** `Call`, `Send`, `Receive`, `ReplyReceive` and `Wait` wait, at most as long as their time-out says
/// ([`crate::Timeout`]: a poll ends in `WouldBlock`, a deadline in `TimedOut`, `Stop` in `Cancelled`). No other call does.
/// Whoever has an endless job (`Drop`, `Revoke`, `Destroy`, `Restore`, `Receive` past many dead senders) does it in steps:
/// the thread comes back to the same `syscall` instruction until it is done, and others run between.
///
/// **Across a restore.** No call is ever half made: one that does not wait was made before the cut, or its thread makes it
/// after the restore; a job in steps goes on where it was. Who waited goes on waiting, with what was left of its time-out
/// in world time. What differs is said with `Call`. Volatile processes are not restored; what holds capabilities on the
/// world after a restore was given them anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Call {
    /// Does nothing. Never fails, never blocks.
    Null = 0,

    // ---- messages -------------------------------------------------------------------------------------------
    /// Send through `handle` (right SEND) and wait for the reply. Tag, words, capabilities in and out. A poll only wants a
    /// receiver to be waiting: it then waits for the reply without a limit. Errors: `WorldClosed` (a volatile thread must
    /// not wait in the world, and some capabilities never enter it), `Restarted`, `Abandoned`, `PeerTableFull`, `TableFull`
    /// (no room for the reply's capabilities), `TablesExhausted` (a capability's chain of copies is too long, or more than
    /// [`MOVED_CHILDREN_MAX`] were derived from those that are moved), `TimedOut`,
    /// `WouldBlock`, `Cancelled`; `BadArgument` also for a repeatable call that moves capabilities. Blocks; the time-out
    /// covers the whole call. Across a restore: `Restarted`, unless a persistent process held the Reply or the call was
    /// marked repeatable.
    Call = 1,
    /// Answer the call whose Reply the thread holds (none is no error: it only receives), then receive on `handle`
    /// (right RECEIVE). Tag, words and capabilities in are the reply's; a reply that cannot be delivered is dropped: its
    /// caller is told `TableFull` or `Abandoned`. Errors as `Receive`; `handle` is looked at before the reply
    /// is given, all else after.
    ReplyReceive = 2,
    /// Send without a reply (right SEND). Tag, words, capabilities in. Blocks until a receiver takes it. Errors:
    /// `WorldClosed`, `PeerTableFull`, `TablesExhausted`, `TimedOut`, `WouldBlock`, `Cancelled`.
    Send = 3,
    /// Receive on `handle` (right RECEIVE), or on the notification bound to the thread if that is signalled first.
    /// Holding a Reply already is `WrongState`. Out: [`crate::Event`], badge, tag, words, capabilities. Errors:
    /// `WrongState`, `PeerDied` (the endpoint was destroyed), `TimedOut`, `WouldBlock`, `Cancelled`. Blocks.
    Receive = 4,
    /// Answer the call whose Reply the thread holds, or with a handle, of the Reply capability saved there. Tag,
    /// words, capabilities in. Errors: `NoReply`, `PeerDied` (the caller no longer waits; the Reply is used up),
    /// `PeerTableFull`, `WorldClosed`, `TablesExhausted` (after these it still stands). Answering a fault lets its thread
    /// go on.
    Reply = 5,
    /// Move the Reply that the thread holds into its process's table. Out arg 0: handle. Errors: `NoReply`,
    /// `TableFull`.
    SaveReply = 6,
    /// Set the bits of `handle`'s badge in the notification (right SIGNAL): for the first who waits, else to be taken
    /// later. A capability without a badge is `BadArgument`.
    Signal = 7,
    /// Take all bits of the notification `handle` (right WAIT), waiting until there are some. With the null handle:
    /// sleep until the time-out, which is then no error. Out: bits in the badge. Errors: `TimedOut`, `WouldBlock`,
    /// `Cancelled`. Blocks.
    Wait = 8,
    /// Bind the notification `handle` (right WAIT) to the calling thread, so that `Receive` waits for both. The null
    /// handle unbinds. Errors: `AlreadyBound` (either of them), `WorldClosed` (one is of the world, the other is not).
    BindNotification = 9,
    /// Let another thread of the same priority run. Never fails.
    Yield = 10,

    // ---- capabilities ---------------------------------------------------------------------------------------
    /// Copy `handle`. Arg 0: rights to keep (a mask); arg 1: badge, or 0 to keep it (only an unbadged capability can
    /// be given one); for Memory, Interrupt, IoPorts args 2, 3: offset and length within its range (0, 0: all).
    /// The copy is a child of the original (right COPY). Out arg 0: the new handle. Errors: `TableFull`, `BadRange`,
    /// `TablesExhausted` (a chain of copies is at most 64 long).
    Copy = 11,
    /// Drop `handle`, also one that is void. What was derived from it becomes its parent's. A Reply's caller is told
    /// `Abandoned`; a thread whose fault it was is stopped. Errors: `BadHandle` alone. In steps.
    Drop = 12,
    /// Remove everything derived from `handle` (right REVOKE), in steps: from the first on nothing of it can be used, and
    /// nothing is delivered through it: whoever waits by it to send, to receive or for a notification gets `Revoked` when
    /// its turn comes. A thread that is bound to a notification whose capability its process loses by this is bound no
    /// more; memory ports and interrupts that were bound by such a capability are so no longer.
    Revoke = 13,
    /// Out arg 0: kind (8 bits) | 1 << 8 if it is an object of the world; arg 1: rights; arg 2: badge; arg 3: object
    /// number and generation; args 4, 5: offset and length of a range.
    Identify = 14,
    /// Destroy the object of `handle` (right DESTROY): all capabilities to it are void from then on, whoever waits on
    /// it gets `PeerDied`; its counts go back to its Budget. Threads in a memory port's line are stopped. Errors:
    /// `WrongState` (the caller's own process, a Budget from which something lives, a root Budget). In steps.
    Destroy = 15,

    // ---- objects --------------------------------------------------------------------------------------------
    /// Create an object from the Budget `handle` (right BUDGET_SPEND); it belongs to the world if the Budget does.
    /// Arg 0: kind. Process: arg 1 number of handles (rounded up to a power of two, 16 … 32,768). Thread: cap 0 the
    /// process (right PROCESS_THREADS), arg 1 entry address, arg 2 stack pointer, arg 3 value for rdi, arg 4 priority
    /// (at most the creator's, and in the world at most [`WORLD_PRIORITY_MAX`]). Endpoint: arg 1 service id (0: a plain endpoint, not a port). Notification: nothing.
    /// Budget (split): args 1 … 6 processes, threads, endpoints, notifications, budgets, capability slots.
    /// Out arg 0: handle with all rights. Errors: `BudgetExhausted`, `TablesExhausted`, `TableFull`, `PoolExhausted`,
    /// `WorldClosed` (a thread's Budget and process: one of the world, the other not), `BadAddress` (entry or stack beyond
    /// user space), `WrongState` (an object of the world between `Restore` and `Resume`); `PeerDied` also if the process is
    /// being destroyed, `BadArgument` also for a service that has its port.
    Create = 16,
    /// Put a copy of cap 0 into the table of the process `handle` (right PROCESS_GRANT). Arg 0: rights mask; arg 1:
    /// badge or 0; cap 0 needs right COPY. Out arg 0: the handle there. Errors: `PeerTableFull`, `WorldClosed`,
    /// `TablesExhausted`.
    Grant = 17,
    /// Faults of the process `handle` (right PROCESS_GRANT) go to the endpoint cap 0 (right SEND) from now on, with
    /// badge arg 0 (the capability's own, if it has one), until that capability is revoked: the port is derived from
    /// it. A fault that waits at another port is made again. Errors: `PeerDied` (the process is being destroyed),
    /// `WorldClosed` (process and endpoint are not both of the world or both volatile), `TablesExhausted` (derived too
    /// often). While that endpoint lives, faults wait for it; later they stop threads.
    SetMemoryPort = 18,
    /// Start the thread `handle` (right THREAD_CONTROL) that is stopped. Errors: `WrongState` (it is not, or its process is
    /// being destroyed).
    Start = 19,
    /// Stop the thread `handle` (right THREAD_CONTROL); a wait ends with `Cancelled`, an access that faulted is made again
    /// when it is started. One that runs on another CPU stops when that CPU next enters the kernel, which it is told to.
    Stop = 20,
    /// Set the priority of the thread `handle` (right THREAD_CONTROL) to arg 0: 0 … 255, at most the caller's own,
    /// and in the world at most [`WORLD_PRIORITY_MAX`].
    SetPriority = 21,

    // ---- page tables ----------------------------------------------------------------------------------------
    /// Map frames of the Memory cap 0 into a process: `handle` is a Process (right PROCESS_MAP), or the endpoint
    /// (right RECEIVE) that is the memory port of the process named by arg 5 (as a fault message names it).
    /// Arg 0: address; arg 1: first page within the Memory; arg 2: pages (1 … 512); arg 3: [`crate::MapFlags`]; arg 4:
    /// the epoch in which a writable mapping was decided (of a process of the world; else anything).
    /// Cap 0 needs right MEMORY_MAP, and MEMORY_WRITE if it is to be written. Out arg 0: pages mapped, fewer than asked for
    /// if something ran out on the way. Errors: `BadAddress`, `BadRange`, `PoolExhausted`, `StaleEpoch`, `Busy` (with `NOW`:
    /// the frame is claimed, or the log or the donated frames are used up); `PeerDied` also for a process that is being
    /// destroyed. All CPUs have dropped what was mapped there before when it returns.
    Map = 22,
    /// Remove mappings. Process as for `Map`, or `handle` is the Epoch (right EPOCH_CUT) and arg 5 names a process of the world,
    /// whoever serves its memory now; arg 0 address, arg 1 pages (1 … 512), arg 5 process. Out arg 0: how many were mapped.
    /// All CPUs have dropped their translations when it returns. Errors: `BadAddress`.
    Unmap = 23,
    /// Change rights: as `Unmap`, arg 2 [`crate::MapFlags`] (only ever narrows what `Map` allowed).
    Protect = 24,

    // ---- epochs ---------------------------------------------------------------------------------------------
    /// End the current epoch (right EPOCH_CUT). Out arg 0: the epoch that now runs; arg 1: position in the log of
    /// first writes at which the ended epoch ends; arg 2: 1 if no record changed in the ended epoch, else 0. Constant time.
    /// Errors: `Busy` (the epoch before has not been exported), `WrongState` (no world runs). Across a restore: an epoch
    /// never holds the cut that ended it.
    Cut = 25,
    /// Read the log of first writes from position arg 0 (right EPOCH_CUT), releasing what lies before it. Arg 1: the
    /// position at which first writes must stop from now on, as if the log were full there; u64::MAX: nowhere. Out arg 0:
    /// entries read (0 … 8); words: frame | copy << 32 (copy 0: contents needed no copy).
    ReadLog = 26,
    /// Donate frames of Memory cap 0 for copies (right EPOCH_CUT). Args 0 …: arg 0 count (1 … 8), args 1 … 8 page
    /// offsets within the Memory (right MEMORY_WRITE). Out arg 0: how many the ring had room for. Errors: `BadRange`.
    Donate = 27,
    /// Set the states of frames of Memory cap 0 (right EPOCH_CUT). Arg 0: count (1 … 8) | [`crate::FrameState`] << 8;
    /// words: page offset within the Memory (low 32 bits). For `Claimed` and `Clean`, only frames whose last write
    /// was in an epoch before the current one change; for `Dirty`, only clean ones, each with all that a first write
    /// does. Out arg 0: bit mask of those that changed. Errors: `BadRange`.
    SetFrames = 28,
    /// Write a batch of the ended epoch's changed records (right EPOCH_RECORDS) into the page at offset arg 0 of the
    /// Memory cap 0 (right MEMORY_WRITE): as many as a bounded step takes, not as many as there is room for. Out arg 0:
    /// bytes written; 0: all of the ended epoch has been exported.
    /// Layout: [`crate::record`]. Errors: `BadRange`.
    Export = 29,
    /// Take back a batch of records from the page at offset arg 0 of the Memory cap 0, before the world runs (right
    /// EPOCH_RECORDS), from the record with number arg 1 on: it goes in steps, between which arg 1 counts. Out arg 0:
    /// records taken. The Memory needs right MEMORY_MAP. Errors: `BadRecord` (arg 1: its table, arg 2: its index; records
    /// before it have been taken), `BadRange`, `WrongState` (the world runs, or its genesis has begun).
    Restore = 30,
    /// Let the world run (right EPOCH_RECORDS): check all records as a graph, rebuild what is derived, apply law 4.
    /// Arg 0: the epoch that now begins; arg 1: world time in ns, at least (it never goes back), at
    /// most 2^63 - 1. Errors: `BadRecord` (as `Restore`), `WrongState` (it runs). Takes as long as there are records.
    Resume = 31,
    /// Announce that epoch arg 0 and all before it are durable (right EPOCH_RECORDS). `BadArgument` for one before the last
    /// that was announced, or that has not ended.
    Committed = 32,
    /// A receiving capability for the port with service id arg 0 (right EPOCH_PORTS). Out arg 0: handle (rights
    /// RECEIVE, SEND and COPY). Errors: `TableFull`; `BadArgument` when the world has no such port.
    BindPort = 33,
    /// Out arg 0: the running epoch; arg 1: the last committed; arg 2: world time in ns, which stands still while the
    /// machine is off. Needs no handle, never fails.
    Clock = 34,

    // ---- devices --------------------------------------------------------------------------------------------
    /// Deliver the first interrupt of the range `handle` (right INTERRUPT_BIND) as a signal through cap 0
    /// (notification, right SIGNAL, with a badge), in place of what it was bound to before, for as long as the process has
    /// both at these handles. Numbers below
    /// [`crate::boot_info::INTERRUPT_LINES`] are lines: they stay masked from their arrival until they are acknowledged. Out
    /// arg 0, arg 1: message address and data for MSI and MSI-X (0 for lines). Errors: `BadRange` (no such interrupt).
    BindInterrupt = 35,
    /// Let the first interrupt of the range `handle` (right INTERRUPT_BIND) arrive again. Errors: `BadRange`, `WrongState` (it
    /// rings nothing).
    AckInterrupt = 36,
    /// Read an I/O port: arg 0 port, arg 1 width in bytes (1, 2, 4). Out arg 0: value. `handle`: IoPorts (right PORTS_USE)
    /// whose range holds all bytes, else `BadRange`.
    PortRead = 37,
    /// Write an I/O port: arg 0 port, arg 1 width, arg 2 value. Otherwise as `PortRead`.
    PortWrite = 38,
    /// Write up to 64 bytes (arg 0: count, words: bytes) to the kernel's debug serial port. `handle`: an IoPorts
    /// capability (right PORTS_USE) that covers it, else `BadRange`.
    DebugWrite = 39,

    // ---- page tables, again ---------------------------------------------------------------------------------
    /// Read which pages of a range have been accessed since they were mapped or since this was last asked, and forget it.
    /// Process as for `Map`; arg 0 address, arg 1 pages (1 … 512), arg 5 process. Out arg 0: how many are mapped; words: bit i
    /// of word w is page 64 w + i. All CPUs have dropped the translations of the range when it returns. Accesses on other
    /// CPUs meanwhile may be missed. Errors: `BadAddress`.
    Accessed = 40,
}

/// The highest priority of a thread of the world: what serves the world (pager, snapshot server, drivers) can always run
/// before it.
pub const WORLD_PRIORITY_MAX: u8 = 199;

/// Derived capabilities that one message can take along with those that it moves.
pub const MOVED_CHILDREN_MAX: usize = 32;

/// Calls, one more than the largest number.
pub const CALLS: u8 = 41;

impl Call {
    /// From its number in a register.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        use Call as C;
        const ALL: [Call; CALLS as usize] = [
            C::Null,
            C::Call,
            C::ReplyReceive,
            C::Send,
            C::Receive,
            C::Reply,
            C::SaveReply,
            C::Signal,
            C::Wait,
            C::BindNotification,
            C::Yield,
            C::Copy,
            C::Drop,
            C::Revoke,
            C::Identify,
            C::Destroy,
            C::Create,
            C::Grant,
            C::SetMemoryPort,
            C::Start,
            C::Stop,
            C::SetPriority,
            C::Map,
            C::Unmap,
            C::Protect,
            C::Cut,
            C::ReadLog,
            C::Donate,
            C::SetFrames,
            C::Export,
            C::Restore,
            C::Resume,
            C::Committed,
            C::BindPort,
            C::Clock,
            C::BindInterrupt,
            C::AckInterrupt,
            C::PortRead,
            C::PortWrite,
            C::DebugWrite,
            C::Accessed,
        ];
        if bits < CALLS { Some(ALL[bits as usize]) } else { None }
    }

    /// Whether the kernel may answer this call with a status, at once or when a wait is over: who makes it need be ready
    /// for no other.
    pub fn may_end_in(self, status: Status) -> bool {
        use Status as S;
        matches!(
            status,
            S::Ok | S::BadHandle | S::WrongKind | S::MissingRight | S::BadArgument | S::Revoked | S::PeerDied
        ) || self.own_errors().contains(&status)
    }

    /// Errors beside those that every call with a handle has.
    fn own_errors(self) -> &'static [Status] {
        use Status as S;
        match self {
            Self::Call => &[
                S::WorldClosed,
                S::Restarted,
                S::Abandoned,
                S::PeerTableFull,
                S::TableFull,
                S::TablesExhausted,
                S::TimedOut,
                S::WouldBlock,
                S::Cancelled,
            ],
            Self::Send => {
                &[S::WorldClosed, S::PeerTableFull, S::TablesExhausted, S::TimedOut, S::WouldBlock, S::Cancelled]
            }
            Self::Receive | Self::ReplyReceive => &[S::WrongState, S::TimedOut, S::WouldBlock, S::Cancelled],
            Self::Reply => &[S::NoReply, S::PeerTableFull, S::WorldClosed, S::TablesExhausted],
            Self::SaveReply => &[S::NoReply, S::TableFull],
            Self::Wait => &[S::TimedOut, S::WouldBlock, S::Cancelled],
            Self::BindNotification => &[S::AlreadyBound, S::WorldClosed],
            Self::Copy => &[S::TableFull, S::BadRange, S::TablesExhausted],
            Self::Destroy | Self::Start => &[S::WrongState],
            Self::Create => &[
                S::BudgetExhausted,
                S::TablesExhausted,
                S::TableFull,
                S::PoolExhausted,
                S::WorldClosed,
                S::BadAddress,
                S::WrongState,
            ],
            Self::Grant => &[S::PeerTableFull, S::WorldClosed, S::TablesExhausted],
            Self::SetMemoryPort => &[S::WorldClosed, S::TablesExhausted],
            Self::Map => &[S::BadAddress, S::BadRange, S::PoolExhausted, S::StaleEpoch, S::Busy],
            Self::Unmap | Self::Protect | Self::Accessed => &[S::BadAddress],
            Self::Cut => &[S::Busy, S::WrongState],
            Self::Restore => &[S::BadRecord, S::BadRange, S::WrongState],
            Self::Resume => &[S::BadRecord, S::WrongState],
            Self::BindPort => &[S::TableFull],
            Self::AckInterrupt => &[S::BadRange, S::WrongState],
            Self::Donate
            | Self::SetFrames
            | Self::Export
            | Self::BindInterrupt
            | Self::PortRead
            | Self::PortWrite
            | Self::DebugWrite => &[S::BadRange],
            Self::Null
            | Self::Signal
            | Self::Yield
            | Self::Drop
            | Self::Revoke
            | Self::Identify
            | Self::Stop
            | Self::SetPriority
            | Self::ReadLog
            | Self::Committed
            | Self::Clock => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_calls_agree() {
        for bits in 0..CALLS {
            assert_eq!(Call::from_bits(bits).expect("in range") as u8, bits);
        }
        assert_eq!(Call::from_bits(CALLS), None);
    }
}
