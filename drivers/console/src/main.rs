//! The console driver's program.
#![no_std]
#![no_main]

libos::program!(main);

fn main(_: libos::Startup) {}
