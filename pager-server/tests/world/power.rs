//! Power cuts and restores.

use super::store::Store;
use super::{SPACES, World, config, outside};
use abi::Epoch;
use abi::protocol::paging::ToPager;
use abi::record::BatchWriter;
use pager_server::Pager;
use records::HostArena;

impl World {
    /// The power goes; the world comes back from the committed epoch. `after` batches of records the power goes once
    /// more.
    pub fn crash(&mut self, after: Option<usize>) {
        let Some(durable) = self.durable.clone() else { return };
        self.restart();
        self.outside.kernel.model = durable.restored();
        if !self.give_back(after) {
            return self.crash(None);
        }
        assert_eq!(self.outside.store.refused, None);
        assert!(self.outside.store.ready);
        let spaces: Vec<u32> = self.outside.kernel.model.spaces.keys().copied().collect();
        for space in spaces {
            let badge = self.space_badge(space).bits();
            self.outside.kernel.new_process(space, badge);
        }
    }

    /// Gives the records of the store's image to a new pager, whatever it says.
    pub fn try_restore(&mut self) {
        self.restart();
        self.give_back(None);
    }

    /// A new machine, over the same disk.
    fn restart(&mut self) {
        self.incarnation += 1;
        let epoch = Epoch::first_of(self.incarnation).expect("few restores");
        let store = Store::new(self.outside.store.image.clone(), self.outside.store.committed);
        let figures = self.outside.kernel.figures;
        let page_ins = self.outside.store.page_ins;
        self.outside = outside(self.shape, epoch, &mut self.random, store);
        self.outside.kernel.figures = figures;
        self.outside.store.page_ins = page_ins;
        self.pager = Pager::new(&mut HostArena, config(self.shape, SPACES)).expect("sound");
    }

    /// False: the power went after so many batches.
    fn give_back(&mut self, after: Option<usize>) -> bool {
        for (count, batch) in self.record_batches().iter().enumerate() {
            if after == Some(count) {
                return false;
            }
            self.outside.store.restore.insert(1, batch.clone());
            self.tell(ToPager::Restore { slot: 1, bytes: batch.len() as u32 });
            self.settle_messages();
        }
        let epoch = self.outside.kernel.epoch;
        let room = self.outside.store.room();
        self.tell(ToPager::Room(room));
        self.tell(ToPager::RestoreEnd { epoch });
        self.settle_messages();
        true
    }

    pub fn record_batches(&self) -> Vec<Vec<u8>> {
        let mut batches = Vec::new();
        let mut left: Vec<_> = self.outside.store.image.records.iter().collect();
        while !left.is_empty() {
            let mut page = vec![0; 300];
            let mut writer = BatchWriter::new(&mut page);
            while let Some(&((table, index), bytes)) = left.last() {
                if !writer.push(*table, *index, bytes.len(), |to| to.copy_from_slice(bytes)) {
                    break;
                }
                left.pop();
            }
            let used = writer.finish();
            page.truncate(used);
            batches.push(page);
        }
        batches
    }
}
