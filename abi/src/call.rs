//! The system calls, by number. Register packing: [`crate::registers`].

/// Number of a system call, in the low byte of rax.
///
/// "arg 0" is rdi, "arg 1 … 8" are words 0 … 7 (rsi rdx r8 r9 r10 r12 r13 r14); results likewise. Errors named here
/// come on top of `BadHandle`, `WrongKind`, `MissingRight`, `BadArgument` and `Revoked`, which every call with a
/// handle can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Call {
    /// Does nothing. Never fails, never blocks.
    Null = 0,

    // ---- messages -------------------------------------------------------------------------------------------
    /// Send through `handle` (right SEND) and wait for the reply. Tag, words, capabilities in and out.
    /// Errors: `WorldClosed`, `PeerDied`, `Restarted`, `Abandoned`, `PeerTableFull`, `TableFull`, `TimedOut`,
    /// `WouldBlock`, `Cancelled`. Blocks; the time-out covers the whole call. Across a restore: `Restarted`, unless a
    /// persistent process held the Reply or the call was marked repeatable.
    Call = 1,
    /// Answer the call whose Reply the thread holds (none is no error: it only receives), then receive on `handle`
    /// (right RECEIVE). Tag, words and capabilities in are the reply's; a reply that cannot be delivered is dropped.
    ReplyReceive = 2,
    /// Send without a reply. Blocks until a receiver takes it. Errors as `Call`.
    Send = 3,
    /// Receive on `handle` (right RECEIVE), or on the notification bound to the thread if that is signalled first.
    /// Holding a Reply already is `WrongState`. Out: [`crate::Event`], badge, tag, words, capabilities.
    Receive = 4,
    /// Answer the call whose Reply the thread holds, or with a handle, of the Reply capability saved there. Tag,
    /// words, capabilities in. Errors: `NoReply`, `PeerDied` (the caller no longer waits), `PeerTableFull`.
    Reply = 5,
    /// Move the Reply that the thread holds into its process's table. Out arg 0: handle. Errors: `NoReply`,
    /// `TableFull`.
    SaveReply = 6,
    /// Set the bits of `handle`'s badge in the notification (right SIGNAL). Never blocks.
    Signal = 7,
    /// Take all bits of the notification `handle` (right WAIT), waiting until there are some. With the null handle:
    /// sleep until the time-out. Out: bits in the badge.
    Wait = 8,
    /// Bind the notification `handle` (right WAIT) to the calling thread, so that `Receive` waits for both. The null
    /// handle unbinds. Errors: `AlreadyBound`.
    BindNotification = 9,
    /// Let another thread of the same priority run.
    Yield = 10,

    // ---- capabilities ---------------------------------------------------------------------------------------
    /// Copy `handle`. Arg 0: rights to keep (a mask); arg 1: badge, or 0 to keep it (only an unbadged capability can
    /// be given one); for Memory, Interrupt, IoPorts args 2, 3: offset and length within its range (0, 0: all).
    /// The copy is a child of the original. Out arg 0: the new handle. Errors: `TableFull`, `BadRange`.
    Copy = 11,
    /// Drop `handle`. What was derived from it becomes its parent's.
    Drop = 12,
    /// Remove everything derived from `handle` (right REVOKE), in bounded steps: the call restarts itself until done.
    /// A thread that is bound to a notification whose capability its process loses by this is bound no more. Memory ports
    /// and interrupts that were bound by such a capability stay.
    Revoke = 13,
    /// Out arg 0: kind (8 bits) | 1 << 8 if it is an object of the world; arg 1: rights; arg 2: badge; arg 3: object
    /// number and generation; args 4, 5: offset and length of a range.
    Identify = 14,
    /// Destroy the object of `handle` (right DESTROY): all capabilities to it are void from then on, whoever waits on
    /// it gets `PeerDied`. Large objects go in bounded steps: the call restarts itself.
    Destroy = 15,

    // ---- objects --------------------------------------------------------------------------------------------
    /// Create an object from the Budget `handle` (right BUDGET_SPEND); it belongs to the world if the Budget does.
    /// Arg 0: kind. Process: arg 1 number of handles (rounded up to a power of two, 16 … 32,768). Thread: cap 0 the
    /// process (right PROCESS_THREADS), arg 1 entry address, arg 2 stack pointer, arg 3 value for rdi, arg 4 priority
    /// (at most the creator's). Endpoint: arg 1 service id (0: a plain endpoint, not a port). Notification: nothing.
    /// Budget (split): args 1 … 6 processes, threads, endpoints, notifications, budgets, capability slots.
    /// Out arg 0: handle with all rights. Errors: `BudgetExhausted`, `TablesExhausted`, `TableFull`, `PoolExhausted`.
    Create = 16,
    /// Put a copy of cap 0 into the table of the process `handle` (right PROCESS_GRANT). Arg 0: rights mask; arg 1:
    /// badge or 0. Out arg 0: the handle there. Errors: `PeerTableFull`, `WorldClosed`.
    Grant = 17,
    /// Faults of the process `handle` (right PROCESS_GRANT) go to the endpoint cap 0 (right SEND) from now on, with
    /// badge arg 0 (the capability's own, if it has one), until that capability is revoked: the port is derived from
    /// it. A fault that waits at another port is made again. Errors: `PeerDied` (the process is being destroyed),
    /// `WorldClosed` (process and endpoint are not both of the world or both volatile), `TablesExhausted` (derived too
    /// often).
    SetMemoryPort = 18,
    /// Start the thread `handle` (right THREAD_CONTROL) that is stopped.
    Start = 19,
    /// Stop the thread `handle`; a wait ends with `Cancelled`.
    Stop = 20,
    /// Set the priority of `handle` to arg 0 (at most the caller's own).
    SetPriority = 21,

    // ---- page tables ----------------------------------------------------------------------------------------
    /// Map frames of the Memory cap 0 into a process: `handle` is a Process (right PROCESS_MAP), or the endpoint
    /// (right RECEIVE) that is the memory port of the process named by arg 5 (as a fault message names it).
    /// Arg 0: address; arg 1: first page within the Memory; arg 2: pages (1 … 512); arg 3: [`crate::MapFlags`]; arg 4:
    /// the epoch in which a writable mapping was decided (0 for untracked frames).
    /// Out arg 0: pages mapped. Errors: `BadAddress`, `BadRange`, `PoolExhausted`, `StaleEpoch`.
    Map = 22,
    /// Remove mappings. Process as for `Map`; arg 0 address, arg 1 pages (1 … 512), arg 5 process. Out arg 0: how many
    /// were mapped. All CPUs have dropped their translations when it returns.
    Unmap = 23,
    /// Change rights: as `Unmap`, arg 2 [`crate::MapFlags`] (only ever narrows what `Map` allowed).
    Protect = 24,

    // ---- epochs ---------------------------------------------------------------------------------------------
    /// End the current epoch (right EPOCH_CUT). Out arg 0: the epoch that now runs; arg 1: position in the log of
    /// first writes at which the ended epoch ends. Errors: `Busy`, `WrongState`.
    Cut = 25,
    /// Read the log of first writes from position arg 0 (right EPOCH_CUT), releasing what lies before it. Arg 1: the
    /// position at which first writes must stop from now on, as if the log were full there; u64::MAX: nowhere. Out arg 0:
    /// entries read (0 … 8); words: frame | copy << 32 (copy 0: contents needed no copy).
    ReadLog = 26,
    /// Donate frames of Memory cap 0 for copies (right EPOCH_CUT). Args 0 …: arg 0 count (1 … 8), args 1 … 8 page
    /// offsets within the Memory. Out arg 0: how many the ring had room for.
    Donate = 27,
    /// Set the states of frames of Memory cap 0 (right EPOCH_CUT). Arg 0: count (1 … 8) | [`crate::FrameState`] << 8;
    /// words: page offset within the Memory (low 32 bits). For `Claimed` and `Clean`, only frames whose last write
    /// was in an epoch before the current one change; for `Dirty`, only clean ones, each with all that a first write
    /// does. Out arg 0: bit mask of those that changed.
    SetFrames = 28,
    /// Write a batch of the ended epoch's changed records (right EPOCH_RECORDS) into the page at offset arg 0 of the
    /// Memory cap 0 (right MEMORY_WRITE): as many as a bounded step takes, not as many as there is room for. Out arg 0:
    /// bytes written; 0: all of the ended epoch has been exported.
    /// Layout: [`crate::record`].
    Export = 29,
    /// Take back a batch of records from the page at offset arg 0 of the Memory cap 0, before the world runs (right
    /// EPOCH_RECORDS), from the record with number arg 1 on: it goes in steps, between which arg 1 counts. Out arg 0:
    /// records taken. Errors: `BadRecord` (arg 1: its table, arg 2: its index), `WrongState`.
    Restore = 30,
    /// Let the world run (right EPOCH_RECORDS): check all records as a graph, rebuild what is derived, apply law 4.
    /// Arg 0: the epoch that now begins; arg 1: world time in ns, at least (it never goes back), at
    /// most 2^63 - 1. Errors: `BadRecord`, `WrongState`.
    Resume = 31,
    /// Announce that epoch arg 0 and all before it are durable (right EPOCH_RECORDS).
    Committed = 32,
    /// A receiving capability for the port with service id arg 0 (right EPOCH_PORTS). Out arg 0: handle (rights
    /// RECEIVE, SEND and COPY); `BadArgument` when the world has no such port.
    BindPort = 33,
    /// Out arg 0: the running epoch; arg 1: the last committed; arg 2: world time in ns. Needs no handle.
    Clock = 34,

    // ---- devices --------------------------------------------------------------------------------------------
    /// Deliver the first interrupt of the range `handle` (right INTERRUPT_BIND) as a signal through cap 0
    /// (notification, right SIGNAL). Out arg 0, arg 1: message address and data for MSI and MSI-X (0 for lines).
    BindInterrupt = 35,
    /// Let the interrupt of `handle` arrive again.
    AckInterrupt = 36,
    /// Read an I/O port: arg 0 port, arg 1 width in bytes (1, 2, 4). Out arg 0: value. `handle`: IoPorts.
    PortRead = 37,
    /// Write an I/O port: arg 0 port, arg 1 width, arg 2 value.
    PortWrite = 38,
    /// Write up to 64 bytes (arg 0: count, words: bytes) to the kernel's debug serial port. `handle`: an IoPorts
    /// capability that covers it.
    DebugWrite = 39,
}

/// Calls, one more than the largest number.
pub const CALLS: u8 = 40;

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
        ];
        if bits < CALLS { Some(ALL[bits as usize]) } else { None }
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
