//! Names of the kernel's own functions, from the symbol table in the boot bundle.

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

/// The kernel's symbols, checked; `None` without a bundle, or when they are damaged.
pub(crate) fn kernel() -> Option<Symbols<'static>> {
    // SAFETY: written before any other processor ran (`remember`).
    let bundle = unsafe { (*BUNDLE.0.get()).as_ref() }?;
    // The kernel's entry is the one without segments: the loader has loaded it already.
    let kernel = bundle.programs().find(|program| program.segments().next().is_none())?;
    kernel.symbols().ok()
}
