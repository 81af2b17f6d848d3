//! Handles: how a process names its capabilities.

/// Index into the capability table of the calling process. 0 names nothing (the kernel keeps the memory port there).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Handle(pub u16);

impl Handle {
    /// Names nothing.
    pub const NULL: Self = Self(0);

    /// The process itself, where its maker put a capability to it.
    pub const PROCESS: Self = Self(1);
    /// What its maker gave it first: for a process of the world its memory port's space capability.
    pub const SPACE: Self = Self(2);
    /// The Budget it may spend.
    pub const BUDGET: Self = Self(3);
    /// The first handle that has no fixed meaning.
    pub const FIRST_FREE: u16 = 4;

    /// Whether it names nothing.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}
