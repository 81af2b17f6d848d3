//! The registers of a thread, and which of them carry what across a system call.
//!
//! | register | in | out |
//! | --- | --- | --- |
//! | rax | [`Control`]: call, flags, handle, time-out | [`Outcome`]: status, kind of event, badge |
//! | rdi | tag, or first argument | tag, or first result |
//! | rsi rdx r8 r9 r10 r12 r13 r14 | words 0 … 7 | words 0 … 7 |
//! | r15 | handles of up to four capabilities, 16 bits each | handles where they were put |
//! | rbx rbp rsp | kept | kept |
//! | rcx r11 | lost (`syscall` overwrites them) | lost |
//! | flags | any | cleared, interrupts on |
//!
//! All of a message is in registers, so a message in flight lies in the sender's saved registers and the kernel never
//! reads user memory. rbx and rbp carry nothing because compilers reserve them in inline assembly.
//!
//! `Null`, `Signal` and a `Wait` that polls carry nothing else: rdi, the words and r15 are kept across them.
//!
//! A call that waited and then failed promises rax and what is kept, nothing of rdi, the words and r15: they hold older
//! values of the same thread. Who wants to ask again keeps the message.

use crate::{Handle, Status, Timeout};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of a message.
pub const WORDS: usize = 8;
/// Capabilities of a message.
pub const CAPS_MAX: usize = 4;

/// Every general register of a thread, in the order in which the kernel's assembly saves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Registers {
    /// [`Control`] in, [`Outcome`] out.
    pub rax: u64,
    /// Tag or first argument.
    pub rdi: u64,
    /// The message: rsi, rdx, r8, r9, r10, r12, r13, r14.
    pub words: [u64; WORDS],
    /// r15: packed handles.
    pub caps: u64,
    /// Kept across calls.
    pub rbx: u64,
    /// Kept across calls.
    pub rbp: u64,
    /// Kept across calls.
    pub rsp: u64,
    /// Where the thread goes on.
    pub rip: u64,
    /// Flags; only arithmetic, direction and alignment flags are the thread's own.
    pub rflags: u64,
    /// Lost across calls, kept across interrupts and faults.
    pub rcx: u64,
    /// Lost across calls, kept across interrupts and faults.
    pub r11: u64,
    /// Base of the thread-local segment.
    pub fs_base: u64,
}

impl Registers {
    /// Nothing in any of them.
    pub const ZERO: Self = zerocopy::transmute!([0_u64; 19]);
}

const _: () = assert!(size_of::<Registers>() == 19 * 8);

/// What the caller asks, in rax: call (8 bits), flags (8), handle (16), time-out (32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Control(pub u64);

/// How many capabilities go with the message: bits 0 … 2 of the flags.
pub const FLAG_CAPS_MASK: u8 = 0b111;
/// This very call may be made again by the kernel after a restore: it is queued again at its old ticket, and its
/// capabilities are copied, never moved.
pub const FLAG_REPEATABLE: u8 = 1 << 3;
/// The capabilities of the message are moved, not copied.
pub const FLAG_MOVE: u8 = 1 << 4;

impl Control {
    /// Packs a request without flags or time-out.
    pub const fn new(call: crate::Call, handle: Handle) -> Self {
        Self(call as u64 | (handle.0 as u64) << 16)
    }

    /// With these flags.
    pub const fn with_flags(self, flags: u8) -> Self {
        Self(self.0 & !0xff00 | (flags as u64) << 8)
    }

    /// With this time-out.
    pub const fn with_timeout(self, timeout: Timeout) -> Self {
        Self(self.0 & 0xffff_ffff | (timeout.bits() as u64) << 32)
    }

    /// The number of the call, as yet unchecked.
    pub const fn call(self) -> u8 {
        self.0 as u8
    }

    /// The flags.
    pub const fn flags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The handle of the object called.
    pub const fn handle(self) -> Handle {
        Handle((self.0 >> 16) as u16)
    }

