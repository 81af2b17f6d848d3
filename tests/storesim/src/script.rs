//! A run written out: every change, cut and fault of it, so that it can be kept, read, made smaller, and run again.
//!
//! A seed draws a script (`draw.rs`); running one (`run.rs`) draws nothing but what the disk does, from seeds that the
//! script holds.

use serde::{Deserialize, Serialize};
use snapshot_server::{Config, FormatOptions};

use crate::arena::Sizes;
use crate::disk::{Broken, CutMode, Fault};

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Cuts, and faults that a store has to get over without anybody noticing.
    Plain,
    /// Disks that lie: lost and misdirected writes, rot.
    Faulty,
    /// One copy of each node of the map rots.
    RottenMap,
    /// A cut at every command of one workload.
    Every,
    /// A medium that takes nothing more from some write on.
    Worn,
    /// A world that keeps to the room it is told of, on a disk too small for it.
    Room,
    /// The same, of records more than of pages: many of the largest in each epoch, which grow and shrink.
    Records,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Faulty, Self::RottenMap, Self::Every, Self::Worn, Self::Room, Self::Records];

    /// Whether its worlds keep to the room that they are told of.
    pub fn keeps_to_room(self) -> bool {
        matches!(self, Self::Room | Self::Records)
    }

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Faulty => "faulty",
            Self::RottenMap => "rotten-map",
            Self::Every => "every",
            Self::Worn => "worn",
            Self::Room => "room",
            Self::Records => "records",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(())
    }
}

/// One change of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A page of new contents: object and index.
    Page(u64, u64),
    /// Pages of zeroes: object, first, count.
    Zero(u64, u64, u64),
    /// Pages dropped: object, first, count.
    Drop(u64, u64, u64),
    /// An object dropped.
    DropObject(u64),
    /// A record of new contents: table, index, bytes.
    Record(u16, u32, u32),
    /// A record removed.
    Remove(u16, u32),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Page(object, index) => write!(f, "page {index} of object {object}"),
            Self::Zero(object, index, count) => write!(f, "{count} zero pages of object {object} from {index}"),
            Self::Drop(object, index, count) => write!(f, "{count} pages of object {object} from {index} dropped"),
            Self::DropObject(object) => write!(f, "object {object} dropped"),
            Self::Record(table, index, length) => write!(f, "record {index} of table {table}, {length} bytes"),
            Self::Remove(table, index) => write!(f, "record {index} of table {table} removed"),
        }
    }
}

/// One epoch, and what is done behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What it changes.
    pub changes: Vec<Change>,
    /// The object that is dropped if the disk is full.
    pub spare: u64,
    /// Whether its commit is waited for.
    pub settle: bool,
    /// A page that is read behind it.
    pub look: Option<(u64, u64)>,
    /// Whether older checkpoints are given up.
    pub retire: bool,
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changes: Vec<String> = self.changes.iter().map(ToString::to_string).collect();
        write!(f, "epoch: {}", if changes.is_empty() { "nothing".into() } else { changes.join("; ") })?;
        if self.settle {
            write!(f, "; its commit is waited for")?;
        }
        if let Some((object, index)) = self.look {
            write!(f, "; page {index} of object {object} is read")?;
        }
        write!(f, "{}", if self.retire { "; older checkpoints are given up" } else { "" })
    }
}

/// From power on to power off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifePlan {
    /// What goes wrong beside the power.
    pub fault: Fault,
    /// The command at which the power goes; `None`: after the last turn.
    pub cut: Option<u64>,
    /// Writes that the medium takes once the incarnation has begun; `None`: any number.
    #[serde(default)]
    pub writes: Option<u64>,
    /// Epochs.
    pub turns: Vec<Turn>,
    /// What the cut does to unflushed writes.
    pub mode: CutMode,
    /// From which the disk draws what it does after this life.
    pub seed: u64,
    /// Bits that flip after it: block and bit.
    pub rot: Vec<(u64, u64)>,
    /// Blocks that cannot be read from then on, until they are written.
    #[serde(default)]
    pub bad: Vec<u64>,
    /// Whether the same disk is opened without a cut first, and has to come to the same epoch after this one.
    pub probed: bool,
}

