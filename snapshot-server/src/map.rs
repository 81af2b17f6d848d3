//! Looking things up in the map on disk.

use format::{Key, RECORD_BYTES_MAX};

use crate::disk::Host;
use crate::read::{Known, Lookup};
use crate::store::Store;

impl<'m, H: Host> Store<'m, H> {
    pub(crate) fn map_find(&mut self, _key: Key) -> Lookup<Known> {
        Lookup::Found(Known::Absent)
    }

    pub(crate) fn map_record_at_or_after(
        &mut self,
        _from: Key,
        _out: &mut [u8; RECORD_BYTES_MAX],
    ) -> Lookup<Option<(Key, usize)>> {
        Lookup::Found(None)
    }
}
