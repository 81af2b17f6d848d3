//! The snapshot server: wires the conductor to the kernel, the pager's and the disk's links, and the snapshot port.
#![no_std]
#![no_main]

mod program;

libos::program!(program::main);
