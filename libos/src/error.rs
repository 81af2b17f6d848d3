//! Errors: an enum for each operation, made of the statuses that the kernel may answer to it.

use abi::Blame;

/// What all error enums of system calls can say.
pub trait Failure: Copy {
    /// The status behind it.
    fn status(self) -> abi::Status;

    /// Who must act.
    fn blame(self) -> Blame {
        self.status().blame()
    }
}

/// Declares an error enum as a subset of [`abi::Status`]. A status outside it is one that the kernel promised not to
/// answer: the program stops, since nothing it could do would be right.
macro_rules! errors {
    ($($(#[$meta:meta])* $name:ident { $($status:ident),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("See [`abi::Status::", stringify!($status), "`].")] $status,)+
        }

        impl $crate::error::Failure for $name {
            fn status(self) -> abi::Status {
                match self { $(Self::$status => abi::Status::$status,)+ }
            }
        }

        impl $name {
            /// From what the kernel answered.
            #[inline(always)]
            pub(crate) fn check(outcome: abi::Outcome) -> Result<(), Self> {
                if outcome.is_ok() { Ok(()) } else { Err(Self::of(outcome)) }
            }

            #[cold]
            #[inline(never)]
            fn of(outcome: abi::Outcome) -> Self {
                match outcome.status() {
                    $(abi::Status::$status => Self::$status,)+
                    other => panic!("{}: the kernel answered {other:?}", stringify!($name)),
                }
            }
        }
    )+};
}
pub(crate) use errors;

#[cfg(test)]
mod tests {
    use super::Failure;
    use crate::CallError;
    use abi::{Blame, Call, Outcome, Status};

    #[test]
    fn statuses_become_errors_with_the_same_blame() {
        assert_eq!(CallError::check(Outcome::of(Status::Ok)), Ok(()));
        let error = CallError::check(Outcome::of(Status::Restarted)).expect_err("a failure");
        assert_eq!((error, error.blame()), (CallError::Restarted, Blame::Peer));
    }

    /// A status that the program's stubs do not know of would end it: whoever can bring one about could do that.
    #[test]
    fn whatever_the_kernel_may_answer_is_known() {
        const COMMON: [Status; 6] = [
            Status::BadHandle,
            Status::WrongKind,
            Status::MissingRight,
            Status::BadArgument,
            Status::Revoked,
            Status::PeerDied,
        ];
        let mut looked_at = 0;
        let mut look = |call: Call, spared: &[Status], check: &dyn Fn(Outcome) -> bool| {
            let answers = (1..=u8::MAX).filter_map(Status::from_bits).filter(|&status| call.may_end_in(status));
            for status in answers.filter(|status| !spared.contains(status)) {
                assert!(check(Outcome::of(status)), "{call:?}");
                looked_at += 1;
            }
        };
        macro_rules! known {
            ($($call:ident $(but $spared:expr)? => $error:path,)+) => {$(
                look(Call::$call, &[&[] as &[Status], $(&$spared[..])?].concat(), &|outcome| <$error>::check(outcome).is_err());
            )+};
        }
        known! {
            Call => crate::CallError,
            Send => crate::SendError,
            Receive => crate::ReceiveError,
            ReplyReceive => crate::ReceiveError,
            Reply => crate::ReplyError,
            // It has no handle.
            SaveReply but COMMON => crate::SaveReplyError,
            Signal => crate::SignalError,
            Wait => crate::WaitError,
            BindNotification => crate::BindError,
            Copy => crate::CopyError,
            // Of any kind, with any rights.
            Drop but [Status::MissingRight] => crate::DropError,
            Revoke => crate::RevokeError,
            Identify but [Status::MissingRight] => crate::IdentifyError,
            Destroy => crate::DestroyError,
            Create => crate::CreateError,
            Create but [Status::PoolExhausted, Status::WorldClosed, Status::BadAddress] => crate::SplitError,
            Grant => crate::GrantError,
            SetMemoryPort => crate::SetMemoryPortError,
            Start => crate::ThreadError,
            Stop => crate::ThreadError,
            SetPriority => crate::PriorityError,
            Map => crate::MapError,
            Unmap => crate::UnmapError,
            Protect => crate::UnmapError,
            Accessed => crate::UnmapError,
            // Epochs, memory, interrupts and ports do not die.
            Cut but [Status::PeerDied] => crate::CutError,
            ReadLog but [Status::PeerDied] => crate::ReadLogError,
            Donate but [Status::PeerDied] => crate::DonateError,
            SetFrames but [Status::PeerDied] => crate::SetFramesError,
            Export but [Status::PeerDied] => crate::ExportError,
            Restore but [Status::PeerDied] => crate::RestoreRefusal,
            Resume but [Status::PeerDied] => crate::RestoreRefusal,
            Committed but [Status::PeerDied] => crate::CommittedError,
            BindPort but [Status::PeerDied] => crate::BindPortError,
            BindInterrupt => crate::BindInterruptError,
            AckInterrupt => crate::AckError,
            PortRead but [Status::PeerDied] => crate::PortError,
            PortWrite but [Status::PeerDied] => crate::PortError,
            DebugWrite but [Status::PeerDied] => crate::PortError,
        }
        assert!(looked_at > 250, "{looked_at}");
    }

    #[test]
    #[should_panic(expected = "the kernel answered BadRecord")]
    fn what_the_kernel_promised_not_to_answer_stops_the_program() {
        let _ = CallError::check(Outcome::of(Status::BadRecord));
    }
}
