//! Memory of tables: a fixed number of elements, given once.

#[cfg(any(test, feature = "host"))]
use std::sync::Arc;

/// A fixed-size array that lives as long as the program: borrowed from boot memory, or owned on the host.
#[cfg(not(any(test, feature = "host")))]
pub type Slab<T> = &'static mut [T];

/// A fixed-size array that lives as long as the program: borrowed from boot memory, or owned on the host. There a copy
/// shares its elements with the original until one of them changes, since exploration copies a whole kernel for each
/// step, which changes little of it.
#[cfg(any(test, feature = "host"))]
#[derive(PartialEq, Eq, Hash)]
pub struct Slab<T>(Arc<[T]>);

#[cfg(any(test, feature = "host"))]
impl<T> Slab<T> {
    /// Whether both share their elements.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(any(test, feature = "host"))]
impl<T> Clone for Slab<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(any(test, feature = "host"))]
impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

#[cfg(any(test, feature = "host"))]
impl<T: core::fmt::Debug> core::fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(any(test, feature = "host"))]
impl<T> core::ops::Deref for Slab<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.0
    }
}

#[cfg(any(test, feature = "host"))]
impl<T: Copy> core::ops::DerefMut for Slab<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        Arc::make_mut(&mut self.0)
    }
}

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
        Slab(vec![value; count].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_until_one_of_the_two_changes() {
        let mut one = HostArena.slab(3, 7_u64);
        let other = one.clone();
        assert!(one.is(&other) && one == other);
        one[1] = 8;
        assert!(!one.is(&other) && one != other);
        assert_eq!((&one[..], &other[..]), (&[7, 8, 7][..], &[7, 7, 7][..]));
        let place: *const u64 = &one[0];
        one[2] = 9;
        assert_eq!((place, format!("{one:?}")), (&raw const one[0], "[7, 8, 9]".to_owned()));
    }
}
