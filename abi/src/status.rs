//! Status codes: how a call ended, and who is to blame when it failed.

/// Who must act when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// Nobody: it succeeded.
    Nobody,
    /// The caller made a mistake; making the same call again fails again.
    Caller,
    /// The other party of the call died, was revoked, restarted, or had no room.
    Peer,
    /// Time, budget or a pool ran out, or a cut came between; the same call may succeed later.
    Environment,
}

/// The low byte of the result register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The handle names no capability of the caller.
    BadHandle = 1,
    /// The capability is of another kind than the call needs.
    WrongKind = 2,
    /// The capability lacks a right that the call needs.
    MissingRight = 3,
    /// An argument is out of its range.
    BadArgument = 4,
    /// There is no call of this number.
    NoSuchCall = 5,
    /// The address is not a page-aligned user address, or nothing is mapped there.
    BadAddress = 6,
    /// The range leaves the memory, interrupts or ports of the capability.
    BadRange = 7,
    /// The caller's own capability table is full.
    TableFull = 8,
    /// The transfer would let something into, or out of, the world that law 3 keeps apart.
    WorldClosed = 9,
    /// The thread holds no Reply.
    NoReply = 10,
    /// The notification, thread or interrupt is bound already.
    AlreadyBound = 11,
    /// The object cannot do this in its present state (a thread that is not stopped, a world that has started).
    WrongState = 12,
    /// A record that was given back is not one the kernel could have written.
    BadRecord = 13,
    /// The other party, or the object itself, is gone.
    PeerDied = 32,
    /// The capability was revoked, before the call or while it waited.
    Revoked = 33,
    /// The server that held the call died or was restarted together with the machine; it may or may not have acted.
    Restarted = 34,
    /// The server dropped the Reply without answering.
    Abandoned = 35,
    /// The receiver had no room for the capabilities of the message.
    PeerTableFull = 36,
    /// The deadline passed.
    TimedOut = 64,
    /// A poll found nothing.
    WouldBlock = 65,
    /// The Budget has no more of this kind of object.
    BudgetExhausted = 66,
    /// The pool of page tables is empty.
    PoolExhausted = 67,
    /// The last epoch's records have not all been exported, or two epochs wait for the disk.
    Busy = 68,
    /// A cut came between the decision and the call.
    StaleEpoch = 69,
    /// The wait was ended by another thread (stop).
    Cancelled = 70,
    /// No free object of this kind is left in the kernel's tables.
    TablesExhausted = 71,
}

impl Status {
    /// From the low byte of a result; `None` for a byte that no kernel returns.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Ok,
            1 => Self::BadHandle,
            2 => Self::WrongKind,
            3 => Self::MissingRight,
            4 => Self::BadArgument,
            5 => Self::NoSuchCall,
            6 => Self::BadAddress,
            7 => Self::BadRange,
            8 => Self::TableFull,
            9 => Self::WorldClosed,
            10 => Self::NoReply,
            11 => Self::AlreadyBound,
            12 => Self::WrongState,
            13 => Self::BadRecord,
            32 => Self::PeerDied,
            33 => Self::Revoked,
            34 => Self::Restarted,
            35 => Self::Abandoned,
            36 => Self::PeerTableFull,
            64 => Self::TimedOut,
            65 => Self::WouldBlock,
            66 => Self::BudgetExhausted,
            67 => Self::PoolExhausted,
            68 => Self::Busy,
            69 => Self::StaleEpoch,
            70 => Self::Cancelled,
            71 => Self::TablesExhausted,
            _ => return None,
        })
    }

    /// Who must act.
    pub const fn blame(self) -> Blame {
        match self as u8 {
            0 => Blame::Nobody,
            1..32 => Blame::Caller,
            32..64 => Blame::Peer,
            _ => Blame::Environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_statuses_agree_both_ways() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            if let Some(status) = Status::from_bits(byte) {
                assert_eq!(status as u8, byte);
                known += 1;
            }
        }
        assert_eq!(known, 27);
        assert_eq!(Status::Restarted.blame(), Blame::Peer);
        assert_eq!(Status::BadHandle.blame(), Blame::Caller);
        assert_eq!(Status::Busy.blame(), Blame::Environment);
    }
}
