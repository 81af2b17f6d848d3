//! Wires the library to `libos`: what init is, says `lib.rs`; here is only how its machine is.
#![no_std]
#![no_main]

mod program;

use libos::abi::boot_info::{BootInfo, handle};
use libos::abi::protocol::startup::EXIT_REFUSED;

libos::first_program!(main);

fn main(info: BootInfo<'static>) -> ! {
    libos::set_print(libos::IoPorts(handle::PORTS));
    let raw = info.raw();
    libos::println!("init: {} CPUs, {} MiB", raw.cpus, raw.memory_bytes >> 20);
    if let Some(name) = info.option("bench") {
        program::bench(&info, name);
    }
    if let Some(seed) = info.option("replay") {
        program::replay(&info, seed);
    }
    let mut system = match program::System::boot(info) {
        Ok(system) => system,
        Err(why) => {
            libos::println!("init: {why}");
            libos::println!("init: the system cannot start");
            libos::exit(EXIT_REFUSED)
        }
    };
    system.run()
}
