//! The program `hostile`, twice in its world: as `hostile`, which throws whatever comes to its mind at the kernel, and as
//! `keeper`, which sends new threads into it when the old ones have come to an end, and prints what they were answered.
//!
//! The thrower has few capabilities, which it uses, passes on and loses like the rest. Whoever runs beside it must not
//! notice: the world's tally counts. Nothing here refuses anything. Neighbours: `trials::throw`, `libos::any_call`.
#![no_std]
#![no_main]

mod keeper;
mod thrower;

use libos::Startup;

libos::program!(main);

fn main(startup: Startup) {
    if startup.find("console").is_ok() { keeper::run(&startup) } else { thrower::run(startup.number("hostile", 0)) }
}