/// A run. See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// What it is about.
    pub kind: Kind,
    /// The seed that it was drawn from.
    pub seed: u64,
    /// How its disk breaks its word.
    pub broken: Broken,
    /// Whether its disk completes commands one at a time, in order.
    pub in_order: bool,
    /// Disk and memory.
    pub plan: Plan,
    /// One after another.
    pub lives: Vec<LifePlan>,
}

/// What a run's world is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Memory of the store.
    pub sizes: Sizes,
    /// See [`Config::recent_epochs`].
    pub recent_epochs: u8,
    /// See [`Config::checkpoints`].
    pub checkpoints: u8,
    /// See [`Config::interval_entries`].
    pub interval_entries: u32,
    /// See [`Config::interval_descriptors`].
    pub interval_descriptors: u32,
    /// See [`Config::verify_pages`].
    pub verify_pages: u32,
    /// Identity of the store.
    pub world: u64,
    /// Slots of the ring of roots.
    pub root_slots: u32,
    /// From which the disk draws at first.
    pub disk_seed: u64,
    /// Objects that are written.
    pub objects: u64,
    /// Pages of each.
    pub indices: u64,
    /// Most changes of an epoch.
    pub changes: u64,
}

impl Plan {
    /// How the store weighs space and time.
    pub fn config(&self) -> Config {
        Config {
            recent_epochs: self.recent_epochs,
            checkpoints: self.checkpoints,
            interval_entries: self.interval_entries,
            interval_descriptors: self.interval_descriptors,
            verify_pages: self.verify_pages,
        }
    }

    /// What is formatted.
    pub fn options(&self) -> FormatOptions {
        FormatOptions {
            world: format::World(self.world),
            root_slots: self.root_slots,
            segment_blocks: self.sizes.segment_blocks as u32,
            formatted_ns: 0,
            programs: 0,
        }
    }
}

impl Script {
    /// How much happens in it: changes, epochs, faults, cuts. What a shrinker makes small.
    pub fn steps(&self) -> usize {
        let of = |life: &LifePlan| {
            let changes: usize = life.turns.iter().map(|turn| 1 + turn.changes.len()).sum();
            1 + changes + life.rot.len() + life.bad.len() + life.fault.kinds()
        };
        self.lives.iter().map(of).sum()
    }

    /// As one line of JSON, for `storesim --script`.
    ///
    /// # Errors
    /// None that this type can meet.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// From [`to_json`](Self::to_json).
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl std::fmt::Display for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} blocks, {}", self.plan.sizes.blocks, self.kind.name())?;
        if self.broken != Broken::No {
            writeln!(f, "the disk breaks its word: {:?}", self.broken)?;
        }
        for (number, life) in self.lives.iter().enumerate() {
            writeln!(
                f,
                "life {number}: {}",
                if number == 0 { "the disk is formatted" } else { "the store is opened" }
            )?;
            if life.fault.kinds() > 0 {
                writeln!(f, "  faults, of 10,000 commands: {:?}", life.fault)?;
            }
            if let Some(writes) = life.writes {
                writeln!(f, "  the medium takes {writes} writes")?;
            }
            for turn in &life.turns {
                writeln!(f, "  {turn}")?;
            }
            match life.cut {
                Some(command) => write!(f, "  the power goes at command {command}")?,
                None => write!(f, "  the power goes")?,
            }
            writeln!(f, "; unflushed writes: {:?}", life.mode)?;
            for (block, bit) in &life.rot {
                writeln!(f, "  bit {bit} of block {block} flips")?;
            }
            for block in &life.bad {
                writeln!(f, "  block {block} cannot be read")?;
            }
        }
        Ok(())
    }
}
