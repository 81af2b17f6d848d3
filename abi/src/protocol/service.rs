//! Service ids: which port of the world is which.

/// Identifies a port across boots; volatile servers bind to it with `BindPort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Service {
    /// Memory objects, regions, faults: the pager.
    Memory = 1,
    /// Characters in and out.
    Console = 2,
    /// Commits: `sync`, epochs.
    Snapshot = 3,
    /// Wall-clock time.
    Clock = 4,
}

/// Ports of a world, at most.
pub const PORTS_MAX: usize = 64;
