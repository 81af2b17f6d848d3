//! Names of functions, from the symbol tables in the boot bundle.

use crate::shared::Shared;
use abi::bundle::{Bundle, Symbols};

/// Written once, while only the first processor runs.
static BUNDLE: Shared<Option<Bundle<'static>>> = Shared::new(None);

/// Remembers where the symbols are.
///
/// # Safety
/// Only the first processor runs.
pub(crate) unsafe fn remember(bundle: Bundle<'static>) {
    // SAFETY: caller.
    unsafe { *BUNDLE.get() = Some(bundle) };
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
    unsafe { (*BUNDLE.get()).as_ref() }
}
