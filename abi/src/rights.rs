//! Rights: what a capability lets its holder do.

bitflags::bitflags! {
    /// Rights of a capability. Each kind of object has bits of its own, so one test of a bit is also a test of the
    /// kind: an endpoint capability can never carry `MEMORY_MAP`. Copies only ever lose bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Rights: u32 {
        /// Endpoint: send and call.
        const SEND = 1 << 0;
        /// Endpoint: receive; for the memory port of a process also `map`, `unmap` and `protect` in it.
        const RECEIVE = 1 << 1;
        /// Notification: signal.
        const SIGNAL = 1 << 2;
        /// Notification: wait and poll, bind to a thread or an interrupt.
        const WAIT = 1 << 3;
        /// Memory: map its frames.
        const MEMORY_MAP = 1 << 4;
        /// Memory: map its frames writable, and let the kernel write into them (export).
        const MEMORY_WRITE = 1 << 5;
        /// Process: put capabilities into its table, set its memory port.
        const PROCESS_GRANT = 1 << 6;
        /// Process: map, unmap and protect pages in it, for one that no memory port serves.
        const PROCESS_MAP = 1 << 7;
        /// Process: create threads in it.
        const PROCESS_THREADS = 1 << 8;
        /// Thread: start, stop, set its priority.
        const THREAD_CONTROL = 1 << 9;
        /// Interrupt: bind to a notification, acknowledge.
        const INTERRUPT_BIND = 1 << 10;
        /// I/O ports: read and write.
        const PORTS_USE = 1 << 11;
        /// Budget: create objects from it, split it.
        const BUDGET_SPEND = 1 << 12;
        /// Epoch: cut, donate frames, read the log of first writes, claim frames.
        const EPOCH_CUT = 1 << 13;
        /// Epoch: export, restore, resume, announce what is committed.
        const EPOCH_RECORDS = 1 << 14;
        /// Epoch: bind a port of the world to a volatile server.
        const EPOCH_PORTS = 1 << 15;
        /// Reply: answer the one call it stands for.
        const REPLY = 1 << 16;
        /// Any kind: copy and mint (a capability without it may still be moved and dropped).
        const COPY = 1 << 29;
        /// Any kind: revoke what was derived from it.
        const REVOKE = 1 << 30;
        /// Any kind of created object: destroy it.
        const DESTROY = 1 << 31;
    }
}

impl Rights {
    /// Rights that any kind of object may carry.
    pub const COMMON: Self = Self::COPY.union(Self::REVOKE).union(Self::DESTROY);
}
