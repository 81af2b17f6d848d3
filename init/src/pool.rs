//! Init's own frames: handed out in runs, never taken back. What a server was given it is given again at a restart.

/// A run of pages that is handed out from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    next: u64,
    end: u64,
}

/// No run of so many pages is left; the manifest asks for more than init keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolEmpty;

impl Pool {
    /// `pages` pages, numbered from 0.
    pub const fn new(pages: u64) -> Self {
        Self { next: 0, end: pages }
    }

    /// The first of `pages` consecutive pages that are nobody else's.
    pub fn take(&mut self, pages: u64) -> Result<u64, PoolEmpty> {
        let first = self.next;
        let next = first.checked_add(pages).filter(|next| *next <= self.end).ok_or(PoolEmpty)?;
        self.next = next;
        Ok(first)
    }

    /// Pages that are left.
    pub const fn left(&self) -> u64 {
        self.end - self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_end() {
        let mut pool = Pool::new(10);
        assert_eq!((pool.take(4), pool.take(6), pool.take(1)), (Ok(0), Ok(4), Err(PoolEmpty)));
        assert_eq!(Pool::new(3).take(u64::MAX), Err(PoolEmpty));
    }
}
