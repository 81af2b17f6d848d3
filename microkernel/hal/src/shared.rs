//! Statics that several processors can name. Who may touch one when is said where it is declared.

use core::cell::UnsafeCell;

/// A static that is changed although it is shared.
#[repr(transparent)]
pub(crate) struct Shared<T>(UnsafeCell<T>);

// SAFETY: it gives out a pointer and nothing else; whoever goes through that says why nobody else does.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}
