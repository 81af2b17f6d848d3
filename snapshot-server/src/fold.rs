//! Intervals: when they end.

use abi::Epoch;

use crate::disk::Host;
use crate::store::Store;

impl<'m, H: Host> Store<'m, H> {
    pub(crate) fn is_folding(&self) -> bool {
        self.frozen.len > 0
    }

    pub(crate) fn should_end_interval(&self) -> bool {
        false
    }

    pub(crate) fn end_interval(&mut self, _epoch: Epoch, _time_ns: u64) {}
}
