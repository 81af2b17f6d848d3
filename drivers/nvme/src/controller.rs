//! The controller as a state machine. Every step looks, acts and returns; [`Controller::poll`] takes steps while they
//! lead somewhere.
//!
//! ```text
//!            start            RDY=0             RDY=1            all steps done
//!  Stopped ────────▶ Disabling ────▶ Enabling ────▶ Asking(step) ────────────▶ Ready
//!     ▲                  ▲  │            │               │                      │ │
//!     │ SHST=complete    │  │ too late   │ missing,      │ fatal, late,         │ │
//!     └─── ShuttingDown  │  ▼            ▼ refused       │ nonsense             │ │
//!              ▲         │ Dead ◀────────┘               │                      │ │
//!              │         └───────────────────────────────┴──────────────────────┘ │
//!              └───────────────────── shut_down ──────────────────────────────────┘
//! ```
//!
//! Invariants (checked by [`Controller::check`], which the tests call after every step):
//!
//! 1. Those of [`crate::slots`].
//! 2. Commands fly only while the controller may be running: in Ready, ShuttingDown, Disabling, or Dead for a reason
//!    that leaves it running.
//! 3. At most `entries − 1` commands fly.
//! 4. A flush completes well only if no reset came between the completion of any write before it and the flush.

mod bring_up;
mod disk;

use abi::protocol::block::{Completion, DiskInfo};
use mmio::{DmaMemory, Registers};

use crate::identify::{ControllerFacts, NamespaceFacts};
use crate::memory::{ADMIN_COMPLETIONS, ADMIN_ENTRIES, ADMIN_SUBMISSIONS, FRAMES};
use crate::queue::QueuePair;
use crate::registers::{CAP, CC, CC_DISABLED, CC_SHUTDOWN, CSTS, Capabilities, Condition};
use crate::registers::{WINDOW_BYTES_MIN, is_ready, is_shut_down};
use crate::slots::Slots;
use crate::status::Status;

pub use crate::registers::Missing;
pub use disk::SubmitError;

/// Resets, one after the other without an answered command between them, after which the device is given up.
const RESETS_IN_ROW_MAX: u32 = 3;
/// Steps of one [`Controller::poll`].
const STEPS_MAX: u32 = 16;
/// How often to look while the controller changes state by itself.
const TRANSITION_POLL_NS: u64 = 1_000_000;

/// What the driver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The MSI-X vector of I/O completions; `None`: no interrupts, the caller polls.
    pub vector: Option<u16>,
    /// Which namespace; `None`: the first active one.
    pub namespace: Option<u32>,
    /// Turn the device's volatile write cache on or off; `None`: leave it.
    pub write_cache: Option<bool>,
    /// A command that takes longer makes the controller be reset, in nanoseconds.
    pub command_ns_max: u64,
    /// While commands are under way, look at the device at least this often, in nanoseconds: interrupts can get lost.
    pub look_ns_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            vector: None,
            namespace: None,
            write_cache: None,
            command_ns_max: 10_000_000_000,
            look_ns_max: 10_000_000,
        }
    }
}

/// Why no driver can be made of what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The caller's fault: the register window or the DMA memory ([`crate::DMA_FRAMES`]) is too small.
    TooSmall,
    /// The registers read as all ones: there is no device.
    Removed,
    /// The device lacks what this driver needs.
    Missing(Missing),
}

/// How the controller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started, or shut down.
    Stopped,
    /// On its way to ready, or being reset.
    Starting,
    /// Requests may be submitted.
    Ready,
    /// Given up. A restart of the driver may try again.
    Dead(Death),
}

/// Why the controller was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It is gone from the bus. Its frames are not free before [`Controller::silenced`].
    Removed,
    /// It does not stop. Its frames are not free before [`Controller::silenced`].
    NeverStops,
    /// It does not get ready.
    NeverReady,
    /// It lacks what this driver needs.
    Missing(Missing),
    /// It refused a step of bringing it up.
    Refused(Step, Status),
    /// Resets do not help.
    KeepsFailing,
}

/// A step of bringing the controller up, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Identify the controller.
    Controller,
    /// List the active namespaces.
    Namespaces,
    /// Identify the namespace.
    Namespace,
    /// Turn the write cache on or off, if told to.
    WriteCache,
    /// Ask for one pair of I/O queues.
    QueueCount,
    /// Create the I/O completion queue.
    CompletionQueue,
    /// Create the I/O submission queue.
    SubmissionQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    Disabling { until_ns: u64 },
    Enabling { until_ns: u64 },
    Asking { step: Step, until_ns: u64 },
    Ready,
    ShuttingDown { until_ns: u64 },
    Dead(Death),
}