    /// How long the call may wait.
    pub const fn timeout(self) -> Timeout {
        Timeout::from_bits((self.0 >> 32) as u32)
    }
}

/// What a receive or wait was ended by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Event {
    /// Nothing arrived (calls that do not wait, and failures).
    None = 0,
    /// A message that wants no reply.
    Message = 1,
    /// A message whose sender waits; the thread now holds its Reply.
    Call = 2,
    /// The notification: its bits are in the badge.
    Notification = 3,
    /// A fault of a thread whose process this endpoint serves; the Reply lets it go on. See [`crate::fault`].
    Fault = 4,
}

/// What the kernel answers, in rax: status (8 bits), event (8), badge (48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Outcome(pub u64);

/// Largest badge, and the mask of a notification's bits.
pub const BADGE_MAX: u64 = (1 << 48) - 1;

impl Outcome {
    /// A failure, or a success that delivers nothing.
    pub const fn of(status: Status) -> Self {
        Self(status as u64)
    }

    /// An event that carries `badge` (at most [`BADGE_MAX`]; higher bits are dropped).
    pub const fn event(event: Event, badge: u64) -> Self {
        Self((event as u64) << 8 | badge << 16)
    }

    /// How it ended; a byte that no kernel returns reads as `NoSuchCall`.
    pub const fn status(self) -> Status {
        match Status::from_bits(self.0 as u8) {
            Some(status) => status,
            None => Status::NoSuchCall,
        }
    }

    /// Whether it is a success.
    #[inline]
    pub const fn is_ok(self) -> bool {
        self.is(Status::Ok)
    }

    /// Whether it ended with this status.
    #[inline]
    pub const fn is(self, status: Status) -> bool {
        self.0 as u8 == status as u8
    }

    /// Whether it is a success that delivers this.
    #[inline]
    pub const fn delivers(self, event: Event) -> bool {
        self.0 as u16 == (event as u16) << 8
    }

    /// What arrived.
    #[inline]
    pub const fn kind(self) -> Event {
        match (self.0 >> 8) as u8 {
            1 => Event::Message,
            2 => Event::Call,
            3 => Event::Notification,
            4 => Event::Fault,
            _ => Event::None,
        }
    }

    /// The badge of the capability that was used to send, or the notification's bits.
    pub const fn badge(self) -> u64 {
        self.0 >> 16
    }
}

/// Packs handles into r15, the first in the lowest 16 bits; absent ones are the null handle.
pub const fn pack_caps(caps: [Handle; CAPS_MAX]) -> u64 {
    caps[0].0 as u64 | (caps[1].0 as u64) << 16 | (caps[2].0 as u64) << 32 | (caps[3].0 as u64) << 48
}

/// Unpacks r15.
pub const fn unpack_caps(packed: u64) -> [Handle; CAPS_MAX] {
    [Handle(packed as u16), Handle((packed >> 16) as u16), Handle((packed >> 32) as u16), Handle((packed >> 48) as u16)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Call;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn control_keeps_its_fields_apart(handle: u16, flags: u8, timeout: u32) {
            let packed = Control::new(Call::ReplyReceive, Handle(handle))
                .with_flags(flags)
                .with_timeout(Timeout::from_bits(timeout));
            prop_assert_eq!(packed.call(), Call::ReplyReceive as u8);
            prop_assert_eq!(packed.handle(), Handle(handle));
            prop_assert_eq!(packed.flags(), flags);
            prop_assert_eq!(packed.timeout().bits(), timeout);
        }

        #[test]
        fn outcome_and_handles_come_back(badge in 0..=BADGE_MAX, caps: [u16; 4]) {
            let outcome = Outcome::event(Event::Call, badge);
            prop_assert_eq!((outcome.status(), outcome.kind(), outcome.badge()), (Status::Ok, Event::Call, badge));
            let caps = caps.map(Handle);
            prop_assert_eq!(unpack_caps(pack_caps(caps)), caps);
        }
    }
}
