//! A list with a largest length: init allocates nothing.

/// Up to `N` items, in order.
#[derive(Clone, Copy, Debug)]
pub struct List<T, const N: usize> {
    items: [Option<T>; N],
    count: usize,
}

/// There is no room for another item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<T: Copy, const N: usize> List<T, N> {
    /// Nothing.
    pub const fn new() -> Self {
        Self { items: [None; N], count: 0 }
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) -> Result<(), Full> {
        *self.items.get_mut(self.count).ok_or(Full)? = Some(item);
        self.count += 1;
        Ok(())
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Item `index`.
    pub fn get(&self, index: usize) -> Option<T> {
        self.items.get(index).copied().flatten()
    }

    /// Replaces item `index`; false when there is none.
    pub fn set(&mut self, index: usize, item: T) -> bool {
        match self.items.get_mut(index) {
            Some(place @ Some(_)) => {
                *place = Some(item);
                true
            }
            _ => false,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items.iter().map_while(|item| *item)
    }
}

impl<T: Copy, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_order_and_bounds() {
        let mut list = List::<u32, 2>::new();
        assert!(list.is_empty());
        assert_eq!((list.push(1), list.push(2), list.push(3)), (Ok(()), Ok(()), Err(Full)));
        assert!(list.iter().eq([1, 2]));
        assert!(list.set(1, 9) && !list.set(2, 9));
        assert_eq!((list.get(1), list.get(2), list.len()), (Some(9), None, 2));
    }
}
