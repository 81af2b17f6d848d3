//! Perennial's kernel: the order in which a machine comes up, and nothing else.
//!
//! Each step is a method of [`Boot`] in `kernel-hal` and refuses, with one sentence, a machine it cannot work with.
//! After the last one this CPU runs threads as `kernel-core` decides.
#![no_std]
#![no_main]

use kernel_hal::{Boot, Firmware};

kernel_hal::entry!(start);

fn start(firmware: Firmware) -> ! {
    let boot = Boot::survey(firmware);
    boot.on_own_stack(go_on)
}

extern "C" fn go_on(boot: &mut Boot) -> ! {
    let bundle = boot.open_bundle();
    let clock = boot.start_clock();
    boot.start_processors(&clock);
    boot.make_kernel(clock);
    boot.start_init(&bundle)
}
