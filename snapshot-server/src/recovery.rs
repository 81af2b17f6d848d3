//! Opening: which root, which log, which epoch. Every way it can go is a labelled [`Case`].
//!
//! ```text
//!   header ─▶ roots ─▶ table ─▶ walk the log to its end ─▶ replay it: verify what may be torn, then apply
//! ```
//! Nothing is written: an opening that is cut and begun again sees the same disk and ends the same way.

use abi::Epoch;
use format::{Block, Checksum, DescriptorError, HeaderError, Key, LogStart, Root};

use crate::cache::{Cache, Fetch};
use crate::disk::Host;
use crate::gather::Gather;
use crate::layer::Layer;
use crate::memory::PageRef;
use crate::recover_verify::COMMITS_MAX;
use crate::space::Sweep;
use crate::store::{Event, Phase, RECENT_MAX, Store};

/// Blocks asked for ahead of the one that is wanted.
pub(crate) const AHEAD: u32 = 8;

/// Damaged roots of which an opening remembers whom they follow.
pub(crate) const FOLLOWED_MAX: usize = 8;

/// What an opening met: rows of the table of cases. A report has a set of them.
///
/// | case | met when | what is done |
/// | --- | --- | --- |
/// | `HeaderSecond` | the first header is damaged | the second is used |
/// | `RootOneCopy` | of the newest root one copy is damaged, torn or old | the other is used |
/// | `RootLost` | a root that follows the newest sound one is damaged in each place where it is found | what that vouched for is unknown |
/// | `RootOlder` | the newest root's table or map cannot be used | the root before it, and a longer log |
/// | `NoCheckpoint` | nothing was ever folded | the log is replayed from the first descriptor |
/// | `LogEmpty` | nothing was committed behind the checkpoint | the checkpoint is the epoch |
/// | `LogEndBlank` | the log ends where nothing of ours lies | |
/// | `LogEndTorn` | it ends at a damaged descriptor | which no root and nothing behind it proves to be more |
/// | `LogEndUnreadable` | it ends at a block that the disk will not read | as if it were torn |
/// | `LogEndStale` | it ends at a descriptor that is left over | |
/// | `LogEndAbandoned` | it ends at a descriptor of an abandoned future | which never verifies |
/// | `EpochUnfinished` | descriptors without their commit lie behind the last epoch | they are dropped |
/// | `EpochDropped` | an epoch that nothing proves durable has a wrong page | it and all after it are dropped |
/// | `EpochVerified` | an epoch that nothing proves durable is whole | it is the newest |
/// | `FoldInterrupted` | an interval had ended, its checkpoint was not made | it is folded anew |
/// | `AskedFor` | an older epoch was asked for | what is newer is abandoned by the next incarnation |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Case {
    HeaderSecond,
    RootOneCopy,
    RootLost,
    RootOlder,
    NoCheckpoint,
    LogEmpty,
    LogEndBlank,
    LogEndTorn,
    LogEndUnreadable,
    LogEndStale,
    LogEndAbandoned,
    EpochUnfinished,
    EpochDropped,
    EpochVerified,
    FoldInterrupted,
    AskedFor,
}

impl Case {
    /// Every case.
    pub const ALL: [Self; 16] = [
        Self::HeaderSecond,
        Self::RootOneCopy,
        Self::RootLost,
        Self::RootOlder,
        Self::NoCheckpoint,
        Self::LogEmpty,
        Self::LogEndBlank,
        Self::LogEndTorn,
        Self::LogEndUnreadable,
        Self::LogEndStale,
        Self::LogEndAbandoned,
        Self::EpochUnfinished,
        Self::EpochDropped,
        Self::EpochVerified,
        Self::FoldInterrupted,
        Self::AskedFor,
    ];
}

