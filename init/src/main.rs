//! The first process.
#![no_std]
#![no_main]

use libos::abi::boot_info::{BootInfo, handle};

libos::first_program!(main);

fn main(info: BootInfo<'static>) -> ! {
    libos::set_print(libos::IoPorts(handle::PORTS));
    libos::println!("init: {} CPUs, {} MiB", info.raw().cpus, info.raw().memory_bytes >> 20);
    loop {
        libos::sleep(1_000_000_000);
    }
}
