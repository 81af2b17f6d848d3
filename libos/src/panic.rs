//! A broken invariant of our own: say so and stop. Whoever serves our faults learns the code, restarts us or not.

#[cfg(not(test))]
#[panic_handler]
fn stop(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::println!("stopped: {info}");
    crate::exit(abi::protocol::startup::EXIT_PANIC)
}
