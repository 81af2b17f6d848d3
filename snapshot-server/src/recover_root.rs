//! Opening, first half: header, roots, the table of used blocks, the root of the map.

use abi::Epoch;
use format::{Block, Checkpoint, Header, HeaderError, Pointer, Root, SPACE_POINTERS_MAX, Seal, SpaceIndex};

use crate::cache::{Cache, Fetch};
use crate::disk::Host;
use crate::fold::{Fold, INDEX_BLOCKS_MAX, index_blocks};
use crate::memory::PageRef;
use crate::read::Lookup;
use crate::recovery::{AHEAD, Case, Damage, Recovery, Refusal, Stage, Step, Walk};
use crate::space::Sweep;
use crate::store::Store;

impl<'m, H: Host> Store<'m, H> {
    pub(crate) fn recover_header(&mut self, recovery: &mut Recovery, copy: u8) -> Result<Step, Refusal> {
        let blocks = self.host.blocks();
        if blocks == 0 {
            return Err(Refusal::Header(HeaderError::Foreign));
        }
        // The second copy lies in the last block of the store; that is the last of the disk unless the disk grew.
        let at = if copy == 0 { Block(0) } else { Block((blocks.min(format::DISK_BLOCKS_MAX) - 1) as u32) };
        let parsed = match self.fetch_raw(at) {
            Ok(None) => return Ok(Step::Wait),
            Ok(Some(page)) => Header::parse(at, self.host.bytes(page), blocks),
            Err(_) => Err(HeaderError::Damaged),
        };
        recovery.report.blocks_read += 1;
        match parsed {
            Ok(header) => {
                if copy == 1 {
                    recovery.report.meet(Case::HeaderSecond);
                }
                self.world = header.world;
                (self.twins, self.counts_records) = (header.has_twins(), header.counts_records());
                recovery.report.programs = header.programs;
                if !self.space.adopt(header.geometry) {
                    return Err(Refusal::Memory);
                }
                recovery.stage = Stage::Roots(0);
            }
            // What the first copy says is what there is to say, unless the second is sound.
            Err(error) if copy == 0 => {
                recovery.header_error = Some(error);
                recovery.stage = Stage::Header(1);
            }
            Err(error) => return Err(Refusal::Header(recovery.header_error.unwrap_or(error))),
        }
        Ok(Step::On)
    }

