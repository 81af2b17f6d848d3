//! Every block that any kept epoch needs, verified against the checksum that its parent keeps.

use std::collections::BTreeMap;

use abi::Epoch;
use format::{
    Block, Checkpoint, Checksum, Descriptor, Geometry, Item, Key, Node, NodeError, Place, Pointer, Seal, SpaceIndex,
    World, page_checksum,
};

use crate::file::FileHost;
use crate::survey::Survey;

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The block, as far as one can be named.
    pub block: Block,
    /// What is wrong with it.
    pub what: &'static str,
    /// What its contents break, where more is known than that.
    pub why: Option<String>,
    /// The oldest kept epoch that needs it.
    pub epoch: Epoch,
    /// Of a page: object and index.
    pub page: Option<(u64, u64)>,
    /// Of a record: table and index.
    pub record: Option<(u16, u32)>,
}

/// What a verification has found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Blocks verified.
    pub blocks: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// By table and index: in which block each version of a record lies, from which epoch on, oldest first.
    pub records: BTreeMap<(u16, u32), Vec<(Epoch, Block)>>,
}

impl Verified {
    /// In which block a record lies as `epoch` has it, as far as that is known.
    pub fn record_block(&self, record: (u16, u32), epoch: Epoch) -> Option<Block> {
        let versions = self.records.get(&record)?;
        versions.iter().rev().find(|(since, _)| *since <= epoch).map(|(_, block)| *block)
    }
}

/// Blocks behind the log's end in which descriptors are looked for that prove it to have gone on.
const BEYOND_BLOCKS: u32 = 1 << 16;

