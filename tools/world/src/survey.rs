//! Roots, checkpoints and log as they lie on the disk, read without a store.

use abi::Epoch;
use format::{
    Block, Checkpoint, Checksum, Descriptor, DescriptorHead, Header, HeaderError, LogStart, Root, RootError, World,
};
use snapshot_server::{Disk, Refusal};

use crate::file::FileHost;
use crate::session::WorldError;

/// An epoch that lies in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogEpoch {
    /// Its number.
    pub epoch: Epoch,
    /// When it was cut, by its maker's clock (ns).
    pub time_ns: u64,
    /// How long it gathered (ns).
    pub gathered_ns: u64,
    /// Pages in it.
    pub pages: u32,
    /// Records written or removed by it.
    pub records: u32,
    /// Its descriptors.
    pub descriptors: u32,
    /// Whether it can still be booted: nothing that it needs was reused.
    pub bootable: bool,
}

/// What the disk says of itself.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Which store it is.
    pub header: Header,
    /// Both copies of the header: sound or not.
    pub headers_sound: [bool; 2],
    /// The newest root.
    pub root: Root,
    /// Sound copies of roots, and all slots.
    pub roots: (u32, u32),
    /// Copies of roots that are not sound, and why. One that a power cut has torn is nothing to worry about.
    pub roots_unsound: Vec<(Block, RootError)>,
    /// Epochs in the log behind the newest checkpoint, oldest first.
    pub log: Vec<LogEpoch>,
    /// Descriptors of the log with their places, for whoever verifies them further.
    pub descriptors: Vec<(Block, Checksum)>,
}

impl Survey {
    /// Reads header, roots and log.
    pub fn new(host: &mut FileHost) -> Result<Self, WorldError> {
        let (header, headers_sound) = Self::header(host)?;
        let geometry = header.geometry;
        let mut newest: Option<(Root, Checksum)> = None;
        let mut unsound = Vec::new();
        let mut bytes = [0; 4096];
        for sequence in 0..u64::from(geometry.root_slots()) {
            for at in geometry.root(sequence) {
                host.read_block(u64::from(at.0), &mut bytes)?;
                let (root, sum) = match Root::parse(header.world, &geometry, at, &bytes) {
                    Ok(found) => found,
                    Err(error) => {
                        unsound.push((at, error));
                        continue;
                    }
                };
                if newest.as_ref().is_none_or(|(found, _)| found.sequence < root.sequence) {
                    newest = Some((root, sum));
                }
            }
        }
        let Some((root, _)) = newest else {
            return Err(WorldError::Roots(unsound));
        };
        let slots = geometry.root_slots() * 2;
        let roots = (slots - unsound.len() as u32, slots);
        let (log, descriptors) = (Vec::new(), Vec::new());
        let mut survey = Self { header, headers_sound, root, roots, roots_unsound: unsound, log, descriptors };
        survey.walk(host)?;
        Ok(survey)
    }

    fn header(host: &mut FileHost) -> Result<(Header, [bool; 2]), WorldError> {
        let blocks = host.blocks();
        if blocks == 0 {
            return Err(WorldError::Refused(Refusal::Header(HeaderError::Foreign)));
        }
        let last = (blocks.min(format::DISK_BLOCKS_MAX) - 1) as u32;
        let mut read = |at: u32| -> Result<Result<Header, HeaderError>, WorldError> {
            let mut bytes = [0; 4096];
            host.read_block(u64::from(at), &mut bytes)?;
            Ok(Header::parse(Block(at), &bytes, blocks))
        };
        let (first, second) = (read(0)?, read(last)?);
        let sound = [first.is_ok(), second.is_ok()];
        // If neither can be used the first says why, unless it is not there at all.
        let telling = match (first, second) {
            (Ok(header), _) | (_, Ok(header)) => Ok(header),
            (Err(HeaderError::Blank | HeaderError::Foreign), Err(error)) if error != HeaderError::Blank => Err(error),
            (Err(error), Err(_)) => Err(error),
        };
        let header = telling.map_err(|error| WorldError::Refused(Refusal::Header(error)))?;
        Ok((header, sound))
    }

    fn continues(&self, at: &LogStart, head: &DescriptorHead) -> bool {
        let resumed = head.sequence >= self.root.resume.sequence;
        head.sequence == at.sequence
            && head.previous == at.previous
            && (!resumed || head.epoch.incarnation() == self.root.incarnation)
    }

    fn walk(&mut self, host: &mut FileHost) -> Result<(), WorldError> {
        let mut at = self.root.log;
        let (mut floor, mut count) = (Epoch::NONE, 0);
        let mut bytes = [0; 4096];
        // Sequence numbers ascend and every descriptor has a block of its own, so this ends.
        for _ in 0..self.header.geometry.blocks() {
            host.read_block(u64::from(at.block.0), &mut bytes)?;
            let Ok(found) = Descriptor::parse(self.header.world, &self.header.geometry, at.block, &bytes) else {
                break;
            };
            let head = found.head;
            if !self.continues(&at, &head) {
                break;
            }
            count += 1;
            self.descriptors.push((at.block, found.sum));
            if head.flags.commit {
                floor = floor.max(head.floor);
                self.log.push(LogEpoch {
                    epoch: head.epoch,
                    time_ns: head.time_ns,
                    gathered_ns: head.gathered_ns,
                    pages: head.pages,
                    records: head.records,
                    descriptors: count,
                    bootable: false,
                });
                count = 0;
            }
            at = LogStart { block: head.next, sequence: head.sequence + 1, previous: found.sum };
        }
        for epoch in &mut self.log {
            epoch.bootable = epoch.epoch >= floor;
        }
        Ok(())
    }

    /// Checkpoints kept, oldest first.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        self.root.checkpoints()
    }

    /// Identity of the store.
    pub fn world(&self) -> World {
        self.header.world
    }
}