    pub(crate) fn recover_roots(&mut self, recovery: &mut Recovery, slot: u32) -> Result<Step, Refusal> {
        let geometry = *self.space.geometry();
        let slots = geometry.root_slots();
        let place = |slot: u32| geometry.root(u64::from(slot % slots))[(slot / slots) as usize];
        for ahead in slot + 1..(slot + AHEAD).min(2 * slots) {
            // Only to have it read: whatever is wrong with it is seen when it is its turn.
            let _ = self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(place(ahead), self.nonce));
        }
        let parsed = match self.fetch_raw(place(slot)) {
            Ok(None) => return Ok(Step::Wait),
            Ok(Some(page)) => {
                let bytes = self.host.bytes(page);
                Root::parse(self.world, &geometry, place(slot), bytes).map_err(|_| Root::predecessor(bytes))
            }
            Err(_) => Err(None),
        };
        recovery.report.blocks_read += 1;
        if let Err(Some(followed)) = parsed
            && let Some(place) = recovery.followed.get_mut(recovery.followed_len)
        {
            *place = followed;
            recovery.followed_len += 1;
        }
        if let Ok((root, sum)) = parsed
            && root.sequence < recovery.below
        {
            match &recovery.found {
                Some((found, _)) if found.sequence > root.sequence => {}
                Some((found, _)) if found.sequence == root.sequence => recovery.copies += 1,
                _ => {
                    recovery.found = Some((root, sum));
                    recovery.copies = 1;
                }
            }
        }
        recovery.stage = if slot + 1 < 2 * slots { Stage::Roots(slot + 1) } else { Stage::Chosen };
        Ok(Step::On)
    }

    pub(crate) fn recover_chosen(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        let Some((root, sum)) = recovery.found.take() else {
            let damage = recovery.root_damage.unwrap_or(Damage::Roots);
            return Err(Refusal::Damaged { damage, offer: recovery.older_checkpoint() });
        };
        if recovery.copies == 1 {
            recovery.report.meet(Case::RootOneCopy);
        }
        if recovery.newest.is_none() && recovery.followed[..recovery.followed_len].contains(&sum) {
            recovery.report.meet(Case::RootLost);
        }
        let (latest, _) = *recovery.newest.get_or_insert((root, sum));
        self.root = root;
        // What a newer root has given up may have been overwritten since.
        let still_kept =
            |old: &Checkpoint| latest.checkpoints().iter().any(|kept| (kept.epoch, kept.slot) == (old.epoch, old.slot));
        if root.newest().is_some_and(|newest| !still_kept(newest)) {
            let damage = recovery.root_damage.unwrap_or(Damage::Roots);
            return Err(Refusal::Damaged { damage, offer: recovery.older_checkpoint() });
        }
        while let Some(gone) = self.root.checkpoints().iter().position(|old| !still_kept(old)) {
            self.root.remove(gone);
        }
        let root = self.root;
        self.root_sum = sum;
        self.interval = root.interval;
        // Whatever a newer root has left behind is no part of this one.
        self.fold = Fold::new();
        let geometry = *self.space.geometry();
        if !self.space.adopt(geometry) {
            return Err(Refusal::Memory);
        }
        if root.newest().is_none() {
            recovery.report.meet(Case::NoCheckpoint);
        }
        if let Some(target) = recovery.target
            && root.newest().is_some_and(|newest| newest.epoch >= target)
        {
            // A checkpoint was asked for: the log behind the newest is no part of it.
            recovery.rewound = root.newest().is_some_and(|newest| newest.epoch > target);
            self.root.truncate_after(target);
            recovery.report.meet(Case::AskedFor);
        }
        let Some(newest) = self.root.newest().copied() else {
            if recovery.rewound {
                return Err(Refusal::NotKept(recovery.target.unwrap_or_default()));
            }
            return Ok(self.start_walk(recovery));
        };
        if recovery.report.met(Case::AskedFor) && recovery.target != Some(newest.epoch) {
            return Err(Refusal::NotKept(recovery.target.unwrap_or_default()));
        }
        let leaves = index_blocks(self.space.table_blocks()).0;
        self.fold.index[INDEX_BLOCKS_MAX] = newest.space;
        recovery.stage = if leaves > 1 { Stage::Top } else { Stage::Index(0) };
        Ok(Step::On)
    }

    /// The root cannot be used; the one before it may be, with a longer log.
    fn older_root(recovery: &mut Recovery, below: u64, damage: Damage) -> Step {
        recovery.report.meet(Case::RootOlder);
        recovery.root_damage.get_or_insert(damage);
        recovery.below = below;
        recovery.stage = Stage::Roots(0);
        Step::On
    }

    /// An index block of the table: the topmost of several, or number `index` of those that point to the table.
    pub(crate) fn recover_index(&mut self, recovery: &mut Recovery, index: Option<usize>) -> Result<Step, Refusal> {
        let table = self.space.table_blocks();
        let (leaves, all) = index_blocks(table);
        let top = index.is_none();
        let single = all == 1;
        let position = match index {
            Some(index) if !single => index,
            _ => INDEX_BLOCKS_MAX,
        };
        let pointer = self.fold.index[position];
        let Some(page) = self.fetch_known(&pointer)? else {
            return Ok(Step::Wait);
        };
        recovery.report.blocks_read += 1;
        let geometry = *self.space.geometry();
        let parsed = page.and_then(|page| {
            let level = u8::from(top);
            SpaceIndex::parse(self.world, &geometry, &pointer, level, self.host.bytes(page)).ok()
        });
        let first = index.unwrap_or(0) * SPACE_POINTERS_MAX;
        let expected = if top { leaves } else { (table - first).min(SPACE_POINTERS_MAX) };
        let newest = self.root.newest().map_or(0, |newest| newest.slot);
        let Some(found) = parsed.filter(|found| found.count() == expected && found.interval() == newest) else {
            return Ok(Self::older_root(recovery, self.root.sequence, Damage::Space(pointer.block)));
        };
        for slot in 0..expected {
            let pointer = found.pointer(slot).unwrap_or_default();
            if top { self.fold.index[slot] = pointer } else { self.space.table[first + slot].pointer = pointer }
        }
        if top || single {
            let kept = self.root;
            let mut sweep = Sweep::forgetting();
            sweep.rename[usize::from(newest)] = newest;
            for checkpoint in kept.checkpoints() {
                sweep.rename[usize::from(checkpoint.slot)] = checkpoint.slot;
            }
            let is_kept = |slot: u8, epoch| kept.checkpoints().iter().any(|c| c.slot == slot && c.epoch == epoch);
            sweep.rename_retired(found.kept(), is_kept, newest);
            sweep.log_kept[usize::from(newest)] = true;
            recovery.sweep = sweep;
        }
        let next = index.map_or(0, |index| index + 1);
        recovery.stage = if next < leaves { Stage::Index(next) } else { Stage::Table(0) };
        Ok(Step::On)
    }

    /// Block `index` of the table.
    pub(crate) fn recover_table(&mut self, recovery: &mut Recovery, index: usize) -> Result<Step, Refusal> {
        let table = self.space.table_blocks();
        if index == table {
            while !self.space.sweep_some(&mut recovery.sweep, u32::MAX) {}
            self.space.count();
            // The table must know of itself, or a later fold would free what it never had.
            let own = |pointer: &Pointer| !pointer.block.is_some() || self.space.is_alive(pointer.block);
            let table = self.space.table[..table].iter().map(|block| &block.pointer);
            if let Some(stray) = table.chain(&self.fold.index).find(|pointer| !own(pointer)) {
                let damage = Damage::Space(stray.block);
                return Ok(Self::older_root(recovery, self.root.sequence, damage));
            }
            recovery.stage = Stage::Map;
            return Ok(Step::On);
        }
        for ahead in index + 1..(index + AHEAD as usize).min(table) {
            let pointer = self.space.table[ahead].pointer;
            let _ = self.cache.fetch(&mut self.queue, &mut self.host, &pointer);
        }
        let pointer = self.space.table[index].pointer;
        let Some(page) = self.fetch_known(&pointer)? else {
            return Ok(Step::Wait);
        };
        recovery.report.blocks_read += 1;
        let sound = page.is_some_and(|page| {
            let bytes = self.host.bytes(page);
            let sum = Seal::Space.checksum(self.world, pointer.block, pointer.epoch, bytes);
            sum == pointer.sum && self.space.load_table_block(index, bytes)
        });
        if !sound {
            return Ok(Self::older_root(recovery, self.root.sequence, Damage::Space(pointer.block)));
        }
        self.space.table[index].dirty = false;
        recovery.stage = Stage::Table(index + 1);
        Ok(Step::On)
    }

    /// The root of the map: when it cannot be used, nothing can.
    pub(crate) fn recover_map(&mut self, recovery: &mut Recovery) -> Result<Step, Refusal> {
        if let Some(newest) = self.root.newest().copied()
            && newest.map.block.is_some()
        {
            match self.node(&newest.map, newest.map_level) {
                Lookup::Pending => return Ok(Step::Wait),
                Lookup::Failed(block) => {
                    return Ok(Self::older_root(recovery, self.root.sequence, Damage::Map(block)));
                }
                Lookup::Found(_) => recovery.report.blocks_read += 1,
            }
        }
        self.head = self.root.newest().map_or(Epoch::NONE, |newest| newest.epoch);
        recovery.report.time_ns = self.root.newest().map_or(0, |newest| newest.time_ns);
        Ok(self.start_walk(recovery))
    }

    fn start_walk(&mut self, recovery: &mut Recovery) -> Step {
        let root = &self.root;
        recovery.walk = Walk { at: root.log, end: root.log, head: self.head, ..Walk::default() };
        recovery.stage = if recovery.report.met(Case::AskedFor) { Stage::Done } else { Stage::Walk };
        Step::On
    }

    /// A block by its whole pointer; `Some(None)` when the disk cannot read it.
    fn fetch_known(&mut self, pointer: &Pointer) -> Result<Option<Option<PageRef>>, Refusal> {
        Ok(match self.cache.fetch(&mut self.queue, &mut self.host, pointer) {
            Fetch::Pending => None,
            Fetch::Ready(page, ..) => Some(Some(page)),
            Fetch::Unreadable => Some(None),
        })
    }
}
