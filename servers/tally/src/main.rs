//! The tally on libos.
#![no_std]
#![no_main]

libos::program!(main);

fn main(_startup: libos::Startup) {}