/// A verification under way.
pub struct Fsck<'a> {
    host: &'a mut FileHost,
    world: World,
    geometry: Geometry,
    /// Blocks verified already, a bit each: epochs share most of theirs.
    seen: Vec<u64>,
    /// What is wrong.
    problems: Vec<Problem>,
    /// Blocks verified.
    verified: u64,
    /// Where each version of a record lies.
    records: BTreeMap<(u16, u32), Vec<(Epoch, Block)>>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Fsck<'a> {
    /// Verifies everything; `progress` is told how many blocks were verified.
    pub fn run(host: &'a mut FileHost, survey: &Survey, progress: &'a mut dyn FnMut(u64)) -> Verified {
        let geometry = survey.header.geometry;
        let seen = vec![0; (geometry.blocks() as usize).div_ceil(64)];
        let world = survey.world();
        let records = BTreeMap::new();
        let mut fsck = Self { host, world, geometry, seen, problems: Vec::new(), verified: 0, records, progress };
        let newest = survey.log.last().map_or(Epoch::NONE, |epoch| epoch.epoch);
        for (sound, at) in survey.headers_sound.iter().zip(geometry.headers()) {
            if !sound {
                fsck.report(at, "a copy of the header is damaged", newest, None);
            }
        }
        for copy in survey.roots_unsound.iter().filter(|copy| copy.written) {
            let why = Some(crate::refusal::root(copy.flaw).into());
            let what = "a copy of a root is damaged";
            fsck.problems.push(Problem { block: copy.block, what, why, epoch: newest, page: None, record: None });
        }
        for checkpoint in survey.checkpoints() {
            fsck.checkpoint(checkpoint);
        }
        fsck.log(survey);
        fsck.beyond(survey, newest);
        Verified { blocks: fsck.verified, problems: fsck.problems, records: fsck.records }
    }

    fn report(&mut self, block: Block, what: &'static str, epoch: Epoch, page: Option<(u64, u64)>) {
        self.problems.push(Problem { block, what, why: None, epoch, page, record: None });
    }

    /// Reports a node, and what of it is not as it should be.
    fn report_node(&mut self, block: Block, what: &'static str, epoch: Epoch, error: &NodeError) {
        let why = Some(crate::refusal::node(error));
        self.problems.push(Problem { block, what, why, epoch, page: None, record: None });
    }

    /// Marks a block; false when it was verified before.
    fn first_time(&mut self, block: Block) -> bool {
        let (word, bit) = (block.index() / 64, 1 << (block.index() % 64));
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        if first {
            self.verified += 1;
            (self.progress)(self.verified);
        }
        first
    }

    fn is_seen(&self, block: Block) -> bool {
        self.seen[block.index() / 64] & 1 << (block.index() % 64) != 0
    }

    /// A block; one that cannot be read is reported, and `None`.
    fn read(&mut self, block: Block, epoch: Epoch, page: Option<(u64, u64)>) -> Option<[u8; 4096]> {
        let mut bytes = [0; 4096];
        match self.host.read_block(u64::from(block.0), &mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                let why = Some(error.to_string());
                self.problems.push(Problem { block, what: "cannot be read", why, epoch, page, record: None });
                None
            }
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.table(&checkpoint.space, checkpoint.epoch);
        if checkpoint.map.block.is_some() {
            self.node(&checkpoint.map, checkpoint.map_level, checkpoint.epoch);
        }
    }

    fn table(&mut self, top: &Pointer, epoch: Epoch) {
        let table = (self.geometry.blocks() as usize).div_ceil(4096);
        let mut levels = vec![(*top, u8::from(table > format::SPACE_POINTERS_MAX))];
        while let Some((pointer, level)) = levels.pop() {
            if !self.first_time(pointer.block) {
                continue;
            }
            let Some(bytes) = self.read(pointer.block, epoch, None) else { continue };
            let Ok(index) = SpaceIndex::parse(self.world, &self.geometry, &pointer, level, &bytes) else {
                self.report(pointer.block, "an index of the table of used blocks is damaged", epoch, None);
                continue;
            };
            let below: Vec<Pointer> = (0..index.count()).filter_map(|position| index.pointer(position)).collect();
            if level > 0 {
                levels.extend(below.into_iter().map(|pointer| (pointer, level - 1)));
                continue;
            }
            for pointer in below {
                if self.first_time(pointer.block)
                    && let Some(bytes) = self.read(pointer.block, epoch, None)
                    && Seal::Space.checksum(self.world, pointer.block, pointer.epoch, &bytes) != pointer.sum
                {
                    self.report(pointer.block, "the table of used blocks is damaged", epoch, None);
                }
            }
        }
    }

    /// A node from both its places; what is wrong with either is reported. `None` when neither can be used.
    fn copies(&mut self, pointer: &Pointer, level: u8, epoch: Epoch) -> Option<[u8; 4096]> {
        let mut usable = None;
        let twin = pointer.to_twin().map(|twin| twin.block);
        let places = [(pointer.block, "the first copy of a node of the map is damaged")].into_iter();
        for (block, what) in places.chain(twin.map(|block| (block, "the second copy of a node of the map is damaged")))
        {
            let what = if twin.is_some() { what } else { "a node of the map is damaged" };
            self.first_time(block);
            let Some(bytes) = self.read(block, epoch, None) else { continue };
            match Node::parse(self.world, &self.geometry, pointer, level, &bytes) {
                Ok(_) => usable = usable.or(Some(bytes)),
                Err(error) => self.report_node(block, what, epoch, &error),
            }
        }
        usable
    }

    /// A node and all below it. Levels fall from parent to child, so a cycle cannot be followed.
    fn node(&mut self, pointer: &Pointer, level: u8, epoch: Epoch) {
        if self.is_seen(pointer.block) {
            return;
        }
        let Some(bytes) = self.copies(pointer, level, epoch) else { return };
        let Ok(node) = Node::parse(self.world, &self.geometry, pointer, level, &bytes) else { return };
        if level > 0 {
            for (_, child) in (0..node.count()).filter_map(|position| node.child(position)) {
                self.node(&child, level - 1, epoch);
            }
            return;
        }
        for item in node.items() {
            match item {
                Item::Page { key, place, sum } => self.page(place, sum, epoch, key),
                Item::Record { key, .. } => self.record(key, epoch, pointer.block),
                Item::Zero { .. } | Item::Absent { .. } => {}
            }
        }
    }

    fn page(&mut self, place: Place, sum: Checksum, epoch: Epoch, key: Key) {
        let page = Some((key.object, key.index));
        if self.first_time(place.block)
            && let Some(bytes) = self.read(place.block, epoch, page)
            && page_checksum(self.world, place, &bytes) != sum
        {
            self.report(place.block, "a page is damaged", epoch, page);
        }
    }

    /// The log: its descriptors, and the pages that any epoch needs which can still be booted. A page that the log has
    /// replaced before the oldest of these may have been reused.
    fn log(&mut self, survey: &Survey) {
        let mut pages: BTreeMap<Key, (Place, Checksum)> = BTreeMap::new();
        let mut epochs = survey.log.iter();
        for (block, _) in &survey.descriptors {
            // Its checksum was verified when the log was surveyed.
            self.first_time(*block);
            let Some(bytes) = self.read(*block, Epoch::NONE, None) else { return };
            let Ok(descriptor) = Descriptor::parse(self.world, &self.geometry, *block, &bytes) else {
                return self.report(*block, "a descriptor of the log is damaged", Epoch::NONE, None);
            };
            for item in descriptor.items() {
                let key = item.key();
                let end = Key { object: key.object, index: key.index.saturating_add(item.count()) };
                while let Some((replaced, _)) = pages.range(key..end).next() {
                    let replaced = *replaced;
                    pages.remove(&replaced);
                }
                match item {
                    Item::Page { place, sum, .. } => drop(pages.insert(key, (place, sum))),
                    Item::Record { .. } => self.record(key, descriptor.head.epoch, *block),
                    Item::Zero { .. } | Item::Absent { .. } => {}
                }
            }
            if descriptor.head.flags.commit
                && let Some(epoch) = epochs.next()
                && epoch.bootable
            {
                // What has been verified is forgotten: the next epoch needs it too, or has replaced it.
                for (key, (place, sum)) in core::mem::take(&mut pages) {
                    self.page(place, sum, epoch.epoch, key);
                }
            }
        }
    }

    /// A descriptor behind the log's end that proves the log to have gone on: then what should lie at its end has rotted.
    fn beyond(&mut self, survey: &Survey, newest: Epoch) {
        let end = survey.end;
        if let Some(vouched) = survey.log_missing() {
            let why = Some(format!("a root vouches for it up to {}", vouched.block));
            let what = "the log breaks off here and had gone on";
            self.problems.push(Problem { block: end.block, what, why, epoch: newest, page: None, record: None });
            return;
        }
        // The log goes on round the end of the disk.
        let (start, count) = (self.geometry.data_start().0, self.geometry.data_blocks());
        for step in 0..count.min(BEYOND_BLOCKS) {
            let mut bytes = [0; 4096];
            let block = Block(start + ((end.block.0 - start) + step) % count);
            if self.host.read_block(u64::from(block.0), &mut bytes).is_err() {
                if block == end.block {
                    self.report(block, "cannot be read: the log may have gone on here", newest, None);
                }
                continue;
            }
            let Ok(found) = Descriptor::parse(self.world, &self.geometry, block, &bytes) else { continue };
            let head = found.head;
            if head.sequence > end.sequence
                && head.epoch.incarnation() == survey.root.incarnation
                && head.durable > newest
            {
                let why = Some(format!("{block} proves that epoch {} was durable", head.durable));
                let what = "the log breaks off here and had gone on";
                let epoch = head.durable;
                self.problems.push(Problem { block: end.block, what, why, epoch, page: None, record: None });
                return;
            }
        }
    }

    /// Versions are seen in their order: checkpoints come in order, and the log behind them.
    fn record(&mut self, key: Key, epoch: Epoch, block: Block) {
        if let Some(name) = key.as_record() {
            self.records.entry(name).or_default().push((epoch, block));
        }
    }
}
