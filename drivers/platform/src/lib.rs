//! # platform: which devices there are, and how to keep them quiet
//!
//! **What it does.** Finds the PCI configuration space through ACPI; lists the devices in it with their register windows
//! and interrupt tables; gives a place to windows that firmware has left without one; lets a device work, and
//! silences one whose driver has died: bus mastering off, then a function reset, so that memory which it could reach
//! may be used again. Answers init's questions about all this (`abi::protocol::devices`).
//!
//! **What it refuses.** To run AML: interrupt routing comes from MSI-X, power states are left alone. To touch a device's
//! own registers: that is its driver's business. To believe a table: lengths, checksums and pointers are checked, a
//! list that runs in circles ends. To call a device silent when it does not say so. Bridges' windows, hot plug, legacy
//! configuration ports, devices beyond [`DEVICES_MAX`].
//!
//! | type | is |
//! | --- | --- |
//! | [`PhysicalMemory`] | how the library reads firmware tables; the program maps them, a test makes them up |
//! | [`find_config_regions`] | from the root pointer to where configuration space is |
//! | [`ConfigSpace`], [`Place`] | configuration registers of a function |
//! | [`Inventory`] | the devices |
//! | [`Service`] | init's questions, answered from an inventory |
//!
//! **Across a restore** nothing here survives; a new platform driver finds the same devices and takes none for silent
//! that has bus mastering on.
//!
//! **Neighbours.** Init gives it the right to map whatever is not memory, and nobody else talks to it. Drivers get
//! their windows from init. "PCI" is the PCI Local Bus Specification 3.0, "PCIe" the PCI Express Base
//! Specification 4.0, "ACPI" the specification 6.5.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod bar;
mod capability;
mod config;
mod inventory;
mod service;
mod silence;
mod tables;

pub use bar::{Bar, Hole};
pub use config::{ConfigSpace, Place};
pub use inventory::{DEVICES_MAX, Function, Inventory};
pub use service::{Service, Turn};
pub use silence::{Silence, SilenceError};
pub use tables::{ConfigRegion, ConfigRegions, PhysicalMemory, REGIONS_MAX, TableError, find_config_regions};

#[cfg(test)]
mod tests;