impl Case {
    /// What to tell whoever boots, when it is out of the ordinary; `None` when it is not.
    pub fn warning(self) -> Option<&'static str> {
        Some(match self {
            Self::HeaderSecond => "the first header is damaged; its second copy was used",
            Self::RootOneCopy => "of the newest root one copy is damaged or was cut; the other was used",
            Self::RootLost => {
                "a root newer than all sound ones is damaged: it was cut while it was written, or both copies have \
                 rotted; then damage to the newest epochs may pass for their never having been"
            }
            Self::RootOlder => "the newest root leads to damage; the root before it was used, and a longer log",
            Self::LogEndTorn => "the log ends at a damaged block: of an epoch that a cut has torn, or one has rotted",
            Self::LogEndUnreadable => "the log ends at a block that the disk will not read",
            Self::EpochDropped => "an epoch at the end of the log was not whole, and nothing proves that it ever was",
            Self::AskedFor => "an older epoch was asked for: what is newer is given up",
            Self::NoCheckpoint
            | Self::LogEmpty
            | Self::LogEndBlank
            | Self::LogEndStale
            | Self::LogEndAbandoned
            | Self::EpochUnfinished
            | Self::EpochVerified
            | Self::FoldInterrupted => return None,
        })
    }
}

/// How an opening went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The epoch that was opened; [`Epoch::NONE`] for a store in which nothing was committed.
    pub epoch: Epoch,
    /// The newest incarnation on the disk.
    pub incarnation: u32,
    /// Fingerprint of the programs that the world was made with; 0 when unknown ([`format::Header::programs`]).
    pub programs: u64,
    /// Restores in a row, before this one, that committed nothing.
    pub restores: u32,
    /// When the epoch was cut, by its maker's clock.
    pub time_ns: u64,
    /// Descriptors read from the log.
    pub descriptors: u32,
    /// Blocks read by the opening.
    pub blocks_read: u64,
    /// What was dropped because it did not verify.
    pub dropped: Option<Dropped>,
    cases: u32,
}

impl OpenReport {
    /// Whether `case` was met.
    pub fn met(&self, case: Case) -> bool {
        self.cases & (1 << case as u32) != 0
    }

    pub(crate) fn meet(&mut self, case: Case) {
        self.cases |= 1 << case as u32;
    }
}

/// An epoch at the log's end that was not, or is no more, whole. After a power cut that is what an unacknowledged
/// epoch looks like; after an orderly stop it means that a block has rotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which epoch.
    pub epoch: Epoch,
    /// The page that does not verify.
    pub key: Key,
    /// Where it should lie.
    pub block: Block,
}

/// Why a descriptor does not continue the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// No descriptor, or one that is damaged.
    Block(DescriptorError),
    /// The disk will not read it.
    Unreadable,
    /// A sound one, left over from before.
    Stale,
    /// A sound one of an abandoned future.
    Abandoned,
}

/// A block that something durable vouches for and that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No root is left.
    Roots,
    /// The table of used blocks, at this block.
    Space(Block),
    /// The root of the map, at this block.
    Map(Block),
    /// The log breaks off at this block, but later descriptors or a root prove that it went on.
    Log(Block),
    /// The log and the table of used blocks contradict each other about this block.
    Contradiction(Block),
    /// A root of a later incarnation is missing: this descriptor speaks of it.
    LaterIncarnation(Block),
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Roots => f.write_str("no root is left: every slot of both rings is damaged"),
            Self::Space(block) => write!(f, "{block}, of the table of used blocks, is damaged"),
            Self::Map(block) => write!(f, "{block}, the top of the map, is damaged"),
            Self::Log(block) => write!(f, "{block}, of the log, is damaged, and it is known that the log went on"),
            Self::Contradiction(block) => {
                write!(f, "the log and the table of used blocks contradict each other at {block}")
            }
            Self::LaterIncarnation(block) => {
                write!(f, "{block}, of the log, belongs to an incarnation that no root knows")
            }
        }
    }
}

