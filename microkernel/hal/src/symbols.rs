//! Names of functions, from the symbol tables in the boot bundle.

use abi::bundle::{Bundle, Symbols};
use core::cell::UnsafeCell;

struct SharedBundle(UnsafeCell<Option<Bundle<'static>>>);
// SAFETY: written once, while only the first processor runs.
unsafe impl Sync for SharedBundle {}
static BUNDLE: SharedBundle = SharedBundle(UnsafeCell::new(None));

/// Remembers where the symbols are.
///
/// # Safety
/// Only the first processor runs.
pub(crate) unsafe fn remember(bundle: Bundle<'static>) {
    // SAFETY: caller.
    unsafe { *BUNDLE.0.get() = Some(bundle) };
}

/// Name of the first process's program.
pub(crate) const INIT: &str = "init";

/// The kernel's symbols, checked; `None` without a bundle, or when they are damaged.
pub(crate) fn kernel() -> Option<Symbols<'static>> {
    // The kernel's entry is the one without segments: the loader has loaded it already.
    bundle()?.programs().find(|program| program.segments().next().is_none())?.symbols().ok()
}

/// The symbols of a program, likewise.
pub(crate) fn of(program: &str) -> Option<Symbols<'static>> {
    bundle()?.program(program)?.symbols().ok()
}

fn bundle() -> Option<&'static Bundle<'static>> {
    // SAFETY: written before any other processor ran (`remember`), never again.
    unsafe { (*BUNDLE.0.get()).as_ref() }
}
