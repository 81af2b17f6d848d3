//! Perennial's kernel: the order in which a machine comes up, and nothing else.
//!
//! Each step is a method of [`Boot`] in `kernel-hal` and refuses, with one sentence, a machine it cannot work with.
//! After the last one this CPU runs threads as `kernel-core` decides.
#![no_std]
#![no_main]

use kernel_hal::Boot;

kernel_hal::entry!(start);

fn start(boot: &mut Boot) -> ! {
    let bundle = boot.open_bundle();
    let clock = boot.start_clock();
    boot.start_processors(&clock);
    boot.make_kernel(clock);
    boot.start_init(&bundle)
}