/// Why a store cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No header: blank, foreign, of another version, damaged, or too large for this disk.
    Header(HeaderError),
    /// The memory given is too small for this disk or its log.
    Memory,
    /// The disk would not read this block.
    Unreadable(Block),
    /// Damage to the newest epoch; `offer` is the newest one that it does not touch.
    Damaged {
        /// What is damaged.
        damage: Damage,
        /// An older epoch that can be asked for.
        offer: Option<Epoch>,
    },
    /// The epoch asked for is not kept.
    NotKept(Epoch),
    /// While formatting: numbers that make no geometry.
    Geometry(format::GeometryError),
}

#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) target: Option<Epoch>,
    pub(crate) stage: Stage,
    pub(crate) report: OpenReport,
    /// Roots with a sequence number at or above this one were tried in vain.
    pub(crate) below: u64,
    pub(crate) found: Option<(Root, Checksum)>,
    pub(crate) copies: u32,
    /// What damaged roots say of those before them, as far as they are remembered.
    pub(crate) followed: [Checksum; FOLLOWED_MAX],
    pub(crate) followed_len: usize,
    /// The newest root, whichever is used.
    pub(crate) newest: Option<(Root, Checksum)>,
    pub(crate) header_error: Option<HeaderError>,
    pub(crate) walk: Walk,
    /// The walk when it stood behind the epoch that was asked for.
    pub(crate) asked: Option<Walk>,
    /// An older checkpoint than the newest was asked for.
    pub(crate) rewound: bool,
    /// Why the newest root cannot be used.
    pub(crate) root_damage: Option<Damage>,
    /// What makes the table as loaded that of this checkpoint.
    pub(crate) sweep: Sweep,
    /// What is on trial.
    pub(crate) trial: Layer,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Header(u8),
    Roots(u32),
    Chosen,
    Top,
    Index(usize),
    Table(usize),
    Map,
    Walk,
    /// Behind this block so many are looked at.
    Beyond(Block, u32),
    Replay,
    /// The unproven end of the log is applied to a layer of its own.
    Trial,
    /// That layer's pages from this key on are verified.
    Verify(Key),
    Done,
}

/// The log as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    pub(crate) at: LogStart,
    /// Behind the last commit.
    pub(crate) end: LogStart,
    /// The last commit.
    pub(crate) head: Epoch,
    pub(crate) floor: Epoch,
    /// The newest epoch that a later descriptor proves durable.
    pub(crate) durable: Epoch,
    /// Descriptors since the last commit.
    pub(crate) unfinished: u32,
    /// How far the last descriptor lay behind the one before it.
    pub(crate) stride: u32,
    pub(crate) unfinished_epoch: Epoch,
    /// The last commits, oldest first: epoch, where the log goes on behind it, and the floor with it.
    pub(crate) commits: [(Epoch, LogStart, Epoch); COMMITS_MAX],
    pub(crate) commits_len: usize,
}

impl Recovery {
    pub(crate) fn new(target: Option<Epoch>) -> Self {
        Self {
            target,
            stage: Stage::Header(0),
            report: OpenReport::default(),
            below: u64::MAX,
            found: None,
            copies: 0,
            followed: [Checksum(0); FOLLOWED_MAX],
            followed_len: 0,
            newest: None,
            header_error: None,
            walk: Walk::default(),
            asked: None,
            rewound: false,
            root_damage: None,
            sweep: Sweep::new(),
            trial: Layer::EMPTY,
        }
    }

    /// The newest checkpoint before that of the newest root, which cannot be used.
    pub(crate) fn older_checkpoint(&self) -> Option<Epoch> {
        let (newest, _) = self.newest.as_ref()?;
        let kept = newest.checkpoints();
        kept.len().checked_sub(2).map(|position| kept[position].epoch)
    }
}

pub(crate) enum Step {
    /// Wait for the disk.
    Wait,
    /// Go on.
    On,
}

