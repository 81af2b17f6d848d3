//! What can be done with a capability of any kind.

use crate::error::errors;
use crate::message::Message;
use crate::raw::{syscall, syscall_short};
use abi::{Call, Control, Handle, Kind, Rights};

errors! {
    /// Why no copy was made.
    CopyError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, TableFull, BadRange, TablesExhausted, PeerDied, BudgetExhausted }
    /// Why it was not dropped.
    DropError { BadHandle, BadArgument, Revoked, PeerDied, WrongKind }
    /// Why nothing was revoked.
    RevokeError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, PeerDied }
    /// Why it cannot be identified.
    IdentifyError { BadHandle, WrongKind, BadArgument, Revoked, PeerDied }
    /// Why the object lives on.
    DestroyError { BadHandle, WrongKind, MissingRight, BadArgument, Revoked, PeerDied, WrongState }
}

/// A capability, whatever it refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(pub Handle);

/// A part of a range (Memory, Interrupt, IoPorts); length 0 is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangePart {
    /// From the start of the capability's own range.
    pub offset: u64,
    /// Frames, interrupts or ports.
    pub length: u64,
}

/// What a capability refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The kind of object.
    pub kind: Kind,
    /// Whether the object belongs to the world.
    pub persistent: bool,
    /// What the capability allows.
    pub rights: Rights,
    /// Its badge.
    pub badge: u64,
    /// The object's number and generation.
    pub object: u64,
    /// Where a range begins.
    pub offset: u64,
    /// How long a range is.
    pub length: u64,
}

impl Capability {
    /// A copy with at most `rights`; badge 0 keeps the badge.
    pub fn copy(self, rights: Rights, badge: u64, part: RangePart) -> Result<Self, CopyError> {
        let message = Message::tagged(rights.bits().into()).word(0, badge).word(1, part.offset).word(2, part.length);
        let (outcome, frame) = syscall(Control::new(Call::Copy, self.0), message.frame());
        CopyError::check(outcome)?;
        Ok(Self(Handle(frame.tag as u16)))
    }

    /// Drops it. What was derived from it becomes its parent's.
    pub fn drop(self) -> Result<(), DropError> {
        let (outcome, _) = syscall_short(Control::new(Call::Drop, self.0), 0);
        DropError::check(outcome)
    }

    /// Removes everything that was derived from it.
    pub fn revoke(self) -> Result<(), RevokeError> {
        let (outcome, _) = syscall_short(Control::new(Call::Revoke, self.0), 0);
        RevokeError::check(outcome)
    }

    /// What it refers to.
    pub fn identify(self) -> Result<Identity, IdentifyError> {
        let (outcome, frame) = syscall(Control::new(Call::Identify, self.0), Message::default().frame());
        IdentifyError::check(outcome)?;
        let [rights, badge, object, offset, length, ..] = frame.words;
        let Some(kind) = Kind::from_bits(frame.tag as u8) else { panic!("the kernel named kind {}", frame.tag as u8) };
        let rights = Rights::from_bits_truncate(rights as u32);
        Ok(Identity { kind, persistent: frame.tag & 1 << 8 != 0, rights, badge, object, offset, length })
    }

    /// Destroys the object: every capability to it is void from then on.
    pub fn destroy(self) -> Result<(), DestroyError> {
        let (outcome, _) = syscall_short(Control::new(Call::Destroy, self.0), 0);
        DestroyError::check(outcome)
    }
}
