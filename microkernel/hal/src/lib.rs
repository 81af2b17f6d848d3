//! The kernel's hardware layer: everything that is x86_64, and nothing that decides.
//!
//! It brings a machine from the loader's jump to the first program: the kernel's own page tables with correct rights,
//! exceptions that are reported readably, a clock, all processors ([`Boot`], in the order that the binary gives). From
//! then on it carries events into `kernel-core`, one at a time behind one lock, and carries out what the core asks of
//! the machine (`machine.rs`). It schedules nothing, knows no capability, and never dereferences a user address.
//!
//! It refuses, with one sentence and [`Halt::Refused`]: a processor without the features it stands on, too little
//! memory, a loader that is not PVH, a boot bundle that is missing or damaged. A failure of the kernel itself ends in
//! a report with registers and named frames ([`PanicRecord`]), and [`Halt::Exception`] or [`Halt::Panic`].
//!
//! | files | what |
//! | --- | --- |
//! | `start` `firmware` `acpi` `memory` `paging` `layout` `sizes` `boot` `init` | from the loader's jump to init |
//! | `trap` `entry` `ways` `dispatch` `lock` `kernel` `machine` | events into the core, and what the core asks |
//! | `processor` `processors` `descriptors` `apic` `clock` `serial` `instructions` `shared` | the parts of the machine |
//! | `report` `symbols` `halt` | failures; `examples/provoke.rs` makes them, for tests of the reports |
//!
//! Neighbours: `kernel-core` (all decisions), `abi` (boot information, bundle, registers), `microkernel` (the binary:
//! order of boot only). One of the three homes of unsafe code.
#![no_std]

mod acpi;
mod apic;
mod boot;
mod clock;
mod descriptors;
mod dispatch;
mod entry;
mod firmware;
mod halt;
mod init;
mod instructions;
mod kernel;
mod layout;
mod lock;
mod machine;
mod memory;
mod paging;
mod processor;
mod processors;
mod report;
mod serial;
mod shared;
mod sizes;
mod start;
mod symbols;
mod trap;
mod ways;

pub use boot::Boot;
pub use clock::Clock;
pub use firmware::Firmware;
pub use halt::{Halt, halt};
pub use report::{PANIC_MAGIC, PanicRecord, panicked};