impl<'m, H: Host> Store<'m, H> {
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.phase = Phase::Stopped;
        self.events.push(Event::Refused(refusal));
    }

    /// One step of an opening; false when it waits for the disk.
    #[inline(never)]
    pub(crate) fn step_recovery(&mut self) -> bool {
        let Phase::Opening(mut recovery) = core::mem::replace(&mut self.phase, Phase::Stopped) else {
            return false;
        };
        let step = match recovery.stage {
            Stage::Header(copy) => self.recover_header(&mut recovery, copy),
            Stage::Roots(slot) => self.recover_roots(&mut recovery, slot),
            Stage::Chosen => self.recover_chosen(&mut recovery),
            Stage::Top => self.recover_index(&mut recovery, None),
            Stage::Index(index) => self.recover_index(&mut recovery, Some(index)),
            Stage::Table(index) => self.recover_table(&mut recovery, index),
            Stage::Map => self.recover_map(&mut recovery),
            Stage::Walk => self.recover_walk(&mut recovery),
            Stage::Beyond(block, left) => self.recover_beyond(&mut recovery, block, left),
            Stage::Replay => self.recover_replay(&mut recovery),
            Stage::Trial => self.recover_trial(&mut recovery),
            Stage::Verify(from) => self.recover_verify(&mut recovery, from),
            Stage::Done => {
                self.recovered(recovery);
                return true;
            }
        };
        match step {
            Ok(step) => {
                self.phase = Phase::Opening(recovery);
                matches!(step, Step::On)
            }
            Err(refusal) => {
                self.refuse(refusal);
                true
            }
        }
    }

    /// A block of which only the address is known.
    pub(crate) fn fetch_raw(&mut self, block: Block) -> Result<Option<PageRef>, Refusal> {
        match self.cache.fetch(&mut self.queue, &mut self.host, &Cache::raw(block, self.nonce)) {
            Fetch::Pending => Ok(None),
            Fetch::Ready(page, ..) => Ok(Some(page)),
            Fetch::Unreadable => Err(Refusal::Unreadable(block)),
        }
    }

    fn recovered(&mut self, recovery: Recovery) {
        let Recovery { mut report, walk, newest, rewound, .. } = recovery;
        if rewound {
            // The log starts anew, where nothing that is kept lies; its first checksum names the root it was taken from.
            let Some(block) = self.space.allocate_log(self.interval) else {
                return self.refuse(Refusal::Memory);
            };
            let (sequence, previous) = newest
                .as_ref()
                .map_or((1, Checksum(0)), |(newest, sum)| (newest.resume.sequence.max(newest.log.sequence) + 1, *sum));
            self.root.log = LogStart { block, sequence, previous };
            self.root.resume = self.root.log;
            self.log = self.root.log;
        } else {
            self.log = walk.end;
        }
        self.space.replay_log(self.log.block, self.interval);
        if self.log == self.root.log {
            report.meet(Case::LogEmpty);
        }
        report.epoch = self.head;
        self.last_written = (self.head, report.time_ns);
        report.incarnation = newest.as_ref().map_or(0, |(newest, _)| newest.incarnation);
        report.restores = if self.head.incarnation() < self.root.incarnation { self.root.restores } else { 0 };
        if let Some((root, sum)) = newest {
            self.root.sequence = root.sequence;
            self.root.incarnation = root.incarnation;
            self.root.restores = root.restores;
            if self.root.resume.sequence < root.resume.sequence {
                self.root.resume = root.resume;
            }
            self.root_sum = sum;
        }
        // Of several that nothing proved only the newest was verified. What this incarnation commits must not pass for
        // a proof that those before it ever were whole.
        let alone = report.met(Case::EpochVerified) && walk.unproven_len() > 1;
        self.recent = [if alone { self.head } else { walk.floor }; RECENT_MAX];
        self.gather = Gather::default();
        self.phase = Phase::Opened;
        self.events.push(Event::Opened(report));
    }
}
