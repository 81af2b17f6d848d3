//! How a program begins and ends.

use crate::raw::{read_page, touch};
use crate::startup::Startup;
use abi::boot_info::{BootInfo, RawBootInfo};
use abi::protocol::startup::{EXIT_PANIC, RawStartup, StartupPage, exit_address};

/// Where the unwinder's stand-ins stop.
#[cfg(not(test))]
pub(crate) const EXIT_BROKEN: u64 = exit_address(EXIT_PANIC);

/// Ends the program: whoever serves its faults learns `code` (0: done, 101: a panic, others are the program's own).
pub fn exit(code: u8) -> ! {
    touch(exit_address(code))
}

/// A broken invariant of our own: say so and stop. Whoever serves our faults learns the code, restarts us or not.
pub fn stop(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::println!("stopped: {info}");
    exit(EXIT_PANIC)
}

/// The panic handler, where it belongs: in the program. In the library it would meet that of the standard library whenever
/// this crate is checked together with tests of others.
#[doc(hidden)]
#[macro_export]
macro_rules! panic_handler {
    () => {
        #[panic_handler]
        fn perennial_stop(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::stop(info)
        }
    };
}

/// The startup page behind a program's argument. A page that its maker got wrong ends the program.
pub fn startup_from(argument: u64) -> Startup {
    match StartupPage::new(read_page::<RawStartup>(argument)) {
        Ok(page) => Startup::open(page),
        Err(_) => exit(EXIT_PANIC),
    }
}

/// The boot information behind the argument of the first program.
pub fn boot_info_from(argument: u64) -> BootInfo<'static> {
    match BootInfo::new(read_page::<RawBootInfo>(argument)) {
        Ok(info) => info,
        Err(_) => exit(EXIT_PANIC),
    }
}

/// Makes `main` the program: a `fn(Startup)` (when it returns, the program has done its work) or `fn(Startup) -> !`.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        $crate::panic_handler!();

        #[unsafe(no_mangle)]
        fn perennial_program(argument: u64) -> ! {
            $main($crate::startup_from(argument));
            #[allow(unreachable_code, reason = "a main that never returns is as good")]
            $crate::exit(0)
        }
    };
}

/// Makes `main` the first program of the machine, init: a `fn(BootInfo<'static>) -> !`.
#[macro_export]
macro_rules! first_program {
    ($main:path) => {
        $crate::panic_handler!();

        #[unsafe(no_mangle)]
        fn perennial_program(argument: u64) -> ! {
            $main($crate::boot_info_from(argument))
        }
    };
}
