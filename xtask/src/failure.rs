//! The two ways in which a command does not succeed.

use std::fmt;
use std::process::ExitCode;

/// It could not be tried: something is missing on this computer, or the request makes no sense. Exit status 2; every
/// other error is a failure of what was tried, and 1.
#[derive(Debug)]
pub(crate) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// A refusal as an error.
pub(crate) fn refusal(sentence: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Refusal(sentence.into()))
}

/// The exit status that `error` deserves.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.downcast_ref::<Refusal>().is_some() { 2 } else { 1 })
}
