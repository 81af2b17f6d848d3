//! Kinds of kernel objects.

use crate::Rights;

/// What a capability refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A capability table and an address space.
    Process = 1,
    /// A thread of a process.
    Thread = 2,
    /// A rendezvous of senders and receivers; with the `port` mark one that volatile servers answer.
    Endpoint = 3,
    /// A word of 48 bits, set by signals and taken by a wait.
    Notification = 4,
    /// The right to answer one call, once.
    Reply = 5,
    /// A range of physical memory. Never enters the world.
    Memory = 6,
    /// A range of interrupts. Never enters the world.
    Interrupt = 7,
    /// A range of I/O ports. Never enters the world.
    IoPorts = 8,
    /// The right to create objects, in counts that can be split.
    Budget = 9,
    /// The right to cut, export and restore epochs. Never enters the world.
    Epoch = 10,
}

impl Kind {
    /// From its number, as stored in a record or passed in a register.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Process,
            2 => Self::Thread,
            3 => Self::Endpoint,
            4 => Self::Notification,
            5 => Self::Reply,
            6 => Self::Memory,
            7 => Self::Interrupt,
            8 => Self::IoPorts,
            9 => Self::Budget,
            10 => Self::Epoch,
            _ => return None,
        })
    }

    /// Every right that a capability of this kind may carry.
    pub const fn rights(self) -> Rights {
        let own = match self {
            Self::Process => Rights::PROCESS_GRANT.union(Rights::PROCESS_MAP).union(Rights::PROCESS_THREADS),
            Self::Thread => Rights::THREAD_CONTROL,
            Self::Endpoint => Rights::SEND.union(Rights::RECEIVE),
            Self::Notification => Rights::SIGNAL.union(Rights::WAIT),
            // Linear: neither copied nor revoked.
            Self::Reply => return Rights::REPLY,
            Self::Memory => Rights::MEMORY_MAP.union(Rights::MEMORY_WRITE),
            Self::Interrupt => Rights::INTERRUPT_BIND,
            Self::IoPorts => Rights::PORTS_USE,
            Self::Budget => Rights::BUDGET_SPEND,
            Self::Epoch => Rights::EPOCH_CUT.union(Rights::EPOCH_RECORDS).union(Rights::EPOCH_PORTS),
        };
        own.union(Rights::COMMON)
    }

    /// Whether capabilities of this kind may be held by a persistent process (law 3: the world is closed).
    pub const fn may_enter_world(self) -> bool {
        !matches!(self, Self::Memory | Self::Interrupt | Self::IoPorts | Self::Epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_of_two_kinds_are_disjoint() {
        for a in 1..=10 {
            for b in 1..a {
                let (a, b) = (Kind::from_bits(a).expect("kind"), Kind::from_bits(b).expect("kind"));
                assert!((a.rights() & b.rights() & !Rights::COMMON).is_empty(), "{a:?} and {b:?} share a right");
            }
        }
        assert_eq!(Kind::from_bits(0), None);
        assert_eq!(Kind::from_bits(11), None);
    }
}
