//! All state of the pager, and its events.

use crate::config::{Config, ConfigError};
use crate::content::Contents;
use crate::environment::Environment;
use crate::fault::HeldFaults;
use crate::frame::{CLEAN, FrameTable};
use crate::gather::Lanes;
use crate::lend::Lends;
use crate::object::Objects;
use crate::region::Regions;
use crate::reserve::Reserve;
use crate::shelter::Shelter;
use crate::space::Spaces;
use crate::writes::WriteLog;
use abi::protocol::paging::{ToPager, ToStore};
use abi::{Epoch, PAGE_SIZE};
use pager_records::{PAGER_VERSION, PagerRecord};
use records::{Arena, Slab, Table};

/// What it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits to hear whether a world begins or comes back.
    Waiting,
    /// Takes records back.
    Restoring,
    /// A record was refused: only a new pager can go on.
    Refused,
    /// Serves.
    Running,
}

/// The snapshot server said what a correct one never says: the pager must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A message that does not fit the phase.
    Phase,
    /// A frame that was not handed to it, or not for this epoch.
    Released {
        /// Which frame.
        frame: u32,
    },
    /// A page that was not asked for.
    Paged {
        /// Which frame.
        frame: u32,
    },
    /// Room that counts pages which were never handed over.
    Room,
    /// A batch page that was not given.
    Batch {
        /// Which one.
        slot: u32,
    },
}

/// What the pager has, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// All of them.
    pub frames: u32,
    /// Free.
    pub free: u32,
    /// Evictable.
    pub clean: u32,
    /// Written in the running epoch.
    pub dirty: u32,
    /// In the kernel's ring.
    pub donated: u32,
    /// Faults that wait.
    pub held: u32,
    /// Those of them that wait for the store.
    pub held_for_store: u32,
    /// Pages that may still be dirtied before the store has won back room.
    pub writes_left: u64,
    /// Pages that may come into being before something is dropped.
    pub growth_left: u64,
}

/// The pager.
pub struct Pager {
    pub(crate) config: Config,
    pub(crate) phase: Phase,
    /// The epoch that runs.
    pub(crate) running: Epoch,
    pub(crate) frames: FrameTable,
    pub(crate) contents: Contents,
    pub(crate) objects: Objects,
    pub(crate) regions: Regions,
    pub(crate) spaces: Spaces,
    pub(crate) counters: Table<PagerRecord>,
    pub(crate) lanes: Lanes,
    pub(crate) log: WriteLog,
    pub(crate) held: HeldFaults,
    pub(crate) lends: Lends,
    pub(crate) reserve: Reserve,
    pub(crate) shelter: Shelter,
    /// Pages of transient objects.
    pub(crate) transient_pages: u64,
    /// A frame that eviction must leave alone while it is being copied.
    pub(crate) pinned: Option<u32>,
    /// Frames that the store fills.
    pub(crate) loading: u32,
    /// [`ToStore::Short`] was sent in this epoch.
    pub(crate) said_short: bool,
    /// Memory was short and could not be helped at once.
    pub(crate) is_short: bool,
    pub(crate) scratch: Slab<u8>,
}

impl Pager {
    /// A pager with no world yet. Takes all memory that it will ever use from `arena`.
    pub fn new(arena: &mut impl Arena, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let contents = Self::contents_max(&config);
        let counters = PagerRecord {
            content_next: 1,
            objects_max: config.objects_max,
            regions_max: config.regions_max,
            spaces_max: config.spaces_max,
            version: PAGER_VERSION,
        };
        Ok(Self {
            phase: Phase::Waiting,
            running: Epoch::NONE,
            frames: FrameTable::new(arena, config.ranges, contents),
            contents: Contents::new(arena, contents),
            objects: Objects::new(arena, config.objects_max),
            regions: Regions::new(arena, config.regions_max),
            spaces: Spaces::new(arena, config.spaces_max),
            counters: Table::new(arena, 1, 1, counters),
            lanes: Lanes::new(),
            log: WriteLog::new(),
            held: HeldFaults::new(arena),
            lends: Lends::new(),
            reserve: Reserve::new(),
            shelter: Shelter::new(),
            transient_pages: 0,
            pinned: None,
            loading: 0,
            said_short: false,
            is_short: false,
            scratch: arena.slab(PAGE_SIZE, 0),
            config,
        })
    }

