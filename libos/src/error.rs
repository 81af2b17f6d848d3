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
    use abi::{Blame, Outcome, Status};

    #[test]
    fn statuses_become_errors_with_the_same_blame() {
        assert_eq!(CallError::check(Outcome::of(Status::Ok)), Ok(()));
        let error = CallError::check(Outcome::of(Status::Restarted)).expect_err("a failure");
        assert_eq!((error, error.blame()), (CallError::Restarted, Blame::Peer));
    }

    #[test]
    #[should_panic(expected = "the kernel answered BadRecord")]
    fn what_the_kernel_promised_not_to_answer_stops_the_program() {
        let _ = CallError::check(Outcome::of(Status::BadRecord));
    }
}
