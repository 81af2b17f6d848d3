//! Wires the library to `libos`: what init is, says `lib.rs`; here is only how its machine is.
#![no_std]
#![no_main]

mod program;

use libos::abi::boot_info::{BootInfo, handle};

libos::first_program!(main);

fn main(info: BootInfo<'static>) -> ! {
    libos::set_print(libos::IoPorts(handle::PORTS));
    let raw = info.raw();
    libos::println!("init: {} CPUs, {} MiB", raw.cpus, raw.memory_bytes >> 20);
    match program::System::boot(info) {
        Ok(mut system) => system.run(),
        Err(why) => {
            libos::println!("init: {why}");
            libos::println!("init: the system cannot start");
        }
    }
    loop {
        libos::sleep(u64::MAX);
    }
}
