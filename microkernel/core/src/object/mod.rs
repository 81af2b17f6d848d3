//! The recorded objects, a file for each: its record, and what makes a record one the kernel could have written.

mod budget;
mod capability;
mod endpoint;
mod notification;
mod process;
mod thread;
mod vector;

pub use budget::{Budget, Counts};
pub use capability::Capability;
pub(crate) use capability::DEPTH_MAX;
pub use endpoint::Endpoint;
pub use notification::Notification;
pub(crate) use process::HANDLES_MAX;
pub use process::{HANDLES_MIN, Process};
pub use thread::{State, Task, Thread};
pub use vector::VectorState;

/// No index: the value of a reference that refers to nothing.
pub(crate) const NONE: u32 = u32::MAX;

/// Why bytes are not a record: judged by the record alone (its references are judged as a graph, at `resume`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Of another length than this build's records of the table.
    Length,
    /// A field holds what the kernel never writes there.
    Field,
}

/// Reads a plain record from its bytes.
macro_rules! read_record {
    ($record:ty) => {
        impl $record {
            /// The record that these bytes are, if the kernel could have written it.
            pub fn read(bytes: &[u8]) -> Result<Self, $crate::RecordError> {
                if bytes.len() != size_of::<Self>() {
                    return Err($crate::RecordError::Length);
                }
                let record = <Self as zerocopy::TryFromBytes>::try_read_from_bytes(bytes)
                    .map_err(|_| $crate::RecordError::Field)?;
                if record.is_valid() { Ok(record) } else { Err($crate::RecordError::Field) }
            }
        }
    };
}
pub(crate) use read_record;
