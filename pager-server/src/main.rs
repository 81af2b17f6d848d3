//! The pager: wires the library to the kernel, the world's memory port, the snapshot server's link and init's.
#![no_std]
#![no_main]

mod program;

libos::program!(program::main);
