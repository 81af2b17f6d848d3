//! Memory of tables: a fixed number of elements, given once.

/// A fixed-size array that lives as long as the program: borrowed from boot memory, or owned on the host.
#[cfg(not(any(test, feature = "host")))]
pub type Slab<T> = &'static mut [T];
/// A fixed-size array that lives as long as the program: borrowed from boot memory, or owned on the host.
#[cfg(any(test, feature = "host"))]
pub type Slab<T> = Vec<T>;

/// Where slabs come from, at start only.
pub trait Arena {
    /// `count` elements, each a copy of `value`. Never fails: sizes are checked before anything is taken.
    fn slab<T: Copy + 'static>(&mut self, count: usize, value: T) -> Slab<T>;
}

/// Slabs from the heap of the host.
#[cfg(any(test, feature = "host"))]
#[derive(Clone, Copy, Debug, Default)]
pub struct HostArena;

#[cfg(any(test, feature = "host"))]
impl Arena for HostArena {
    fn slab<T: Copy + 'static>(&mut self, count: usize, value: T) -> Slab<T> {
        vec![value; count]
    }
}
