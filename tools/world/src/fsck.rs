//! Every block that any kept epoch needs, verified against the checksum that its parent keeps.

use std::collections::BTreeMap;

use abi::Epoch;
use format::{
    Block, Checkpoint, Descriptor, Geometry, Item, Key, Node, NodeError, Place, Pointer, Seal, SpaceIndex, World,
    page_checksum,
};

use crate::file::FileHost;
use crate::session::WorldError;
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
    /// In which block the newest version of each record lies, by table and index.
    pub records: BTreeMap<(u16, u32), Block>,
}

/// A verification under way.
pub struct Fsck<'a> {
    host: &'a mut FileHost,
    world: World,
    geometry: Geometry,
    /// Blocks verified already: epochs share most of theirs.
    seen: Vec<bool>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Blocks verified.
    pub verified: u64,
    /// Where the newest version of each record lies.
    records: BTreeMap<(u16, u32), Block>,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Fsck<'a> {
    /// Verifies everything; `progress` is told how many blocks were verified.
    pub fn run(
        host: &'a mut FileHost,
        survey: &Survey,
        progress: &'a mut dyn FnMut(u64),
    ) -> Result<Verified, WorldError> {
        let geometry = survey.header.geometry;
        let seen = vec![false; geometry.blocks() as usize];
        let world = survey.world();
        let records = BTreeMap::new();
        let mut fsck = Self { host, world, geometry, seen, problems: Vec::new(), verified: 0, records, progress };
        let newest = survey.log.last().map_or(Epoch::NONE, |epoch| epoch.epoch);
        for (sound, at) in survey.headers_sound.iter().zip(geometry.headers()) {
            if !sound {
                fsck.report(at, "a copy of the header is damaged", newest, None);
            }
        }
        for checkpoint in survey.checkpoints() {
            fsck.checkpoint(checkpoint)?;
        }
        for (block, _) in &survey.descriptors {
            fsck.descriptor(*block)?;
        }
        Ok(Verified { blocks: fsck.verified, problems: fsck.problems, records: fsck.records })
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
        let first = !core::mem::replace(&mut self.seen[block.index()], true);
        if first {
            self.verified += 1;
            (self.progress)(self.verified);
        }
        first
    }

    fn read(&mut self, block: Block) -> Result<[u8; 4096], WorldError> {
        let mut bytes = [0; 4096];
        self.host.read_block(u64::from(block.0), &mut bytes)?;
        Ok(bytes)
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), WorldError> {
        self.table(&checkpoint.space, checkpoint.epoch)?;
        if checkpoint.map.block.is_some() {
            self.node(&checkpoint.map, checkpoint.map_level, checkpoint.epoch)?;
        }
        Ok(())
    }

    fn table(&mut self, top: &Pointer, epoch: Epoch) -> Result<(), WorldError> {
        let table = (self.geometry.blocks() as usize).div_ceil(4096);
        let mut levels = vec![(*top, u8::from(table > format::SPACE_POINTERS_MAX))];
        while let Some((pointer, level)) = levels.pop() {
            if !self.first_time(pointer.block) {
                continue;
            }
            let bytes = self.read(pointer.block)?;
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
                if self.first_time(pointer.block) {
                    let bytes = self.read(pointer.block)?;
                    if Seal::Space.checksum(self.world, pointer.block, pointer.epoch, &bytes) != pointer.sum {
                        self.report(pointer.block, "the table of used blocks is damaged", epoch, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// A node and all below it. Levels fall from parent to child, so a cycle cannot be followed.
    fn node(&mut self, pointer: &Pointer, level: u8, epoch: Epoch) -> Result<(), WorldError> {
        if !self.first_time(pointer.block) {
            return Ok(());
        }
        let mut bytes = self.read(pointer.block)?;
        if let Some(twin) = pointer.to_twin() {
            self.first_time(twin.block);
            let second = self.read(twin.block)?;
            let parse = |bytes| Node::parse(self.world, &self.geometry, pointer, level, bytes).err();
            match (parse(&bytes), parse(&second)) {
                (Some(error), None) => {
                    self.report_node(pointer.block, "the first copy of a node of the map is damaged", epoch, &error);
                    bytes = second;
                }
                (_, Some(error)) => {
                    self.report_node(twin.block, "the second copy of a node of the map is damaged", epoch, &error);
                }
                (None, None) => {}
            }
        }
        let node = match Node::parse(self.world, &self.geometry, pointer, level, &bytes) {
            Ok(node) => node,
            Err(error) => {
                self.report_node(pointer.block, "a node of the map is damaged", epoch, &error);
                return Ok(());
            }
        };
        if level > 0 {
            for (_, child) in (0..node.count()).filter_map(|position| node.child(position)) {
                self.node(&child, level - 1, epoch)?;
            }
            return Ok(());
        }
        for item in node.items() {
            match item {
                Item::Page { key, place, sum } => self.page(place, sum, epoch, (key.object, key.index))?,
                Item::Record { key, .. } => self.record(key, pointer.block),
                Item::Zero { .. } | Item::Absent { .. } => {}
            }
        }
        Ok(())
    }

    fn page(&mut self, place: Place, sum: format::Checksum, epoch: Epoch, page: (u64, u64)) -> Result<(), WorldError> {
        if self.first_time(place.block) {
            let bytes = self.read(place.block)?;
            if page_checksum(self.world, place, &bytes) != sum {
                self.report(place.block, "a page is damaged", epoch, Some(page));
            }
        }
        Ok(())
    }

    fn descriptor(&mut self, block: Block) -> Result<(), WorldError> {
        // Its checksum was verified when the log was surveyed; a page that the log has replaced may be reused.
        self.first_time(block);
        let bytes = self.read(block)?;
        let Ok(descriptor) = Descriptor::parse(self.world, &self.geometry, block, &bytes) else {
            self.report(block, "a descriptor of the log is damaged", Epoch::NONE, None);
            return Ok(());
        };
        for item in descriptor.items() {
            if let Item::Record { key, .. } = item {
                self.record(key, block);
            }
        }
        Ok(())
    }

    /// Of several versions the last one seen is the newest: checkpoints come in order, and the log behind them.
    fn record(&mut self, key: Key, block: Block) {
        if let Some(name) = key.as_record() {
            self.records.insert(name, block);
        }
    }
}
