//! Perennial's machine in QEMU: how it is started, talked to and judged.
//!
//! One place knows QEMU's options: `cargo xtask run`, the benchmarks, the power-cut tests and the tests in `tests/`
//! beside this file all start the same [`Machine`]. A test holds a [`Guest`]: it waits for text on the console with a
//! deadline, types, and asks how the machine ended. Dropping a guest ends its QEMU, and only its.
//!
//! It refuses to guess: a machine that merely stopped has not succeeded ([`Ending`] tells success, failure, reset and
//! QEMU's own complaint apart), and a deadline that passes says what was seen on the console until then.
//!
//! Key types: [`Machine`], [`Guest`], [`Ending`], [`Complaint`]. Neighbours: `xtask` builds what is booted here and
//! sets [`KERNEL_VARIABLE`] and [`BUNDLE_VARIABLE`] for the tests, which are ignored otherwise.
#![forbid(unsafe_code)]

mod artifacts;
mod complaint;
mod ending;
mod guest;
mod machine;
mod qmp;
mod transcript;

pub use artifacts::{
    Artifacts, BUNDLE_VARIABLE, KERNEL_VARIABLE, PROVOKER_BUNDLE_VARIABLE, PROVOKER_VARIABLE, TRIALS_VARIABLE,
};
pub use complaint::Complaint;
pub use ending::{Ending, SUCCESS_STATUS};
pub use guest::{Guest, WaitError};
pub use machine::{Console, Disk, Machine, QEMU_VARIABLE, qemu_program};
pub use qmp::Monitor;
pub use transcript::Transcript;