    /// Contents that ended wait here until their epoch has been told: twice as many as objects.
    const fn contents_max(config: &Config) -> u32 {
        2 * config.objects_max
    }

    /// Bytes that [`Self::new`] takes from its arena (each slab rounded up to 64).
    pub fn bytes_needed(config: &Config) -> usize {
        let contents = Self::contents_max(config);
        FrameTable::bytes_needed(config.frames() as usize, contents as usize)
            + Contents::bytes_needed(contents)
            + Objects::bytes_needed(config.objects_max)
            + Regions::bytes_needed(config.regions_max)
            + Spaces::bytes_needed(config.spaces_max)
            + HeldFaults::bytes_needed()
            + Table::<PagerRecord>::bytes_needed(1)
            + PAGE_SIZE
            + 20 * 64
    }

    /// The epoch that runs.
    pub fn running(&self) -> Epoch {
        self.running
    }

    /// Whether faults, requests and cuts are served.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether one more message of the memory port may be received: the table of waiting faults has room for it.
    pub fn can_receive(&self) -> bool {
        self.phase == Phase::Running && self.held.has_room()
    }

    /// What it has.
    pub fn figures(&self) -> Figures {
        Figures {
            frames: self.frames.len(),
            free: self.frames.free_count(),
            clean: self.frames.list_count(CLEAN),
            dirty: self.frames.list_count(self.lanes.running() as u8),
            donated: self.log.donated,
            held: self.held.count(),
            held_for_store: self.held.count_for_store(),
            writes_left: self.left().writes,
            growth_left: self.left().growth,
        }
    }

    /// Whether a message of the snapshot server can be taken: there is room for what it is answered with.
    pub fn can_take_store_message(&self, env: &mut impl Environment) -> bool {
        env.room() >= 2
    }

    /// A message of the snapshot server, when [`Self::can_take_store_message`].
    pub fn store_message(&mut self, env: &mut impl Environment, message: ToPager) -> Result<(), Broken> {
        match message {
            ToPager::Begin { epoch } => {
                self.expect_phase(Phase::Waiting)?;
                self.begin(epoch);
                self.reserve.begin();
                *self.counters.change(0) = *self.counters.get(0);
                env.send(ToStore::Ready);
            }
            ToPager::Restore { slot, bytes } => self.restore_batch(env, slot, bytes as usize)?,
            ToPager::RestoreEnd { epoch } => self.restore_end(env, epoch)?,
            ToPager::Cut => self.cut(env),
            ToPager::Released { epoch, frame } => self.released(env, epoch, frame)?,
            ToPager::Paged { page, frame, outcome } => self.paged(env, page, frame, outcome)?,
            ToPager::BatchTaken { slot } => self.lanes.batch_taken(slot)?,
            ToPager::Room(room) => {
                if !self.room(room) {
                    return Err(Broken::Room);
                }
            }
        }
        self.work(env);
        Ok(())
    }

    /// What can be done without being asked: hand over the ended epoch, keep the kernel's ring filled, serve faults
    /// that waited for memory. Called after every event; cheap when there is nothing to do.
    pub fn work(&mut self, env: &mut impl Environment) {
        if self.phase != Phase::Running {
            return;
        }
        self.gather(env);
        self.refill(env);
        self.retry_held(env);
        self.show_lent(env);
        self.keep_reserve(env);
        if self.is_short && !self.said_short && env.room() > 0 {
            env.send(ToStore::Short);
            self.said_short = true;
        }
    }

    pub(crate) fn expect_phase(&self, phase: Phase) -> Result<(), Broken> {
        if self.phase == phase { Ok(()) } else { Err(Broken::Phase) }
    }

    /// The world runs, in `epoch`.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.running = epoch;
        self.lanes.begin(epoch);
        self.phase = Phase::Running;
    }

    /// A number for a new content.
    pub(crate) fn content_number(&mut self) -> u64 {
        let counters = self.counters.change(0);
        let number = counters.content_next;
        counters.content_next += 1;
        number
    }
}