/// What bringing the controller up has found out.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    controller: Option<ControllerFacts>,
    namespace_number: u32,
    namespace: Option<NamespaceFacts>,
    cache_is_off: bool,
}

/// One NVMe controller. None of the methods blocks; times are nanoseconds of any one monotonic clock.
#[derive(Debug)]
pub struct Controller<R, D> {
    registers: R,
    memory: D,
    settings: Settings,
    capabilities: Capabilities,
    phase: Phase,
    admin: QueuePair,
    admin_identifier: u16,
    io: QueuePair,
    found: Found,
    slots: Slots,
    /// Writes that have completed well, ever.
    writes_done: u64,
    /// So many of them are durable, or their client has been told that they may not be.
    writes_settled: u64,
    /// A reset came between completed writes and a flush: the next flush must say so.
    flush_must_fail: bool,
    resets_in_row: u32,
    resets: u32,
    look_at_ns: u64,
}

impl<R: Registers, D: DmaMemory> Controller<R, D> {
    /// A driver of the controller behind `registers`, with `memory` for queues. Touches nothing yet but `CAP`.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(registers: R, memory: D, settings: Settings) -> Result<Self, SetupError> {
        if registers.size_bytes() < WINDOW_BYTES_MIN || memory.size_bytes() < FRAMES * mmio::FRAME_BYTES {
            return Err(SetupError::TooSmall);
        }
        let cap = registers.read_u64(CAP);
        if cap == u64::MAX {
            return Err(SetupError::Removed);
        }
        let capabilities = Capabilities::from_raw(cap, registers.size_bytes()).map_err(SetupError::Missing)?;
        let admin = QueuePair::new(&memory, 0, ADMIN_ENTRIES, ADMIN_SUBMISSIONS, ADMIN_COMPLETIONS);
        let io = Self::fresh_io(&memory, &capabilities);
        Ok(Self {
            registers,
            memory,
            settings,
            capabilities,
            phase: Phase::Stopped,
            admin,
            admin_identifier: 0,
            io,
            found: Found::default(),
            slots: Slots::new(),
            writes_done: 0,
            writes_settled: 0,
            flush_must_fail: false,
            resets_in_row: 0,
            resets: 0,
            look_at_ns: 0,
        })
    }

    /// Begins to bring the controller up, from whatever state it is in. Does nothing unless stopped.
    pub fn start(&mut self, now_ns: u64) {
        if self.phase == Phase::Stopped {
            self.disable(now_ns);
        }
    }

    /// Looks at the device and moves on as far as that leads. To be called after an interrupt, after submitting, and at
    /// the latest after [`wait_ns_max`](Self::wait_ns_max).
    pub fn poll(&mut self, now_ns: u64) {
        for _ in 0..STEPS_MAX {
            if !self.step(now_ns) {
                break;
            }
        }
        if self.phase == Phase::Ready {
            self.io.announce(&self.registers, &self.capabilities);
        }
    }

    /// How the controller stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Stopped => State::Stopped,
            Phase::Ready => State::Ready,
            Phase::Dead(death) => State::Dead(death),
            _ => State::Starting,
        }
    }

    /// What the disk is, once it has been ready.
    #[must_use]
    pub fn info(&self) -> Option<DiskInfo> {
        let (controller, namespace) = (self.found.controller?, self.found.namespace?);
        Some(DiskInfo {
            blocks: namespace.blocks,
            request_blocks_max: controller.transfer_blocks_max,
            volatile_cache: controller.write_cache && !self.found.cache_is_off,
            can_zero: controller.can_zero,
            can_deallocate: controller.can_deallocate,
        })
    }

    /// How long the caller may wait for an interrupt before it calls [`poll`](Self::poll) again; `None`: for ever.
    /// It has taken all completions that it could.
    #[must_use]
    pub fn wait_ns_max(&self) -> Option<u64> {
        match self.phase {
            Phase::Stopped | Phase::Dead(_) => None,
            Phase::Ready if self.under_way() == 0 => None,
            Phase::Ready => Some(self.settings.look_ns_max),
            _ => Some(TRANSITION_POLL_NS),
        }
    }

    /// Whether another request can be submitted now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.phase == Phase::Ready && self.slots.flying() + 1 < self.io.entries() && self.slots.vacancy().is_some()
    }

    /// Requests that have no completion yet, or one that nobody has taken.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.slots.flying() + self.slots.done()
    }

    /// Takes a completion, in no particular order.
    pub fn completion(&mut self) -> Option<Completion> {
        self.slots.take_done()
    }

    /// Resets since the start: for the log.
    #[must_use]
    pub fn resets(&self) -> u32 {
        self.resets
    }

    /// Tells a ready controller that the power goes down, and stops it. Commands that fly are answered or grounded.
    pub fn shut_down(&mut self, now_ns: u64) {
        if self.phase == Phase::Ready {
            self.io.announce(&self.registers, &self.capabilities);
            let cc = self.registers.read_u32(CC);
            self.registers.write_u32(CC, cc | CC_SHUTDOWN);
            // There is no deadline for a shutdown in the registers; that of a command is generous.
            self.phase = Phase::ShuttingDown { until_ns: now_ns.saturating_add(self.settings.command_ns_max) };
        }
    }

    /// The platform driver has silenced the device: it reaches memory no more. What still flew is over.
    pub fn silenced(&mut self) {
        self.ground();
        if !matches!(self.phase, Phase::Dead(_)) {
            self.phase = Phase::Stopped;
        }
    }

    /// Everything that must hold between two calls; see the top of this file.
    #[must_use]
    pub fn check(&self) -> bool {
        let may_run = matches!(
            self.phase,
            Phase::Ready
                | Phase::ShuttingDown { .. }
                | Phase::Disabling { .. }
                | Phase::Dead(Death::Removed | Death::NeverStops)
        );
        let flying = self.slots.flying();
        self.slots.check()
            && (may_run || flying == 0)
            && flying < self.io.entries()
            && self.writes_settled <= self.writes_done
    }

    /// One step; whether it is worth taking another.
    fn step(&mut self, now_ns: u64) -> bool {
        match self.phase {
            Phase::Stopped | Phase::Dead(_) => false,
            Phase::Ready => self.step_ready(now_ns),
            Phase::ShuttingDown { until_ns } => self.step_shutting_down(now_ns, until_ns),
            Phase::Disabling { until_ns } => self.step_disabling(now_ns, until_ns),
            Phase::Enabling { until_ns } => self.step_enabling(now_ns, until_ns),
            Phase::Asking { step, until_ns } => self.step_asking(now_ns, step, until_ns),
        }
    }

    fn step_shutting_down(&mut self, now_ns: u64, until_ns: u64) -> bool {
        if !self.sweep() {
            return self.restart(now_ns);
        }
        let csts = self.registers.read_u32(CSTS);
        if csts == u32::MAX {
            return self.die(Death::Removed);
        }
        if is_shut_down(csts) || now_ns >= until_ns {
            // Disabled as well: only then does it certainly not touch memory any more.
            self.registers.write_u32(CC, CC_DISABLED);
            if !is_ready(self.registers.read_u32(CSTS)) {
                self.ground();
                self.phase = Phase::Stopped;
            } else if now_ns >= until_ns {
                return self.die(Death::NeverStops);
            }
        }
        false
    }

    /// Begins a reset: the controller is late, fatal or talks nonsense.
    fn restart(&mut self, now_ns: u64) -> bool {
        self.resets = self.resets.wrapping_add(1);
        self.resets_in_row += 1;
        self.disable(now_ns);
        true
    }

    fn disable(&mut self, now_ns: u64) {
        self.registers.write_u32(CC, CC_DISABLED);
        self.phase = Phase::Disabling { until_ns: now_ns.saturating_add(self.capabilities.ready_ns_max) };
    }

    /// The device touches memory no more: what flew is over, and unflushed writes may be lost.
    fn ground(&mut self) {
        let told = self.slots.ground_all();
        let settled = self.writes_settled.max(told);
        let cached = self.info().is_none_or(|info| info.volatile_cache);
        if cached && self.writes_done > settled {
            self.flush_must_fail = true;
        }
        self.writes_settled = settled;
    }

    fn die(&mut self, death: Death) -> bool {
        if death != Death::Removed {
            self.registers.write_u32(CC, CC_DISABLED);
        }
        self.phase = Phase::Dead(death);
        false
    }

    fn condition(&self) -> Condition {
        Condition::from_raw(self.registers.read_u32(CSTS))
    }
}
